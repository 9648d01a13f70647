"""Every model that a person can read: learns, equals an independent scikit-learn, never is certain, and ships nothing that can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plain_world import labels, learned, table_rows, text_rows, turned
from trustbase.audit.rivals_classes import boosting
from trustbase.data.cells import inputs_of
from trustbase.errors import TrainingError
from trustbase.model.artifact import write_artifact
from trustbase.model.plain.options import PLAIN_OPTIONS, BoostingOptions
from trustbase.model.plain.readers import dense, read_all
from trustbase.model.plain.shared import PlainModel
from trustbase.model.plain.store import read_plain
from trustbase.model.predict import Predictor
from trustbase.model.questions import Question
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import PLAIN_MODELS
from trustbase.records import ArtifactInfo, Split
from trustbase.train.plain import fit

KINDS = list(PLAIN_MODELS)
WORLDS: dict[str, tuple[Callable[..., Split], dict[str, Any]]] = {
    "columns": (table_rows, {}),
    "words": (text_rows, {}),
    "chinese": (text_rows, {"chinese": True}),
    "pairs": (text_rows, {"pairs": True}),
}


def shipped(folder: Path, classes: int) -> ArtifactInfo:
    """An artefact of what was learned."""
    columns = read_plain(folder).columns
    text = "{age} years, {job}: {note}" if columns else "text"
    info = ArtifactInfo(folder, "", "text-classification", "classes", labels(classes), "plain", "fp32", 0, "plain", "here", text)
    return write_artifact(replace(info, columns=columns))


def test_how_many_models_are_covered() -> None:
    assert KINDS == ["linear", "tree", "rules", "boosting"] and all(load(entry).kind == name for name, entry in PLAIN_MODELS.items())


@pytest.mark.parametrize(("world", "classes"), [*((world, 2) for world in WORLDS), ("columns", 3), ("words", 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_keeps_the_contract(kind: str, world: str, classes: int, tmp_path: Path) -> None:
    make, options = WORLDS[world]
    train, test = make(700, 0, classes=classes, **options), make(300, 1, classes=classes, **options)
    fewer = {"rounds": 30} if kind == "boosting" else {}
    trained = learned(kind, train, test, tmp_path, classes=classes, **fewer)
    assert trained.reload_difference < 1e-9
    with Predictor.open(shipped(trained.folder, classes)) as predictor:
        asked = list(inputs_of(test, predictor.info.columns))
        scores = predictor.class_scores(asked)
        predictor.clear_cache()
        alone = np.stack([predictor.class_scores([value])[0] for value in asked[:20]])
    assert scores.shape == (300, classes) and np.allclose(scores.sum(1), 1) and (scores > 0).all() and (scores < 1).all()
    share = np.bincount(test.labels).max() / len(test)
    assert (scores.argmax(1) == test.labels).mean() > max(share + 0.1, 0.75)
    np.testing.assert_allclose(alone, scores[:20], atol=1e-6)  # answers do not depend on their neighbours
    np.testing.assert_allclose(scores, oracle(kind, trained.folder, train, test, classes), atol=1e-6)


def oracle(kind: str, folder: Path, train: Split, test: Split, classes: int) -> np.ndarray[Any, Any]:
    """The same answers from scikit-learn's own models, on the numbers that the readers make: of rules, by walking down the list."""
    readable = read_plain(folder)
    model, view = readable.model, readable.model.view
    first, second = (numbers(readable, split) for split in (train, test))
    if kind == "linear":
        from sklearn.linear_model import LogisticRegression

        c = 1.0 if readable.columns else 10.0
        return np.asarray(LogisticRegression(C=c, max_iter=1000).fit(first, train.labels).predict_proba(second))
    if kind == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        codes = [view == "raw" and reader.is_code for reader in readable.readers for _ in reader.features(view)]
        oracle = HistGradientBoostingClassifier(max_iter=30, categorical_features=codes if any(codes) else None)
        return np.asarray(oracle.fit(first, train.labels).predict_proba(second))
    if kind == "tree":
        places, counted = train_leaves(model, first), train_leaves(model, second)
    else:
        places, counted = fired_by_hand(model, first), fired_by_hand(model, second)
    counts = np.zeros((max(*places, *counted) + 1, classes))
    np.add.at(counts, (places, train.labels), 1)
    return np.asarray((counts[counted] + 1) / (counts[counted].sum(1, keepdims=True) + classes))


def numbers(readable: Any, split: Split) -> np.ndarray[Any, Any]:
    cells = {name: [value or "" for value in split.table.column(name).to_pylist()] for name in readable.columns}
    return dense(read_all(readable.readers, readable.model.view, split.texts, cells))


def train_leaves(model: Any, values: np.ndarray[Any, Any]) -> list[int]:
    """Down the stored arrays, a row and a question at a time."""
    arrays, leaves = model.arrays, []
    for row in values.astype(np.float32):
        node = 0
        while arrays["left"][node] != node:
            node = arrays["left" if row[arrays["feature"][node]] <= arrays["threshold"][node] else "right"][node]
        leaves.append(int(node))
    return leaves


