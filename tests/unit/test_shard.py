"""A model whose state is divided over two processes: the numbers of one process, half of the memory, and the checkpoints of any other."""

import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_kit import PAIRS, corpus
from pretrain_kit import model as tiny_model
from pretrain_kit import run as pretrain_tiny
from several import check_stopped_by_nan, check_stopped_by_signal, outcomes, together
from test_several_processes import Sudden
from torch import nn
from train_kit import LABELS, Log, Toy, job, rows, split, weights

from tiny import tiny_bert
from trustbase.errors import Interrupted, RecipeError, TrainingError
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.train import pretrain as pretrain_module
from trustbase.train import state
from trustbase.train.cluster import ClusterOptions, cluster_problems
from trustbase.train.fit import fit
from trustbase.train.options import TrainOptions
from trustbase.train.parts import bytes_here
from trustbase.train.reading import Reading
from trustbase.train.shard import divided, layers_of
from trustbase.train.update import plain
from trustbase.train.world import ALONE, World, joined

TOLERANCE = 2e-6  # of losses of three to four: gradients are summed in another order
RUN = {"accumulation": 2, "batch_tokens": 256, "tokens": 3000, "dropout": None}
KINDS = [(name, None) for name in PAIRS] + [("causal", "llama"), ("masked", "roberta")]
SEVERAL = "masked+next_sentence+contrastive"
TOY = {"accumulation": 2, "batch_tokens": 24, "epochs": 3}


def losses(log) -> list[float]:
    return [fields["loss"] for fields in log.of("step")]


def ends(model) -> np.ndarray:
    """All weights; nothing where they were left to the first process."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()


def tiny(folder: Path, name: str, kind: str | None = None, **options) -> tuple:
    """A tiny pretraining by the model's own forward, so that dropout is drawn alike: losses, weights, held-out findings, facts."""
    known, Reading.knows = Reading.knows, lambda self, objective: False
    try:
        model, result, log = pretrain_tiny(folder, name, kind=kind, **{**RUN, **options})
    finally:
        Reading.knows = known
    return losses(log), ends(model), result.held_out.findings(), result.facts


def toy(folder: Path, world: World = ALONE, *, shard: bool = False, action=None, at: int = 6, seed: int = 0, **options) -> tuple:
    """A toy training: losses and norms of its steps, its end, and the weights."""
    model, sudden = Toy(seed), Sudden(action, at)
    if shard:
        world = divided(model, world, "cpu", TrainOptions())
    _, progress, log = job(
        folder, model=model, emit=sudden, update=sudden.update if action else plain, world=world,
        **{**TOY, "validation": rows(30, 1), **options},
    )  # fmt: skip
    if world.divided is not None:
        world.divided.put_together()
    steps = {fields["step"]: (fields["loss"], fields["gradient_norm"], fields["rows"], fields["tokens"]) for fields in log.of("step")}
    return steps, progress, np.frombuffer(weights(model), np.float32)


UNEVEN = {"accumulation": 3, "early_stopping": 1, "learning_rate": 0.05}
GUARDED = {"gradient_guard": 1.2, "spike": 2.0, "epochs": 12}


def toys(rank: int, folder: Path) -> dict:
    """What happens to a training, in two processes that divide its state."""
    with joined("cpu") as world:
        found = {
            "whole": toy(folder / "whole", world, shard=True),
            "uneven": toy(folder / "uneven", world, shard=True, **UNEVEN),
            "guarded": toy(folder / "guarded", world, shard=True, **GUARDED),
        }
        one = rank == 1
        for name, action in (("nan", _spoil), ("signal", lambda tools, batches: os.kill(os.getpid(), signal.SIGTERM))):
            try:
                toy(folder / name, world, shard=True, action=action if one else None)
                found[name] = "nothing was raised"
            except (TrainingError, Interrupted) as error:
                found[name] = f"{type(error).__name__}: {error.message}"
        world.wait()
        for name in ("signal", "nan"):
            found[f"{name}, gone on"] = toy(folder / name, world, shard=True)
        try:
            divided(Toy(seed=rank), world, "cpu", TrainOptions())
        except TrainingError as error:
            found["other"] = error.message
        return found


