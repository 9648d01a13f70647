"""The loop: whatever stops it, the same call goes on to the same bits."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from train_kit import LABELS, Log, Toy, job, rows, split, weights

from tiny import tiny_bert
from trustbase.errors import Interrupted, StaleRunError, TrainingError, UsageError
from trustbase.events import RunLog
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.train import fit as fitting
from trustbase.train import loop, state
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain


class Stopping(Log):
    """Does something once when a step is reported."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def __call__(self, event, /, **fields):
        super().__call__(event, **fields)
        if event == "step" and fields["step"] == self.step:
            self.action()


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_call_goes_on_to_the_same_bits(tmp_path, number, accumulation):
    whole, progress, _ = job(tmp_path / "whole", validation=rows(30, 1), accumulation=accumulation, early_stopping=5)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        job(
            tmp_path / "cut",
            validation=rows(30, 1),
            accumulation=accumulation,
            early_stopping=5,
            emit=Stopping(4, lambda: os.kill(os.getpid(), number)),
        )
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    torch.manual_seed(12345)  # whatever the new process's random state is
    resumed, again, second = job(tmp_path / "cut", validation=rows(30, 1), accumulation=accumulation, early_stopping=5)
    assert second.of("resumed")[0]["step"] == 4
    assert [fields["step"] for fields in second.of("step")] == list(range(5, progress.step + 1))
    assert weights(resumed) == weights(whole)
    assert again.history == progress.history
    assert (again.best_step, again.tokens, again.rows) == (progress.best_step, progress.tokens, progress.rows)


def test_signals_are_left_alone_outside_the_main_thread(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    results = []
    thread = threading.Thread(target=lambda: results.append(job(tmp_path, epochs=1)))
    thread.start()
    thread.join()
    assert results and signal.getsignal(signal.SIGTERM) is before


def test_a_signal_in_the_last_step_is_not_lost(tmp_path):
    _, progress, _ = job(tmp_path / "whole")
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", emit=Stopping(progress.step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    _, again, log = job(tmp_path / "cut")
    assert again.step == progress.step and not log.of("step")


def test_the_callers_random_state_is_not_touched(tmp_path):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    job(tmp_path, epochs=1)
    assert torch.equal(torch.rand(2), wanted)


def test_seeds_decide_batches_and_dropout(tmp_path):
    first, again, other = (weights(job(tmp_path / name, seed=seed, epochs=1)[0]) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again != other


def test_checkpoints_stand_at_epoch_ends_and_never_at_step_0(tmp_path):
    _, progress, log = job(tmp_path, save_every=1e6)
    saved = [fields["step"] for fields in log.of("checkpoint")]
    assert saved == [entry["step"] for entry in progress.history] and len(saved) == 3 and min(saved) > 0
    with pytest.raises(TrainingError, match="step 0"):
        state.save(tmp_path, [], None, state.Progress(), {})


def test_save_every_bounds_the_steps_between_two_saves(tmp_path):
    _, progress, log = job(tmp_path, save_every=1e-9)
    assert [fields["step"] for fields in log.of("checkpoint")] == list(range(1, progress.step + 1))
    assert len(list(tmp_path.glob("step-*"))) <= 3  # the newest two and the best


@pytest.mark.parametrize(("step_seconds", "save_every"), [(1.0, 3.5), (0.4, 2.0), (2.0, 6.0)])
def test_save_every_bounds_the_seconds_between_two_saves(tmp_path, monkeypatch, step_seconds, save_every):
    class Clock(Log):
        """Its time goes on by one step's when a step is reported; each event is kept with its time."""

        now = 100.0

        def __call__(self, event, /, **fields):
            self.now += step_seconds * (event == "step")
            super().__call__(event, at=self.now, **fields)

    log = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: log.now))
    _, progress, _ = job(tmp_path, material=rows(400), epochs=1, save_every=save_every, emit=log)
    saved = [100.0, *(fields["at"] for fields in log.of("checkpoint"))]
    gaps = [after - before for before, after in pairwise(saved)]
    assert saved[-1] == log.now and progress.step * step_seconds > 5 * save_every, "one epoch, much longer than the interval"
    assert max(gaps) <= save_every + 1e-9
    assert max(gaps[:-1]) == min(gaps[:-1]) > save_every - 2 * step_seconds, "nor more often than it takes"


