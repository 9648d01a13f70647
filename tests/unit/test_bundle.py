"""What a packed folder holds, in which form, and when nothing is signed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundles import RECIPE, World, ask, fake_artifact

from trustbase import files
from trustbase.bundle import golden
from trustbase.bundle.keys import signing_key
from trustbase.bundle.layout import model_digest
from trustbase.bundle.pack import read_bundle
from trustbase.bundle.scan import hash_files, list_files
from trustbase.bundle.verify import verify
from trustbase.errors import ModelError, TrustbaseError, UsageError, VerificationError
from trustbase.model.artifact import artifact_digest

PARTS = {
    *("README.md", "artifact.json", "audit.json", "data_card.json", "data_card.md", "environment.json", "golden.json", "labels.json"),
    *("manifest.json", "model.sig", "policy.json", "recipe.resolved.yaml", "verdict.json"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)
    return tmp_path / "home"


def test_a_released_bundle_holds_what_the_contract_names(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    bundle = world.pack()
    assert bundle.released and bundle.folder.name == "bundle" and not (tmp_path / "run" / "rejected").exists()
    names = {path.name for path in bundle.folder.rglob("*") if path.is_file()}
    assert names >= PARTS and {path.name for path in (bundle.folder / "evidence").iterdir()} == {"quality.json", "fairness.json"}
    manifest = (bundle.folder / "manifest.json").read_bytes()
    data = json.loads(manifest)
    assert list(data) == ["files", "schema"] and data["schema"] == "trustbase/manifest/1"
    assert files.canonical_json(data) == manifest
    listed = {item["path"]: item for item in data["files"]}
    on_disk = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    assert set(listed) == on_disk - {"manifest.json", "model.sig"}
    for path, item in listed.items():
        content = (bundle.folder / path).read_bytes()
        assert item == {"path": path, "sha256": files.sha256_bytes(content), "bytes": len(content)}
    assert bundle.manifest_digest == f"sha256:{files.sha256_bytes(manifest)}"
    assert (bundle.folder / "recipe.resolved.yaml").read_text() == RECIPE
    assert read_bundle(bundle.folder) == bundle


def test_the_recipe_in_a_bundle_names_files_and_not_their_places(tmp_path: Path) -> None:
    recipe = """schema: trustbase/recipe/1
