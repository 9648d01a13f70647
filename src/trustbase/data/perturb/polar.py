"""Short statements of one word that praises or blames, in English and Chinese, and the same denied, or said more strongly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from trustbase.data.perturb.signs import HAN

MOST_WORDS, MOST_HAN = 12, 20  # of a short statement

_GOOD = (
    "good great nice excellent wonderful fantastic amazing perfect lovely pleasant delicious tasty clean comfortable friendly helpful "
    "fresh beautiful brilliant interesting useful reliable"
)
_BAD = (
    "bad terrible awful horrible poor disappointing disgusting dirty uncomfortable rude boring useless slow noisy broken ugly stale "
    "bland annoying unreliable worthless overpriced"
)
_GOOD_ZH = "好 干净 舒服 舒适 方便 满意 便宜 新鲜 好吃 好看 漂亮 热情 实用 耐用 清晰 精彩 有趣 划算 值得 安静"
_BAD_ZH = "差 脏 糟糕 失望 难吃 难看 麻烦 粗糙 无聊 吵 恶心 模糊 过时 笨重 昂贵 冷淡 难用 劣质 坑人 破"
_DEGREES = "very really so extremely quite pretty truly absolutely"
_DEGREES_ZH = "很 非常 真 特别 十分 挺 太 相当 极其"
_DENIED = re.compile(
    r"\b(?:not|no|never|nothing|none|nobody|hardly|barely|without|but|although|though|however|except)\b|n['’]t\b", re.IGNORECASE
)
_DENIED_ZH = re.compile("不|没|无|非(?!常)|别|未|但|可是|虽|却|然而")


@dataclass(frozen=True)
class Statement:
    """A short statement.

    Attributes:
        praises: whether its word is one of praise.
        denied: the same, denied.
        stronger: the same, said more strongly; None where it is said as strongly already.
    """

    praises: bool
    denied: str
    stronger: str | None


def read_statement(text: str) -> Statement | None:
    """A text as a short statement; None of any other text.

    It holds one word of our lists, said of something ("is good", "was very bad"; 很好), and no other of them; no word that denies or
    contrasts; at most 12 words, or 20 Chinese characters.
    """
    return _chinese(text) if HAN.search(text) else _english(text)


def _english(text: str) -> Statement | None:
    if len(text.split()) > MOST_WORDS or _DENIED.search(text):
        return None
    said, words = _patterns()[0].search(text), _patterns()[1].findall(text)
    if said is None or len(words) != 1:
        return None
    before, after = text[: said.start("verb")] + said["verb"], text[said.end("verb") :]
    strong = None if said["degree"] else f"{text[: said.start('word')]}very {text[said.start('word') :]}"
    return Statement(said["word"].lower() in _GOOD.split(), f"{before} not{after}", strong)


def _chinese(text: str) -> Statement | None:
    if len(HAN.findall(text)) > MOST_HAN or _DENIED_ZH.search(text):
        return None
    found = list(_patterns()[2].finditer(text))
    if len(found) != 1 or found[0]["degree"] == "太":  # 太好了 is denied in other words
        return None
    said = found[0]
    before, word, after = text[: said.start()], said["word"], text[said.end() :]
    strong = None if said["degree"] in ("非常", "特别", "十分", "极其") else f"{before}非常{word}{after}"
    return Statement(word in _GOOD_ZH.split(), f"{before}不{word}{after}", strong)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """What finds an English statement, every English word of the lists, and a Chinese statement."""
    words, degrees = "|".join(f"{_GOOD} {_BAD}".split()), "|".join(_DEGREES.split())
    said = rf"\b(?P<verb>is|was|are|were|am)(?: (?P<degree>{degrees}))? (?P<word>{words})\b"
    chinese = "|".join(sorted(f"{_GOOD_ZH} {_BAD_ZH}".split(), key=len, reverse=True))
    said_zh = f"(?P<degree>{'|'.join(_DEGREES_ZH.split())})?(?P<word>{chinese})"
    return re.compile(said, re.IGNORECASE), re.compile(rf"\b(?:{words})\b", re.IGNORECASE), re.compile(said_zh)
