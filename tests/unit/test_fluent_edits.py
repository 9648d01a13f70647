"""Edits that a masked language model proposes and judges: the one that reads well wins, and the model itself is tried first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fluent_world import ORDER, PARTS, ZH_PARTS, classifier, masked_model, sentences
from typer.testing import CliRunner

import trustbase
from explain_world import audited, review_rows
from trustbase import files
from trustbase.audit import fluency
from trustbase.audit.explain import counterfactual
from trustbase.audit.explain.fluent import tried
from trustbase.audit.explain.local import Game
from trustbase.audit.explain.rows import row_findings
from trustbase.audit.explain.subject import items_of
from trustbase.audit.explain.units import words
from trustbase.audit.masked_words import Masked, open_masked
from trustbase.cli.main import app
from trustbase.records import Finding
from trustbase.report.html import render

pytestmark = pytest.mark.usefixtures("one_thread")

BUDGET = {"texts": 30, "samples": 30, "evaluations": 40, "queries": 60, "stability": 1}
WEIGHTS = {"good": 2.0, "great": 2.0, "fine": 2.0, "lovely": 2.0, "bad": -2.0, "poor": -2.0, "awful": -2.0, "dull": -2.0}
ZH_WEIGHTS = {"舒适": 2.0, "精彩": 2.0, "干净": 2.0, "难吃": -2.0, "破旧": -2.0, "失望": -2.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Callable[[str], Path]:
    """Masked language models of the small language: `en`, `zh`, and `untaught`."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            steps = 0 if name == "untaught" else 200
            made[name] = masked_model(tmp_path_factory.mktemp(name), chinese=name == "zh", steps=steps)
        return made[name]

    return folder


@pytest.fixture
def opened(folders: Callable[[str], Path]) -> Callable[[str], Masked]:
    return lambda name: open_masked(str(folders(name)), option="explanation.fluent")


def by_id(found: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.id.removeprefix("explanation.counterfactual_"): finding for finding in found}


# --- how a text reads ----------------------------------------------------------------------------------------------------------


def test_pseudo_likelihood_is_what_the_model_says_of_each_hidden_token(opened: Callable[[str], Masked]) -> None:
    """The oracle hides each token of the whole text, one at a time, and asks transformers itself."""
    import torch

    masked = opened("en")
    texts = ["the film was good.", "our staff seemed very awful and the room felt dull.", "bad the was hotel"]
    for text, found in zip(texts, fluency.per_token(masked, texts, most=100), strict=True):
        ids = masked.tokenizer(text, return_tensors="pt")["input_ids"][0]
        own = []
        for place in range(1, len(ids) - 1):
            given = ids.clone()
            given[place] = masked.tokenizer.mask_token_id
            with torch.inference_mode():
                own.append(float(masked.model(input_ids=given[None]).logits[0, place].log_softmax(-1)[ids[place]]))
        assert found == pytest.approx(np.mean(own), abs=1e-5)


def test_differences_are_of_what_was_changed_and_its_neighbours(opened: Callable[[str], Masked]) -> None:
    masked = opened("en")
    text, edits = (
        "the film was very good.",
        ["the film was very bad.", "the film was very the.", "the film was very good.", "the film was good."],
    )
    found = fluency.differences(masked, text, edits)
    assert found[1] < -0.5 < found[0] and found[2] == 0.0 and found[3] > -0.5
    around = [["very", "good", ".", "was"], ["very", "bad", ".", "was"]]
    assert len({word for side in around for word in side}) == 5  # two before, and the full stop behind
    whole = fluency.per_token(masked, [text, edits[0]], most=100)
    local = (whole[1] - whole[0]) * 6 / 4  # type: ignore[operator]  # six tokens, of which the four around the change are asked about
    assert found[0] == pytest.approx(local, abs=0.1)
    assert fluency.differences(masked, f"{text}\x1e42", [f"{text}\x1e17"]) == [0.0]  # a cell beside the text is not read
    assert fluency.differences(masked, text, ["", "the film was very \U0001f600."]) == [fluency.UNREADABLE] * 2


