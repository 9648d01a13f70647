"""The data card: what a data set holds, counted, as JSON; `card_page.py` makes a page of it. Aggregates only, never a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.data.dataset import Dataset
from trustbase.data.groups import LEAST_NAMED, MOST_NAMED, named_groups
from trustbase.data.languages import guess_languages
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


def _names(facts: Mapping[str, Any], schema: LabelSchema) -> list[str]:
    """What is counted in the parts: labels, or types of entities; else what the scores stand for."""
    counted = [name for part in facts["splits"].values() for name in part["labels"]]
    return list(dict.fromkeys(counted)) or list(schema.names)


def _roles(schema: LabelSchema) -> dict[str, Any]:
    """Which of the labels thresholds and fairness speak about, where a row has one of several."""
    return {
        "positive": schema.positive,
        "positive_assumed": schema.positive_assumed,
        "favourable": schema.favourable,
        "favourable_assumed": schema.favourable_assumed,
    }


def _named_groups(splits: Mapping[str, Any], column: str) -> set[str]:
    """Groups that the card names, by the rule that the audit keeps too; a group is as large as in the split that has most of it."""
    counts = [part["groups"][column] for part in splits.values()]
    names = sorted({group for count in counts for group in count})
    most = np.array([max(count.get(name, 0) for count in counts) for name in names], np.int64)
    return {names[i] for i in named_groups(most).tolist()}


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


def _counted(counts: Mapping[str, int], kept: set[str]) -> dict[str, int]:
    """Rows of each group that is named, and of the others together."""
    named = {group: rows for group, rows in counts.items() if group in kept}
    others = sum(counts.values()) - sum(named.values())
    return {**named, **({OTHERS: others} if others else {})}


def _quantiles(lengths: NDArray[np.int64]) -> dict[str, Any]:
    """Quantiles that are lengths of actual rows (the lower of two neighbours), and the mean."""
    found = np.quantile(lengths, QUANTILES, method="inverted_cdf")
    return {"mean": float(lengths.mean()), "quantiles": {f"{q:g}": int(value) for q, value in zip(QUANTILES, found, strict=True)}}


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
