"""What a refusal says, whom a damaged folder of keys trusts, and statements that no bundle could carry."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import World
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trustbase.bundle.verify import attest, verify
from trustbase.errors import UsageError, VerificationError


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)
    return World(tmp_path / "run").pack().folder


def refused(folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(folder)
    assert "verified" not in str(caught.value).lower()
    return str(caught.value)


def test_no_name_puts_the_opposite_word_into_a_refusal(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "Verified"))
    (folder / "verified.txt").write_text("x")
    assert "veri…fied.txt" in refused(folder)
    (folder / "verified.txt").unlink()
    (folder / "VERIFIED").mkdir()
    refused(folder)
    (folder / "model.sig").unlink()
    refused(folder)
    refused(tmp_path / "not verified")


def test_a_rejected_folder_is_said_to_be_rejected_where_nobody_is_trusted(bundle: Path, tmp_path: Path) -> None:
    rejected = World(tmp_path / "no", gates={"quality.accuracy": ">= 0.99"}).pack().folder
    shutil.rmtree(tmp_path / "home")
    assert "was rejected" in refused(rejected)
    assert "no signer is trusted" in refused(bundle)


def test_a_file_that_is_no_key_trusts_nobody_and_stops_nothing(bundle: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "home" / "trusted"
    (trusted / "bad.pub").write_text("nothing")
    told: list[str] = []
    assert verify(bundle, emit=lambda event, /, **fields: told.append(f"{event}: {fields['text']}")).signer
    assert len(told) == 1 and told[0].startswith("warning: ") and "bad.pub" in told[0]
    (trusted / "own.pub").unlink()
    assert "no signer is trusted" in refused(bundle)
    with pytest.raises(UsageError):
        verify(bundle, trust=trusted)  # what was named for this check must be keys


@pytest.mark.parametrize(
    "said",
    [
        {"note": "x" * 8_000_000},
        {"score": float("nan")},
        {"by": "\ud800"},
        {1: "a"},
        {"list": (1, 2)},
        {"what": object()},
        {"big": 10**5000},
    ],
    ids=["large", "nan", "half a character", "key", "tuple", "object", "number"],
)
def test_a_statement_that_would_break_the_bundle_is_never_written(bundle: Path, said: dict[Any, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be an attestation"):
        attest(bundle, said, name="validation")
    assert not (bundle / "attestations").exists() and verify(bundle).signer


def test_a_key_or_a_name_that_would_break_the_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "stranger.pem"
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    with pytest.raises(UsageError, match="not trusted here"):
        attest(bundle, {"by": "B. Person"}, name="validation", key=key)
    attest(bundle, {"by": "A. Person"}, name="validation")
    with pytest.raises(VerificationError, match="cannot name"):
        attest(bundle, {"by": "A. Person"}, name="Validation")
    assert len(verify(bundle).attestations) == 1