def _spoil(tools, batches) -> None:
    asked = tools.losses
    tools.losses = lambda batch: {term: losses * float("nan") for term, losses in asked(batch).items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return outcomes(toys, folder, patience=900)


def test_two_processes_that_divide_the_state_make_the_updates_of_one(two, tmp_path):
    for name, options in (("whole", {}), ("uneven", UNEVEN)):
        steps, progress, alone = toy(tmp_path / name, **options)
        theirs, their_progress, their_ends = two[0][name]
        assert len(steps) > 8 and theirs.keys() == steps.keys()
        np.testing.assert_allclose([theirs[i] for i in steps], [steps[i] for i in steps], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(their_ends, alone, atol=1e-5)
        assert (their_progress.best_step, their_progress.finished, their_progress.tokens) == (
            progress.best_step, progress.finished, progress.tokens,
        )  # fmt: skip
        assert not two[1][name][2].size, "the others keep no weights"


def test_an_update_of_too_few_batches_was_among_them():
    material = rows()
    counts = [len(material.plan(batch_tokens=24, seed=0, epoch=epoch)) for epoch in range(3)]
    assert any(count % 3 in (1, 2) for count in counts), "no epoch ended with fewer batches than an update has"
    assert [World(rank, 2).lacks([0]) for rank in range(2)] == [False, True]
    assert [World(rank, 2).lacks([0, 1]) for rank in range(2)] == [False, False]


def test_limits_are_kept_and_spikes_rolled_back(two, tmp_path):
    _, progress, alone = toy(tmp_path, **GUARDED)
    (_, theirs, their_ends), (_, others, _) = (each["guarded"] for each in two)
    assert progress.refused + progress.spikes > 0, "nothing broke a limit, so nothing was tested"
    assert (theirs.refused, theirs.spikes, theirs.left_out) == (others.refused, others.spikes, others.left_out)
    assert (theirs.refused, theirs.spikes, theirs.left_out) == (progress.refused, progress.spikes, progress.left_out)
    np.testing.assert_allclose(their_ends, alone, atol=1e-4)


def test_what_is_not_finite_in_one_stops_all_with_the_same_words(two):
    check_stopped_by_nan(two)


def test_they_go_on_to_the_same_bits_from_what_was_saved_then(two):
    check_stopped_by_signal(two)
    for name, first in (("signal", 7), ("nan", 6)):
        steps, _, ends = two[0][f"{name}, gone on"]
        assert min(steps) == first
        np.testing.assert_array_equal(ends, two[0]["whole"][2])


def test_processes_that_hold_different_models_are_refused(two):
    assert all("would not train the same model: they differ in weights" in each["other"] for each in two)


def measuring(held: dict):
    """The update rule, which also notes what this process holds of the state once the gradients are there."""

    def update(tools, batches, step, **named):
        def look() -> None:
            held["bytes"] = bytes_here(tools.parameters, tools.optimizer)

        tools.cleanups.append(look)
        result = plain(tools, batches, step, **named)
        tools.cleanups.remove(look)
        return result

    return update


def objectives(rank: int, folder: Path) -> dict:
    """Every objective, copied and divided; and what a process holds of the state."""
    found: dict = {"bytes": {}}
    with joined("cpu"):
        for name, kind in [*KINDS, (SEVERAL, "BertForPreTraining")]:
            for shard in (False, True):
                held = found["bytes"][name, kind, shard] = {}
                pretrain_module.plain = measuring(held)
                found[name, kind, shard] = tiny(folder / f"{name}-{kind}-{shard}", name, kind, shard=shard)
        for options in ({"gradient_checkpointing": True}, {"precision": "bf16"}):
            key = str(options)
            found[key] = tiny(folder / key, "causal", "llama", shard=True, **options)
    return found


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    return outcomes(objectives, folder, patience=1800)


@pytest.mark.parametrize(("name", "kind"), [*KINDS, (SEVERAL, "BertForPreTraining")])
def test_every_objective_has_the_losses_of_one_process(pretrained, tmp_path, name, kind):
    alone, weights_alone, findings, facts = tiny(tmp_path, name, kind)
    copied, parted = (pretrained[0][name, kind, shard] for shard in (False, True))
    assert len(alone) >= 3
    for other in (copied, parted):
        np.testing.assert_allclose(other[0], alone, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(other[1], weights_alone, atol=1e-3)  # AdamW makes steps of the rounding of gradients near zero
        assert other[2] == pytest.approx(findings, abs=1e-3) and other[3]["flops"] == facts["flops"]
    assert pretrained[1][name, kind, True][2] == parted[2] and not pretrained[1][name, kind, True][1].size
    assert all(way.endswith("the model's own forward, since its state is divided") for way in parted[3]["ways"].values())
    assert (copied[3]["shard"], parted[3]["shard"]) == (False, True)


def test_each_process_holds_half_of_the_state(pretrained):
    for name, kind in KINDS:
        for each in pretrained:
            copied, parted = (each["bytes"][name, kind, shard]["bytes"] for shard in (False, True))
            assert copied > 100_000 and 0.49 < parted / copied < 0.53, (name, parted, copied)


def test_layers_may_be_computed_twice_and_in_bf16(pretrained, tmp_path):
    wanted = pretrained[0]["causal", "llama", True][0]
    again = pretrained[0][str({"gradient_checkpointing": True})][0]
    np.testing.assert_allclose(again, wanted, rtol=0, atol=TOLERANCE)
    half = pretrained[0][str({"precision": "bf16"})][0]
    alone = tiny(tmp_path, "causal", "llama", precision="bf16")[0]
    assert half[0] != wanted[0]
    np.testing.assert_allclose(half, alone, rtol=0, atol=5e-3)


LONG = {"save_every": 1e-3, "tokens": 6000}


def lost(rank: int, folder: Path, at: int, shard: bool) -> tuple:
    """Pretrain; the second process is killed in the middle of an update."""
    held: dict = {}
    measured = measuring(held)

    def deadly(tools, batches, step, **named):
        if at and rank == 1 and step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return measured(tools, batches, step, **named)

    pretrain_module.plain = deadly
    return *tiny(folder, "masked+next_sentence", shard=shard, **LONG)[:2], held["bytes"]


def test_checkpoints_are_those_of_any_number_of_processes(tmp_path, monkeypatch):
    whole = together(lost, tmp_path / "out", tmp_path / "whole", 0, True)
    cut = together(lost, tmp_path / "out", tmp_path / "cut", 7, True)
    assert cut[1] == -signal.SIGKILL and isinstance(cut[0], RuntimeError), cut
    assert state.latest(tmp_path / "cut")[0].name == state.name_of(6)
    for name in ("alone", "copied"):
        shutil.copytree(tmp_path / "cut", tmp_path / name)
    again = together(lost, tmp_path / "out", tmp_path / "cut", 0, True)
    assert again[0][0] == whole[0][0][6:]
    np.testing.assert_array_equal(again[0][1], whole[0][1])  # to the bit
    assert [each[2] for each in again] == [each[2] for each in whole], "what was read back is held in parts too"
    alone = tiny(tmp_path / "alone", "masked+next_sentence", **LONG)
    copied = together(lost, tmp_path / "out", tmp_path / "copied", 0, False)
    for other in (alone, copied[0]):
        assert len(other[0]) == len(again[0][0])
        np.testing.assert_allclose(other[0], again[0][0], rtol=0, atol=TOLERANCE)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(pretrain_module, "plain", lambda tools, batches, step, **named: plain(tools, batches, step // (step != 10), **named))
        tiny(tmp_path / "back", "masked+next_sentence", **LONG)
    assert state.latest(tmp_path / "back")[0].name == state.name_of(9)
    back = together(lost, tmp_path / "out", tmp_path / "back", 0, True)  # the other way round
    assert len(back[0][0]) == len(whole[0][0]) - 9
    np.testing.assert_allclose(back[0][0], whole[0][0][9:], rtol=0, atol=TOLERANCE)


BASE = ("the", "film", "is", "a", "very", "good", "bad")


def tuned(rank: int, folder: Path, base: Path) -> dict:
    """Fine-tuning, copied and divided, full and LoRA."""
    found = {}
    for method in ("full", "lora"):
        for shard in (False, True):
            log = Log()
            options = TrainOptions(
                epochs=2, batch_tokens=128, accumulation=2, max_length=32, learning_rate=3e-3, precision="fp32", dropout=0.0, threads=1
            )
            trained = fit(
                resolve_base(str(base)), TEXT_CLASSIFICATION, LABELS, split(60, "train"), split(20, "validation", 1),
                adapt=AdaptOptions(method=method), options=options, folder=folder / f"{method}-{shard}", shard=shard, emit=log,
            )  # fmt: skip
            found[method, shard] = losses(log), trained.facts["route"], trained.best_value, trained.reload_difference, trained.folder
    return found


def test_a_classifier_is_fine_tuned_alike(tmp_path):
    base = tiny_bert(tmp_path / "base", BASE)
    first, second = together(tuned, tmp_path, tmp_path, base)
    assert isinstance(first, dict) and isinstance(second, dict), (first, second)
    for method in ("full", "lora"):
        copied, parted = (first[method, shard] for shard in (False, True))
        assert len(copied[0]) > 5 and "quicker" in copied[1] and parted[1] == "the model's own forward, since its state is divided"
        np.testing.assert_allclose(parted[0], copied[0], rtol=0, atol=1e-4)  # the quicker route is held to 1e-4
        assert parted[2] == pytest.approx(copied[2], abs=1e-4) and parted[3] <= 1e-5
        ours, theirs = (load_checkpoint(each[4], base=resolve_base(str(base)))[0].state_dict() for each in (parted, copied))
        torch.testing.assert_close(dict(ours), dict(theirs), atol=1e-3, rtol=0)


def test_what_cannot_be_divided_is_said_when_the_recipe_is_read():
    def problems(workers: int = 2, **options) -> list:
        return list(cluster_problems(ClusterOptions(workers=workers, shard=True), TrainOptions(accumulation=2, **options)))

    assert not problems()
    assert [problem.where for problem in problems(1)] == ["cluster.shard"]
    for name in ("muon", "adafactor"):
        (problem,) = problems(optimizer=name)
        assert problem.where == "train.optimizer" and "adamw" in problem.hint
    assert [problem.where for problem in problems(precision="fp16")] == ["train.precision"]
    with pytest.raises(RecipeError, match="cannot be divided") as error:
        divided(Toy(), ALONE, "cpu", TrainOptions())
    assert "there is 1" in error.value.problems[0].message


def test_a_model_that_leaves_out_layers_at_random_is_refused():
    toy = Toy()
    toy.config = type("Config", (), {"encoder_layerdrop": 0.1})
    with pytest.raises(RecipeError, match="encoder_layerdrop leaves out layers at random"):
        divided(toy, World(0, 2), "cpu", TrainOptions())


def test_layers_are_those_of_the_outermost_lists_that_share_nothing():
    sizes = {"masked": 2, "replaced_token": 4, "causal": 2, "span_corruption": 4, "infilling": 4}
    for name, count in sizes.items():
        kind, family = PAIRS[name]
        assert len(layers_of(tiny_model(kind, corpus(family)[1]))) == count, name
    net = nn.Module()
    net.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Dropout()])
    assert layers_of(net) == list(net.layers)[:2]
    net.layers[1].weight = net.layers[0].weight
    assert layers_of(net) == []
    assert math.isclose(World().length(3.0), 3.0)
