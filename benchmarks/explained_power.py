"""How often the explanation audit finds what is planted, and how often it speaks where nothing is.

    PYTHONPATH=tests:tests/unit python benchmarks/explained_power.py [--seeds 20] [--json benchmarks/results/explained_power.json]

Each line is a model with a reason that is known and its twin without one, over so many seeds of rows and audit:

- faithful: a model that adds up words, beside one whose score is a hash of the whole text, so that no words explain it; said where the
  lower bound of `explanation.comprehensiveness_gain` lies above 0.05.
- stand_in: a model that hangs on one word, beside the same hash; said where the lower bound of `explanation.surrogate_fidelity` lies
  above the share of the most frequent answer.
- sanity: small BERTs whose copy is left as it is in place of shuffled (so what they learned plays no part), beside shuffled ones; said
  where the lower bound of `explanation.sanity_check` lies above 0.5.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from explained_texts import checked, tiny_classifier

from explain_world import WEIGHTS, audited, review_rows
from trustbase import files
from trustbase.audit.explain import surrogate
from trustbase.audit.explain.rows import row_findings
from trustbase.audit.stats import proportion
from trustbase.model import shuffled

SMALL = {"texts": 30, "samples": 100, "evaluations": 60, "queries": 10, "stability": 20}


def faithful(folder: Path, seed: int, planted: bool) -> bool:
    how = {"weights": WEIGHTS} if planted else {"weights": {}, "mixed": 2.0}
    with audited(folder, review_rows(60, seed), budget=SMALL, seed=seed, **how) as context:
        found = next(finding for finding in row_findings(context) if finding.id == "explanation.comprehensiveness_gain")
    return found.low > 0.05


def stand_in(folder: Path, seed: int, planted: bool) -> bool:
    how = {"weights": {"staff": 4.0, "": -0.01}} if planted else {"weights": {}, "mixed": 3.0}
    with audited(folder, review_rows(400, seed), seed=seed, **how) as context:
        found = surrogate.surrogate_findings(context)[0]
    return found.low > files.read_json(folder / "explanation.surrogate.json")["constant"]


def sanity(folder: Path, seed: int, planted: bool) -> bool:
    info = tiny_classifier(folder / "tiny", seed=seed)
    with audited(folder, review_rows(60, seed), budget=SMALL, seed=seed) as context:
        if planted:
            with mock.patch.object(shuffled, "shuffle_weights", lambda model, rng: None):
                (found,) = checked(context, info)
        else:
            (found,) = checked(context, info)
    return found.status == "ok" and found.low > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = {}
    for measure in (faithful, stand_in, sanity):
        began, said = time.process_time(), {}
        for planted in (True, False):
            hits = 0
            for seed in range(options.seeds):
                with TemporaryDirectory() as folder:
                    hits += measure(Path(folder), seed, planted)
            interval = proportion(hits, options.seeds)
            said["power" if planted else "false_alarms"] = {"hits": hits, "of": options.seeds, "low": interval.low, "high": interval.high}
        table[measure.__name__] = said | {"processor_seconds": round(time.process_time() - began, 1)}
        print(measure.__name__.ljust(10), *(f"{name} {each['hits']}/{each['of']}" for name, each in said.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
