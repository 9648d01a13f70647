"""The test sets that a recipe names: read, written as the corpus is written, and compared with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trustbase import files
from trustbase.data import pii
from trustbase.data.corpus.block import Block
from trustbase.data.corpus.contamination import TestGrams, make_grams
from trustbase.data.corpus.faults import Faults, judge
from trustbase.data.corpus.normalise import normalise
from trustbase.data.corpus.options import ContaminationOptions, CorpusOptions, FaultOptions
from trustbase.data.corpus.read import read_batches
from trustbase.data.corpus.sources import Found, find_files
from trustbase.data.corpus.survey import Piece, Survey, fault_of, survey
from trustbase.events import ignore

_FORMAT = 1
_BATCH = 1 << 20  # characters compared at once
_OFFENDERS = 200


@dataclass(frozen=True)
class TestSets:
    """The files of all test sets, looked through.

    Attributes:
        options: the recipe's `corpus` section.
        sets: for each set its name, its files and what they are.
    """

    __test__ = False  # the name is no test's

    options: CorpusOptions
    sets: Sequence[tuple[str, Found, Sequence[Survey]]]

    @classmethod
    def find(cls, options: CorpusOptions, root: Path) -> TestSets:
        """Look through the test sets of a recipe; csv and tsv are read too.

        Raises:
            DataError: a file is not there or of no known kind.
        """
        assert options.contamination is not None
        found = [
            (source.label, find_files([source], root, section="corpus.contamination", tables=True)) for source in options.contamination.sets
        ]
        return cls(options, [(name, listed, [survey(file) for file in listed.files]) for name, listed in found])

    @property
    def asked(self) -> ContaminationOptions:
        assert self.options.contamination is not None
        return self.options.contamination

    @property
    def digests(self) -> list[list[str]]:
        """Name of each set and file, and the file's digest."""
        return [
            [name, file.name, seen.digest] for name, found, seen_all in self.sets for file, seen in zip(found.files, seen_all, strict=True)
        ]

    def grams(self, work: Path) -> Path:
        """The folder of everything to look for, written once for all workers.

        Raises:
            DataError: a test set cannot be read in full; tolerance is for the corpus, not for what it is checked against.
        """
        said = self.options.model_dump(mode="json", include={"normalise", "scrub", "contamination"})
        target = work / ("grams-" + files.digest_json([_FORMAT, said, self.digests]).removeprefix("sha256:")[:24])
        if not target.is_dir():
            make_grams([(name, self._prepared(texts)) for name, texts in self._texts()], self.asked.ngram).save(target)
        return target

    def _texts(self) -> list[tuple[str, list[str]]]:
        read, faults, total = [], Faults(), 0
        with TemporaryDirectory() as spool:
            for name, found, surveys in self.sets:
                texts: list[str] = []
                for index, (file, seen) in enumerate(zip(found.files, surveys, strict=True)):
                    fault = fault_of(file, seen)
                    if fault:
                        faults.add(fault)
                        continue
                    whole = [Piece(index, 0, seen.unpacked, 1, seen.size)]
                    longest = self.options.longest_document
                    for batch in read_batches(found.files, whole, longest=longest, spool=Path(spool), report=faults.add):
                        texts += batch.texts
                read.append((name, texts))
                total += len(texts)
        judge(faults, total, FaultOptions(faults=0), ignore)
        return read

    def _prepared(self, texts: Sequence[str]) -> Block:
        block = normalise(texts, self.options.normalise)
        return Block.of([pii.scrub(text, self.options.scrub)[0] for text in block.texts()]) if self.options.scrub else block


def summarise(tests: TestSets, grams: TestGrams, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Which share of each test set stood in the corpus as it was read, and in which documents.

    Args:
        tests: the test sets.
        grams: what was looked for.
        summaries: of all shards.
    """
    sets = {}
    for name, size in zip(grams.names, grams.sizes, strict=True):
        texts = {text for entry in summaries for text in entry["contamination"]["texts"].get(name, ())}
        documents = sum(entry["contamination"]["documents"].get(name, 0) for entry in summaries)
        sets[name] = {"texts": size, "found": len(texts), "share": len(texts) / max(1, size), "documents": documents}
    offenders = [item for entry in summaries for item in entry["contamination"]["offenders"]][:_OFFENDERS]
    return {"ngram": grams.ngram, "action": tests.asked.action, "sets": sets, "offenders": offenders}


def measure_contamination(documents: Iterable[str], options: CorpusOptions, *, root: Path) -> dict[str, dict[str, int]]:
    """Test texts of each named set that stand in these documents: a check of a finished corpus, not of what was left out of it.

    Args:
        documents: of the corpus, such as `store.train`.
        options: the recipe's `corpus` section, which names the test sets.
        root: where relative paths start.

    Returns:
        `{set: {"texts": how many it has, "looked_for": how many are long enough for that, "found": how many stand in the documents}}`.

    Raises:
        DataError: a test set cannot be read in full.
    """
    tests = TestSets.find(options, root)
    found: list[Any] = []
    with TemporaryDirectory() as folder:
        grams = TestGrams.open(tests.grams(Path(folder)))
        held: list[str] = []
        size = 0
        for text in documents:
            held.append(text)
            size += len(text)
            if size >= _BATCH:
                found.append(grams.texts_of(grams.find(Block.of(held))[1]))
                held, size = [], 0
        if held:
            found.append(grams.texts_of(grams.find(Block.of(held))[1]))
        texts = np.unique(np.concatenate([np.zeros(0, np.int32), *found]))
        counts = np.bincount(grams.set_of(texts), minlength=len(grams.names))
        wanted = np.bincount(grams.set_of(np.unique(grams.texts)), minlength=len(grams.names))
        return {
            name: {"texts": size, "looked_for": int(sought), "found": int(count)}
            for name, size, sought, count in zip(grams.names, grams.sizes, wanted, counts, strict=True)
        }
