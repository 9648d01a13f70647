"""Audits are audited: a planted defect is found and its twin is not; the larger table is `benchmarks/planted.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from planted import DEFECTS, rates  # noqa: E402

SEEDS = 5
TABLE = 200  # seeds of the table, but where one costs much
LEAST = {
    "wrong labels of few rows": 0.4,  # the interval is told, and is wide
    "wrong labels among hard ones": 0.0,  # the one cannot be told from the other, so that the interval begins at 0; the how-to says so
    "wrong labels among harder ones": 0.0,
}
ALARMS = {"learned backdoor": 0.2}  # small models hang on single words; the how-to says how often
QUICK = [name for name, defect in DEFECTS.items() if (defect.seeds or TABLE) >= 100]  # the others have tests of their own


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_defect_is_found_and_its_twin_is_not(name: str) -> None:
    """Of five seeds at least four find the defect, and at most one finds it where it is not."""
    found = rates(DEFECTS[name], SEEDS)
    print(f"{name}: found {found['power']['value']:.0%}, false alarms {found['false_alarms']['value']:.0%} of {SEEDS} seeds")
    assert found["power"]["value"] >= 0.8 and found["false_alarms"]["value"] <= 0.2, found


@pytest.mark.parametrize("name", list(DEFECTS))
def test_the_table_states_power_and_false_alarms_of_each(name: str) -> None:
    """The file of what was measured over 200 seeds (fewer where one costs much) speaks of these defects, and says what the docs do.

    It measures nothing: found in 90 % mostly, false alarms in 5 % at most but for chance, and in no more than 10 % but where it is said.
    """
    table = json.loads((BENCHMARKS / "results" / "planted.json").read_text(encoding="utf-8"))["defects"]
    told = table[name]
    assert told["about"] == DEFECTS[name].about and told["seeds"] == min(TABLE, DEFECTS[name].seeds or TABLE)
    assert told["first_seed"] == DEFECTS[name].first
    assert told["power"]["value"] >= LEAST.get(name, 0.9)
    assert told["false_alarms"]["low"] <= 0.05 and told["false_alarms"]["value"] <= ALARMS.get(name, 0.1)
