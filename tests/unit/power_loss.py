"""A disk that loses power: what a folder may look like afterwards, given which of its changes were synced.

The model is the one that POSIX leaves: what a file holds is certain once it was synced, and before that it may be there whole, in part,
or as it was; names in a folder are certain once the folder was synced, and before that each change of them may have been kept or lost.
A rename within a folder is kept or lost as a whole. Changes are found by looking at the real folder whenever something is synced or
renamed, so that writers in other languages are seen too.

Source: after SQLite's own test of crashes (src/test6.c), which drops a random part of what was not synced.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_ROOT = 0
Change = tuple[tuple[str, int | None], ...]  # names that change together, and what they then stand for (None: nothing)


@dataclass
class Medium:
    """What is certain, and what is only in memory."""

    kept: dict[int, dict[str, int]] = field(default_factory=dict)  # folder → names that are certain
    pending: dict[int, list[Change]] = field(default_factory=dict)  # folder → changes since, in order
    synced: dict[int, bytes] = field(default_factory=dict)  # file → content that is certain
    written: dict[int, bytes] = field(default_factory=dict)  # file → content in memory


@dataclass
class Disk:
    """Watches a folder; keeps a copy of the medium at every moment that something is synced or renamed."""

    root: Path
    medium: Medium = field(default_factory=Medium)
    moments: list[tuple[Medium, Any]] = field(default_factory=list)
    acknowledged: Any = None  # what the caller was told is safe, at this moment
    _ids: dict[int, int] = field(default_factory=dict)
    _now: dict[int, dict[str, int]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def look(self) -> None:
        """Take in what changed since the last look."""
        seen: dict[int, int] = {}
        names: dict[int, dict[str, int]] = {}
        self._walk(self.root, _ROOT, seen, names)
        for folder, entries in names.items():
            before = self._now.get(folder, {})
            self.medium.kept.setdefault(folder, {})
            gone = {name: number for name, number in before.items() if entries.get(name) != number}
            for name, number in entries.items():
                if before.get(name) == number:
                    continue
                old = next((other for other, same in gone.items() if same == number), None)
                change: Change = ((name, number),) if old is None else ((old, None), (name, number))
                gone.pop(name, None)
                if old is not None:
                    gone.pop(old, None)
                self.medium.pending.setdefault(folder, []).append(change)
            for name in gone:
                self.medium.pending.setdefault(folder, []).append(((name, None),))
        self._ids, self._now = seen, names

    def _walk(self, folder: Path, own: int, seen: dict[int, int], names: dict[int, dict[str, int]]) -> None:
        names[own] = {}
        for entry in os.scandir(folder):
            inode = entry.inode()
            number = self._ids.get(inode) or seen.get(inode) or next(self._numbers)
            seen[inode] = number
            names[own][entry.name] = number
            if entry.is_dir(follow_symlinks=False):
                self._walk(Path(entry.path), number, seen, names)
            else:
                self.medium.written[number] = Path(entry.path).read_bytes()

    def sync(self, handle: int) -> None:
        """What `fsync` makes certain."""
        self.look()
        found = os.fstat(handle).st_ino
        number = _ROOT if found == self.root.stat().st_ino else self._ids[found]
        if number in self._now:
            self.medium.kept[number] = dict(self._now[number])
            self.medium.pending[number] = []
        else:
            self.medium.synced[number] = self.medium.written[number]
        self.moment()

    def moment(self) -> None:
        """Power may be lost now."""
        self.look()
        self.moments.append((copy.deepcopy(self.medium), copy.deepcopy(self.acknowledged)))

    def tell(self, value: Any) -> None:
        """The caller was told that this is safe."""
        self.acknowledged = value
        self.moment()


@contextmanager
def watched(root: Path) -> Iterator[Disk]:
    """Every sync and rename below `root` is seen while the context lasts; nothing else is changed."""
    disk = Disk(root)
    disk.look()
    disk.medium.kept = {folder: dict(names) for folder, names in disk._now.items()}
    disk.medium.pending, disk.medium.synced = {}, dict(disk.medium.written)
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(handle: int) -> None:
        fsync(handle)
        disk.sync(handle)

    def after(call: Any) -> Any:
        def changed(source: Any, target: Any, **more: Any) -> None:
            disk.moment()
            call(source, target, **more)
            disk.moment()

        return changed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "rename", after(rename))
        patch.setattr(os, "replace", after(replace))
        yield disk
    disk.moment()


def after_power_loss(medium: Medium, target: Path, rng: np.random.Generator) -> None:
    """Write out one folder that the disk may hold after power was lost at a moment."""
    target.mkdir(parents=True)
    _write(medium, _ROOT, target, rng)


def _write(medium: Medium, folder: int, target: Path, rng: np.random.Generator) -> None:
    names: dict[str, int] = dict(medium.kept.get(folder, {}))
    chance = rng.choice([0.0, 0.5, 1.0])
    for change in medium.pending.get(folder, []):
        if rng.random() < chance:
            for name, number in change:
                if number is None:
                    names.pop(name, None)
                else:
                    names[name] = number
    for name, number in names.items():
        if number in medium.kept:
            (target / name).mkdir()
            _write(medium, number, target / name, rng)
        else:
            (target / name).write_bytes(_content(medium, number, rng))


def _content(medium: Medium, number: int, rng: np.random.Generator) -> bytes:
    """Certain content; or what was written since, whole, in part, not at all, or as a hole of zeros."""
    sure, new = medium.synced.get(number), medium.written[number]
    if sure == new:
        return new
    part = new[: int(rng.integers(0, len(new) + 1))]
    if sure is not None and new.startswith(sure):  # appended to: what was synced stays
        part = new[: int(rng.integers(len(sure), len(new) + 1))]
        return [sure, part, new][int(rng.integers(3))]
    return [sure if sure is not None else b"", part, new, bytes(len(new))][int(rng.integers(4))]
