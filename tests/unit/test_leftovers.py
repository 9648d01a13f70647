"""Parts that killed calls left are cleared by the next call to the same place; those of living processes and of anybody else stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trustbase import files
from trustbase.audit.context import fresh_evidence
from trustbase.errors import UsageError
from trustbase.leftovers import clear_abandoned, held_folder
from trustbase.places import output_folder

AUDIT = ("audit.json", "evidence")
DIES = """
import os, signal, sys
from pathlib import Path
from trustbase.audit.context import fresh_evidence
with fresh_evidence(Path(sys.argv[1])) as evidence:
    evidence.write("quality", {"a": 1})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: Path) -> list[Path]:
    done = subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    return sorted(folder.glob(".*"))


def test_what_a_killed_audit_left_is_cleared_by_the_next_one(tmp_path: Path) -> None:
    [left] = killed(tmp_path)
    assert left.name.startswith(".evidence.") and (left / "quality.json").is_file()
    assert output_folder(tmp_path, AUDIT, "audit.json") == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_run_clears_it_too(tmp_path: Path) -> None:
    assert killed(tmp_path)
    files.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_living_process_holds_stays(tmp_path: Path) -> None:
    with fresh_evidence(tmp_path) as evidence:
        evidence.write("quality", {"a": 1})
        output_folder(tmp_path, AUDIT, "audit.json")
        assert (evidence.folder / "quality.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["evidence"]


def test_what_is_foreign_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    names = [
        ".evidence",
        ".evidence.part",
        ".evidence.mine.part",
        ".evidence.ABCDEFGH.part",
        ".other.abcdefgh.part",
        "evidence.abcdefgh.part",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".evidence.aaaaaaaa.part").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / ".evidence.bbbbbbbb.part")
    before = sorted(tmp_path.rglob("*"))
    clear_abandoned(tmp_path, AUDIT)
    assert sorted(tmp_path.rglob("*")) == before
    clear_abandoned(tmp_path / "nowhere", AUDIT)


def test_a_folder_put_in_place_is_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    def fill(staging: Path) -> None:
        (staging / "a").write_text("a")
        clear_abandoned(tmp_path, ("made",))  # of another call meanwhile
        assert (staging / "a").is_file()

    files.replace_folder(tmp_path / "made", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    with pytest.raises(UsageError), held_folder("made", tmp_path):
        raise UsageError("stopped")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


KILLED = """
import os, signal, sys
from pathlib import Path
from trustbase.bundle.verify import verify
with verify(sys.argv[1], trust=sys.argv[2]).private_model() as model:
    assert (model / "artifact.json").is_file()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_private_copy_of_a_killed_call_is_cleared_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.bundle.verify import verify

    released = Path(__file__).parents[1] / "fixtures" / "bundle-format-1"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    done = subprocess.run([sys.executable, "-c", KILLED, str(released / "bundle"), str(released / "signer.pub")], check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    checked = verify(released / "bundle", trust=released / "signer.pub")
    with checked.private_model() as one, checked.private_model() as other:  # a living call keeps its own
        assert not left.exists() and one != other
        assert all((model / "artifact.json").is_file() for model in (one, other))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_cleared_before_it_was_held_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def cleared_once(**asked: str) -> str:
        made.append(make(**asked))
        if len(made) == 1:
            clear_abandoned(tmp_path, ("made",))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", cleared_once)
    with held_folder("made", tmp_path) as place:
        assert len(made) == 2 and place == Path(made[1]) and place.is_dir()
    assert not list(tmp_path.iterdir())
