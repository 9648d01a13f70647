"""`trustbase compare`: a champion and a challenger on the same rows. Leaves compare.json and compare.html."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase import files
from trustbase.audit.named_texts import NamedTexts
from trustbase.data.pair import sides
from trustbase.errors import DataError, Problem, UsageError
from trustbase.events import Emit, ignore
from trustbase.places import alone_in, output_folder
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo, LabelSchema, Split
from trustbase.train.launcher import refuse_launchers

if TYPE_CHECKING:
    from trustbase.audit.comparing import Side

JSON_FILE, PAGE_FILE = "compare.json", "compare.html"
CALLS = 200  # single questions to each, in turns


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to: `facts` is the content of `compare.json`."""

    facts: Mapping[str, Any]
    folder: Path

    def contrast(self, metric: str) -> dict[str, Any] | None:
        """The numbers of one metric, as in `compare.json`; None where there are none."""
        return next((dict(item) for item in self.facts["metrics"] if item["metric"] == metric), None)

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import page_html

        return page_html((self.folder / PAGE_FILE).read_text(encoding="utf-8"))


def compare(
    champion: str | Path,
    challenger: str | Path,
    *,
    data: str | Path,
    label: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    question: str | None = None,
    choices: Sequence[str] = (),
    head: str | None = None,
    tail: str | None = None,
    groups: Sequence[str] | None = None,
    positive: str | None = None,
    trust: str | Path | None = None,
    out: str | Path = "comparison",
    lang: str = "en",
    seed: int = 0,
    calls: int = CALLS,
    emit: Emit = ignore,
) -> Comparison:
    """Ask two models about the same rows, and say how far apart they are and how surely.

    Every difference is the challenger's number less the champion's.

    Args:
        champion: bundle, run folder, checkpoint folder, `package:NAME` or hub id. Bundles are checked first.
        challenger: another one, with the same labels.
        data: rows to ask about.
        label: column of the true label; by default the one that the recipe of either names.
        text: text column or template of a model that does not say what it reads.
        text_pair: the second one, where such a model reads pairs.
        question: what is asked of the text, where such a model searches it for the answer.
        choices: what such a model weighs.
        head: column of the first entity, where such a model tells relations.
        tail: column of the second one.
        groups: columns to compare by; by default those that the recipe of either names.
        positive: the positive label, where the two do not name the same.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        out: folder for the results.
        lang: language of the page, "en" or "zh".
        seed: of everything that is drawn.
        calls: single questions to each for the latency; 0 measures none.
        emit: takes events.

    Raises:
        UsageError: options or labels that do not go together; every problem.
        DataError: rows that cannot be used; every one of them.
        ModelError: a model cannot be opened.
        VerificationError: a bundle that is not what somebody trusted released.
    """
    from trustbase.audit.comparing import comparison_facts
    from trustbase.report.comparing import comparison_page
    from trustbase.report.words import words

    refuse_launchers("a comparison")
    named = NamedTexts(text, text_pair, question, tuple(choices), head, tail)
    if problems := list(named.problems()):
        raise UsageError("this comparison cannot start", problems=problems)
    folder = output_folder(out, (JSON_FILE, PAGE_FILE), JSON_FILE)
    words(lang)  # a language that is not there is refused before anything is asked
    with ExitStack() as stack:
        infos = _open(stack, (champion, challenger), trust, emit)
        infos, texts = _texts(infos, named)
        columns, shared = _agreed((champion, challenger), infos, label, text, groups, positive, calls, trust)
        _tell_of_owners((champion, challenger), data, trust, emit)
        splits = _read(data, infos, texts, columns, shared)
        seen = _seen((champion, challenger), splits, emit)
        sides = _ask_ready(stack, (champion, challenger), infos, splits)
        stack.enter_context(alone_in(folder))
        looks = _count_looks(sides, shared, data)
        facts = comparison_facts(sides, shared, data, columns, looks, seed, calls, emit)
        facts["data"] |= {"seen": seen} if seen else {}
        (folder / PAGE_FILE).unlink(missing_ok=True)  # of an earlier comparison in this folder: never beside the numbers of this one
        files.write_json(folder / JSON_FILE, facts)
        files.write_text(folder / PAGE_FILE, comparison_page(facts, lang))
    return Comparison(facts, folder)


