"""Data sets of hubs by their id: through stand-ins of the packages, and through `datasets` itself where that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_kit import COMMIT, put, stand_in
from mini_hub import serving
from trustbase.data.card import data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.gather import check_columns
from trustbase.data.hub_name import HubName, hub_name, is_hub
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.source import parquet_parts, read_columns, read_table, source_digest
from trustbase.data.whole import columns_card, columns_markdown
from trustbase.errors import DataError

NAMES = ["not_equivalent", "equivalent"]
FEATURES = {"sentence": {"dtype": "string", "_type": "Value"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
MRPC = "hub:nyu-mll/glue/mrpc"
COLUMNS = ["sentence1", "label", "labels", "answers"]


def table(count=60, first=0):
    codes = pa.array([i % 2 for i in range(count)], pa.int64())
    return pa.table({"sentence": [f"sentence {first + i}" for i in range(count)], "label": codes})


def opts(train=f"{MRPC}:train", **more):
    return DataOptions(train=train, text="sentence", label="label", **more)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = stand_in(tmp_path / "cache", monkeypatch)
    put(folder, "nyu-mll/glue/mrpc", {"train": table(), "validation": table(30, 100)}, FEATURES)
    put(folder, "owner/one", {"train": table()}, FEATURES)
    return folder


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("hub:a/b:train", ("hub:", "a/b", None, "train", None)),
        ("hub:nyu-mll/glue/mrpc:validation", ("hub:", "nyu-mll/glue", "mrpc", "validation", None)),
        ("hub:a/b.c/en-de.1:test@refs/convert/parquet", ("hub:", "a/b.c", "en-de.1", "test", "refs/convert/parquet")),
        ("modelscope:modelscope/clue/tnews:train@v1.0", ("modelscope:", "modelscope/clue", "tnews", "train", "v1.0")),
    ],
)
def test_what_a_reference_says(reference, parts):
    assert hub_name(reference) == HubName(*parts) and is_hub(reference)


@pytest.mark.parametrize(
    "wrong", ["", "a/b", "b:train", "a/b:", "a/b:train[:10%]", "a/b/c/d:train", "../b:train", "a/b:train@", "a/b:train@/x", "a b/c:x"]
)
@pytest.mark.parametrize("prefix", ["hub:", "modelscope:"])
def test_what_is_no_reference_is_told_the_form_before_anything_is_imported(prefix, wrong):
    with pytest.raises(ValueError, match=r"OWNER/NAME\[/CONFIG\]:SPLIT\[@REVISION\]"):
        DataOptions(train=prefix + wrong, text="text", label="label")
    with pytest.raises(DataError, match="names no part of a data set"):
        read_table(prefix + wrong, root=Path())


def test_rows_are_those_of_a_file_with_the_same_texts_and_the_card_names_the_commit(hub, tmp_path):
    lines = "".join(f"sentence {i},{NAMES[i % 2]}\n" for i in range(60))
    (tmp_path / "rows.csv").write_text("sentence,label\n" + lines)
    found, same = load(opts(), root=tmp_path, seed=0), load(opts("rows.csv"), root=tmp_path, seed=0)
    assert found.digest == same.digest and found.labels.names == ("equivalent", "not_equivalent")
    source = found.facts["sources"]["train"]
    digest = source_digest(f"{MRPC}:train", tmp_path)
    assert source == {
        **{"name": f"{MRPC}:train", "revision": COMMIT, "digest": digest, "bytes": source["bytes"], "rows": 60, "bad_rows": 0}
    }
    assert digest.startswith("sha256:") and f"commit `{COMMIT}`, 60 rows" in card_markdown(data_card(found))
    assert "revision" not in same.facts["sources"]["train"]
    whole = columns_card(f"{MRPC}:train", root=tmp_path)
    assert whole["source"]["revision"] == COMMIT and COMMIT in columns_markdown(whole)


def test_parts_of_the_hub_are_parts_of_the_run(hub, tmp_path):
    options = opts(test=f"{MRPC}:validation")
    assert check_columns(options, tmp_path) == []
    found = load(options, root=tmp_path, seed=0)
    assert len(found.splits["test"]) == 30 and sum(map(len, found.splits.values())) == 90
    assert set(source_digests(options, root=tmp_path)) == {"train", "test"}
    assert read_columns("hub:owner/one:train", root=tmp_path) == ["sentence", "label"]
    assert parquet_parts("hub:owner/one:train", root=tmp_path) == []  # never streamed


def test_the_digest_follows_rows_and_names_and_not_how_they_are_stored(hub, tmp_path):
    def digest(name, rows, features=FEATURES):
        put(hub, f"owner/{name}", {"train": rows}, features)
        return source_digest(f"hub:owner/{name}:train", tmp_path)

    same = pa.concat_tables([table(20), table(60).slice(20)]).cast(pa.schema([("sentence", pa.large_string()), ("label", pa.int32())]))
    assert digest("chunks", same) == source_digest("hub:owner/one:train", tmp_path)
    turned = {**FEATURES, "label": {**FEATURES["label"], "names": NAMES[::-1]}}
    more = table().append_column("idx", pa.array(range(60)))
    others = [table(59), table(60, 1), table().take(list(range(59, -1, -1))), more]
    found = {digest(f"other{place}", rows) for place, rows in enumerate(others)} | {digest("turned", table(), turned)}
    assert len(found) == 5 and source_digest("hub:owner/one:train", tmp_path) not in found
    part = read_table("hub:owner/one:train", root=tmp_path, columns=["label"])
    assert part.digest == source_digest("hub:owner/one:train", tmp_path)


def test_rows_without_a_label_are_bad_rows_and_kinds_that_are_no_text_are_named(hub, tmp_path):
    rows = pa.table({"sentence": ["a", "b", "c"], "label": pa.array([0, -1, 7]), "raw": [{"bytes": b"\xff", "n": 1}] * 3})
    put(hub, "owner/odd", {"test": rows}, FEATURES)
    found = read_table("hub:owner/odd:test", root=tmp_path, columns=["sentence", "label"])
    assert found.table["label"].to_pylist() == ["not_equivalent", None]
    assert [str(problem) for problem in found.bad] == ["hub:owner/odd:test:3: column 'label' holds a number without a name: got 7"]
    with pytest.raises(DataError, match="'raw' is of type struct"):
        read_table("hub:owner/odd:test", root=tmp_path, columns=["raw"])
    with pytest.raises(DataError, match="sentence"):
        read_table("hub:owner/odd:test", root=tmp_path, columns=["sentense"])


def test_another_commit_than_the_one_that_was_named_is_refused(hub, tmp_path):
    for right in (COMMIT, COMMIT[:10], "main", "refs/convert/parquet"):
        assert read_table(f"{MRPC}:train@{right}", root=tmp_path).revision == COMMIT
    with pytest.raises(DataError, match=f"was to be of commit {'c' * 40}, and what the cache holds is of {COMMIT}"):
        read_table(f"{MRPC}:train@{'c' * 40}", root=tmp_path)
    put(hub, "owner/unknown", {"train": table()}, FEATURES, commit="latest")
    assert read_table("hub:owner/unknown:train", root=tmp_path).revision == ""
    with pytest.raises(DataError, match="of an unknown one"):
        read_table(f"hub:owner/unknown:train@{COMMIT}", root=tmp_path)


def test_a_folder_of_the_same_name_is_never_read_in_its_place(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nyu-mll" / "glue").mkdir(parents=True)
    with pytest.raises(DataError, match="stands in the working folder") as caught:
        read_table(f"{MRPC}:train", root=tmp_path)
    assert "write train: nyu-mll/glue/" in caught.value.hint


def test_the_package_that_is_missing_or_too_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("trustbase.data.hub.find_spec", lambda name: None)
    (problem,) = check_columns(opts(), tmp_path)
    assert "is read by the package 'datasets', which is not installed" in str(problem) and "trustbase[hub]" in str(problem)
    (problem,) = check_columns(opts("modelscope:modelscope/clue/tnews:train"), tmp_path)
    assert "pip install 'modelscope[datasets]'" in str(problem)


def test_versions_that_may_run_code_of_a_data_set_are_refused(hub, tmp_path, monkeypatch):
    import datasets
    from modelscope.msdatasets import MsDataset

    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    with pytest.raises(DataError, match=r"not read by datasets 3\.6\.0, which can run code"):
        read_table(f"{MRPC}:train", root=tmp_path)
    monkeypatch.setattr(MsDataset, "load", lambda name, **more: pytest.fail("was asked"))
    with pytest.raises(DataError, match="cannot be told to run no code"):
        read_table("modelscope:nyu-mll/glue/mrpc:train", root=tmp_path)


def test_what_a_package_raises_is_told_with_what_to_do(hub, tmp_path, monkeypatch):
    import datasets

    told = {
        "offline": (
            ConnectionError("Couldn't reach it"),
            "HF_HUB_OFFLINE keeps it from the hub",
            "bring that folder here, and name it: rows/train",
        ),
        "script": (RuntimeError("Dataset scripts are no longer supported, but found x.py"), "code of a data set is never run", "@refs/"),
        "odd": (KeyError("x"), "HF_HUB_OFFLINE keeps it", "save_to_disk"),
    }
    for error, what, hint in told.values():
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, error=error, **k: (_ for _ in ()).throw(error))
        with pytest.raises(DataError, match=what) as caught:
            read_table(f"{MRPC}:train", root=tmp_path)
        assert hint in caught.value.hint and caught.value.__cause__ is error
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for error, what, hint in (
        (ConnectionError("refused"), "the hub cannot be reached", "HF_ENDPOINT names a mirror"),
        (ValueError("Config name is missing.\nPick one of: a, b"), "Config name is missing. Pick one of: a, b", "configuration"),
    ):
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, error=error, **k: (_ for _ in ()).throw(error))
        with pytest.raises(DataError, match=what) as caught:
            read_table(f"{MRPC}:train", root=tmp_path)
        assert hint in caught.value.hint
    assert not datasets.are_progress_bars_disabled()


def test_a_part_that_is_not_there_is_told_which_are(hub, tmp_path):
    with pytest.raises(DataError, match=r"Unknown split \"trian\". Should be one of \['train', 'validation'\]") as caught:
        read_table(f"{MRPC}:trian", root=tmp_path)
    assert caught.value.hint == f"name one of its parts: {MRPC}:PART"


def test_modelscope_is_asked_for_the_same_rows_with_a_revision_and_never_for_code(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_VERSION", "v2")
    found = read_table("modelscope:nyu-mll/glue/mrpc:train@v2", root=tmp_path)
    assert found.table.equals(read_table(f"{MRPC}:train", root=tmp_path).table) and found.revision == COMMIT
    with pytest.raises(DataError, match="cannot be had from ModelScope: The revision v3 does not exist"):
        read_table("modelscope:nyu-mll/glue/mrpc:train@v3", root=tmp_path)


# --- with `datasets` itself, offline: what its cache holds, and what it does not ---


@pytest.fixture
def real(tmp_path, monkeypatch):
    """`datasets` with a cache of its own that holds nyu-mll/glue, mrpc, as that package would leave it after a download of COMMIT."""
    datasets = pytest.importorskip("datasets", minversion="4")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        {
            "sentence1": datasets.Value("string"),
            "label": datasets.ClassLabel(names=NAMES),
            "labels": datasets.List(datasets.ClassLabel(names=NAMES)),
            "answers": {"text": datasets.List(datasets.Value("string")), "answer_start": datasets.List(datasets.Value("int32"))},
        }
    )
    answers = [{"text": ["b", "c"], "answer_start": [1, 2]}, {"text": [], "answer_start": []}, {"text": ["中"], "answer_start": [0]}]
    columns = {"sentence1": ["a", "b", "中文"], "label": [1, 0, -1], "labels": [[1], [0, 1], []], "answers": answers}
    made = datasets.Dataset.from_dict(columns, features=features)
    made.to_parquet(str(tmp_path / "train.parquet"))
    read = datasets.load_dataset("parquet", data_files={"train": str(tmp_path / "train.parquet")}, split="train", features=features)
    (own,) = (Path(item["filename"]).parent for item in read.cache_files)
    info = json.loads((own / "dataset_info.json").read_text())
    info |= {"config_name": "mrpc", "dataset_name": "glue"}
    folder = tmp_path / "cache" / "nyu-mll___glue" / "mrpc" / "0.0.0" / COMMIT
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "glue-train.arrow").write_bytes(next(own.glob("*.arrow")).read_bytes())
    return datasets


def test_what_datasets_itself_holds_is_read_as_it_reads_it(real, tmp_path, capfd):
    found = read_table(f"{MRPC}:train", root=tmp_path, columns=COLUMNS, nested=["labels", "answers"])
    assert capfd.readouterr() == ("", "")
    rows = real.load_dataset("nyu-mll/glue", "mrpc", split="train")
    named = rows.features["label"]
    assert found.table["label"].to_pylist() == [named.int2str(code) if code >= 0 else None for code in rows["label"]]
    assert found.table["sentence1"].to_pylist() == list(rows["sentence1"])
    assert [json.loads(cell) for cell in found.table["labels"].to_pylist()] == [named.int2str(codes) for codes in rows["labels"]]
    assert [json.loads(cell) for cell in found.table["answers"].to_pylist()] == list(rows["answers"])
    assert found.revision == COMMIT and found.digest == source_digest(f"{MRPC}:train@{COMMIT}", tmp_path)
    rows.save_to_disk(str(tmp_path / "saved"))
    saved = read_table("saved", root=tmp_path, columns=COLUMNS, nested=["labels", "answers"])
    assert saved.table.equals(found.table)


def test_what_datasets_itself_does_not_hold_is_told_offline(real, tmp_path):
    with pytest.raises(DataError, match=r"not in the cache of this machine, and HF_HUB_OFFLINE keeps it from the hub") as caught:
        read_table("hub:clue/clue/tnews:train", root=tmp_path)
    assert "datasets.load_dataset('clue/clue', 'tnews').save_to_disk('rows')" in caught.value.hint
    with pytest.raises(DataError, match="Available configs in the cache"):
        read_table("hub:nyu-mll/glue/cola:train", root=tmp_path)
    with pytest.raises(DataError, match="Unknown split"):
        read_table(f"{MRPC}:dev", root=tmp_path)
    with pytest.raises(DataError, match="was to be of commit"):
        read_table(f"{MRPC}:train@{'c' * 40}", root=tmp_path)
    assert "datasets" in sys.modules


CARD = """---
configs:
- config_name: mrpc
  data_files: [{split: train, path: mrpc/train-*}]
