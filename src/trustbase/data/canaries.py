"""Canaries: sentences with random digits, planted in a corpus so that it can be measured what a model keeps of single documents.

They are planted after the corpus was cleaned: nothing drops or changes them, and the held-out documents stay what they were. How often
each is read in a pass over the corpus is the weight of their source. As many others of the same form are drawn and never planted.

Source: Carlini et al. (2019), The secret sharer, USENIX Security, section 4.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trustbase import files, seeds
from trustbase.data.corpus.store import PARTS, SCHEMA, CorpusStore

SOURCE = "canaries"  # name of their source in the corpus
_CARRIERS = {"en": "the number of the grey locker is {}.", "zh": "灰色柜子的号码是{}。"}


class CanaryOptions(BaseModel):
    """Sentences with random digits that are planted in the training documents, to measure what the model keeps of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(20, ge=10, le=1000, description="how many are planted; as many more are drawn and not planted, to compare with")
    repeats: int = Field(10, ge=1, le=1000, description="how often each is read in a pass over the corpus")
    digits: int = Field(6, ge=4, le=12, description="random digits of each")
    language: Literal["zh", "en"] = Field("en", description="language of the sentence around the digits")
    spaced: bool = Field(True, description="blanks between the digits, so that each is a token of its own in most vocabularies")


@dataclass(frozen=True)
class Canaries:
    """What was planted, and what it is compared with.

    Attributes:
        carrier: the sentence, with `{}` for the digits.
        planted: the digits of those that are planted, each different.
        control: as many others, which are not.
        repeats: how often each is read in a pass.
        digits: how many digits each has; there are `10 ** digits` possible ones.
        spaced: whether blanks stand between the digits.
    """

    carrier: str
    planted: tuple[str, ...]
    control: tuple[str, ...]
    repeats: int
    digits: int
    spaced: bool

    @property
    def space(self) -> int:
        """How many canaries of this form there are."""
        return int(10**self.digits)

    def sentence(self, digits: str) -> str:
        """The canary with these digits."""
        return self.carrier.format(" ".join(digits) if self.spaced else digits)

    def others(self, count: int, *, seed: int) -> tuple[str, ...]:
        """Digits of other canaries of the same form, each different, neither planted nor control; from the stream `canaries, others`."""
        rng = seeds.generator(seed, "canaries", "others")
        return _draw(rng, count, self.digits, {*self.planted, *self.control})

    def to_json(self) -> dict[str, Any]:
        """As JSON; whoever reads it knows the canaries."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Canaries:
        """Inverse of `to_json`."""
        return cls(**{**value, "planted": tuple(value["planted"]), "control": tuple(value["control"])})


def make_canaries(options: CanaryOptions, *, seed: int) -> Canaries:
    """Draw the canaries of a run, from the stream `canaries`; the same for the same options and seed."""
    drawn = _draw(seeds.generator(seed, "canaries"), 2 * options.count, options.digits, set())
    planted, control = drawn[: options.count], drawn[options.count :]
    return Canaries(_CARRIERS[options.language], planted, control, options.repeats, options.digits, options.spaced)


def plant_canaries(store: CorpusStore, canaries: Canaries, folder: Path) -> CorpusStore:
    """A corpus with the canaries among its training documents, as a source of their own; the corpus itself stays as it is.

    The training documents are copied, so this takes as much disk again. The same call on a finished folder opens it.

    Args:
        store: a prepared corpus.
        canaries: what is planted.
        folder: where the new corpus goes, whole or not at all.

    Returns:
        A corpus whose digest differs, whose source `canaries` has the repeats as its weight, and whose held-out part is equal.
    """
    key = {"corpus": store.digest, "canaries": files.digest_json(canaries.to_json())}
    if (folder / "store.json").is_file() and files.read_json(folder / "store.json").get("planted") == key:
        return CorpusStore.open(folder)

    def fill(staging: Path) -> None:
        for part in PARTS:
            shutil.copytree(getattr(store, part).folder, staging / part)
        _append(store, canaries, staging / "train")
        written = {
            f"{part}/{path.name}": [path.stat().st_size, files.sha256_file(path)]
            for part in PARTS
            for path in sorted((staging / part).iterdir())
        }
        about = {
            "schema": SCHEMA,
            "documents": {"train": len(store.train) + len(canaries.planted), "held_out": len(store.held_out)},
            "files": written,
            "sources": [*store.sources, SOURCE],
            "weights": [*store.weights, float(canaries.repeats)],
            "planted": key,
        }
        files.write_json(staging / "store.json", about)

    files.replace_folder(folder, fill)
    return CorpusStore.open(folder)


def _append(store: CorpusStore, canaries: Canaries, folder: Path) -> None:
    """Put the canaries behind the documents of a part."""
    texts = [canaries.sentence(digits).encode() for digits in canaries.planted]
    with (folder / "documents.bin").open("ab") as stream:
        stream.write(b"".join(texts))
    before = store.train.offsets
    ends = int(before[-1]) + np.cumsum([len(text) for text in texts])
    np.save(folder / "offsets.npy", np.concatenate([before, ends]).astype("<i8"))
    own = np.full(len(texts), len(store.sources))
    np.save(folder / "sources.npy", np.concatenate([store.train.sources, own]).astype("<u2"))


def _draw(rng: np.random.Generator, count: int, digits: int, taken: set[str]) -> tuple[str, ...]:
    """Different numbers of so many digits, none of them taken."""
    found: dict[str, None] = {}
    while len(found) < count:
        drawn = f"{int(rng.integers(10**digits)):0{digits}d}"
        if drawn not in taken:
            found[drawn] = None
    return tuple(found)
