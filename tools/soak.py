"""The long form of the checks of reliability: more kills, more moments at which power is lost.

    python tools/soak.py [--kills 100] [--draws 60] [--seed 0] [--out FILE]

Kills (R1, R13): a small recipe is run again and again, in one process and in two, and each time one of its processes gets SIGKILL, SIGTERM
or SIGINT at a random moment; the same command then goes on. Once a run is through, its weights and findings are compared with those of
a run that nobody disturbed, and the next one begins. Nothing may be left running. Power (R2): tests/unit/test_power_loss.py with more
folders drawn for each moment. A report is printed, and written as JSON after each part, so that a soak that is stopped leaves what it
has seen: `settings` is what was asked, `done` what was reached of it. The exit code is 1 where anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "journey")]

from toy import write_world  # noqa: E402

SETTINGS = ["train.accumulation=2", "train.epochs=4", "train.save_every=0.05", "audit=[quality]", "gates={quality.accuracy: '>= 0.5'}"]
CAMPAIGNS: dict[str, list[str]] = {"one process": [], "two processes": ["cluster={workers: 2}"]}  # more settings of each
MARK = "TRUSTBASE_SOAK"
PATIENCE = 180  # seconds that a run may take to end after it was told to
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


def start(recipe: Path, out: Path, settings: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "TRUSTBASE_HOME": str(recipe.parent / "home"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", MARK: "1"}
    command = [sys.executable, "-m", "trustbase", "run", str(recipe), *settings, "--out", str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def marked() -> list[psutil.Process]:
    """Processes of a run that are alive."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind() -> list[str]:
    """What still runs some seconds after a run ended; it is killed."""
    deadline = time.monotonic() + 10
    while (found := marked()) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in found:
        process.kill()
    return [f"pid {process.pid}" for process in found]


def outcome(out: Path) -> tuple[bytes, dict[str, Any]]:
    """Weights, and every finding that is not about time."""
    findings = json.loads((out / "audit.json").read_text(encoding="utf-8"))["findings"]
    kept = {each["id"]: each["value"] for each in findings if each["dimension"] != "efficiency"}
    return (out / "checkpoints" / "trained" / "model.safetensors").read_bytes(), kept


def hurt(process: subprocess.Popen[str], rng: random.Random) -> str:
    """Give one of the run's processes a signal; says what was done."""
    name = rng.choice(list(SIGNALS))
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        victim = rng.choice(family)
        victim.send_signal(SIGNALS[name])
    except psutil.Error:
        return "gone"
    return f"{name} to {'the command' if victim.pid == process.pid else 'a process of it'}"


def campaign(folder: Path, settings: list[str], kills: int, rng: random.Random) -> dict[str, Any]:
    """So many signals; every run that gets through is compared."""
    recipe = write_world(folder, rows=900)
    began = time.monotonic()
    straight = start(recipe, folder / "straight", settings)
    _, complaint = straight.communicate()
    assert straight.returncode == 0, complaint
    wanted, took = outcome(folder / "straight"), time.monotonic() - began
    done: dict[str, int] = {}
    problems: list[str] = []
    compared, out = 0, folder / "hurt"
    while sum(done.values()) < kills:
        process = start(recipe, out, settings)
        try:
            process.wait(rng.uniform(0.05, 1.0) * took)
            what = ""
        except subprocess.TimeoutExpired:
            what = hurt(process, rng)
        try:
            _, complaint = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            problems.append(f"{what}: still running {PATIENCE} s later")
            process.kill()
            _, complaint = process.communicate()
        if what and what != "gone":
            done[what] = done.get(what, 0) + 1
        problems += [f"{what}: a traceback was shown"] * ("Traceback" in complaint and "SIGINT" not in what)
        problems += [f"{what}: {each} was left behind" for each in left_behind()]
        if process.returncode == 0:
            compared += 1
            if outcome(out) != wanted:
                problems.append(f"after {what}: other weights or findings than the undisturbed run's")
            shutil.rmtree(out)
        elif process.returncode in (1, 2, 3, 4):
            problems.append(f"{what}: exit code {process.returncode}: {complaint[-300:]}")
    if out.exists():  # the last one goes to its end
        process = start(recipe, out, settings)
        _, complaint = process.communicate(timeout=PATIENCE)
        compared += 1
        if process.returncode != 0 or outcome(out) != wanted:
            problems.append(f"the last run ended with {process.returncode}, or with other weights or findings: {complaint[-300:]}")
    return {"signals": done, "runs_compared": compared, "seconds_undisturbed": took, "problems": problems}


def power(draws: int) -> dict[str, Any]:
    environment = {**os.environ, "TRUSTBASE_POWER_DRAWS": str(draws)}
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "unit" / "test_power_loss.py"), "-s"]
    told = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = [line.rpartition("crash points: ")[2] for line in told.stdout.splitlines() if "crash points: " in line]
    return {"crash_points": [int(count) for count in counts], "problems": [] if told.returncode == 0 else [told.stdout[-2000:]]}


def reached(report: dict[str, Any]) -> dict[str, int]:
    """What was done so far: signals and compared runs, of one process and of two, and folders drawn at power losses."""
    done = {}
    for name in CAMPAIGNS:
        part = report.get(name, {"signals": {}, "runs_compared": 0})
        done[f"signals, {name}"] = sum(part["signals"].values())
        done[f"runs compared, {name}"] = part["runs_compared"]
    return {**done, "crash points": sum(report.get("power", {"crash_points": []})["crash_points"])}


def keep(report: dict[str, Any], name: str, part: dict[str, Any], out: Path) -> None:
    """Add a part that is over, print it, and write the report as it then stands."""
    report[name] = part
    report["done"] = reached(report)
    print(name, json.dumps(part, indent=1), flush=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="signals in all, half of them to runs of two processes")
    parser.add_argument("--draws", type=int, default=60, help="folders drawn for each moment of a power loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "soak.json")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and so would every run
    report: dict[str, Any] = {"settings": {"kills": options.kills, "draws": options.draws, "seed": options.seed}, "done": {}}
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        for name, more in CAMPAIGNS.items():
            rng = random.Random(f"{options.seed} {name}")
            kills = options.kills - options.kills // 2 if not more else options.kills // 2
            keep(report, name, campaign(Path(place) / name.split()[0], [*SETTINGS, *more], kills, rng), options.out)
    keep(report, "power", power(options.draws), options.out)
    return int(any(part["problems"] for part in report.values() if "problems" in part))


if __name__ == "__main__":
    sys.exit(main())
