"""Batch answers of a released bundle: checked first, then one JSON line for each input row, in the same order."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.bundle.layout import BASE_MODEL, MODEL
from trustbase.bundle.verify import VerifiedBundle, verify
from trustbase.errors import UsageError, system_errors_told
from trustbase.events import Emit, ignore
from trustbase.leftovers import clear_abandoned, hold
from trustbase.places import refuse_inside_bundle, require_folder
from trustbase.records import ArtifactInfo

if TYPE_CHECKING:
    from trustbase.bundle.rows import Row
    from trustbase.data.cells import Reading
    from trustbase.model.predict import Predictor
    from trustbase.model.questions import Result

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class PredictSummary:
    """What a batch came to: `rows == answered + failed`; `unknown` rows hold a name in that column which the model does not know."""

    rows: int
    answered: int
    failed: int
    output: Path
    seconds: float
    manifest_digest: str
    unknown: Mapping[str, int] = field(default_factory=dict)


def predict(
    bundle: str | Path,
    *,
    input: str | Path,
    output: str | Path,
    entities: str | Path | None = None,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    most_pairs: int | None = None,
    trust: str | Path | None = None,
    emit: Emit = ignore,
) -> PredictSummary:
    """Answer every row of a file with a bundle that was checked first.

    A row that cannot be asked about, or that the model fails on, gets `{"error": {"type", "message"}}` on its line and
    leaves the others alone. An answer to a text that is longer than the model reads says how many of its tokens were not read
    (`unread_tokens`). The output appears whole, at the end, or not at all.

    Args:
        bundle: the bundle folder.
        input: csv, tsv, jsonl or parquet with the recipe's own columns.
        output: JSONL to write.
        entities: a bundle of task token-classification, which finds the entities between which `bundle` then tells relations; of the
            recipe's columns the text alone is read.
        types: with `entities`: what the rows of the relation model called each type; by default equal names mean the same.
        farthest: with `entities`: most characters between the two of a pair.
        most_pairs: with `entities`: pairs of one text (2,000 by default); a row with more gets an error.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        emit: takes `progress` events and warnings.

    Raises:
        UsageError: there is no such folder, the output cannot be written, the bundle holds a base model, which has no answers to give, or
            the two bundles cannot be asked together.
        VerificationError: the bundle is not what a trusted signer released; nothing was asked or written.
        ModelError: this machine does not reproduce the bundle's golden outputs; nothing was written.
        DataError: the input as a whole cannot be read, or lacks a column.
    """
    from trustbase.outputs.related import said_of_one

    started = time.monotonic()
    target = files.check_output(output)
    refuse_inside_bundle(target, "the output")
    how = {"types": types, "farthest": farthest, "most": most_pairs}
    if problems := said_of_one(entities, {"--types": types, "--farthest": farthest, "--most-pairs": most_pairs}):
        raise UsageError("nothing was asked", problems=problems)
    for named in (bundle, *(() if entities is None else (entities,))):
        require_folder(named, "name the bundle/ folder of a released run")
    checked = verify(bundle, trust=trust, emit=emit)
    _refuse_base(checked)
    finder = None if entities is None else verify(entities, trust=trust, emit=emit)
    source = Path(input)
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"input and output are the same file: {source}", hint="name another output")
    inside = [each for each in (checked, finder) if each is not None and target.is_relative_to(each.folder.resolve())]
    if inside:
        raise UsageError(f"the output {target} would stand inside the bundle and break it", hint="name an output elsewhere")
    how = {name: value for name, value in how.items() if value is not None}
    with _whole_file(target) as stream, _asked(checked, finder, how) as asked:
        answered, failed, unknown = _answer(asked, source, stream, emit, quoted=_quoted(checked))
    seconds = time.monotonic() - started
    return PredictSummary(answered + failed, answered, failed, Path(output), seconds, checked.manifest_digest, unknown)


def _refuse_base(checked: VerifiedBundle) -> None:
    """A base model has no task, so no row has an answer.

    Raises:
        UsageError: the bundle holds one.
    """
    if json.loads(checked.read(f"{MODEL}/artifact.json")).get("answer_kind") == BASE_MODEL:
        raise UsageError(
            f"{checked.folder} holds a base model: it has no task, so there is nothing to predict",
            hint=f"name it as base: in a recipe (base: {checked.folder}) and fine-tune it on labelled rows",
        )


@dataclass(frozen=True)
class _Asked:
    """What answers rows: how they are read, what makes lines of them, and how many hold a name that is not known."""

    reading: Reading
    lines: Callable[[Sequence[Row]], list[dict[str, Any]]]
    unknown: Callable[[Sequence[Row]], Mapping[str, int]]
    at_once: int = ROWS_AT_ONCE


@contextmanager
def _asked(checked: VerifiedBundle, finder: VerifiedBundle | None, how: Mapping[str, Any]) -> Iterator[_Asked]:
    """The model of a checked bundle, alone or with one that finds the entities it is asked about; each gave its golden outputs again."""
    from trustbase.bundle.both import opened_both, reading_of, related_rows
    from trustbase.bundle.golden import repeat_golden
    from trustbase.data.cells import Reading
    from trustbase.model.columns import encoder_in
    from trustbase.model.ensemble import first_part
    from trustbase.model.predict import Predictor
    from trustbase.outputs.related import TEXTS_AT_ONCE

    if finder is not None:
        with opened_both(finder, checked, **how) as (one, other, pairing):
            yield _Asked(reading_of(other), partial(related_rows, one, other, pairing), lambda rows: {}, TEXTS_AT_ONCE)
        return
    with checked.private_model() as model, Predictor.open(model) as predictor:
        repeat_golden(json.loads(checked.read("golden.json")), predictor)
        encoder = encoder_in(first_part(predictor.info.folder))

        def unknown(rows: Sequence[Row]) -> Mapping[str, int]:
            return encoder.unknown([row for row in rows if isinstance(row, str)]) if encoder is not None else {}

        yield _Asked(Reading.of(predictor.info), lambda rows: answer_rows(predictor, rows), unknown)


def _answer(asked: _Asked, source: Path, stream: _Output, emit: Emit, *, quoted: bool) -> tuple[int, int, dict[str, int]]:
    from trustbase.bundle.rows import read_rows

    unknown: Counter[str] = Counter()
    answered = failed = cut = 0
    size = source.stat().st_size if source.is_file() else 0  # progress is counted in bytes: rows are not known beforehand
    for chunk in read_rows(source, asked.reading, quoted=quoted):
        for start in range(0, len(chunk.rows), asked.at_once):
            rows = chunk.rows[start : start + asked.at_once]
            lines = asked.lines(rows)
            unknown.update(asked.unknown(rows))
            stream.write("".join(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n" for line in lines).encode("utf-8"))
            bad, cut = sum("error" in line for line in lines), cut + sum("unread_tokens" in line for line in lines)
            answered, failed = answered + len(lines) - bad, failed + bad
            done = chunk.read if start + asked.at_once >= len(chunk.rows) else min(chunk.read, size - 1)
            emit("progress", what="predict", done=done, total=size)
    for name, count in sorted(unknown.items()):
        emit("warning", text=f"column '{name}': {count:,} rows hold a name that the model does not know, and were answered as such")
    if cut:
        emit("warning", text=f"{cut:,} of {answered:,} answers are about a part of their text alone: it is longer than the model reads")
    return answered, failed, dict(unknown)


def answer_rows(predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One JSON object for each row: an answer, or an error of its own."""
    from trustbase.bundle.rows import BadInput
    from trustbase.model.questions import Question
    from trustbase.recipe.lookup import ANSWER_KINDS

    texts = [row for row in rows if not isinstance(row, BadInput)]
    results = iter(predictor.ask_all([Question(ANSWER_KINDS[predictor.info.answer_kind].question, text) for text in texts]))
    lines = [
        _error("bad_row", f"{row.where}: {row.reason}") if isinstance(row, BadInput) else _line(next(results), predictor.info)
        for row in rows
    ]
    read = [(row, line) for row, line in zip(rows, lines, strict=True) if not isinstance(row, BadInput) and "error" not in line]
    for (_, line), lost in zip(read, predictor.unread([row for row, _ in read]).tolist(), strict=True):
        if lost:
            line["unread_tokens"] = lost
    return lines


