"""Certified accuracy of whole models: what is hidden, what is asked, which findings come of it, and its controls."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from robustness_kit import asked_context, surely

from tiny import tiny_bert, tiny_roberta
from trustbase import files
from trustbase.audit.context import AuditContext
from trustbase.audit.explain import units
from trustbase.audit.robustness import certified
from trustbase.audit.robustness.masking import answers_hidden, hidden, mask_sign
from trustbase.data.pair import CELL, join
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import Finding

WORDS = ("good", "fine", "bad", "poor", "film", "food", "the", "was")
FIRST, SECOND, THIRD = certified.METRICS[:3]


def rows_of(count: int, words: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS, words - 1))} row{number}" for number in range(count)]


def measured(context: AuditContext) -> tuple[dict[str, Finding], Any]:
    found = {finding.id: finding for finding in certified.measure_certified(context)}
    assert tuple(found) == certified.METRICS
    path = context.evidence.folder / "robustness.certified.json"
    return found, files.read_json(path) if path.exists() else None


def test_a_model_that_always_says_the_same_is_certified_wherever_it_is_right(tmp_path: Path) -> None:
    texts = rows_of(60, 30)
    truth = [number % 3 > 0 for number in range(60)]
    found, evidence = measured(asked_context(tmp_path, texts, truth, lambda text: surely(1)))
    assert [found[id].value for id in certified.METRICS] == [pytest.approx(2 / 3)] * 4
    assert all(finding.low < finding.value < finding.high and finding.n == 60 for finding in found.values())  # type: ignore[operator]
    assert evidence["controls"]["always_the_same"] == {"1": 1.0, "2": 1.0, "3": 1.0}
    assert evidence["controls"]["every_other_mask"] == {"1": 0.0, "2": 0.0, "3": 0.0}
    assert evidence["answers"] == {"no": 0.0, "yes": 1.0} and evidence["median_kept"] == 4


def test_a_model_that_hangs_on_which_words_it_reads_is_not(tmp_path: Path) -> None:
    """Half of its answers are one, half the other, whatever the text."""
    texts = rows_of(60, 30)
    found, _ = measured(asked_context(tmp_path, texts, [1] * 60, lambda text: surely(sum(map(ord, text)) % 2)))
    assert [found[id].value for id in (FIRST, SECOND, THIRD)] == [0.0] * 3 and found[FIRST].high < 0.1  # type: ignore[operator]


def test_a_text_whose_words_agree_is_certified_and_one_that_hangs_on_one_word_is_not(tmp_path: Path) -> None:
    """Good words against bad ones: twenty of one kind stand against three changes, eleven to ten stand against none."""

    def scores(text: str) -> list[float]:
        return surely(text.count("good") >= text.count("bad"))

    agreed = [f"{'good ' * 20}row{number}" for number in range(40)]
    divided = [f"{'good bad ' * 9}good bad good row{number}" for number in range(40)]
    one, evidence = measured(asked_context(tmp_path / "one", agreed, [1] * 40, scores))
    two, _ = measured(asked_context(tmp_path / "two", divided, [1] * 40, scores))
    assert [one[id].value for id in certified.METRICS] == [1.0] * 4
    assert two["robustness.smoothed_accuracy"].value > 0.9 and two[THIRD].value == 0.0
    assert evidence["hidden_as"] == "" and evidence["exact_rows"] == 0


def test_shares_never_grow_with_the_radius(tmp_path: Path) -> None:
    context = asked_context(tmp_path, rows_of(80, 25), [1] * 80, lambda text: surely(text.count("good") + 1 >= text.count("bad")))
    found, evidence = measured(context)
    values = [found[id].value for id in (FIRST, SECOND, THIRD)]
    assert values[0] and all(a >= b for a, b in pairwise(values))  # type: ignore[operator]
    assert values[0] <= found["robustness.smoothed_accuracy"].value  # type: ignore[operator]
    assert [one["radius"] for one in evidence["radii"]] == [1, 2, 3]


def test_few_rows_and_short_texts_are_insufficient(tmp_path: Path) -> None:
    few, evidence = measured(asked_context(tmp_path, rows_of(20, 30), [1] * 20, lambda text: surely(1)))
    assert {finding.status for finding in few.values()} == {"insufficient"} and evidence is None
    short, _ = measured(asked_context(tmp_path, [f"row{number}" for number in range(50)], [1] * 50, lambda text: surely(1)))
    assert [short[id].status for id in (FIRST, SECOND, THIRD)] == ["insufficient"] * 3 and "too few words" in short[FIRST].reason


def test_a_row_without_a_word_is_never_certified(tmp_path: Path) -> None:
    texts = [*rows_of(49, 20), "?!"]
    found, _ = measured(asked_context(tmp_path, texts, [1] * 50, lambda text: surely(1)))
    assert found[FIRST].value == 49 / 50


def test_fields_are_the_units_of_a_template_and_all_masks_are_asked(tmp_path: Path) -> None:
    """Of ten fields two are read: 45 inputs, and nothing is sampled."""
    names = [f"c{number}" for number in range(10)]
    rng = np.random.default_rng(0)
    cells = {name: rng.choice(["a", "b"], 40).tolist() for name in names} | {"c0": [f"x{row}" for row in range(40)]}
    template = ", ".join(f"{{{name}}}" for name in names)
    texts = [", ".join(cells[name][row] for name in names) for row in range(40)]
    context = asked_context(tmp_path, texts, [1] * 40, lambda text: surely(1), table=pa.table(cells), read=template)
    found, evidence = measured(context)
    assert evidence["units"] == "fields" and evidence["exact_rows"] == 40 and evidence["median_kept"] == 2
    assert found[FIRST].value == found[SECOND].value == 1.0 and found[THIRD].status == "insufficient"
    assert "of the fields are read" in found["robustness.smoothed_accuracy"].method
    asked = set(context.predictor.asked)  # type: ignore[union-attr]
    assert len(asked) <= 40 * 45 and all(text.count("unknown") == 8 for text in asked)


def test_what_is_hidden_leaves_no_trace() -> None:
    """Inputs of masks that do not keep a word are the same, whatever that word is: certificates rest on it."""
    rng = np.random.default_rng(0)
    for text, other, columns in (
        ("a good, film (1999) was it.", "a terrible, film (1999) was it.", ()),
        ("这部电影很好看，服务也周到。", "这部电影很难吃，服务也周到。", ()),
        (join("one good text", "and another"), join("one horrible text", "and another"), ()),
        (CELL.join(("good film", "42", "clerk")), CELL.join(("good film", "17", "clerk")), ("age", "job")),
    ):
        one, two = units.words(text, columns=columns), units.words(other, columns=columns)
        assert len(one) == len(two)
        (place,) = [number for number, (a, b) in enumerate(zip(_pieces(text, one), _pieces(other, two), strict=True)) if a != b]
        masks = rng.random((60, len(one))) < 0.5
        masks[:, place] = False
        assert hidden(text, one, masks, "[MASK]") == hidden(other, two, masks, "[MASK]")
        assert hidden(text, one, np.ones((1, len(one)), bool), "[MASK]") == [text]
        kept = ~np.eye(len(one), dtype=bool)[[place]]
        assert hidden(text, one, kept, "[MASK]") != [text]


def _pieces(text: str, found: units.Units) -> list[str]:
    body, *cells = text.split(CELL) if None in found.spans else (text,)
    return [body[span[0] : span[1]] for span in found.spans if span is not None] + list(cells)


def test_the_mask_token_is_used_where_the_tokenizer_reads_it_as_one(tmp_path: Path) -> None:
    bert, roberta = load_tokenizer(tiny_bert(tmp_path / "bert")), load_tokenizer(tiny_roberta(tmp_path / "roberta"))
    assert (mask_sign(bert), mask_sign(roberta), mask_sign(None)) == ("[MASK]", "<mask>", "")
    words = units.words("a good film")
    (text,) = hidden("a good film", words, np.array([[True, False, False]]), mask_sign(bert))
    assert text == "a [MASK] [MASK]" and bert(text)["input_ids"].count(bert.mask_token_id) == 2


def test_masks_hang_on_the_input_and_the_seed_alone(tmp_path: Path) -> None:
    texts = rows_of(40, 30)
    asked = {}
    for name, seed, rows in (("one", 0, texts), ("turned", 0, texts[::-1]), ("other", 1, texts)):
        context = asked_context(tmp_path / name, rows, [1] * 40, lambda text: surely(1))
        arguments = {"share": 0.15, "samples": 60, "labels": context.labels.to_json(), "decision": context.decision.to_json()}
        ask = answers_hidden(context.predictor, seed=seed, **arguments)  # type: ignore[arg-type]
        context.predictor.gather([ask({"text": text, "row": None}) for text in rows])  # type: ignore[union-attr]
        asked[name] = set(context.predictor.asked)  # type: ignore[union-attr]
    assert asked["one"] == asked["turned"] and len(asked["one"] & asked["other"]) < 0.5 * len(asked["other"])
