"""The page of one explanation, and the same in a notebook: the text with what each unit adds, the reasons, and whether they are true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trustbase.report.html import content_policy, page_environment, read_asset
from trustbase.report.notebook import page_html
from trustbase.report.words import Words, words

_KINDS = ("words", "characters", "fields")  # what units can be; each has its words
_ABOUT = {"lime": "lime_about", "occlusion": "occlusion_about"}  # other methods give values that sum to the score
_TONES = 4  # how many shades a word can have
_LEAST = 0.02  # of the largest weight, under which a word has none


def explained_page(facts: Mapping[str, Any], lang: str = "en") -> str:
    """The page.

    Args:
        facts: what `Explanation.to_json` gives.
        lang: "en" or "zh".

    Raises:
        UsageError: there is no such language.
    """
    t = words(lang)
    style = read_asset("style.css")
    template = page_environment().get_template("explained.html.j2")
    text = template.render(t=t, policy=content_policy(style), style=Markup(style), view=_view(facts, t))
    return text.encode("utf-8", "replace").decode("utf-8")


def explained_block(facts: Mapping[str, Any], lang: str = "en") -> str:
    """The page in a frame of its own, for a notebook."""
    return page_html(explained_page(facts, lang))


def _view(facts: Mapping[str, Any], t: Words) -> dict[str, Any]:
    kind, weights, errors = facts["kind"], facts["weights"], facts["errors"]
    assert kind in _KINDS
    order = sorted(range(len(weights)), key=lambda place: -abs(weights[place]))
    told = errors or [None] * len(weights)
    numbers = {"score": _number(facts["score"]), "base": _number(facts["base"])}
    sentence = t("explained.score", label=facts["label"], kind=t(f"explained.{kind}"), **numbers)
    return {
        "title": t("explained.title", label=facts["label"]),
        "sentence": sentence,
        "unit": t(f"explained.unit.{kind}"),
        "pieces": _pieces(facts["text"], facts["spans"], weights, told),
        "text_about": t("explained.text_about", unit=t(f"explained.unit.{kind}")),
        "reasons": [(each["unit"], _number(each["weight"], signed=True), _number(each["moved"], signed=True)) for each in facts["reasons"]],
        "about": _about(facts["about"], t),
        "unread": t("explained.unread", tokens=f"{facts['about']['unread_tokens']:,}") if facts["about"]["unread_tokens"] else "",
        "errors": any(told),
        "units": [
            (facts["units"][place], _number(weights[place], signed=True), _number(told[place]) if told[place] else "–") for place in order
        ],
        "faithful": [
            (t(f"explained.{name}"), _number(facts["faithful"][name], signed=True))
            for name in ("comprehensiveness", "sufficiency", "deletion", "insertion")
        ],
        "model": facts["about"]["model"],
    }


def _about(about: Mapping[str, Any], t: Words) -> str:
    if "white_box" in about:
        return t("explained.inside_about", method=about["method"])
    if (own := _ABOUT.get(about["method"])) is not None:
        return t(f"explained.{own}", asked=f"{about['asked']:,}")
    return t("explained.table_about", method="Shapley", asked=f"{about['asked']:,}")


def _pieces(
    text: str, spans: Sequence[Sequence[int] | None], weights: Sequence[float], errors: Sequence[float | None]
) -> list[tuple[str, str]]:
    """The text in pieces, each with its shade; nothing where units do not stand in a text, and no shade within two errors of 0."""
    seen = [weight if abs(weight) >= 2 * (error or 0.0) else 0.0 for weight, error in zip(weights, errors, strict=True)]
    placed = [(span[0], span[1], weight) for span, weight in zip(spans, seen, strict=True) if span is not None]
    if not placed:
        return []
    most = max(abs(weight) for _, _, weight in placed) or 1.0
    found, place = [], 0
    for start, end, weight in placed:
        found += [(text[place:start], ""), (text[start:end], _tone(weight / most))]
        place = end
    return [*found, (text[place:], "")]


def _tone(share: float) -> str:
    if abs(share) < _LEAST:
        return ""
    return f"{'for' if share > 0 else 'against'}{min(_TONES, 1 + int(abs(share) * _TONES))}"


def _number(value: float, *, signed: bool = False) -> str:
    return f"{value:+.4f}" if signed else f"{value:.4f}"
