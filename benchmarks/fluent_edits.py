"""Where does an edit read badly? What the threshold keeps and refuses, by masked language models that know a small language.

    PYTHONPATH=tests:tests/unit python benchmarks/fluent_edits.py [--seeds 5] [--json benchmarks/results/fluent_edits.json]

Each line is a language (English, Chinese: `tests/unit/fluent_world.py`) and a share LOSS of what a drawn word costs, over so many seeds of
model, texts and draws. Edits of one word are of two sorts that the grammar tells apart: another word of the same part of the sentence
(reads well, is to be kept) and one of another part (reads badly, is to be refused). Beside it: how many texts read better
than with their words shuffled, of taught models and of ones that were taught nothing, of which the control must not believe one.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from fluent_world import PARTS, ZH_PARTS, masked_model, sentences

from explain_world import audited
from trustbase.audit import fluency
from trustbase.audit.explain.fluent import LOSS, tried
from trustbase.audit.explain.subject import items_of
from trustbase.audit.explain.units import words
from trustbase.audit.masked_words import open_masked

SHARES = (0.25, LOSS, 0.75, 1.0)
TEXTS = 40


def edits(masked: object, seed: int, chinese: bool) -> tuple[np.ndarray, np.ndarray]:
    """How edits of one word read: by a word of the same part of the sentence, and of another."""
    parts, rng = ZH_PARTS if chinese else PARTS, np.random.default_rng(seed)
    kind = {word: part for part, words in parts.items() for word in words}
    well, badly = [], []
    for text in sentences(TEXTS, 1000 + seed, chinese=chinese):
        units = words(text)
        own = [(unit, name) for unit, name in enumerate(units.names) if name in kind]
        same = [{unit: str(rng.choice([word for word in parts[kind[name]] if word != name]))} for unit, name in own]
        other = [{unit: str(rng.choice([word for word in kind if kind[word] != kind[name]]))} for unit, name in own]
        well += fluency.differences(masked, text, units.edited(same))
        badly += fluency.differences(masked, text, units.edited(other))
    return np.array(well), np.array(badly)


def measured(folder: Path, seed: int, chinese: bool, steps: int) -> dict[str, object]:
    """The trial of one model, and what thresholds of these shares do to edits whose reading is known."""
    model = masked_model(folder, chinese=chinese, steps=steps, seed=seed)
    table = pa.table({"text": sentences(TEXTS, 500 + seed, chinese=chinese)})
    with audited(folder, table, budget={"texts": TEXTS, "fluent": str(model)}, seed=seed) as context:
        trial = tried(context, items_of(context, TEXTS))
    if trial.why:
        return {"believed": False}
    cost = trial.told["drawn_words"]["median_difference"]
    well, badly = edits(open_masked(str(model), option="explanation.fluent"), seed, chinese)
    told = {str(share): [float((well >= share * cost).mean()), float((badly < share * cost).mean())] for share in SHARES}
    return {"believed": True, "cost": cost, "control": trial.told["control"]["shuffled_reads_worse"], "kept_and_refused": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table, began = {}, time.process_time()
    for name, chinese in (("en", False), ("zh", True)):
        with TemporaryDirectory() as folder:
            taught = [measured(Path(folder) / str(seed), seed, chinese, 200) for seed in range(options.seeds)]
            none = [measured(Path(folder) / f"none{seed}", seed, chinese, 0) for seed in range(options.seeds)]
        believed = [each for each in taught if each["believed"]]
        shares = {share: np.mean([each["kept_and_refused"][share] for each in believed], axis=0).tolist() for share in map(str, SHARES)}
        table[name] = {
            "models": len(taught),
            "believed": len(believed),
            "untaught_believed": sum(bool(each["believed"]) for each in none),
            "cost_of_a_drawn_word": [each["cost"] for each in believed],
            "kept_and_refused": shares,
        }
        print(f"{name}: {len(believed)} of {len(taught)} taught models believed, {table[name]['untaught_believed']} untaught", flush=True)
        for share, (kept, refused) in shares.items():
            print(
                f"  {share} of what a drawn word costs: {kept:.1%} of edits that read well kept, {refused:.1%} of others refused",
                flush=True,
            )
    if options.json:
        told = {"seeds": options.seeds, "processor_seconds": round(time.process_time() - began), **table}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
