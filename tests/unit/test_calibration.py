"""Rows kept apart for calibration: cut from training by content or entity, the same however rows are read, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustbase.data import divide
from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.dataset import Dataset
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.save import load_dataset, save_dataset
from trustbase.data.split import for_calibration, keys
from trustbase.recipe import lookup
from trustbase.recipe.entries import Entry
from trustbase.recipe.lookup import calibrates


def table(rows: int = 2_000) -> dict[str, list[Any]]:
    return {
        "text": [f"text {i % (rows - rows // 10)}" for i in range(rows)],
        "label": [("no", "yes", "yes")[i % 3] for i in range(rows)],
        "customer": [f"c{i // 4}" for i in range(rows)],
        "day": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(rows)],
        "part": [("train", "train", "train", "dev", "test")[i % 5] for i in range(rows)],
    }


def write(folder: Path, name: str = "rows.parquet", **columns: list[Any]) -> None:
    pq.write_table(pa.table(columns or table()), folder / name)


def read(folder: Path, calibrate: bool = True, answers: str = "classes", **more: Any) -> Dataset:
    options = DataOptions(**{"train": "rows.parquet", "text": "text", "label": "label", **more})
    return load(options, root=folder, seed=0, calibrate=calibrate, answers=answers)


def test_a_tenth_of_the_training_texts_by_content_and_nothing_else_moves(tmp_path: Path) -> None:
    write(tmp_path)
    without, dataset = read(tmp_path, calibrate=False), read(tmp_path)
    assert list(without.splits) == ["train", "validation", "test"] and "calibration" in dataset.splits
    for name in ("validation", "test"):
        assert dataset.splits[name].digest == without.splits[name].digest
    train, apart = set(dataset.splits["train"].texts), set(dataset.splits["calibration"].texts)
    assert not train & apart and train | apart == set(without.splits["train"].texts)
    assert abs(len(apart) / len(train | apart) - 0.1) < 0.03
    assert dataset.digest != without.digest and dataset.labels == without.labels
    assert "by a hash of the text, share 0.1" in dataset.facts["split"]["how"]["calibration"]
    assert dataset.facts["overlap"]["train/calibration"] == dataset.facts["overlap"]["calibration/test"] == 0
    card = data_card(dataset)
    assert card["splits"]["calibration"]["rows"] == len(dataset.splits["calibration"]) and "calibration" in card_markdown(card)


def test_a_row_keeps_its_side_when_others_join(tmp_path: Path) -> None:
    columns = table()
    write(tmp_path, **columns)
    before = set(read(tmp_path).splits["calibration"].texts)
    write(
        tmp_path,
        **{
            name: values + values[:0] + [f"new {i}" if name == "text" else values[i] for i in range(500)]
            for name, values in columns.items()
        },
    )
    after = set(read(tmp_path).splits["calibration"].texts)
    assert before <= after and all(text.startswith("new") for text in after - before)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_holds_among_rows_that_a_hash_has_picked_already(share: float) -> None:
    found = keys([f"t{i}" for i in range(60_000)])
    picked = found[found > np.uint64(int(0.7 * 2**64))]  # as training rows of a split by content are
    taken = for_calibration(picked, share)
    assert abs(taken.mean() - share) < 4 * np.sqrt(share * (1 - share) / len(picked))
    assert np.array_equal(for_calibration(picked[::-1], share), taken[::-1])


def test_rows_of_an_entity_stay_together(tmp_path: Path) -> None:
    columns = table()
    write(tmp_path, **columns)
    dataset = read(tmp_path, split={"by": {"entity": "customer"}})
    whose = {name: {columns["customer"][number - 1] for number in part.row_numbers.tolist()} for name, part in dataset.splits.items()}
    names = list(whose)
    assert "calibration" in names and all(not whose[a] & whose[b] for a in names for b in names if a != b)
    assert dataset.splits["calibration"].entities is not None
    assert dataset.facts["order"]["shared"]["train/calibration"] == 0


def test_by_time_it_is_taken_from_all_that_is_trained_on(tmp_path: Path) -> None:
    write(tmp_path)
    without, dataset = read(tmp_path, False, split={"by": {"time": "day"}}), read(tmp_path, split={"by": {"time": "day"}})
    assert dataset.splits["test"].digest == without.splits["test"].digest
    order = {name: part["order"] for name, part in dataset.facts["splits"].items()}
    assert order["calibration"]["first"] <= "2024-01-15" and order["calibration"]["last"] <= order["validation"]["first"]


def test_with_given_files_or_a_split_column_it_is_cut_too(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "other.parquet", **{name: values[:200] for name, values in table(400).items()})
    of_column = read(tmp_path, split={"column": "part"})
    of_files = read(tmp_path, test="other.parquet", validation="other.parquet")
    assert len(of_column.splits["calibration"]) > 60 and len(of_files.splits["calibration"]) > 120
    assert len(of_files.splits["train"]) + len(of_files.splits["calibration"]) == 2_000


def test_a_part_that_is_named_is_the_part(tmp_path: Path) -> None:
    columns = table()
    write(tmp_path, **{**columns, "part": [("calibration" if i % 10 == 0 else name) for i, name in enumerate(columns["part"])]})
    write(tmp_path, "other.parquet", **{name: values[:50] for name, values in columns.items()})
    for calibrate in (True, False):
        assert len(read(tmp_path, calibrate, split={"column": "part"}).splits["calibration"]) == 200
        given = read(tmp_path, calibrate, calibration="other.parquet")
        assert len(given.splits["calibration"]) == 50 and given.facts["split"]["how"]["calibration"] == "a file of its own"
    with pytest.raises(ValueError, match="keep one"):
        read(tmp_path, split={"column": "part"}, calibration="none.parquet")


def test_where_it_would_be_small_or_is_not_wanted_training_keeps_all(tmp_path: Path) -> None:
    write(tmp_path, **table(200))
    told: list[str] = []
    options = DataOptions(train="rows.parquet", text="text", label="label")
    dataset = load(options, root=tmp_path, seed=0, calibrate=True, emit=lambda event, **fields: told.append(str(fields.get("text"))))
    assert "calibration" not in dataset.splits and dataset.digest == read(tmp_path, False).digest
    assert any("kept apart for calibration" in text and "fewer than the minimum of 30" in text for text in told)
    write(tmp_path)
    assert "calibration" not in read(tmp_path, split={"calibration": 0.0}).splits


def test_no_label_is_lost_to_training(tmp_path: Path) -> None:
    columns = table()
    apart = [columns["text"][i] for i, gone in enumerate(for_calibration(keys(columns["text"]), 0.1)) if gone]
    rare = apart[3]
    rows = [i for i, text in enumerate(columns["text"]) if text == rare]
    write(
        tmp_path,
        **{
            **columns,
            "label": ["maybe" if i in rows else label for i, label in enumerate(columns["label"])],
            "part": ["train", *columns["part"][1:]],
        },
    )
    write(tmp_path, "other.parquet", **{name: values[:60] for name, values in columns.items()})
    files = {"test": "other.parquet", "validation": "other.parquet"}
    dataset = read(tmp_path, **files)
    assert "maybe" in dataset.labels.names and rare in dataset.splits["train"].texts and rare not in dataset.splits["calibration"].texts
    several = ["a; c" if i in rows else ("a", "b", "a; b", "[]")[i % 4] for i in range(2_000)]
    write(tmp_path, **{**columns, "label": several})
    write(tmp_path, "other.parquet", **{**{name: values[:60] for name, values in columns.items()}, "label": several[:60]})
    found = read(tmp_path, answers="labels", **files)
    assert "c" in found.labels.names and rare in found.splits["train"].texts
    entity = [json.dumps([{"start": 0, "end": 4, "label": "RARE" if i in rows else "X"}]) for i in range(2_000)]
    write(tmp_path, **{**columns, "label": entity})
    write(tmp_path, "other.parquet", **{**{name: values[:60] for name, values in columns.items()}, "label": [entity[0]] * 60})
    assert rare in read(tmp_path, answers="tokens", **files).splits["train"].texts


def test_the_scale_of_a_number_is_that_of_the_rows_trained_on(tmp_path: Path) -> None:
    write(tmp_path, **{**table(), "label": [f"{i % 97}" for i in range(2_000)]})
    dataset = read(tmp_path, answers="number")
    assert dataset.labels.center == pytest.approx(dataset.splits["train"].labels.mean())


@pytest.mark.parametrize(
    "more", [{}, {"split": {"by": {"entity": "customer"}}}, {"split": {"by": {"time": "day"}}}, {"split": {"column": "part"}}]
)
def test_streamed_rows_are_parted_as_rows_read_whole(tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    options = {"train": "rows.parquet", "text": "text", "label": "label", **more}
    (tmp_path / "store").mkdir()
    streamed = load(DataOptions(**options, memory="stream"), root=tmp_path, seed=0, store=tmp_path / "store", calibrate=True)
    whole = read(tmp_path, **more)
    assert streamed.digest == whole.digest and streamed.facts == whole.facts and "calibration" in streamed.splits
    save_dataset(streamed, tmp_path / "data")
    again = load_dataset(tmp_path / "data")
    assert again.digest == whole.digest and list(again.splits["calibration"].texts) == list(whole.splits["calibration"].texts)


def test_saved_and_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = read(tmp_path)
    save_dataset(dataset, tmp_path / "data")
    assert load_dataset(tmp_path / "data").splits["calibration"].digest == dataset.splits["calibration"].digest


def test_only_audits_that_fit_thresholds_take_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "AUDITS", {("quality", "classes"): Entry("", ""), ("robustness", "classes"): Entry("", "")})
    assert calibrates(None, "classes") and calibrates(["quality", "robustness"], "classes")
    assert not calibrates(["quality"], "classes") and not calibrates(None, "number") and not calibrates(["robustness"], "number")
    assert divide.LEAST_CALIBRATION == 30
