"""The data card as a Markdown page to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.data.apart import columns_page
from trustbase.data.card import QUANTILES
from trustbase.data.later import later_page
from trustbase.data.markdown import in_code, plain, section, several, share
from trustbase.data.order import order_page


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a Markdown page."""
    parts = [
        _about(card),
        _rows(card),
        order_page(card),
        later_page(card),
        _labels(card),
        _groups(card),
        _lengths(card),
        _languages(card),
        _scripts(card),
        _features(card),
        columns_page(card),
        _missing(card),
        _repeats(card),
    ]
    return "\n\n".join(part for part in [*parts, _bad_rows(card), _notes(card)] if part) + "\n"


def _about(card: Mapping[str, Any]) -> str:
    text, label, groups = card["text"], card["label"], card["groups"]
    lines = [
        "# Data card",
        "",
        f"- **Digest**: `{card['digest']}`",
        f"- **Licence**: {plain(card['licence'])}",
        *([f"- **Attribution**: {plain(card['attribution'])}"] if card["attribution"] else []),
        f"- **Text**: {_together(text) if text['pair'] else 'column' if text['plain'] else 'template'} {in_code(text['template'])}",
        *_said_of_labels(label),
        f"- **Group columns**: {', '.join(map(in_code, groups['columns'])) or 'none'}; "
        f"shown to the model: {', '.join(map(in_code, groups['shown_to_model'])) or 'none'}",
        *(
            f"- **File** ({name}): {in_code(source['name'])}, {several(source)}{source['rows']:,} rows, {source['bytes']:,} bytes, "
            f"`{source['digest']}`"
            for name, source in card["sources"].items()
        ),
    ]
    return "\n".join(lines)


def _said_of_labels(label: Mapping[str, Any]) -> list[str]:
    """What the label column holds, and which labels have a role."""
    if label.get("answers") == "number":
        return [f"- **Label**: column {in_code(label['column'])}, a number"]
    several = ", any number of them for each row" if label.get("answers") == "labels" else ""
    lines = [f"- **Label**: column {in_code(label['column'])}; labels {', '.join(map(in_code, label['names']))}{several}"]
    if "positive" in label:
        said = {True: "assumed: the recipe does not say", False: "as the recipe says"}
        positive, favourable = in_code(label["positive"]), in_code(label["favourable"])
        lines.append(
            f"- **Positive label**: {positive} ({said[label['positive_assumed']]}); "
            f"**favourable**: {favourable} ({said[label['favourable_assumed']]})"
        )
    return lines


def _together(text: Mapping[str, Any]) -> str:
    """What several texts are that are read together."""
    return f"question and its {text['choices']} choices" if text.get("choices") else "pair of texts"


def _rows(card: Mapping[str, Any]) -> str:
    rows = []
    for name, part in card["splits"].items():
        sampled = f"{part['rows']:,} sampled of {part['sampled_from']:,}" if part["sampled_from"] else f"{part['rows']:,}"
        rows.append([name, sampled, f"{part['duplicates_removed']:,}", plain(card["split"]["how"][name])])
    return section("Rows", ["split", "rows", "duplicates removed", "how it came to be"], rows)


def _labels(card: Mapping[str, Any]) -> str:
    parts = card["splits"]
    if all("numbers" in part for part in parts.values()):
        names = list(dict.fromkeys(name for part in parts.values() for name in part["numbers"]))
        rows = [[plain(name.replace("_", " ")), *(f"{part['numbers'][name]:,.6g}" for part in parts.values())] for name in names]
        return section("Labels", [card["label"]["column"], *parts], rows)
    counted = next((part["counted"] for part in parts.values() if "counted" in part), None)
    if counted is not None:  # several may stand in a row, so they are no share of the rows
        rows = [[in_code(name), *(f"{part['labels'][name]:,}" for part in parts.values())] for name in card["label"]["names"]]
        return section("Labels", [counted, *parts], rows)
    rows = [[in_code(name), *(share(part["labels"][name], part["rows"]) for part in parts.values())] for name in card["label"]["names"]]
    return section("Labels", ["label", *parts], rows)


def _groups(card: Mapping[str, Any]) -> str:
    parts = card["splits"]
    rows = []
    for column in card["groups"]["columns"]:
        names = sorted({group for part in parts.values() for group in part["groups"][column]})
        rows += [
            [in_code(column), in_code(group), *(share(part["groups"][column].get(group, 0), part["rows"]) for part in parts.values())]
            for group in names
        ]
    return section("Groups", ["column", "group", *parts], rows)


