"""AdaLoRA: the schedule against PEFT's own, ranks that fall to the budget, and a resumption that knows what was weighed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from several import together
from train_kit import LABELS, Log, split

from tiny import tiny_bert
from trustbase.model.adapt import adapt, adapted_layers, companion_of, merge, trainable
from trustbase.model.adaptations.ranks import Ranks
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.train.fit import fit
from trustbase.train.options import TrainOptions

OPTIONS = AdaptOptions(method="adalora", rank=4, prune_from=0.2, prune_until=0.6)
IDS = torch.tensor([[5, 9, 12, 7, 0], [6, 8, 14, 30, 31], [11, 25, 0, 0, 0], [22, 23, 24, 25, 26]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long(), "labels": torch.tensor([0, 1, 0, 1])}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return resolve_base(str(tiny_bert(tmp_path_factory.mktemp("base"), ("the", "film", "is", "a", "very", "good", "bad"))))


def built(base, options=OPTIONS):
    return adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), options, seed=0).eval()


def test_the_schedule_is_that_of_peft_on_the_same_gradients(base):
    """PEFT's allocator, its loss and its masks, update by update, until ranks are settled."""
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    total = 20
    ours, theirs = built(base), built(base)
    beside = companion_of(ours, total)
    assert isinstance(beside, Ranks)
    config = AdaLoraConfig(target_r=4, init_r=6, tinit=4, tfinal=8, deltaT=1, total_step=total)
    allocator = RankAllocator(theirs, config, "default")
    optimizers = [torch.optim.Adam([parameter for _, parameter in trainable(model)], lr=0.02) for model in (ours, theirs)]
    ranks = []
    for step in range(1, total - 8):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            loss = TEXT_CLASSIFICATION.loss(model, BATCH).mean()
            if model is theirs:
                sides = [p @ p.T if "lora_A" in n else p.T @ p for n, p in theirs.named_parameters() if "lora_A" in n or "lora_B" in n]
                loss = loss + 0.5 * sum(torch.norm(side - torch.eye(len(side))) for side in sides) / len(sides)
            loss.backward()
        beside.before()
        for optimizer in optimizers:
            optimizer.step()
        beside.after(step)
        budget, _ = allocator.update_and_allocate(theirs, step)
        assert budget == beside.budget(step)
        ranks.append(sum(beside.kept().values()))
        for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4, msg=name)
    assert ranks[0] == 6 * 12 and ranks[-1] < 5 * 12 and ranks == sorted(ranks, reverse=True)


def test_the_budget_falls_along_a_cubic_curve_and_then_stays(base):
    beside = Ranks(built(base), OPTIONS, 100)
    assert [beside.budget(step) for step in (1, 20)] == [72, 72]
    assert beside.budget(40) == 48 + int((72 - 48) * 0.5**3)
    assert [beside.budget(step) for step in (60, 61, 100)] == [48, 48, 48]
    assert Ranks(built(base), OPTIONS, 1).budget(1) == 48, "a training of one update ends with the ranks that were asked for"


def test_ranks_fall_to_the_budget_stay_settled_and_go_where_they_matter(base):
    model = built(base)
    beside, optimizer = companion_of(model, 30), torch.optim.Adam([parameter for _, parameter in trainable(model)], lr=0.02)
    kept = []
    for step in range(1, 31):
        optimizer.zero_grad()
        TEXT_CLASSIFICATION.loss(model, BATCH).mean().backward()
        beside.before()
        optimizer.step()
        beside.after(step)
        kept.append(beside.kept())
    assert sum(kept[17].values()) == sum(kept[-1].values()) == 4 * 12
    assert kept[17] == kept[-1], "settled ranks moved"
    assert len(set(kept[-1].values())) > 1, "every layer kept the same number: nothing was weighed"
    merged = merge(model)
    assert not adapted_layers(merged)
    with torch.no_grad():
        torch.testing.assert_close(merged(**BATCH).logits, model(**BATCH).logits, atol=1e-5, rtol=1e-4)


