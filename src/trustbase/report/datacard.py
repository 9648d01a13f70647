"""The data section of the report, from the data card: parts, labels, groups, lengths, repeats, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trustbase.report.facts import columns_read
from trustbase.report.formats import show
from trustbase.report.reasons import remark_in
from trustbase.report.words import Words

Block = dict[str, Any]

_MOST_ROWS = 60
_ORDER = ("train", "validation", "calibration", "test")
_NUMBERS = ("mean", "standard_deviation", "quartile_1", "median", "quartile_3")


def data_section(card: Mapping[str, Any], t: Words) -> Block:
    """The data card in words; empty where the folder has none."""
    if not card:
        return {}
    found = {str(name): part for name, part in (card.get("splits") or {}).items() if isinstance(part, Mapping)}
    parts = dict(sorted(found.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)))
    tables = [
        _parts(parts, t),
        _order(parts, t),
        _later(card, t),
        _labels(card, parts, t),
        _numbers(card, parts, t),
        *_groups(card, parts, t),
        _missing(parts, t),
    ]
    notes = [remark_in(str(note), t) for note in card.get("notes") or []]
    return {"facts": _facts(card, t), "tables": [table for table in tables if table], "notes": notes, "warnings": _warnings(card, parts, t)}


def _facts(card: Mapping[str, Any], t: Words) -> list[tuple[str, str]]:
    groups, text, label = card.get("groups") or {}, card.get("text") or {}, card.get("label") or {}
    shown, hidden = groups.get("shown_to_model") or [], groups.get("hidden_from_model") or []
    overlap = [t("label.colon", label=_pair(pair, t)) + f"{count:,}" for pair, count in (card.get("overlap") or {}).items()]
    bad = card.get("bad_rows") or {}
    rows: list[tuple[str, Any]] = [
        (t("data.source"), _sources(card, t)),
        (t("data.licence"), t("corpus.not_stated") if card.get("licence") == "not stated" else card.get("licence")),
        (t("data.attribution"), card.get("attribution")),
        (t("data.text"), text.get("template")),
        (t("data.features"), columns_read(card.get("features"), t)),
        (t("data.columns"), columns_read(_taken(card.get("columns")), t)),
        (t("data.label"), label.get("column")),
        (t("data.shown"), t("list.pair").join(map(str, shown)) or t("value.none") if groups else None),
        (t("data.hidden"), t("list.pair").join(map(str, hidden)) or t("value.none") if groups else None),
        (t("data.overlap"), t("list.items").join(overlap)),
        (t("data.bad_rows"), f"{bad.get('count', 0):,}" if bad else None),
        (t("data.languages"), _shares(card, "languages", "texts", "tongue", t)),
        (t("data.scripts"), _shares(card, "scripts", "letters", "script", t)),
        (t("data.digest"), card.get("digest")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _taken(columns: Any) -> dict[str, list[str]]:
    """Columns that the model reads one by one, by what each is taken for."""
    found: dict[str, list[str]] = {"numeric": [], "categorical": [], "words": []}
    kinds = {"numbers": "numeric", "categories": "categorical", "texts": "words"}
    for name, about in (columns if isinstance(columns, Mapping) else {}).items():
        found[kinds[about["kind"]]].append(str(name))
    return found


def _sources(card: Mapping[str, Any], t: Words) -> str:
    sources = card.get("sources") or {}
    named = [
        t("list.within", name=source.get("name", name), about=t.count("data.count", int(source.get("rows") or 0)))
        for name, source in sources.items()
    ]
    return t("list.items").join(dict.fromkeys(named))


def _pair(pair: str, t: Words) -> str:
    return " / ".join(t.of("split", name) for name in pair.split("/"))


def _shares(card: Mapping[str, Any], topic: str, of: str, family: str, t: Words) -> str:
    """Languages of the texts, or writing systems of the letters, of the first part that says."""
    for part in (card.get("splits") or {}).values():
        shares = (part.get(topic) or {}).get(of) or {}
        if shares:
            return t("list.pair").join(f"{t.of(family, name)} {show(share, 'percent', t)}" for name, share in shares.items())
    return ""


def _parts(parts: Mapping[str, Mapping[str, Any]], t: Words) -> Block:
    """One row for each part of the data."""
    heads = ["rows", "sampled", "length", "longest", "truncated", "unknown", "duplicates", "conflicting"]
    rows = []
    for name, part in parts.items():
        tokens = part.get("tokens") or {}
        quantiles = tokens.get("quantiles") or {}
        cells = [part.get("rows"), part.get("sampled_from"), quantiles.get("0.5"), quantiles.get("1")]
        shares = [show(tokens.get(key), "percent", t) for key in ("truncated_share", "unknown_share")]
        repeats = [_count(part.get(key)) for key in ("duplicate_rows", "conflicting_texts")]
        rows.append((t.of("split", name), [*map(_count, cells), *shares, *repeats]))
    return _table("", t("data.split"), [t(f"data.{head}") for head in heads], rows)


def _order(parts: Mapping[str, Mapping[str, Any]], t: Words) -> Block:
    """Entities of the parts, or from when to when their rows are."""
    found = {name: part["order"] for name, part in parts.items() if isinstance(part.get("order"), Mapping)}
    if not found:
        return {}
    column = str(next(iter(found.values())).get("column"))
    if all("entities" in order for order in found.values()):
        heads, title = ("entities", "entity_mean", "entity_most"), "by_entity"
        cells = [[_count(o.get("entities")), f"{o.get('rows_per_entity', 0):.2f}", _count(o.get("largest"))] for o in found.values()]
    else:
        heads, title = ("first", "last", "times"), "by_time"
        cells = [[str(o.get("first")), str(o.get("last")), _count(o.get("times"))] for o in found.values()]
    rows = [(t.of("split", name), row) for name, row in zip(found, cells, strict=True)]
    return _table(t(f"data.{title}", column=column), t("data.split"), [t(f"data.{head}") for head in heads], rows)


def _later(card: Mapping[str, Any], t: Words) -> Block:
    """Rows that are audited beside the test rows."""
    later = card.get("out_of_time")
    if not isinstance(later, Mapping):
        return {}
    order = later.get("order") or {}
    heads = ["rows", "first", "last", "times", "later_seen"]
    times = [str(order.get("first", "–")), str(order.get("last", "–")), _count(order.get("times"))]
    row = (str(later.get("source")), [_count(later.get("rows")), *times, _count(later.get("in_train"))])
    block = _table(t("data.by_later"), t("data.later_source"), [t(f"data.{head}") for head in heads], [row])
    return {**block, "about": t("data.later_about")}


def _warnings(card: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], t: Words) -> list[str]:
    """What the reader of any interval must know about how the rows were divided."""
    shared = (card.get("order") or {}).get("shared") or {}
    test = (parts.get("test") or {}).get("order") or {}
    found = []
    if isinstance(test.get("entities"), int) and test["entities"] < test.get("rows", 0):
        numbers = {"rows": f"{test['rows']:,}", "entities": f"{test['entities']:,}", "mean": f"{test['rows_per_entity']:.2f}"}
        found.append(t("data.dependent", column=test.get("column"), m=f"{test['weighted']:.2f}", **numbers))
    kind = "shared_entities" if "entities" in test else "early"
    for pair, rows in shared.items():
        one, _, other = pair.partition("/")
        if rows:
            found.append(t(f"data.{kind}", rows=f"{rows:,}", one=t.of("split", one), other=t.of("split", other), column=test.get("column")))
    later = card.get("out_of_time") or {}
    early = (later.get("order") or {}).get("early")
    if early:
        numbers = {"early": f"{early:,}", "rows": f"{later['rows']:,}"}
        found.append(t("data.later_early", column=later["order"]["column"], other=t.of("split", "test"), **numbers))
    return found


def _labels(card: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], t: Words) -> Block:
    names = [str(name) for name in (card.get("label") or {}).get("names") or []]
    if not any(part.get("labels") for part in parts.values()):
        return {}
    if any("counted" in part for part in parts.values()):  # several may stand in a row
        counts = [(name, [f"{(part.get('labels') or {}).get(name, 0):,}" for part in parts.values()]) for name in names]
        return _table(t("data.labels"), t("table.class"), [t.of("split", name) for name in parts], counts)
    rows = [(name, [_share((part.get("labels") or {}).get(name), part.get("rows"), t) for part in parts.values()]) for name in names]
    if any("rows_without_label" in part for part in parts.values()):
        rows.append((t("data.no_label"), [_share(part.get("rows_without_label"), part.get("rows"), t) for part in parts.values()]))
    return _table(t("data.labels"), t("table.class"), [t.of("split", name) for name in parts], rows)


def _numbers(card: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], t: Words) -> Block:
    """Mean, spread and quartiles of a label that is a number."""
    found = [part.get("numbers") or {} for part in parts.values()]
    names = [name for name in _NUMBERS if any(name in numbers for numbers in found)]
    rows = [(t(f"data.number.{name}"), [show(numbers.get(name), "other", t) for numbers in found]) for name in names]
    column = str((card.get("label") or {}).get("column") or "")
    return _table(t("data.numbers", column=column), t("table.name"), [t.of("split", name) for name in parts], rows)


def _groups(card: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], t: Words) -> Iterable[Block]:
    for column in (card.get("groups") or {}).get("columns") or []:
        counts = [(part.get("groups") or {}).get(column) or {} for part in parts.values()]
        names = sorted({str(name) for table in counts for name in table}, key=lambda name: -sum(table.get(name, 0) for table in counts))
        rows = []
        for name in names:
            cells = [_share(table.get(name, 0), part.get("rows"), t) for table, part in zip(counts, parts.values(), strict=True)]
            rows.append((t.recorded("group", name) or name or t("groups.empty"), cells))
        yield _table(t("groups.title", column=column), t("table.group"), [t.of("split", name) for name in parts], rows)


def _missing(parts: Mapping[str, Mapping[str, Any]], t: Words) -> Block:
    """Columns with empty cells, where there are any."""
    columns = list(dict.fromkeys(name for part in parts.values() for name, count in (part.get("missing") or {}).items() if count))
    rows = [(name, [_share((part.get("missing") or {}).get(name, 0), part.get("rows"), t) for part in parts.values()]) for name in columns]
    return _table(t("data.missing"), t("table.name"), [t.of("split", name) for name in parts], rows)


def _table(title: str, first: str, heads: list[str], rows: list[tuple[str, list[str]]]) -> Block:
    cut = max(0, len(rows) - _MOST_ROWS)
    return {"title": title, "first": first, "heads": heads, "rows": rows[:_MOST_ROWS], "cut": cut} if rows else {}


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _share(count: Any, rows: Any, t: Words) -> str:
    if not isinstance(count, int) or not isinstance(rows, int) or rows == 0:
        return "–"
    return f"{count:,} ({show(count / rows, 'percent', t)})"
