"""Files of plain models that are damaged at random, as those of a run folder that nobody signed may be: refused, or asked and answered."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from plain_world import TEMPLATE, labels, learned, table_rows
from trustbase.data.cells import inputs_of
from trustbase.errors import TrustbaseError
from trustbase.model.artifact import read_artifact, write_artifact
from trustbase.model.plain.store import read_plain
from trustbase.model.predict import Predictor
from trustbase.outputs.answers.base import decided
from trustbase.recipe.lookup import PLAIN_MODELS
from trustbase.records import ArtifactInfo, Decision

MUTATIONS = 120  # of each kind of model
MOST_SECONDS, MOST_BYTES = 2.0, 200_000_000
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 0.5, 1e9, 10**9, 10**30, 1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
    *("", "x", "words", "characters", "linear", "tree", "\0", "9" * 5000, "\U0001f600" * 100, [], {}, [[]], [1.0], ["a", "a"], [None]),
    [[[[[[[[]]]]]]]],
]
NUMBERS: list[Any] = [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e31, 1e9, -1, 0, 0.5, 2**31 - 1, -(2**31), 254]


@dataclass(frozen=True)
class Made:
    folder: Path
    inputs: list[str]
    scores: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    root, rows, others = tmp_path_factory.mktemp("plain"), table_rows(300, 0, classes=3), table_rows(100, 1, classes=3)
    found = {}
    for kind in PLAIN_MODELS:
        options = {"rounds": 5} if kind == "boosting" else {}
        folder = learned(kind, rows, others, root / kind, classes=3, **options).folder
        columns = read_plain(folder).columns
        info = ArtifactInfo(
            folder,
            "",
            "text-classification",
            "classes",
            labels(3),
            "plain",
            "fp32",
            0,
            kind,
            "1",
            TEMPLATE.source,
            Decision(),
            columns=columns,
        )
        write_artifact(info)
        inputs = list(inputs_of(others, columns))
        found[kind] = Made(folder, inputs, answers(folder, inputs))
    return found


def answers(folder: Path, inputs: list[str]) -> np.ndarray[Any, Any]:
    with Predictor.open(folder) as predictor:
        return predictor.class_scores(inputs)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in items for place in places(each, (*at, key)))]


def json_changed(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(["plain.json", "plain.json", "artifact.json"])
    said = json.loads(path.read_text())
    at = rng.choice(places(said)[1:])
    inner = said
    for key in at[:-1]:
        inner = inner[key]
    way = rng.randrange(4)
    if way == 0:
        del inner[at[-1]]
    elif way == 1 and isinstance(inner, list):
        inner.insert(at[-1], copy.deepcopy(inner[at[-1]]))
    else:
        inner[at[-1]] = rng.choice([*ODD, copy.deepcopy(said)])
    path.write_text(json.dumps(said))


def numbers_changed(folder: Path, rng: random.Random) -> None:
    path = folder / "plain.safetensors"
    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    array, way = arrays[name].copy(), rng.randrange(7)
    if way == 0:
        array = array.astype(rng.choice(["float64", "float32", "float16", "int64", "int32", "uint8", "bool", "uint64"]))
    elif way == 1:
        array = rng.choice([array[:-1], array[:0], array[None], array.ravel(), array.reshape(-1, 1), np.concatenate([array] * 2)])
    elif way == 2:
        del arrays[name]
    elif way == 3:
        arrays[name + "x"] = array
    elif array.size:
        place = rng.randrange(array.size)
        with np.errstate(invalid="ignore"):
            array.reshape(-1)[place] = np.array(rng.choice(NUMBERS)).astype(array.dtype)
    if way != 2:
        arrays[name] = array
    path.write_bytes(save({each: np.ascontiguousarray(value) for each, value in arrays.items()}))


def bytes_changed(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(["plain.json", "plain.safetensors", "plain.safetensors"])
    data, way = bytearray(path.read_bytes()), rng.randrange(5)
    if way == 0:
        data = data[: rng.randrange(len(data))]
    elif way == 1:
        data[:8] = rng.choice([2**63 - 1, 2**40, 10**8, 0, len(data)]).to_bytes(8, "little")
    elif way == 2:
        data += rng.randbytes(rng.randrange(1, 5000))
    else:
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(min(len(data), 2000))] = rng.randrange(256)
    path.write_bytes(data)


def file_changed(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(["plain.json", "plain.safetensors", "artifact.json"])
    path.unlink()
    if (way := rng.randrange(4)) == 0:
        path.mkdir()
    elif way == 1:
        os.mkfifo(path)
    elif way == 2:
        path.write_bytes(b"[" * 200_000)


WAYS: list[Callable[[Path, random.Random], None]] = [
    *[json_changed] * 4,
    *[numbers_changed] * 4,
    bytes_changed,
    bytes_changed,
    file_changed,
]


def outcome(folder: Path, made: Made) -> str:
    """`refused`, or `answered`: with a probability of each class for each row."""
    try:
        info = read_artifact(folder)
        scores = answers(folder, made.inputs)
    except TrustbaseError as error:
        assert error.hint and len(str(error)) < 3000, str(error)
        return "refused"
    assert scores.shape == made.scores.shape and np.isfinite(scores).all() and np.allclose(scores.sum(axis=1), 1)
    assert decided(scores, info.labels, info.decision, info.answer_kind).max() < len(info.labels.names)
    return "answered"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", PLAIN_MODELS)
def test_damaged_files_are_refused_or_answer(kind: str, made: dict[str, Made], tmp_path: Path) -> None:
    found = []
    for seed in range(MUTATIONS):
        rng, folder = random.Random(f"{kind} {seed}"), tmp_path / str(seed)
        shutil.copytree(made[kind].folder, folder)
        way = rng.choice(WAYS)
        way(folder, rng)
        tracemalloc.start()
        began = time.process_time()  # others may use the processor
        try:
            found.append(outcome(folder, made[kind]))
        except Exception as error:
            raise AssertionError(f"mutation {seed} of {kind} by {way.__name__}: {error!r}") from error
        finally:
            seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert seconds < MOST_SECONDS and peak < MOST_BYTES, f"mutation {seed} of {kind} by {way.__name__}: {seconds:.1f} s, {peak:,} bytes"
    assert found.count("refused") > MUTATIONS / 2 and found.count("answered") > MUTATIONS / 20