def test_early_stopping_takes_the_best_and_stops(tmp_path):
    # labels of the validation rows are turned round: the better the training rows are learnt, the worse these get
    validation = rows(30, 1)
    validation.labels = 1 - validation.labels
    model, progress, log = job(tmp_path, validation=validation, epochs=30, early_stopping=2, learning_rate=0.05)
    losses = [entry["quality.log_loss"] for entry in progress.history]
    assert progress.best_value == min(losses) and len(losses) == losses.index(min(losses)) + 3 < 30
    assert "no better quality.log_loss" in progress.finished
    state.load_weights(tmp_path / state.name_of(progress.best_step), list((best := Toy()).named_parameters()))
    assert weights(best) == weights(model)
    again, _, log = job(tmp_path, validation=validation, epochs=30, early_stopping=2, learning_rate=0.05)
    assert weights(again) == weights(model) and not log.of("step")


def test_max_steps_and_evaluate_every(tmp_path):
    _, progress, log = job(tmp_path, validation=rows(20, 1), max_steps=7, evaluate_every=3)
    assert progress.step == 7 and {3, 6, 7} <= {entry["step"] for entry in progress.history}
    told = [fields for fields in log.of("progress") if fields["what"] == "training"]
    assert told[-1]["done"] == told[-1]["total"] == 7


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_at_once_and_keeps_the_last_good_state(tmp_path, where):
    def spoil(tools, batches, step):
        if step == 5 and where == "loss":
            real = tools.losses
            tools.losses = lambda batch: {"label": real(batch)["label"] * torch.where(torch.arange(len(batch.rows)) == 1, torch.nan, 1.0)}
        if step == 5 and where == "gradient":
            tools.parameters[0].register_hook(lambda gradient: gradient * torch.inf)
        return plain(tools, batches, step)

    with pytest.raises(TrainingError, match=f"{where} of step 5 ") as stopped:
        job(tmp_path, update=spoil)
    named = re.findall(r"\d+", re.search(r"rows ([\d, ]+)", str(stopped.value)).group(1))
    assert len(named) == 1 if where == "loss" else len(named) > 1
    path, _ = state.latest(tmp_path)
    assert path.name == "step-00000004"
    loaded = Toy()
    state.load_weights(path, list(loaded.named_parameters()))
    assert all(torch.isfinite(parameter).all() for parameter in loaded.parameters())


