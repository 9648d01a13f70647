"""Wrong labels among training rows, and copies of a model: planted ones are found, twins without them are silent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safety_kit import by_words, context_of, hard_rows, make_rows, split_of

from trustbase import files
from trustbase.audit.safety.extraction import FEATURES, copy, measure_extraction, shuffled
from trustbase.audit.safety.label_noise import wrong_share
from trustbase.audit.safety.mislabelled import confident, measure_mislabelled

pytestmark = pytest.mark.usefixtures("one_thread")


def embed(text: str) -> list[float]:
    return [by_words(text)[1], len(text) / 50]


# ---- wrong labels ------------------------------------------------------------------------------------------------------------


def test_the_confident_joint_is_that_of_the_paper() -> None:
    """Every step of section 3.1 written out row by row."""
    rng = np.random.default_rng(0)
    given = rng.integers(0, 3, 300)
    chances = rng.dirichlet(np.ones(3), 300) + 0.7 * np.eye(3)[np.where(rng.random(300) < 0.2, (given + 1) % 3, given)]
    chances /= chances.sum(1, keepdims=True)
    limits = [np.mean([chances[row, label] for row in range(300) if given[row] == label]) for label in range(3)]
    counts = np.zeros((3, 3), dtype=int)
    for row in range(300):
        passed = [label for label in range(3) if chances[row, label] >= limits[label]]
        if passed:
            counts[given[row], max(passed, key=lambda label: chances[row, label])] += 1
    found = confident(given, chances)
    assert np.array_equal(found.counts, counts) and np.allclose(found.thresholds, limits)
    joint = counts / counts.sum(1, keepdims=True) * np.bincount(given)[:, None] / 300
    assert found.share == pytest.approx(joint.sum() - np.trace(joint))
    assert found.suspect.sum() == counts.sum() - np.trace(counts)


@pytest.mark.parametrize("zh", [False, True], ids=["en", "zh"])
def test_labels_that_were_turned_are_found_and_the_twin_is_silent(zh: bool, tmp_path: Path) -> None:
    found, flagged, silent = [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        texts, truth = make_rows(500, rng, zh=zh)
        test, answers = make_rows(60, rng, zh=zh)
        turned = rng.permutation(500)[:25]
        wrong = truth.copy()
        wrong[turned] = 1 - wrong[turned]
        for name, labels in (("planted", wrong), ("twin", truth)):
            context = context_of(tmp_path / f"{name}{seed}", test, answers, train=split_of("train", texts, labels), embed=embed)
            (finding,) = measure_mislabelled(context)
            assert finding.status == "ok" and finding.n == 500 and finding.low < finding.high  # type: ignore[operator]
            marked = set(context.marked.rows["safety.mislabelled_rows"]["rows"])
            if name == "twin":
                silent.append(finding.high)
                assert len(marked) <= 5
            else:
                assert finding.low <= 0.05 <= finding.high and finding.value > 0.02  # type: ignore[operator]
                found.append(len(marked & set((turned + 1).tolist())) / 25)
                flagged.append(len(marked & set((turned + 1).tolist())) / len(marked))
    assert np.mean(found) >= 0.75 and np.mean(flagged) >= 0.9, "recall and precision over three seeds"
    assert max(silent) < 0.02


@pytest.mark.parametrize("hardness", [2.3, 1.1], ids=["a tenth", "a quarter"])
def test_labels_drawn_from_their_probabilities_are_not_wrong(hardness: float, tmp_path: Path) -> None:
    """Rows that are hard to tell: another label is often likelier than the one that was drawn, and none is wrong."""
    counted = []
    for seed in range(3):
        texts, truth = hard_rows(600, np.random.default_rng(seed), hardness)
        context = context_of(tmp_path / f"{seed}", texts[:60], truth[:60], train=split_of("train", texts, truth), embed=embed)
        (finding,) = measure_mislabelled(context)
        if finding.status == "ok":
            assert finding.low == 0, finding  # type: ignore[operator]
        counted.append(files.read_json(tmp_path / f"{seed}" / "safety.mislabelled_rows.json")["confident_share"])
    assert np.mean(counted) > (0.03 if hardness > 2 else 0.1), "the confident joint counts these rows"


@pytest.mark.parametrize(("hard", "classes"), [(0.5, 2), (2.0, 2), (1.0, 4)], ids=["easy", "hard", "four"])
def test_the_interval_covers_the_share_of_wrong_labels(hard: float, classes: int) -> None:
    """Labels drawn from known probabilities, some then replaced; the held-out ones are these to a power, as of a timid model."""
    covered, told, alarms = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q = rng.dirichlet(np.full(classes, 0.4 * hard), 600)
        truth = (q.cumsum(1) > rng.random((600, 1))).argmax(1)
        wrong = rng.random(600) < 0.05
        given = np.where(wrong, (truth + rng.integers(1, classes, 600)) % classes, truth).astype(np.int64)
        timid = np.clip(q, 1e-6, 1) ** 0.5
        timid /= timid.sum(1, keepdims=True)
        found, clean = wrong_share(given, timid), wrong_share(truth.astype(np.int64), timid)
        covered += [found.low <= 0.05 <= found.high, clean.low <= 0]
        told.append(found.share)
        alarms.append(clean.low > 0.0)
    print(f"covered {np.mean(covered):.3f}, mean {np.mean(told):.3f}, alarms {np.mean(alarms):.3f}")
    assert np.mean(covered) >= 0.9 and abs(np.mean(told) - 0.05) < 0.015 and np.mean(alarms) <= 0.1


def test_rows_that_say_nothing_of_their_label_do_not_reassure(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts, _ = make_rows(300, rng)
    train = split_of("train", texts, rng.integers(0, 2, 300))
    context = context_of(tmp_path, texts[:60], np.zeros(60, np.int64), train=train, embed=lambda text: [0.0, 1.0])
    (finding,) = measure_mislabelled(context)
    assert finding.status == "insufficient" and finding.reason.startswith("control not found: of 15 labels turned on purpose ")


def test_few_rows_and_none_are_told(tmp_path: Path) -> None:
    texts, truth = make_rows(80, np.random.default_rng(0))
    few = context_of(tmp_path, texts, truth, train=split_of("train", texts[:60], truth[:60]), embed=embed)
    assert measure_mislabelled(few)[0].reason.startswith("60 training rows")
    assert "--train" in measure_mislabelled(context_of(tmp_path, texts, truth))[0].reason


def test_evidence_counts_classes_and_names_no_row(tmp_path: Path) -> None:
    texts, truth = make_rows(300, np.random.default_rng(1))
    truth[:20] = 1 - truth[:20]
    context = context_of(tmp_path, texts[:60], truth[:60], train=split_of("train", texts, truth), embed=embed)
    measure_mislabelled(context)
    evidence = files.read_json(tmp_path / "safety.mislabelled_rows.json")
    assert sum(item["rows"] for item in evidence["labels"]) == 300 == evidence["rows"]
    assert sum(item["rows"] for item in evidence["joint"]) == evidence["suspect"] and evidence["control"]["recall"] > 0.5
    assert not [text for text in texts if text in (tmp_path / "safety.mislabelled_rows.json").read_text()]


# ---- copies ------------------------------------------------------------------------------------------------------------------


def test_a_model_of_words_is_copied_and_one_of_chance_is_not(tmp_path: Path) -> None:
    texts, truth = make_rows(400, np.random.default_rng(0))
    (open_,) = measure_extraction(context_of(tmp_path, texts, truth, options={"queries": 200, "encoder": False}))
    assert open_.low > 0.9 and open_.n == 200  # type: ignore[operator]

    def by_chance(text: str) -> list[float]:
        good = (hash_of(text) % 100) / 100
        return [1 - good, good]

    (closed,) = measure_extraction(context_of(tmp_path, texts, truth, score=by_chance, options={"queries": 200, "encoder": False}))
    assert closed.high < 0.7 and closed.status == "ok"  # type: ignore[operator]
    assert "always the commonest answer agrees on" in closed.method


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


def test_more_questions_copy_better() -> None:
    texts, _ = make_rows(900, np.random.default_rng(0))

    def victim(given: Sequence[str]) -> NDArray[np.int64]:
        return np.array([int(by_words(text)[1] > 0.5) for text in given])

    held, agreed = texts[600:], []
    for queries in (30, 500):
        best, tried = copy(texts[:600], victim, queries, 0)
        agreed.append(float((best.answer(held) == victim(held)).mean()))
        assert len(tried) == 6
    assert agreed[0] < agreed[1] > 0.95


@pytest.mark.parametrize("zh", [False, True], ids=["en", "zh"])
def test_made_questions_have_the_forms_of_others_and_no_text_of_them(zh: bool) -> None:
    texts, _ = make_rows(100, np.random.default_rng(0), zh=zh)
    made = shuffled(texts, 50, np.random.default_rng(1))
    assert len(made) == 50 and not set(made) & set(texts)
    signs = set("".join(texts))
    assert all(set(text) <= signs for text in made)


def test_too_few_rows_to_copy_are_told(tmp_path: Path) -> None:
    texts, truth = make_rows(40, np.random.default_rng(0))
    (finding,) = measure_extraction(context_of(tmp_path, texts, truth))
    assert finding.status == "insufficient" and finding.reason.startswith("20 rows to ask about and 20 others")


def test_a_student_reads_the_public_encoder(tmp_path: Path) -> None:
    """The encoder is the packaged one, as it is installed: a base model without a head."""
    texts, truth = make_rows(120, np.random.default_rng(0))
    (finding,) = measure_extraction(context_of(tmp_path / "evidence", texts, truth, options={"queries": 40}))
    students = files.read_json(tmp_path / "evidence" / "safety.extraction_agreement.json")["students"]
    assert finding.status == "ok" and {student["features"] for student in students} == set(FEATURES)
