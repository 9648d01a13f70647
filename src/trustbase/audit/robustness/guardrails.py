"""What a server is to hold an answer against: thresholds that the audit fitted, in one file of the evidence.

`evidence/robustness.guardrails.json` (`trustbase/guardrails/1`), each part where it could be fitted:

* `model`: digest of the artefact whose scores they are about; `accepted`, `coverage`: what was asked for.
* `abstention`: `score` is the probability of the answer that the shipped decision gives; `thresholds` are
  `{"answered", "threshold", "risk", "low", "high", "n"}`: an answer whose score is under `threshold` is not given; `answered` is the share
  of calibration rows at or above it, `risk` the share of wrong answers among those given, with its interval, on other rows.
* `out_of_distribution`: an input whose score is over a `threshold` is of another kind; only scores stand here that noticed random signs
  (`shift.py`), so any of them may be missing, and all. `energy`: minus the log of the sum of exp of the
  logits. `mahalanobis`: of the embedding x (mean of the last hidden states over the real tokens), the least over `means` m of
  sum_i (a_i (x - m))² / variances_i + (|x - m|² - sum_i (a_i (x - m))²) / rest, where a_i are the `axes`.
* `prediction_sets`: every label whose probability is at least 1 - `threshold` belongs to the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase import files
from trustbase.audit.context import AuditContext

NAME = "robustness.guardrails"
SCHEMA = "trustbase/guardrails/1"


def write_guardrail(context: AuditContext, part: str, value: Mapping[str, Any]) -> None:
    """Add one part to what is there already.

    Args:
        context: of the audit.
        part: "abstention", "out_of_distribution" or "prediction_sets".
        value: thresholds and aggregates; never a row.
    """
    path = context.evidence.folder / f"{NAME}.json"
    known: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    model = None if context.artifact is None else context.artifact.digest
    context.evidence.write(NAME, {**known, "schema": SCHEMA, "model": model, part: dict(value)})
