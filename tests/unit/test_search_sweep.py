"""A sweep as it is called: what it remembers, what it scores on, what it says of its best settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from search_kit import write_world
from typer.testing import CliRunner

from tiny import tiny_bert
from trustbase.cli.main import app
from trustbase.data.corpus.store import CorpusStore
from trustbase.errors import Interrupted, RecipeError, TrainingError, UsageError
from trustbase.search import trial
from trustbase.search.compare import pooled_noise
from trustbase.search.division import Division
from trustbase.search.sweep import sweep

OVER = {"train.learning_rate": ["1e-5", "1e-2"]}
SHORT = {"tokens": 6000, "trials": 4, "repeats": 2}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One sweep, and the events of the call that made it."""
    world, events = tmp_path_factory.mktemp("world"), []
    return sweep(write_world(world), OVER, out=world / "out", listeners=(events.append,), **SHORT), events


def called(events, name):
    return [record for record in events if record["event"] == name]


def test_the_best_settings_are_found_with_the_noise_of_seeds(swept):
    result, _ = swept
    best, other = result.trials
    assert result.overrides == ["train.learning_rate=1e-2"] and best.score < other.score - 0.05
    assert len(best.repeats) == len(other.repeats) == 2 and best.mean == np.mean(best.repeats)
    assert len({best.score, *best.repeats}) == 3, "other seeds give other losses"
    assert result.difference.value == pytest.approx(other.mean - best.mean) and result.difference.pairs == 2
    assert result.noise == pooled_noise([best.repeats, other.repeats])
    assert best.facts["tokens"] >= 6000 and best.facts["non_embedding_parameters"] > 0


def test_the_table_is_written(swept):
    result, _ = swept
    told = json.loads((result.folder / "sweep.json").read_text())
    assert told == json.loads(json.dumps(result.to_json()))
    assert told["schema"] == "trustbase/sweep/1" and told["best"] == ["train.learning_rate=1e-2"] and told["tried"] == 2
    assert "masked" in told["metric"] and told["validation"]["documents"] >= 10


def test_what_is_held_out_for_the_audit_is_not_looked_at(swept):
    from tokenizers import Tokenizer

    folder = swept[0].folder
    store = CorpusStore.open(folder / "corpus" / "documents")
    division = Division.open(folder / "division", store)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))

    def encoded(texts):
        return {tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts}

    def read(part):
        return {tuple(part.ids[a:b].tolist()) for a, b in zip(part.bounds[:-1], part.bounds[1:], strict=True)}

    held_out, trained = encoded(store.held_out), encoded(store.train)
    assert len(held_out) > 10 and read(division.held_out) <= trained and read(division.train) <= trained
    assert not (read(division.train) | read(division.held_out)) & held_out
    assert not read(division.train) & read(division.held_out)


def test_a_finished_trial_is_not_trained_again(swept):
    first, before = swept
    assert len(called(before, "stage_started")) == 4 + 6  # corpus, tokenizer, tokens, division; two trials, four repeats
    events = []
    again = sweep(first.folder.parent / "raw.yaml", OVER, out=first.folder, listeners=(events.append,), **SHORT)
    assert again.to_json() == first.to_json()
    assert not called(events, "stage_started") and not called(events, "step") and len(called(events, "stage_reused")) == 10
    assert not list((first.folder / "trials").glob("*")), "checkpoints of finished trials are not kept"


def test_more_values_train_only_what_is_new(swept):
    first, _ = swept
    events = []
    more = {"train.learning_rate": ["1e-5", "1e-2", "3e-3"]}
    result = sweep(first.folder.parent / "raw.yaml", more, out=first.folder, listeners=(events.append,), **SHORT)
    assert 1 <= len(called(events, "stage_started")) <= 3, "the new value, and its repeats if it is among the best two"
    assert len(result.trials) == 3
    assert result.edges == (("train.learning_rate",) if result.overrides == ["train.learning_rate=1e-2"] else ())