def _open(stack: ExitStack, references: Sequence[str | Path], trust: str | Path | None, emit: Emit) -> list[ArtifactInfo]:
    """Both artefacts; whether one was not released is told, and limits have no part in this."""
    from trustbase.bundle.subject import open_subject

    def unreleased(event: str, /, **fields: Any) -> None:
        emit(event, **{**fields, "text": str(fields.get("text", "")).partition(", so the limits")[0]})

    return [stack.enter_context(open_subject(str(reference), unreleased, trust=trust))[0] for reference in references]


def _texts(infos: Sequence[ArtifactInfo], named: NamedTexts) -> tuple[list[ArtifactInfo], list[str]]:
    """What each reads: its own columns, or those that are named where it does not know any."""
    asked = [(info, info.text) if info.text is not None else named.of(info) for info in infos]
    return [info for info, _ in asked], [str(text) for _, text in asked]


def _agreed(
    references: Sequence[str | Path],
    infos: Sequence[ArtifactInfo],
    label: str | None,
    text: str | None,
    groups: Sequence[str] | None,
    positive: str | None,
    calls: int,
    trust: str | Path | None,
) -> tuple[tuple[str, tuple[str, ...]], LabelSchema]:
    """Label and group columns, and the labels with their positive one.

    Raises:
        UsageError: something is missing, or the two do not speak of the same; every problem.
    """
    from trustbase.bundle.subject import own_columns

    first, second = infos
    known = [found for found in (own_columns(reference, trust=trust) for reference in references) if found is not None]
    columns = {label} if label is not None else {found[0] for found in known}
    named = {info.labels.positive for info in infos if not info.labels.positive_assumed} or {first.labels.positive, second.labels.positive}
    problems = list(_column_problems(references, infos, columns, text)) + list(_label_problems(infos, named, positive))
    if calls < 0:
        problems.append(Problem("--calls", f"must be 0 or more, got {calls}"))
    if problems:
        raise UsageError("these two cannot be compared so", problems=problems)
    chosen = positive or (named.pop() if len(named) == 1 else first.labels.positive)
    favourable = next((info.labels for info in infos if not info.labels.favourable_assumed), None)
    schema = replace(
        first.labels,
        positive=chosen,
        positive_assumed=positive is None and first.labels.positive_assumed and second.labels.positive_assumed,
        favourable=favourable.favourable if favourable is not None else chosen,
        favourable_assumed=favourable is None,
    )
    wanted = tuple(groups) if groups is not None else tuple(dict.fromkeys(name for found in known for name in found[1]))
    return (columns.pop(), wanted), schema


def _tell_of_owners(references: Sequence[str | Path], data: str | Path, trust: str | Path | None, emit: Emit) -> None:
    """Differences are of rows; where several may be of one customer or patient, that is said."""
    from trustbase.bundle.subject import own_columns

    owners = {own.entity for reference in references if (own := own_columns(reference, trust=trust)) and own.entity}
    for owner in sorted(owners):
        text = f"a recipe divided its rows by '{owner}': differences here take the rows of {data} as independent"
        emit("warning", text=f"{text}, and are less sure where several are of one")


def _column_problems(
    references: Sequence[str | Path], infos: Sequence[ArtifactInfo], columns: set[str], text: str | None
) -> Iterator[Problem]:
    if len(columns) != 1:
        why = f"their recipes name {' and '.join(sorted(columns))}" if columns else "neither model knows the column of the true label"
        yield Problem("--label", why, "name it")
    for reference, info in zip(references, infos, strict=True):
        if info.text is None and text is None:
            yield Problem("--text", f"{reference} does not say what it reads", "name the text column, or a template over columns")


