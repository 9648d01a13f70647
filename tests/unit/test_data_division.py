"""Rows divided by whom they are about, or by when they happened: nothing straddles, and what that means for the numbers is said."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.gather import check_columns
from trustbase.data.later import load_later
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.split import by_entity, by_time
from trustbase.data.times import read_moments
from trustbase.errors import DataError
from trustbase.events import ignore
from trustbase.report.datacard import data_section
from trustbase.report.words import words


def write(folder, name, rows, header="text,label,customer,date"):
    (folder / name).write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


def customers(count, *, each=4, start=0):
    return [(f"text {i}", "yes" if i % 2 else "no", f"c{start + i // each}", f"2024-01-{1 + i % 28:02d}") for i in range(count * each)]


def opts(**more):
    return DataOptions(**{"train": "rows.csv", "text": "text", "label": "label", "split": {"by": {"entity": "customer"}}, **more})


def heard(options, folder):
    told = []
    dataset = load(options, root=folder, seed=0, emit=lambda event, **fields: told.append((event, fields.get("text", ""))))
    return dataset, told


def whose(dataset, rows):
    """Entity of each row of each part, looked up by row number."""
    return {name: [rows[number - 1][2] for number in part.row_numbers.tolist()] for name, part in dataset.splits.items()}


def test_an_entity_never_straddles_and_keeps_its_part_when_rows_join(tmp_path):
    rows = customers(200)
    np.random.default_rng(0).shuffle(rows)
    rows = [tuple(row) for row in rows]
    write(tmp_path, "rows.csv", rows)
    dataset, _ = heard(opts(), tmp_path)
    own = {name: set(values) for name, values in whose(dataset, rows).items()}
    assert not own["train"] & own["test"] and not own["train"] & own["validation"] and not own["validation"] & own["test"]
    assert sum(map(len, own.values())) == 200 and abs(len(own["test"]) / 200 - 0.2) < 0.08
    # made by hashlib alone, so that the promise does not rest on our own function
    place = int.from_bytes(hashlib.sha256(b"trustbase/split/entity/1\0c7").digest()[:8], "big") >> 11
    part = "test" if place / 2**53 < 0.2 else "validation" if place / 2**53 < 0.1 + 0.2 else "train"
    assert "c7" in own[part]
    more = [*rows, *customers(50, start=500)]
    write(tmp_path, "rows.csv", more)
    again = {name: set(values) for name, values in whose(heard(opts(), tmp_path)[0], more).items()}
    assert all(own[name] <= again[name] for name in own)


def test_the_card_counts_entities_and_says_what_that_means_for_intervals(tmp_path):
    rows = [*customers(100, each=1), *(("text", "yes", "c0", "2024-02-01") for _ in range(9))]
    write(tmp_path, "rows.csv", rows)
    dataset, told = heard(opts(), tmp_path)
    counts = {name: Counter(values) for name, values in whose(dataset, rows).items()}
    card = data_card(dataset)
    for name, count in counts.items():
        order = card["splits"][name]["order"]
        total, mean = sum(count.values()), sum(count.values()) / len(count)
        assert (order["entities"], order["rows"], order["largest"]) == (len(count), total, max(count.values()))
        assert order["rows_per_entity"] == pytest.approx(mean)
        assert order["weighted"] == pytest.approx(sum(value**2 for value in count.values()) / total)
    home = next(name for name, count in counts.items() if count["c0"] == 10)
    assert home == "train" and not [text for event, text in told if event == "warning"]  # each test row is of an entity of its own
    assert "a hash of the entity (column 'customer')" in card["split"]["how"]["test"]
    assert "Entities (column `customer`)" in card_markdown(card)

    repeated = customers(100)
    write(tmp_path, "rows.csv", repeated)
    dataset, told = heard(opts(), tmp_path)
    warning = next(text for event, text in told if event == "warning")
    assert "entities are drawn, not rows" in warning and "4.00 rows each" in warning and "m = 4.00" in warning
    card = data_card(dataset)
    assert "**Warning**: the " in card_markdown(card)
    for language, word in (("en", "4.00 rows each on average"), ("zh", "平均每个主体 4.00 行")):
        section = data_section(card, words(language))
        assert len(section["warnings"]) == 1 and word in section["warnings"][0]
        assert [row[1][1:] for row in section["tables"][1]["rows"]] == [["4.00", "4"]] * 3


def test_equal_texts_of_different_entities_may_straddle_and_are_counted(tmp_path):
    rows = [(f"text {i % 10}", "yes" if i % 2 else "no", f"c{i}", "2024-01-01") for i in range(200)]
    write(tmp_path, "rows.csv", rows)
    dataset, told = heard(opts(), tmp_path)
    assert dataset.facts["overlap"]["train/test"] == len(dataset.splits["test"])
    assert any("test rows have a text that also stands in train" in text for _, text in told)


def test_a_row_without_an_entity_is_bad_in_every_file(tmp_path):
    write(tmp_path, "rows.csv", [*customers(50), ("a text", "yes", "  ", "2024-01-01")])
    write(tmp_path, "test.csv", [*customers(5, start=900), ("a text", "yes", "", "2024-01-01")])
    with pytest.raises(DataError) as caught:
        load(opts(test="test.csv"), root=tmp_path, seed=0)
    assert [(item.where, item.message) for item in caught.value.problems] == [
        ("rows.csv:202", "column 'customer' (entity) is empty"),
        ("test.csv:22", "column 'customer' (entity) is empty"),
    ]
    dataset, _ = heard(opts(test="test.csv", tolerance=2), tmp_path)
    assert dataset.facts["bad_rows"]["count"] == 2


def test_an_entity_in_two_files_is_counted(tmp_path):
    write(tmp_path, "rows.csv", customers(50))
    write(tmp_path, "dev.csv", customers(10, start=48))
    write(tmp_path, "test.csv", customers(10, start=49))
    dataset, told = heard(opts(validation="dev.csv", test="test.csv"), tmp_path)
    assert dataset.facts["order"]["shared"] == {"train/validation": 8, "validation/test": 36, "train/test": 4}
    assert any("4 of 40 test rows are of an entity (column 'customer') that also has rows in train" in text for _, text in told)
    shown = data_section(data_card(dataset), words("en"))["warnings"]
    assert any(text.startswith("Test: 4 rows are of an entity") for text in shown)


def test_entities_that_are_numbers_with_fractions_are_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "x", "customer": 12.0}\n{"text": "b", "label": "y", "customer": 12}\n')
    with pytest.raises(DataError, match=r"column 'customer' is not text: the number 12\.0"):
        load(opts(train="rows.jsonl"), root=tmp_path, seed=0)


def test_a_missing_column_is_said_when_the_recipe_is_read(tmp_path):
    write(tmp_path, "rows.csv", customers(5))
    write(tmp_path, "test.csv", [("a", "yes", "f")], header="text,label,costumer")
    found = check_columns(opts(test="test.csv"), tmp_path)
    assert [item.where for item in found] == ["data.split.by.entity"] and "customer" in found[0].message
    timed = opts(split={"by": {"time": "day"}})
    assert [item.where for item in check_columns(timed, tmp_path)] == ["data.split.by.time"]


def test_a_split_column_and_entities_go_together(tmp_path):
    rows = [(*row, "test" if int(row[2][1:]) < 10 else "train") for row in customers(60)]
    write(tmp_path, "rows.csv", rows, header="text,label,customer,date,part")
    dataset, _ = heard(opts(split={"column": "part", "by": {"entity": "customer"}}), tmp_path)
    own = {name: set(values) for name, values in whose(dataset, rows).items()}
    assert own["test"] == {f"c{i}" for i in range(10)} and own["validation"] and not own["validation"] & own["train"]


def test_options_read_back_as_themselves():
    for split in ({"by": {"entity": "customer"}}, {"by": {"time": "date"}, "test": 0.3}, {"by": "content-hash"}):
        options = opts(split=split)
        dumped = options.model_dump(mode="json")
        assert dumped["split"]["by"] == split["by"] and DataOptions.model_validate(dumped) == options


def timed(**more):
    return opts(split={"by": {"time": "date"}, "test": 0.2, "validation": 0.1}, **more)


def test_training_comes_before_testing_and_ties_stay_together(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(f"text {i}", "yes" if i % 2 else "no", f"c{i}", f"2024-{1 + int(m):02d}-01") for i, m in enumerate(rng.integers(0, 12, 600))]
    write(tmp_path, "rows.csv", rows)
    dataset, told = heard(timed(), tmp_path)
    dates = {name: [rows[number - 1][3] for number in part.row_numbers.tolist()] for name, part in dataset.splits.items()}
    assert max(dates["train"]) < min(dates["validation"]) <= max(dates["validation"]) < min(dates["test"])
    assert abs(len(dates["test"]) / 600 - 0.2) < 0.05
    for name, own in dates.items():
        order = dataset.facts["splits"][name]["order"]
        assert (order["first"], order["last"], order["times"]) == (min(own), max(own), len(set(own)))
    assert not [text for event, text in told if event == "warning"]
    assert "Times (column `date`)" in card_markdown(data_card(dataset))
    assert dataset.facts["split"]["how"]["test"].endswith("the latest rows")


def test_times_that_cannot_be_read_or_are_of_another_kind_are_named(tmp_path):
    rows = customers(20)
    bad = ["2024-02-30", "yesterday", "", "20240101", "2024-01-01T10:00"]
    write(tmp_path, "rows.csv", [*rows, *(("t", "yes", "c", value) for value in bad)])
    with pytest.raises(DataError) as caught:
        load(timed(), root=tmp_path, seed=0)
    assert [(item.where, item.message) for item in caught.value.problems] == [
        ("rows.csv:82", "column 'date' (time) is no ISO date, ISO timestamp or number: got '2024-02-30'"),
        ("rows.csv:83", "column 'date' (time) is no ISO date, ISO timestamp or number: got 'yesterday'"),
        ("rows.csv:84", "column 'date' (time) is empty"),
        ("rows.csv:85", "column 'date' (time) is a number where most rows have a date: got '20240101'"),
        ("rows.csv:86", "column 'date' (time) is a timestamp without a time zone where most rows have a date: got '2024-01-01T10:00'"),
    ]


@pytest.mark.parametrize("value", ["", "1/2/2024", "soon"])
def test_where_hardly_a_time_can_be_read_every_row_is_named_not_one_reason_alone(tmp_path, value):
    rows = [(f"t {i}", "yes" if i % 2 else "no", "c", value) for i in range(40)]
    write(tmp_path, "rows.csv", rows)
    with pytest.raises(DataError, match="no train rows are left beside the bad rows, 40 of 40") as none:
        load(timed(), root=tmp_path, seed=0)
    assert [item.where for item in none.value.problems] == [f"rows.csv:{line}" for line in range(2, 42)]
    write(tmp_path, "rows.csv", [(*row[:3], "2024-01-01") if i in (3, 30) else row for i, row in enumerate(rows)])
    with pytest.raises(DataError, match="1 distinct times, too few for 3 parts") as few:
        load(timed(), root=tmp_path, seed=0)
    assert [item.where for item in few.value.problems] == [f"rows.csv:{i + 2}" for i in range(40) if i not in (3, 30)]


def test_a_split_column_without_test_rows_names_the_cells_that_are_no_part(tmp_path):
    rows = [(f"t {i}", "yes" if i % 2 else "no", "train", "x") for i in range(40)]
    write(tmp_path, "rows.csv", [*rows, ("t", "yes", "tset", "x"), ("u", "no", "", "x")])
    with pytest.raises(DataError, match="names no test rows") as caught:
        load(opts(split={"column": "customer"}), root=tmp_path, seed=0)
    assert [(item.where, item.message.rpartition(": ")[2]) for item in caught.value.problems] == [
        ("rows.csv:42", "got 'tset'"),
        ("rows.csv:43", "got nothing"),
    ]


LATER_TIMES = {0: "soon", 7: "", 12: "2025-02-30", 19: "2025-01-01T10:00"}


def test_times_of_later_rows_that_cannot_be_read_are_bad_rows_beside_the_other_ones(tmp_path):
    write(tmp_path, "rows.csv", customers(20))
    rows = [(f"n {i}", "maybe" if i == 12 else "no", "c", LATER_TIMES.get(i, "2025-01-01")) for i in range(20)]
    write(tmp_path, "later.csv", rows)
    options = timed(out_of_time="later.csv")
    dataset = load(options, root=tmp_path, seed=0)
    with pytest.raises(DataError, match="4 of 20 rows cannot be used") as caught:
        load_later(options, dataset, root=tmp_path, emit=ignore)
    found = {item.where: item.message for item in caught.value.problems}
    assert list(found) == [f"later.csv:{i + 2}" for i in LATER_TIMES]
    assert "(time) is no ISO date, ISO timestamp or number: got 'soon'" in found["later.csv:2"]
    assert found["later.csv:9"] == "column 'date' (time) is empty"
    assert "(time) is no ISO date" in found["later.csv:14"] and "(label) is none that the model knows" in found["later.csv:14"]
    told = "is a timestamp without a time zone where the training rows have a date: got '2025-01-01T10:00'"
    assert found["later.csv:21"] == f"column 'date' (time) {told}"
    write(tmp_path, "later.csv", [(*row[:3], "2025-01-01T10:00") if row[1] == "no" else row for row in rows])
    with pytest.raises(DataError, match="20 of 20 rows cannot be used"):  # all of one kind, and it is not that of the training rows
        load_later(options, dataset, root=tmp_path, emit=ignore)


def test_a_test_file_that_is_not_later_is_counted(tmp_path):
    write(tmp_path, "rows.csv", customers(20))
    write(tmp_path, "test.csv", [(f"new {i}", "yes", "c", day) for i, day in enumerate(["2024-01-01", "2025-01-01", "2025-01-02"])])
    dataset, told = heard(timed(test="test.csv"), tmp_path)
    assert dataset.facts["order"]["shared"]["train/test"] == 1
    assert any("1 of 3 test rows are not later (column 'date') than the last of train" in text for _, text in told)


def test_too_few_times_for_three_parts_are_refused(tmp_path):
    write(tmp_path, "rows.csv", [(f"t {i}", "yes" if i % 2 else "no", "c", f"2024-01-0{1 + i % 2}") for i in range(40)])
    with pytest.raises(DataError, match="2 distinct times, too few for 3 parts"):
        load(timed(), root=tmp_path, seed=0)


@pytest.mark.parametrize(
    ("texts", "ranks"),
    [
        (["2", "10", "-1", "2.0", "1.5"], [2, 3, 0, 2, 1]),
        (["2024-01-02", "2023-12-31"], [1, 0]),
        (["2024-01-01T00:00:00.5", "2024-01-01 00:00", "2024-01-01T00:00:00.123456789"], [2, 0, 1]),
        (["2024-01-01T01:00+01:00", "2024-01-01T00:00Z", "2023-12-31 23:00:00-02:00"], [0, 0, 1]),
        (["2024-01-01 08:00:00+08", "2024-01-01T00:00Z", "2024-01-01T05:30+0530"], [0, 0, 0]),
    ],
)
def test_times_are_compared_as_times_not_as_text(texts, ranks):
    (found,) = read_moments([pa.chunked_array([texts])])
    assert found.ranks.tolist() == ranks and not found.faults


@pytest.mark.parametrize(
    "text",
    ["2024-01-01T10:00.5", "2024-1-1", "24-01-01", "2024-01-01T25:00", "1e5", "٢٠٢٤-٠١-٠١", "٢٠٢٤", "2024-01-01T10", "2024-01-01T10:00+1"],
)
def test_what_is_no_time_as_written_is_refused(text):
    (found,) = read_moments([pa.chunked_array([["2024-01-01T10:00:00", text]])])
    assert found.ranks.tolist() == [0, -1] and found.faults[1][0] == "is no ISO date, ISO timestamp or number"


def test_borders_are_the_nearest_and_every_part_gets_a_time():
    rng = np.random.default_rng(0)
    for _ in range(300):
        ranks = rng.integers(0, rng.integers(3, 9), rng.integers(8, 60))
        if len(set(ranks.tolist())) < 3:
            continue
        parts = by_time(ranks, test=0.2, validation=0.1)
        assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(ranks))) and all(map(len, parts.values()))
        assert (
            ranks[parts["train"]].max() < ranks[parts["validation"]].min() <= ranks[parts["validation"]].max() < ranks[parts["test"]].min()
        )
        times = sorted(set(ranks.tolist()))[2:]
        goal = 0.2 * len(ranks)
        least = min(abs(int((ranks >= time).sum()) - goal) for time in times)
        assert abs(len(parts["test"]) - goal) == pytest.approx(least)


def test_entities_are_shared_out_by_number():
    names = [f"e{i % 3000}" for i in range(9000)]
    parts = by_entity(names, test=0.2, validation=0.1)
    own = {name: {names[i] for i in index} for name, index in parts.items()}
    assert abs(len(own["test"]) / 3000 - 0.2) < 0.025 and abs(len(own["validation"]) / 3000 - 0.1) < 0.02