@pytest.mark.parametrize("saves", [1e-9, 1e6])
@pytest.mark.parametrize("at", [5, "last"])
def test_weights_that_an_update_spoils_are_never_saved_and_the_same_call_goes_on_before_them(tmp_path, at, saves):
    whole, progress, _ = job(tmp_path / "whole", save_every=saves)
    at = progress.step if at == "last" else at

    def spoil(tools, batches, step):
        result = plain(tools, batches, step)
        if step == at:
            with torch.no_grad():
                tools.parameters[-1][0] = torch.inf
        return result

    said = rf"the loss of step 6 .* weights after step {at}," if at == 5 else f"weights are not finite numbers after step {at}: "
    with pytest.raises(TrainingError, match=said):
        job(tmp_path / "cut", update=spoil, save_every=saves)
    kept = sorted((tmp_path / "cut").glob("step-*"))
    assert all(path.name < state.name_of(at) for path in kept) and (saves > 1 or kept[-1].name == state.name_of(at - 1))
    for path in kept:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path / "weights.safetensors").values()), path.name
    resumed, again, _ = job(tmp_path / "cut", save_every=saves)
    assert again.step == progress.step and weights(resumed) == weights(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_run_whose_weights_are_spoilt_saves_nothing(tmp_path, number):
    def spoil(tools, batches, step):
        result = plain(tools, batches, step)
        if step == 5:
            os.kill(os.getpid(), number)
            with torch.no_grad():
                tools.parameters[0].fill_(torch.nan)
        return result

    with pytest.raises(TrainingError, match="after step 5: they are not saved"):
        job(tmp_path, update=spoil, save_every=1e-9)
    assert state.latest(tmp_path)[0].name == state.name_of(4)


def test_a_second_signal_acts_at_once_and_the_same_call_goes_on_to_the_same_bits(tmp_path):
    """Ctrl-C twice: the update under way is given up, and what was saved before it is gone on from."""
    whole, progress, _ = job(tmp_path / "whole", save_every=1e-9)
    reached = []

    def twice(tools, batches, step):
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("one")
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("two")
        return plain(tools, batches, step)

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started this process
    try:
        with pytest.raises(KeyboardInterrupt):
            job(tmp_path / "cut", update=twice, save_every=1e-9)
        assert reached == ["one"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    resumed, again, log = job(tmp_path / "cut", save_every=1e-9)
    assert log.of("resumed")[0]["step"] == 5 and again.step == progress.step and weights(resumed) == weights(whole)


def test_a_stop_names_rows_as_they_are_found_in_their_file(tmp_path, monkeypatch):
    base = resolve_base(str(tiny_bert(tmp_path / "base", ("the", "film", "bad", "good"))))
    sampled = replace(split(40, "train"), row_numbers=np.random.default_rng(0).permutation(900)[:40] + 1, source="films.csv")

    def spoiled(forward, batch):
        losses = classification(forward, batch)["label"]
        return {"label": losses * torch.where(torch.from_numpy(np.isin(batch.rows, (3, 17, 30))).to(losses.device), torch.nan, 1.0)}

    monkeypatch.setattr(fitting, "load", lambda entry: spoiled)
    options = TrainOptions(epochs=1, batch_tokens=4096, max_length=16, precision="fp32", threads=1)
    with pytest.raises(TrainingError, match="loss of step 1 ") as stopped:
        fitting.fit(
            base, TEXT_CLASSIFICATION, LABELS, sampled, None, adapt=AdaptOptions(), options=options, folder=tmp_path / "checkpoints"
        )
    wanted = ", ".join(str(number) for number in sorted(sampled.row_numbers[[3, 17, 30]]))
    assert f"(rows {wanted} of films.csv, counted from 1 without a header)" in str(stopped.value)


def overflowing(steps):
    """An update rule whose gradient overflows in the named steps."""

    def update(tools, batches, step):
        if step not in steps:
            return plain(tools, batches, step)
        hook = tools.parameters[0].register_hook(lambda gradient: gradient * torch.inf)
        try:
            return plain(tools, batches, step)
        finally:
            hook.remove()

    return update


FP16 = {"fingerprint": {"precision": "fp16"}, "save_every": 1e6}  # gives the loop its scaler, which works on a CPU too


def test_fp16_skips_an_overflow_and_goes_on_at_half_the_scale(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    _, progress, _ = job(tmp_path / "checkpoints", update=overflowing({3, 4}), emit=log, **FP16)
    assert progress.finished == "all steps done" and progress.scaler["scale"] == 2**14
    strict = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    norms = {record["step"]: record["gradient_norm"] for record in strict if record["event"] == "step"}
    assert [step for step, norm in norms.items() if norm is None] == [3, 4]


def test_fp16_stops_where_no_scale_helps(tmp_path):
    log, good = Log(), []
    keep = Stopping(4, lambda: good.append(weights(model)))
    model = Toy()
    with pytest.raises(TrainingError, match=r"gradient of step 21 .* the 16 steps before, which fp16 skipped; .* those of step 4"):
        job(tmp_path, model=model, update=overflowing(range(5, 10**6)), emit=keep, epochs=5, **FP16)
    assert [weights(model)] == good
    path, _ = state.latest(tmp_path)
    assert path.name == "step-00000020"
    with pytest.raises(TrainingError, match="gradient of step 21 "):  # the scale is kept, so it does not begin anew
        job(tmp_path, update=overflowing(range(5, 10**6)), emit=log, epochs=5, **FP16)
    assert not log.of("step")


def test_fp16_resumes_with_the_scale_it_had(tmp_path):
    whole, progress, _ = job(tmp_path / "whole", update=overflowing({2, 5}), **FP16)
    stop = Stopping(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", update=overflowing({2, 5}), emit=stop, **FP16)
    resumed, again, log = job(tmp_path / "cut", update=overflowing({2, 5}), **FP16)
    assert log.of("resumed")[0]["step"] == 8
    assert again.scaler == progress.scaler and again.scaler["scale"] == 2**14 and again.scaler["_growth_tracker"] == progress.step - 5
    assert weights(resumed) == weights(whole)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path):
    whole, progress, _ = job(tmp_path / "whole", save_every=1e-9)
    job(tmp_path / "cut", save_every=1e-9)
    newest = tmp_path / "cut" / state.name_of(progress.step)
    with (newest / "weights.safetensors").open("r+b") as handle:
        handle.seek(-1, os.SEEK_END)
        handle.write(b"\x55")
    resumed, _, log = job(tmp_path / "cut", save_every=1e-9)
    assert "not what was written" in log.of("warning")[0]["text"]
    assert log.of("resumed")[0]["step"] == progress.step - 1 and weights(resumed) == weights(whole)


def test_checkpoints_of_other_inputs_are_refused(tmp_path):
    job(tmp_path, epochs=1)
    with pytest.raises(StaleRunError, match="options"):
        job(tmp_path, epochs=2)
    job(tmp_path, epochs=1, save_every=5)  # how often to save changes no weight


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import trustbase.files as files
from trustbase.train import advance, loop, state
from train_kit import job, rows
from trustbase.events import RunLog

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(function, at):
    calls = []
    def wrapper(*args, **kwargs):
        calls.append(1)
        if len(calls) == at:
            die()
        return function(*args, **kwargs)
    return wrapper

def be_killed(where, folder):
    if where == "mid-save": state.save_file = dying(state.save_file, 4)  # the second save: weights written, optimizer not
    if where == "before-rename": files.sync_tree = dying(files.sync_tree, 2)
    if where == "after-rename": state.prune = dying(state.prune, 2)
    if where == "evaluation": loop._measured = dying(loop._measured, 2)
    if where == "before-step": advance._update = dying(advance._update, 12)
    def listen(record):
        if where == "mid-epoch" and record["event"] == "step" and record["step"] == 12: die()
    job(folder / "checkpoints", validation=rows(30, 1), save_every=1e6, emit=RunLog(folder / "log.jsonl", listeners=(listen,)))

for where in sys.argv[2:]:  # imports are paid once; each case is a process of its own
    folder = Path(sys.argv[1], where)
    folder.mkdir()
    child = os.fork()
    if child == 0:
        be_killed(where, folder)
        os._exit(0)
    print(where, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
WAYS = ("mid-save", "before-rename", "after-rename", "mid-epoch", "before-step", "evaluation")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    program = KILLED.format(tests=str(Path(__file__).parent))
    run = subprocess.run([sys.executable, "-c", program, str(folder), *WAYS], capture_output=True, text=True, timeout=300)
    assert run.stdout.split("\n")[:-1] == [f"{way} -9" for way in WAYS], run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    model, progress, log = job(tmp_path_factory.mktemp("whole"), validation=rows(30, 1), save_every=1e6)
    return hashlib.sha256(weights(model)).hexdigest(), progress.step, [fields["step"] for fields in log.of("checkpoint")]


@pytest.mark.parametrize("where", WAYS)
def test_kill_9_at_any_point_costs_at_most_one_save_interval_and_no_bit(where, killed, reference):
    folder, (wanted, total, ends) = killed / where, reference
    before = {int(step) for step in re.findall(r'"event": "step".*?"step": (\d+)', (folder / "log.jsonl").read_text())}
    model, progress, log = job(folder / "checkpoints", validation=rows(30, 1), save_every=1e6)
    resumed = log.of("resumed")[0]["step"]
    assert resumed in ends and resumed == ends[1 if where == "after-rename" else 0]
    twice = before & {fields["step"] for fields in log.of("step")}
    assert len(twice) <= max(b - a for a, b in zip([0, *ends], ends, strict=False))
    assert progress.step == total and hashlib.sha256(weights(model)).hexdigest() == wanted
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]


def test_a_best_checkpoint_that_was_damaged_is_never_taken(tmp_path):
    validation = rows(30, 1)
    validation.labels = 1 - validation.labels
    settings = {"validation": validation, "epochs": 30, "early_stopping": 2, "learning_rate": 0.05}
    _, progress, _ = job(tmp_path, **settings)
    path = tmp_path / state.name_of(progress.best_step) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(TrainingError, match="not what was written"):
        job(tmp_path, **settings)


def test_an_open_precision_may_change_between_machines_and_is_said(tmp_path):
    with pytest.raises(Interrupted):
        job(tmp_path, fingerprint={"precision": "bf16"}, emit=Stopping(3, lambda: os.kill(os.getpid(), signal.SIGTERM)), precision="auto")
    _, _, log = job(tmp_path, fingerprint={"precision": "fp32"}, precision="auto")
    assert log.of("resumed")[0]["step"] == 3 and "begun in bf16" in log.of("warning")[0]["text"]


def test_processes_that_cannot_find_each_other_are_refused(monkeypatch, tmp_path):
    from trustbase.train.fit import fit

    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"):
        fit(None, None, None, None, None, adapt=None, options=TrainOptions(), folder=tmp_path)
