"""What a proposed recipe reads where a row is more than texts and a label: entities, answers, two marked entities, or choices.

Their columns are known by the form of their cells, and by their names where several have the form; what is not seen is never guessed.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from trustbase.data.columns import fit_but_for_slips
from trustbase.errors import DataError
from trustbase.recipe.look import Column, Look

TASKS = ("token-classification", "question-answering", "relation-extraction", "multiple-choice")
_CONTEXTS = ("context", "passage", "paragraph", "document", "article", "text", "文章", "段落", "正文")
_QUESTIONS = ("question", "query", "premise", "ctx", "sent1", "goal", "prompt", "stem", "问题", "题目")
_LABELS = ("answer", "answers", "label", "relation", "target", "correct", "gold", "答案", "关系", "标签")
_HEADS, _TAILS = ("head", "subject", "subj", "e1", "entity1", "first"), ("tail", "object", "obj", "e2", "entity2", "second")
_NONE = {"none", "no_relation", "no relation", "other", "na", "n/a", "无", "无关系"}
_NUMBERED = re.compile(r"(.*?)[ _.-]?([0-9]{1,2}|[A-Ea-e])")
_MOST_CHOICES = 10


@dataclass(frozen=True)
class Parts:
    """What of the file is what, for one of `TASKS`.

    Attributes:
        text: what is read.
        label: the truth.
        beside: the question, or the choices, of which one at a time is read with the text.
        lines: further lines of the section `data`, each with its reason.
        none: the label that says that nothing holds (relations).
        unfit: cells of the label column that tell none, and that `label` is without.
        marked: columns of two entities in the text.
    """

    task: str
    text: Column
    label: Column
    beside: tuple[Column, ...] = ()
    lines: tuple[str, ...] = ()
    none: str | None = None
    unfit: Counter[str] = field(default_factory=Counter)
    marked: tuple[Column, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that are read, each as it stands."""
        return (self.text, *self.beside, *self.marked)


Cell = Callable[[str], object]


def find_parts(
    look: Look,
    columns: Sequence[Column],
    task: str | None,
    label: str | None,
    text: Callable[[str], str],
    refuse: Callable[[str, str], DataError],
) -> Parts | None:
    """The parts of a row where it has such, or was asked for them; None where it is made of texts and a label alone.

    Args:
        look: at the file.
        columns: those that are free: neither the file's own split nor an identifier.
        task: what was asked for; None where it is to be found out, which only the form of cells can say.
        label: column of the truth that was named.
        text: a string as YAML reads it back.
        refuse: a message and the next step → what is raised, with every column that was seen.

    Raises:
        DataError: what was asked for is not in this file.
    """
    if task is not None and task not in TASKS:
        return None
    finders = {
        "relation-extraction": _relation,
        "token-classification": _entities,
        "question-answering": _question,
        "multiple-choice": _choices,
    }
    truth = None if label is None else look.column(label)
    if task is not None:
        found = finders[task](columns, truth, text)
        if isinstance(found, Parts):
            return found
        raise refuse(f"{look.reference}: {found}", f"name the label with --label COLUMN, or write the recipe by hand: it is a {task}")
    found_out = (finders[name](columns, truth, text) for name in ("relation-extraction", "token-classification", "question-answering"))
    return next((found for found in found_out if isinstance(found, Parts)), None)


def every_cell(column: Column, read: Cell) -> bool:
    """Whether cells have a form, but for slips, and at least one tells something."""
    return fit_but_for_slips(column.filled - column.unfit(read).total(), column.filled) and any(map(read, column.values))


def entity_types(column: Column) -> Counter[str]:
    """Rows in which each type of entity is told."""
    from trustbase.data.truth.tokens import types_in

    found: Counter[str] = Counter()
    for cell, rows in column.values.items():
        found.update(dict.fromkeys(types_in(cell) or (), rows))
    return found


def unanswered(column: Column) -> int:
    """Rows whose text holds no answer."""
    from trustbase.data.truth.span import answers_in

    return sum(rows for cell, rows in column.values.items() if answers_in(cell) == 0)


