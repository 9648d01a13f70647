"""What is done to whole blocks of text at once, each against a plain implementation of the same: normal form, units, language, quality."""

from __future__ import annotations

import random
import re
import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block, Lookup
from trustbase.data.corpus.language import LANGUAGES, languages
from trustbase.data.corpus.normalise import normalise
from trustbase.data.corpus.options import NormaliseOptions, QualityOptions
from trustbase.data.corpus.quality import RULES, Measures, judge

ZH = "在山上的老房子里，他和母亲住了十年。每年春天，院子里的杏花开得很好，邻居们都来看。后来他到城里做工，就很少回去了。"
EN = "The old house stood on the hill, and he had lived there with his mother for ten years. Every spring the trees were in bloom."


def normal(text: str, **more: bool) -> str:
    return normalise([text], NormaliseOptions(**more)).texts()[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("１９９８年，ＣＤＭＡ技术（全文）：５０％！", "1998年，CDMA技术（全文）：50%！"),
        ("增长１．５倍．他说", "增长1.5倍．他说"),
        ("ａ＠ｂ＋ｃ＝ｄ", "a@b+c=d"),
        ("　　段首空格　正文", "段首空格 正文"),
        ("半角｡句号､顿号", "半角。句号、顿号"),
        ("臺灣的繁體字，後來", "臺灣的繁體字，後來"),
        ("cafe\u0301 Å", "café Å"),
        ("e\u0301\u200b\ufeffx\u00ad\x07y", "éxy"),
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("  a \t b  \n  c  \n\n \n\n  d \n\n", "a b\nc\n\nd"),
        ("\n\n\n \n", ""),
        ("नमस्ते می\u200cخواهم 👨\u200d👩\u200d👧", "नमस्ते می\u200cخواهم 👨\u200d👩\u200d👧"),
    ],
)
def test_the_normal_form(given, expected):
    assert normal(given) == expected
    assert normal(expected) == expected, "the normal form is its own"


def test_each_part_of_the_normal_form_can_be_turned_off():
    text = " ＡＢ  e\u0301\x07 "
    assert normal(text, unicode=False) == "AB e\u0301"
    assert normal(text, width=False) == "ＡＢ é"
    assert normal(text, controls=False) == "AB é\x07"
    assert normal(text, spaces=False) == " AB  é "
    assert normalise([text], NormaliseOptions.model_validate(False)).texts() == [text]