def _line(result: Result, info: ArtifactInfo) -> dict[str, Any]:
    from trustbase.model.questions import Failure
    from trustbase.outputs.answers.base import answering

    if isinstance(result, Failure):
        return _error(result.code, result.reason)
    return answering(info.answer_kind).line(result.value, info.labels, info.decision)


def _error(kind: str, message: str) -> dict[str, Mapping[str, str]]:
    return {"error": {"type": kind, "message": message}}


def _quoted(checked: VerifiedBundle) -> bool:
    """Whether the recipe's own tables have quoted cells."""
    import yaml

    recipe = yaml.safe_load(checked.read("recipe.resolved.yaml"))
    data = recipe.get("data") if isinstance(recipe, dict) else None
    return bool(data.get("quoted", True)) if isinstance(data, dict) else True


class _Output:
    """A stream whose own failures are told as the output's: those of the model or the input pass by it."""

    def __init__(self, raw: FileIO, target: Path) -> None:
        self._raw = raw
        self._doing = f"the output {target}"

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with system_errors_told(self._doing):
            while rest:
                rest = rest[self._raw.write(rest) :]

    def finish(self) -> None:
        with system_errors_told(self._doing):
            os.fsync(self._raw.fileno())


@contextmanager
def _whole_file(target: Path) -> Iterator[_Output]:
    """A file that appears under its name only when it is finished and synced."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(target.parent, (target.name,))
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise UsageError(f"the output {target} cannot be written: {error.strerror}", hint="name another file") from error
    try:
        with FileIO(handle, "wb") as raw:  # unbuffered: nothing is left to fail when it is closed
            hold(handle)
            stream = _Output(raw, target)
            yield stream
            stream.finish()
        with system_errors_told(f"the output {target}"):
            Path(name).chmod(0o644)
            Path(name).replace(target)
            files.sync_folder(target.parent)
    finally:
        Path(name).unlink(missing_ok=True)