def test_a_training_that_stops_itself_is_a_result_and_all_of_them_an_error(tmp_path, monkeypatch):
    own = trial._pretrain
    broken = {1e-5}

    def sometimes(plan, *rest):
        if plan.recipe.train.learning_rate in broken:
            raise TrainingError("the loss of step 3 is not a finite number")
        return own(plan, *rest)

    monkeypatch.setattr(trial, "_pretrain", sometimes)
    recipe = write_world(tmp_path)
    result = sweep(recipe, OVER, out=tmp_path / "out", **SHORT)
    assert result.trials[-1].failed == "the loss of step 3 is not a finite number" and result.trials[-1].score is None
    assert result.difference is None and "cannot be told from noise" in result.said
    broken.add(1e-2)
    with pytest.raises(TrainingError, match="not one of 2 combinations"):
        sweep(recipe, OVER, out=tmp_path / "other", **SHORT)


def test_a_full_disk_is_no_result(tmp_path, monkeypatch):
    def full(*arguments):
        raise TrainingError("could not be written") from OSError(28, "No space left on device")

    monkeypatch.setattr(trial, "_pretrain", full)
    with pytest.raises(TrainingError, match="could not be written"):
        sweep(write_world(tmp_path), OVER, out=tmp_path / "out", **SHORT)
    records = [json.loads(path.read_text()) for path in (tmp_path / "out" / "stages").glob("trial-*")]
    assert [record["finished"] for record in records] == [False]


def test_an_interrupted_sweep_goes_on(tmp_path, swept):
    import os
    import signal

    recipe, events = write_world(tmp_path), []

    def stop(record):
        if record["event"] == "step" and record["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        sweep(recipe, OVER, out=tmp_path / "out", listeners=(stop,), **SHORT)
    assert len(list((tmp_path / "out" / "trials").glob("*/step-*"))) == 1
    result = sweep(recipe, OVER, out=tmp_path / "out", listeners=(events.append,), **SHORT)
    assert called(events, "resumed")[0]["step"] == 5
    assert [own.score for own in result.trials] == [other.score for other in swept[0].trials], "as if nothing had happened"


def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path):
    recipe = write_world(tmp_path)
    with pytest.raises(RecipeError, match="model"):
        sweep(recipe, {"model.heads": [1, 3]}, out=tmp_path / "out", **SHORT)
    with pytest.raises(UsageError, match="cannot be swept over"):
        sweep(recipe, {"tokenizer.vocab_size": [64, 80]}, out=tmp_path / "out", **SHORT)
    with pytest.raises(UsageError, match="repeats"):
        sweep(recipe, OVER, out=tmp_path / "out", tokens=6000, repeats=1)
    assert not (tmp_path / "out").exists()


def test_a_fine_tuning_recipe_is_scored_by_its_validation_rows(tmp_path):
    tiny_bert(tmp_path / "base")
    rng = np.random.default_rng(0)
    rows = [f"the film was {'good' if y else 'bad'} and old {i},{'yes' if y else 'no'}" for i, y in enumerate(rng.integers(0, 2, 300))]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    recipe = tmp_path / "rows.yaml"
    recipe.write_text(
        "base: base\ndata: {train: rows.csv, text: text, label: label, positive: 'yes'}\n"
        "train: {epochs: 1, batch_tokens: 256, max_length: 32, precision: fp32, threads: 1}\ngates: {quality.accuracy: '>= 0.5'}\n"
    )
    result = sweep(recipe, {"train.learning_rate": [1e-6, 5e-3]}, out=tmp_path / "out", **SHORT)
    assert result.metric.startswith("validation log-loss") and result.overrides == ["train.learning_rate=0.005"]
    assert result.trials[1].score == pytest.approx(np.log(2), abs=0.15) and result.validation == {"rows": result.validation["rows"]}
    with pytest.raises(UsageError, match="cannot be swept over"):
        sweep(recipe, {"model.width": [8, 16]}, out=tmp_path / "out", **SHORT)


def test_the_command_says_it_in_a_few_lines(swept):
    folder = swept[0].folder
    asked = ["--over", "train.learning_rate=1e-5,1e-2", "--tokens", "6k", "--trials", "4", "--repeats", "2", "--out", str(folder)]
    answer = CliRunner().invoke(app, ["sweep", str(Path(folder).parent / "raw.yaml"), *asked])
    assert answer.exit_code == 0, answer.output
    assert "best: train.learning_rate=1e-2" in answer.stdout and "noise from seed to seed" in answer.stdout
    assert f"table: {folder}" in answer.stdout
