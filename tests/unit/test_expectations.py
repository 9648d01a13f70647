"""Directional expectations: a planted fault is found and its twin silent, nothing is claimed of labels whose meaning is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robust_kit import robust_context

from trustbase import files
from trustbase.audit.catalogue import why_never
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.directional import measure_expectations
from trustbase.audit.robustness.expectations import read_expectations
from trustbase.data.perturb.polar import read_statement
from trustbase.errors import UsageError
from trustbase.finding_id import parse
from trustbase.records import Finding, LabelSchema


def statements(seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    of = ("food", "staff", "room", "view")
    words = ("good", "terrible", "clean", "dirty")
    return [f"the {of[int(rng.integers(4))]} was {words[int(rng.integers(4))]} at place {row}" for row in range(120)]


def praised(text: str) -> bool:
    return any(word in text for word in ("good", "clean"))


def reads_denial(text: str) -> float:
    return 0.85 if praised(text) != (" not " in text) else 0.15


def reads_words(text: str) -> float:
    return 0.85 if praised(text) else 0.15


def found_in(context: AuditContext) -> dict[str, Finding]:
    return {str(finding.parts.variant): finding for finding in measure_expectations(context)}


def test_short_statements_are_read_and_others_are_not() -> None:
    said = read_statement("The food was very good.")
    assert said is not None and said.praises and said.denied == "The food was not very good." and said.stronger is None
    said = read_statement("Staff were rude to us")
    assert (
        said is not None
        and not said.praises
        and (said.denied, said.stronger) == ("Staff were not rude to us", "Staff were very rude to us")
    )
    said = read_statement("房间很干净")
    assert said is not None and said.praises and (said.denied, said.stronger) == ("房间不干净", "房间非常干净")
    said = read_statement("味道差")
    assert said is not None and not said.praises and said.denied == "味道不差"
    others = ("The food was not good", "good food", "It was good but dirty", "Food was good and staff were rude", "房间不干净", "太好了")
    assert [
        text for text in (*others, "the food was good " + "and so on " * 9, "没什么好说的", "") if read_statement(text) is not None
    ] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_does_not_read_denials_is_found_where_labels_follow_praise(tmp_path: Path, seed: int) -> None:
    """Found in 5 of 5 seeds, its twin silent in all."""
    rows = statements(seed)
    truth = [int(praised(text)) for text in rows]
    guilty, twin = (found_in(robust_context(tmp_path, rows, model, truth))["negation"] for model in (reads_words, reads_denial))
    assert guilty.value == 1 and guilty.low > 0.9 and twin.value == 0 and twin.high < 0.05  # type: ignore[operator]
    assert "must fall" in guilty.method and guilty.n == 120


def test_where_labels_mean_something_else_denial_may_leave_them_alone(tmp_path: Path) -> None:
    rows = statements()
    topic = [int("food" in text or "room" in text) for text in rows]
    context = robust_context(tmp_path, rows, lambda text: 0.85 if "food" in text or "room" in text else 0.15, topic)
    found = found_in(context)["negation"]
    assert found.value == 0 and "may not rise" in found.method

    def surer(text: str) -> float:
        return 0.6 + 0.3 * (" not " in text) if "food" in text or "room" in text else 0.4 - 0.3 * (" not " in text)

    assert found_in(robust_context(tmp_path, rows, surer, topic))["negation"].value == 1
    sure = robust_context(tmp_path, rows, lambda text: 0.95 if "food" in text or "room" in text else 0.05, topic)
    few = found_in(sure)["negation"]  # no score could rise by so much, so that none did says nothing
    assert few.status == "insufficient" and "could move" in few.reason


def test_stronger_words_may_not_weaken_a_score(tmp_path: Path) -> None:
    rows, truth = statements(), [int(praised(text)) for text in statements()]
    odd = robust_context(tmp_path, rows, lambda text: 0.5 if " very " in text else reads_words(text), truth)
    assert found_in(odd)["intensifier"].value == 1
    assert found_in(robust_context(tmp_path, rows, reads_words, truth))["intensifier"].value == 0


def test_a_model_that_scores_all_alike_passes_nothing(tmp_path: Path) -> None:
    found = found_in(robust_context(tmp_path, statements(), lambda text: 0.7, [int(praised(text)) for text in statements()]))
    assert {finding.status for finding in found.values()} == {"insufficient"} and "within 0.1" in found["negation"].reason


def test_rows_without_statements_have_none(tmp_path: Path) -> None:
    found = found_in(robust_context(tmp_path, [f"row {number}" for number in range(60)], reads_words))
    assert {finding.status for finding in found.values()} == {"not_applicable"}
    number = robust_context(tmp_path, statements(), lambda text: 1.0 * len(text), kind="number", labels=LabelSchema(("x",), "x", "x"))
    assert {finding.status for finding in found_in(number).values()} == {"not_applicable"}


FILE = """
- name: thanks
  expect: same
  pairs:
    - [the food was good, "the food was good, thank you"]
    - [the staff was dirty, the staff was dirty and good]
