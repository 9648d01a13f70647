"""Members of an ensemble taken up again: what was finished is not trained again, and what is damaged or of other inputs is."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from power_loss import after_power_loss, watched
from safetensors.numpy import load_file, save_file

from trustbase import files
from trustbase.model.checkpoint import checkpoint_digest
from trustbase.model.options import AdaptOptions
from trustbase.records import BaseModel, LabelSchema, Split, Trained
from trustbase.train import members
from trustbase.train.members import RECORD, fit_members, member_seed
from trustbase.train.options import TrainOptions

MEMBERS = 3
LABELS = LabelSchema(("no", "yes"), "yes", "yes")


class Training:
    """Stands in for `fit`: weights that its seed and options alone decide, written as a checkpoint is; remembers whom it trained."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seeds: list[int] = []
        patch.setattr(members, "fit", self.fit)

    def fit(self, base: Any, task: Any, labels: Any, *splits: Any, options: TrainOptions, folder: Path, **_: Any) -> Trained:
        self.seeds.append(options.seed)

        def fill(staging: Path) -> None:
            (staging / "config.json").write_text("{}")
            save_file({"w": weights_of(options)}, staging / "model.safetensors")

        files.replace_folder(folder / "trained", fill)
        digest = checkpoint_digest(folder / "trained")
        return Trained(folder / "trained", digest, 10 + options.seed % 7, 2.0, "loss", 0.5, 0.0, {"total_seconds": 1.5})


def weights_of(options: TrainOptions) -> Any:
    return np.random.default_rng([options.seed, options.epochs]).normal(size=8)


def train(folder: Path, *, emit: Any = lambda event, /, **_: None, data: str = "sha256:data", **wishes: Any) -> Trained:
    split = Split("train", ["x"], np.zeros(1, np.int64), {}, pa.table({}), np.arange(1), "made", data)
    base = BaseModel("b", folder, "local", wishes.pop("base", "sha256:base"))
    rest = {"adapt": wishes.pop("adapt", AdaptOptions()), "stride": wishes.pop("stride", None)}
    validation = replace(split, digest=wishes.pop("validation", "sha256:validation"))
    options = TrainOptions(members=MEMBERS, seed=5, **wishes)
    task = SimpleNamespace(answer_kind="classes", name="text-classification")
    return fit_members(base, task, LABELS, split, validation, options=options, folder=folder, emit=emit, **rest)


SEEDS = [member_seed(5, place) for place in range(MEMBERS)]


def test_all_members_are_trained_once_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, told = Training(monkeypatch), []
    made = train(tmp_path / "checkpoints", emit=lambda event, /, **fields: told.append((event, fields["member"])))
    assert training.seeds == SEEDS and SEEDS[0] == 5 and told == [("note", 0), ("note", 1), ("note", 2)]
    assert [member.folder for member in made.members] == [tmp_path / "checkpoints" / f"member-{place}" / "trained" for place in range(3)]
    assert [member.facts["seed"] for member in made.members] == SEEDS
    assert (made.steps, made.epochs, made.facts) == (
        sum(10 + seed % 7 for seed in SEEDS),
        2.0,
        {"total_seconds": 4.5, "seed": 5, "members": 3},
    )
    again = train(tmp_path / "checkpoints")
    assert again == made and training.seeds == SEEDS, "a finished member was trained again"


def test_a_damaged_or_unfinished_member_alone_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, folder = Training(monkeypatch), tmp_path / "checkpoints"
    made = train(folder)
    first, second, third = (folder / f"member-{place}" for place in range(3))
    path = second / "trained" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (third / RECORD).unlink()
    assert train(folder) == made and training.seeds[3:] == SEEDS[1:]
    shutil.rmtree(first / "trained")
    (second / RECORD).write_text("{")
    assert train(folder) == made and training.seeds[5:] == SEEDS[:2]
    (second / RECORD).write_text((first / RECORD).read_text())  # another member's
    assert train(folder) == made and training.seeds[7:] == SEEDS[1:2]


@pytest.mark.parametrize(
    "other",
    [
        {"data": "sha256:other"},
        {"validation": "sha256:other"},
        {"base": "sha256:other"},
        {"epochs": 4},
        {"stride": 8},
        {"adapt": AdaptOptions.model_validate("frozen")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_members_of_other_inputs_are_trained_again(other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch)
    train(tmp_path)
    train(tmp_path, **other)
    assert training.seeds == 2 * SEEDS


def test_after_power_was_lost_no_half_member_is_taken_and_none_that_was_told_of_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, place = Training(monkeypatch), tmp_path / "place"
    place.mkdir()
    with watched(place) as disk:

        def emit(event: str, /, **fields: Any) -> None:
            disk.tell(fields["member"])  # the note of a member says that those before it are done

        made = train(place / "run" / "checkpoints", emit=emit)
        disk.tell(MEMBERS)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # power is not lost again, and hundreds of syncs take their time
    looked_at, taken = 0, set()
    for number, (medium, told) in enumerate(disk.moments):
        for draw in range(2):
            looked_at += 1
            left, training.seeds = tmp_path / "left", []
            after_power_loss(medium, left, np.random.default_rng([number, draw]))
            files.sweep(left)
            found = train(left / "run" / "checkpoints")
            for member, seed in zip(found.members, SEEDS, strict=True):
                wanted = weights_of(TrainOptions(seed=seed))
                assert np.array_equal(load_file(member.folder / "model.safetensors")["w"], wanted)
            assert found.digest == made.digest
            assert len(training.seeds) <= MEMBERS - (told or 0), f"{told} members were done, {len(training.seeds)} were trained again"
            taken.add(MEMBERS - len(training.seeds))
            shutil.rmtree(left)
    assert looked_at >= 60 and taken == {0, 1, 2, 3}, (looked_at, taken)
