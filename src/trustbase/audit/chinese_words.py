"""Which Chinese words there are, as jieba's dictionary has them."""

from __future__ import annotations

from functools import lru_cache
from importlib import util


@lru_cache(maxsize=1)
def dictionary() -> frozenset[str]:
    """Words of jieba's dictionary; none where it is not installed."""
    if util.find_spec("jieba") is None:
        return frozenset()
    import jieba

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    jieba.initialize()
    return frozenset(word for word, count in jieba.dt.FREQ.items() if count)
