"""How often weak slices are found, and how often they are named where errors lie anywhere.

Run: python benchmarks/slice_power.py   (some minutes; writes benchmarks/results/slice_power.json)

Rows are made of ten of sixteen words, two columns and a group. "word": one word stands in 8 % of the rows, whose answers are wrong more
often. "field": the same of an eighth of the rows, two columns together. "none": errors lie anywhere.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase import files
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.stats import proportion
from trustbase.audit.weak_slices import weak_slice_findings
from trustbase.records import Decision, Finding, LabelSchema, Split

RESULTS = Path(__file__).resolve().parent / "results" / "slice_power.json"
SEEDS = 100  # of each planted case; twice as many where nothing is planted
CASES = (
    *(("word", {"word": more}, "word=refund") for more in (0.10, 0.18, 0.25)),
    *(("field", {"field": more}, "sex=f,job=cook") for more in (0.18, 0.23, 0.30)),
    ("none", {}, ""),
)
LABELS = LabelSchema(("no", "yes"), "yes", "yes")
PLAIN = "the a of and room food staff price view bed clean old big quick late cheap".split()  # noqa: SIM905


def context_of(folder: Path, seed: int, *, rows: int = 1200, word: float = 0.0, field: float = 0.0, base: float = 0.12) -> AuditContext:
    """Rows of ten words of sixteen, two columns and a group; "refund" stands in 8 % of them.

    Args:
        word: added to the share of errors of rows that hold "refund".
        field: the same of rows of women who are cooks, which are an eighth of all.
    """
    rng = np.random.default_rng(seed)
    has = rng.random(rows) < 0.08
    texts = [" ".join([*rng.choice(PLAIN, 10), *(["refund"] if here else []), f"n{row}"]) for row, here in enumerate(has)]
    sex, job = rng.choice(["f", "m"], rows), rng.choice(["cook", "clerk", "nurse", "smith"], rows)
    weak = (sex == "f") & (job == "cook")
    truth = rng.integers(0, 2, rows)
    told = np.where(rng.random(rows) < base + word * has + field * weak, 1 - truth, truth)
    table = pa.table({"job": job.tolist(), "text": texts})
    test = Split("test", texts, truth, {"sex": sex.astype(object)}, table, np.arange(1, rows + 1), "made", "sha256:0")
    return AuditContext(test, LABELS, Decision(), Answers(None, told), Evidence(folder), 0)


def table_of(context: AuditContext) -> tuple[Finding, list[dict[str, Any]]]:
    (finding,) = weak_slice_findings(context)
    return finding, files.read_json(context.evidence.folder / "quality.weak_slices.json")  # type: ignore[return-value]


def main() -> None:
    table = []
    with tempfile.TemporaryDirectory() as place:
        for rows in (600, 1200):
            for name, planted, wanted in CASES:
                found, seeds = 0, SEEDS if wanted else 2 * SEEDS
                for seed in range(seeds):
                    finding, listed = table_of(context_of(Path(place), 1000 + seed, rows=rows, **planted))
                    weak = [row["slice"] for row in listed if row["p_adjusted"] < 0.05]
                    found += wanted in weak if wanted else bool(finding.value)
                share, more = proportion(found, seeds), next(iter(planted.values()), 0.0)
                row = {"planted": name, "rows": rows, "errors_elsewhere": 0.12, "more_errors": more, "seeds": seeds}
                table.append(row | {"found": share.value, "low": share.low, "high": share.high})
                print(f"{name:6} {rows:5} rows  +{more:.2f}  found {share.value:.3f}  ({share.low:.3f} to {share.high:.3f})", flush=True)
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
