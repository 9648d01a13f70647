"""A run's memory: what is computed once, what is refused, what is mended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trustbase import files
from trustbase.errors import StaleRunError, TrustbaseError, UsageError
from trustbase.events import RunLog
from trustbase.releasing import _run_id
from trustbase.stages import Stages, locked


def stages(folder: Path, **options: Any) -> Stages:
    folder.mkdir(parents=True, exist_ok=True)
    return Stages(folder, RunLog(None), **options)


def step(run: Stages, name: str, inputs: Mapping[str, Any], content: str = "x", **options: Any) -> dict[str, Any]:
    def compute() -> dict[str, Any]:
        files.write_text(run.folder / f"{name}.txt", content)
        return {"content": content}

    return run.run(name, inputs=inputs, code=("gate",), outputs=[f"{name}.txt"], compute=compute, **options)


def test_the_same_inputs_are_computed_once(tmp_path: Path) -> None:
    step(stages(tmp_path), "a", {"n": 1})
    again = stages(tmp_path)
    assert step(again, "a", {"n": 1}, "other") == {"content": "x"}
    assert again.computed == [] and (tmp_path / "a.txt").read_text() == "x"


def test_changed_inputs_are_refused_and_forced_ones_recorded(tmp_path: Path) -> None:
    step(stages(tmp_path), "a", {"n": 1})
    with pytest.raises(StaleRunError, match="n changed"):
        step(stages(tmp_path), "a", {"n": 2})
    forced = stages(tmp_path, force=True)
    assert step(forced, "a", {"n": 2}, "y") == {"content": "y"}
    assert files.read_json(tmp_path / "stages" / "a.json")["forced"] is True


def test_missing_or_altered_outputs_are_computed_anew(tmp_path: Path) -> None:
    step(stages(tmp_path), "a", {"n": 1})
    (tmp_path / "a.txt").write_text("tampered")
    repaired = stages(tmp_path)
    step(repaired, "a", {"n": 1})
    assert repaired.computed == ["a"] and (tmp_path / "a.txt").read_text() == "x"


def test_a_repair_carries_on_downstream_without_force(tmp_path: Path) -> None:
    def journey(content: str) -> Stages:
        run = stages(tmp_path)
        result = step(run, "a", {"n": 1}, content)
        step(run, "b", {"above": result["content"]}, f"b of {result['content']}")
        return run

    journey("first")
    (tmp_path / "a.txt").unlink()
    assert journey("second").computed == ["a", "b"]
    assert (tmp_path / "b.txt").read_text() == "b of second"


def test_wishes_may_be_mended_until_something_firm_stands_on_them(tmp_path: Path) -> None:
    step(stages(tmp_path), "wishes", {"base": "bsae"}, firm_after="train")
    mended = stages(tmp_path)
    step(mended, "wishes", {"base": "base"}, firm_after="train")
    step(mended, "train", {"n": 1})
    with pytest.raises(StaleRunError, match="base changed"):
        step(stages(tmp_path), "wishes", {"base": "another"}, firm_after="train")


def test_another_runs_stage_is_taken_when_its_inputs_agree(tmp_path: Path) -> None:
    step(stages(tmp_path / "one"), "a", {"n": 1})
    other = stages(tmp_path / "two", reuse=tmp_path / "one")
    step(other, "a", {"n": 1}, "not computed")
    assert other.taken == ["a"] and (tmp_path / "two" / "a.txt").read_text() == "x"
    different = stages(tmp_path / "three", reuse=tmp_path / "one")
    step(different, "a", {"n": 2}, "computed")
    assert different.computed == ["a"]


RECORD = {"stage": "a", "key": "k", "inputs": {}, "started": "now", "finished": True, "result": {}, "outputs": {}}
BROKEN = [
    *("{broken", "", "[]", "{}", "[" * 100_000 + "]" * 100_000),
    *(json.dumps({**RECORD, key: junk}) for key in ("inputs", "finished", "result", "outputs") for junk in (5, [])),
    *(json.dumps({name: value for name, value in RECORD.items() if name != key}) for key in ("result", "outputs", "inputs")),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_record_names_its_file_and_the_next_step(tmp_path: Path, content: str) -> None:
    step(stages(tmp_path), "a", {"n": 1})
    (tmp_path / "stages" / "a.json").write_text(content)
    with pytest.raises(TrustbaseError, match=r"a\.json cannot be read.*\n?.*remove that file"):
        step(stages(tmp_path), "a", {"n": 1})


def test_an_interrupted_stage_refuses_other_inputs(tmp_path: Path) -> None:
    run = stages(tmp_path)

    def stop() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run("a", inputs={"n": 1}, code=("gate",), outputs=[], compute=stop)
    with pytest.raises(StaleRunError):
        step(stages(tmp_path), "a", {"n": 2})
    assert step(stages(tmp_path), "a", {"n": 1}) == {"content": "x"}


def leftovers(folder: Path) -> None:
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / ".audit.json.abc123.part").write_text("half")
    (folder / ".artifact.abc123.part").mkdir()
    (folder / ".bundle.old").mkdir()
    (folder / ".bundle.old" / "only copy").write_text("whole")
    (folder / ".kept.old").mkdir()
    (folder / "kept").mkdir()


def test_what_a_killed_process_left_is_swept_and_the_last_copy_put_back(tmp_path: Path) -> None:
    leftovers(tmp_path)
    (tmp_path / ".lock").touch()  # which the killed one made before anything else
    with locked(tmp_path):
        assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
        assert (tmp_path / "bundle" / "only copy").read_text() == "whole"


def test_two_processes_do_not_share_a_run_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="another process"), locked(tmp_path):
        pass


@pytest.mark.parametrize("fail_at", ["fill", "rename"])
def test_a_failed_replacement_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: str) -> None:
    target = tmp_path / "place"
    files.replace_folder(target, lambda folder: files.write_text(folder / "a", "old"))
    original: Callable[..., Path] = Path.rename

    def fill(folder: Path) -> None:
        files.write_text(folder / "a", "new")
        if fail_at == "fill":
            raise OSError("no space")

    def rename(self: Path, to: Path) -> Path:
        if fail_at == "rename" and self.name.endswith(".part"):
            raise OSError("no rename")
        return original(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="no "):
        files.replace_folder(target, fill)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_place_of_a_record_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "stages").mkdir()
    make(tmp_path / "stages" / "a.json")
    with pytest.raises(TrustbaseError, match=r"a\.json cannot be read"):
        step(stages(tmp_path), "a", {"n": 1})


def test_a_full_disk_is_told_with_path_bytes_and_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "a.txt":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(TrustbaseError, match=r"(?s)a\.txt: No space left on device \(it takes 1,234 bytes\).*Next: free"):
        step(stages(tmp_path), "a", {"n": 1}, "x" * 1234)
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.setattr(os, "replace", real)
    assert step(stages(tmp_path), "a", {"n": 1}) == {"content": "x"}


def test_a_stage_that_the_system_stops_without_naming_a_file_is_named_itself(tmp_path: Path) -> None:
    def compute() -> dict[str, Any]:
        raise OSError(errno.EFBIG, "File too large")

    with pytest.raises(TrustbaseError, match=r"stage 'card' in .* could not be done: File too large") as caught:
        stages(tmp_path).run("card", inputs={}, code=("gate",), outputs=[], compute=compute)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["file", "z" * 300, "a\0b", "file/below"])
def test_a_run_folder_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(UsageError, match=r"run folder .* cannot be used"), locked(tmp_path / name):
        pass
    assert (tmp_path / "file").read_text() == "somebody's"


def test_a_folder_in_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UsageError, match=r"\.lock"), locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["junk", "", "{}", "[]", '{"id": 5}', "[" * 100_000])
def test_a_damaged_name_of_a_run_is_told_and_found_again_in_its_records(tmp_path: Path, content: str) -> None:
    name = _run_id(tmp_path)
    step(stages(tmp_path), "gate", {"run": name})
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(TrustbaseError, match=r"(?s)run\.json cannot be read.*remove that file"):
        _run_id(tmp_path)
    (tmp_path / "run.json").unlink()
    assert _run_id(tmp_path) == name
