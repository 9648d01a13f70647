"""Table columns as numbers, and what in the recipe, the rows and the digests speaks of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.preprocessing import StandardScaler

from table_rows import FEATURES, table, write_rows
from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.cells import inputs_of
from trustbase.data.load import load
from trustbase.data.options import DataOptions, FeatureOptions
from trustbase.data.save import load_dataset, save_dataset
from trustbase.data.single import load_single
from trustbase.errors import DataError, ModelError, RecipeError
from trustbase.model.columns import ABSENT, MISSING, UNKNOWN, CategoricalColumn, ColumnEncoder, NumericColumn
from trustbase.recipe.read import read_recipe


def numbers(values: np.ndarray) -> list[str]:
    return [repr(float(value)) for value in values]


def test_a_place_is_the_bin_and_how_far_into_it() -> None:
    """Oracle: `np.digitize` for the bin, and the definition of the encoding (equation 1) for what is in it."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 50.0, 2000)
    column = NumericColumn.of("x", numbers(values))
    inside = values[(values > column.borders[0]) & (values < column.borders[-1])]
    places = column.places(numbers(inside))
    bins = np.digitize(inside, column.borders) - 1
    np.testing.assert_array_equal(np.floor(places), bins)
    borders = np.array(column.borders)
    np.testing.assert_allclose(places - bins, (inside - borders[bins]) / np.diff(borders)[bins], atol=1e-4)
    assert column.places([repr(-1e9), repr(1e9), "", None]).tolist()[0] == 0 and column.places([repr(1e9)])[0] < column.bins
    assert column.places(["", None]).tolist() == [ABSENT, ABSENT]


def test_scale_and_outliers_change_nothing_but_the_ends() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 1000)
    scaled = StandardScaler(with_mean=True).fit_transform(values[:, None] * 1000 + 7)[:, 0] * 3.5 + 100
    first, second = NumericColumn.of("x", numbers(values)), NumericColumn.of("x", numbers(scaled))
    np.testing.assert_allclose(first.places(numbers(values)), second.places(numbers(scaled)), atol=2e-3)
    wild = NumericColumn.of("x", [*numbers(values), "1e12"])
    assert wild.borders[-1] < 10, "an outlier is no border"


@pytest.mark.parametrize("kind", ["spread", "spiky", "few", "constant", "two", "none"])
def test_borders_rise_and_each_bin_speaks_of_ten_rows(kind: str) -> None:
    rng = np.random.default_rng(2)
    values = {
        "spread": rng.normal(0, 1, 3000),
        "spiky": np.where(rng.random(3000) < 0.9, 0, rng.choice([2174, 7298, 7688, 15024, 99999], 3000)),
        "few": rng.normal(0, 1, 7),
        "constant": np.full(50, 3.0),
        "two": np.array([1.0, 2.0] * 40),
        "none": np.zeros(0),
    }[kind]
    column = NumericColumn.of("x", [*numbers(values), ""])
    assert (np.diff(column.borders) > 0).all()
    if len(values) < 100 or kind == "constant":
        return
    counts = np.bincount(np.floor(column.places(numbers(values))).astype(int), minlength=column.bins)
    assert counts.min() >= 10 and column.bins > 1
    if kind == "spiky":  # quantiles of the rows alone would see one value
        assert column.bins >= 4
        exact = [float(column.places([repr(float(v))])[0]) for v in (0, 2174, 7298, 7688)]
        assert len({int(place) for place in exact}) == 4


def test_names_are_known_missing_or_unknown() -> None:
    cells = ["a"] * 60 + ["b"] * 40 + ["rare"] * 2 + [None] * 3
    column = CategoricalColumn.of("x", cells)
    assert column.values == ("a", "b"), "a name of two rows ships nowhere"
    assert column.encode(["a", "b", "rare", "never", "", None]).tolist() == [2, 3, UNKNOWN, UNKNOWN, MISSING, MISSING]


def test_an_encoder_comes_back_from_json_and_a_damaged_one_does_not() -> None:
    encoder = ColumnEncoder.of(table(300), FEATURES)
    again = ColumnEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder and again.names == ("amount", "channel")
    rows = [["3.5", "web"], ["", ""], ["1e3", "fax"]]
    np.testing.assert_array_equal(again.encode(rows), encoder.encode(rows))
    with pytest.raises(ValueError, match="'amount' must be a finite number or empty, got 'ten'"):
        encoder.encode([["ten", "web"]])
    for damage in ({"schema": "other"}, {"numeric": [{"column": "amount", "borders": [2, 1]}]}, {"categorical": [{"column": "x"}]}):
        with pytest.raises(ModelError, match=r"columns\.json cannot be used"):
            ColumnEncoder.from_json({**encoder.to_json(), **damage})


def test_only_training_rows_make_the_encoder() -> None:
    first = ColumnEncoder.of(table(300), FEATURES)
    assert first != ColumnEncoder.of(table(300, seed=1), FEATURES) and first == ColumnEncoder.of(table(300), FEATURES)