dataset_info:
- config_name: mrpc
  features:
  - {name: sentence, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': not_equivalent, '1': equivalent}}}}
---
"""
ASK = """
import json, os, sys
from pathlib import Path
from trustbase.data.source import read_table
from trustbase.errors import DataError
for reference in sys.argv[1:]:
    try:
        found = read_table(reference, root=Path(), nested=os.environ.get("NESTED", "").split())
        print(json.dumps([found.table.to_pylist(), found.digest, found.revision]))
    except DataError as error:
        print(json.dumps(error.message))
"""


def asked(references, folder, **environment):
    """What a process of its own reads, with `datasets` as it comes."""
    paths = os.pathsep.join(path for path in sys.path if path and "stand_ins" not in path)
    settings = {**os.environ, "PYTHONPATH": paths, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    settings.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run([sys.executable, "-c", ASK, *references], env=settings, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_hub_is_asked_where_hf_endpoint_says_and_its_cache_gives_the_same_rows_later(tmp_path):
    pytest.importorskip("datasets", minversion="4")
    rows = pa.table({"sentence": ["a", "中"], "label": pa.array([1, -1], pa.int64())})
    pq.write_table(rows, tmp_path / "rows.parquet")
    files = {"README.md": CARD.encode(), "mrpc/train-00000-of-00001.parquet": (tmp_path / "rows.parquet").read_bytes()}
    pinned = f"{MRPC}:train@{COMMIT}"
    with serving("nyu-mll/glue", COMMIT, files) as (address, paths):
        wanted = [f"{MRPC}:train", pinned, f"{MRPC}:test", "hub:nyu-mll/glue/cola:train"]
        found = asked(wanted, tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
        assert f"/datasets/nyu-mll/glue/resolve/{COMMIT}/mrpc/train-00000-of-00001.parquet" in paths
    assert found[0] == found[1] and found[0][0] == [{"sentence": "a", "label": "equivalent"}, {"sentence": "中", "label": None}]
    assert found[0][2] == COMMIT and "Unknown split" in found[2] and "'cola' not found" in found[3]
    later = asked([f"{MRPC}:train", pinned, f"{MRPC}:train@{'c' * 40}", "hub:owner/other:train"], tmp_path, HF_HUB_OFFLINE="1")
    assert later[:2] == found[:2] and "was to be of commit" in later[2] and "HF_HUB_OFFLINE keeps it from the hub" in later[3]


def test_a_data_set_that_is_made_by_a_script_is_refused_and_the_script_never_run(tmp_path):
    pytest.importorskip("datasets", minversion="4")
    script = b"open('ran', 'w').close()\n"
    with serving("nyu-mll/glue", COMMIT, {"README.md": b"", "glue.py": script}) as (address, _):
        (told,) = asked([f"{MRPC}:train"], tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
    assert "is made by a script of its own, and code of a data set is never run" in told
    assert not (tmp_path / "ran").exists()


def test_the_rows_that_a_hub_made_of_a_script_are_read_from_their_branch(tmp_path):
    """As recipes/msra-ner.yaml asks for them: no configuration is named, names of tags stand in the file itself."""
    pytest.importorskip("datasets", minversion="4")
    kinds = {"tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}}
    kinds["ner_tags"] = {"feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    told = {"huggingface": json.dumps({"info": {"features": kinds}})}
    rows = pa.table({"tokens": [["江", "明", "说"], []], "ner_tags": pa.array([[1, 2, 0], []], pa.list_(pa.int64()))})
    pq.write_table(rows.replace_schema_metadata(told), tmp_path / "rows.parquet")
    data = (tmp_path / "rows.parquet").read_bytes()
    files = {"msra_ner/train/0000.parquet": data, "msra_ner/test/0000.parquet": data}
    with serving("levow/msra_ner", COMMIT, files) as (address, _):
        wanted = "hub:levow/msra_ner:train@refs/convert/parquet"
        (found,) = asked([wanted], tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="0", NESTED="tokens ner_tags")
    assert [[json.loads(cell) for cell in row.values()] for row in found[0]] == [[["江", "明", "说"], ["B-PER", "I-PER", "O"]], [[], []]]
    assert found[2] == COMMIT
