"""One shard from files to clean documents: read, normalised, filtered, scrubbed, hashed; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.data import pii
from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block, Mask, Numbers
from trustbase.data.corpus.contamination import TestGrams
from trustbase.data.corpus.counts import Counts
from trustbase.data.corpus.faults import Faults
from trustbase.data.corpus.language import LANGUAGES, languages
from trustbase.data.corpus.minhash import band_hashes, choose_bands, short, signatures
from trustbase.data.corpus.normalise import normalise
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.quality import RULES, judge
from trustbase.data.corpus.read import Batch, read_batches
from trustbase.data.corpus.sources import SourceFile, card_name
from trustbase.data.corpus.survey import Piece

OFFENDERS = 100  # documents of a shard that overlap with a test set and are listed by name
#: What a shard's folder holds beside `shard.json`: file → kind of its numbers; the columns depend on the options.
TABLES = {"lengths": "<i8", "characters": "<i8", "hashes": "<u8", "files": "<u4", "lines": "<i8", "signatures": "<u2", "bands": "<u8"}
WIDE = {"hashes", "signatures", "bands"}  # of several columns


@dataclass(frozen=True)
class Job:
    """What a process needs to know to make a shard; the same for all of them but for the pieces."""

    options: CorpusOptions
    files: Sequence[SourceFile]
    grams: Path | None = None

    def to_json(self) -> dict[str, Any]:
        grams = str(self.grams) if self.grams else None
        return {"options": self.options.model_dump(mode="json"), "files": [file.to_json() for file in self.files], "grams": grams}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Job:
        listed = [SourceFile.from_json(file) for file in value["files"]]
        return cls(CorpusOptions.model_validate(value["options"]), listed, Path(value["grams"]) if value["grams"] else None)


def make_shard(job: Job, pieces: Sequence[Piece], folder: Path) -> None:
    """Read these pieces and leave their clean documents in `folder`, with tables and counts."""

    def fill(staging: Path) -> None:
        made = _Making(job, staging)
        with made:
            for batch in read_batches(job.files, pieces, longest=job.options.longest_document, spool=staging, report=made.faults.add):
                made.take(batch)
        (staging / "shard.json").write_text(json.dumps(made.summary()), encoding="utf-8")

    files.replace_folder(folder, fill, sync=False)


@dataclass
class _Making:
    """A shard while it is made: where its documents go, and what is counted."""

    job: Job
    folder: Path
    counts: Counts = field(default_factory=Counts)
    faults: Faults = field(default_factory=Faults)
    documents: int = 0
    texts_hit: dict[str, set[int]] = field(default_factory=dict)  # set → test texts that were found
    offenders: list[list[Any]] = field(default_factory=list)
    overlapping: dict[str, int] = field(default_factory=dict)  # set → documents
    _open: dict[str, IO[bytes]] = field(default_factory=dict)

    @cached_property
    def owners(self) -> Numbers:
        """Source of each file, `(files,)`."""
        return np.array([file.source for file in self.job.files], np.int64)

    def __enter__(self) -> _Making:
        self._open = {name: (self.folder / f"{name}.bin").open("wb") for name in ("documents", *TABLES)}
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._open.values():
            stream.close()

    def take(self, batch: Batch) -> None:
        """Clean a batch of documents and write those that stay."""
        options = self.job.options
        work = _Work(normalise(batch.texts, options.normalise), np.array(batch.files), np.array(batch.lines), self)
        self.counts.count_read(work.sources, work.sizes)
        work.drop("empty", work.sizes == 0)
        spoken = languages(work.block)
        self.counts.count_languages(work.sources, spoken, LANGUAGES)
        if options.languages is not None:
            work.drop("language", ~np.isin(spoken, [LANGUAGES.index(name) for name in options.languages]))
        broken = judge(work.block, options.quality)
        for rule in np.unique(broken[broken >= 0]).tolist():
            work.mark(f"quality:{RULES[rule]}", broken == rule)
        work.drop("", broken >= 0)
        if options.scrub:
            work.scrub(options.scrub)
        if self.job.grams is not None:
            self._check_contamination(work, _grams(self.job.grams))
        self._write(work)

    def _check_contamination(self, work: _Work, grams: TestGrams) -> None:
        documents, found = grams.find(work.block)
        order = np.argsort(documents, kind="stable")
        documents, found = documents[order], found[order]
        hit, first = np.unique(documents, return_index=True)
        for document, own in zip(hit.tolist(), np.split(found, first[1:]), strict=False):
            texts = grams.texts_of(own)
            sets = grams.set_of(texts)
            for index in np.unique(sets).tolist():
                self._count_overlap(work, document, grams.names[index], texts[sets == index].tolist())
        if self.job.options.contamination and self.job.options.contamination.action == "remove":
            bad = np.zeros(len(work.block), bool)
            bad[hit] = True
            work.drop("contaminated", bad)

    def _count_overlap(self, work: _Work, document: int, name: str, texts: list[int]) -> None:
        self.texts_hit.setdefault(name, set()).update(texts)
        self.overlapping[name] = self.overlapping.get(name, 0) + 1
        if len(self.offenders) < OFFENDERS:
            self.offenders.append([card_name(self.name_of(work, document)), int(work.lines[document]), name, len(texts)])

    def _write(self, work: _Work) -> None:
        texts = work.block.encoded()
        if not texts:
            return
        hashes = b"".join([hashlib.blake2b(text, digest_size=16).digest() for text in texts])
        columns = {
            "lengths": np.fromiter(map(len, texts), "<i8", len(texts)),
            "hashes": np.frombuffer(hashes, ">u8"),  # two of 64 bits each
            "characters": work.sizes,
            "files": work.files,
            "lines": work.lines,
        }
        if self.job.options.deduplicate == "near":
            near = self.job.options.near
            found = signatures(work.block, near)
            columns |= {"signatures": short(found), "bands": band_hashes(found, choose_bands(near.similarity, near.permutations))}
        self._open["documents"].write(b"".join(texts))
        for name, values in columns.items():
            self._open[name].write(np.ascontiguousarray(values, TABLES[name]).tobytes())
        self.documents += len(texts)

    def name_of(self, work: _Work, document: int) -> str:
        return self.job.files[int(work.files[document])].name

    def summary(self) -> dict[str, Any]:
        """What is known about the shard once it is written, with size and digest of each of its files."""
        hit = {name: sorted(texts) for name, texts in self.texts_hit.items()}
        return {
            "documents": self.documents,
            "counts": self.counts.to_json(),
            "faults": self.faults.to_json(),
            "contamination": {"texts": hit, "documents": self.overlapping, "offenders": self.offenders},
            "files": {
                name: [(self.folder / f"{name}.bin").stat().st_size, files.sha256_file(self.folder / f"{name}.bin")] for name in self._open
            },
        }


@dataclass
class _Work:
    """A batch on its way: the documents that are left, and where each is from."""

    block: Block
    files: Numbers
    lines: Numbers
    shard: _Making

    def __post_init__(self) -> None:
        self.sources: Numbers = self.shard.owners[self.files]

    @property
    def sizes(self) -> Numbers:
        """Characters of each document."""
        return self.block.ends - self.block.starts

    def drop(self, reason: str, bad: Mask) -> None:
        """Leave out the marked documents, and count them unless they were counted by `mark`."""
        if not bad.any():
            return
        if reason:
            self.mark(reason, bad)
        keep = ~bad
        self.block = self.block.keep(keep)
        self.files, self.lines, self.sources = self.files[keep], self.lines[keep], self.sources[keep]

    def mark(self, reason: str, bad: Mask) -> None:
        """Count the marked documents under a reason, and keep a few as examples."""
        counts = self.shard.counts
        counts.count_dropped(reason, self.sources[bad], self.sizes[bad])
        for document in np.flatnonzero(bad)[: max(0, counts.room(reason))].tolist():
            counts.add_example(reason, f"{self.shard.name_of(self, document)}:{self.lines[document]}", self.text_of(document))

    def text_of(self, document: int) -> str:
        own = self.block.points[self.block.starts[document] : self.block.ends[document]]
        return own.tobytes().decode("utf-32-le")

    def scrub(self, kinds: Sequence[str]) -> None:
        """Replace personal data; only documents that hold a sign of any are looked at closely."""
        suspects = np.flatnonzero(_suspects(self.block, kinds))
        if not len(suspects):
            return
        texts, changed = self.block.texts(), False
        for document in suspects.tolist():
            texts[document], counts = pii.scrub(texts[document], kinds)
            if counts:
                self.shard.counts.count_scrubbed(int(self.sources[document]), counts)
                changed = True
        if changed:
            self.block = Block.of(texts)


def _suspects(block: Block, kinds: Sequence[str]) -> Mask:
    """Documents that may hold personal data of these kinds: an at sign, a colon or `www` for addresses, digits for numbers."""
    found = np.zeros(len(block), bool)
    points = block.points
    if "email" in kinds:
        found |= block.counts((points == ord("@")) | (points == 0xFF20)) > 0
    if "url" in kinds:
        word = (points == ord("w")) | (points == ord("W"))
        found |= block.counts(points == ord("/")) > 1
        found[np.searchsorted(block.ends, np.flatnonzero(word[2:] & word[1:-1] & word[:-2]))] = True
    digits = block.kind_counts[:, chars.DIGIT]
    if {"phone", "resident_id", "bank_card"} & set(kinds):
        found |= digits >= 7
    if "ip" in kinds:
        found |= (digits >= 4) | (block.counts(points == ord(":")) > 1)
    return found


@lru_cache(maxsize=2)
def _grams(folder: Path) -> TestGrams:
    return TestGrams.open(folder)


def read_table(folder: Path, name: str, documents: int) -> NDArray[Any]:
    """A table of a shard, mapped into memory: `(documents,)` or `(documents, columns)`; `(0,)` where it was not made."""
    path = folder / f"{name}.bin"
    if not path.stat().st_size:
        return np.zeros(0, TABLES[name])
    table = np.memmap(path, TABLES[name], mode="r")
    return table.reshape(documents, -1) if name in WIDE else table
