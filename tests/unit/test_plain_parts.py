"""Parts of plain models: what readers make of cells, what is refused on disk and in recipes, and how rules are shortened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plain_world import labels, learned, table_rows, text_rows
from trustbase import files
from trustbase.errors import DataError, ModelError, RecipeError, UsageError
from trustbase.model.load import resolve_base
from trustbase.model.plain.readers import Categories, Numbers, Words, read_all
from trustbase.model.plain.shared import smoothed_logits
from trustbase.model.plain.store import NUMBERS_FILE, read_plain
from trustbase.model.runtime_plain import PlainRuntime
from trustbase.recipe.lookup import PLAIN_MODELS
from trustbase.recipe.read import read_recipe
from trustbase.train.plain.rules import _shortened

AGE = Numbers("age", fill=40.0, mean=42.0, scale=10.0)
JOB = Categories("job", ("cook", "clerk"))
CELLS = {"age": ["52", "", "old"], "job": ["clerk", "", "pilot"]}


def test_empty_and_unknown_cells_are_states_of_their_own() -> None:
    found = {view: read_all((AGE, JOB), view, [""] * 3, CELLS).toarray().tolist() for view in ("scaled", "flags", "raw")}  # type: ignore[arg-type]
    assert found["scaled"] == [[1, 0, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0]]
    assert found["flags"] == [[52, 0, 0, 0, 0, 1], [40, 1, 1, 0, 0, 0], [40, 1, 0, 1, 0, 0]]
    assert np.array_equal(found["raw"], [[52, 3], [np.nan, 0], [np.nan, 1]], equal_nan=True)


def test_intervals_of_a_number_hold_their_upper_end() -> None:
    reader = Numbers("age", 40.0, 42.0, 10.0, cuts=(30.0, 50.0))
    assert [feature.name for feature in reader.features("scaled")] == ["age <= 30", "age over 30, up to 50", "age > 50", "age is missing"]
    values = {"age": ["30", "30.5", "50", "51", ""]}
    assert read_all((reader,), "scaled", [""] * 5, values).toarray().argmax(1).tolist() == [0, 1, 1, 2, 3]


def test_words_weigh_as_scikit_learn_has_them() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["good good film", "bad film", "a good day", ""]
    oracle = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True).fit(texts)
    reader = Words(None, "words", 2, False, tuple(oracle.get_feature_names_out()), tuple(oracle.idf_.tolist()))
    np.testing.assert_allclose(read_all((reader,), "scaled", texts, {}).toarray(), oracle.transform(texts).toarray(), atol=1e-12)


def test_terms_of_a_pair_are_told_by_their_side() -> None:
    reader = Words(None, "words", 1, True, ("0 cow", "1 cow", "both cow", "shared 3"), (1.0,) * 4)
    assert [(each.name, each.otherwise) for each in reader.features("flags")] == [
        ("first text has 'cow'", "first text lacks 'cow'"),
        ("second text has 'cow'", "second text lacks 'cow'"),
        ("both texts have 'cow'", "not both texts have 'cow'"),
        ("3 tenths of the words are in both texts", "other than 3 tenths of the words are in both texts"),
    ]


def test_rare_words_and_names_are_not_read(tmp_path: Path) -> None:
    """What is read ships: a name that one row alone has would ship with it."""
    train = table_rows(300, 0)
    trained = learned("linear", train, table_rows(100, 1), tmp_path, least_rows=5)
    kept = (trained.folder / "plain.json").read_text(encoding="utf-8")
    assert "nurse" in kept and "good" in kept and '"137"' not in kept
    with pytest.raises(DataError, match="nothing occurs in 500 rows"):
        learned("tree", text_rows(300, 0), text_rows(100, 1), tmp_path, least_rows=500)


def test_smoothed_shares_are_never_certain() -> None:
    assert np.allclose(np.exp(smoothed_logits(np.array([[8.0, 0.0], [0.0, 0.0]]))), [[0.9, 0.1], [0.5, 0.5]])


def test_a_rule_says_each_bound_once() -> None:
    assert _shortened([(0, 60.0, False), (1, 0.5, True), (0, 50.0, False), (0, 20.0, True)]) == [
        (0, 50.0, False),
        (1, 0.5, True),
        (0, 20.0, True),
    ]


def test_a_tree_and_rules_say_what_an_empty_number_counts_as(tmp_path: Path) -> None:
    for kind in ("tree", "rules"):
        told = read_plain(learned(kind, table_rows(600, 0), table_rows(100, 1), tmp_path / kind).folder).told(labels(2))
        assert any(line.startswith("(an empty age counts as ") for line in told.lines)


def put(arrays: dict[str, Any], name: str, place: Any, value: Any) -> None:
    arrays[name] = arrays[name].copy()
    arrays[name][place] = value


def chain(questions: int) -> dict[str, Any]:
    """A tree that asks so many questions one after another."""
    inner, nodes = np.arange(questions), 2 * questions + 1
    left, right = np.arange(nodes), np.arange(nodes)
    left[inner], right[inner] = inner + 1, questions + 1 + inner
    numbers = {"feature": np.zeros(nodes), "left": left, "right": right, "roots": np.zeros(1)}
    return {name: array.astype(np.int32) for name, array in numbers.items()} | {
        "threshold": np.zeros(nodes),
        "counts": np.zeros((nodes, 2)),
    }


BROKEN: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "cycle": ("tree", lambda a: put(a, "left", -1, 0)),
    "outside": ("tree", lambda a: put(a, "right", 0, 10_000)),
    "feature": ("tree", lambda a: put(a, "feature", 0, 999)),
    "negative": ("tree", lambda a: put(a, "counts", 0, -1)),
    "lost": ("tree", lambda a: a.pop("threshold")),
    "nan": ("linear", lambda a: put(a, "weights", (0, 0), np.nan)),
    "shape": ("linear", lambda a: a.update(weights=a["weights"][:, 1:])),
    "bounds": ("rules", lambda a: put(a, "bounds", -1, 99)),
    "condition": ("rules", lambda a: put(a, "feature", 0, -1)),
    "mask": ("boosting", lambda a: put(a, "mask", 0, 9_999)),
    "output": ("boosting", lambda a: put(a, "output", 0, 7)),
    "index": ("tree", lambda a: a.update(left=a["left"].astype(np.float64))),
    "counts": ("rules", lambda a: put(a, "counts", (0, 0), 1e308)),
    "share": ("tree", lambda a: put(a, "counts", (0, 0), 0.5)),
    "far": ("linear", lambda a: put(a, "intercepts", 0, 1e308)),
    "more": ("linear", lambda a: a.update(more=a["intercepts"])),
    "twice": ("boosting", lambda a: put(a, "right", 0, a["left"][0])),
    "deep": ("tree", lambda a: a.update(chain(14))),
    "less": ("boosting", lambda a: put(a, "gain", 0, -1.0)),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("plain")
    rows, others = table_rows(300, 0), table_rows(100, 1)
    return {kind: learned(kind, rows, others, root / kind, **({"rounds": 5} if kind == "boosting" else {})).folder for kind in PLAIN_MODELS}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_numbers_are_refused(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    kind, change = BROKEN[name]
    arrays = load_file(saved[kind] / NUMBERS_FILE)
    change(arrays)
    files.write_bytes(tmp_path / "plain.json", (saved[kind] / "plain.json").read_bytes())
    save_file(arrays, tmp_path / NUMBERS_FILE)
    with pytest.raises(ModelError, match="holds no plain model that can be read"):
        read_plain(tmp_path)


AGES = {"reads": "numbers", "column": "age", "fill": 0.0, "mean": 0.0, "scale": 1.0, "cuts": []}
TEXTS = {"reads": "words", "column": None, "manner": "words", "longest": 1, "pairs": False, "terms": ["a"], "idf": [1.0]}
NO_DESCRIPTION: list[dict[str, Any]] = [
    *(
        {"schema": "x"},
        {"kind": "svm"},
        {"readers": [{"reads": "os"}]},
        {"columns": []},
        {"readers": 3},
        {"classes": 2.0},
        {"classes": 10**9},
    ),
    *(
        {"columns": ["age"], "readers": [{**AGES, **odd}]}
        for odd in ({"scale": 0.0}, {"fill": 1e308}, {"cuts": [2.0, 1.0]}, {"mean": None})
    ),
    *(
        {"columns": [], "readers": [{**TEXTS, **odd}]}
        for odd in (
            {"longest": 1e9},
            {"longest": 10**9},
            {"idf": []},
            {"idf": [1e308]},
            {"terms": ["a"] * 2, "idf": [1.0] * 2},
            {"pairs": True},
        )
    ),
]


@pytest.mark.parametrize("change", NO_DESCRIPTION, ids=str)
def test_a_broken_description_is_refused(change: dict[str, Any], saved: dict[str, Path], tmp_path: Path) -> None:
    said = files.read_json(saved["tree"] / "plain.json")
    files.write_json(tmp_path / "plain.json", {**said, **change})
    files.write_bytes(tmp_path / NUMBERS_FILE, (saved["tree"] / NUMBERS_FILE).read_bytes())
    with pytest.raises(ModelError, match="holds no plain model that can be read"):
        PlainRuntime.open(tmp_path)
    with pytest.raises(ModelError, match="holds no plain model"):
        PlainRuntime.open(tmp_path / "nowhere")


def test_another_precision_is_refused_and_nothing_is_trained_from_it(saved: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="bf16 was asked for"):
        PlainRuntime.open(saved["tree"], precision="bf16")
    with pytest.raises(UsageError, match="is a model of plain numbers"):
        resolve_base(str(saved["tree"]))


# --- recipes -----------------------------------------------------------------------------------------------------------------


def recipe(tmp_path: Path, **sections: Any) -> dict[str, Any]:
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    return {"data": {"train": str(tmp_path / "rows.csv"), "text": "text", "label": "label"}, **sections}


def test_a_name_and_a_mapping_are_the_same_base(tmp_path: Path) -> None:
    named, mapped = (read_recipe(recipe(tmp_path, base=base)) for base in ("tree", {"kind": "tree", "depth": 4}))
    assert named.recipe == mapped.recipe and named.finetune.base.depth == 4  # type: ignore[union-attr]
    path = tmp_path / "resolved.yaml"
    path.write_text(named.resolved, encoding="utf-8")
    assert read_recipe(path).recipe == named.recipe  # which names every default, of adapt and train too
    assert read_recipe(recipe(tmp_path, base="rules"), ["base.rules=5"]).finetune.base.rules == 5  # type: ignore[union-attr]


def test_everything_that_makes_no_sense_is_told_at_once(tmp_path: Path) -> None:
    wrong = recipe(
        tmp_path, base={"kind": "tree"}, adapt="lora", train={"epochs": 2, "seed": 3}, release={"runtime": "onnx", "precision": "fp32"}
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(wrong)
    said = [problem.message for problem in caught.value.problems]
    assert len(said) == 4 and all("base: tree" in message for message in said)
    assert [message.split(" ")[0] for message in said] == ["adapt:", "train.epochs", "release.runtime", "release.precision"]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"kind": "forest"}, "expected linear, tree, rules, boosting, got 'forest'"),
        ({"kind": "tree", "deep": 3}, "deep"),
        ({"kind": "linear", "depth": 3}, "depth"),
        ({"kind": "tree", "depth": 0}, "depth"),
        ({"depth": 3}, "names no base model"),
    ],
    ids=str,
)
def test_a_base_that_cannot_be_read_is_told(base: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe(tmp_path, base=base))
    assert told in str(caught.value)


def test_settings_of_a_loop_cannot_be_swept_over(tmp_path: Path) -> None:
    from trustbase.search.grid import refuse_incomparable

    with pytest.raises(UsageError, match="which base: tree does not go through"):
        refuse_incomparable(["train.learning_rate"], read_recipe(recipe(tmp_path, base="tree")).recipe)
