"""The rows that an audit was about, found again in a file by their digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trustbase.data.cells import inputs_of
from trustbase.data.digest import digest_set
from trustbase.data.hub_name import is_hub
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.reference import says_format
from trustbase.data.samples import is_sample
from trustbase.data.single import load_single
from trustbase.data.truth.base import written
from trustbase.errors import DataError, Problem
from trustbase.events import Emit, ignore
from trustbase.records import LabelSchema, Split


@dataclass(frozen=True, eq=False)
class AuditedRows:
    """Rows whose digest is the one that an audit recorded.

    Attributes:
        splits: `test`; `train` and `validation` too where the file was divided as the recipe says.
        in_order: whether they stand in the order in which they were audited.
    """

    splits: Mapping[str, Split]
    labels: LabelSchema
    in_order: bool = True


def find_audited_rows(
    path: str | Path,
    options: DataOptions,
    *,
    text: str,
    labels: LabelSchema,
    recorded: Mapping[str, object],
    seed: int,
    kind: str = "classes",
    numbers: Sequence[str] = (),
    calibrate: bool = False,
    emit: Emit = ignore,
) -> AuditedRows:
    """The audited rows in a file: all of it, in any order, or the test part of it that the recipe cuts.

    Args:
        path: the file.
        options: the `data` section of the recipe; names of files in it are not used.
        text: what the model reads, as its artefact says.
        labels: the model's labels.
        recorded: the `data` object of `audit.json`: `digest`, `rows`, and `set` where the audit recorded it.
        seed: of the run, for `data.sample`.
        kind: the model's answer kind.
        numbers: columns of the template that the model takes for numbers.
        calibrate: whether the run kept training rows apart for calibration.
        emit: told what a reader of the log should know.

    Raises:
        DataError: the file cannot be read as such rows, or holds others; both digests are named.
    """
    reference = str(path) if is_sample(str(path)) or is_hub(str(path)) else str(Path(path).absolute())
    read = options.model_copy(update={"train": reference, "format": None if says_format(reference) else options.format})
    divided = partial(_divided, read, labels, seed, kind, bool(numbers), calibrate, emit)
    found: dict[str, str] = {}
    try:
        alone = _alone(read, text, labels, kind, numbers)
    except DataError as error:
        whole = divided()
        if whole is None:
            raise
        found["divided as the recipe says"] = whole.splits["test"].digest
        if whole.splits["test"].digest == recorded["digest"]:
            return whole
        raise DataError(error.message, hint=error.hint, problems=[*error.problems, _other(found, recorded)]) from error
    if alone.digest == recorded["digest"]:
        whole = divided() if is_sample(reference) else None  # of a sample that part alone was read
        return whole if whole is not None and whole.splits["test"].digest == alone.digest else AuditedRows({"test": alone}, labels)
    if recorded.get("set") == _set_digest(alone, labels, kind):
        return AuditedRows({"test": alone}, labels, in_order=False)
    found[f"all {len(alone):,} rows"] = alone.digest
    whole = divided()
    if whole is not None:
        if whole.splits["test"].digest == recorded["digest"]:
            return whole
        found[f"its {len(whole.splits['test']):,} test rows, cut as the recipe says"] = whole.splits["test"].digest
    hint = "name the file that the run was made from, or one that holds exactly its test rows; or name the run folder, which keeps them"
    raise DataError(f"{path} does not hold the rows that were audited", problems=[_other(found, recorded)], hint=hint)


def _alone(options: DataOptions, text: str, labels: LabelSchema, kind: str, numbers: Sequence[str]) -> Split:
    entity = options.split.key if options.split.by_entity else None
    read = {
        "features": options.features,
        "numbers": numbers,
        "format": options.format,
        "missing": options.missing,
        "quoted": options.quoted,
        "groups": options.groups,
        "answers": kind,
        "entity": entity,
    }
    return load_single(options.train, text=text, label=options.label, labels=labels, name="test", **read)[0]  # type: ignore[arg-type]


def _divided(
    options: DataOptions, labels: LabelSchema, seed: int, kind: str, apart: bool, calibrate: bool, emit: Emit
) -> AuditedRows | None:
    """The file as the recipe divides it; None where the recipe takes its parts from several files, or this one cannot be divided so."""
    if options.test is not None or options.validation is not None or options.calibration is not None:
        return None
    try:
        dataset = load(options, root=Path(), seed=seed, answers=kind, apart=apart, calibrate=calibrate)
    except DataError as error:
        emit("note", text=f"the file cannot be divided as the recipe says: {error.message}")
        return None
    return AuditedRows(dataset.splits, labels) if dataset.labels.names == labels.names else None


def _set_digest(split: Split, labels: LabelSchema, kind: str) -> str:
    groups = {name: values.tolist() for name, values in split.groups.items()}
    return digest_set(inputs_of(split, split.features), written(split, labels, kind), groups)


def _other(found: Mapping[str, str], recorded: Mapping[str, object]) -> Problem:
    told = "; ".join(f"{what}: {digest}" for what, digest in found.items())
    return Problem("--data", f"audited were {recorded.get('rows')} rows with the digest {recorded['digest']}; here: {told}")