OPTIONS = {"train": "rows.csv", "text": "text", "label": "label", "features": {"numeric": ["amount"], "categorical": ["channel"]}}


def test_rows_carry_their_cells_and_the_digest_knows_them(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 300)
    options = DataOptions.model_validate(OPTIONS)
    dataset, plain = (load(each, root=tmp_path, seed=0) for each in (options, options.model_copy(update={"features": FeatureOptions()})))
    train = dataset.splits["train"]
    assert train.features == ("amount", "channel") and train.table.column_names == ["text", "amount", "channel"]
    assert train.texts == plain.splits["train"].texts, "a row's part follows from its text, whatever columns are read"
    assert train.digest != plain.splits["train"].digest
    text, amount, channel = inputs_of(train, train.features)[0].split("\x1e")
    row = train.table.slice(0, 1).to_pylist()[0]
    assert (text, amount, channel) == (row["text"], row["amount"] or "", row["channel"])

    save_dataset(dataset, tmp_path / "saved")
    again = load_dataset(tmp_path / "saved")
    assert again.digest == dataset.digest and again.splits["test"].features == train.features
    alone, _, _ = load_single(tmp_path / "rows.csv", text="text", label="label", features=options.features)
    assert alone.features == train.features and len(alone) == 300

    card = data_card(dataset)
    assert card["features"] == {"numeric": ["amount"], "categorical": ["channel"]}
    assert card["splits"]["train"]["missing"]["amount"] == train.table["amount"].null_count > 0
    page = card_markdown(card)
    assert "Table columns beside the text" in page and "| `amount` | numbers |" in page


def test_a_new_name_is_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 200)
    write_rows(tmp_path / "test.csv", 100, seed=1, channels=("web", "fax"))
    options = DataOptions.model_validate({**OPTIONS, "test": "test.csv"})
    parts = load(options, root=tmp_path, seed=0).facts["splits"]
    assert parts["train"]["new_names"] == {"channel": 0} and 20 < parts["test"]["new_names"]["channel"] < 80


def test_equal_texts_with_other_cells_are_other_rows(tmp_path: Path) -> None:
    lines = [f"same,{n % 3},web,{'yes' if n % 2 else 'no'}" for n in range(60)] + [
        f"w{n},1,web,{'yes' if n % 2 else 'no'}" for n in range(60)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["text,amount,channel,label", *lines]) + "\n", encoding="utf-8")
    options = DataOptions.model_validate({**OPTIONS, "deduplicate": True})
    dataset = load(options, root=tmp_path, seed=0)
    same = [sum(text == "same" for text in part.texts) for part in dataset.splits.values()]
    assert sorted(same) == [0, 0, 3], "one row for each text and cells, and equal texts in one part"


def test_every_bad_cell_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 50)
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as handle:
        handle.write("a,ten,web,yes\nb,nan,web,no\nc,1_000,web,no\nd,inf,web,no\ne,,,no\nf,1,w\x1eb,no\n")
    with pytest.raises(DataError) as error:
        load(DataOptions.model_validate(OPTIONS), root=tmp_path, seed=0)
    reasons = [f"{problem.where} {problem.message}" for problem in error.value.problems]
    assert len(reasons) == 5 and all("'amount' (numeric feature) is not a finite number" in reason for reason in reasons[:4])
    assert "rows.csv:52" in reasons[0] and "U+001E" in reasons[4]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"features": {"numeric": ["label"]}}, "would be shown the answer"),
        ({"features": {"numeric": ["a"], "categorical": ["a"]}}, "more than once"),
        ({"features": {"categorical": ["text"]}}, "which is the text itself"),
        ({"features": {"numbers": ["a"]}}, "Extra inputs"),
    ],
)
def test_impossible_features_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DataOptions.model_validate({**OPTIONS, **values})


def test_what_cannot_be_is_said_when_the_recipe_is_read(tmp_path: Path, tiny_folder: Path) -> None:
    write_rows(tmp_path / "rows.csv", 50)
    recipe = tmp_path / "recipe.yaml"
    data = "{train: rows.csv, text: text, label: label, features: {numeric: [amuont], categorical: [channel]}}"
    told = "cluster: {workers: 2, shard: true}\naudit: [quality]\ngates: {quality.accuracy: '>= 0'}\n"
    recipe.write_text(f"base: {tiny_folder}\ndata: {data}\n{told}")
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe)
    told = {problem.where: (problem.message, problem.hint) for problem in error.value.problems}
    assert "did you mean 'amount'?" in str(told) and "never tried with data.features" in str(told)


def test_a_group_column_among_the_features_is_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 200)
    options = DataOptions.model_validate({**OPTIONS, "groups": ["channel"]})
    facts = load(options, root=tmp_path, seed=0).facts
    assert facts["groups"]["shown_to_model"] == ["channel"] and "data.features shows the group column 'channel'" in str(facts["notes"])


def test_splits_without_features_are_as_they_were() -> None:
    part = load_single("sample:census-income", text="{age}", label="income")[0]
    assert part.features == () and inputs_of(part, part.features) is part.texts
    assert replace(part, features=("age",)).features == ("age",)
