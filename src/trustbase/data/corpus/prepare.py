"""The whole preparation of a corpus as one function: resumable after a kill at any moment, in memory that does not grow with the text.

In the folder: `documents/` (the corpus), `corpus.json` and `corpus.md` (its card), `examples.jsonl` (a few dropped documents, with text),
`files.json` (what each file is, so that a finished corpus is not read again), and while it is made `work/` (shards, each whole or not
at all).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trustbase import files
from trustbase.data.corpus.card import card_markdown, corpus_card, source_cards
from trustbase.data.corpus.contamination import TestGrams
from trustbase.data.corpus.counts import Counts
from trustbase.data.corpus.decide import deduplicate
from trustbase.data.corpus.duplicates import Shards
from trustbase.data.corpus.faults import Faults, judge
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.shard import Job, make_shard
from trustbase.data.corpus.sources import Found, find_files
from trustbase.data.corpus.store import CorpusStore, held_out, read_about, write_store
from trustbase.data.corpus.survey import Piece, Survey, fault_of, plan_shards, stamp, still, survey
from trustbase.data.corpus.testsets import TestSets, summarise
from trustbase.data.corpus.workers import Task, run_tasks
from trustbase.events import Emit, ignore

FORMAT = 1  # of everything below; another number makes old work void
_HERE = "trustbase.data.corpus.prepare"


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus.

    Attributes:
        folder: where all of it is.
        store: its documents.
        card: where they come from and what stayed.
    """

    folder: Path
    store: CorpusStore
    card: dict[str, Any]

    @property
    def digest(self) -> str:
        return self.store.digest


def prepare_corpus(options: CorpusOptions, *, root: Path, folder: Path, seed: int, emit: Emit = ignore) -> Corpus:
    """Make a corpus ready, or open it where it is ready already.

    Args:
        options: the recipe's `corpus` section.
        root: folder that relative paths start from.
        folder: where the corpus goes; nobody else writes there.
        seed: seed of the run; stands in the card.
        emit: told progress, notes and warnings.

    Raises:
        DataError: files, columns or lines are not as described (every one is named), or nothing is left of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    found = find_files(options.sources, root)
    for name in found.passed_over[:20]:
        emit("note", text=f"{name} is passed over: it is no text, jsonl or parquet file")
    surveys = _survey(options, found, folder, emit)
    tests = TestSets.find(options, root) if options.contamination else None
    key = _key(options, found, surveys, seed, tests)
    done = _finished(folder, key)
    if done is not None:
        return done
    _clear(folder)
    corpus = _make(options, found, surveys, tests, folder, key, seed, emit)
    shutil.rmtree(folder / "work")
    return corpus


def open_corpus(folder: Path) -> Corpus:
    """A finished corpus.

    Raises:
        DataError: the folder holds none, or one that was altered.
    """
    return Corpus(folder, CorpusStore.open(folder / "documents"), read_about(folder / "corpus.json"))


def corpus_key(options: CorpusOptions, *, root: Path, folder: Path, seed: int, emit: Emit = ignore) -> str:
    """`sha256:…` of everything that a corpus depends on; files that did not change since the last call are not read again.

    Args:
        options, root, folder, seed, emit: as for `prepare_corpus`.

    Raises:
        DataError: files that are not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = find_files(options.sources, root)
    surveys = _survey(options, found, folder, emit)
    return _key(options, found, surveys, seed, TestSets.find(options, root) if options.contamination else None)


