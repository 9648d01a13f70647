"""Parts that are read only when a bundle is used are checked with it: what a signer signed by mistake is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import World
from test_verify import edit, reseal

from trustbase.bundle.keys import signing_key
from trustbase.bundle.verify import verify
from trustbase.errors import VerificationError


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)
    return World(tmp_path / "run").pack().folder


def refused(bundle: Path) -> str:
    reseal(bundle, signing_key())
    with pytest.raises(VerificationError) as caught:
        verify(bundle)
    assert caught.value.exit_code == 4
    return str(caught.value)


@pytest.mark.parametrize("name", ["golden.json", "labels.json", "environment.json"])
@pytest.mark.parametrize("text", ["{}", "[]", "5", "null", '{"schema": "trustbase/golden/2"}', "{"])
def test_parts_that_are_nothing_are_refused(bundle: Path, name: str, text: str) -> None:
    (bundle / name).write_text(text)
    assert name in refused(bundle)


@pytest.mark.parametrize("text", ["{", "- a", "5", "", "data: 5", "\0", "[" * 5000])
def test_a_recipe_that_is_none_is_refused(bundle: Path, text: str) -> None:
    (bundle / "recipe.resolved.yaml").write_text(text)
    assert "recipe.resolved.yaml" in refused(bundle)


@pytest.mark.parametrize(
    "odd",
    [
        {"inputs": []},
        {"inputs": 5},
        {"inputs": [5]},
        {"inputs": [{"row": {"text": 5}, "text": "a", "probabilities": [0.5, 0.5]}]},
        {"inputs": [{"row": {"text": "a"}, "text": "a", "probabilities": [0.5]}]},
        {"inputs": [{"row": {"text": "a"}, "text": "a", "probabilities": [True, 0.5]}]},
        {"tolerance": 1000},
        {"tolerance": "0.1"},
        {"template": None},
    ],
)
def test_golden_outputs_that_cannot_be_repeated_are_refused(bundle: Path, odd: dict[str, object]) -> None:
    edit(bundle, "golden.json", lambda golden: {**golden, **odd})
    assert "golden.json" in refused(bundle)


def test_labels_of_another_model_are_refused(bundle: Path) -> None:
    edit(bundle, "labels.json", lambda labels: {**labels, "names": ["a", "b"]})
    assert "labels.json" in refused(bundle)


def test_a_bundle_that_says_it_was_rejected_is_refused(bundle: Path) -> None:
    reseal(bundle, signing_key())
    assert verify(bundle).signer
    (bundle / "REJECTED.txt").write_text("no")
    assert "REJECTED.txt" in refused(bundle)