def fired_by_hand(model: Any, values: np.ndarray[Any, Any]) -> list[int]:
    arrays, rules = model.arrays, []
    for row in values.astype(np.float32):
        answer = len(arrays["bounds"]) - 1
        for rule, (start, end) in enumerate(zip(arrays["bounds"][:-1], arrays["bounds"][1:], strict=True)):
            if all((row[arrays["feature"][i]] > arrays["threshold"][i]) == bool(arrays["above"][i]) for i in range(start, end)):
                answer = rule
                break
        rules.append(answer)
    return rules


def test_linear_over_words_is_the_usual_pipeline(tmp_path: Path) -> None:
    """Nothing of ours but the splitting of words: tf-idf and weights are scikit-learn's."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = text_rows(700, 0), text_rows(300, 1)
    trained = learned("linear", train, test, tmp_path)
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, min_df=5, max_df=699)
    usual = make_pipeline(words, LogisticRegression(C=10, max_iter=1000)).fit(train.texts, train.labels)
    found = read_plain(trained.folder).logits(test.texts, [])
    np.testing.assert_allclose(1 / (1 + np.exp(found[:, 0] - found[:, 1])), usual.predict_proba(test.texts)[:, 1], atol=1e-9)


def test_boosting_is_the_rival_of_that_name(tmp_path: Path) -> None:
    """On columns without texts it is the same model: the audit's gain over that rival is then nothing, and says so."""
    train, test = (replace(split, table=split.table.drop_columns(["note"])) for split in (table_rows(700, 0), table_rows(300, 1)))
    options, columns = BoostingOptions(kind="boosting"), {"age": "numbers", "job": "categories"}
    trained = fit.fit_plain(options, labels(2), train, test, columns=columns, folder=tmp_path, seed=0)
    cells = [[row["age"] or "", row["job"] or ""] for row in test.table.to_pylist()]
    found = read_plain(trained.folder).logits(test.texts, cells)
    rival = boosting(train, labels(2), 0)(test).scores
    assert rival is not None
    np.testing.assert_allclose(1 / (1 + np.exp(found[:, 0] - found[:, 1])), rival[:, 1], atol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_cells_that_training_never_saw_are_answered(kind: str, tmp_path: Path) -> None:
    trained = learned(kind, table_rows(400, 0), table_rows(100, 1), tmp_path)
    odd = ["\x1e\x1e\x1e", "x\x1eabc\x1enever seen\x1e", "\x1e1e300\x1ecook\x1e好", "\x1e-1e300\x1e\x1e\x1f", "no cells", "\x1e1"]
    with Predictor.open(shipped(trained.folder, 2)) as predictor:
        results = predictor.ask_all([Question("class_scores", value) for value in odd])
    assert all(np.isfinite(result.value).all() for result in results[:4])
    assert [getattr(result, "code", "") for result in results[4:]] == ["bad_input"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_bytes_and_other_labels_other_answers(kind: str, tmp_path: Path) -> None:
    train, test = table_rows(400, 0), table_rows(100, 1)
    first, again, other = (learned(kind, rows, test, tmp_path / name) for rows, name in ((train, "a"), (train, "b"), (turned(train), "c")))
    assert first.digest == again.digest != other.digest
    assert {path.name for path in first.folder.iterdir()} == {"plain.json", "plain.safetensors"}
    kept = b"".join(path.read_bytes() for path in sorted(first.folder.iterdir()))
    assert not any(mark in kept for mark in (b"\x80\x04\x95", b"\x80\x05\x95", b"joblib", b"csklearn", b"PK\x03\x04"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_says_names_what_it_reads(kind: str, tmp_path: Path) -> None:
    trained = learned(kind, table_rows(700, 0), table_rows(100, 1), tmp_path)
    told = read_plain(trained.folder).told(labels(2))
    said = "\n".join(told.lines)
    assert "age" in said and "job" in said and told.summary and told.title
    assert "note 6" not in said and "7" * 3 not in said  # no single row shows


def spoilt(change: Callable[[Any], Any]) -> Callable[..., Any]:
    """Numbers that are stored, changed between learning and saving."""
    honest = fit.write_plain

    def write(readable: Any, folder: Path) -> None:
        arrays = {name: array.copy() for name, array in readable.model.arrays.items()}
        change(arrays)
        honest(replace(readable, model=type(readable.model)(arrays, readable.model.width, readable.model.classes)), folder)

    return write


def wrong_way(arrays: dict[str, Any]) -> None:
    arrays["left"], arrays["right"] = arrays["right"].copy(), arrays["left"].copy()


def rounded(arrays: dict[str, Any]) -> None:
    name = next(name for name in ("weights", "counts", "value") if name in arrays)
    arrays[name] = arrays[name].round(1) if name != "counts" else arrays[name] + 1


@pytest.mark.parametrize(("kind", "change"), [("tree", wrong_way), ("boosting", wrong_way), *((kind, rounded) for kind in KINDS)])
def test_a_model_that_is_not_what_was_learned_never_ships(
    kind: str, change: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "write_plain", spoilt(change))
    with pytest.raises(TrainingError, match="answers other than the library"):
        learned(kind, table_rows(400, 0), table_rows(100, 1), tmp_path)


def test_every_model_owns_options_and_a_view() -> None:
    assert list(PLAIN_OPTIONS) == KINDS
    assert all(issubclass(load(entry), PlainModel) and callable(entry.learner()) for entry in PLAIN_MODELS.values())
