"""What the options of a call name as a model's input, for a model that does not say itself what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from trustbase.data.marked import columns_of
from trustbase.data.pair import join
from trustbase.errors import Problem, UsageError
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, LabelSchema

CHOICE = "choice"  # the one label of a checkpoint that weighs choices (`model.task.CHOICE`, which would import torch)
_WAYS = (("--text-pair",), ("--question",), ("--choices",), ("--head", "--tail"))


@dataclass(frozen=True)
class NamedTexts:
    """Columns or templates, by the options that name them.

    Attributes:
        text: what is read, or searched for an answer, or asked with choices.
        text_pair: the second text, of a model that reads pairs.
        question: what is asked of the text.
        choices: of which one answers the text.
        head, tail: columns of two entities in the text.
    """

    text: str | None = None
    text_pair: str | None = None
    question: str | None = None
    choices: tuple[str, ...] = ()
    head: str | None = None
    tail: str | None = None

    @property
    def options(self) -> dict[str, str | tuple[str, ...]]:
        """What was named, by option."""
        named = {f"--{field.name.replace('_', '-')}": getattr(self, field.name) for field in fields(self)}
        return {option: value for option, value in named.items() if value}

    def problems(self) -> Iterator[Problem]:
        """What does not go together, whatever the model is."""
        further = [option for option in self.options if option != "--text"]
        if further and self.text is None:
            what = "is the second text of a pair, and the first" if further == ["--text-pair"] else "stands beside a text, which"
            yield Problem(further[0], f"{what} is not named", "add --text COLUMN")
        used = [way for way in (tuple(option for option in further if option in way) for way in _WAYS) if way]
        if len(used) > 1:
            named = " and ".join("/".join(way) for way in used)
            yield Problem(named, "are of models of different tasks", "keep one of them")
        if (self.head is None) != (self.tail is None):
            missing = "--tail" if self.tail is None else "--head"
            yield Problem(missing, "is the other one of two entities, and one is named", f"add {missing} COLUMN")
        if len(self.choices) == 1:
            yield Problem("--choices", "names one choice, which is none", "name two or more, with commas between")

    def of(self, info: ArtifactInfo) -> tuple[ArtifactInfo, str | None]:
        """The model as it is asked so, and all texts in the form that `data.single.load_single` takes; None where nothing was named.

        Raises:
            UsageError: the options are not of a model of this task, or it knows its own columns.
        """
        problems = list(self._unfit(info))
        if problems:
            raise UsageError("this model does not read what is named", problems=problems)
        if self.text is None:
            return info, None
        if self.question is not None:
            return info, join(self.question, self.text)
        if self.choices:
            from trustbase.data.choices import choice_names
            from trustbase.data.template import TextTemplate

            whole = join(self.text, *self.choices)
            names = choice_names(TextTemplate.parse(whole, None))
            return replace(info, task="multiple-choice", labels=LabelSchema(names, names[-1], names[-1])), whole
        if self.head is not None and self.tail is not None:
            return replace(info, task="relation-extraction"), columns_of(self.text, self.head, self.tail)
        return info, self.text if self.text_pair is None else join(self.text, self.text_pair)

    def _unfit(self, info: ArtifactInfo) -> Iterator[Problem]:
        named = [option for option in self.options if option not in ("--text", "--text-pair")]
        if named and info.text is not None:
            yield Problem(named[0], "this model knows the columns that it reads", f"leave {' and '.join(['--text', *named])} out")
            return
        reads = TASKS[info.task].reads if info.task in TASKS else "text"
        if info.text is None and reads == "context" and self.text is not None and self.question is None:
            yield Problem(
                "--question", "this model searches a text for the answer to a question, and none is named", "add --question COLUMN"
            )
        if self.question is not None and reads != "context":
            yield Problem(
                "--question", f"is of models that search a text for an answer, and this one is of task {info.task}", "leave it out"
            )
        weighs = info.labels.names == (CHOICE,) and info.answer_kind == "classes"
        if info.text is None and weighs and not self.choices:
            yield Problem("--choices", "this model weighs the choices of a question, and none are named", "add --choices A,B,…")
        if self.choices and not weighs:
            told = ", ".join(info.labels.names[:5])
            yield Problem("--choices", f"are of models that weigh choices, and this one answers {told}", "leave them out")
        if self.head is not None and (info.answer_kind != "classes" or weighs):
            yield Problem("--head", "is of models that tell a relation, a label of a text with two entities", "leave --head and --tail out")
