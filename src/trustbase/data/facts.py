"""What is worth knowing about the rows of a run: counts and choices for log and data card, never a row itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trustbase.data import clean, groups, labels, split
from trustbase.data.cells import inputs_of
from trustbase.data.gather import Source, all_bad
from trustbase.data.options import DataOptions
from trustbase.data.pair import readable
from trustbase.data.reference import is_database
from trustbase.data.samples import find_sample, is_sample
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Truth
from trustbase.records import LabelSchema, Split


def source_facts(options: DataOptions, template: TextTemplate, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Files, bad rows, text and split rule, as they are before any row became part of a split."""
    sample = find_sample(options.train) if is_sample(options.train) else None
    shown = groups.shown_to_model(template, options.groups, options.features.columns)
    return {
        "sources": {name: _file(source) for name, source in sources.items()},
        "bad_rows": _bad(sources),
        "text": {
            "template": readable(template.source),
            "columns": list(template.columns),
            "plain": template.plain,
            "pair": bool(template.sides),
            **({"choices": len(template.sides) - 1} if len(template.sides) > 2 else {}),
        },
        "features": options.features.model_dump(),
        "label": options.label,
        "groups": {
            "columns": list(options.groups),
            "shown_to_model": shown,
            "hidden_from_model": [n for n in options.groups if n not in shown],
        },
        "split": _rule(options, sources),
        "licence": options.licence or (sample.licence if sample else None),
        "attribution": sample.attribution if sample else None,
        "splits": {},
        "notes": [_shown(name, template) for name in shown]
        + [f"{name}: {note}" for name, source in sources.items() for note in _found(source)]
        + _unordered(options),
    }


def _found(source: Source) -> list[str]:
    """What reading found of the form of rows and labels."""
    return [*source.raw.notes, *(source.truth.notes if source.truth is not None else ())]


def _shown(name: str, template: TextTemplate) -> str:
    by = "the text template shows" if name in template.columns else "data.features shows"
    return f"{by} the group column '{name}' to the model"


def _unordered(options: DataOptions) -> list[str]:
    if options.query is None or re.search(r"\border\s+by\b", options.query, re.IGNORECASE):
        return []
    return ["data.query has no ORDER BY: the database may give its rows in another order next time, which is another data set to a run"]


def split_facts(
    part: Split,
    schema: LabelSchema,
    source: Source,
    truth: Truth,
    *,
    repeats: clean.Repeats,
    grouped: Mapping[str, Mapping[str, int]],
    missing: Mapping[str, int],
    **more: Any,
) -> dict[str, Any]:
    """Counts of one split; `grouped` are the rows of each group of each column."""
    return {
        "rows": len(part),
        "source": public_name(source.reference),
        **truth.counts(part.labels, schema),
        "groups": {column: dict(counts) for column, counts in grouped.items()},
        "missing": dict(missing),
        "duplicate_rows": repeats.duplicates,
        "conflicting_texts": repeats.conflicting_texts,
        "conflicting_rows": repeats.conflicting_rows,
        **more,
    }


def shared_texts(splits: Mapping[str, Split]) -> dict[str, int]:
    """Rows of the second of each pair of splits whose text (with the cells read beside it) also stands in the first."""
    texts = {name: pa.array(inputs_of(part, part.features), pa.large_string()) for name, part in splits.items()}
    return {f"{one}/{other}": split.overlap(texts[one], texts[other]) for one, other in pairs_of(splits)}


