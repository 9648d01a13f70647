"""Typed changes of texts: what each changes and leaves, drawn by seed and content, and never what a model's input is made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbase.data.marked import Span, mark, unmark
from trustbase.data.pair import CELL, SEPARATOR, join
from trustbase.data.perturb import chinese, packaged, signs, tables, words
from trustbase.data.perturb.inputs import perturbed, pieces
from trustbase.data.template import TextTemplate
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import PERTURBATIONS

ENGLISH = "The food was good, and Emily didn't wait 25 minutes for the service."
CHINESE = "酒店的房间很干净，服务员王小明态度也好，WiFi很快，入住3天。"
KINDS = pytest.mark.parametrize("kind", PERTURBATIONS)
CHINESE_ONLY = {"homophones", "shapes", "traditional", "width", "spaces"}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def made(kind: str, text: str, seed: int = 0, rate: float | None = None) -> str | None:
    return perturbed(kind, pieces(text), seed=seed, rate=rate)


def test_each_kind_is_there_and_changes_what_it_is_of() -> None:
    assert len(PERTURBATIONS) == 15 and next(iter(PERTURBATIONS)) == "blank"
    assert {kind for kind in PERTURBATIONS if made(kind, ENGLISH) is None} == CHINESE_ONLY
    assert {kind for kind in PERTURBATIONS if made(kind, CHINESE) is None} == {"contractions", "whitespace"}
    assert all(entry.of and entry.about and callable(load(entry)) for entry in PERTURBATIONS.values())


@KINDS
def test_a_change_follows_from_seed_and_text_alone(kind: str) -> None:
    for text in (ENGLISH, CHINESE):
        assert made(kind, text) == made(kind, text) != text
    others = {made(kind, text, seed) for text in (ENGLISH, CHINESE) for seed in range(20)} - {None}
    assert len(others) > 2 or kind in ("blank", "contractions", "traditional", "width", "case")


@KINDS
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60), seed=st.integers(0, 5))
def test_no_text_breaks_a_change(kind: str, text: str, seed: int) -> None:
    if not any(0xD800 <= ord(sign) < 0xE000 for sign in text):
        changed = made(kind, text, seed)
        assert changed is None or (changed != text and signs.FIXED not in changed and changed.strip())


def test_typos_stand_at_the_rate_that_is_asked_for() -> None:
    text = "government " * 100  # 1,000 letters
    for rate in (0.05, 0.10):
        changed = signs.typos(text, rng(), rate)
        assert changed is not None
        # what was left out, hit beside it, or swapped: each of the three a third of all
        kept = [a == b for a, b in zip(text.split(), changed.split(), strict=True)]
        wrong = kept.count(False)
        assert len(changed.split()) == 100 and 0.6 * 1000 * rate < wrong <= 1000 * rate
        assert 0.2 * 1000 * rate < len(text) - len(changed) < 0.5 * 1000 * rate
    assert signs.typos("a 1 2, b", rng(), 0.05) is None and signs.typos("no", rng(), 0.05) != "no"
    assert signs.drawn(range(10), 0.01, rng()) != [] and len(signs.drawn(range(100), 0.05, rng())) == 5


def test_keys_that_are_hit_lie_beside_the_right_one() -> None:
    assert set(tables.NEIGHBOURS) == set("abcdefghijklmnopqrstuvwxyz")
    assert all(letter in tables.NEIGHBOURS[other] for letter, others in tables.NEIGHBOURS.items() for other in others)
    assert set(tables.NEIGHBOURS["s"]) == set("adwezx") and set(tables.NEIGHBOURS["q"]) == set("wa")


def test_what_each_kind_does() -> None:
    assert signs.blank("a", rng(), 1) == "a "
    assert signs.case("Ab 1", rng(), 1) in ("AB 1", "ab 1") and signs.case("你好 1", rng(), 1) is None
    assert signs.punctuation("It costs 3.50 at 10:30", rng(), 1) == "It costs 3.50 at 10:30."
    assert signs.punctuation("Well, go!", rng(), 1) == "Well go" and signs.punctuation("很好", rng(), 1) == "很好。"
    assert signs.whitespace("a b", rng(), 1) == "a  b" and signs.whitespace(" ab ", rng(), 1) is None
    changed = signs.lookalikes("cop", rng(), 1)
    assert changed == "сор" != "cop" and not any(sign.isascii() for sign in changed)
    assert words.contractions("I don't know, I DON'T", rng(), 1) == "I do not know, I DO NOT"
    assert words.contractions("It is what I cannot do", rng(), 1) == "It's what I can't do"
    assert words.contractions("it's been", rng(), 1) is None and words.contractions("nothing", rng(), 1) is None
    changed = words.numbers("9 of 100 MP3s", rng(), 1)
    assert changed is not None and changed.endswith(" MP3s") and len(changed) == 13 and not changed.startswith("9 of 100")
    changed = words.names("Emily met James; Emily left. 王秀英 said 建国", rng(), 1)
    assert changed is not None and "Emily" not in changed and "James" not in changed and "秀英" not in changed and changed.endswith("建国")
    first, last = changed.split(" met ")[0], changed.split("; ")[1].split(" left")[0]
    assert first == last and first in tables.GIVEN_NAMES[0]
    assert words.names("amy and Mayor", rng(), 1) is None
    assert words.filler("two words", rng(), 1) is None and words.filler("one two three", rng(), 1).endswith("one two three")  # type: ignore[union-attr]
    assert chinese.width("我有3个ab", rng(), 1) == "我有３个ａｂ" and chinese.width("好，", rng(), 1) == "好,"
    assert chinese.width("ab 3", rng(), 1) is None
    assert chinese.spaces("你好a", rng(), 1) == "你 好a" and chinese.spaces("ab", rng(), 1) is None
    assert chinese.shapes("己", rng(), 1) == "已" and chinese.shapes("我", rng(), 1) is None


def test_tables_of_an_installed_package() -> None:
    pytest.importorskip("snownlp")
    import snownlp

    table = packaged.homophones()
    assert len(table) > 3000 and "浩" in table["好"] and "好" not in table["好"] and "门" in table["们"]
    alike = [sum(snownlp.SnowNLP(other).pinyin == snownlp.SnowNLP(sign).pinyin for other in table[sign][:5]) for sign in "服务房间干净"]
    assert min(alike) > 0  # the package itself reads them alike
    assert chinese.traditional("酒店的房间", rng(), 1) == "酒店的房間" and chinese.traditional("酒店的房間", rng(), 1) == "酒店的房间"
    assert chinese.traditional("干后", rng(), 1) != "幹后" and snownlp.SnowNLP(packaged.traditional()["龙"]).han == "龙"


def test_without_the_package_two_kinds_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (packaged._folder, packaged.homophones, packaged._forms, packaged.simplified, packaged.traditional):
        cached.cache_clear()
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package")
    try:
        assert "not installed" in packaged.missing()
        assert {kind for kind, entry in PERTURBATIONS.items() if entry.missing()} == {"homophones", "traditional"}
        assert made("homophones", CHINESE) is None and made("traditional", CHINESE) is None
    finally:
        for cached in (packaged._folder, packaged.homophones, packaged._forms, packaged.simplified, packaged.traditional):
            cached.cache_clear()


@KINDS
def test_what_parts_an_input_stays(kind: str) -> None:
    """Marks of entities and their words, the bounds between texts, and the cells behind them."""
    text = f"{ENGLISH} {CHINESE}"
    pair = join(ENGLISH, CHINESE, "no")
    changed = made(kind, f"{pair}{CELL}Emily 25{CELL}你好")
    assert changed is not None and changed.endswith(f"{CELL}Emily 25{CELL}你好") and changed.count(SEPARATOR) == 2
    start = text.index("Emily")
    marked = mark(text, Span(start, start + 5, "person"), Span(text.index("房间"), text.index("房间") + 2))
    changed = made(kind, marked)
    assert changed is not None
    whole, head, tail = unmark(changed)
    assert (whole[head.start : head.end], head.type, whole[tail.start : tail.end]) == ("Emily", "person", "房间")


@KINDS
def test_the_words_of_a_template_stay(kind: str) -> None:
    template = TextTemplate.parse("{name} isn't 25, works as a {job} in the 酒店", None)
    row = {"name": ENGLISH, "job": CHINESE}
    text = template.render(row)
    parts = pieces(text, template, row)
    assert "".join(part.text for part in parts) == text and [part.text for part in parts if part.free] == [ENGLISH, CHINESE]
    changed = perturbed(kind, parts, seed=0)
    assert changed is not None and changed != text and " isn't 25, works as a " in changed and changed.endswith(" in the 酒店")
    empty = {"name": None, "job": "清洁工作"}
    assert [part.text for part in pieces(template.render(empty), template, empty) if part.free] == ["清洁工作"]
    other = pieces("something else", template, row)  # not what this row renders to: taken as a whole text
    assert [part.free for part in other] == [True]


def test_a_change_that_touches_what_it_may_not_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "blank", lambda text, rng, rate: text.replace(signs.FIXED, ""))
    with pytest.raises(ValueError, match="may not"):
        made("blank", join("a", "b"))
