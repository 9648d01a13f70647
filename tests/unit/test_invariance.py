"""What changes of a text do to answers: planted faults are found, twins without them are silent, no word claims more than was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from robust_kit import robust_context

from trustbase import files
from trustbase.audit.context import AuditContext
from trustbase.audit.measured import measure_parts
from trustbase.audit.robustness import audit, invariance
from trustbase.audit.stats import paired_difference, proportion
from trustbase.records import Finding, LabelSchema

NAMES = ("Emily", "Sarah", "James", "John", "David", "Laura")


def texts(rows: int = 200, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    say = "the food was {} and {} waited {} minutes, at table number {}"
    words = ("good", "terrible")
    return [say.format(words[int(rng.integers(2))], NAMES[int(rng.integers(6))], rng.integers(10, 99), row) for row in range(rows)]


def careful(text: str) -> float:
    """Reads one word, in small and large letters."""
    return 0.9 if "good" in text.lower() else 0.1


def by_name(text: str) -> float:
    """Has learned who says it."""
    return 0.9 if any(name in text for name in NAMES[:3]) else 0.1


def audit_any(context: AuditContext) -> list[Finding]:
    """The parts of the audit that this file is about."""
    return measure_parts(context, "robustness", [part for part in audit.PARTS if part.name in ("typos", "flips")], {})


def found_in(context: Any, parts: Any = None) -> dict[str, Finding]:
    return {finding.id.partition(".")[2]: finding for finding in (parts or audit_any)(context)}


def test_what_is_counted_is_what_turned(tmp_path: Path) -> None:
    context = robust_context(tmp_path, texts(), careful, texts=150)
    found = found_in(context, invariance.flip_findings)
    sample = invariance.sample_of(context)
    changed = [text for text in sample.made("typos", context.seed) if text is not None]
    turned = sum(careful(one) != careful(other) for one, other in zip(sample.asked, changed, strict=True))
    want = proportion(turned, 150)
    flips = found["prediction_flips#typos"]
    assert 5 < turned < 60 and (flips.value, flips.low, flips.high, flips.n) == (want.value, want.low, want.high, 150)
    assert flips.seed == 0 and "5% of the places" in flips.method and "a blank at the end alone turns 0.0%" in flips.method
    quiet = ("blank", "case", "punctuation", "whitespace", "numbers", "names", "filler")
    assert all(found[f"prediction_flips#{kind}"].value == 0 and found[f"prediction_flips#{kind}"].high < 0.05 for kind in quiet)
    assert "says something else" in found["prediction_flips#names"].method and "says something else" not in flips.method
    for kind in ("homophones", "spaces", "contractions"):
        assert (
            found[f"prediction_flips#{kind}"].status == "not_applicable" and "150 sampled rows" in found[f"prediction_flips#{kind}"].reason
        )
    written = files.read_json(tmp_path / "robustness.flips.json")
    assert written["control"] == "found" and [row["kind"] for row in written["kinds"]] == list(invariance.KINDS)


def test_accuracy_under_typos_is_that_of_mistyped_rows(tmp_path: Path) -> None:
    truth = [int(careful(text) > 0.5) if row % 10 else 1 for row, text in enumerate(texts())]
    context = robust_context(tmp_path, texts(), careful, truth)
    found = found_in(context, invariance.typo_findings)
    sample = invariance.sample_of(context)
    right = np.array([int(careful(text) > 0.5) for text in sample.asked]) == sample.truth
    for variant, rate in (("", 0.05), ("#0.10", 0.10)):
        still = np.array([int(careful(str(text)) > 0.5) for text in sample.made("typos", 0, rate)]) == sample.truth
        accuracy, drop = found[f"accuracy_under_typos{variant}"], found[f"accuracy_drop_under_typos{variant}"]
        assert accuracy.value == still.mean() and drop.value == paired_difference(right, still).value and accuracy.n == drop.n == 200
        assert (accuracy.direction, drop.direction) == ("higher", "lower") and f"{rate:.0%} of the letters" in accuracy.method
    assert found["accuracy_under_typos#0.10"].value < found["accuracy_under_typos"].value < right.mean()  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(5))
def test_a_shortcut_on_names_is_found_and_its_twin_is_silent(tmp_path: Path, seed: int) -> None:
    """Names turn what hangs on them; 5 of 5 seeds found here, and none of the twins."""
    guilty = found_in(robust_context(tmp_path, texts(seed=seed), by_name), invariance.flip_findings)["prediction_flips#names"]
    twin = found_in(robust_context(tmp_path, texts(seed=seed), careful), invariance.flip_findings)["prediction_flips#names"]
    assert guilty.low > 0.2 > 0.03 > twin.high  # type: ignore[operator]


def test_a_model_that_says_the_same_of_everything_is_no_steady_one(tmp_path: Path) -> None:
    """The positive control: where no answer could turn, no share of turned answers is told."""
    found = found_in(robust_context(tmp_path, texts(), lambda text: 0.9), invariance.flip_findings)
    assert found["prediction_flips#typos"].status == "insufficient" and "all 200 rows alike" in found["prediction_flips#typos"].reason
    assert not [finding for finding in found.values() if finding.status == "ok"]


def test_an_asker_that_does_not_pass_on_what_is_asked_is_noticed(tmp_path: Path) -> None:
    """The control also breaks where changed inputs do not reach the model, as with a stale answer for every question."""
    context = robust_context(tmp_path, texts(), careful)
    stale: Any = context.predictor
    stale.score = lambda text: 0.9
    found = found_in(context, invariance.flip_findings)["prediction_flips#typos"]
    assert found.status == "insufficient" and "did not turn, as they must" in found.reason


def test_noise_of_the_model_itself_is_told_beside_every_kind(tmp_path: Path) -> None:
    def noisy(text: str) -> float:
        return 1 - careful(text) if text.endswith(" ") and "1" in text else careful(text)

    found = found_in(robust_context(tmp_path, texts(), noisy), invariance.flip_findings)
    floor = found["prediction_flips#blank"]
    assert floor.value > 0.2 and f"a blank at the end alone turns {floor.value:.1%}" in found["prediction_flips#typos"].method  # type: ignore[operator]


def test_few_rows_are_too_few(tmp_path: Path) -> None:
    found = found_in(robust_context(tmp_path, [*texts(40), *(f"I don't like {row}" for row in range(9))], careful))
    few = found["prediction_flips#contractions"]
    assert few.status == "insufficient" and few.n == 9 and "only 9 of 49 sampled rows hold English contractions" in few.reason
    found = found_in(robust_context(tmp_path, [str(row) for row in range(80)], lambda text: 0.9 if "3" in text else 0.1))
    assert found["accuracy_under_typos"].status == found["accuracy_drop_under_typos#0.10"].status == "not_applicable"


def test_only_what_columns_say_is_changed(tmp_path: Path) -> None:
    rows = pa.table({"job": [f"{job} {row}" for row, job in enumerate(("cook", "clerk", "nurse", "teacher") * 30)]})
    asked = [f"works as {job} in the hospital" for job in rows["job"].to_pylist()]
    context = robust_context(
        tmp_path, asked, lambda text: 0.9 if "cook" in text or "nurse" in text else 0.1, text="works as {job} in the hospital", table=rows
    )
    found = found_in(context)
    assert "only what columns say is changed" in found["accuracy_under_typos"].method
    put: Any = context.predictor
    changed = [text for text in put.asked if text not in asked]
    assert changed and all(text.startswith("works as ") and text.endswith(" in the hospital") for text in changed)
    assert found["prediction_flips#typos"].value > 0.2  # type: ignore[operator]


def test_labels_and_numbers(tmp_path: Path) -> None:
    of = {"kind": "labels", "labels": LabelSchema(("a", "b"), "b", "b")}
    context = robust_context(tmp_path, texts(), lambda text: [careful(text), 0.8 if "food" in text else 0.2], **of)
    found = found_in(context)
    assert found["prediction_flips#typos"].value > 0.05 and found["accuracy_under_typos"].value < 1  # type: ignore[operator]
    assert found["prediction_flips#names"].value == 0
    of = {"kind": "number", "labels": LabelSchema(("price",), "price", "price", center=5.0, scale=2.0)}
    number = robust_context(tmp_path, texts(), lambda text: 5 + 0.15 * text.count(" ") + (4 if "good" in text else 0), **of)
    found = found_in(number)
    flips = {kind: found[f"prediction_flips#{kind}"].value for kind in ("blank", "typos", "names", "whitespace")}
    assert (
        flips["blank"] == 0 == flips["names"] and flips["typos"] > 0.05 and flips["whitespace"] == 1
    )  # 0.075 and 0.15 of the scale and more
    assert found["accuracy_under_typos"].status == "not_applicable" and "a number" in found["accuracy_under_typos"].reason
    tokens = replace(context, artifact=replace(context.artifact, answer_kind="tokens"))  # type: ignore[type-var]
    assert {finding.status for finding in audit_any(tokens)} == {"not_applicable"}


def test_the_order_of_the_rows_means_nothing(tmp_path: Path) -> None:
    one, other = (
        [finding.to_json() for finding in audit_any(robust_context(tmp_path, rows, careful, texts=60))] for rows in (texts(), texts()[::-1])
    )
    assert one == other
    assert [part.name for part in audit.PARTS][:2] == ["typos", "flips"]
