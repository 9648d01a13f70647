"""The page of one explanation, and the same in a notebook: the text with what each unit adds, the reasons, and whether they are true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trustbase.report.highlighted import pieces_of
from trustbase.report.html import content_policy, page_environment, read_asset
from trustbase.report.notebook import page_html
from trustbase.report.words import Words, words

_KINDS = ("words", "characters", "fields")  # what units can be; each has its words
_ABOUT = {"lime": "lime_about", "occlusion": "occlusion_about"}  # other methods give values that sum to the score


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
        "pieces": pieces_of(facts["text"], facts["spans"], weights, told),
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


def _number(value: float, *, signed: bool = False) -> str:
    return f"{value:+.4f}" if signed else f"{value:.4f}"