def test_pieces_of_a_word_do_not_give_each_other_away(opened: Callable[[str], Masked]) -> None:
    """With each piece the later ones of its word are hidden too; Chinese characters are hidden alone."""
    masked, mask = opened("en"), opened("en").tokenizer.mask_token_id
    read = masked.read("the zyx was good")
    rows = [row for row, _ in fluency._asked(masked, read, range(len(read.ids)))]
    assert len(read.ids) == 6 and [row.count(mask) for row, _ in rows] == [1, 3, 2, 1, 1, 1]
    masked, mask = opened("zh"), opened("zh").tokenizer.mask_token_id
    read = masked.read("酒店破旧")
    assert [row.count(mask) for (row, _), _ in fluency._asked(masked, read, range(4))] == [1] * 4


@pytest.mark.parametrize(("name", "parts", "share"), [("en", PARTS, 0.85), ("zh", ZH_PARTS, 0.6)])
def test_hidden_words_are_proposed_as_the_language_has_them(
    name: str, parts: dict[str, list[str]], share: float, opened: Callable[[str], Masked]
) -> None:
    """Most first proposals are of the hidden word's own part of the sentence, one of six; some Chinese ones are of its characters."""
    kind = {word: part for part, words in parts.items() for word in words}
    hits = []
    for text in sentences(8, 5, chinese=name == "zh"):
        units = words(text)
        found = opened(name).proposals(text, [span or (0, 0) for span in units.spans], range(len(units)), 3)
        for unit, proposed in found.items():
            if units.names[unit] in ("very", "quite", "really", "rather", "so") or units.names[unit] not in kind:
                continue
            assert units.names[unit] not in proposed and len(proposed) <= 3
            assert name == "en" or all(len(word) == len(units.names[unit]) for word in proposed)
            hits += [kind.get(word) == kind[units.names[unit]] for word in proposed]
    assert len(hits) > 60 and np.mean(hits) > share


def test_long_texts_are_read_around_what_is_asked(opened: Callable[[str], Masked]) -> None:
    masked = opened("en")
    long = " ".join(sentences(60, 3))
    edited = long.replace("good", "the", 1)
    rows = [masked.row(masked.read(long), masked.read(long).ids, at) for at in (0, 150, len(masked.read(long).ids) - 1)]
    assert [len(ids) for ids, _ in rows] == [128] * 3 and rows[0][1] == 1 and rows[2][1] == 126
    assert fluency.differences(masked, long, [edited])[0] < -0.5


# --- the search ----------------------------------------------------------------------------------------------------------------


def searched(text: str, others: dict[str, list[str]], masked: Masked | None, folder: Path, least: float = -0.5) -> dict[int, str]:
    """The smallest edit of a text, asked of a model that adds up the weights of words."""
    with audited(folder, pa.table({"text": [text]}), weights=WEIGHTS | ZH_WEIGHTS) as context:
        predictor: Any = context.predictor
        game = Game(predictor, words(text), question="class_scores")
        target = int(predictor.scores([text])[0].argmax())
        given = [others.get(name, []) for name in game.units.names]
        weights = np.array([(WEIGHTS | ZH_WEIGHTS).get(name, 0.0) for name in game.units.names]) * (1 if target else -1)
        judge = None
        if masked is not None:
            judge = counterfactual.Judge(lambda edits: fluency.differences(masked, text, game.units.edited(edits)), least)
        search = counterfactual.smallest_edit(
            game, weights, target, flips=lambda scores: int(scores.argmax()) != target, others=given, queries=60, judge=judge
        )
        found = predictor.gather([search])[0]
        assert (found.reads is None) == (judge is None or not found.edits) and (found.reads is None or found.reads >= least)
        return {game.units.names[unit]: new for unit, new in found.edits.items()}  # type: ignore[misc]


