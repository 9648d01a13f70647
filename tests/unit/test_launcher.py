"""Processes that a launcher started: the first one makes the journey, the others join it where it trains, and end with it."""

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest
from several import together
from test_spread import toy
from train_kit import Log

from trustbase.errors import FirstProcessError, TrainingError, TrustbaseError, UsageError
from trustbase.train.cluster import ClusterOptions
from trustbase.train.launcher import Launched, follows, hidden, launched, refuse_launchers
from trustbase.train.on_launcher import Crew, led
from trustbase.train.spread import spread

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def environment(monkeypatch):
    """Sets what a launcher would; without an argument nothing is said."""

    def say(**said):
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        for name, value in said.items():
            monkeypatch.setenv(name, value)

    say()
    return say


def test_what_a_launcher_says_is_read_or_refused(environment):
    assert launched() is None and not follows()
    environment(**{**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"})
    assert launched() is None and not follows()
    environment(**TORCHRUN)
    assert launched() == Launched(1, 2, 1, 2) and follows() and not launched().first
    environment(WORLD_SIZE="2")
    with pytest.raises(UsageError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"):
        launched()
    environment(**{**TORCHRUN, "RANK": "first"})
    with pytest.raises(UsageError, match="must be whole, got RANK=first"):
        launched()


def test_what_one_process_does_is_refused_by_name(environment):
    refuse_launchers("trustbase audit")
    environment(**TORCHRUN)
    with pytest.raises(FirstProcessError):  # the first one tells it
        refuse_launchers("trustbase audit")
    environment(**{**TORCHRUN, "RANK": "0"})
    with pytest.raises(UsageError, match="trustbase audit was started 2 times") as error:
        refuse_launchers("trustbase audit")
    assert "once" in error.value.hint


def test_nothing_in_a_run_takes_itself_for_one_of_several(environment):
    environment(**TORCHRUN)
    with hidden():
        assert launched() is None and "RANK" not in os.environ
    assert launched() == Launched(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("options", "said"), [({"workers": 3}, "asks for 3"), ({"ray": "auto"}, "asks for Ray"), ({"gpus": True}, "has none")]
)
def test_a_cluster_that_the_launcher_did_not_make_is_refused(options, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    crew = Crew(Launched(0, 2, 0, 2), None)
    crew.refuse(ClusterOptions(workers=2))
    with pytest.raises(UsageError, match=said):
        crew.refuse(ClusterOptions(**{"workers": 2, **options}))


def test_processes_that_would_share_a_gpu_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UsageError, match="2 processes want a GPU each, and this machine has 1"):
        led(lambda crew: None, Launched(0, 2, 0, 2))


def trainings(rank: int, folder: Path) -> list:
    """Two runs of one program, the first of two trainings, with a while between in which the others wait."""
    return [led(partial(journey, folder=folder / name), launched()) for name in ("one", "two")] + [dict(os.environ).get("RANK")]


def journey(crew, *, folder: Path) -> dict:
    log = Log()
    found = {}
    for name in ("first", "second") if folder.name == "one" else ("first",):
        time.sleep(1.5)  # longer than one look of those that wait
        (folder / name).mkdir(parents=True)
        found[name] = spread(partial(toy, folder=folder / name), ClusterOptions(), folder / name, log, crew)
    return {**found, "steps": len(log.of("step")), "notes": log.of("note"), "here": os.getpid(), "alone": launched() is None}


def alone(rank: int, folder: Path) -> dict:
    return toy(lambda *_, **__: None, folder)


def test_all_trainings_of_all_runs_are_joined_and_every_process_gets_the_result(tmp_path):
    first, second = together(trainings, tmp_path, tmp_path)
    wanted = together(alone, tmp_path / "wanted", tmp_path / "wanted")[0]
    assert (first[2], second[2]) == ("0", "1") and json.dumps(first[:2]) == json.dumps(second[:2])
    one, two = first[:2]
    for found in (one["first"], one["second"], two["first"]):
        assert (found["weights"], found["step"], found["pid"]) == (wanted["weights"], wanted["step"], one["here"])
    assert one["steps"] == 2 * two["steps"] == 2 * wanted["step"] and one["alone"]
    assert "2 processes that a launcher started" in one["notes"][0]["text"]


def failing(rank: int, folder: Path, work: str) -> tuple[Exception, float]:
    """What is raised, and when."""
    try:
        led(partial(failing_journey, folder=folder, work=work), launched())
    except TrustbaseError as error:
        return error, time.monotonic()
    raise AssertionError("nothing was raised")


def failing_journey(crew, *, folder: Path, work: str) -> None:
    if work == "none":
        raise UsageError("the data cannot be read")
    spread({"nan": partial(toy, folder=folder, fail_at=3), "bug": partial(bug, folder=folder)}[work], ClusterOptions(), folder, crew=crew)


def bug(emit, *, folder: Path) -> dict:
    """Something that nobody foresaw, in the second process alone, while the first one counts on it."""
    from trustbase.train.world import joined

    with joined("cpu") as world:
        if world.rank == 1:
            raise MemoryError("no room")
        world.wait()
    return {}


@pytest.mark.parametrize(
    ("work", "kind", "said"),
    [
        ("none", UsageError, "the data cannot be read"),
        ("nan", TrainingError, "the loss of step 3 is not a finite number"),
        ("bug", TrainingError, "process 1: MemoryError: no room"),
    ],
)
def test_an_error_is_told_by_the_first_and_ends_the_others_at_once(tmp_path, work, kind, said):
    (first, when), (second, then) = together(failing, tmp_path, tmp_path, work)
    assert type(first) is kind and said in str(first)
    assert type(second) is FirstProcessError and abs(then - when) < 15
    assert not (tmp_path / ".cluster").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "2"), ("RANK", "-1"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "abc"), ("MASTER_PORT", "99999")]
)
def test_numbers_that_no_launcher_gives_are_refused(environment, name, value):
    environment(**{**TORCHRUN, name: value})
    with pytest.raises(UsageError, match=r"must be whole|cannot be a launcher's numbers") as error:
        launched()
    assert f"{name}={value}" in str(error.value)