def _make(
    options: CorpusOptions, found: Found, surveys: Sequence[Survey], tests: TestSets | None, folder: Path, key: str, seed: int, emit: Emit
) -> Corpus:
    work = folder / "work"
    grams = tests.grams(work) if tests else None
    job = Job(options, found.files, grams)
    pieces = plan_shards(found.files, surveys)
    folders = [work / _shard_name(job, listed, surveys) for listed in pieces]
    summaries = _clean(job, pieces, folders, work, emit)
    counts, faults = Counts(), Faults.from_json([_as_faults(found, surveys), *(entry["faults"] for entry in summaries)])
    for entry in summaries:
        counts.join(entry["counts"])
    judge(faults, sum(pair[0] for pair in counts.read.values()), options.tolerance, emit)
    shards = Shards(folders, [entry["documents"] for entry in summaries])
    state = deduplicate(options, shards, found, counts, emit)
    emit("note", text=_tale(counts))
    out = held_out(shards, state, options.held_out)
    names, weights = [source.label for source in options.sources], [source.weight for source in options.sources]
    store = write_store(folder / "documents", shards, state, out, [file.source for file in found.files], names, weights)
    emit("progress", what="corpus: writing", done=1, total=1)
    card = {
        **corpus_card(
            options,
            sources=source_cards(options, found.files, surveys, found.revisions),
            passed_over=found.passed_over,
            counts=counts.to_json(),
            faults=faults,
            contamination=summarise(tests, TestGrams.open(grams), summaries) if tests and grams else None,
            result={name: _size(store, name) for name in ("train", "held_out")},
            digest=store.digest,
            seed=seed,
        ),
        "key": key,
    }
    _write_card(folder, card, counts)
    return Corpus(folder, store, card)


def _write_card(folder: Path, card: dict[str, Any], counts: Counts) -> None:
    """The card last of all: where it stands, the corpus is finished."""
    examples = [json.dumps(example, ensure_ascii=False) for entries in counts.examples.values() for example in entries]
    files.write_text(folder / "examples.jsonl", "".join(line + "\n" for line in examples))
    files.write_text(folder / "corpus.md", card_markdown(card))
    files.write_json(folder / "corpus.json", card)


def _survey(options: CorpusOptions, found: Found, folder: Path, emit: Emit) -> list[Survey]:
    """Every file looked through once; what an earlier call saw of an unchanged file is taken from disk."""
    store = folder / "files.json"
    known = _remembered(store)
    surveys: dict[int, Survey] = {}
    waiting: list[int] = []
    for index, file in enumerate(found.files):
        entry = known.get(files.digest_json(file.to_json()))
        before = Survey(**entry) if entry and not entry["fault"] else None
        if before is not None and still(file, before):
            surveys[index] = before
        else:
            waiting.append(index)

    def keep() -> None:
        entries = {files.digest_json(found.files[index].to_json()): entry.to_json() for index, entry in surveys.items()}
        files.write_json(store, {**known, **entries})

    def done(number: int, value: Any) -> None:
        surveys[waiting[number]] = Survey(**value)
        if len(surveys) % 4096 == 0:
            keep()
        emit("progress", what="corpus: looking through files", done=len(surveys), total=len(found.files))

    tasks: list[Task] = [(f"{_HERE}:survey_task", {"file": found.files[index].to_json()}) for index in waiting]
    small = sum(Path(found.files[index].path).stat().st_size for index in waiting if Path(found.files[index].path).exists()) < 64 << 20
    run_tasks(tasks, 1 if small else options.workers, done)
    if waiting:
        keep()
    return [surveys[index] for index in range(len(found.files))]


def _remembered(path: Path) -> dict[str, Any]:
    """What earlier calls saw of files; only a cache, so that a damaged one is looked at anew."""
    try:
        known = files.read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return known if isinstance(known, dict) and all(isinstance(entry, dict) for entry in known.values()) else {}


def survey_task(file: dict[str, Any]) -> dict[str, Any]:
    """`survey`, for a worker."""
    from trustbase.data.corpus.sources import SourceFile

    return survey(SourceFile.from_json(file)).to_json()


def _as_faults(found: Found, surveys: Sequence[Survey]) -> dict[str, Any]:
    """Files of which nothing can be used, as the faults of a shard."""
    faults = Faults()
    for file, seen in zip(found.files, surveys, strict=True):
        fault = fault_of(file, seen)
        if fault:
            faults.add(fault)
    return faults.to_json()


def _key(options: CorpusOptions, found: Found, surveys: Sequence[Survey], seed: int, tests: TestSets | None) -> str:
    """Digest of everything that the result depends on."""
    said = options.model_dump(mode="json", exclude={"workers"})
    listed = [
        [file.source, file.name, file.kind, file.column, list(file.part), seen.digest]
        for file, seen in zip(found.files, surveys, strict=True)
    ]
    return files.digest_json(
        {
            "format": FORMAT,
            "options": said,
            "files": listed,
            "tests": tests.digests if tests else None,
            "seed": seed,
            "numpy": np.__version__,
        }
    )


