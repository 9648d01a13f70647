"""Power lost at any moment: what somebody was told is safe is there afterwards, and nothing half-written is taken for whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from power_loss import Disk, after_power_loss, watched
from safetensors.torch import load_file

from trustbase import files
from trustbase.gate.ledger import LEDGER_FILE, read_looks, record_look
from trustbase.train import state
from trustbase.train.state import Progress

DRAWS = int(os.environ.get("TRUSTBASE_POWER_DRAWS", "6"))  # folders that may be left, for each moment; tools/soak.py asks for more


def worlds(disk: Disk, target: Path):
    """Every moment with what was acknowledged, and folders that may be left."""
    for number, (medium, told) in enumerate(disk.moments):
        for draw in range(DRAWS):
            left = target / f"{number}-{draw}"
            after_power_loss(medium, left, np.random.default_rng([number, draw]))
            yield left, told
            shutil.rmtree(left)
    print(f"crash points: {len(disk.moments) * DRAWS}")


def test_the_newest_checkpoint_that_was_told_of_is_there_and_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(40))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    place, wanted = tmp_path / "place", {}
    place.mkdir()
    folder = place / "run" / "checkpoints"  # made by the first save
    with watched(place) as disk:
        for step in range(1, 9):
            parameter.grad = torch.randn(40)
            optimizer.step()
            best = step if step in (2, 5) else None
            state.save(folder, [("w", parameter)], optimizer, Progress(step=step, best_step=best or (2 if step < 5 else 5)), {"of": "this"})
            wanted[step] = parameter.detach().clone()
            disk.tell(step)
    looked_at, resumed_older = 0, 0
    for left, told in worlds(disk, tmp_path / "left"):
        looked_at += 1
        files.sweep(left)
        try:
            path, _ = state.latest(left / "run" / "checkpoints")
        except FileNotFoundError:
            assert told is None, f"step {told} was told of and is lost"
            continue
        step = int(path.name.removeprefix("step-"))
        assert told is None or step >= told, f"step {told} was told of, {step} is there"
        assert torch.equal(load_file(path / "weights.safetensors")["w"], wanted[step])
        again = torch.nn.Parameter(torch.zeros(40))
        assert state.load(path, [("w", again)], torch.optim.AdamW([again]), {"of": "this"}).step == step and torch.equal(
            again, wanted[step]
        )
        resumed_older += told is not None and step > told
    assert looked_at >= 500, looked_at
    assert resumed_older, "no world held a checkpoint that nobody was told of yet, so nothing unsynced was ever kept"


def test_looks_that_were_counted_stay_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("TRUSTBASE_HOME", str(place / "user" / "home"))  # made by the first look
    with watched(place) as disk:
        for look in range(1, 25):
            counted = record_look("sha256:data", run=f"run-{look}", policy_digest=None, model_digest="sha256:model")
            disk.tell(counted)
    looked_at = 0
    for left, told in worlds(disk, tmp_path / "left"):
        looked_at += 1
        monkeypatch.setenv("TRUSTBASE_HOME", str(left / "user" / "home"))
        found = len(read_looks("sha256:data"))
        assert found >= (told or 0), f"{told} looks were counted, {found} are left"
        assert record_look("sha256:data", run="after", policy_digest=None, model_digest=None) == found + 1
    assert looked_at >= 250, looked_at
    assert (place / "user" / "home" / LEDGER_FILE).is_file()


def test_a_file_is_old_or_new_and_new_once_it_was_told(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with watched(place) as disk:
        for number in range(8):
            files.write_json(place / "run" / "verdict.json", {"number": number, "words": "x" * 50})
            disk.tell(number)
    looked_at = 0
    for left, told in worlds(disk, tmp_path / "left"):
        looked_at += 1
        files.sweep(left)
        path = left / "run" / "verdict.json"
        assert told is None or files.read_json(path)["number"] >= told
        assert [each.name for each in left.glob("run/*")] == (["verdict.json"] if path.exists() else [])
    assert looked_at >= 250, looked_at


def test_a_folder_that_is_replaced_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with watched(place) as disk:
        for number in range(6):

            def fill(staging: Path, number: int = number) -> None:
                for name in ("a", "b"):
                    (staging / name).write_text(f"{number}" * 20)
                (staging / "inner").mkdir()
                (staging / "inner" / "c").write_text(f"{number}" * 20)

            files.replace_folder(place / "bundle", fill)
            disk.tell(number)
    looked_at = 0
    for left, told in worlds(disk, tmp_path / "left"):
        looked_at += 1
        files.sweep(left)
        bundle = left / "bundle"
        if told is None and not bundle.exists():
            continue
        contents = {(bundle / name).read_text() for name in ("a", "b", "inner/c")}
        assert len(contents) == 1, f"parts of two releases: {contents}"
        (one,) = contents
        assert len(one) == 20 and (told is None or int(one[0]) >= told)
    assert looked_at >= 250, looked_at


def test_the_disk_finds_a_writer_that_does_not_sync(tmp_path: Path) -> None:
    """Otherwise none of the tests above could fail."""
    place = tmp_path / "place"
    place.mkdir()

    def careless(number: int, *, sync_file: bool, sync_folder: bool) -> None:
        part = place / "part"
        with part.open("wb") as stream:
            stream.write(b"%d" % number * 30)
            if sync_file:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(part, place / "file")
        if sync_folder:
            files.sync_folder(place)

    for ways in ({"sync_file": False, "sync_folder": True}, {"sync_file": True, "sync_folder": False}):
        with watched(place) as disk:
            for number in range(1, 5):
                careless(number, **ways)
                disk.tell(number)
        lost = 0
        for left, told in worlds(disk, tmp_path / f"left-{ways['sync_file']}"):
            path = left / "file"
            found = path.read_bytes() if path.exists() else b""
            lost += told is not None and found != b"%d" % told * 30
        assert lost, ways
        (place / "file").unlink()
