"""What kinds of things the registry (`recipe.lookup`) holds, and how one of them is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A registered thing: `module:attribute` and its one-line description."""

    target: str
    about: str


@dataclass(frozen=True)
class Adaptation(Entry):
    """A registered adaptation, and what must be known of it before any weight is read.

    Attributes:
        options: the keys of `adapt:` that it owns, beside `method`.
        leaves: what lies on disk afterwards: "model" (all weights), or "adapter" (what was added, and the head).
        merges: whether what it adds can become part of the weights; else base and module ship together.
        opens_merged: whether a shipped adapter becomes part of the weights when it is opened; else it answers as it was trained.
        needs, extra: a library beyond the core that it stands on, and the extra of this package that installs it.
        no_shard, no_checkpointing, no_layer_decay: why `cluster.shard`, `train.gradient_checkpointing` and `train.layer_decay` cannot be
            had with it; empty where they can.
    """

    options: tuple[str, ...] = ()
    leaves: str = "model"
    merges: bool = True
    opens_merged: bool = True
    needs: str = ""
    extra: str = ""
    no_shard: str = ""
    no_checkpointing: str = ""
    no_layer_decay: str = ""


@dataclass(frozen=True)
class TaskEntry(Entry):
    """A registered task, and what must be known of it before any row or weight is read.

    Attributes:
        answers: its answer kind, a key of `ANSWER_KINDS`.
        texts: how many texts the model reads together: 1, or 2 of a pair.
        pairs: whether it reads two where `data.text_pair` is named, although one is enough.
        entities: how many entities are marked in the text (`data.head`, `data.tail`).
        reads: what one input is (`model.sequencer`): "text" (one, or two as a pair), "units" (of one text, each answered), "choices" (a
            question and its choices), or "context" (a question and the text that is searched for its answer).
        hub: what the Hugging Face Hub calls such a task (which counts numbers told of texts to text classification); empty where it has
            no such name, or one under which it would ask in another form.
    """

    answers: str = "classes"
    texts: int = 1
    pairs: bool = False
    entities: int = 0
    reads: str = "text"
    hub: str = ""


@dataclass(frozen=True)
class AnswerKind(Entry):
    """What a model's answers are; `target` says how scores become answers (`outputs.answers`).

    Attributes:
        truth: how the label column is read (`data.truth`).
        question: the question kind whose values are the scores.
        of: a model of this kind, in words.
        contrasts: how two models of it are compared; empty where that cannot be done.
        averaged: what takes the mean of several models' outputs (`train.members`); empty where there is none.
    """

    truth: str = ""
    question: str = ""
    of: str = ""
    contrasts: str = ""
    averaged: str = ""


@dataclass(frozen=True)
class Runtime(Entry):
    """A registered runtime, and whether it reads tokens: then it is opened with the artefact's tokenizer."""

    tokens: bool = True


@dataclass(frozen=True)
class Perturbation(Entry):
    """A registered change of a text: `target` is `change(text, rng, rate)`, which gives the changed text, or None where it cannot be made.

    Attributes:
        of: what a text must hold, for the reason where none of them does.
        rate: share of the places where it can be made that are changed, at least one of them; 1 where it is made wherever it can be.
        table: what says why a table that it needs cannot be read, "" where it can (`module:function`); empty where it needs none.
        keeps: whether a reader takes the changed text for the same statement; else it says something else.
    """

    of: str = ""
    rate: float = 1.0
    table: str = ""
    keeps: bool = True

    def missing(self) -> str:
        """Why it cannot be made here; "" where it can."""
        return str(load_named(self.table)()) if self.table else ""


@dataclass(frozen=True)
class Plain(Entry):
    """A model that a person can read: `target` is what answers, `learns` what learns it (`module:function`)."""

    learns: str = ""

    def learner(self) -> Any:
        """What learns it, imported now."""
        return load(Entry(self.learns, self.about))


@dataclass(frozen=True)
class Rival(Entry):
    """A registered rival; `target` trains it for classes, `others` for further answer kinds."""

    others: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> str | None:
        """The import string of what trains it for an answer kind; None where it has no sense."""
        return (self.target or None) if kind == "classes" else self.others.get(kind)


def load(entry: Entry) -> Any:
    """The thing itself, imported now."""
    return load_named(entry.target)


def load_named(target: str) -> Any:
    """What an import string `module:attribute` names, imported now."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