def limits_of_parts(parts: Parts, groups: Sequence[Column]) -> Iterator[str]:
    """Limits that the simplest answer would come to, so that they say something; where none can be counted, a rival's."""
    label, rows = parts.label, parts.label.filled
    if parts.task == "token-classification":
        yield '  quality.gain_over_dictionary: ">= 0.0"    # whether it is worth more than a list of the training rows\' entities'
        yield '  # quality.entity_f1: ">= …"    # no simple answer comes to a number that a look could tell'
        metric = "entity_f1"
    elif parts.task == "question-answering":
        none = unanswered(label) / rows
        if none:
            yield f'  quality.token_f1: ">= {none:.2f}"    # never an answer comes to this'
        yield f'  {"# " if none else ""}quality.gain_over_shared_words: ">= 0.0"    # whether it is worth more than matching words'
        metric = "token_f1"
    else:
        shares = [count / rows for count in label.values.values()]
        yield f'  quality.accuracy: ">= {max(shares):.2f}"    # always answering the most frequent label comes to this'
        if parts.none is not None and len(shares) > 1:
            most = max(count for name, count in label.values.items() if name != parts.none)
            reached = 2 * most / (2 * rows - label.values[parts.none])
            yield f'  quality.relation_f1: ">= {reached:.2f}"    # always answering the most frequent relation comes to this'
        rival = "shared_words" if parts.task == "multiple-choice" else "bag_of_words"
        yield f'  # quality.gain_over_{rival}: ">= 0.0"    # whether it is worth more than words alone'
        metric = "accuracy"
    yield from (f'  # fairness.{metric}_difference[{column.name}]: "<= 0.10"' for column in groups)


def _entities(columns: Sequence[Column], truth: Column | None, text: Callable[[str], str]) -> Parts | str:
    from trustbase.data.truth.tokens import types_in

    possible = [column for column in _asked(columns, truth) if every_cell(column, types_in)]
    if not possible:
        return "no column tells entities: lists of {start, end, label}, or of tags such as B-PER"
    label = possible[0]
    texts = [column for column in columns if column is not label and (column.reads_like_text or _named(column, _CONTEXTS))]
    if not texts:
        return "no column beside the entities reads like a text"
    unfit = label.unfit(types_in)
    return Parts("token-classification", max(texts, key=_longest), label.without(unfit), unfit=unfit)


def _question(columns: Sequence[Column], truth: Column | None, text: Callable[[str], str]) -> Parts | str:
    from trustbase.data.truth.span import answers_in

    possible = [column for column in _asked(columns, truth) if every_cell(column, answers_in)]
    if not possible:
        return "no column tells answers: SQuAD's {text, answer_start}, or lists of {start, text}"
    label, others = possible[0], [column for column in columns if column is not possible[0] and not column.numeric]
    asked = next((column for column in others if _named(column, _QUESTIONS)), None)
    texts = [column for column in others if column is not asked and (column.reads_like_text or _named(column, _CONTEXTS))]
    if asked is None and len(texts) == 2:  # the shorter of two texts asks
        asked = min(texts, key=_longest)
        texts.remove(asked)
    if asked is None or not texts:
        return "no two columns beside the answers can be a question and the text that is searched for its answer"
    line = f"question: {text(asked.name)}    # asked of the text, which is searched for its answer"
    unfit = label.unfit(answers_in)
    return Parts("question-answering", max(texts, key=_longest), label.without(unfit), (asked,), (line,), unfit=unfit)


