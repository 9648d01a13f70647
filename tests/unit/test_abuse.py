"""Pickles, remote code and archives (R17, R18, R19): each is refused or harmless, and nothing is ever written beside."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path

import psutil
import pytest
from abuse_kit import ROWS, change_json, payloads, settings_that_run_code, tars, zips

from trustbase.bundle.verify import verify
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.errors import DataError, ModelError, UsageError, VerificationError
from trustbase.model.load import resolve_base
from trustbase.model.tokenizer import load_tokenizer

WEIGHT_NAMES = ("pytorch_model.bin", "model.pt", "weights.ckpt", "model.pkl", "model.joblib")
DATA_NAMES = ("rows.csv", "rows.jsonl", "rows.parquet", "rows.csv.gz")


@pytest.fixture
def base(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def everything(folder: Path) -> dict[str, bytes | None]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def rows_of(folder: Path, name: str, **more) -> None:
    load(DataOptions(train=name, text="text", label="label", **more), root=folder, seed=0)


def test_no_payload_is_ever_run(base, tmp_path):
    """Each of the pickles stands for weights (alone, beside good ones, renamed) and for rows."""
    canary = tmp_path / "canary"
    made = payloads(canary)
    good = (base / "model.safetensors").read_bytes()
    tried = 0
    for title, data in made.items():
        (base / "model.safetensors").unlink(missing_ok=True)
        for name in WEIGHT_NAMES:
            (base / name).write_bytes(data)
        with pytest.raises(ModelError, match="as pickle only"):
            resolve_base(str(base))
        (base / "model.safetensors").write_bytes(data)
        with pytest.raises(ModelError, match=r"not a sound safetensors file|holds no weights"):
            resolve_base(str(base))
        (base / "model.safetensors").write_bytes(good)
        resolve_base(str(base))
        for name in DATA_NAMES:
            (tmp_path / name).write_bytes(data)
            with pytest.raises(DataError):
                rows_of(tmp_path, name)
            tried += 1
        assert not canary.exists(), title
        tried += len(WEIGHT_NAMES) + 1
    assert len(made) >= 25 and tried >= 40 * 5


def test_the_payloads_do_run_where_somebody_reads_them(tmp_path):
    import pickle

    canary = tmp_path / "canary"
    ran = 0
    for title, data in payloads(canary).items():
        if title.startswith(("protocol", "os.", "subprocess", "exec", "eval", "open", "in a", "twice", "by hand")):
            pickle.loads(data)
            assert canary.exists(), title
            canary.unlink()
            ran += 1
    assert ran >= 14


def test_settings_that_ask_for_code_are_refused_and_none_is_run(base, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: pytest.fail("transformers saw it"))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: pytest.fail("transformers saw it"))
    canary = tmp_path / "canary"
    for name in ("evil.py", "modeling_bert.py", "__init__.py", "tokenization_evil.py"):
        (base / name).write_text(f"open({str(canary)!r}, 'w').close()\n")
    original = {name: (base / name).read_bytes() for name in ("config.json", "tokenizer_config.json")}
    made = list(settings_that_run_code())
    for name, changes in made:
        change_json(base / name, changes)
        with pytest.raises(ModelError, match=r"asks to run code|another weight file|compiled code"):
            resolve_base(str(base))
        if name == "tokenizer_config.json":
            with pytest.raises(ModelError, match="asks to run code"):
                load_tokenizer(base)
        (base / name).write_bytes(original[name])
        assert not canary.exists(), changes
    assert len(made) >= 30
    resolve_base(str(base))  # the files of code alone are no reason: nobody reads them
    assert not canary.exists()


def test_archives_write_nothing_and_end_soon(base, tmp_path):
    """As rows, as a base model and as a bundle. A zip of one entry is read as rows whatever the entry is called: no name becomes a path."""
    place = tmp_path / "place"
    place.mkdir()
    target = tmp_path / "target.csv"
    target.write_bytes(ROWS)
    made = [(f"zip: {title}", ".csv.zip", data) for title, data in zips(target)]
    made += [(f"tar: {title}", ".csv", data) for title, data in tars(target)]
    made += [(f"tar.gz: {title}", ".csv.gz", gzip.compress(data)) for title, data in tars(target)]
    read = 0
    for title, suffix, data in made:
        path = place / f"rows{suffix}"
        path.write_bytes(data)
        before, memory, began = everything(tmp_path), psutil.Process().memory_info().rss, time.monotonic()
        try:
            rows_of(place, path.name)
            read += 1
            assert title.startswith("zip: one entry"), title
        except DataError as error:
            assert path.name in str(error), title
        with pytest.raises((UsageError, ModelError)):
            resolve_base(str(path))
        with pytest.raises(VerificationError):
            verify(path)
        assert everything(tmp_path) == before, title
        assert time.monotonic() - began < 10 and psutil.Process().memory_info().rss - memory < 400e6, title
        path.unlink()
    assert len(made) >= 60 and read <= 16