def test_of_equally_small_edits_the_one_that_reads_well_wins(opened: Callable[[str], Masked], tmp_path: Path) -> None:
    """Without a judge the edit that takes most wins: here three moods in a verb's place."""
    text, others = "the film was good.", {"good": ["poor", "bad"], "was": ["awful awful awful"]}
    assert searched(text, others, None, tmp_path / "a") == {"was": "awful awful awful"}
    assert searched(text, others, opened("en"), tmp_path / "b") in ({"good": "poor"}, {"good": "bad"})
    chinese, others = "这家酒店总是非常舒适。", {"舒适": ["难吃", "破旧"], "总是": ["失望失望失望"]}
    assert searched(chinese, others, None, tmp_path / "c") == {"总是": "失望失望失望"}
    assert searched(chinese, others, opened("zh"), tmp_path / "d") in ({"舒适": "难吃"}, {"舒适": "破旧"})


def test_edits_that_read_badly_do_not_count_and_larger_ones_that_read_well_do(opened: Callable[[str], Masked], tmp_path: Path) -> None:
    text = "the film was good and our hotel felt lovely because this room was great."
    badly = {"film": ["awful awful awful"]}
    assert searched(text, badly, None, tmp_path / "a") == {"film": "awful awful awful"}
    assert searched(text, badly, opened("en"), tmp_path / "b") == {}
    well = {**badly, "good": ["bad"], "lovely": ["poor"], "great": ["dull"]}
    found = searched(text, well, opened("en"), tmp_path / "c")
    assert len(found) == 2 and found.items() <= {"good": "bad", "lovely": "poor", "great": "dull"}.items()


# --- the audit -----------------------------------------------------------------------------------------------------------------


def rows_of(name: str) -> pa.Table:
    return pa.table({"text": sentences(40, 17, chinese=name == "zh")})


