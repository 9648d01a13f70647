"""The model inside a bundle is that bundle's: it is not opened past a bundle that does not hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundles import World

from trustbase.bundle.layout import bundle_around
from trustbase.bundle.subject import open_subject
from trustbase.errors import UsageError, VerificationError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)


def test_the_model_in_a_bundle_is_audited_as_that_bundle(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    model = world.pack().folder / "model"
    with open_subject(model) as (info, policy):
        assert policy == world.policy and not info.folder.is_relative_to(tmp_path / "run")


@pytest.mark.parametrize("altered", ["model/model.safetensors", "policy.json", "README.md"])
@pytest.mark.parametrize("gone", [(), ("model.sig",), ("manifest.json",)])
def test_the_model_in_a_bundle_that_does_not_hold_is_not_opened(tmp_path: Path, altered: str, gone: tuple[str, ...]) -> None:
    bundle = World(tmp_path / "run").pack().folder
    (bundle / altered).write_bytes((bundle / altered).read_bytes() + b" ")
    for name in gone:
        (bundle / name).unlink()
    (tmp_path / "link").symlink_to(bundle / "model")
    for name in (bundle / "model", tmp_path / "link"):
        with pytest.raises(VerificationError), open_subject(name):
            pass


def test_other_folders_of_that_name_belong_to_no_bundle(tmp_path: Path) -> None:
    rejected = World(tmp_path / "run", gates={"quality.accuracy": ">= 0.99"}).pack().folder
    with open_subject(rejected / "model") as (info, policy):
        assert policy is None and info.folder == rejected / "model"
    World(tmp_path / "alone").artifact.folder.rename(tmp_path / "model")
    assert bundle_around(tmp_path / "model") is None and bundle_around(rejected / "evidence") is None


@pytest.mark.parametrize("stage", ["", "stage: finetune\n"])
def test_a_run_without_an_artefact_is_not_asked_by_what_it_has_trained(tmp_path: Path, tiny_folder: Path, stage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_folder, run / "checkpoints" / "trained")
    (run / "stages").mkdir()
    (run / "recipe.resolved.yaml").write_text(f"{stage}data: {{}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is a run that has no artefact") as told, open_subject(run):
        pass
    assert "goes on where it stopped" in told.value.hint