- {name: refunds, expect: "no", texts: [I want my money back, this is good]}
- {name: praise-raises, expect: higher, label: "yes", margin: 0.2, pairs: [[it was dirty, it was good], [it was good, it was good]]}
- {name: no-rise, expect: not_higher, label: "yes", pairs: [[it was good, it was dirty]]}
"""


def with_file(tmp_path: Path, text: str, **more: Any) -> Any:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return read_expectations("mine.yaml", tmp_path, **more)


def test_what_users_expect_is_counted_exactly(tmp_path: Path) -> None:
    from dataclasses import replace

    read = with_file(tmp_path, FILE)
    context = replace(robust_context(tmp_path, statements(), reads_words), expectations=read)
    found = found_in(context)
    own = {name: (found[name].value, found[name].low, found[name].high, found[name].n) for name in ("thanks", "refunds", "praise-raises")}
    assert own == {"thanks": (0.5, 0.5, 0.5, 2), "refunds": (0.5, 0.5, 0.5, 2), "praise-raises": (0.5, 0.5, 0.5, 2)}
    assert found["no-rise"].value == 0 and "nothing was sampled" in found["thanks"].method
    written = (tmp_path / "robustness.expectations.json").read_text(encoding="utf-8")
    assert read.digest in written and "thank you" not in written and "money" not in written
    assert [row["name"] for row in files.read_json(tmp_path / "robustness.expectations.json")["expectations"]][2:] == [
        "thanks",
        "refunds",
        "praise-raises",
        "no-rise",
    ]
    for id in ("robustness.expectation_failures#thanks", "robustness.expectation_failures#negation"):
        assert why_never(parse(id), []) is None
    assert why_never(parse("robustness.expectation_failures"), []) is not None


def test_a_row_of_columns_is_asked_as_the_model_reads_it(tmp_path: Path) -> None:
    from dataclasses import replace

    import pyarrow as pa

    rows = pa.table({"job": ["cook", "clerk"] * 30})
    asked = [f"works as {job} today" for job in rows["job"].to_pylist()]
    context = robust_context(tmp_path, asked, lambda text: 0.9 if "cook" in text else 0.1, text="works as {job} today", table=rows)
    read = with_file(tmp_path, '- {name: cooks, expect: "yes", texts: [{job: cook}, {job: cook two}, works as clerk]}')
    found = found_in(replace(context, expectations=read))["cooks"]
    assert found.value == pytest.approx(1 / 3)
    put: Any = context.predictor
    assert "works as cook two today" in put.asked and "works as clerk" in put.asked


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    bad = """
- {name: a b, expect: same, pairs: [[x, y]]}
- {name: negation, expect: same, pairs: [[x, y]]}
- {name: c, expect: same, texts: [x]}
- {name: d, expect: "yes", pairs: [[x, y]]}
- {name: e, expect: higher, pairs: [[x]], wrong: 1}
"""
    with pytest.raises(UsageError) as told:
        with_file(tmp_path, bad)
    said = "\n".join(f"{problem.where} {problem.message}" for problem in told.value.problems)
    assert len(told.value.problems) >= 6
    for part in ("mine.yaml:2 0.name", "that of an expectation of every audit", "give pairs", "give texts", "mine.yaml:6 4.pairs"):
        assert part in said, said
    for text, part in (
        ("a: 1", "must be a list"),
        ("- [", "not valid YAML"),
        ("", "must be a list"),
        ("- {name: a, name: b}", "stands twice"),
    ):
        with pytest.raises(UsageError) as told:
            with_file(tmp_path, text)
        assert part in str(told.value.problems[0].message)
    with pytest.raises(UsageError) as told:
        with_file(tmp_path, "- {name: a, expect: same, pairs: [[x, y]]}\n" * 2)
    assert "stand twice" in told.value.problems[0].message
    with pytest.raises(UsageError) as told:
        read_expectations("none.yaml", tmp_path)
    assert told.value.problems[0].where == "audit.robustness.expectations"


def test_labels_that_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    text = """
- {name: a, expect: maybe, texts: [x]}
- {name: b, expect: higher, label: perhaps, pairs: [[x, y]]}
- {name: c, expect: lower, pairs: [[x, y]]}
- {name: d, expect: same, pairs: [[x, y]]}
"""
    read = with_file(tmp_path, text)
    assert [problem.where for problem in read.unfit(("no", "yes"), "classes")] == ["mine.yaml: 0", "mine.yaml: 1", "mine.yaml: 2"]
    assert len(list(read.unfit(("price",), "number"))) == 2