@pytest.mark.parametrize("name", ["en", "zh"])
def test_edits_of_an_audit_keep_the_grammar(name: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    parts, weights = (ZH_PARTS, ZH_WEIGHTS) if name == "zh" else (PARTS, WEIGHTS)
    with audited(tmp_path, rows_of(name), weights=weights, budget={**BUDGET, "fluent": str(folders(name))}) as context:
        found = by_id(row_findings(context))
    assert found["found"].value > 0.8 and found["fluency"].status == "ok" and found["fluency"].value > -0.5, found["fluency"].reason  # type: ignore[operator]
    assert found["fluency"].unit == "nats per token" and "Salazar" in found["fluency"].source
    assert all("masked language model" in found[key].method for key in ("found", "size", "fluency"))
    told = files.read_json(tmp_path / "explanation.counterfactual.json")["fluency"]
    assert told["control"]["shuffled_reads_worse"] == 1.0 and told["drawn_words"]["refused"] > 0.6 and told["least_difference"] < 0
    assert not any(word in str(told) for word in parts["noun"])


def test_a_model_that_was_taught_nothing_is_not_believed(folders: Callable[[str], Path], tmp_path: Path) -> None:
    with audited(tmp_path, rows_of("en"), weights=WEIGHTS, budget={**BUDGET, "fluent": str(folders("untaught"))}) as context:
        found = by_id(row_findings(context))
    for key in ("found", "size", "fluency"):
        assert found[key].status == "insufficient" and "control not found" in found[key].reason
    assert found["found"].value is None


def test_what_cannot_judge_is_said_and_other_findings_stand(folders: Callable[[str], Path], tmp_path: Path) -> None:
    with audited(tmp_path / "a", rows_of("en"), weights=WEIGHTS, budget={**BUDGET, "fluent": str(tmp_path / "none")}) as context:
        found = by_id(row_findings(context))
    assert {found[key].status for key in ("found", "size", "fluency")} == {"not_applicable"} and "none" in found["found"].reason
    assert next(finding for id, finding in found.items() if id.endswith("comprehensiveness")).status == "ok"
    with audited(tmp_path / "b", review_rows(30), budget=BUDGET) as context:
        found = by_id(row_findings(context))
    assert found["fluency"].status == "not_applicable" and "explanation.fluent" in found["fluency"].reason
    assert found["found"].status == "ok" and "nobody judged" in found["found"].method


def test_too_short_texts_try_nobody(folders: Callable[[str], Path], tmp_path: Path) -> None:
    table = pa.table({"text": [f"{det} {noun}" for det in PARTS["det"] for noun in PARTS["noun"]]})
    with audited(tmp_path, table, weights={"film": 2.0, "room": -2.0}, budget={**BUDGET, "fluent": str(folders("en"))}) as context:
        trial = tried(context, items_of(context, 30))
    assert trial.why.startswith("0 texts") and ORDER[0] == "det"


def test_power_and_false_alarms_of_the_threshold(opened: Callable[[str], Masked], folders: Callable[[str], Path], tmp_path: Path) -> None:
    """Of words of the same part of the sentence nearly all count; of words of another part few do: benchmarks/fluent_edits.py."""
    for name, parts in (("en", PARTS), ("zh", ZH_PARTS)):
        kind = {word: part for part, words in parts.items() for word in words}
        with audited(tmp_path / name, rows_of(name), weights=WEIGHTS, budget={**BUDGET, "fluent": str(folders(name))}) as context:
            least = tried(context, items_of(context, 30)).least
        rng, well, badly = np.random.default_rng(0), list[float](), list[float]()
        for text in sentences(20, 23, chinese=name == "zh"):
            units = words(text)
            own = [(unit, name) for unit, name in enumerate(units.names) if name in kind]
            same = [{unit: str(rng.choice([word for word in parts[kind[name]] if word != name]))} for unit, name in own]
            other = [{unit: str(rng.choice([word for word in kind if kind[word] != kind[name]]))} for unit, name in own]
            well += fluency.differences(opened(name), text, units.edited(same))
            badly += fluency.differences(opened(name), text, units.edited(other))
        assert np.mean(np.array(well) >= least) > 0.9 and np.mean(np.array(badly) < least) > 0.8


# --- the command ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Callable[[str], tuple[Path, Path]]:
    """A classifier of moods, and its rows, by language."""
    made: dict[str, tuple[Path, Path]] = {}

    def folder(name: str) -> tuple[Path, Path]:
        if name not in made:
            made[name] = classifier(tmp_path_factory.mktemp(f"moods-{name}"), chinese=name == "zh")
        return made[name]

    return folder


@pytest.mark.parametrize("name", ["en", "zh"])
def test_a_checkpoint_of_others_is_audited_by_a_folder_that_judges(
    name: str,
    folders: Callable[[str], Path],
    classifiers: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    model, rows = classifiers(name)
    asked = {**BUDGET, "texts": 20, "stability": 1, "fluent": folders(name)}
    budget = [word for option, value in asked.items() for word in ("--budget", f"explanation.{option}={value}")]
    out = tmp_path / "out"
    given = ["audit", model, "--data", rows, "--text", "text", "--label", "label", "--only", "explanation", "--out", out, *budget]
    answer = CliRunner().invoke(app, [str(each) for each in given])
    assert answer.exit_code == 0, answer.output
    told = files.read_json(out / "audit.json")["findings"]
    found = {each["id"].removeprefix("explanation.counterfactual_"): each for each in told}
    assert found["found"]["value"] > 0.6 and found["fluency"]["status"] == "ok" and found["size"]["value"] < 0.5
    assert "masked language model local:model" in found["found"]["method"] and str(tmp_path) not in json.dumps(told)
    counted = files.read_json(out / "evidence" / "explanation.counterfactual.json")
    assert counted["replaced"] > counted["left_out"] and counted["fluency"]["judged"]
    assert str(folders(name)) not in (out / "evidence" / "explanation.json").read_text(encoding="utf-8")
    for page, words_of in (("en", "by an edit that reads well"), ("zh", "即视为通顺")):
        assert words_of in render(out, lang=page)


def test_two_processes_find_what_one_finds(
    folders: Callable[[str], Path], classifiers: Callable[[str], tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    model, rows = classifiers("en")
    asked: dict[str, Any] = {"data": rows, "text": "text", "label": "label", "only": ["explanation"]}
    asked["budget"] = {"explanation": {**BUDGET, "texts": 20, "fluent": str(folders("en"))}}
    told = [trustbase.audit(model, **asked, out=tmp_path / str(workers), workers=workers).report.findings for workers in (1, 2)]
    one, two = ({finding.id: finding.value for finding in each if "counterfactual" in finding.id} for each in told)
    assert one == pytest.approx(two, abs=1e-4) and None not in one.values()
