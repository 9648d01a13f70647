"""Folders that Hugging Face datasets saved, read without that package."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from archives_kit import save_table
from trustbase.data.gather import check_columns
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.source import read_columns, read_table
from trustbase.errors import DataError

FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
    "n": {"dtype": "int64", "_type": "Value"},
}


def opts(train="rows", **more):
    return DataOptions(train=train, text="text", label="label", **more)


def table(count=60, label=lambda i: i % 2):
    texts, codes = [f"text {i}" for i in range(count)], [label(i) for i in range(count)]
    return pa.table({"text": texts, "label": pa.array(codes, pa.int64()), "n": list(range(count))})


def test_labels_become_their_names_and_files_follow_in_order(tmp_path):
    save_table(tmp_path / "rows", table(), parts=3, features=FEATURES)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"text {i},{('no', 'yes')[i % 2]}\n" for i in range(60)))
    found = load(opts(), root=tmp_path, seed=0)
    assert found.digest == load(opts("rows.csv"), root=tmp_path, seed=0).digest and found.labels.names == ("no", "yes")
    assert read_columns("rows", root=tmp_path) == ["text", "label", "n"]
    assert read_table("rows", root=tmp_path, columns=["n"]).table["n"].to_pylist()[:3] == ["0", "1", "2"]


def test_a_row_without_a_label_or_with_a_number_without_a_name_is_bad(tmp_path):
    save_table(tmp_path / "rows", table(label=lambda i: {3: -1, 5: 7, 6: None}.get(i, i % 2)), features=FEATURES)
    with pytest.raises(DataError) as caught:
        load(opts(), root=tmp_path, seed=0)
    assert [str(item) for item in caught.value.problems] == [
        "rows:4: column 'label' (label) is empty",
        "rows:6: column 'label' holds a number without a name: got 7",
        "rows:7: column 'label' (label) is empty",
    ]


def test_the_digest_follows_rows_names_and_order(tmp_path):
    found = []
    for number, (rows, parts, features) in enumerate(
        [(table(), 1, FEATURES), (table(59), 1, FEATURES), (table(), 2, FEATURES), (table(), 1, {})]
    ):
        save_table(tmp_path / str(number), rows, parts=parts, features=features)
        found.append(source_digests(opts(f"{number}/"), root=tmp_path)["train"])
        assert found[-1] == read_table(f"{number}", root=tmp_path).digest
    renamed = {**FEATURES, "label": {"names": ["yes", "no"], "_type": "ClassLabel"}}
    (tmp_path / "0" / "dataset_info.json").write_text(json.dumps({"features": renamed}))
    found.append(source_digests(opts("0"), root=tmp_path)["train"])
    assert len(set(found)) == 5


def test_several_data_sets_in_one_folder_are_named(tmp_path):
    for name in ("train", "test"):
        save_table(tmp_path / "rows" / name, table(), features=FEATURES)
    (tmp_path / "rows" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert "name one of them: rows/test, rows/train" in str(check_columns(opts(), tmp_path)[0])
    dataset = load(opts("rows/train", test="rows/test"), root=tmp_path, seed=0)
    assert len(dataset.splits["test"]) == 60


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "state.json").write_text("{"), "state.json"),
        (
            lambda folder: (folder / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}'),
            "lists no files of this folder",
        ),
        (lambda folder: (folder / "state.json").write_text("[]"), "holds no object"),
        (lambda folder: (folder / "data-00001-of-00002.arrow").unlink(), "data-00001-of-00002.arrow is not there"),
        (lambda folder: (folder / "data-00000-of-00002.arrow").write_bytes(b"no arrow"), "data-00000-of-00002.arrow"),
        (lambda folder: (folder / "data-00000-of-00002.arrow").write_bytes(b""), "data-00000-of-00002.arrow"),
    ],
)
def test_a_damaged_folder_is_refused(harm, words, tmp_path):
    folder = save_table(tmp_path / "rows", table(), parts=2, features=FEATURES)
    whole = (folder / "data-00001-of-00002.arrow").read_bytes()
    (folder / "data-00001-of-00002.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow"):
        load(opts(), root=tmp_path, seed=0)
    (folder / "data-00001-of-00002.arrow").write_bytes(whole)
    harm(folder)
    told = str(check_columns(opts(), tmp_path)[0])
    assert "is no whole folder of `save_to_disk`" in told and words in told


def test_what_may_be_an_id_of_a_hub_is_told_what_to_do(tmp_path):
    told = str(check_columns(opts("owner/reviews"), tmp_path)[0])
    assert "does not exist" in told and "if it is a data set of a hub, write hub:owner/reviews:train" in told


def test_what_datasets_itself_saves_reads_as_it_does(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"]), "n": datasets.Value("float32")}
    )
    made = datasets.Dataset.from_dict({"text": ["a", "b", None, "d"], "label": [0, 1, 1, -1], "n": [0.5, 1, 2, 3]}, features=features)
    chosen = made.select([3, 0, 2])  # order and choice are in the files, not in the table that was made first
    chosen.save_to_disk(str(tmp_path / "rows"), num_shards=2)
    found = read_table("rows", root=tmp_path).table.to_pylist()
    names = [None if code < 0 else features["label"].int2str(code) for code in chosen["label"]]
    assert [row["label"] for row in found] == names == [None, "no", "yes"] and [row["text"] for row in found] == ["d", "a", None]
    assert [float(row["n"]) for row in found] == list(chosen["n"])
