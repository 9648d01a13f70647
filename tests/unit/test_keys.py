"""Which key signs, whom a user trusts, and what is no key."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from trustbase.bundle.keys import KEY_VARIABLE, signing_key, trusted_keys
from trustbase.errors import UsageError
from trustbase.home import home as trustbase_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return tmp_path / "home"


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def write(path: Path, key: Any) -> Path:
    path.write_bytes(pem(key))
    path.chmod(0o600)
    return path


def p256() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def test_the_own_key_is_made_once_and_trusted(home: Path) -> None:
    notes: list[dict[str, Any]] = []
    first = signing_key(emit=lambda event, /, **fields: notes.append({"event": event, **fields}))
    assert stat.S_IMODE((home / "signing.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert list(trusted_keys()) == [first.public.fingerprint] == [signing_key().public.fingerprint]
    assert first.public.fingerprint == hashlib.sha256((home / "trusted" / "own.pub").read_bytes()).hexdigest()
    assert len(notes) == 1 and "signing.key" in notes[0]["text"]
    assert "PRIVATE" not in repr(first) + str(notes)


def test_processes_that_start_together_make_one_key(home: Path) -> None:
    code = "from trustbase.bundle.keys import signing_key; print(signing_key().public.fingerprint)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_a_named_key_comes_before_the_variable_and_the_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = write(tmp_path / "one.pem", p256()), write(tmp_path / "two.pem", p256())
    monkeypatch.setenv(KEY_VARIABLE, str(two))
    named, variable = signing_key(one), signing_key()
    monkeypatch.setenv(KEY_VARIABLE, one.read_text())
    assert signing_key().public.fingerprint == named.public.fingerprint != variable.public.fingerprint
    assert not (tmp_path / "home").exists()  # no own key was made, and using a key does not make it trusted
    assert trusted_keys() == {}


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    key = write(tmp_path / "key.pem", p256())
    key.chmod(0o644)
    warnings: list[str] = []
    signing_key(key, emit=lambda event, /, **fields: warnings.append(fields["text"]))
    assert len(warnings) == 1 and "chmod 600" in warnings[0]


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "p384", "public", "garbage", "encrypted", "missing", "folder", "huge"])
def test_what_is_no_signing_key_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.pem"
    made = {
        "rsa": lambda: pem(rsa.generate_private_key(65537, 2048)),
        "ed25519": lambda: pem(ed25519.Ed25519PrivateKey.generate()),
        "p384": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
        "public": lambda: p256().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "garbage": lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "encrypted": lambda: pem(p256(), b"secret"),
        "huge": lambda: b"x" * 100_000,
    }
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(made[kind]())
    with pytest.raises(UsageError) as caught:
        signing_key(path)
    assert "key" in str(caught.value) and "AAAA" not in str(caught.value)


def test_trust_names_a_file_or_a_folder(tmp_path: Path) -> None:
    one, two = signing_key(write(tmp_path / "a.pem", p256())).public, signing_key(write(tmp_path / "b.pem", p256())).public
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "a.pub").write_bytes(one.pem)
    (folder / "b.pub").write_bytes(two.pem)
    (folder / "notes.txt").write_text("not a key")
    assert set(trusted_keys(folder)) == {one.fingerprint, two.fingerprint}
    assert set(trusted_keys(folder / "a.pub")) == {one.fingerprint}


@pytest.mark.parametrize("content", [None, b"nothing", b"private"])
def test_trust_in_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "who.pub"
    if content is not None:
        path.write_bytes(pem(p256()) if content == b"private" else content)
    with pytest.raises(UsageError):
        trusted_keys(path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError):
        trusted_keys(empty)


def test_home_is_only_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trustbase_home() == Path(os.environ["TRUSTBASE_HOME"]) and not trustbase_home().exists()
    monkeypatch.delenv("TRUSTBASE_HOME")
    assert trustbase_home().name == "trustbase"
