"""What the report shows of changed texts: answers that turn, expectations that fail, and parts of the rows in which more is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trustbase import finding_id
from trustbase.report import charts
from trustbase.report.formats import interval, show, tick
from trustbase.report.reasons import reason_in
from trustbase.report.words import Words

Block = dict[str, Any]

#: Metrics of which the charts here show every finding, so that no row of their section repeats them.
CHANGED = ("prediction_flips", "expectation_failures")
_WEAK = 20  # slices that are listed
_LEVEL = 0.05


def flip_blocks(evidence: Any, t: Words) -> list[Block]:
    """The share of answers that each kind of change turns, and which kinds could not be made; of `robustness.flips`."""
    if not isinstance(evidence, Mapping) or not evidence.get("kinds"):
        return []
    measured = [row for row in evidence["kinds"] if row["status"] == "ok"]
    about = [t("flips.about", n=f"{int(evidence['rows']):,}"), t("flips.noise"), t("flips.meant")]
    if evidence.get("control") != "found":
        about = [t("flips.blind", reason=reason_in(str(evidence.get("control") or ""), t))]
    left = [t.of("variant", str(row["kind"])) for row in evidence["kinds"] if row["status"] == "not_applicable"]
    about += [t("flips.left", kinds=t("list.pair").join(left))] if left and measured else []
    words = {"title": t("flips.title"), "about": t("list.sentences").join(about), "first": t("flips.kind"), "none": t("flips.none")}
    return [_bars(words, t("flips.share"), [(_kind(row, t), row) for row in measured], t)]


def _kind(row: Mapping[str, Any], t: Words) -> str:
    name = t.of("variant", str(row["kind"]))
    return name if row.get("keeps", True) else t("flips.says_else", kind=name)


def expectation_blocks(evidence: Any, t: Words) -> list[Block]:
    """The share of texts that do not move as expected; of `robustness.expectations`."""
    if not isinstance(evidence, Mapping) or not (rows := [row for row in evidence.get("expectations") or [] if row["status"] == "ok"]):
        return []
    about = [t("expectations.about", margin=f"{evidence['margin']:g}")]
    about += [t("expectations.own", file=str(evidence["file"]))] if evidence.get("file") else []
    words = {"title": t("expectations.title"), "about": t("list.sentences").join(about), "first": t("expectations.name")}
    return [_bars(words, t("expectations.share"), [(t.of("variant", str(row["name"])), row) for row in rows], t)]


def weak_blocks(evidence: Any, t: Words) -> list[Block]:
    """Parts of the rows in which more answers are wrong than in the others; of `quality.weak_slices`."""
    if not isinstance(evidence, list) or not evidence:
        return []
    weak = [row for row in evidence if row["p_adjusted"] < _LEVEL]
    rows = [(_slice(str(row["slice"]), t), row) for row in weak[:_WEAK]]
    about = [t("weak.about")]
    about += [t("weak.more", n=f"{len(weak) - _WEAK:,}")] if len(weak) > _WEAK else []
    words = {"title": t("weak.title"), "about": t("list.sentences").join(about), "first": t("table.name"), "none": t("weak.none")}
    return [_bars(words, t("weak.share"), rows, t, second=(t("weak.p"), [_chance(row["p_adjusted"]) for _, row in rows]))]


def _slice(text: str, t: Words) -> str:
    """A slice as ids write it, in words."""
    parts = finding_id.parse(f"quality.slice[{text}]").slice
    return t("list.pair").join(
        t("weak.word", word=str(value)) if column == "word" else t.part(column, str(value)) for column, value in parts
    )


def _chance(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _bars(
    words: Mapping[str, str],
    head: str,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    t: Words,
    second: tuple[str, Sequence[str]] | None = None,
) -> Block:
    """Shares as bars with their intervals, and a column of texts beside them."""
    scale, table = charts.Scale(0, 1), []
    for place, (name, row) in enumerate(rows):
        value, spread, n = show(row["value"], "percent", t), interval(row["low"], row["high"], "percent", t), f"{int(row['n']):,}"
        title = t("groups.bar", group=name, value=value, interval=spread, n=n)
        bar = charts.rate_bar(row["value"], row["low"], row["high"], scale=scale, title=title)
        cells: list[Block] = [{"value": value, "interval": spread, "bar": bar}]
        cells += [] if second is None else [{"value": second[1][place], "small": "", "interval": "", "bar": None}]
        table.append({"label": name, "n": n, "cells": cells})
    axis = charts.axis(scale, partial(tick, kind="percent", t=t))
    if second is None:
        return {"kind": "rates", **words, "heads": [head], "rows": table, "axis": axis}
    return {"kind": "rates", **words, "heads": [head, second[0]], "rows": table, "axes": [axis, ""]}
