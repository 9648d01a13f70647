"""Detection power of the attacks: a model that goes by one planted word, and its twin that weighs all words, over several seeds.

    python benchmarks/attack_power.py [--seeds 10] [--chinese] [--json benchmarks/results/attack_power.json]

For each seed two tiny models learn their texts (`tests/unit/attack_world.py`) and are audited with 60 rows and 60 questions a row. The
planted word is found where accuracy after the attack, meaning kept, is at most 0.75 (half of the rows hold the word), and where the best
trigger of the rows without it holds it; the twin must be under neither. Power is the share of planted models found, a false alarm a twin
that is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.audit.robustness import audit as robustness
from trustbase.audit.stats import proportion
from trustbase.audit_command import audit

BROKEN = 0.75


def audited(folder: Path, seed: int, planted: bool, chinese: bool) -> dict[str, Any]:
    """What the attacks left of one model, and the triggers that were found."""
    from attack_world import trained

    model = trained(folder, planted=planted, seed=seed, chinese=chinese)
    budget = {"robustness": {"texts": "60", "queries": "60"}}
    given = {"data": str(folder / "rows.csv"), "text": "text", "label": "label", "positive": "good", "only": ["robustness"]}
    result = audit(str(model), out=str(folder / "audit"), seed=seed, budget=budget, **given)  # type: ignore[arg-type]
    found = {finding.id: finding for finding in result.report.findings}
    triggers = files.read_json(folder / "audit" / "evidence" / "robustness.universal_trigger.json")["labels"]
    told = {id.removeprefix("robustness."): finding.value for id, finding in found.items() if "after_attack" in id}
    return {**told, "trigger_words": {row["label"]: row["trigger"] for row in triggers}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--chinese", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    tests = Path(__file__).resolve().parents[1] / "tests"
    sys.path[:0] = [str(tests), str(tests / "unit")]  # where tiny models are
    from attack_world import MARK, ZH_MARK

    robustness.PARTS = tuple(part for part in robustness.PARTS if any("attack" in id or "trigger" in id for id in part.metrics))
    metric = "after_attack_accuracy" if arguments.chinese else "after_attack_accuracy_filtered"  # nobody here judges Chinese
    signs = {"after attack": 0, "trigger": 0}
    counts = {"planted": dict(signs), "twin": dict(signs)}
    values: dict[str, list[float]] = {"planted": [], "twin": []}
    for seed in range(arguments.seeds):
        for kind in counts:
            with tempfile.TemporaryDirectory() as folder:
                found = audited(Path(folder), seed, kind == "planted", arguments.chinese)
            values[kind].append(found[metric])
            counts[kind]["after attack"] += found[metric] <= BROKEN
            mark = ZH_MARK if arguments.chinese else MARK
            counts[kind]["trigger"] += mark in found["trigger_words"].get("bad", [])
        print(seed, {kind: round(each[-1], 3) for kind, each in values.items()}, counts, flush=True)
    told: dict[str, Any] = {"seeds": arguments.seeds, "metric": metric, "limit": BROKEN, "values": values}
    for kind, name in (("planted", "power"), ("twin", "false_alarms")):
        for sign, count in counts[kind].items():
            interval = proportion(count, arguments.seeds)
            told.setdefault(name, {})[sign] = {"value": interval.value, "low": interval.low, "high": interval.high}
    print(json.dumps({name: told[name] for name in ("power", "false_alarms")}, indent=1))
    if arguments.json:
        path = Path(arguments.json)
        kept = files.read_json(path) if path.is_file() else {}
        files.write_json(path, {**kept, "zh" if arguments.chinese else "en": told})


if __name__ == "__main__":
    main()
