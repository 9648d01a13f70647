"""Figure 4: the demonstration end to end, as `make demo` runs it after installing, with its time and its numbers.

    python benchmarks/demo.py [--json benchmarks/results/demo.json] [--keep FOLDER]

Both recipes run as commands in a fresh folder with a fresh TRUSTBASE_HOME: census.yaml the whole way, then
census-strict.yaml with --reuse. There is no peer to time beside it; the rivals stand in the report's own findings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
SHOWN = (
    "quality.accuracy",
    "quality.auroc",
    "quality.gain_over_majority",
    "quality.gain_over_bag_of_words",
    "quality.gain_over_boosting",
    "fairness.demographic_parity_difference[sex]",
    "efficiency.latency_p95_ms",
    "efficiency.throughput",
)


def run(arguments, home):
    """Run one command; returns (seconds, exit code)."""
    environment = {**os.environ, "TRUSTBASE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", "trustbase.cli", *arguments], env=environment, check=False).returncode
    return time.perf_counter() - started, code


def stage_seconds(folder):
    records = [json.loads(path.read_text()) for path in (folder / "stages").glob("*.json")]
    return {
        record["stage"]: record["seconds"]
        for record in sorted(records, key=lambda record: record["started"])
        if "reused_from" not in record
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty folder for the runs, which stay there; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        census, strict = place / "census", place / "census-strict"
        first, first_code = run(["run", str(RECIPES / "census.yaml"), "--out", str(census)], place / "home")
        checked, checked_code = run(["verify", str(census / "bundle")], place / "home")
        second, second_code = run(
            ["run", str(RECIPES / "census-strict.yaml"), "--out", str(strict), "--reuse", str(census)], place / "home"
        )
        findings = {item["id"]: item for item in json.loads((census / "audit.json").read_text())["findings"]}
        looks = json.loads((strict / "verdict.json").read_text())["test_looks"]
        stages = stage_seconds(census)
    print(f"\n{'census.yaml':32} {first:7.1f} s  exit {first_code}  (limit 420 s, exit 0)")
    for name, seconds in stages.items():
        print(f"  {name:30} {seconds:7.1f} s")
    print(f"{'verify':32} {checked:7.1f} s  exit {checked_code}")
    print(f"{'census-strict.yaml --reuse':32} {second:7.1f} s  exit {second_code}  (exit 3; the test set was looked at {looks} times)")
    for id in SHOWN:
        item = findings[id]
        print(f"  {id:46} {item['value']:9.4f} [{item['low']:.4f}, {item['high']:.4f}] n={item['n']}")
    if options.json:
        numbers = {id: {key: findings[id][key] for key in ("value", "low", "high", "n")} for id in SHOWN}
        seconds = {"census": first, "verify": checked, "strict": second, "stages": stages}
        result = {"seconds": seconds, "exit": [first_code, checked_code, second_code], "looks": looks, "findings": numbers}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
