"""The data card: what a data set holds, counted, as JSON and as a page to read. Aggregates only, never a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.data.apart import columns_page
from trustbase.data.dataset import Dataset
from trustbase.data.groups import LEAST_NAMED, MOST_NAMED, named_groups
from trustbase.data.languages import guess_languages
from trustbase.data.later import later_page
from trustbase.data.markdown import in_code, plain, section, several, share
from trustbase.data.order import order_page
from trustbase.data.scripts import count_scripts
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split

SCHEMA = "trustbase/data-card/1"
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

OTHERS = f"(other groups: beyond the {MOST_NAMED} largest, or of fewer than {LEAST_NAMED} rows)"
_CHINESE = 0.3  # share of the letters that are Han, from which texts are taken for Chinese
UNKNOWN_WARNING = 0.05  # share of unknown tokens in the training texts from which a warning is due


class TokenStats(Protocol):
    """What a tokenizer makes of texts; the model part computes it.

    Attributes:
        lengths: tokens of each text before truncation, `(rows,)`.
        unknown_tokens: share of tokens that the tokenizer does not know.
        truncated: share of texts that lose tokens.
    """

    @property
    def lengths(self) -> NDArray[np.int64]: ...
    @property
    def unknown_tokens(self) -> float: ...
    @property
    def truncated(self) -> float: ...


def data_card(
    dataset: Dataset,
    *,
    tokenizer_stats: Callable[[Sequence[str]], TokenStats] | None = None,
    licence: str | None = None,
    later: Dataset | None = None,
) -> dict[str, Any]:
    """Everything worth knowing about the data before trusting a model that learnt from it.

    Args:
        dataset: the splits.
        tokenizer_stats: how the base model's tokenizer sees texts; without it the card has no token counts.
        licence: the recipe's word on the licence, over what the data itself says.
        later: rows that are audited beside the test rows (`data.out_of_time`).
    """
    facts = dataset.facts
    schema = dataset.labels
    kept = {column: _named_groups(facts["splits"], column) for column in facts["groups"]["columns"]}
    return {
        "schema": SCHEMA,
        "digest": dataset.digest,
        "licence": licence or facts["licence"] or "not stated",
        "attribution": facts["attribution"],
        "sources": facts["sources"],
        "text": facts["text"],
        "features": facts["features"],
        "columns": facts.get("columns"),
        "label": {
            "column": facts["label"],
            "answers": dataset.answers,
            "names": _names(facts, schema),
            **(_roles(schema) if dataset.answers == "classes" else {}),
        },
        "groups": facts["groups"],
        "split": facts["split"],
        "splits": {name: _split_card(part, facts["splits"][name], kept, tokenizer_stats) for name, part in dataset.splits.items()},
        "overlap": facts["overlap"],
        "order": facts.get("order"),
        "out_of_time": dict(later.facts) if later is not None else None,
        "bad_rows": facts["bad_rows"],
        "notes": facts["notes"],
    }


def _roles(schema: LabelSchema) -> dict[str, Any]:
    """Which of the labels thresholds and fairness speak about, where a row has one of several."""
    return {
        "positive": schema.positive,
        "positive_assumed": schema.positive_assumed,
        "favourable": schema.favourable,
        "favourable_assumed": schema.favourable_assumed,
    }


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


def _named_groups(splits: Mapping[str, Any], column: str) -> set[str]:
    """Groups that the card names, by the rule that the audit keeps too; a group is as large as in the split that has most of it."""
    counts = [part["groups"][column] for part in splits.values()]
    names = sorted({group for count in counts for group in count})
    most = np.array([max(count.get(name, 0) for count in counts) for name in names], np.int64)
    return {names[i] for i in named_groups(most).tolist()}


def _counted(counts: Mapping[str, int], kept: set[str]) -> dict[str, int]:
    """Rows of each group that is named, and of the others together."""
    named = {group: rows for group, rows in counts.items() if group in kept}
    others = sum(counts.values()) - sum(named.values())
    return {**named, **({OTHERS: others} if others else {})}


def _split_card(
    part: Split, facts: Mapping[str, Any], kept: Mapping[str, set[str]], stats: Callable[[Sequence[str]], TokenStats] | None
) -> dict[str, Any]:
    characters = np.fromiter(map(len, part.texts), np.int64, len(part))
    groups = {column: _counted(counts, kept[column]) for column, counts in facts["groups"].items()}
    card = {
        **facts,
        "groups": groups,
        "digest": part.digest,
        "characters": _quantiles(characters),
        "scripts": count_scripts(part.texts),
        "languages": guess_languages(part.texts),
        "tokens": None,
    }
    if stats is not None:
        seen = stats(part.texts)
        card["tokens"] = {
            **_quantiles(np.asarray(seen.lengths)),
            "truncated_share": float(seen.truncated),
            "unknown_share": float(seen.unknown_tokens),
            "max_length": getattr(seen, "max_length", None),
            **({"entities_parted": parted} if (parted := getattr(seen, "parted_rows", 0)) else {}),
        }
    return card


def check_unknown_tokens(card: Mapping[str, Any], *, base: str, allowed: float) -> str:
    """Whether the base model can read the training texts: a warning, or "" where none is due.

    Raises:
        DataError: more of the tokens are unknown to it than the recipe allows.
    """
    share = float(card["splits"]["train"]["tokens"]["unknown_share"])
    found = f"{share:.1%} of the tokens of the training texts are unknown to the tokenizer of base '{base}'"
    if share > allowed:
        raise DataError(
            f"{found}, over data.allow_unknown_tokens ({allowed:.0%}): it cannot read this text, so nothing was trained",
            hint=f"choose a base that reads this language{_bases_for(card)}; or raise data.allow_unknown_tokens if the unknown signs "
            "carry no meaning",
        )
    return f"{found}: what they say is lost to the model{_bases_for(card)}" if share > UNKNOWN_WARNING else ""


def _bases_for(card: Mapping[str, Any]) -> str:
    """Bases that there are for texts in this script; of Chinese also without a network."""
    letters = (card["splits"]["train"].get("scripts") or {}).get("letters") or {}
    if letters.get("Han", 0.0) < _CHINESE:
        return ""
    return (
        "; for Chinese, without a network: the folder of a model that lies here, or one of your own (trustbase run recipes/base-zh.yaml, "
        "then base: runs/base-zh/bundle); with one: a hub id such as hfl/chinese-roberta-wwm-ext"
    )


def _quantiles(lengths: NDArray[np.int64]) -> dict[str, Any]:
    """Quantiles that are lengths of actual rows (the lower of two neighbours), and the mean."""
    found = np.quantile(lengths, QUANTILES, method="inverted_cdf")
    return {"mean": float(lengths.mean()), "quantiles": {f"{q:g}": int(value) for q, value in zip(QUANTILES, found, strict=True)}}


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


def _rows(card: Mapping[str, Any]) -> str:
    rows = []
    for name, part in card["splits"].items():
        sampled = f"{part['rows']:,} sampled of {part['sampled_from']:,}" if part["sampled_from"] else f"{part['rows']:,}"
        rows.append([name, sampled, f"{part['duplicates_removed']:,}", plain(card["split"]["how"][name])])
    return section("Rows", ["split", "rows", "duplicates removed", "how it came to be"], rows)


def _names(facts: Mapping[str, Any], schema: LabelSchema) -> list[str]:
    """What is counted in the parts: labels, or types of entities; else what the scores stand for."""
    counted = [name for part in facts["splits"].values() for name in part["labels"]]
    return list(dict.fromkeys(counted)) or list(schema.names)


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


def _together(text: Mapping[str, Any]) -> str:
    """What several texts are that are read together."""
    return f"question and its {text['choices']} choices" if text.get("choices") else "pair of texts"
