"""Bundles of every released format keep verifying (R16); one folder in `tests/fixtures/` for each format."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trustbase.bundle.layout import MANIFEST_SCHEMA
from trustbase.bundle.pack import read_bundle
from trustbase.bundle.verify import verify
from trustbase.errors import VerificationError

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMATS = sorted(FIXTURES.glob("bundle-format-*"))


def test_the_current_format_is_among_them():
    numbers = [int(folder.name.rpartition("-")[2]) for folder in FORMATS]
    assert numbers == list(range(1, int(MANIFEST_SCHEMA.rpartition("/")[2]) + 1))


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_a_bundle_of_that_format_verifies(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    copied = tmp_path / "bundle"  # a bundle does not depend on where it stands
    shutil.copytree(folder / "bundle", copied)
    checked = verify(copied, trust=folder / "signer.pub")
    assert checked.verdict.released and all(gate.verdict == "pass" for gate in checked.verdict.gates)
    assert read_bundle(copied).folder == copied
    with pytest.raises(VerificationError):
        verify(copied)  # nobody here trusts that signer
    path = copied / "audit.json"
    path.write_bytes(path.read_bytes().replace(b"0.861234", b"0.961234"))
    with pytest.raises(VerificationError):
        verify(copied, trust=folder / "signer.pub")
