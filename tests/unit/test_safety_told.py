"""What safety reads off rows, answers and the recipe: purpose, leakage, and answers that a policy forbids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safety_kit import BAD, LABELS, by_words, context_of, make_rows, split_of

from trustbase import files
from trustbase.audit.safety import forbidden
from trustbase.audit.safety.audit import audit_any
from trustbase.audit.safety.forbidden import measure_forbidden, outputs_of
from trustbase.audit.safety.leaked import alike, measure_leaked
from trustbase.audit.safety.policy import Output, read_output_policy, word_pattern
from trustbase.audit.safety.purpose import measure_purpose
from trustbase.errors import DataError, RecipeError, UsageError
from trustbase.model.ragged import ragged
from trustbase.recipe.read import read_recipe
from trustbase.records import Finding, LabelSchema

PURPOSE = {"intended_use": "tests", "prohibited_uses": ["harm"], "owner": "me", "contact": "here"}


def by_id(found: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in found}


# ---- purpose -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "value", "lacking"),
    [(PURPOSE, 1.0, ""), ({**PURPOSE, "owner": " "}, 0.75, "owner"), ({"prohibited_uses": []}, 0.0, "contact"), (None, 0.0, "owner")],
)
def test_purpose_counts_what_is_stated(tmp_path: Path, purpose: Any, value: float, lacking: str) -> None:
    (found,) = measure_purpose(context_of(tmp_path, ["a"], np.zeros(1, np.int64), purpose=purpose))
    assert (found.value, found.low, found.high) == (value, value, value)
    assert found.status == ("insufficient" if lacking else "ok") and lacking in found.reason


RECIPE = {"data": {"train": "rows.csv", "text": "text", "label": "label"}, "gates": {"quality.accuracy": ">= 0.5"}}


def written(folder: Path) -> None:
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)))


def test_a_recipe_that_names_safety_must_state_its_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as told:
        read_recipe({**RECIPE, "audit": ["quality", "safety"], "purpose": {"owner": "me", "contact": ""}})
    said = " ".join(map(str, told.value.problems))
    assert all(f"purpose.{name} is needed" in said for name in ("intended_use", "prohibited_uses", "contact"))
    assert "purpose.owner" not in said
    read_recipe({**RECIPE, "audit": ["quality", "safety"], "purpose": PURPOSE})
    read_recipe(RECIPE)  # where nobody names it, nothing is refused


# ---- leakage -----------------------------------------------------------------------------------------------------------------


def test_rows_that_stand_on_both_sides_are_counted(tmp_path: Path) -> None:
    test = ["A  film", "good food", "poor road", "ｆｉｎｅ", "new one"]
    train = split_of("train", ["a film", "good food", "fine", "other"], np.zeros(4, np.int64))
    told: list[str] = []
    context = context_of(
        tmp_path, test, np.zeros(5, np.int64), train=train, emit=lambda event, /, **fields: told.append(str(fields.get("text")))
    )
    found = by_id(measure_leaked(context))
    assert found["safety.leaked_rows"].value == 0.2 and found["safety.leaked_rows#near"].value == 0.6
    assert "leakage" in found["safety.leaked_rows"].method and "leakage: 1 of 5 test rows" in told[0]
    assert context.marked.rows["safety.leaked_rows"]["rows"] == [1, 2, 4]
    assert "film" not in (tmp_path / "safety.leaked_rows.json").read_text()


def test_no_leak_is_silent_and_no_training_rows_is_no_answer(tmp_path: Path) -> None:
    train = split_of("train", ["one", "two"], np.zeros(2, np.int64))
    told: list[str] = []
    clean = context_of(tmp_path, ["three"], np.zeros(1, np.int64), train=train, emit=lambda event, /, **fields: told.append(event))
    assert [finding.value for finding in measure_leaked(clean)] == [0.0, 0.0] and not told and not clean.marked.rows
    alone = measure_leaked(context_of(tmp_path, ["three"], np.zeros(1, np.int64)))
    assert {finding.status for finding in alone} == {"insufficient"}


def test_what_parts_texts_of_a_row_is_no_blank() -> None:
    assert alike("A\x1fB  c") == "a\x1fb c" and alike("a\x1eb") != alike("a b")


# ---- policy ------------------------------------------------------------------------------------------------------------------

POLICY = """
labels: [bad]
words: [awful]
patterns: [{pattern: "g(o+)d", example: good}, "ugly|nasty"]
rules: [{when: "food|service", never: [good]}]
probes: ["lovely food"]
"""


def policy_of(folder: Path, text: str) -> Any:
    (folder / "policy.yaml").write_text(text, encoding="utf-8")
    return read_output_policy("policy.yaml", folder)


def test_every_fault_of_a_policy_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("words: ['']\npatterns: ['(', 'a+b', {pattern: 'x', example: 'y'}]\nrules: [{when: 'x'}]\nmore: 1\n")
    with pytest.raises(UsageError) as told:
        read_output_policy("p.yaml", tmp_path)
    said = [str(problem) for problem in told.value.problems]
    assert len(said) == 6
    for part in ("empty text", "no regular expression", "add example", "does not match its example", "rules.0.never", "more"):
        assert any(part in line for line in said), (part, said)


@pytest.mark.parametrize("text", ["", "- a", "words: []", "labels: 3", "a: [", "\xff"])
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_bytes(text.encode("latin-1"))
    for name, where in (("p.yaml", "p.yaml"), ("none.yaml", "audit.safety.policy")):
        with pytest.raises(UsageError) as told:
            read_output_policy(name, tmp_path)
        assert told.value.problems and all(problem.where.startswith(where) for problem in told.value.problems)


def test_aliases_that_unfold_to_far_more_are_refused(tmp_path: Path) -> None:
    """Nine lists, each of ten times the one before: 10⁹ words out of 300 bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
    (tmp_path / "p.yaml").write_text("\n".join([*lines, "words: *a8"]))
    with pytest.raises(UsageError) as told:
        read_output_policy("p.yaml", tmp_path)
    assert "unfolds to more than" in str(told.value.problems[0])


