"""Where words begin among the tokens of a corpus, found once: Chinese ones by a segmenter, others by their word pieces."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.errors import UsageError
from trustbase.events import Emit, ignore
from trustbase.train.packing import TokenSource
from trustbase.train.pretrain_options import Whole
from trustbase.train.symbols import Symbols

_STEP = 1 << 18  # tokens looked at together


def word_starts(
    tokens: TokenSource, symbols: Symbols, path: Path, *, whole: Whole = "chinese", key: str, emit: Emit = ignore
) -> NDArray[np.uint8] | None:
    """Which tokens start a word, uint8 `(tokens,)`, kept in a file and mapped into memory; None where every token is a word.

    Args:
        tokens: the documents.
        symbols: their vocabulary.
        path: where the marks are kept; they are taken from there where `key` is the same.
        whole: `chinese` joins the characters of a Chinese word, `all` also the pieces of other words.
        key: digest of the tokens.
        emit: is told the progress.

    Raises:
        UsageError: Chinese text, and no segmenter is installed.
    """
    about = {"tokens": key, "whole": whole, "count": len(tokens.ids)}
    record = path.with_suffix(".json")
    if whole == "none" or not len(tokens.ids):
        return None
    if not (record.is_file() and path.is_file() and files.read_json(record) == about):
        record.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(tokens, symbols, path, whole, emit)
        files.write_json(record, about)
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


def _write(tokens: TokenSource, symbols: Symbols, path: Path, whole: Whole, emit: Emit) -> None:
    marks = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(tokens.ids),))
    segment = _segmenter() if symbols.han.any() else None
    for first, last in _stretches(tokens.bounds):
        ids = np.asarray(tokens.ids[first:last])
        starts = ~symbols.goes_on[ids] if whole == "all" else np.ones(len(ids), bool)
        if segment is not None:
            _join_chinese(ids, tokens.bounds, first, symbols, segment, starts)
        marks[first:last] = starts
        emit("progress", what="finding words", done=last, total=len(tokens.ids))
    marks.flush()


def _stretches(bounds: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches of whole documents."""
    first, end = 0, int(bounds[-1])
    while first < end:
        at = int(np.searchsorted(bounds, first + _STEP, side="right")) - 1
        last = int(bounds[at])
        if last <= first:
            last = int(bounds[min(int(np.searchsorted(bounds, first, side="right")), len(bounds) - 1)])
        yield first, last
        first = last


def _join_chinese(
    ids: NDArray[Any], bounds: NDArray[np.int64], first: int, symbols: Symbols, segment: Any, starts: NDArray[np.bool_]
) -> None:
    """Clear the marks of tokens that begin inside a Chinese word."""
    han = symbols.han[ids]
    own = bounds[np.searchsorted(bounds, first) : np.searchsorted(bounds, first + len(ids))] - first
    begins = han & ~np.concatenate([[False], han[:-1]])
    begins[own[own < len(ids)]] |= han[own[own < len(ids)]]  # a document's first word is no word of the one before
    runs = np.flatnonzero(begins)
    stops = np.append(runs[1:], len(ids))
    gaps = np.append(np.flatnonzero(~han), len(ids))
    ends = np.minimum(stops, gaps[np.searchsorted(gaps, runs)])
    for begin, end in zip(runs.tolist(), ends.tolist(), strict=True):
        if end - begin < 2:
            continue
        texts = [symbols.texts[i] for i in ids[begin:end].tolist()]
        letters = np.cumsum([0, *map(len, texts[:-1])])
        edges = np.cumsum([0, *map(len, segment("".join(texts)))])
        starts[begin:end] = np.isin(letters, edges)


def _segmenter() -> Any:
    if util.find_spec("jieba") is None:
        raise UsageError("Chinese words cannot be masked whole: jieba is not installed", hint='pip install "trustbase[zh]"')
    import jieba

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    return lambda text: jieba.lcut(text, HMM=False)  # by its dictionary alone: quicker, and a mask needs no names
