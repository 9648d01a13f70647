"""Looks are counted once each, by every process, and none can be lost from the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trustbase.errors import TrustbaseError
from trustbase.gate.ledger import LEDGER_FILE, read_looks, record_look


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def look(data: str = "sha256:d", run: str = "r", policy: str = "p", model: str = "m") -> int:
    return record_look(data, run=run, policy_digest=policy, model_digest=model)


def test_looks_are_counted_by_test_set() -> None:
    assert [look(), look(run="r2"), look(data="sha256:e"), look(model="m2"), look(policy="p2")] == [1, 2, 1, 3, 4]
    assert [entry.sequence for entry in read_looks()] == [1, 2, 3, 4, 5]
    assert len(read_looks("sha256:e")) == 1


def test_the_same_rows_with_another_template_or_group_are_no_unseen_rows() -> None:
    options = {"policy_digest": "p", "model_digest": "m"}
    assert look(data="sha256:old") == 1  # of before rows were told
    assert record_look("sha256:a", rows="sha256:rows", run="r", **options) == 1
    assert record_look("sha256:b", rows="sha256:rows", run="r2", **options) == 2
    assert record_look("sha256:c", rows="sha256:others", run="r3", **options) == 1
    assert look(data="sha256:a", run="r4") == 2 and read_looks()[1].rows == "sha256:rows"


def test_positions_name_rows_whatever_is_made_of_them() -> None:
    from trustbase.data.digest import digest_positions

    digest = digest_positions("sha256:f", [3, 1], ["b", "a"])
    assert digest == digest_positions("sha256:f", [1, 3], ["a", "b"])
    others = [("sha256:g", [1, 3], ["a", "b"]), ("sha256:f", [1, 2], ["a", "b"]), ("sha256:f", [1, 3], ["b", "a"])]
    assert digest not in {digest_positions(*other) for other in others}


def test_a_look_recorded_again_after_a_crash_counts_once(home: Path) -> None:
    assert [look(), look(run="r2"), look(), look()] == [1, 2, 2, 2]
    assert len((home / LEDGER_FILE).read_text().splitlines()) == 2


def test_a_torn_last_line_is_cut_off(home: Path) -> None:
    look()
    with (home / LEDGER_FILE).open("ab") as stream:
        stream.write(b'{"schema":"trustbase/look/1","sequ')
    assert look(run="r2") == 2
    assert [entry.run for entry in read_looks()] == ["r", "r2"]


@pytest.mark.parametrize("damage", ["change", "remove", "swap", "insert", "garbage", "schema"])
def test_an_altered_ledger_is_refused(home: Path, damage: str) -> None:
    for number in range(4):
        look(run=f"r{number}")
    path = home / LEDGER_FILE
    lines = path.read_text().splitlines()
    if damage == "change":
        lines[1] = lines[1].replace('"r1"', '"rX"')
    elif damage == "remove":
        del lines[1]
    elif damage == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif damage == "insert":
        lines.insert(1, lines[0])
    elif damage == "garbage":
        lines[2] = "[]"
    else:
        lines[2] = json.dumps({**json.loads(lines[2]), "schema": "trustbase/look/2"})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrustbaseError, match="altered"):
        look(run="new")
    assert path.read_text().splitlines() == lines


def test_eight_processes_lose_no_look(home: Path) -> None:
    code = (
        "import sys; from trustbase.gate.ledger import record_look\n"
        "for i in range(50): record_look('sha256:d', run=f'{sys.argv[1]}-{i}', policy_digest='p', model_digest='m')"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(8)]
    assert [process.wait(60) for process in running] == [0] * 8
    looks = read_looks()
    assert [entry.sequence for entry in looks] == list(range(1, 401))
    assert len({entry.run for entry in looks}) == 400


def test_a_ledger_that_cannot_be_written_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look()
    before = (home / LEDGER_FILE).read_bytes()
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(TrustbaseError, match="could not be recorded"):
        look(run="r2")
    assert (home / LEDGER_FILE).read_bytes() == before
