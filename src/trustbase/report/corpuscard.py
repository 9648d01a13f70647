"""The data section of a base model's report, from its corpus card: what came in, what fell to which rule, whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.report import charts
from trustbase.report.formats import show
from trustbase.report.words import Words

Block = dict[str, Any]

CORPUS_CARD = "trustbase/corpus-card/"
_MOST_ROWS = 60
_OF_LANGUAGE = ("tokens_per_word", "tokens_per_character", "unknown_tokens", "whole_words")


def corpus_section(card: Mapping[str, Any], t: Words, *, left: Any = None) -> Block:
    """The corpus card in words.

    Args:
        card: as `data.corpus.card.corpus_card` made it, with a `tokenizer` report beside it.
        t: the words.
        left: by test set, how many of its texts the audit found in the training documents as they were learned from.
    """
    tables = [_steps(card, t), _sources(card, t), _contamination(card, left if isinstance(left, Mapping) else {}, t), _tokenizer(card, t)]
    notes = [str(line) for line in (card.get("faults") or {}).get("listed") or []]
    return {"facts": _facts(card, t), "tables": [table for table in tables if table], "notes": notes[:_MOST_ROWS], "warnings": []}


def _facts(card: Mapping[str, Any], t: Words) -> list[tuple[str, str]]:
    result, options = card.get("result") or {}, card.get("options") or {}
    near = options.get("near") or {}
    how = t.of("deduplicate", str(options.get("deduplicate") or ""))
    if options.get("deduplicate") == "near" and near.get("similarity"):
        how = t("corpus.near", similarity=show(near["similarity"], "percent", t))
    attributions = [str(text) for source in card.get("sources") or [] for text in source.get("attribution") or []]
    rows: list[tuple[str, str]] = [
        (t("corpus.train"), _size(result.get("train"), t)),
        (t("corpus.held_out"), _size(result.get("held_out"), t)),
        (t("corpus.duplicates"), how),
        (t("corpus.languages"), _languages(card, t)),
        (t("corpus.scrubbed"), _scrubbed(card, t)),
        (t("corpus.faults"), f"{(card.get('faults') or {}).get('count', 0):,}"),
        (t("data.attribution"), t("list.items").join(dict.fromkeys(attributions))),
        (t("data.digest"), str(card.get("digest") or "")),
    ]
    return [(name, value) for name, value in rows if value]


def _size(part: Any, t: Words) -> str:
    if not isinstance(part, Mapping):
        return ""
    return t("corpus.size", documents=f"{part.get('documents', 0):,}", bytes=show(part.get("bytes"), "bytes", t))


def _languages(card: Mapping[str, Any], t: Words) -> str:
    found = (card.get("languages") or {}).get("documents") or {}
    total = sum(found.values())
    ranked = sorted(found.items(), key=lambda item: -item[1])  # the file keeps its keys sorted by name
    return t("list.pair").join(f"{t.of('tongue', str(name))} {show(count / total, 'percent', t)}" for name, count in ranked if total)


def _scrubbed(card: Mapping[str, Any], t: Words) -> str:
    asked = (card.get("options") or {}).get("scrub") or []
    found = card.get("scrubbed") or {}
    return t("list.pair").join(f"{t.of('pii', str(kind))} {found.get(kind, 0):,}" for kind in asked) or t("corpus.not_scrubbed")


def _steps(card: Mapping[str, Any], t: Words) -> Block:
    """What was left after each step, drawn as it shrank."""
    steps = [row for row in card.get("steps") or [] if isinstance(row, Mapping)]
    if not steps:
        return {}
    scale = charts.Scale(0, max(int(steps[0]["documents"]), 1))
    rows: list[tuple[str, list[Any]]] = []
    for row in steps:
        name, whole = _step(str(row["step"]), t), row["step"] == "read"
        fell = "" if whole else f"−{row['documents']:,}"
        bar = charts.rate_bar(row["left"], None, None, scale=scale, title=t("corpus.left_bar", step=name, left=f"{row['left']:,}"))
        rows.append((name, [fell, f"{row['left']:,}", f"{row['left_characters']:,}", bar]))
    heads = [t("corpus.fell"), t("corpus.left"), t("corpus.characters"), t("table.chart")]
    return _table(t("corpus.steps"), t("corpus.step"), heads, rows, bars=True)


def _step(step: str, t: Words) -> str:
    """A step, or the rule of quality that a document fell to."""
    name, _, rule = step.partition(":")
    return t("corpus.rule", rule=t.of("rule", rule)) if rule else t.of("step", name)


def _sources(card: Mapping[str, Any], t: Words) -> Block:
    rows = []
    for source in card.get("sources") or []:
        steps = source.get("steps") or [{}]
        size = sum(int(file.get("bytes") or 0) for file in source.get("files") or [])
        kept = f"{steps[-1].get('left', 0):,} / {steps[0].get('documents', 0):,}"
        licence = t("corpus.not_stated") if source.get("licence") in (None, "", "not stated") else str(source["licence"])
        weight = f"{source['weight']:g}" if isinstance(source.get("weight"), int | float) else "–"
        rows.append((str(source.get("name")), [licence, weight, kept, show(size, "bytes", t)]))
    heads = [t("data.licence"), t("corpus.weight"), t("corpus.kept"), t("corpus.bytes")]
    return _table(t("corpus.sources"), t("data.source"), heads, rows)


def _contamination(card: Mapping[str, Any], left: Mapping[str, Any], t: Words) -> Block:
    """Texts of named test sets that were found in the corpus, before and after it was cleaned of them."""
    found = card.get("contamination")
    if not isinstance(found, Mapping) or not found.get("sets"):
        return {}
    rows = []
    for name, entry in found["sets"].items():
        cells = [f"{entry['texts']:,}", f"{entry['found']:,} ({show(entry.get('share'), 'percent', t)})", f"{entry['documents']:,}"]
        after = left.get(name)
        cells.append(f"{after['found']:,}" if isinstance(after, Mapping) and isinstance(after.get("found"), int) else "–")
        rows.append((str(name), cells))
    action = t("corpus.removed") if found.get("action") == "remove" else t("corpus.listed")
    heads = [t("corpus.test_texts"), t("corpus.found"), t("corpus.holding"), t("corpus.left_in")]
    table = _table(t("corpus.contamination"), t("corpus.test_set"), heads, rows)
    return {**table, "about": t("list.sentences").join([t("corpus.looked_for", n=found.get("ngram")), action])} if table else {}


def _tokenizer(card: Mapping[str, Any], t: Words) -> Block:
    """What the tokenizer makes of each language, beside that of the base model."""
    report = card.get("tokenizer")
    if not isinstance(report, Mapping) or not report.get("languages"):
        return {}
    beside = report.get("base")
    base: Mapping[str, Any] = beside if isinstance(beside, Mapping) else {}
    sides = [(t("tokenizer.own"), report), (str(report.get("base_name") or t("tokenizer.base")), base)]
    rows = []
    for language in report["languages"]:
        for name, side in sides:
            row = (side.get("languages") or {}).get(language) if side else None
            if isinstance(row, Mapping):
                label = t("label.colon", label=t.of("tongue", str(language))) + name
                rows.append((label, [f"{side.get('vocab_size', 0):,}", *(_measure(key, row.get(key), t) for key in _OF_LANGUAGE)]))
    heads = [t("tokenizer.size"), *(t(f"tokenizer.{key}") for key in _OF_LANGUAGE)]
    return {**_table(t("tokenizer.title"), t("tokenizer.language"), heads, rows), "about": t("tokenizer.about")} if rows else {}


def _measure(key: str, value: Any, t: Words) -> str:
    return show(value, "percent" if key in ("unknown_tokens", "whole_words") else "ratio", t)


def _table(title: str, first: str, heads: list[str], rows: list[tuple[str, list[Any]]], *, bars: bool = False) -> Block:
    cut = max(0, len(rows) - _MOST_ROWS)
    return {"title": title, "first": first, "heads": heads, "rows": rows[:_MOST_ROWS], "cut": cut, "bars": bars} if rows else {}