def test_what_was_weighed_travels_in_its_state(base):
    states = []
    for cut in (None, 5, 20):
        model, total = built(base), 30
        beside, optimizer = companion_of(model, total), torch.optim.SGD([parameter for _, parameter in trainable(model)], lr=0.1)
        for step in range(1, total + 1):
            if step == cut:
                known = {name: tensor.clone() for name, tensor in beside.state().items()}
                beside = companion_of(model, total)
                beside.load(known)
            optimizer.zero_grad()
            TEXT_CLASSIFICATION.loss(model, BATCH).mean().backward()
            beside.before()
            optimizer.step()
            beside.after(step)
        states.append(model.state_dict())
    for state in states[1:]:
        assert all(torch.equal(tensor, states[0][name]) for name, tensor in state.items())


def fitted(base, folder: Path, emit, **changed):
    asked = {"epochs": 3, "batch_tokens": 128, "max_length": 32, "learning_rate": 5e-3, "precision": "fp32", "dropout": 0.1, "threads": 1}
    options = TrainOptions.model_validate({**asked, "save_every": 1e-9, **changed})
    return fit(
        base,
        TEXT_CLASSIFICATION,
        LABELS,
        split(80, "train"),
        split(20, "validation", 1),
        adapt=OPTIONS,
        options=options,
        folder=folder,
        emit=emit,
    )


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_adalora import fitted
from trustbase.model.load import resolve_base

for at in sys.argv[3:]:  # imports are paid once; each case is a process of its own
    def told(event, /, **fields):
        if event == "step" and fields["step"] == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
    child = os.fork()
    if child == 0:
        fitted(resolve_base(sys.argv[1]), Path(sys.argv[2], at), told)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_kill_9_while_ranks_fall_or_after_costs_no_bit(base, tmp_path):
    log = Log()
    whole = fitted(base, tmp_path / "whole", log)
    total = log.of("step")[-1]["step"]
    assert total >= 15, total
    places = [round(share * total) for share in (0.4, 0.8)]
    program = KILLED.format(paths=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    arguments = [sys.executable, "-c", program, str(base.folder), str(tmp_path), *map(str, places)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.stdout.split() == ["-9", "-9"], run.stdout + run.stderr
    for at in places:
        again = Log()
        cut = fitted(base, tmp_path / str(at), again)
        assert again.of("resumed")[0]["step"] in (at - 1, at)
        read = [(trained.folder / "adapter_model.safetensors").read_bytes() for trained in (whole, cut)]
        assert hashlib.sha256(read[0]).digest() == hashlib.sha256(read[1]).digest()
        assert (whole.reload_difference, cut.digest) == (0.0, whole.digest)
    values = [layer.lora_E["default"] for layer in adapted_layers(load_checkpoint(whole.folder, base=base)[0]).values()]
    assert sum(int((value != 0).sum()) for value in values) <= 6 * 12


def shared(rank: int, folder: Path, base: Path) -> tuple:
    """One of two processes that train the same model."""
    log = Log()
    trained = fitted(resolve_base(str(base)), folder / "two", log, accumulation=2, dropout=0.0)
    return [fields["loss"] for fields in log.of("step")], trained.digest, trained.facts["processes"]


def test_two_processes_take_the_same_ranks_away_as_one(base, tmp_path):
    log = Log()
    alone = fitted(base, tmp_path / "one", log, accumulation=2, dropout=0.0)
    first, second = together(shared, tmp_path, tmp_path, base.folder)
    assert isinstance(first, tuple) and isinstance(second, tuple), (first, second)
    assert first[1:] == second[1:] and first[2] == 2
    assert first[0] == pytest.approx([fields["loss"] for fields in log.of("step")], abs=1e-4)
    kept = []
    for folder in (alone.folder, tmp_path / "two" / "trained"):
        layers = adapted_layers(load_checkpoint(folder, base=base)[0])
        kept.append({name: (layer.lora_E["default"] != 0).flatten().tolist() for name, layer in layers.items()})
    assert kept[0] == kept[1]
