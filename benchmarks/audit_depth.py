"""Figure 3: the whole audit of the census demonstration at its default budgets, on 1,000 test rows and two cores.

    python benchmarks/audit_depth.py [--folder FOLDER] [--rows 1000] [--json benchmarks/results/audit_depth.json]

The model is that of recipes/census.yaml, trained with the three dimensions that ask each row once (kept in FOLDER for a next time). Then
`trustbase audit` runs as a command, with the training rows beside (--train): every dimension, 100 texts explained by LIME at 500 inputs and
Shapley values at 300, 200 texts changed and attacked at 100 questions each, 20 explained again. Told: seconds, the most memory that the
audit and the processes it starts held together (resident, read five times a second), and by part of the audit how many questions were put
and how many the model had to answer.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "census.yaml"
THREE = "audit=[quality, fairness, efficiency]"


def run(arguments: list[str], home: Path) -> tuple[float, int, int]:
    """Seconds, most bytes and exit code of one command."""
    environment = {**os.environ, "TRUSTBASE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    began, most = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", "trustbase.cli", *arguments], env=environment) as process:
        while process.poll() is None:
            most = max(most, resident(process.pid))
            time.sleep(0.2)
    return time.perf_counter() - began, most, process.returncode


def resident(pid: int) -> int:
    """Bytes in memory of a process and of all that it started; pages that two of them share count twice."""
    total = 0
    try:
        first = psutil.Process(pid)
        for each in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return total
    return total


def write_rows(folder: Path, part: str, count: int) -> Path:
    """Rows of a part as a user would have them, in a file."""
    from trustbase.data.save import load_dataset

    dataset = load_dataset(folder / "census" / "data")
    split = dataset.splits[part]
    columns: dict[str, Any] = {name: split.table[name].to_pylist()[:count] for name in split.table.column_names}
    columns |= {name: values.tolist()[:count] for name, values in split.groups.items()}
    columns["income"] = [dataset.labels.names[index] for index in split.labels.tolist()[:count]]
    path = folder / f"{part}.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def asked(folder: Path) -> dict[str, dict[str, int]]:
    """Questions by part of the audit, and those that the model had to answer."""
    found = {}
    for path in sorted((folder / "evidence").glob("*.json")):
        evidence = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(evidence, dict) and isinstance(evidence.get("asked"), dict):
            found |= {f"{path.stem}: {part}": counted for part, counted in evidence["asked"].items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results") / "audit_depth.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "census" / "bundle").is_dir():
            assert run(["run", str(RECIPE), THREE, "--out", str(folder / "census")], folder / "home")[2] == 0
        test, train = write_rows(folder, "test", given.rows), write_rows(folder, "train", 10**6)
        out = folder / "audit"
        command = ["audit", str(folder / "census" / "bundle"), "--data", str(test), "--label", "income", "--groups", "sex,race"]
        seconds, memory, code = run([*command, "--train", str(train), "--out", str(out)], folder / "home")
        assert code in (0, 3), f"the audit ended with {code}"
        findings = json.loads((out / "audit.json").read_text(encoding="utf-8"))["findings"]
        parts = asked(out)
    failed = [finding["id"] for finding in findings if finding["status"] == "failed"]
    total = {name: sum(part[name] for part in parts.values()) for name in ("questions", "to_the_model")}
    result = {
        "rows": given.rows,
        "seconds": seconds,
        "peak_memory_bytes": memory,
        "findings": len(findings),
        "failed": failed,
        "asked": parts,
        "total": total,
        "answered_without_the_model": 1 - total["to_the_model"] / max(1, total["questions"]),
    }
    given.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, counted in parts.items():
        print(f"{name:50s} {counted['questions']:9,} questions, {counted['to_the_model']:9,} to the model")
    print(f"{seconds:.0f} s, {result['peak_memory_bytes'] / 1e9:.2f} GB, {len(findings)} findings, failed: {failed or 'none'}")


if __name__ == "__main__":
    main()
