"""Which tasks, adaptations and runtimes go together: runs them all at toy size, and writes docs/reference/cells.md.

    python tools/cells.py --work DIR [--only WORDS …] [--part K/N] [--again failed] [--write]

Each cell is a whole run, from recipe to a bundle that is asked something; what came of it stands in `DIR/outcomes/NAME.json` as soon as
it is over, so that the same command goes on where it was stopped. `--part 1/2` and `--part 2/2` share the work of two processes, `--only`
takes the cells whose names hold all of these words, and `--again` runs again what failed, or `all`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from cells_kit import ROWS, Cell, Outcome, cells, refusal, try_cell, write_worlds  # noqa: E402
from cells_page import PAGE, page  # noqa: E402


def chosen(only: list[str], part: str) -> list[Cell]:
    """The cells to run, the quick ones first; each lot in a seeded order, so that a tool that was stopped has seen something of all."""
    number, parts = (int(word) for word in part.split("/"))
    found = [cell for cell in cells() if all(word in cell.name for word in only)]
    random.Random(0).shuffle(found)
    return sorted(found, key=lambda cell: (cell.beside == "two workers", cell.runtime == "onnx", bool(cell.beside)))[number - 1 :: parts]


def outcome_of(cell: Cell, folder: Path) -> Outcome | None:
    """What came of a cell when it was run; None where it was not."""
    path = folder / f"{cell.name}.json"
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(told["state"], tuple(told["why"]))


def keep(folder: Path, cell: Cell, outcome: Outcome, seconds: float) -> None:
    """Write down what came of a cell, and say so."""
    told = {"state": outcome.state, "why": outcome.why, "seconds": round(seconds, 1)}
    (folder / f"{cell.name}.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    print(f"{outcome.state:8} {seconds:6.1f} s  {cell.name}  {'; '.join(outcome.why)[:200]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--again", choices=["failed", "all"])
    parser.add_argument("--write", action="store_true", help="write the page from what lies in DIR, and run nothing")
    wishes = parser.parse_args()
    folder = wishes.work / "outcomes"
    folder.mkdir(parents=True, exist_ok=True)
    if wishes.write:
        found = {cell: outcome_of(cell, folder) for cell in cells()}
        PAGE.write_text(page(found, ROWS), encoding="utf-8")
        return 0
    os.environ["TRUSTBASE_HOME"] = str(wishes.work / "home")
    place = wishes.work / f"part-{wishes.part.replace('/', '-')}"
    worlds = write_worlds(place / "worlds")
    from huggingface_hub import constants

    constants.HF_HUB_CACHE = str(place / "worlds" / "hub")
    states = {"failed": {"failed"}, "all": {"failed", "works"}}.get(wishes.again, set())
    wanted, failed = chosen(wishes.only, wishes.part), 0
    refused = {cell: outcome for cell in wanted if (outcome := refusal(cell, worlds[cell.task])) is not None}
    for cell, outcome in refused.items():
        keep(folder, cell, outcome, 0.0)
    for cell in wanted:
        before = outcome_of(cell, folder)
        if cell in refused or (before is not None and before.state != "refused" and before.state not in states):
            continue
        began, out = time.monotonic(), place / "run"
        shutil.rmtree(out, ignore_errors=True)
        outcome = try_cell(cell, worlds[cell.task], out)
        failed += outcome.state == "failed"
        keep(folder, cell, outcome, time.monotonic() - began)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