def pairs_of(splits: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of splits that must not share a text."""
    pairs = (*pairwise(split.SPLITS), ("train", "test"), ("train", split.CALIBRATION), (split.CALIBRATION, "test"))
    return [pair for pair in pairs if set(pair) <= set(splits)]


def facts_across(splits: Mapping[str, Split], facts: Mapping[str, Any], schema: LabelSchema, shared: Mapping[str, int]) -> dict[str, Any]:
    """What shows only when all splits stand: texts in two of them, contradictions, labels that look like nothing; and notes on them."""
    for name, part in splits.items():
        facts["splits"][name]["new_names"] = _new_names(splits.get("train", part), part, facts["features"]["categorical"])
    notes = list(facts["notes"])
    for pair, rows in shared.items():
        one, other = pair.split("/")
        if rows:
            notes.append(f"{rows:,} of {len(splits[other]):,} {other} rows have a text that also stands in {one}")
    for name, found in facts["splits"].items():
        if found["conflicting_texts"]:
            what = "number" if "numbers" in found else "label"
            notes.append(f"{name}: {found['conflicting_texts']:,} texts carry more than one {what} ({found['conflicting_rows']:,} rows)")
        if found["labels_trimmed"]:
            notes.append(f"{name}: blanks around {found['labels_trimmed']:,} labels were left away")
    rows = sum(map(len, splits.values()))
    if len(schema.names) > max(20, rows // 20):
        notes.append(f"{len(schema.names):,} labels for {rows:,} rows: is '{facts['label']}' the right column?")
    notes += [f"the label '{name}' looks like a missing value; it is used as a label" for name in labels.suspects(schema.names)]
    return {"overlap": dict(shared), "notes": notes}


def _new_names(train: Split, part: Split, columns: Sequence[str]) -> dict[str, int]:
    """Rows of a part whose name in a column stands in no training row."""
    found = {}
    for column in columns:
        given = part.table[column].drop_null()
        found[column] = len(given) - int(pc.sum(pc.is_in(given, value_set=train.table[column].combine_chunks())).as_py() or 0)
    return found


def public_name(reference: str) -> str:
    """A file as the card may name it: as in the recipe, but never where it stands on somebody's machine."""
    if is_database(reference):  # neither host nor user
        kind, _, rest = reference.partition("://")
        return f"{kind.partition('+')[0]}:///{PurePath(rest.partition('?')[0]).name}"
    path = PurePath(reference)
    return path.name if path.is_absolute() or reference.startswith("~") or ".." in path.parts else reference


def _file(source: Source) -> dict[str, Any]:
    raw = source.raw
    bad = len(all_bad(source))
    more: dict[str, Any] = {"files": len(raw.files)} if raw.files else {}
    more |= {"revision": raw.revision} if raw.revision else {}
    return {"name": public_name(source.reference), **more, "digest": raw.digest, "bytes": raw.size, "rows": raw.total, "bad_rows": bad}


def _bad(sources: Mapping[str, Source]) -> dict[str, Any]:
    """Rows left out: how many, of which kind, and where; without any value of theirs."""
    rows: list[str] = []
    kinds: dict[str, int] = {}
    for source in sources.values():
        for item in all_bad(source):
            rows.append(f"{public_name(item.file or source.reference)}:{item.line}: {item.kind}")
            kinds[item.kind] = kinds.get(item.kind, 0) + 1
    return {"count": len(rows), "kinds": kinds, "rows": rows}


def _rule(options: DataOptions, sources: Mapping[str, Source]) -> dict[str, Any]:
    """How each split came to be."""
    found = {}
    given = set(sources) - {split.CALIBRATION}
    there = split.PARTS if any(len(source.parts.get(split.CALIBRATION, ())) for source in sources.values()) else split.SPLITS
    for name in there:
        if name in sources and name != "train":
            found[name] = "a file of its own"
        elif options.split.column is not None and name in sources["train"].named:
            found[name] = f"column '{options.split.column}'"
        elif name == "train":
            found[name] = "the other rows of its file" if len(given) < len(split.SPLITS) else "a file of its own"
        else:
            found[name] = _cut(options, name)
    by = options.split.by if isinstance(options.split.by, str) else options.split.by.model_dump()
    return {"column": options.split.column, "by": by, "how": found}


def _cut(options: DataOptions, name: str) -> str:
    """How a part that no file and no column names came out of the training rows."""
    share, key = getattr(options.split, name), options.split.key
    if name == split.CALIBRATION:
        by, together = ("the entity", f"all rows of an entity, column '{key}',") if options.split.by_entity else ("the text", "equal texts")
        return f"cut from the training rows by a hash of {by}, share {share:g} ({together} stay together)"
    if key is None:
        return f"cut from train by content hash, share {share:g} (equal texts stay together)"
    if options.split.by_entity:
        return (
            f"cut from train by a hash of the entity (column '{key}'), share {share:g} of the entities "
            "(all rows of an entity stay together; equal texts of different entities may not)"
        )
    return f"cut from train by time (column '{key}'), share {share:g}: {'the latest rows' if name == 'test' else 'those before test'}"