def _relation(columns: Sequence[Column], truth: Column | None, text: Callable[[str], str]) -> Parts | str:
    spans = [column for column in columns if column is not truth and every_cell(column, _span) and _no_clock(column)]
    head = next((column for column in spans if _named(column, _HEADS)), spans[0] if len(spans) == 2 else None)
    tail = next((column for column in spans if _named(column, _TAILS)), spans[1] if len(spans) == 2 else None)
    if head is None or tail is None or head is tail:
        return "no two columns tell where entities stand in the text: [start, end], {start, end, type} or start:end"
    others = [column for column in columns if column not in spans]
    label = truth or _label([column for column in others if column.can_be_label(max(column.filled for column in columns))])
    texts = [column for column in others if column is not label and (column.reads_like_text or _named(column, _CONTEXTS))]
    if label is None or not texts:
        return f"beside '{head.name}' and '{tail.name}' there is no {'label' if label is None else 'text'}"
    lines = [f"head: {text(head.name)}    # its cells tell characters of the text", f"tail: {text(tail.name)}"]
    none = next((name for name in label.values if name.strip().lower() in _NONE), None)
    if none is not None:
        lines.append(f"no_relation: {text(none)}    # by its name: says that nothing holds; quality.relation_f1 is about the others")
    return Parts("relation-extraction", max(texts, key=_longest), label, (), tuple(lines), none, marked=(head, tail))


def _choices(columns: Sequence[Column], truth: Column | None, text: Callable[[str], str]) -> Parts | str:
    candidates = [truth] if truth is not None else sorted(columns, key=lambda column: not _named(column, _LABELS))
    for label in candidates:
        others = [column for column in columns if column is not label and not column.numeric]
        for choices in _families(others, label):
            asked = [column for column in others if column not in choices and (column.reads_like_text or _named(column, _QUESTIONS))]
            unfit = label.unfit(_choice_of(choices))
            if asked and fit_but_for_slips(label.filled - unfit.total(), label.filled) and len(label.values) - len(unfit) > 1:
                question = next((column for column in asked if _named(column, _QUESTIONS)), max(asked, key=_longest))
                names = ", ".join(text(column.name) for column in choices)
                line = f"choices: [{names}]    # columns named alike; each is read with the question"
                return Parts("multiple-choice", question, label.without(unfit), choices, (line,), unfit=unfit)
    return (
        "no columns are named as choices (choice_0, choice_1; or A, B), with a question, and a label that tells the right one by its "
        "column, its letter (A is the first) or its number (0 is the first)"
    )


def _families(columns: Sequence[Column], label: Column) -> list[tuple[Column, ...]]:
    """Sets of columns that may be choices: those that the label names, or those that a number or letter tells apart."""
    by_name = {column.name: column for column in columns}
    named = tuple(column for column in columns if column.name in label.values)
    families: dict[tuple[str, bool], list[Column]] = {}
    for name, column in by_name.items():
        if match := _NUMBERED.fullmatch(name):
            families.setdefault((match[1], match[2].isdigit()), []).append(column)
    found = [tuple(sorted(family, key=_place)) for family in families.values()]
    known = [named] if fit_but_for_slips(sum(label.values[column.name] for column in named), label.filled) else []
    return [family for family in [*known, *found] if 2 <= len(family) <= _MOST_CHOICES]


def _place(column: Column) -> tuple[int, str]:
    match = _NUMBERED.fullmatch(column.name)
    assert match is not None
    return (int(match[2]) if match[2].isdigit() else 0, match[2].lower())


def _choice_of(choices: Sequence[Column]) -> Cell:
    """What a cell tells of so many choices, as `data.choices` reads it; None where it tells none."""
    count = len(choices)
    meant = {*map(str, range(count)), *string.ascii_uppercase[:count], *(column.name for column in choices)}
    return lambda cell: cell.strip() if cell.strip() in meant else None


def _asked(columns: Sequence[Column], truth: Column | None) -> list[Column]:
    return list(columns) if truth is None else [truth]


def _label(columns: Sequence[Column]) -> Column | None:
    return next((column for column in columns if _named(column, _LABELS)), columns[-1] if columns else None)


def _named(column: Column, names: Sequence[str]) -> bool:
    return column.name.strip().lower() in names


def _longest(column: Column) -> float:
    return sum(column.tokens) / max(1, column.filled)


def _span(cell: str) -> object:
    from trustbase.data.marked import read_span

    try:
        found = read_span(cell)
    except ValueError:
        return None
    return found if found.start < found.end else None


def _no_clock(column: Column) -> bool:
    """Whether it is a span by more than the form 9:30, which times of the day have too."""
    return _named(column, (*_HEADS, *_TAILS)) or any(cell.lstrip().startswith(("[", "{")) for cell in column.values)