def _finished(folder: Path, key: str) -> Corpus | None:
    """The corpus of these inputs, where it is there already and whole."""
    path = folder / "corpus.json"
    if not path.is_file():
        return None
    card = read_about(path)
    if card.get("key") != key:
        return None
    shutil.rmtree(folder / "work", ignore_errors=True)
    return Corpus(folder, CorpusStore.open(folder / "documents"), card)


def _shard_name(job: Job, pieces: Sequence[Piece], surveys: Sequence[Survey]) -> str:
    """A name that follows from all that a shard depends on: after a change elsewhere, it is taken again."""
    used = {"sources", "tolerance", "held_out", "workers", "contamination"}
    said = job.options.model_dump(mode="json", exclude=used)
    action = job.options.contamination.action if job.options.contamination else None
    listed = [[job.files[piece.file].to_json(), surveys[piece.file].digest, *asdict(piece).values()] for piece in pieces]
    known = {"format": FORMAT, "options": said, "pieces": listed, "grams": job.grams.name if job.grams else None, "action": action}
    return "shard-" + files.digest_json(known).removeprefix("sha256:")[:24]


def _clear(folder: Path) -> None:
    """Remove the result of other inputs; their shards may serve again."""
    for name in ("corpus.json", "corpus.md", "examples.jsonl"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "documents", ignore_errors=True)


def _clean(job: Job, pieces: Sequence[Sequence[Piece]], folders: Sequence[Path], work: Path, emit: Emit) -> list[dict[str, Any]]:
    """Every shard made, or taken from an earlier call; its summary."""
    files.write_json(work / "job.json", job.to_json())
    waiting = [index for index, folder in enumerate(folders) if not _whole(folder)]
    sizes = [sum(piece.size for piece in listed) for listed in pieces]
    total, ready = sum(sizes), sum(sizes) - sum(sizes[index] for index in waiting)
    if ready:
        emit("note", text=f"{len(pieces) - len(waiting):,} of {len(pieces):,} shards are taken from the call before")

    def done(number: int, value: Any) -> None:
        nonlocal ready
        ready += sizes[waiting[number]]
        emit("progress", what="corpus: cleaning", done=ready, total=total)

    def task(index: int) -> Task:
        listed = [[piece.file, piece.start, piece.end, piece.line, piece.size] for piece in pieces[index]]
        return f"{_HERE}:shard_task", {"job": str(work / "job.json"), "pieces": listed, "folder": str(folders[index])}

    run_tasks([task(index) for index in waiting], job.options.workers, done)
    return [files.read_json(folder / "shard.json") for folder in folders]


def shard_task(job: str, pieces: list[list[int]], folder: str) -> None:
    """`make_shard`, for a worker."""
    path = Path(job)
    make_shard(_job(path, *stamp(path)), [Piece(*piece) for piece in pieces], Path(folder))


@lru_cache(maxsize=1)
def _job(path: Path, size: int, changed: int) -> Job:
    """A job as it lies on disk; read once for all shards that a process makes."""
    return Job.from_json(files.read_json(path))


def _whole(folder: Path) -> bool:
    """Whether a shard was finished, and is what was written."""
    try:
        written = files.read_json(folder / "shard.json")["files"]
    except (OSError, ValueError, KeyError):  # not there, or cut off by a power loss
        return False
    for name, (size, digest) in written.items():
        file = folder / f"{name}.bin"
        if not file.is_file() or file.stat().st_size != size or files.sha256_file(file) != digest:
            return False
    return True


def _size(store: CorpusStore, name: str) -> dict[str, int]:
    part = getattr(store, name)
    return {"documents": len(part), "bytes": int(part.offsets[-1])}


def _tale(counts: Counts) -> str:
    read = sum(pair[0] for pair in counts.read.values())
    fallen: dict[str, int] = {}
    for reasons in counts.dropped.values():
        for reason, pair in reasons.items():
            fallen[reason] = fallen.get(reason, 0) + pair[0]
    tail = "; ".join(f"{reason} {count:,}" for reason, count in sorted(fallen.items(), key=lambda item: -item[1]))
    return f"corpus: {read:,} documents read, {read - sum(fallen.values()):,} stay" + (f" (left out: {tail})" if tail else "")
