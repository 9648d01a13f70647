"""Texts of another kind than those that a model was made for, made from its own rows: near ones and far ones.

A row keeps its layout (its columns, marks, numbers and punctuation), and its words are put in another order, or others in their place: of
another subject, of another language, or of random signs. All words are of the small tables here. The order is near and hard to notice;
random signs are far, and what does not notice them notices nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from trustbase import files, seeds
from trustbase.data.marked import HEAD, TAIL, TYPED
from trustbase.data.pair import CELL, SEPARATOR

FAR = ("other-subject", "other-language", "random")
CONTROL = "random"

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_PIECES = re.compile(f"([{HEAD}{TAIL}][^{HEAD}{TAIL}{TYPED}]*{TYPED})|([{_HAN}]{{1,2}}|[^\\W\\d_{_HAN}]+)")
_LETTERS = "bcdfghjklmnpqrstvwxz"
_ENGLISH = (
    *("basalt", "quartz", "magma", "glacier", "moraine", "fjord", "estuary", "tide", "plankton", "coral", "kelp", "walrus", "heron"),
    *("lichen", "moss", "fern", "spruce", "comet", "nebula", "quasar", "orbit", "perihelion", "eclipse", "meteor", "crater", "photon"),
    *("neutrino", "helium", "argon", "plasma", "isotope", "catalyst", "enzyme", "ribosome", "chloroplast", "pollen", "larva", "beetle"),
    *("cicada", "sonnet", "cello", "oboe", "fugue", "timpani", "baroque", "fresco", "mosaic", "loom", "spindle", "kiln", "anvil"),
    *("chisel", "rudder", "keel", "halyard", "compass", "sextant", "isobar", "monsoon", "cirrus", "sleet"),
)
_CHINESE = (
    *("玄武", "石英", "岩浆", "冰川", "峡湾", "河口", "潮汐", "浮游", "珊瑚", "海藻", "海象", "苍鹭", "地衣", "苔藓", "蕨类", "云杉"),
    *("彗星", "星云", "轨道", "日食", "流星", "陨坑", "光子", "氦气", "氩气", "等离", "同位", "催化", "酵素", "核糖", "叶绿", "花粉"),
    *("幼虫", "甲虫", "知了", "诗歌", "提琴", "双簧", "赋格", "定音", "壁画", "镶嵌", "织机", "纺锤", "窑炉", "铁砧", "凿子", "船舵"),
    *("龙骨", "罗盘", "季风", "卷云", "雨雪", "孢子", "针叶", "苜蓿", "熔岩", "火山", "沙丘", "溶洞"),
)


def foreign(text: str, kind: str, seed: int) -> str:
    """A text of another kind, made from one of the model's own; the same for the same text, kind and seed.

    Args:
        text: an input; cells after it stay as they are.
        kind: one of `catalogue.SHIFTS`.
        seed: of the audit.
    """
    rng = seeds.generator(seed, "foreign", kind, files.digest_json(text))
    own, *cells = text.split(CELL)
    return CELL.join([SEPARATOR.join(_changed(side, _MAKERS[kind], rng) for side in own.split(SEPARATOR)), *cells])


def _changed(text: str, make: Callable[[Sequence[str], np.random.Generator], Sequence[str]], rng: np.random.Generator) -> str:
    words = [match.group() for match in _PIECES.finditer(text) if match.group(2)]
    others = iter(make(words, rng))
    return _PIECES.sub(lambda match: next(others) if match.group(2) else match.group(), text)


def _shuffled(words: Sequence[str], rng: np.random.Generator) -> Sequence[str]:
    return [words[place] for place in rng.permutation(len(words))]


def _other_subject(words: Sequence[str], rng: np.random.Generator) -> Sequence[str]:
    return [str(rng.choice(_CHINESE if _is_han(word) else _ENGLISH)) for word in words]


def _other_language(words: Sequence[str], rng: np.random.Generator) -> Sequence[str]:
    return [f"{rng.choice(_ENGLISH)} " if _is_han(word) else str(rng.choice(_CHINESE)) for word in words]


def _random(words: Sequence[str], rng: np.random.Generator) -> Sequence[str]:
    return ["".join(_random_sign(sign, rng) for sign in word) for word in words]


def _random_sign(sign: str, rng: np.random.Generator) -> str:
    return chr(int(rng.integers(0x4E00, 0x9FA5))) if _is_han(sign) else _LETTERS[int(rng.integers(len(_LETTERS)))]


def _is_han(word: str) -> bool:
    return "\u3400" <= word[:1] <= "\u9fff"


_MAKERS = {"shuffled": _shuffled, "other-subject": _other_subject, "other-language": _other_language, "random": _random}
