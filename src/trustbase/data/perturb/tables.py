"""Small tables of our own: neighbours on a keyboard, signs that look alike, contractions, given names, filler words."""

from __future__ import annotations

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Letters beside each letter of a keyboard with the American layout: in its row, and half a key apart in the rows above and below."""
    found: dict[str, str] = {}
    for number, row in enumerate(_ROWS):
        above = _ROWS[number - 1] if number else ""
        below = _ROWS[number + 1] if number + 1 < len(_ROWS) else ""
        for place, letter in enumerate(row):
            beside = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            found[letter] = beside + above[place : place + 2] + below[max(place - 1, 0) : place + 1]
    return found


NEIGHBOURS = _neighbours()

#: Latin letters → letters of other scripts that most fonts draw alike.
LOOKALIKES = dict(zip("aceopxyijsABCEHIKMOPSTXY", "асеорхуіјѕАВСЕНІКМОРЅТХУ", strict=True))

#: Long and short form of the same words.
CONTRACTIONS = (
    *(("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"), ("is not", "isn't"), ("are not", "aren't")),
    *(("was not", "wasn't"), ("were not", "weren't"), ("have not", "haven't"), ("has not", "hasn't"), ("had not", "hadn't")),
    *(("will not", "won't"), ("would not", "wouldn't"), ("could not", "couldn't"), ("should not", "shouldn't"), ("cannot", "can't")),
    *(("I am", "I'm"), ("I have", "I've"), ("I will", "I'll"), ("you are", "you're"), ("we are", "we're"), ("they are", "they're")),
    *(("you have", "you've"), ("we have", "we've"), ("they have", "they've"), ("it will", "it'll"), ("we will", "we'll")),
    *(("it is", "it's"), ("that is", "that's"), ("there is", "there's"), ("what is", "what's"), ("let us", "let's")),
)

_WOMEN = "Emily Sarah Jessica Laura Anna Julia Rachel Hannah Karen Susan Linda Mary Alice Emma Olivia Sophie Maria Nicole Amy Diana"
_MEN = "James John Michael David Robert Thomas Daniel Peter Paul Kevin Brian Steven Andrew Jack Oliver Henry Martin Simon Jason Eric"
_WOMEN_ZH = "秀英 丽华 桂兰 玉梅 婷婷 小红 雪梅 晓燕 淑珍 美玲 海燕 丽娜 芳芳 静怡 雅琴"
_MEN_ZH = "建国 志强 建军 国强 小明 志明 永强 海涛 文斌 伟东 俊杰 大勇 晓东 振华 家豪"

#: Given names by how they are mostly borne, so that a name is replaced by one that the sentence's pronouns fit.
GIVEN_NAMES = (tuple(_WOMEN.split()), tuple(_MEN.split()))
GIVEN_NAMES_ZH = (tuple(_WOMEN_ZH.split()), tuple(_MEN_ZH.split()))
SURNAMES_ZH = "王李张刘陈杨赵黄周吴徐孙朱马胡郭林何高罗"

#: Words that say nothing, put where a sentence begins or pauses.
FILLERS = ("well", "you know", "so", "I mean", "um", "like I said")
FILLERS_ZH = ("嗯", "那个", "就是说", "怎么说呢", "其实吧", "然后")

_SHAPES = (
    "己已 未末 土士 日曰 天夭 人入 大太 千干 午牛 田由 申甲 王玉 目自 白百 今令 问间 往住 待侍 清请 情倩 "
    "晴睛 说悦 钱线 拔拨 析折 喝渴 跑泡 饭饮 城诚 轻经 课棵 候侯 幻幼 免兔 失矢 史吏 名各 暖缓 遣遗 即既 "
    "历厉 没设 货贷 治冶 使便 报服 坏环 块快 买卖 师帅 休体 代伐 他池 孩该 读续 晚挽 贵责 差羞 慢漫 难摊 "
    "舒舍"
)

#: Chinese characters that are drawn almost alike, in pairs.
SHAPES = tuple((pair[0], pair[1]) for pair in _SHAPES.split())