base: {place}/models/base-one
data: {{train: {place}/rows.csv, validation: ../more/val.csv, test: ~/test.csv, text: text, label: label}}
gates: {{from: {place}/policy.yaml, quality.accuracy: '>= 0.80'}}
train: {{learning_rate: 1.0e-05}}
"""
    packed = []
    for place in ("/srv/one", "/home/somebody/else"):
        bundle = World(tmp_path / place[1:]).pack(recipe=recipe.format(place=place)).folder
        packed.append((bundle / "recipe.resolved.yaml").read_text())
        for path in bundle.rglob("*"):
            assert not path.is_file() or place.encode() not in path.read_bytes(), path
    said = yaml.safe_load(packed[0])
    assert said["base"] == "local:base-one" and said["gates"] == {"from": "policy.yaml", "quality.accuracy": ">= 0.80"}
    assert [said["data"][name] for name in ("train", "validation", "test")] == ["rows.csv", "val.csv", "test.csv"]
    assert said["train"] == {"learning_rate": 1e-5} and packed[0] == packed[1]
    assert packed[0].startswith("# The recipe of the run, but for this")


def test_a_refused_model_is_rejected_and_never_signed(tmp_path: Path, home: Path) -> None:
    world = World(tmp_path / "run")
    world.pack()
    strict = World(tmp_path / "run", gates={"quality.accuracy": ">= 0.99"}, artifact=world.artifact)
    bundle = strict.pack()
    assert not bundle.released and bundle.signer is None and bundle.folder.name == "rejected"
    assert not (tmp_path / "run" / "bundle").exists()
    names = {path.name for path in bundle.folder.rglob("*") if path.is_file()}
    assert names >= PARTS - {"model.sig"} and "model.sig" not in names
    assert "NOT released" in (bundle.folder / "REJECTED.txt").read_text() and "0.99" in (bundle.folder / "REJECTED.txt").read_text()
    with pytest.raises(VerificationError, match="rejected"):
        verify(bundle.folder)


def test_openssf_tooling_accepts_the_signature_and_sees_alterations(tmp_path: Path, home: Path) -> None:
    verifying = pytest.importorskip("model_signing.verifying")
    folder = World(tmp_path / "run").pack().folder

    def check() -> None:
        verifying.Config().use_elliptic_key_verifier(public_key=home / "trusted" / "own.pub").verify(folder, folder / "model.sig")

    check()
    (folder / "model" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="mismatch"):
        check()


def test_the_same_run_and_key_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = World(tmp_path / "one").pack(), World(tmp_path / "two").pack()
    for path in one.folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (two.folder / path.relative_to(one.folder)).read_bytes(), path


def test_the_digest_of_the_model_is_the_one_that_the_audit_names(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    for name in ("b/c.txt", "b-a/x", "b.txt", "a/z/y", "a/z.txt", "Z", "é"):
        files.write_text(folder / "model" / name, name)
    paths, problems = list_files(folder)
    assert not problems and len(paths) == 7
    assert model_digest(hash_files(folder, paths).entries) == artifact_digest(folder / "model")


def test_parts_that_do_not_belong_together_are_not_signed(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    assert not world.pack(policy_digest="sha256:else").released  # measured under another policy: every gate is insufficient
    other = fake_artifact(tmp_path / "other", threshold=0.9)
    with pytest.raises(ModelError, match="not the one that was audited"):
        world.pack(model={**world.report.model, "digest": other.digest})
    (world.artifact.folder / "model.safetensors").write_bytes(b"changed after the audit")
    with pytest.raises(ModelError, match="not the one that was audited"):
        world.pack()
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_verdict_that_the_gates_do_not_give_is_not_signed(tmp_path: Path) -> None:
    from trustbase.bundle.pack import pack
    from trustbase.gate.decide import decide

    world = World(tmp_path / "run", gates={"quality.accuracy": ">= 0.99"})
    verdict = replace(decide(world.policy, world.report, test_looks=1), released=True)
    with pytest.raises(TrustbaseError, match="nothing was signed"):
        pack(world.folder, artifact=world.artifact, report=world.report, verdict=verdict, recipe_text=RECIPE, purpose={}, ask=ask)
    assert not (world.folder / "bundle").exists()


def test_a_named_key_signs(tmp_path: Path, home: Path) -> None:
    own = signing_key()
    key = tmp_path / "key.pem"
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    bundle = World(tmp_path / "run").pack(key=key)
    assert bundle.signer != own.public.fingerprint
    with pytest.raises(VerificationError, match="not trusted"):
        verify(bundle.folder)
    (tmp_path / "key.pub").write_bytes(signing_key(key).public.pem)
    assert verify(bundle.folder, trust=tmp_path / "key.pub").signer == bundle.signer


def test_golden_inputs_are_synthetic_and_repeatable(tmp_path: Path) -> None:
    artifact = fake_artifact(tmp_path / "a", text="{age} years old, {job|none}, {city}")
    record = golden.golden_record(artifact, ask)
    assert golden.golden_record(artifact, ask) == record and len(record["inputs"]) >= 8
    assert all(set(item["row"]) == {"age", "job", "city"} and " years old, " in item["text"] for item in record["inputs"])

    class Scorer:
        shift = 0.0

        def scores(self, texts: list[str]) -> np.ndarray:
            return ask(texts) + np.array([self.shift, -self.shift])

    scorer = Scorer()
    assert golden.check_golden(record, scorer) == 0.0
    scorer.shift = 0.01
    assert golden.check_golden(record, scorer) == pytest.approx(0.01) and record["tolerance"] < 0.01
    scorer.shift = float("nan")
    assert golden.check_golden(record, scorer) == float("inf")
    files.write_json(tmp_path / "golden.json", record)
    scorer.shift = 0.0
    assert golden.check_golden(tmp_path, scorer) == 0.0
    record["inputs"][0]["row"]["age"] = "another"
    with pytest.raises(ModelError, match="other texts"):
        golden.check_golden(record, scorer)


def test_a_model_that_answers_no_probability_has_no_golden_outputs(tmp_path: Path) -> None:
    artifact = fake_artifact(tmp_path / "a")
    for bad in (lambda texts: ask(texts) * 2, lambda texts: ask(texts)[:, :1], lambda texts: ask(texts) * np.nan):
        with pytest.raises(ModelError, match="probabilities"):
            golden.golden_record(artifact, bad)


def test_no_bundle_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a bundle"):
        read_bundle(tmp_path)
