"""Tags of units and the entities that they spell: BIO inside, and whatever scheme a file is written in.

An entity is `(start, end, type)`; `start` and `end` count units here, and characters everywhere else.

Source: the CoNLL-2003 scorer `conlleval` (Tjong Kim Sang 2003), rules `startOfChunk` and `endOfChunk`, for tags that do not fit together;
Ramshaw & Marcus (1995) for BIO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Entity = tuple[int, int, str]

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])[-_](\S.*)", re.DOTALL)
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")


@dataclass(frozen=True)
class Tagged:
    """What a sequence of tags says.

    Attributes:
        entities: in order, none overlapping.
        repaired: tags that no whole scheme allows where they stand, read as `conlleval` reads them.
    """

    entities: tuple[Entity, ...]
    repaired: int = 0


def tag_names(types: Iterable[str]) -> tuple[str, ...]:
    """The BIO tags of types, `O` first: what the scores of a model stand for, in score order."""
    return (OUTSIDE, *(f"{prefix}-{name}" for name in sorted(set(types)) for prefix in ("B", "I")))


def types_of(names: Sequence[str]) -> tuple[str, ...]:
    """The types that tags speak of, sorted."""
    return tuple(sorted({split_tag(name)[1] for name in names if name != OUTSIDE}))


def split_tag(tag: str) -> tuple[str, str]:
    """A tag as prefix and type, `("O", "")` outside.

    Raises:
        ValueError: it is no tag of BIO, BIOES, BILOU or BMES.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(tag)
    return match[1], match[2]


def is_tag(tag: str) -> bool:
    """Whether a word can be a tag of some scheme."""
    return tag == OUTSIDE or _TAG.fullmatch(tag) is not None


def scheme_of(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme that sequences of tags are written in: BIO2, BIO1, BIOES, BILOU, BMES, or "mixed" where they keep to none.

    BIO1 writes `B-` only where an entity follows one of its own type at once; BIO2 at every beginning.
    """
    letters: set[str] = set()
    bare = between = 0  # entities that begin with I-; and with B- where BIO1 would have I-
    for tags in sequences:
        before = (OUTSIDE, "")
        for tag in tags:
            prefix, name = split_tag(tag)
            letters.add(prefix)
            bare += prefix == "I" and before[1] != name
            between += prefix == "B" and before[1] != name
            before = (prefix, name)
    for scheme, own in (("BMES", "M"), ("BIOES", "ES"), ("BILOU", "LU")):
        if letters & set(own):
            return scheme if letters <= {*scheme, OUTSIDE} else "mixed"
    if not bare:
        return "BIO2"
    return "mixed" if between else "BIO1"


def entities_of(tags: Sequence[str], scheme: str = "BIO2") -> Tagged:
    """The entities that tags spell, by `conlleval`'s rules, which read BIO1, BIO2, BIOES, BILOU and BMES alike.

    Args:
        tags: of each unit.
        scheme: what the file is written in, so that what breaks it can be counted.

    Raises:
        ValueError: a word that is no tag.
    """
    found: list[Entity] = []
    begin, before, repaired = 0, (OUTSIDE, ""), 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = split_tag(tag)
        starts = name != "" and (prefix in _BEGINS or name != before[1] or before[0] in _ENDS)
        ends = before[1] != "" and (starts or name == "" or name != before[1])
        if ends:
            found.append((begin, place, before[1]))
        if starts:
            begin = place
        if scheme != "BIO1":
            repaired += _breaks((prefix, name), before, whole=scheme in ("BIOES", "BILOU", "BMES"))
        before = (prefix, name)
    return Tagged(tuple(found), repaired)


def _breaks(tag: tuple[str, str], before: tuple[str, str], *, whole: bool) -> bool:
    """Whether a tag may not follow the one before it; of schemes that mark the end, also where an entity is left open."""
    inside = tag[0] not in (OUTSIDE, *_BEGINS)
    still_open = before[1] != "" and before[0] not in _ENDS
    if inside:
        return not still_open or tag[1] != before[1]
    return whole and still_open


def tags_of(entities: Sequence[Entity], count: int, names: Sequence[str]) -> NDArray[np.int64]:
    """Entities of units as BIO tags, the index of each unit's in `names`, `(count,)`; of two on one unit the first has it."""
    places = {name: place for place, name in enumerate(names)}
    found = np.full(count, places[OUTSIDE], dtype=np.int64)
    for start, end, name in sorted(entities, reverse=True):
        found[start:end] = places[f"I-{name}"]
        found[start : start + 1] = places[f"B-{name}"]
    return found
