"""Explanations of a model whose weights are shuffled become others; of one that shuffling leaves alone they stay, and that is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explained_texts import checked, tiny_classifier

from explain_world import audited, review_rows
from trustbase.audit.explain import sanity
from trustbase.audit.explain.local import by_shapley
from trustbase.model import shuffled
from trustbase.model.predict import Predictor
from trustbase.records import LabelSchema

ROWS = {"texts": 10, "samples": 40, "evaluations": 40, "queries": 10, "stability": 16}


def test_shuffled_weights_change_explanations_and_where_they_do_not_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over three models: a shuffled copy agrees by less than 0.5 in three of three; one that is left as it is agrees in three of three."""
    for seed in range(3):
        info = tiny_classifier(tmp_path / str(seed), seed=seed)
        with audited(tmp_path, review_rows(60), budget=ROWS) as context:
            (found,) = checked(context, info)
            with monkeypatch.context() as patched:
                patched.setattr(shuffled, "shuffle_weights", lambda model, rng: None)  # what is learned plays no part
                (planted,) = checked(context, info)
        assert found.status == planted.status == "ok" and "white-box" in found.method
        assert found.high < 0.7 and found.value < 0.5 and planted.value > 0.9  # type: ignore[operator]


def test_a_copy_that_is_not_explained_as_the_artefact_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: where even equal weights are explained otherwise, a low agreement is no good sign."""
    info = tiny_classifier(tmp_path)
    monkeypatch.setattr(sanity, "copies", lambda model: (tiny_model(tmp_path / "other"), tiny_model(tmp_path / "another")))
    with audited(tmp_path, review_rows(60), budget=ROWS) as context:
        (found,) = checked(context, info)
    assert found.status == "insufficient" and "positive control" in found.reason


def test_all_copies_explain_the_score_that_the_artefact_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three classes a shuffled copy answers others, and to explain these would compare two things."""
    info = tiny_classifier(tmp_path, labels=LabelSchema(("low", "mid", "high"), "high", "high"))
    seen: list[tuple[int, int]] = []

    async def noted(game: Any, target: int, *, evaluations: int) -> Any:
        scores = await game.scores(np.ones((1, len(game)), dtype=bool))
        seen.append((target, int(scores[0].argmax())))
        return await by_shapley(game, target, evaluations=evaluations)

    monkeypatch.setattr(sanity, "by_shapley", noted)
    with audited(tmp_path, review_rows(60), budget=ROWS) as context:
        (found,) = checked(context, info)
    count = len(seen) // 3
    own, same, shuffled = (sorted(target for target, _ in seen[start : start + count]) for start in (0, count, 2 * count))
    assert found.status == "ok" and count == 16 and own == same == shuffled
    assert any(target != answer for target, answer in seen[2 * count :]), "the shuffled copy answers otherwise"


def tiny_model(folder: Path) -> object:
    from trustbase.model.runtime_torch import load_model

    return load_model(tiny_classifier(folder, seed=7).folder).requires_grad_(False)


def test_shuffling_keeps_the_numbers_of_every_tensor_and_the_artefact(tmp_path: Path) -> None:
    info = tiny_classifier(tmp_path)
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        before = predictor.class_scores(["good film", "bad food"])
        model, other = tiny_model(tmp_path / "one"), tiny_model(tmp_path / "one")
        shuffled.shuffle_weights(other, np.random.default_rng(0))
        pairs = list(zip(model.parameters(), other.parameters(), strict=True))  # type: ignore[attr-defined]
        assert all(np.array_equal(np.sort(a.numpy().ravel()), np.sort(b.numpy().ravel())) for a, b in pairs)
        assert any(not np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
        predictor.clear_cache()
        assert np.array_equal(predictor.class_scores(["good film", "bad food"]), before)
