"""Findings beside those on record, and the audited rows found in a file: every way in which they can differ."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundles import World

from trustbase import files
from trustbase.audit.recheck import EXACT, Rechecked, Tolerance, recheck_findings, why_not_here
from trustbase.data.audited import find_audited_rows
from trustbase.data.digest import digest_rows, digest_set
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.errors import DataError, UsageError
from trustbase.recheck_command import Recheck, _record_of_run, recheck
from trustbase.records import Finding

ACCURACY = Finding("quality.accuracy", 0.9, 0.85, 0.94, 200, direction="higher")
LOSS = Finding("quality.log_loss", 0.3, 0.25, 0.36, 200, direction="lower")
KS = Finding("quality.ks", 0.6, 0.5, 0.7, 200, direction="higher", seed=3)
GAP = Finding("fairness.demographic_parity_difference[sex]", 0.1, 0.0, 0.2, 200, direction="lower")
BYTES = Finding.exact("efficiency.artifact_bytes", 5_000_000_000, unit="bytes", direction="lower")
FEW = Finding.without_value("quality.recall_at_fpr#0.01", "insufficient", "too few alarms", n=3)


def compared(recorded: Finding, again: Finding, tolerance: Tolerance | None = None) -> Rechecked:
    (row,) = recheck_findings([recorded], [again], tolerance or Tolerance(), lambda _: "")
    return row


def test_tolerances_by_kind_by_hand() -> None:
    stored, new = Tolerance(), Tolerance(scores=1e-4, unsure=0, smallest=30)
    for finding in (ACCURACY, LOSS, KS, GAP):
        assert stored.of(finding) == EXACT
    assert stored.of(replace(LOSS, value=3e3, low=0, high=4e3)) == pytest.approx(4e3 * EXACT)
    assert new.of(ACCURACY) == new.of(GAP) == EXACT  # no row lies near its decision: counts stay exact
    assert new.of(LOSS) == pytest.approx(1e-4, rel=1e-4)
    assert new.of(KS) == pytest.approx(1e-4 + 2 / 200, rel=1e-4)
    near = Tolerance(scores=1e-4, unsure=3, smallest=30, cost=5.0)
    assert near.of(ACCURACY) == pytest.approx(2 * 3 / 200)
    assert near.of(GAP) == pytest.approx(2 * 3 / 30)  # a gap rests on cells smaller than all its rows
    assert near.of(replace(ACCURACY, id="quality.expected_cost")) == pytest.approx(5 * 2 * 3 / 200)
    assert near.of(BYTES) == stored.of(BYTES) == 0  # bytes are counted
    assert near.of(replace(ACCURACY, id="quality.unknown_tokens")) == EXACT  # no answer has a part in it


@pytest.mark.parametrize("finding", [ACCURACY, LOSS, KS, GAP, BYTES, FEW], ids=lambda finding: finding.id)
def test_the_same_is_the_same(finding: Finding) -> None:
    row = compared(finding, finding)
    assert row.outcome == "same" and not row.reason and row.difference == (None if finding.value is None else 0)


@pytest.mark.parametrize(
    ("recorded", "change", "said"),
    [
        (ACCURACY, {"value": 0.9 + 1e-6}, "differs by 1e-06, over 1e-09"),
        (ACCURACY, {"low": 0.8500001}, "differs by 1e-07"),
        (ACCURACY, {"high": 0.95}, "differs by 0.01"),
        (ACCURACY, {"n": 199}, "rests on 199 rows, on record are 200"),
        (ACCURACY, {"direction": "lower"}, "its confidence or its direction is another"),
        (ACCURACY, {"confidence": 0.9}, "its confidence or its direction is another"),
        (BYTES, {"value": 5e9 + 1, "low": 5e9 + 1, "high": 5e9 + 1}, "differs by 1, over 0"),
        (FEW, {"status": "failed"}, "its status is failed, on record is insufficient: too few alarms"),
        (FEW, {"reason": "other"}, "its reason is now: other"),
        (GAP, {"reason": "left out: 3 rows"}, "its reason is now: left out: 3 rows"),
    ],
)
def test_every_difference_is_told(recorded: Finding, change: dict[str, object], said: str) -> None:
    row = compared(recorded, replace(recorded, **change))  # type: ignore[arg-type]
    assert row.outcome == "different" and said in row.reason
    assert row.to_json()["recorded"]["value"] == recorded.value


def test_a_finding_that_lost_its_value_is_different() -> None:
    lost = Finding.without_value(ACCURACY.id, "failed", "broke", n=200, direction="higher")
    assert compared(ACCURACY, lost).outcome == compared(lost, ACCURACY).outcome == "different"


def test_new_answers_may_move_what_lies_near_and_nothing_else() -> None:
    moved = replace(ACCURACY, value=0.905, low=0.855, high=0.945)
    assert compared(ACCURACY, moved, Tolerance(1e-4, unsure=1)).outcome == "same"
    assert compared(ACCURACY, moved, Tolerance(1e-4, unsure=0)).outcome == "different"
    assert compared(LOSS, replace(LOSS, value=0.30009), Tolerance(1e-4)).outcome == "same"
    assert compared(LOSS, replace(LOSS, value=0.302), Tolerance(1e-4, unsure=9)).outcome == "different"


def test_what_is_missing_what_is_new_and_what_cannot_be_measured() -> None:
    rows = recheck_findings([ACCURACY, LOSS], [LOSS, KS], Tolerance(), lambda finding: "")
    assert [(row.id, row.outcome) for row in rows] == [
        ("quality.accuracy", "different"),
        ("quality.log_loss", "same"),
        ("quality.ks", "different"),
    ]
    assert "is not found when it is measured again" in rows[0].reason and "is not on record" in rows[2].reason
    skipped = recheck_findings([KS], [KS], Tolerance(), lambda finding: "not here" if finding.seed is not None else "")
    assert [(row.outcome, row.reason) for row in skipped] == [("not recomputable", "not here")]


def test_another_weakest_slice_is_no_difference_where_rows_lie_near_their_decision() -> None:
    first, second = (Finding(f"quality.slice_accuracy[sex={sex}]", 0.8, 0.7, 0.9, 50) for sex in "fm")
    near = recheck_findings([first], [second], Tolerance(1e-4, unsure=2), lambda _: "")
    assert [row.outcome for row in near] == ["not recomputable"] * 2 and all("2 rows lie so near" in row.reason for row in near)
    sure = recheck_findings([first], [second], Tolerance(1e-4), lambda _: "")
    assert [row.outcome for row in sure] == ["different"] * 2
    errors = [replace(finding, id=finding.id.replace("accuracy", "mae")) for finding in (first, second)]
    assert [row.outcome for row in recheck_findings(errors[:1], errors[1:], Tolerance(1e-4), lambda _: "")] == ["not recomputable"] * 2
    assert [row.outcome for row in recheck_findings(errors[:1], errors[1:], Tolerance(), lambda _: "")] == ["different"] * 2


def test_numbers_move_with_every_score_and_so_do_their_gains_and_slices() -> None:
    new = Tolerance(scores=1e-4, scale=20.0, numbers=True)
    for id in ("quality.mae", "quality.worst_slice_mae", "quality.slice_mae[sex=f]", "quality.gain_over_boosting"):
        assert new.of(replace(ACCURACY, id=id)) == pytest.approx(2e-4 * 20, rel=1e-4), id
    assert replace(new, numbers=False).of(replace(ACCURACY, id="quality.gain_over_boosting")) == EXACT


# --- rows --------------------------------------------------------------------------------------------------------------------


def test_a_set_of_rows_is_known_in_any_order_and_no_other_is() -> None:
    texts, labels, sex = ["a", "b", "bc", "b"], ["x", "y", "x", "y"], ["f", "m", "m", "m"]
    known = digest_set(texts, labels, {"sex": sex})
    for order in ([3, 2, 1, 0], [1, 0, 3, 2]):
        shuffled = [[column[i] for i in order] for column in (texts, labels, sex)]
        assert digest_set(shuffled[0], shuffled[1], {"sex": shuffled[2]}) == known
        assert digest_rows(shuffled[0], shuffled[1], {"sex": shuffled[2]}) != digest_rows(texts, labels, {"sex": sex})
    others = [
        digest_set(["a", "b", "bc"], ["x", "y", "x"], {"sex": ["f", "m", "m"]}),  # a row that stood twice stands once
        digest_set(["a", "b", "bc", "b"], ["y", "x", "x", "y"], {"sex": sex}),
        digest_set(["a", "b", "b", "b"], ["x", "y", "x", "y"], {"sex": ["f", "m", "m", "cm"]}),
        digest_set(texts, labels, {"gender": sex}),
        digest_set(texts, labels, {}),
    ]
    assert len({known, *others}) == len(others) + 1


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["text", "label", "sex"], *rows])
    return path


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, DataOptions, list[list[str]]]:
    rng = np.random.default_rng(0)
    rows = [[f"text {i}", str(rng.choice(["no", "yes"])), str(rng.choice(["f", "m"]))] for i in range(300)]
    return tmp_path, DataOptions(train="rows.csv", text="text", label="label", groups=["sex"]), rows


def test_audited_rows_are_found_in_their_file_alone_and_in_another_order(world: tuple[Path, DataOptions, list[list[str]]]) -> None:
    folder, options, rows = world
    whole = write(folder / "rows.csv", rows)
    made = load(options, root=folder, seed=0)
    test = made.splits["test"]
    labels = [made.labels.names[code] for code in test.labels]
    unordered = digest_set(test.texts, labels, {"sex": test.groups["sex"].tolist()})
    recorded = {"digest": test.digest, "rows": len(test), "set": unordered}
    known = {"text": "text", "labels": made.labels, "recorded": recorded, "seed": 0}

    found = find_audited_rows(whole, options, **known)  # type: ignore[arg-type]
    assert found.in_order and set(found.splits) == {"train", "validation", "test"} and found.splits["test"].digest == test.digest
    own = [rows[number - 1] for number in test.row_numbers.tolist()]
    alone = find_audited_rows(write(folder / "test.csv", own), options, **known)  # type: ignore[arg-type]
    assert alone.in_order and set(alone.splits) == {"test"}
    turned = find_audited_rows(write(folder / "turned.csv", own[::-1]), options, **known)  # type: ignore[arg-type]
    assert not turned.in_order and len(turned.splits["test"]) == len(test)

    own[3][1] = "no" if own[3][1] == "yes" else "yes"
    with pytest.raises(DataError) as error:
        find_audited_rows(write(folder / "other.csv", own), options, **known)  # type: ignore[arg-type]
    told = str(error.value)
    assert test.digest in told and f"all {len(own)} rows: sha256:" in told and "run folder" in told and error.value.exit_code == 2

    with pytest.raises(DataError, match="does not hold the rows"):  # a bundle that recorded no set is known in its own order alone
        known["recorded"] = {"digest": test.digest, "rows": len(test)}
        find_audited_rows(folder / "turned.csv", options, **known)  # type: ignore[arg-type]


def test_a_file_that_cannot_be_read_so_is_refused_with_every_problem(world: tuple[Path, DataOptions, list[list[str]]]) -> None:
    folder, options, rows = world
    write(folder / "rows.csv", rows)
    made = load(options, root=folder, seed=0)
    recorded = {"digest": "sha256:0", "rows": 3}
    known = {"text": "text", "labels": made.labels, "recorded": recorded, "seed": 0}
    (folder / "columns.csv").write_text("body,label\na,yes\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        find_audited_rows(folder / "columns.csv", options, **known)  # type: ignore[arg-type]
    assert "'text'" in str(error.value) and "'sex'" in str(error.value)
    with pytest.raises(DataError, match="maybe"):
        find_audited_rows(write(folder / "labels.csv", [["a", "maybe", "f"], ["b", "yes", "m"]]), options, **known)  # type: ignore[arg-type]


def test_a_sample_is_divided_as_the_recipe_says_so_that_its_training_rows_are_there() -> None:
    options = DataOptions(
        train="sample:census-income", text="{age} years old", label="income", groups=["sex"], sample={"train": 300, "test": 200}
    )
    made = load(options, root=Path(), seed=0)
    test = made.splits["test"]
    known = {"text": made.template.source, "labels": made.labels, "recorded": {"digest": test.digest, "rows": len(test)}, "seed": 0}
    found = find_audited_rows("sample:census-income", options, **known)  # type: ignore[arg-type]
    assert {name: len(split) for name, split in found.splits.items()} == {name: len(split) for name, split in made.splits.items()}


def test_what_a_batch_changes_is_said_to_be_a_matter_of_the_machine_and_no_time() -> None:
    why = why_not_here(SimpleNamespace(askers=None, train=None), libraries={}, here={})  # type: ignore[arg-type]
    for name in ("batch_invariance", "batch_label_flips"):
        reason = why(Finding.exact(f"efficiency.{name}", 0.0, n=64))
        assert "depends on its batch" in reason and "processor" in reason and "a time" not in reason
    assert why(Finding.exact("efficiency.latency_p50_ms", 3.0, n=64)).startswith("a time")
    assert why(Finding.exact("efficiency.parameters", 3)) == ""


@pytest.mark.parametrize(
    ("json_file", "why"),
    [
        ("bundle/again.json", "inside the signed bundle"),
        ("bundle/audit.json", "inside the signed bundle"),
        ("link/again.json", "inside the signed bundle"),
        ("rows.csv", "the rows themselves"),
        ("folder", "is a folder"),
        ("rows.csv/again.json", "is no folder"),
        ("run/audit.json", "is rechecked"),
    ],
)
def test_a_result_goes_nowhere_where_it_would_break_what_is_rechecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json_file: str, why: str
) -> None:
    """Told before anything is opened: these folders hold nothing that could be measured."""
    monkeypatch.chdir(tmp_path)
    for place in ("bundle", "folder", "run/stages"):
        Path(place).mkdir(parents=True)
    Path("link").symlink_to("bundle")
    for name in ("bundle/manifest.json", "bundle/model.sig", "bundle/audit.json", "run/recipe.resolved.yaml", "run/audit.json", "rows.csv"):
        Path(name).write_text("as it was", encoding="utf-8")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError, match=why):
        recheck(
            "run" if json_file.startswith("run") else "bundle",
            data=None if json_file.startswith("run") else "rows.csv",
            json_file=json_file,
        )
    assert sorted(Path().rglob("*")) == before
    assert {path.read_text(encoding="utf-8") for path in before if path.is_file() and not path.is_symlink()} == {"as it was"}


@pytest.mark.parametrize(
    ("verdict", "said"), [('{"released": true}', "its bundle/ is gone"), ('{"released": false}', "nobody signed"), ("", "nobody signed")]
)
def test_a_released_run_without_its_bundle_is_told(tmp_path: Path, verdict: str, said: str) -> None:
    world = World(tmp_path)
    files.write_json(tmp_path / "audit.json", world.report.to_json())
    (tmp_path / "verdict.json").write_text(verdict, encoding="utf-8")
    told: list[str] = []
    _record_of_run(tmp_path, None, lambda event, /, **fields: told.append(f"{event}: {fields['text']}"))
    assert len(told) == 1 and said in told[0]


def test_the_first_word_says_same_only_where_something_was_measured_again(capsys) -> None:
    from trustbase.cli.recheck import show_recheck

    same, other = compared(ACCURACY, ACCURACY), compared(ACCURACY, replace(ACCURACY, value=0.8, low=0.7, high=0.85))
    (unknown,) = recheck_findings([BYTES], [], Tolerance(), lambda _: "only where it was made")
    found = Recheck(Path("bundle"), "new answers", 1e-4, 0, {}, {}, ())
    for rows, word in (((same, unknown), "SAME: 1"), ((other, unknown), "DIFFERENT: 0"), ((unknown,), "NOTHING MEASURED AGAIN: 0")):
        show_recheck(replace(found, rows=rows))
        assert capsys.readouterr().out.startswith(word)