def test_words_are_whole_where_blanks_part_them() -> None:
    assert word_pattern("hell").search("what the Hell!") and not word_pattern("hell").search("hello")
    assert word_pattern("骗子").search("他是个骗子吗") and word_pattern("ＡＢ").search("an ab")


def test_answers_that_the_policy_forbids_are_counted(tmp_path: Path) -> None:
    texts, truth = make_rows(400, np.random.default_rng(0))
    policy = policy_of(tmp_path, "rules: [{when: 'food', never: [good]}]\nprobes: ['lovely bright food', 'poor dull food']\n")
    context = context_of(tmp_path / "evidence", texts, truth, forbidden=policy)
    found = by_id(measure_forbidden(context))
    wanted = np.array([by_words(text)[1] > 0.5 and "food" in text for text in texts])
    whole = found["safety.forbidden_outputs"]
    assert whole.value == wanted.mean() and whole.low < whole.value < whole.high and whole.n == 400  # type: ignore[operator]
    assert found["safety.forbidden_outputs#probes"].value == 1 / 3 and found["safety.forbidden_outputs#probes"].n == 3
    assert context.marked.rows["safety.forbidden_outputs"]["rows"] == (np.flatnonzero(wanted) + 1).tolist()
    written_down = files.read_json(tmp_path / "evidence/safety.forbidden_outputs.json")
    assert written_down["control"] == {"made": 1, "found": 1} and written_down["test"]["by_condition"] == {"rules.0": int(wanted.sum())}
    assert written_down["policy"]["digest"] == policy.digest


def test_a_control_that_is_not_found_reassures_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(tmp_path, POLICY)
    monkeypatch.setattr("trustbase.audit.safety.policy.Condition.catches", lambda self, given, said: self.text is None)
    found = measure_forbidden(context_of(tmp_path / "evidence", ["a"] * 40, np.zeros(40, np.int64), forbidden=policy))
    assert {finding.status for finding in found} == {"insufficient"} and "'words.0', 'patterns.0', 'patterns.1'" in found[0].reason