def _label_problems(infos: Sequence[ArtifactInfo], named: set[str], positive: str | None) -> Iterator[Problem]:
    """Labels must be the same by name, in any order; which of two is the positive one must be known."""
    from trustbase.audit.comparing import label_names

    names, kinds = infos[0].labels.names, [info.answer_kind for info in infos]
    if len(set(kinds)) > 1 or not ANSWER_KINDS[kinds[0]].contrasts:
        of = [ANSWER_KINDS[kind].of for kind in kinds]
        why = f"the champion is {of[0]}, the challenger {of[1]}" if len(set(kinds)) > 1 else f"two of '{of[0]}' cannot be compared yet"
        yield Problem("answers", why, "compare models of one task")
    elif positive is not None and kinds[0] != "classes":
        yield Problem("--positive", f"is one of several labels, and each of the two is {ANSWER_KINDS[kinds[0]].of}", "leave it out")
    elif len({frozenset(label_names(info.answer_kind, info.labels)) for info in infos}) > 1:
        told = [", ".join(sorted(label_names(info.answer_kind, info.labels))[:10]) for info in infos]
        yield Problem("labels", f"the champion answers {told[0]}, the challenger {told[1]}", "compare models of one task")
    elif positive is not None and positive not in names:
        yield Problem("--positive", f"'{positive}' is no label of the models", f"labels: {', '.join(names)}")
    elif kinds[0] == "classes" and positive is None and len(names) == 2 and len(named) > 1:
        yield Problem("--positive", f"the two take another label for the positive one: {', '.join(sorted(named))}", "name it")


def _read(
    data: str | Path, infos: Sequence[ArtifactInfo], texts: Sequence[str], columns: tuple[str, tuple[str, ...]], labels: LabelSchema
) -> list[Split]:
    """The rows as each of the two reads them.

    Raises:
        DataError: the file, a column, or rows cannot be used; every problem of both.
    """
    from trustbase.audit.comparing import PARTS
    from trustbase.data.options import FeatureOptions
    from trustbase.data.single import load_single

    wanted = [(text, FeatureOptions.model_validate(info.features), info.numbers) for info, text in zip(infos, texts, strict=True)]
    splits, errors = [], []
    for text, features, numbers in wanted[:1] if wanted[0] == wanted[1] else wanted:
        try:
            named: dict[str, Any] = {"label": columns[0], "groups": columns[1], "labels": labels, "name": "test"}
            read = load_single(str(data), text=text, **named, features=features, numbers=numbers, answers=infos[0].answer_kind)
            splits.append(read[0])
        except DataError as error:
            errors.append(error)
    if errors:
        problems = list(dict.fromkeys(problem for error in errors for problem in error.problems))
        raise DataError(errors[0].message, hint=errors[0].hint, problems=problems)
    first, second = splits[0], splits[-1]
    if not np.array_equal(first.row_numbers, second.row_numbers) or not np.array_equal(first.labels, second.labels):
        raise DataError("the two do not read the same rows of this file", hint="give a file whose rows both can read")
    if infos[0].answer_kind in PARTS and any(
        sides(one)[-1] != sides(other)[-1] for one, other in zip(first.texts, second.texts, strict=True)
    ):
        hint = "compare models that find parts of the same column"
        raise DataError("the two find parts of different texts, which cannot be held beside each other", hint=hint)
    return [first, second]


def _seen(references: Sequence[str | Path], splits: Sequence[Split], emit: Emit) -> dict[str, int]:
    """Rows that each has learned from, by their text: where a run folder is named, which keeps its rows. Told where there are some."""
    from trustbase.bundle.subject import trained_on

    found = {}
    for who, reference, split in zip(("champion", "challenger"), references, splits, strict=True):
        count = trained_on(reference, split.texts)
        if count:
            found[who] = count
            text = f"{count:,} of {len(split):,} rows have a text that also stands in the training rows of {reference}"
            emit("warning", text=f"{text}: what it answers there says little about other rows, and the difference is in its favour")
    return found


def _ask_ready(stack: ExitStack, references: Sequence[str | Path], infos: Sequence[ArtifactInfo], splits: Sequence[Split]) -> list[Side]:
    from trustbase.audit.comparing import Side
    from trustbase.model.predict import Predictor

    return [
        Side("/".join(Path(reference).parts[-2:]), info, split, stack.enter_context(Predictor.open(info)))
        for reference, info, split in zip(references, infos, splits, strict=True)
    ]


def _count_looks(sides: Sequence[Side], labels: LabelSchema, data: str | Path) -> tuple[int, int]:
    """Count a look of each model at these rows, before it is asked: how many there are now, and how many of them are these."""
    from trustbase.gate.ledger import record_look_at

    run = f"compare-{uuid.uuid4().hex}"
    shared: dict[str, Any] = {"run": run, "policy_digest": None, "kind": sides[0].info.answer_kind}
    now = max(record_look_at(side.test, labels, data, model_digest=side.info.digest, **shared) for side in sides)
    return now, len({(side.test.digest, side.info.digest) for side in sides})  # one artefact twice looks once
