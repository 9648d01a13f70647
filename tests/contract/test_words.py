"""Words for everything that an audit of this version can measure, in both languages: no page shows an id where a name belongs."""

from __future__ import annotations

import pytest

from trustbase.audit.catalogue import CATALOGUE
from trustbase.recipe.lookup import RIVALS
from trustbase.report.groups import RATES
from trustbase.report.words import LANGUAGES, words


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_metric_that_is_registered_has_a_name_and_a_line(lang: str) -> None:
    t = words(lang)
    ids = [f"{dimension}.{metric}" for dimension, measures in CATALOGUE.items() for metric in measures]
    assert len(ids) > 100 and [id for id in ids if t.metric(id) == id or not t.metric_about(id)] == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_rate_and_every_rival_that_is_drawn_has_a_name_and_a_line(lang: str) -> None:
    t = words(lang)
    assert [rate for rate in RATES if not (t.has(f"rate.{rate}") and t.has(f"rate_about.{rate}"))] == []
    assert len(RIVALS) > 4 and [name for name in RIVALS if not (t.has(f"rival.{name}") and t.has(f"rival_about.{name}"))] == []


def test_what_is_the_same_in_both_languages_is_a_sign_or_a_name() -> None:
    english, chinese = words("en").table, words("zh").table
    same = {text for key, text in english.items() if text == chinese[key]}
    assert same == {"{value} %", "{column} = {group}", "AUROC", "AUPRC", "F1", "n", "Python"}
    plain = {key for key, text in chinese.items() if not any("\u4e00" <= sign <= "\u9fff" for sign in text) and text != english[key]}
    assert {key.split(".")[0] for key in plain} <= {"language", "list", "label", "finding", "groups"}
