"""Rows streamed from Parquet are the rows that are read as a whole: splits, digests, facts and refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustbase.data import batch, columnar, large, stored, stream
from trustbase.data.batch import plan_batches
from trustbase.data.digest import digest_rows
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.save import load_dataset, save_dataset
from trustbase.data.stored import StoredTexts, in_memory
from trustbase.errors import DataError

ROWS = 3_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(columnar, "_FEWEST", 1)
    monkeypatch.setattr(columnar, "_MOST", 170)  # no divisor of the row groups
    monkeypatch.setattr(stored, "_GROUP_BYTES", 20_000)
    monkeypatch.setattr(stored, "_READ_ROWS", 130)


def columns(rows: int = ROWS) -> dict[str, list]:
    rng = np.random.default_rng(7)
    words = ["loan", "late", "paid", "café", "银行", "账户", "x"]
    return {
        "text": [" ".join(rng.choice(words, 6)) + (f" {i}" if i % 3 else "") for i in range(rows)],
        "city": [[None, "oslo", " bergen ", ""][i % 4] for i in range(rows)],
        "label": [["yes", "no", " yes"][i % 3] for i in range(rows)],
        "sex": [["f", "m", None][i % 3 if i % 2 else 1] for i in range(rows)],
        "part": [["train", "train", "dev", "test"][i % 4] for i in range(rows)],
        "customer": [f"c{i // 3}" for i in range(rows)],
        "day": [f"2024-{1 + i // 270:02d}-{1 + i % 28:02d}" for i in range(rows)],
        "key": [f"k{i}" for i in range(rows)],
        "score": [i / 4 if i % 9 else float("nan") for i in range(rows)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("stream")
    table = pa.table(columns())
    pq.write_table(table, place / "train.parquet", row_group_size=700)
    pq.write_table(table.slice(0, 400), place / "test.parquet")
    (place / "many").mkdir()
    pq.write_table(table.slice(0, 1_300), place / "many" / "a.parquet")
    pq.write_table(table.slice(1_300), place / "many" / "b.parquet", row_group_size=100)
    return place


def both(folder, tmp_path, **more):
    """The same recipe, read whole and streamed."""
    options = {"train": "train.parquet", "text": "text", "label": "label", "groups": ["sex"], **more}
    whole = load(DataOptions(**options), root=folder, seed=3)
    streamed = load(DataOptions(**options, memory="stream"), root=folder, seed=3, store=tmp_path)
    return whole, streamed


def assert_same(one, other):
    assert one.digest == other.digest and one.labels == other.labels and one.facts == other.facts
    for name, part in one.splits.items():
        twin = other.splits[name]
        assert part.digest == twin.digest and part.source == twin.source
        equal = list(part.texts) == list(twin.texts)  # compared outside the assertion, which would show how thousands of rows differ
        assert equal and np.array_equal(part.labels, twin.labels) and np.array_equal(part.row_numbers, twin.row_numbers)
        assert list(part.groups) == list(twin.groups)
        assert all((values == twin.groups[column]).all() for column, values in part.groups.items())
        assert part.table.column_names == twin.table.column_names
        assert all(part.table[column].to_pylist() == twin.table[column].to_pylist() for column in part.table.column_names)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"text": "{city|nowhere}: {text} {score}", "groups": ["sex", "city"]},
        {"text_pair": "city", "text": "text", "tolerance": 2_000},
        {"split": {"column": "part"}},
        {"split": {"by": {"entity": "customer"}}},
        {"split": {"by": {"time": "day"}}},
        {"test": "test.parquet", "deduplicate": True},
        {"deduplicate": True, "sample": {"train": 500, "test": 40}, "text": "{city} {day}"},
        {"id": "key", "train": "many", "groups": []},
        {"sample": {"validation": 11}, "train": "many/*.parquet"},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_both_ways_give_the_same_rows(folder, tmp_path, more):
    whole, streamed = both(folder, tmp_path, **more)
    assert_same(whole, streamed)
    assert all(isinstance(part.texts, StoredTexts) for part in streamed.splits.values())


def test_what_was_saved_is_what_is_loaded_and_an_altered_file_is_refused(folder, tmp_path):
    whole, streamed = both(folder, tmp_path)
    save_dataset(streamed, tmp_path / "data")
    again = load_dataset(tmp_path / "data")
    assert_same(whole, again)
    assert not list(tmp_path.glob("*.parquet")) and isinstance(again.splits["test"].texts, StoredTexts)
    rows = np.arange(0, 500, 7)
    taken = in_memory(again.splits["train"], rows)
    assert taken.texts == [whole.splits["train"].texts[row] for row in rows] and len(taken.table) == len(rows)
    path = tmp_path / "data" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "text", pa.array(table["text"].to_pylist()[::-1], pa.large_string())), path)
    with pytest.raises(DataError, match=r"test\.parquet was altered"):
        load_dataset(tmp_path / "data")


def test_bad_rows_are_named_alike_wherever_they_stand(folder, tmp_path):
    table = columns()
    table["label"][0] = table["label"][1_699] = None
    table["text"][700] = "  "
    table["part"][ROWS - 1], table["part"][5] = "later", None
    table["key"][2_500], table["key"][2_600] = "k3", "k2500"
    table["text"][900] = "null \0 character"
    pq.write_table(pa.table(table), folder / "bad.parquet", row_group_size=900)
    options = {"train": "bad.parquet", "text": "text", "label": "label", "id": "key", "split": {"column": "part"}}
    with pytest.raises(DataError) as whole:
        load(DataOptions(**options), root=folder, seed=0)
    with pytest.raises(DataError) as streamed:
        load(DataOptions(**options, memory="stream"), root=folder, seed=0, store=tmp_path)
    told = [str(problem) for problem in streamed.value.problems]
    assert told == [str(problem) for problem in whole.value.problems] and len(told) == 7
    assert "bad.parquet:2501: column 'key' repeats an earlier value: first on line 4" in told
    tolerant = {**options, "tolerance": 7}
    assert_same(
        load(DataOptions(**tolerant), root=folder, seed=0),
        load(DataOptions(**tolerant, memory="stream"), root=folder, seed=0, store=tmp_path),
    )


def test_a_file_of_bad_rows_alone_does_not_fill_the_memory_with_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_MOST_BAD", 300)
    pq.write_table(pa.table({"text": ["a"] * 1_000, "label": pa.nulls(1_000, pa.string())}), folder / "empty.parquet")
    options = DataOptions(train="empty.parquet", text="text", label="label", memory="stream")
    with pytest.raises(DataError, match="over 300 rows cannot be used"):
        load(options, root=folder, seed=0, store=tmp_path)


def test_the_size_decides_where_the_recipe_does_not(folder, tmp_path, monkeypatch):
    options = DataOptions(train="train.parquet", text="text", label="label")
    assert not stream.is_large(options, folder)
    monkeypatch.setattr(stream, "LARGE", 10_000)
    assert stream.is_large(options, folder)
    assert not stream.is_large(options.model_copy(update={"memory": "whole"}), folder)
    (folder / "rows.csv").write_text("text,label\n" + "a b,yes\nc d,no\n" * 5_000, encoding="utf-8")
    assert not stream.is_large(options.model_copy(update={"train": "rows.csv"}), folder)


def test_stored_texts_are_a_sequence(folder, tmp_path):
    _, streamed = both(folder, tmp_path)
    texts = streamed.splits["train"].texts
    plain = list(texts)
    assert len(plain) == len(texts) and texts[-1] == plain[-1] and texts[700] == plain[700]
    for piece in (slice(3, 950), slice(None, None, 400), slice(10, 10), slice(-5, None)):
        same = texts[piece] == plain[piece]
        assert same, piece
    with pytest.raises(IndexError):
        texts[len(texts)]


def test_digests_of_pieces_are_those_of_rows():
    texts, labels = ["a", "", "银行", "b" * 50], ["x", "y", "x", "x"]
    array = pa.array(["gone", *texts]).slice(1)  # an array that does not begin at its buffer's beginning
    cut = lambda values: lambda: iter([values.slice(0, 1), values.slice(1, 0), values.slice(1)])  # noqa: E731
    found = stored.digest_pieces({"text": cut(array), "label": cut(pa.array(labels)), "group:g": cut(pa.array(labels))}, 4)
    assert found == digest_rows(texts, labels, {"g": labels})


def test_a_batch_plan_does_not_depend_on_how_lengths_are_walked(monkeypatch):
    lengths = np.random.default_rng(0).integers(1, 90, 5_000)
    plans = []
    for walked in (1 << 16, 97):
        monkeypatch.setattr(batch, "_WALKED", walked)
        plans.append(plan_batches(lengths, batch_tokens=1_024, rng=np.random.default_rng(1)))
    same = [one.tolist() for one in plans[0]] == [one.tolist() for one in plans[1]]
    assert same and sorted(np.concatenate(plans[0]).tolist()) == list(range(len(lengths)))


@pytest.mark.parametrize("how", ["reversed", "other labels", "shrunk", "grown", "without the label", "cut short", "gone"])
def test_a_file_that_is_replaced_between_the_two_passes_is_refused(folder, tmp_path, monkeypatch, how):
    table, place = pa.table(columns(900)).select(["text", "label", "sex"]), tmp_path / "rows.parquet"
    pq.write_table(table, place, row_group_size=100)
    replaced = {
        "reversed": table.take(pa.array(range(899, -1, -1))),
        "other labels": table.set_column(1, "label", pa.array(["no"] * 900)),
        "shrunk": table.slice(0, 500),
        "grown": pa.concat_tables([table, table]),
        "without the label": table.drop_columns(["label"]),
    }
    make = large.make_streamed

    def after_a_change(*given):
        if how == "gone":
            place.unlink()
        elif how == "cut short":
            place.write_bytes(place.read_bytes()[:-700])
        else:
            pq.write_table(replaced[how], place, row_group_size=100)
        return make(*given)

    monkeypatch.setattr(large, "make_streamed", after_a_change)
    options = DataOptions(train="rows.parquet", text="text", label="label", groups=["sex"], memory="stream")
    with pytest.raises(DataError, match=r"rows\.parquet changed while it was read") as caught:
        load(options, root=tmp_path, seed=0, store=tmp_path)
    assert caught.value.exit_code == 2 and "run it again" in str(caught.value)