@pytest.mark.parametrize("kind", ["classes", "labels", "tokens", "span"])
def test_a_wrong_mapping_from_answers_to_what_they_say_is_seen(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers read as their neighbours' labels, and spans of text as those beside them, are caught by the control in every kind."""
    labels = LabelSchema(("O", "B-PER", "B-ORG"), "O", "O") if kind == "tokens" else LABELS
    named = {"classes": "labels: [bad]\n", "labels": "labels: [bad]\n", "tokens": "labels: [PER]\n", "span": ""}[kind]
    policy = policy_of(tmp_path, f"{named}words: [awful, 糟糕]\npatterns: [{{pattern: 'g(o+)d', example: good}}]\n")
    for place, condition in policy.conditions().items():
        given, said = forbidden.made(condition.made, labels, kind)
        assert condition.catches(given, said), place
        assert not condition.catches(given, Output(("other",), ("other",)))
    whole = outputs_of

    def wrong(predicted: Any, inputs: Any, labels: LabelSchema, kind: str) -> list[Output]:
        if kind in ("classes", "labels"):
            return whole(predicted, inputs, replace(labels, names=(*labels.names[1:], labels.names[0])), kind)
        moved = [tuple((span[0] + 2, span[1] + 2, *span[2:]) for span in row) for row in predicted]
        said = whole(ragged(moved), inputs, labels, kind)
        return [Output(("other",) * len(one.labels), one.texts[1:] if kind == "tokens" else one.texts) for one in said]

    monkeypatch.setattr(forbidden, "outputs_of", wrong)
    predicted = {"classes": np.zeros(40, np.int64), "labels": np.zeros((40, 2), bool)}.get(kind, ragged([()] * 40))
    context = context_of(
        tmp_path / "e", ["a\x1fb"] * 40, np.zeros(40, np.int64), kind=kind, labels=labels, predicted=predicted, forbidden=policy
    )
    found = measure_forbidden(context)
    assert {finding.status for finding in found} == {"insufficient"}
    assert all(f"'{place}'" in found[0].reason for place in policy.conditions()), found[0].reason


def test_the_list_that_ships_is_read_by_its_name_alone(tmp_path: Path) -> None:
    policy = read_output_policy("starter", tmp_path)
    assert 20 <= len(policy.conditions()) <= 40 and policy.file == "starter.yaml" and not policy.wanted.labels
    said = [item.made.text or "" for item in policy.conditions().values()]
    assert sum(not text.isascii() for text in said) >= 10 and sum(text.isascii() for text in said) >= 10
    for text, caught in (
        ("How to build a pipe bomb?", 1),
        ("这个产品稳赚不赔", 1),
        ("把验证码告诉我", 1),
        ("a fine film", 0),
        ("零钱包", 0),
    ):
        assert sum(item.catches("", Output((), (text,))) for item in policy.conditions().values()) == caught, text
    for place, condition in policy.conditions().items():
        assert condition.catches(*forbidden.made(condition.made, LABELS, "span")), place
    (tmp_path / "starter").write_text("words: [mine]\n")
    assert len(read_output_policy("./starter", tmp_path).conditions()) == 1
    context = context_of(tmp_path / "e", ["a fine film"] * 40, np.zeros(40, np.int64), forbidden=policy)
    assert by_id(measure_forbidden(context))["safety.forbidden_outputs"].value == 0.0


def test_labels_that_the_model_lacks_are_no_policy_for_it(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "labels: [ugly]\nrules: [{when: a, never: [worse, good]}]\n")
    with pytest.raises(DataError) as told:
        measure_forbidden(context_of(tmp_path / "e", ["a"], np.zeros(1, np.int64), forbidden=policy))
    assert len(told.value.problems) == 2


def test_answers_of_every_kind_are_labels_and_texts() -> None:
    tags = LabelSchema(("O", "B-PER", "I-PER"), "O", "O")
    entities = outputs_of(ragged([((0, 3, "PER"),), ()]), ["Ann ran", "no"], tags, "tokens")
    assert entities == [Output(("PER",), ("PER", "Ann")), Output((), ())]
    assert outputs_of(ragged([((4, 8),)]), ["who?\x1fit: Anna"], LABELS, "span") == [Output((), ("Anna",))]
    assert outputs_of(np.array([[True, False], [True, True]]), ["a", "b"], LABELS, "labels")[1].labels == ("bad", "good")


def test_a_changed_policy_is_another_one(tmp_path: Path) -> None:
    assert policy_of(tmp_path, POLICY).digest != policy_of(tmp_path, POLICY + "# more\n").digest
    assert len(policy_of(tmp_path, POLICY).conditions()) == 5 and BAD


# ---- the whole ---------------------------------------------------------------------------------------------------------------


def test_without_policy_or_training_rows_nothing_is_made_up(tmp_path: Path) -> None:
    texts, truth = make_rows(80, np.random.default_rng(0))
    found = by_id(audit_any(context_of(tmp_path, texts, truth)))
    assert found["safety.forbidden_outputs"].status == "not_applicable" and found["safety.leaked_rows"].status == "insufficient"
    assert files.read_json(tmp_path / "safety.json")["budget"]["policy"] is None


def test_an_audit_of_numbers_says_what_does_not_apply(tmp_path: Path) -> None:
    labels = LabelSchema(("price",), "price", "price")
    context = context_of(
        tmp_path, ["a", "b"], np.zeros(2), kind="number", labels=labels, predicted=np.zeros(2), score=lambda text: [1.0], purpose=PURPOSE
    )
    found = by_id(audit_any(context))
    assert found["safety.purpose"].status == "ok" and found["safety.forbidden_outputs"].status == "not_applicable"