def _lengths(card: Mapping[str, Any]) -> str:
    shown = [f"{q:g}" for q in QUANTILES]
    rows = []
    for name, part in card["splits"].items():
        for unit in ("characters", "tokens"):
            found = part[unit]
            if found:
                rows.append([name, unit, f"{found['mean']:.1f}", *(f"{found['quantiles'][q]:,}" for q in shown)])
    table = section("Lengths", ["split", "unit", "mean", *(f"quantile {q}" for q in shown)], rows)
    lines = [
        f"- {name}: {part['tokens']['truncated_share']:.2%} of the texts are truncated"
        + (f" at {part['tokens']['max_length']:,} tokens" if part["tokens"]["max_length"] else "")
        + f", {part['tokens']['unknown_share']:.2%} of the tokens are unknown to the tokenizer"
        + (f"; {parted:,} texts lose what stands between their entities" if (parted := part["tokens"].get("entities_parted")) else "")
        + _answers(part.get("answers"))
        for name, part in card["splits"].items()
        if part["tokens"]
    ]
    return "\n\n".join([table, "\n".join(lines)]) if lines else table


def _answers(found: Mapping[str, int] | None) -> str:
    """How many answers a model of tokens can tell, where texts are searched for them."""
    if not found:
        return ""
    return f"; {found['between_tokens']:,} answers begin or end within a token, {found['not_read']:,} lie where the model does not read"


def _languages(card: Mapping[str, Any]) -> str:
    rows = []
    for name, part in card["splits"].items():
        found = part["languages"]
        shares = ", ".join(f"{code} {share:.1%}" for code, share in found["texts"].items()) or "none"
        rows.append([name, shares, f"{found['judged']:,} of {found['sampled']:,}"])
    how = next(iter(card["splits"].values()))["languages"]["how"]
    return section("Languages, as guessed", ["split", "texts", "texts judged"], rows) + f"\n\nHow: {how}."


def _scripts(card: Mapping[str, Any]) -> str:
    rows = []
    for name, part in card["splits"].items():
        letters = ", ".join(f"{script} {share:.2%}" for script, share in part["scripts"]["letters"].items()) or "none"
        rows.append([name, letters, f"{part['scripts']['texts_without_letters']:.2%}"])
    how = next(iter(card["splits"].values()))["scripts"]["how"]
    return section("Writing systems", ["split", "letters", "texts without letters"], rows) + f"\n\nHow: {how}."


def _features(card: Mapping[str, Any]) -> str:
    """Columns read beside the text: as what, how often empty, and how often with a name that no training row has."""
    kinds, parts = card["features"], card["splits"]
    rows = []
    for kind, word in (("numeric", "numbers"), ("categorical", "names")):
        for column in kinds[kind]:
            empty = [share(part["missing"][column], part["rows"]) for part in parts.values()]
            new = [f"{part['new_names'].get(column, 0):,}" if kind == "categorical" else "-" for part in parts.values()]
            rows.append([in_code(column), word, *empty, *new])
    heads = ["column", "read as", *(f"empty, {name}" for name in parts), *(f"new names, {name}" for name in parts)]
    return section("Table columns beside the text", heads, rows) if rows else ""


def _missing(card: Mapping[str, Any]) -> str:
    parts = card["splits"]
    columns = next(iter(parts.values()))["missing"]
    rows = [[in_code(column), *(share(part["missing"][column], part["rows"]) for part in parts.values())] for column in columns]
    return section("Empty cells", ["column", *parts], rows)


def _repeats(card: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{part['duplicate_rows']:,}", f"{part['conflicting_texts']:,}", f"{part['conflicting_rows']:,}"]
        for name, part in card["splits"].items()
    ]
    table = section("Equal texts", ["split", "repeated rows", "texts with several labels", "rows with such a text"], rows)
    lines = []
    for pair, shared in card["overlap"].items():
        one, other = pair.split("/")
        lines.append(f"- {shared:,} {other} rows have a text that also stands in {one}")
    return "\n\n".join([table, "\n".join(lines)]) if lines else table


def _bad_rows(card: Mapping[str, Any]) -> str:
    bad = card["bad_rows"]
    if not bad["count"]:
        return "## Rows left out\n\nNone."
    rows = [[plain(kind), f"{count:,}"] for kind, count in sorted(bad["kinds"].items(), key=lambda item: -item[1])]
    listed = "\n".join(f"- {plain(row)}" for row in bad["rows"])
    return section("Rows left out", ["reason", "rows"], rows) + f"\n\n{listed}"


def _notes(card: Mapping[str, Any]) -> str:
    return "## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in card["notes"]) if card["notes"] else ""
