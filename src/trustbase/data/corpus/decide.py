"""Duplicates told from the shards' tables, and said: counted for each source, with a few examples of which stands for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trustbase.data.corpus.counts import Counts
from trustbase.data.corpus.duplicates import REASONS, Decision, Shards, drop_exact, drop_near
from trustbase.data.corpus.minhash import choose_bands
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.shard import read_table
from trustbase.data.corpus.sources import Found
from trustbase.events import Emit


def deduplicate(options: CorpusOptions, shards: Shards, found: Found, counts: Counts, emit: Emit) -> NDArray[np.uint8]:
    """What becomes of each document, `(documents,)`; what falls is counted, and a few examples are kept.

    Args:
        options: whether and how documents are told to be the same.
        shards: the clean documents.
        found: the files they are from.
        counts: where it is counted.
        emit: told the progress.
    """
    decision = Decision(np.zeros(shards.documents, np.uint8))
    if options.deduplicate != "none":
        drop_exact(shards, decision)
        emit("progress", what="corpus: exact duplicates", done=1, total=1)
    if options.deduplicate == "near":
        bands = choose_bands(options.near.similarity, options.near.permutations).count

        def told(band: int) -> None:
            emit("progress", what="corpus: near duplicates", done=band, total=bands)

        drop_near(shards, decision, bands=bands, least=options.near.similarity, progress=told)
    owner = np.array([file.source for file in found.files], np.int64)
    for (start, owners), (_, characters) in zip(shards.parts("files"), shards.parts("characters"), strict=True):
        own = decision.state[start : start + len(owners)]
        for reason, name in REASONS.items():
            if (own == reason).any():
                counts.count_dropped(name, owner[owners[own == reason]], characters[own == reason])
    for reason, pairs in decision.examples.items():
        for document, first in pairs:
            counts.add_example(
                REASONS[reason], _where(shards, found, document), _text(shards, document), stays=_where(shards, found, first)
            )
    return decision.state


def _where(shards: Shards, found: Found, document: int) -> str:
    one = np.array([document])
    return f"{found.files[int(shards.take('files', one)[0])].name}:{int(shards.take('lines', one)[0])}"


def _text(shards: Shards, document: int) -> str:
    shard, place = shards.place(document)
    lengths = read_table(shards.folders[shard], "lengths", shards.counts[shard])
    with (shards.folders[shard] / "documents.bin").open("rb") as stream:
        stream.seek(int(lengths[:place].sum()))
        return stream.read(int(lengths[place])).decode("utf-8")
