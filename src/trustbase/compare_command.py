"""`trustbase compare`: a champion and a challenger on the same rows. Leaves compare.json and compare.html."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase import files, seeds
from trustbase.audit_command import output_folder
from trustbase.errors import DataError, Problem, UsageError
from trustbase.events import Emit, ignore
from trustbase.records import ArtifactInfo, LabelSchema, Split
from trustbase.train.launcher import refuse_launchers

if TYPE_CHECKING:
    from trustbase.audit.challenge import Pair
    from trustbase.model.predict import Predictor

COMPARE_SCHEMA = "trustbase/compare/1"
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


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two: what it is, and the rows as it reads them."""

    name: str
    info: ArtifactInfo
    test: Split
    predictor: Predictor


def compare(
    champion: str | Path,
    challenger: str | Path,
    *,
    data: str | Path,
    label: str | None = None,
    text: str | None = None,
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
    from trustbase.report.words import words

    refuse_launchers("a comparison")
    folder = output_folder(out)
    words(lang)  # a language that is not there is refused before anything is asked
    with ExitStack() as stack:
        infos = _open(stack, (champion, challenger), trust, emit)
        columns, shared = _agreed((champion, challenger), infos, label, text, groups, positive, calls, trust)
        splits = _read(data, [info.text or str(text) for info in infos], columns, shared)
        sides = _ask_ready(stack, (champion, challenger), infos, splits)
        looks = _count_looks(sides, shared, data)
        facts = _facts(sides, shared, data, columns, looks, seed, calls, emit)
    files.write_json(folder / JSON_FILE, facts)
    from trustbase.report.comparing import comparison_page

    files.write_text(folder / PAGE_FILE, comparison_page(facts, lang))
    return Comparison(facts, folder)


def _open(stack: ExitStack, references: Sequence[str | Path], trust: str | Path | None, emit: Emit) -> list[ArtifactInfo]:
    """Both artefacts; whether one was not released is told, and limits have no part in this."""
    from trustbase.bundle.subject import open_subject

    def unreleased(event: str, /, **fields: Any) -> None:
        emit(event, **{**fields, "text": str(fields.get("text", "")).partition(", so the limits")[0]})

    return [stack.enter_context(open_subject(str(reference), unreleased, trust=trust))[0] for reference in references]


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
    names = infos[0].labels.names
    if set(names) != set(infos[1].labels.names):
        told = [", ".join(sorted(info.labels.names)[:10]) for info in infos]
        yield Problem("labels", f"the champion answers {told[0]}, the challenger {told[1]}", "compare models of one task")
    elif positive is not None and positive not in names:
        yield Problem("--positive", f"'{positive}' is no label of the models", f"labels: {', '.join(names)}")
    elif positive is None and len(names) == 2 and len(named) > 1:
        yield Problem("--positive", f"the two take another label for the positive one: {', '.join(sorted(named))}", "name it")


def _read(data: str | Path, texts: Sequence[str], columns: tuple[str, tuple[str, ...]], labels: LabelSchema) -> list[Split]:
    """The rows as each of the two reads them.

    Raises:
        DataError: the file, a column, or rows cannot be used; every problem of both.
    """
    from trustbase.data.load import load_single

    splits, errors = [], []
    for text in dict.fromkeys(texts):
        try:
            splits.append(load_single(str(data), text=text, label=columns[0], groups=columns[1], labels=labels, name="test")[0])
        except DataError as error:
            errors.append(error)
    if errors:
        problems = list(dict.fromkeys(problem for error in errors for problem in error.problems))
        raise DataError(errors[0].message, hint=errors[0].hint, problems=problems)
    first, second = splits[0], splits[-1]
    if not np.array_equal(first.row_numbers, second.row_numbers) or not np.array_equal(first.labels, second.labels):
        raise DataError("the two do not read the same rows of this file", hint="give a file whose rows both can read")
    return [first, second]


def _ask_ready(stack: ExitStack, references: Sequence[str | Path], infos: Sequence[ArtifactInfo], splits: Sequence[Split]) -> list[_Side]:
    from trustbase.model.predict import Predictor

    return [
        _Side("/".join(Path(reference).parts[-2:]), info, split, stack.enter_context(Predictor.open(info)))
        for reference, info, split in zip(references, infos, splits, strict=True)
    ]


def _count_looks(sides: Sequence[_Side], labels: LabelSchema, data: str | Path) -> int:
    """Count a look of each model at these rows, before it is asked; how many there are now."""
    from trustbase.gate.ledger import record_look_at

    run = f"compare-{uuid.uuid4().hex}"
    return max(record_look_at(side.test, labels, data, run=run, policy_digest=None, model_digest=side.info.digest) for side in sides)


def _facts(
    sides: Sequence[_Side],
    labels: LabelSchema,
    data: str | Path,
    columns: tuple[str, tuple[str, ...]],
    looks: int,
    seed: int,
    calls: int,
    emit: Emit,
) -> dict[str, Any]:
    """Everything that is measured, as JSON."""
    from tempfile import TemporaryDirectory

    from trustbase.audit.challenge import contrasts, discordant, gap_findings, group_contrasts
    from trustbase.audit.machine import machine_facts
    from trustbase.audit.paired import MCNEMAR, mcnemar_exact

    champion, challenger = sides
    with TemporaryDirectory(prefix="trustbase-compare-") as place:
        pair = _pair(sides, labels, Path(place), seed, emit)
        only = discordant(pair)
        path = Path(data)
        return {
            "schema": COMPARE_SCHEMA,
            "champion": _told(champion),
            "challenger": _told(challenger),
            "same_artefact": pair.same,
            "data": {
                "file": f"sha256:{files.sha256_file(path)}" if path.is_file() else str(data),
                "rows": len(champion.test),
                "label": columns[0],
                "groups": list(columns[1]),
                "labels": list(labels.names),
                "positive": labels.positive if labels.binary else None,
                "favourable": labels.favourable,
                "looks": looks,
            },
            "confidence": pair.context.confidence,
            "minimum_cell": pair.context.minimum_cell,
            "metrics": [item.to_json() for item in contrasts(pair)],
            "mcnemar": {
                "champion_only_right": only[0],
                "challenger_only_right": only[1],
                "p_value": mcnemar_exact(*only),
                "source": MCNEMAR,
            },
            "groups": [item.to_json() for item in group_contrasts(pair)],
            "gaps": [{"id": ours.id, "champion": _brief(ours), "challenger": _brief(theirs)} for ours, theirs in gap_findings(pair)],
            "latency": _latency(sides, seed, calls, pair.context.confidence, emit),
            "other_costs": _other_costs(champion.info, challenger.info),
            "machine": machine_facts(),
        }


def _pair(sides: Sequence[_Side], labels: LabelSchema, place: Path, seed: int, emit: Emit) -> Pair:
    """Both models' answers, each decided under its own threshold, in the label order of the champion."""
    from trustbase.audit.artifact import score_rows
    from trustbase.audit.askers.asking import Alone
    from trustbase.audit.challenge import Pair
    from trustbase.audit.context import Answers, AuditContext, Evidence
    from trustbase.outputs.decision import decide_labels

    answers = []
    for side in sides:
        own = side.info.labels
        scores = score_rows(Alone(side.predictor), side.test.texts, emit)
        said = decide_labels(scores, own, side.info.decision)
        codes = np.array([labels.index(name) for name in own.names], dtype=np.int64)
        answers.append(Answers(scores[:, [own.index(name) for name in labels.names]], codes[said]))
    decision = sides[0].info.decision
    if labels.positive != sides[0].info.labels.positive:  # its costs speak of the other label
        decision = replace(decision, cost=_turned(decision.cost))
    context = AuditContext(sides[0].test, labels, decision, answers[0], Evidence(place), seed, emit=emit)
    return Pair(context, answers[1], same=sides[0].info.digest == sides[1].info.digest)


def _turned(cost: Mapping[str, float]) -> dict[str, float]:
    return {"false_negative": cost["false_positive"], "false_positive": cost["false_negative"]} if cost else {}


def _latency(sides: Sequence[_Side], seed: int, calls: int, confidence: float, emit: Emit) -> dict[str, Any] | None:
    """How much longer the challenger takes, asked in turns about rows in a seeded order."""
    from trustbase.audit.turns import LEAST_TURNS, SOURCE, ask_in_turns

    if not calls:
        return None
    emit("progress", what="asking in turns", done=0, total=1)
    order = seeds.generator(seed, "compare", "turns").permutation(len(sides[0].test))[:calls]
    texts = [(sides[0].test.texts[row], sides[1].test.texts[row]) for row in order]
    turns = ask_in_turns(sides[0].predictor, sides[1].predictor, texts, calls=calls)
    emit("progress", what="asking in turns", done=1, total=1)
    n = len(turns.champion)
    medians, ratio = turns.medians(), turns.ratio(confidence)
    few = n < LEAST_TURNS or ratio[1] is None
    return {
        "champion_median_ms": medians[0],
        "challenger_median_ms": medians[1],
        "ratio": ratio[0],
        "low": None if few else ratio[1],
        "high": None if few else ratio[2],
        "n": n,
        "source": SOURCE,
        "reason": f"{n} turns, fewer than {LEAST_TURNS}" if few else "",
    }


def _told(side: _Side) -> dict[str, Any]:
    info = side.info
    return {
        "name": side.name,
        "digest": info.digest,
        "base": info.base,
        "runtime": info.runtime,
        "precision": info.precision,
        "text": info.text,
        "decision": info.decision.to_json(),
    }


def _brief(finding: Any) -> dict[str, Any]:
    return {key: getattr(finding, key) for key in ("value", "low", "high", "n", "status", "reason", "direction")}


def _other_costs(champion: ArtifactInfo, challenger: ArtifactInfo) -> bool:
    """Whether the two were made for other costs of errors; the champion's are applied to both."""
    own, other = champion.decision.cost, challenger.decision.cost
    if champion.labels.positive != challenger.labels.positive:
        other = _turned(other)
    return dict(own) != dict(other)
