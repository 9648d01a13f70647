"""Pickles, remote code and archives (R17, R18, R19): each is refused or harmless, and nothing is ever written beside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jinja2
import pytest
from abuse_archives import ROWS, archives
from abuse_kit import change_json, settings_that_run_code
from abuse_payloads import READ_AS_ROWS, payloads, readers

from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.errors import DataError, ModelError, RecipeError
from trustbase.model.load import resolve_base
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.read import read_recipe

WEIGHT_NAMES = (
    *("pytorch_model.bin", "model.pt", "traced.pth", "weights.ckpt", "model.pkl", "model.pickle", "model.joblib"),
    *("model.h5", "model.keras", "model.npy", "model.npz", "model.onnx"),
)
DATA_NAMES = ("rows.csv", "rows.jsonl", "rows.parquet", "rows.csv.gz", "rows.csv.zip", "rows.conll")


@pytest.fixture
def base(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def rows_of(folder: Path, name: str, **more) -> None:
    load(DataOptions(train=name, text="text", label="label", **more), root=folder, seed=0)


def test_no_payload_is_ever_run(base, tmp_path):
    """Each of them stands for weights (alone, beside good ones, renamed), for rows and for a recipe."""
    canary = tmp_path / "canary"
    made = payloads(canary)
    assert not canary.exists()
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
            if name == "rows.parquet" and title in READ_AS_ROWS:
                rows_of(tmp_path, name)
                continue
            with pytest.raises(DataError):
                rows_of(tmp_path, name)
        (tmp_path / "recipe.yaml").write_bytes(data)
        with pytest.raises(RecipeError):
            read_recipe(tmp_path / "recipe.yaml")
        assert not canary.exists(), title
        tried += len(WEIGHT_NAMES) + len(DATA_NAMES) + 2
    assert len(set(made.values())) == len(made) >= 60 and tried >= 60 * 19


def test_the_payloads_do_run_where_somebody_reads_them(tmp_path):
    canary = tmp_path / "canary"
    ran, known = set(), readers()
    for title, data in payloads(canary).items():
        for beginning, read in known.items():
            if title.startswith(beginning):
                read(data)
                until = time.monotonic() + 10  # `Popen` does not wait
                while not canary.exists() and time.monotonic() < until:
                    time.sleep(0.01)
                assert canary.exists(), title
                canary.unlink()
                ran.add(title)
                break
    assert len(ran) >= 35


def test_settings_that_ask_for_code_are_refused_and_none_is_run(base, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: pytest.fail("transformers saw it"))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: pytest.fail("transformers saw it"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
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
    assert len({json.dumps(changes) for _, changes in made}) >= 30 and len(made) >= 55
    resolve_base(str(base))  # the files of code alone are no reason: nobody reads them
    assert not canary.exists()


SECONDS, BYTES = 2, 200e6  # of processor time, and of memory beside a process that reads nothing


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory) -> Path:
    """Where the archives lie; beside it a base model and a bundle that they are put into."""
    root = tmp_path_factory.mktemp("archives")
    shutil.copytree(tiny_folder, root / "base")
    for name in ("bundle", "good", "place"):
        (root / name).mkdir()
    (root / "good" / "rows.csv").write_bytes(ROWS)
    return root / "place"


@pytest.fixture(scope="module")
def probe(place):
    """Asks what comes of a path in a process of its own; nothing, for the base measure."""
    command = [sys.executable, str(Path(__file__).with_name("abuse_probe.py")), str(place.parent / "good" / "rows.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(path: Path | None) -> dict:
            process.stdin.write(f"{path or ''}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def test_a_hostile_chat_template_is_never_rendered_and_nothing_is_asked(base, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    canary = tmp_path / "canary"
    evil = "{{ cycler.__init__.__globals__.os.popen(\"touch '" + str(canary) + "'\").read() }}"
    (base / "chat_template.jinja").write_text(evil)
    change_json(base / "tokenizer_config.json", {"chat_template": [{"name": "default", "template": evil}]})
    assert load_tokenizer(resolve_base(str(base)).folder)("a b")["input_ids"]
    assert not canary.exists()
    jinja2.Template(evil).render()
    assert canary.exists()


def everything(folder: Path) -> dict[str, tuple]:
    """Each path below a folder with its kind, size and the time of its last change."""
    found = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {str(path): (each.st_mode, each.st_size, each.st_mtime_ns if path.is_file() else 0, each.st_ino) for path, each in found.items()}


def test_archives_write_nothing_and_end_soon(probe, place):
    """As rows, running text, a base model, its weights, a bundle, its signature. A zip of one entry is read as rows by any name."""
    root = place.parent
    target = root / "target.csv"
    target.write_bytes(ROWS)
    unread = probe(None)["peak"]
    titles, read = set(), 0
    for archive in archives(target):
        path = place / f"rows{archive.suffix}"
        path.write_bytes(archive.data)
        before, found = everything(root), probe(path)
        told, where = found["told"], (archive.title, found)
        assert not found["status"] and set(told) == {"rows", "corpus", "base", "weights", "bundle", "signature"}, where
        assert not [said for said in told.values() if said.startswith("not told")], where
        assert all(told[use] for use in ("base", "weights", "bundle", "signature")) and bool(told["rows"]) != archive.sound, where
        assert not told["rows"] or path.name in told["rows"], where
        assert told["corpus"] or (archive.sound and archive.suffix != ".csv.zip"), where
        assert found["seconds"] < SECONDS and found["peak"] - unread < BYTES, where
        assert everything(root) == before, where
        titles.add(archive.title)
        read += archive.sound
        path.unlink()
    assert len(titles) >= 90 and read == 20


def test_the_measure_of_an_archive_sees_time_and_memory(probe, place):
    """Plain rows of 6 MB take more memory than any archive may."""
    path = place / "rows.csv"
    path.write_bytes(ROWS + b"a,yes\nb,no\n" * (6_000_000 // 11))
    unread, found = probe(None), probe(path)
    assert unread["seconds"] < 0.2 < found["seconds"] and found["peak"] - unread["peak"] > BYTES, found
