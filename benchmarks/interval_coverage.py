"""Do the intervals cover what they claim? Simulation on known truth.

    python benchmarks/interval_coverage.py [--draws 1000] [--only NAME] [--json FILE]

Each row is one case: data of a known truth are drawn many times (at least `--draws`, more where a draw costs little), a 95 % interval is
made from each draw, and the share that holds the truth is printed with the mean width. It must lie within 93 to 97 %; a case that may
cover more says why. For largest gaps and smallest ratios the coverage and width of the plain percentile bootstrap stand beside.
`tests/unit/test_stats_coverage.py` runs the same functions on fewer cases.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import simulate_counts
import simulate_scores
from simulate import HIGHEST, LOWEST, Row

SIMULATIONS = {**simulate_counts.SIMULATIONS, **simulate_scores.SIMULATIONS}


def summary(rows: Sequence[Row]) -> list[dict]:
    """Lowest and highest coverage of each kind of interval, where a number is given; apart, of cases that may cover more."""
    table = []
    for name, reason in dict.fromkeys((row.interval, row.reason) for row in rows if row.valid):
        found = [row for row in rows if (row.interval, row.reason) == (name, reason) and row.valid]
        coverage = np.array([row.coverage for row in found])
        table.append(
            {
                "interval": name,
                "reason": reason,
                "cases": len(found),
                "lowest": float(coverage.min()),
                "median": float(np.median(coverage)),
                "highest": float(coverage.max()),
                "within": int(((coverage >= LOWEST) & (coverage <= HIGHEST)).sum()),
                "kept": all(row.kept for row in found),
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", choices=SIMULATIONS, action="append")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/coverage.json"))
    options = parser.parse_args()
    rows: list[Row] = []
    start = time.perf_counter()
    print(f"{'interval':<26}{'case':<50}{'coverage':>9}{'width':>8}   percentile bootstrap: coverage, width")
    for index, (name, simulate) in enumerate(SIMULATIONS.items()):
        if options.only and name not in options.only:
            continue
        for row in simulate(options.draws, np.random.default_rng(index)):
            rows.append(row)
            naive = "" if row.naive_coverage is None else f"{row.naive_coverage:>9.3f}{row.naive_width:>8.3f}"
            mark = "" if row.kept else "  outside"
            print(f"{row.interval:<26}{row.case:<50}{row.coverage:>9.3f}{row.width:>8.3f}   {naive}{mark}", flush=True)
    print("Where the audit gives an interval (elsewhere it says `insufficient`):")
    print(f"{'interval':<26}{'cases':>6}{'lowest':>8}{'median':>8}{'highest':>8}{'in 93-97 %':>11}  may cover more, as")
    table = summary(rows)
    for item in table:
        numbers = "".join(f"{item[key]:>8.3f}" for key in ("lowest", "median", "highest"))
        print(f"{item['interval']:<26}{item['cases']:>6}{numbers}{item['within']:>11}  {item['reason']}")
    outside = [row for row in rows if not row.kept]
    print(f"{len(outside)} of {len(rows)} cases are outside what they must cover")
    result = {
        "draws": options.draws,
        "confidence": 0.95,
        "seconds": time.perf_counter() - start,
        "outside": len(outside),
        "summary": table,
        "rows": [asdict(row) for row in rows],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