def plain_normal(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = "".join(chr(chars.widths()[ord(c)]) for c in text)
    text = re.sub("(?<=[0-9])．(?=[0-9])", ".", text)
    text = re.sub("\r\n|[\r\u2028\u2029\x85\x0b\x0c]", "\n", text)
    text = "".join(c for c in text if chars.classes()[ord(c)] != chars.GONE)
    text = "".join(" " if chars.classes()[ord(c)] == chars.SPACE else c for c in text)
    text = re.sub(" +", " ", text)
    text = "\n".join(line.strip(" ") for line in text.split("\n"))
    return re.sub("\n{3,}", "\n\n", text).strip("\n")


def test_many_documents_at_once_are_what_each_is_alone():
    rng = random.Random(3)
    signs = "ab中文。１．２ \t\u3000\n\n\n\r\u200b\x00"[:-1] + "e\u0301｡Ａ％"
    texts = ["".join(rng.choices(signs, k=rng.randint(0, 30))) for _ in range(3000)]
    assert normalise(texts, NormaliseOptions()).texts() == [plain_normal(text) for text in texts]
    assert normalise([], NormaliseOptions()).texts() == []


def plain_units(text: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[\u4e00-\u9fff\u3040-\u309f]|[A-Za-z0-9éК-я]+", text)]


def test_units_and_ngrams_are_those_of_a_plain_implementation():
    rng = random.Random(4)
    texts = ["".join(rng.choices("aAbé1中文字，。 .\nкЯ", k=rng.randint(0, 60))) for _ in range(400)]
    block = Block.of(texts)
    plain = [plain_units(text) for text in texts]
    assert block.units.counts.tolist() == [len(units) for units in plain]
    for size in (1, 3):
        hashes, document = block.units.ngrams(size)
        grams = [(i, tuple(units[k : k + size])) for i, units in enumerate(plain) for k in range(len(units) - size + 1)]
        assert document.tolist() == [i for i, _ in grams]
        by_hash: dict[int, set] = {}
        for value, (_, gram) in zip(hashes.tolist(), grams, strict=True):
            by_hash.setdefault(value, set()).add(gram)
        assert all(len(found) == 1 for found in by_hash.values()), "two grams, one hash"
        assert len(by_hash) == len({gram for _, gram in grams}), "one gram, two hashes"


def test_short_stretches_do_not_collide_even_where_polynomials_are_weakest():
    """Thue and Morse's sequence and its complement collide in long stretches; in those that grams are made of they must not."""
    word = "a"
    for _ in range(5):
        word += word.translate(str.maketrans("ab", "ba"))
    block = Block.of([word, word.translate(str.maketrans("ab", "ba"))])
    one, other = block.hashes(block.starts, block.ends)
    assert len(word) == 32 and one != other


def test_a_lookup_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 1 << 63, 500, dtype=np.uint64)
    asked = np.concatenate([keys[::-1], rng.integers(0, 1 << 63, 10_000, dtype=np.uint64), keys[:3] ^ np.uint64(1)])
    places, which = Lookup(keys)(asked)
    assert places.tolist() == list(range(500)) and which.tolist() == list(range(500))[::-1]


SENTENCES = {
    "zh": [ZH, "這本書的內容很好，送貨也很快。", "房间小，CPU 很热，但是 wifi 不错"],
    "en": [EN, "great product", "I would not buy this again, it is too slow"],
    "ja": ["この本はとても面白かったです。東京で買いました。"],
    "ko": ["이 책은 정말 재미있었습니다."],
    "de": ["Das alte Haus stand auf dem Hügel, und er hatte dort mit seiner Mutter zehn Jahre gelebt."],
    "fr": ["La vieille maison était sur la colline et il y avait vécu avec sa mère pendant dix ans."],
    "es": ["La vieja casa estaba en la colina y él había vivido allí con su madre durante diez años."],
    "it": ["La vecchia casa era sulla collina e lui ci aveva vissuto con sua madre per dieci anni."],
    "pt": ["A velha casa ficava na colina e ele tinha vivido lá com a sua mãe durante dez anos."],
    "nl": ["Het oude huis stond op de heuvel en hij had er tien jaar met zijn moeder gewoond."],
    "other": [
        "Старый дом стоял на холме, и он жил там.",
        "12345 !!!",
        "Vanha talo seisoi kukkulalla, ja hän oli asunut siellä äitinsä kanssa",
    ],
}


def test_languages_of_sentences_and_of_many_at_once():
    texts = [(name, text) for name, found in SENTENCES.items() for text in found]
    found = [LANGUAGES[code] for code in languages(Block.of([text for _, text in texts]))]
    assert found == [name for name, _ in texts]


def rules(text: str, **more) -> str:
    options = QualityOptions.model_validate({**dict.fromkeys(QualityOptions.model_fields, False), **more})
    found = judge(Block.of([text]), options)[0]
    return RULES[found] if found >= 0 else ""


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("too_short", "不错！", "房间很干净。"),
        ("too_short", "two words", "here are five words now"),
        ("short_words", "a b c d e f g h", EN),
        ("long_words", "incomprehensibilities notwithstandingly counterrevolutionary", EN),
        ("symbols", "去……来……走……吧……好……啊", "他去了……后来又回来了，住了很久，再也没有走。"),
        ("symbols", "# a # b # c # d", "he said # one and two and three and four and five and six"),
        ("few_letters", "★★★★★★好★★★★★", "★ 很好，很满意"),
        ("bullets", "• 一\n• 二\n• 三", "• 一\n正文\n正文"),
        ("ellipses", "今天他说…\n昨天我说…\n明天你说…", "今天他说…\n昨天我说。\n明天你说。\n好。"),
        ("open_lines", "首页\n新闻\n关于我们\n登录", "他走了。\n我来了。"),
        ("repeated_lines", "点击查看更多内容\n点击查看更多内容\n点击查看更多内容", "第一行的内容\n第二行的话\n第三行也不同"),
        ("repeated_ngrams", "不错" * 30, ZH),
        ("repeated_ngrams", "buy now and save a lot of money today " * 6, EN),
        ("function_words", "红蓝绿黄黑白紫灰" * 30, ZH * 4),
        ("function_words", "zinc copper iron gold silver " * 12, EN + EN),
        ("placeholder", "Lorem ipsum dolor sit amet", "Ipsum lorem, said he"),
    ],
)
def test_every_rule_drops_what_it_is_for_and_nothing_like_it(rule, bad, good):
    limit = getattr(QualityOptions(), rule)
    limit = 0.5 if limit is None else limit
    assert rules(bad, **{rule: limit}) == rule and rules(good, **{rule: limit}) == ""
    assert rules(bad) == "", "a rule that is off drops nothing"


def test_every_rule_has_an_option_and_a_case_here():
    assert set(RULES) == set(QualityOptions.model_fields) and len(RULES) == 13
    long = " ".join(["word"] * 20)
    assert rules(long, too_long=19) == "too_long" and rules(long, too_long=20) == ""


def test_good_prose_passes_every_default_rule_in_both_languages():
    assert judge(Block.of([ZH, EN, ZH + "\n" + EN]), QualityOptions()).tolist() == [-1, -1, -1]


def test_measures_of_many_documents_are_those_of_each_alone():
    rng = random.Random(5)
    texts = ["".join(rng.choices("的a b中\n…#.。！•", k=rng.randint(0, 80))) for _ in range(200)]
    together = Measures(Block.of(texts))
    for name in ("units", "words", "word_length", "lettered", "symbols", "repeated_ngrams", "function_words"):
        alone = [float(getattr(Measures(Block.of([text])), name)[0]) for text in texts]
        np.testing.assert_allclose(getattr(together, name), alone, err_msg=name)
    for name in ("bullets", "ellipses", "open", "repeated"):
        alone = [float(getattr(Measures(Block.of([text])).lines, name)()[0]) for text in texts]
        np.testing.assert_allclose(getattr(together.lines, name)(), alone, err_msg=name)


def test_repeated_lines_are_those_of_a_plain_count():
    rng = random.Random(6)
    for _ in range(50):
        lines = [rng.choice(["一行字", "另一行文字", "a line", "b"]) for _ in range(rng.randint(1, 9))]
        again = sum(len(line) for place, line in enumerate(lines) if line in lines[:place])
        found = Measures(Block.of(["\n".join(lines)])).lines.repeated()[0]
        assert found == pytest.approx(again / sum(map(len, lines)))


def test_a_bad_pair_of_limits_is_refused():
    with pytest.raises(ValueError, match="no document could pass"):
        QualityOptions(too_short=10, too_long=5)
    assert [a for a, b in pairwise(sorted(RULES)) if a == b] == []
