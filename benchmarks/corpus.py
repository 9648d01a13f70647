"""Corpus preparation: speed on one core, the MinHash of `datasketch` beside ours, and memory over a corpus ten times as large.

    python benchmarks/corpus.py [--megabytes 200] [--memory 100] [--folder DIR] [--json FILE]

The text is generated: English-like and Chinese-like prose from word lists with Zipf frequencies, documents of about 2 KB separated by blank
lines, 5 % of them exact duplicates, 5 % near-duplicates, some with personal data. Every row runs in a process of its own with one worker
on one core; MB/s are megabytes of input files for each second of processor time (the machine may be busy with other work) and of wall
time. `datasketch` is timed on a part of the same documents: its `MinHash.update_batch` over shingles that are made ready outside the
clock, with as many permutations, and its `MinHashLSH` at the same threshold; its pairs are compared with ours.
Memory is the peak resident size (VmHWM) of the process that prepares a corpus, and of one ten times as large, in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from trustbase.machine import processor

CASES = {
    "clean + exact": {"deduplicate": "exact"},
    "clean + exact + scrub": {"deduplicate": "exact", "scrub": True},
    "clean + exact + MinHash": {"deduplicate": "near"},
}
ASKED = {"clean + exact": 20.0, "clean + exact + MinHash": 5.0}
FUNCTION = re.findall(
    r"\w+", "the of and to in is that it was for on with as at by this had not are but from or have they which one you were all"
)
FUNCTION_ZH = "的了是在不和有我这们就人也都与为而之到说"
SENTENCES = 40_000  # different ones; a document is a random choice of about 25


def sentences(rng, language):
    """Sentences of words with Zipf frequencies, the function words of the language among the first."""
    if language == "zh":
        signs = [chr(point) for point in rng.permutation(np.arange(0x4E00, 0x4E00 + 5000))]
        words, function = ["".join(rng.choice(signs, rng.integers(1, 4))) for _ in range(20_000)], FUNCTION_ZH
    else:
        letters = list("etaoinshrdlcumwfgypbvk")
        weights = np.arange(len(letters), 0, -1) / sum(range(len(letters) + 1))
        words, function = ["".join(rng.choice(letters, rng.integers(3, 11), p=weights)) for _ in range(20_000)], FUNCTION
    words = np.array([word for pair in zip(function, words, strict=False) for word in pair] + words[len(function) :], dtype=object)
    chance = 1 / (np.arange(len(words)) + 2.7)
    per = 14 if language == "zh" else 12
    drawn = words[rng.choice(len(words), (SENTENCES, per), p=chance / chance.sum())]
    joint, stop = ("", "。") if language == "zh" else (" ", ". ")
    return np.array([joint.join(row) + stop for row in drawn], dtype=object)


def make_documents(rng, language, size):
    """Documents of about 2 KB, one after another, until `size` bytes."""
    pool, held, kept = sentences(np.random.default_rng(len(language)), language), 0, []
    personal = "电话13800138000。" if language == "zh" else "Mail me at someone@example.com. "
    while held < size:
        for picked in pool[rng.integers(0, len(pool), (500, 25))]:
            text = "\n".join("".join(picked[start : start + 6]).rstrip() for start in range(0, 25, 6))
            dice = rng.random()
            if kept and dice < 0.05:
                text = kept[rng.integers(len(kept))]
            elif kept and dice < 0.10:
                text = kept[rng.integers(len(kept))] + "\n" + pool[rng.integers(len(pool))].rstrip()
            elif dice < 0.12:
                text += "\n" + personal.rstrip()
            kept = [*kept[-200:], text] if dice > 0.9 else kept
            held += len(text.encode()) + 2
            yield text
            if held >= size:
                return


def write_corpus(folder, megabytes, seed):
    """Half English, half Chinese, in files of 16 MB; returns bytes."""
    folder.mkdir(parents=True)
    for language in ("en", "zh"):
        rng = np.random.default_rng([seed, language == "zh"])
        stream, written, number = None, 0, 0
        for text in make_documents(rng, language, megabytes * 500_000):
            if stream is None or written > 16_000_000:
                if stream:
                    stream.close()
                stream, written, number = (folder / f"{language}-{number:04d}.txt").open("w", encoding="utf-8"), 0, number + 1
            written += len(text.encode()) + 2
            stream.write(text + "\n\n")
        stream.close()
    return sum(path.stat().st_size for path in folder.glob("*.txt"))


def child(folder, case):
    """Prepare the corpus in this process; seconds and peak memory."""
    from trustbase.data.corpus.options import CorpusOptions
    from trustbase.data.corpus.prepare import prepare_corpus

    options = CorpusOptions.model_validate({"files": f"{folder}/*.txt", "workers": 1, **CASES[case]})
    spent: dict[str, float] = {}
    last = ["corpus: looking through files", time.process_time()]

    def emit(event, **more):
        if event == "progress" and more["what"] != last[0]:
            last[:] = [more["what"], time.process_time()]
        elif event == "progress":
            now = time.process_time()
            spent[more["what"]] = spent.get(more["what"], 0) + now - last[1]
            last[1] = now

    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as out:
        wall, cpu = time.perf_counter(), time.process_time()
        corpus = prepare_corpus(options, root=Path(), folder=Path(out), seed=0, emit=emit)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        steps = {row["step"]: row["documents"] for row in corpus.card["steps"]}
    peak = next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"cpu_s": cpu, "wall_s": wall, "peak_bytes": peak, "documents": steps}))


def run_child(folder, case):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--child", str(folder), case]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads}).stdout)


def beside_datasketch(megabytes, seed):
    """MinHash and LSH alone, on the same documents with the same shingles: megabytes for each second of processor time."""
    from datasketch import MinHash, MinHashLSH

    from trustbase.data.corpus.block import Block
    from trustbase.data.corpus.minhash import band_hashes, choose_bands, short, signatures, similarity
    from trustbase.data.corpus.options import NearOptions

    texts = [
        text
        for language in ("en", "zh")
        for text in make_documents(np.random.default_rng([seed, language == "zh", 1]), language, megabytes * 500_000)
    ]
    size = sum(len(text.encode()) for text in texts)
    near = NearOptions()
    bands = choose_bands(near.similarity, near.permutations)
    start = time.process_time()
    found, band = [], []
    for first in range(0, len(texts), 500):
        made = signatures(Block.of(texts[first : first + 500]), near)
        found.append(short(made))
        band.append(band_hashes(made, bands))
    rows, keys = np.concatenate(found), np.concatenate(band)
    ours_pairs = set()
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        for a, b in pairwise(order.tolist()):
            if column[a] == column[b]:
                ours_pairs.add((min(a, b), max(a, b)))
    candidates = np.array(sorted(ours_pairs))
    alike = similarity(rows[candidates[:, 0]], rows[candidates[:, 1]]) >= near.similarity
    ours_s, ours_pairs = time.process_time() - start, {tuple(pair) for pair in candidates[alike].tolist()}
    ready = []
    for text in texts:
        block = Block.of([text])
        points = "".join(map(chr, block.points)).lower()
        units = [points[a:b] for a, b in zip(block.units.starts, block.units.ends, strict=True)]
        ready.append([" ".join(units[i : i + near.shingle]).encode() for i in range(len(units) - near.shingle + 1)])
    start = time.process_time()
    index = MinHashLSH(threshold=near.similarity, num_perm=near.permutations)
    theirs_pairs = set()
    for number, shingles in enumerate(ready):
        made = MinHash(num_perm=near.permutations)
        made.update_batch(shingles)
        theirs_pairs |= {(other, number) for other in index.query(made)}
        index.insert(number, made)
    theirs_s = time.process_time() - start
    fell_ours, fell_theirs = {b for _, b in ours_pairs}, {b for _, b in theirs_pairs}
    return {
        "megabytes": size / 1e6,
        "documents": len(texts),
        "ours_mb_s": size / 1e6 / ours_s,
        "datasketch_mb_s": size / 1e6 / theirs_s,
        "ratio": theirs_s / ours_s,
        "fall_to_ours": len(fell_ours),
        "fall_to_datasketch": len(fell_theirs),
        "fall_to_both": len(fell_ours & fell_theirs),
    }


def show(results):
    print(f"{results['processor']}, one core, {results['megabytes']:.0f} MB of generated text, half English, half Chinese")
    print(f"{'preparation':<28}{'MB/s (cpu)':>12}{'MB/s (wall)':>13}{'asked':>8}{'peak MiB':>10}")
    for case, row in results["speed"].items():
        asked = f">= {ASKED[case]:.0f}" if case in ASKED else "-"
        print(f"{case:<28}{row['mb_s_cpu']:>12.1f}{row['mb_s_wall']:>13.1f}{asked:>8}{row['peak_bytes'] / 2**20:>10.0f}")
    peer = results["datasketch"]
    print(
        f"{'MinHash + LSH alone':<28}{peer['ours_mb_s']:>12.1f}   datasketch {peer['datasketch_mb_s']:.2f}   ratio {peer['ratio']:.0f}x",
        end="",
    )
    print(f"   near-duplicates: ours {peer['fall_to_ours']}, datasketch {peer['fall_to_datasketch']}, both {peer['fall_to_both']}")
    for row in results["memory"]:
        print(f"memory, MinHash: {row['megabytes']:>8.0f} MB of text, peak {row['peak_bytes'] / 2**20:.0f} MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument(
        "--memory", type=int, default=100, help="megabytes of the small corpus; the large one is ten times that; 0 for none"
    )
    parser.add_argument("--peer", type=int, default=8, help="megabytes for the comparison with datasketch")
    parser.add_argument("--folder", type=Path, default=None, help="where the text is written (a temporary folder by default)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/corpus.json"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    base = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        size = write_corpus(base / "speed", options.megabytes, 0)
        results = {
            "processor": processor(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "megabytes": size / 1e6,
            "speed": {},
        }
        for case in CASES:
            row = run_child(base / "speed", case)
            results["speed"][case] = {**row, "mb_s_cpu": size / 1e6 / row["cpu_s"], "mb_s_wall": size / 1e6 / row["wall_s"]}
        shutil.rmtree(base / "speed")
        results["datasketch"] = beside_datasketch(options.peer, 0)
        results["memory"] = []
        for megabytes in (options.memory, 10 * options.memory) if options.memory else ():
            size = write_corpus(base / f"memory-{megabytes}", megabytes, 1)
            row = run_child(base / f"memory-{megabytes}", "clean + exact + MinHash")
            results["memory"].append({"megabytes": size / 1e6, **row})
            shutil.rmtree(base / f"memory-{megabytes}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    show(results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
