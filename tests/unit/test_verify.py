"""The tamper matrix (R14): every alteration is refused, before any parser sees it, and no refusal sounds like a success (R15)."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import World, fake_artifact
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trustbase import files
from trustbase.bundle import contents, envelope
from trustbase.bundle.envelope import sign
from trustbase.bundle.keys import SigningKey, signing_key
from trustbase.bundle.layout import attestation_statement, render_manifest, signed_statement
from trustbase.bundle.scan import hash_files, list_files
from trustbase.bundle.verify import VerifiedBundle, attest, verify
from trustbase.errors import UsageError, VerificationError
from trustbase.model.artifact import write_artifact

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass
class Place:
    """A signed bundle with the key that signed it, a key of nobody, and another bundle of the same signer."""

    folder: Path
    key: SigningKey
    stranger: SigningKey
    other: Path
    strict: Path
    root: Path
    original: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("verify")
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(root / "home"))
    patch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)
    patch.setattr("os.fsync", lambda handle: None)  # thousands of small files are written below
    stranger = root / "stranger.pem"
    stranger.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    folder = World(root / "run").pack().folder
    other = World(root / "other").pack(looks=2).folder
    strict = World(root / "strict", gates={"quality.accuracy": ">= 0.99"}).pack().folder
    made = Place(folder, signing_key(), signing_key(stranger), other, strict, root)
    made.original = read_all(folder)
    yield made
    patch.undo()


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def copy(place: Place, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place.folder, tmp_path / "bundle"))


def refused(folder: Path, **options: Any) -> str:
    """The message of the refusal; fails where the bundle is accepted or anything else is raised."""
    with pytest.raises(VerificationError) as caught:
        verify(folder, **options)
    assert caught.value.exit_code == 4
    assert "verified" not in str(caught.value).lower()
    return str(caught.value)


def reseal(folder: Path, key: SigningKey) -> None:
    """What a signer can do: list whatever lies there and sign it."""
    for name in ("manifest.json", "model.sig"):
        (folder / name).unlink(missing_ok=True)
    paths, _ = list_files(folder)
    entries = hash_files(folder, [path for path in paths if not path.startswith("attestations/")]).entries
    (folder / "manifest.json").write_bytes(render_manifest(entries))
    entries |= hash_files(folder, ["manifest.json"]).entries
    (folder / "model.sig").write_bytes(sign(signed_statement(entries), key))


def edit(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    data = json.loads((folder / name).read_text())
    files.write_json(folder / name, change(data) or data)


def test_the_bundle_as_released_is_accepted(place: Place) -> None:
    checked = verify(place.folder)
    assert isinstance(checked, VerifiedBundle) and checked.signer == place.key.public.fingerprint
    assert checked.verdict.released and checked.manifest_digest == f"sha256:{files.sha256_bytes(place.original['manifest.json'])}"
    assert set(checked.entries) == set(place.original) - {"model.sig"}
    assert checked.read("audit.json") == place.original["audit.json"]
    assert checked.read("model/model.safetensors") == place.original["model/model.safetensors"]


def content_mutants(data: bytes, rng: np.random.Generator, flips: int) -> Iterator[bytes]:
    """Bit flips at the first, middle and last byte and at random ones; truncations; appended bytes; nothing; all zero."""
    for position in (0, len(data) // 2, len(data) - 1, *rng.integers(0, len(data), flips).tolist()):
        yield data[:position] + bytes([data[position] ^ (1 << int(rng.integers(8)))]) + data[position + 1 :]
    yield from (data[:-1], data[: len(data) // 2], data[1:], b"")
    yield from (data + tail for tail in (b"\n", b" ", b"\0", data))
    yield bytes(len(data))


def test_every_altered_byte_of_every_file_is_refused_and_no_parser_sees_it(
    copy: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = json.loads
    monkeypatch.setattr("json.loads", lambda text, **options: (seen.append(text), real(text, **options))[1])
    rng = np.random.default_rng(1)
    count = 0
    for path, data in place.original.items():
        for mutant in set(content_mutants(data, rng, 60)) - {data}:  # of a short file many are the same
            (copy / path).write_bytes(mutant)
            seen.clear()
            refused(copy)
            count += 1
            # all that may be read is the statement that the trusted key signed
            assert all(text == signed_payload(place.original["model.sig"]) for text in seen), path
        (copy / path).write_bytes(data)
    assert verify(copy).signer
    assert count >= 1_000


def signed_payload(signature: bytes) -> bytes:
    return base64.b64decode(json.JSONDecoder().decode(signature.decode())["dsseEnvelope"]["payload"])


def test_every_single_byte_of_the_signature_file_counts(place: Place) -> None:
    data, trusted = place.original["model.sig"], {place.key.public.fingerprint: place.key.public}
    envelope.open_signed(data, trusted, what="model.sig")
    rng = np.random.default_rng(2)
    for position, bit in enumerate(rng.integers(0, 8, len(data)).tolist()):
        changed = data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]
        with pytest.raises(VerificationError):
            envelope.open_signed(changed, trusted, what="model.sig")
    assert len(data) > 2_000


def test_swapped_renamed_and_deleted_files_are_refused(copy: Path, place: Place) -> None:
    names = list(place.original)
    count = 0
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            if place.original[first] == place.original[second]:
                continue
            (copy / first).write_bytes(place.original[second])
            (copy / second).write_bytes(place.original[first])
            refused(copy)
            (copy / first).write_bytes(place.original[first])
            (copy / second).write_bytes(place.original[second])
            count += 1
    for name in names:
        for target in (None, f"{name}.bak", name.upper() if name.upper() != name else f"{name}x"):
            if target is None:
                (copy / name).unlink()
            else:
                (copy / target).parent.mkdir(exist_ok=True, parents=True)
                (copy / name).rename(copy / target)
            refused(copy)
            if target is not None:
                (copy / target).unlink()
                for parent in (copy / target).parents:
                    if parent != copy and parent.is_relative_to(copy) and not any(parent.iterdir()):
                        parent.rmdir()
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_bytes(place.original[name])
            count += 1
    assert verify(copy).signer and count > 150


ADDED = (
    *("x", "model/x", "evidence/x.json", "attestation/x", "model.sig.sig", "Manifest.json", "MODEL.SIG", "model/Config.json", ".hidden"),
    *("model/.git", ".gitignore", "a\\b", "a:b", "con ", "x.", "a\nb", "a\u202eb", "e\u0301", "model/model\u200b.safetensors", "~$x|y"),
    *("attestations/x.json", "REJECTED.txt", "new/deep/folder/x"),
)


@pytest.mark.parametrize("name", ADDED)
def test_added_files_are_refused_whatever_their_name(copy: Path, name: str) -> None:
    path = copy / name
    path.parent.mkdir(parents=True, exist_ok=True)
    for content in (b"", b"{}"):
        path.write_bytes(content)
        refused(copy)


def test_parts_of_a_bundle_of_another_model_are_refused(place: Place, tmp_path: Path) -> None:
    """One file or several of it, each signed by the same signer in its own place."""
    artifact = fake_artifact(tmp_path / "other" / "artifact", threshold=0.25)
    (artifact.folder / "model.safetensors").write_bytes(bytes(range(255, -1, -1)) * 16)
    made = World(tmp_path / "other", artifact=write_artifact(artifact))
    files.write_json(
        tmp_path / "other" / "evidence" / "quality.json", {"classes": ["<=50K", ">50K"], "confusion": [[11000, 1435], [1000, 2846]]}
    )
    foreign = read_all(made.pack().folder)
    assert set(foreign) == set(place.original)
    differ = [name for name in foreign if foreign[name] != place.original[name]]
    assert {"audit.json", "evidence/quality.json", "model/artifact.json", "model/model.safetensors"} <= set(differ)
    parts = [[name] for name in differ]
    parts += [[name for name in differ if name.startswith(folder)] for folder in ("evidence/", "model/")]
    parts += [["audit.json", "verdict.json"], [name for name in differ if name != "model.sig"], ["manifest.json", "model.sig"]]
    for number, names in enumerate(parts):
        folder = Path(shutil.copytree(place.folder, tmp_path / f"mixed-{number}"))
        for name in names:
            (folder / name).write_bytes(foreign[name])
        refused(folder)
        if names == ["audit.json", "verdict.json"]:
            reseal(folder, place.key)  # and no signer makes it true
            refused(folder)
    assert len(parts) >= 10


def test_names_that_are_no_text_are_refused(copy: Path) -> None:
    with open(os.fsencode(copy) + b"/\xff\xfe", "wb"):
        pass
    refused(copy)


@pytest.mark.parametrize("name", ["empty", "model/empty", "attestations"])
def test_empty_folders_are_refused(copy: Path, name: str) -> None:
    (copy / name).mkdir()
    assert "empty folder" in refused(copy)


def test_links_and_special_files_are_refused_everywhere(copy: Path, place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    count = 0
    for name, data in place.original.items():
        path = copy / name
        outside.write_bytes(data)
        for make in (
            lambda path: path.symlink_to(outside),
            lambda path: path.hardlink_to(outside),
            lambda path: os.mkfifo(path),
            lambda path: path.mkdir(),
            lambda path: path.symlink_to("/dev/zero"),
            lambda path: path.symlink_to("nowhere"),
        ):
            path.unlink()
            make(path)
            refused(copy)
            count += 1
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(data)
    for folder in ("model", "evidence"):
        (copy / folder).rename(tmp_path / folder)
        (copy / folder).symlink_to(tmp_path / folder)
        refused(copy)
        (copy / folder).unlink()
        (tmp_path / folder).rename(copy / folder)
        count += 1
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(copy)  # the name of a socket is short
        try:
            server.bind("s")
        finally:
            os.chdir(before)
        refused(copy)
    (copy / "s").unlink()
    assert verify(copy).signer and count > 100


def test_a_stranger_who_signs_again_is_refused(copy: Path, place: Place, tmp_path: Path) -> None:
    (copy / "model" / "model.safetensors").write_bytes(b"another model")
    reseal(copy, place.stranger)
    assert "not trusted" in refused(copy)
    (copy / "model.sig").write_bytes(
        (copy / "model.sig").read_bytes().replace(place.stranger.public.fingerprint.encode(), place.key.public.fingerprint.encode())
    )
    assert "does not hold" in refused(copy)


def test_trust_can_be_named_and_then_nobody_else_is_trusted(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, mine = tmp_path / "theirs.pub", tmp_path / "mine.pub"
    theirs.write_bytes(place.stranger.public.pem)
    mine.write_bytes(place.key.public.pem)
    assert "not trusted" in refused(place.folder, trust=theirs)
    assert verify(place.folder, trust=mine).signer_name == "mine"
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "empty"))
    assert "no signer is trusted" in refused(place.folder)
    assert verify(place.folder, trust=tmp_path).signer == place.key.public.fingerprint
    with pytest.raises(UsageError):
        verify(place.folder, trust=tmp_path / "missing.pub")


def test_a_key_found_in_the_bundle_is_never_trusted(copy: Path, place: Place) -> None:
    (copy / "evidence" / "key.pub").write_bytes(place.stranger.public.pem)
    reseal(copy, place.stranger)
    assert "inside the bundle" in refused(copy, trust=copy / "evidence" / "key.pub")
    assert "inside the bundle" in refused(copy, trust=copy / "evidence")


def test_signatures_in_any_other_form_are_refused(copy: Path, place: Place) -> None:
    data = place.original["model.sig"]
    parsed = json.loads(data)
    r, s = decode_dss_signature(base64.b64decode(parsed["dsseEnvelope"]["signatures"][0]["sig"]))

    def with_signature(value: bytes) -> bytes:
        text = re.sub(rb'"sig":"[^"]*"', b'"sig":"' + base64.b64encode(value) + b'"', data)
        assert text != data
        return text

    assert s <= ORDER // 2
    forms = {
        "high s": with_signature(encode_dss_signature(r, ORDER - s)),
        "r + order": with_signature(encode_dss_signature(r + ORDER, s)),
        "zero": with_signature(encode_dss_signature(0, 0)),
        "negative": with_signature(b"\x30\x06\x02\x01\xff\x02\x01\xff"),
        "raw": with_signature(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        "der tail": with_signature(encode_dss_signature(r, s) + b"\0"),
        "empty": re.sub(rb'"sig":"[^"]*"', b'"sig":""', data),
        "indented": json.dumps(parsed, indent=1).encode(),
        "other order": json.dumps(dict(reversed(parsed.items())), separators=(",", ":")).encode(),
        "byte order mark": b"\xef\xbb\xbf" + data,
        "key twice": data[:-1] + b',"mediaType":"x"}',
        "no hint": data.replace(place.key.public.fingerprint.encode(), b""),
        "other algorithm": data.replace(b'"keyid":""', b'"keyid":"HS256"'),
        "other payload type": data.replace(b"vnd.in-toto", b"vnd.none"),
        "old media type": data.replace(b"v0.3", b"v0.1"),
        "two signatures": data.replace(b'"signatures":[', b'"signatures":[{"keyid":"","sig":"MEUC"},'),
        "unsigned": data.replace(b'"signatures":[{', b'"signatures":[],"x":[{'),
        "other bundle": (place.other / "model.sig").read_bytes(),
        "huge": data + b" " * 9_000_000,
    }
    for name, form in forms.items():
        assert form != data, name
        (copy / "model.sig").write_bytes(form)
        refused(copy)


def test_a_weaker_hash_or_another_key_kind_is_refused(copy: Path, place: Place) -> None:
    payload = signed_payload(place.original["model.sig"])
    encoded = envelope._encoding(payload)
    for algorithm in (hashes.SHA224(), hashes.SHA384(), hashes.SHA512()):
        r, s = decode_dss_signature(place.key.key.sign(encoded, ec.ECDSA(algorithm)))
        (copy / "model.sig").write_bytes(
            envelope._render(payload, encode_dss_signature(r, min(s, ORDER - s)), place.key.public.fingerprint)
        )
        refused(copy)
    pae_of_old_releases = f"DSSEV1 28 application/vnd.in-toto+json {len(payload)} {payload!r}".encode()
    r, s = decode_dss_signature(place.key.key.sign(pae_of_old_releases, ec.ECDSA(hashes.SHA256())))
    (copy / "model.sig").write_bytes(envelope._render(payload, encode_dss_signature(r, min(s, ORDER - s)), place.key.public.fingerprint))
    refused(copy)


def test_statements_of_another_form_are_refused_even_from_a_trusted_key(copy: Path, place: Place) -> None:
    statement = json.loads(signed_payload(place.original["model.sig"]))
    resources = statement["predicate"]["resources"]
    for change in (
        {"subject": []},
        {"predicateType": "https://model_signing/Digests/v0.1"},
        {"predicate": {}},
        {"predicate": {**statement["predicate"], "resources": resources[:-1]}},
        {"predicate": {**statement["predicate"], "resources": [*resources, resources[0]]}},
        {"predicate": {**statement["predicate"], "resources": [{**item, "algorithm": "blake2"} for item in resources]}},
        {"predicate": {**statement["predicate"], "resources": [{**item, "digest": ""} for item in resources]}},
        {"predicate": {**statement["predicate"], "serialization": {"allow_symlinks": True}}},
        {"predicate": {**statement["predicate"], "resources": [None]}},
        {"extra": 1},
    ):
        (copy / "model.sig").write_bytes(sign({**statement, **change}, place.key))
        refused(copy)


def test_a_manifest_that_disagrees_is_refused_even_from_a_trusted_key(copy: Path, place: Place) -> None:
    manifest = json.loads(place.original["manifest.json"])
    for change in (
        {"schema": "trustbase/manifest/2"},
        {"files": manifest["files"][:-1]},
        {"files": [{**item, "bytes": item["bytes"] + 1} for item in manifest["files"]]},
        {"files": [*manifest["files"], {"path": "../x", "sha256": "0" * 64, "bytes": 0}]},
        {"more": True},
    ):
        (copy / "manifest.json").write_bytes(files.canonical_json({**manifest, **change}))
        entries = hash_files(copy, [path for path in place.original if path != "model.sig"]).entries
        (copy / "model.sig").write_bytes(sign(signed_statement(entries), place.key))
        refused(copy)


LIES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "released": ("verdict.json", lambda v: v.update(released=False)),
    "no gates": ("verdict.json", lambda v: v.update(gates=[])),
    "other value": ("verdict.json", lambda v: v["gates"][0].update(value=0.99)),
    "no looks": ("verdict.json", lambda v: v.update(test_looks=0)),
    "looks of another kind": ("verdict.json", lambda v: v.update(test_looks=True)),
    "newer verdict": ("verdict.json", lambda v: v.update(schema="trustbase/verdict/2")),
    "looser policy": ("policy.json", lambda p: p["gates"][0].update(limit=0.1, written="0.1")),
    "no policy": ("policy.json", lambda p: p.update(gates=[])),
    "newer policy": ("policy.json", lambda p: p.update(schema="trustbase/policy/2")),
    "another model": ("audit.json", lambda a: a["model"].update(digest="sha256:" + "0" * 64)),
    "another policy": ("audit.json", lambda a: a["policy"].update(digest="sha256:" + "0" * 64)),
    "limits came later": ("audit.json", lambda a: a["policy"].update(set_before_measuring=False)),
    "straddling": ("audit.json", lambda a: a["findings"][0].update(low=0.5)),
    "not measured": ("audit.json", lambda a: a["findings"][0].update(status="failed", reason="x")),
    "gone": ("audit.json", lambda a: a["findings"].pop(0)),
    "twice": ("audit.json", lambda a: a["findings"].append(a["findings"][0])),
    "upside down": ("audit.json", lambda a: a["findings"][0].update(low=0.9, high=0.8)),
    "newer audit": ("audit.json", lambda a: a.update(schema="trustbase/audit/2")),
    "newer artefact": ("model/artifact.json", lambda a: a.update(schema="trustbase/artifact/2")),
    "decision": ("model/artifact.json", lambda a: a["decision"].update(threshold=0.01)),
    "a list": ("audit.json", lambda a: [a]),
}


@pytest.mark.parametrize("name", LIES)
def test_what_a_trusted_signer_signed_must_still_be_a_release(copy: Path, place: Place, name: str) -> None:
    path, change = LIES[name]
    edit(copy, path, change)
    reseal(copy, place.key)
    refused(copy)


@pytest.mark.parametrize(
    "text", ["{", "null", '{"schema": "trustbase/audit/1", "schema": "x"}', '{"a": NaN}', "[" * 100_000, "\ufeff{}", ""]
)
@pytest.mark.parametrize("path", ["audit.json", "policy.json", "verdict.json", "model/artifact.json"])
def test_signed_nonsense_is_refused_without_a_crash(copy: Path, place: Place, path: str, text: str) -> None:
    (copy / path).write_text(text)
    reseal(copy, place.key)
    refused(copy)


@pytest.mark.parametrize("path", ["audit.json", "golden.json", "README.md", "environment.json", "labels.json", "model/artifact.json"])
def test_a_signed_bundle_that_lacks_a_part_is_refused(copy: Path, place: Path, path: str) -> None:
    (copy / path).unlink()
    reseal(copy, place.key)
    assert path in refused(copy)


def test_a_rejected_folder_is_refused_even_when_somebody_signs_it(place: Place, tmp_path: Path) -> None:
    assert "rejected" in refused(place.strict)
    folder = Path(shutil.copytree(place.strict, tmp_path / "signed"))
    reseal(folder, place.key)
    assert "quality.accuracy >= 0.99" in refused(folder)
    (folder / "REJECTED.txt").unlink()
    reseal(folder, place.key)
    refused(folder)


@pytest.mark.parametrize("missing", [["manifest.json"], ["model.sig"], ["manifest.json", "model.sig"]])
def test_a_missing_manifest_or_signature_is_refused(copy: Path, missing: list[str]) -> None:
    for name in missing:
        (copy / name).unlink()
    refused(copy)


def test_what_is_no_folder_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nothing", tmp_path / "empty", place.folder / "manifest.json"):
        refused(path)


def test_attestations_are_signed_statements_about_this_manifest(copy: Path, place: Place, tmp_path: Path) -> None:
    path = attest(copy, {"role": "validator", "decision": "approved", "by": "B. Person"}, name="validation")
    checked = verify(copy)
    (said,) = checked.attestations
    assert said.statement["by"] == "B. Person" and said.signer == place.key.public.fingerprint
    good = path.read_bytes()
    digest = checked.manifest_digest.removeprefix("sha256:")
    bad = {
        "plain": b'{"approved": true}',
        "stranger": sign(attestation_statement(digest, {"a": 1}), place.stranger),
        "other manifest": sign(attestation_statement("0" * 64, {"a": 1}), place.key),
        "other kind": sign({**attestation_statement(digest, {"a": 1}), "predicateType": "x"}, place.key),
        "no statement": sign({**attestation_statement(digest, {}), "predicate": 3}, place.key),
        "the bundle's own signature": (copy / "model.sig").read_bytes(),
        "flipped": good[:-40] + bytes([good[-40] ^ 1]) + good[-39:],
        "empty": b"",
    }
    for content in bad.values():
        path.write_bytes(content)
        refused(copy)
    path.write_bytes(good)
    (copy / "attestations" / "more.txt").write_bytes(b"notes")
    refused(copy)
    (copy / "attestations" / "more.txt").unlink()
    assert len(verify(copy).attestations) == 1
    with pytest.raises(VerificationError):
        attest(copy, {}, name="../x")
    (copy / "model.sig").write_bytes(path.read_bytes())  # an attestation is no signature of a bundle
    refused(copy)


def test_a_change_after_the_check_is_noticed_when_the_model_is_taken(copy: Path) -> None:
    checked = verify(copy)
    with checked.private_model() as model:
        assert (model / "model.safetensors").read_bytes() == (copy / "model" / "model.safetensors").read_bytes()
        assert model.parent.stat().st_mode & 0o777 == 0o700
    assert not model.exists()
    (copy / "model" / "config.json").write_text("{}")
    with pytest.raises(VerificationError, match="changed after"), checked.private_model():
        raise AssertionError("the model was handed out")
    (copy / "audit.json").write_text("{}")
    assert checked.read("audit.json") != b"{}"
    with pytest.raises(VerificationError):
        checked.read("nothing.json")


def test_every_file_is_hashed_before_any_content_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.bundle import scan
    from trustbase.bundle import verify as module

    order: list[str] = []
    real_hash, real_check = scan.hash_files, contents.check_contents
    monkeypatch.setattr(module, "hash_files", lambda *a: (order.append("hash"), real_hash(*a))[1])
    monkeypatch.setattr(module, "check_contents", lambda *a: (order.append("read"), real_check(*a))[1])
    verify(place.folder)
    assert order == ["hash", "read"]


def test_verification_is_light_and_loads_no_model_library(place: Place) -> None:
    heavy = ("torch", "transformers", "safetensors", "onnx", "onnxruntime", "sklearn", "pandas")
    code = f"import sys; from trustbase.bundle.verify import verify; verify(sys.argv[1]); print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(place.folder)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
