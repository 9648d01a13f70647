"""The loop's parts against independent oracles: transformers' schedules, torch's clipping, scikit-learn's metrics."""

import math
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics
from train_kit import Toy, job, rows, split, weights

from trustbase import device
from trustbase.errors import RecipeError, TrainingError, UsageError
from trustbase.model.metrics import class_metrics as quality
from trustbase.train.labelled import TokenRows
from trustbase.train.objectives.classification import classification
from trustbase.train.options import STOPPING_OF, TrainOptions
from trustbase.train.schedule import learning_rate_factor, make_optimizer, undecayed
from trustbase.train.track import missing_trackers, tracked
from trustbase.train.update import UpdateTools, gradient_norm, plain


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("total", "warmup"), [(20, 0.1), (7, 0.0), (11, 0.5)])
def test_learning_rates_are_those_of_transformers(schedule, total, warmup):
    from transformers import get_scheduler

    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = get_scheduler(name, optimizer, num_warmup_steps=math.ceil(warmup * total), num_training_steps=total)
    for step in range(total):
        assert learning_rate_factor(step, total, schedule=schedule, warmup=warmup) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-12
        )
        optimizer.step()
        oracle.step()


def _tools(model, clip=None, rate=0.1):
    parameters = list(model.parameters())
    losses = lambda batch: classification(lambda batch: model(**batch.inputs).logits, batch)  # noqa: E731
    return UpdateTools(losses, parameters, torch.optim.SGD(parameters, lr=rate), clip)


def test_accumulated_batches_change_parameters_as_one_batch_of_all_rows_does():
    material, whole, parts = rows(40), Toy().eval(), Toy().eval()
    all_rows = np.arange(40)
    one = plain(_tools(whole), [material.take(all_rows, "cpu")], 1)
    # batches of unequal size: dividing by the number of batches instead of rows would be wrong
    many = plain(_tools(parts), [material.take(piece, "cpu") for piece in np.split(all_rows, [3, 20])], 1)
    assert one.loss == pytest.approx(many.loss, abs=1e-6) and one.rows == many.rows == 40
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert all(parameter.grad is None for parameter in whole.parameters())


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_clipping_is_torchs(clip):
    ours, oracle = Toy().eval(), Toy().eval()
    batch = rows(10).take(np.arange(10), "cpu")
    result = plain(_tools(ours, clip), [batch], 1)
    torch.nn.functional.cross_entropy(oracle(**batch.inputs).logits, batch.labels).backward()
    norm = torch.nn.utils.clip_grad_norm_(oracle.parameters(), clip)
    torch.optim.SGD(oracle.parameters(), lr=0.1).step()
    assert result.gradient_norm == pytest.approx(float(norm), rel=1e-5)
    for a, b in zip(ours.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_overflows_in_a_row_are_an_error_however_large_the_scale_is():
    model, batch = Toy().eval(), rows(10).take(np.arange(10), "cpu")
    tools = _tools(model)
    tools.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    model.table.weight.register_hook(lambda gradient: gradient * torch.nan)
    before = weights(model)
    for step in range(1, 20):
        assert not math.isfinite(plain(tools, [batch], step).gradient_norm)
    with pytest.raises(TrainingError, match=r"step 20 .*the 19 steps before.*those of step 0"):
        plain(tools, [batch], 20)
    assert weights(model) == before and tools.scaler.get_scale() == 2.0**81


def test_an_update_that_went_well_begins_the_count_of_overflows_anew():
    model, batch = Toy().eval(), rows(10).take(np.arange(10), "cpu")
    tools = _tools(model)
    tools.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    spoilt = [True]
    model.table.weight.register_hook(lambda gradient: gradient * (torch.nan if spoilt[0] else 1.0))
    for step in range(1, 40):
        spoilt[0] = step % 10 != 0
        plain(tools, [batch], step)
    assert tools.skipped == 9


def test_weight_decay_spares_biases_and_norms():
    model = Toy()
    assert undecayed(model) == {"norm.weight", "norm.bias", "classifier.bias"}
    optimizer = make_optimizer(
        model, list(model.named_parameters()), TrainOptions(weight_decay=0.3, learning_rate=0.1, head_learning_rate=0.2)
    )
    found = {}
    for group in optimizer.param_groups:
        for name, parameter in model.named_parameters():
            if any(parameter is member for member in group["params"]):
                found[name] = (group["weight_decay"], group["lr"])
    assert found["table.weight"] == (0.3, 0.1) and found["classifier.weight"] == (0.3, 0.2) and found["classifier.bias"] == (0.0, 0.2)
    assert found["norm.weight"] == (0.0, 0.1) and len(found) == 5


def test_no_gradient_has_length_zero():
    assert gradient_norm(list(Toy().parameters())) == 0.0


@pytest.mark.parametrize("classes", [2, 4])
def test_validation_findings_are_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    labels, chances = rng.integers(0, classes, 300), rng.dirichlet(np.ones(classes) * 0.7, 300)
    labels[labels == classes - 1] = 0 if classes > 2 else 1  # a class that never occurs
    answers, found = chances.argmax(1), quality(labels, chances)
    names = range(classes)
    wanted = {
        "quality.accuracy": metrics.accuracy_score(labels, answers),
        "quality.macro_f1": metrics.f1_score(labels, answers, average="macro"),
        "quality.weighted_f1": metrics.f1_score(labels, answers, average="weighted"),
        "quality.log_loss": metrics.log_loss(labels, chances, labels=names),
        "quality.brier": metrics.brier_score_loss(labels, chances[:, 1])
        if classes == 2
        else ((chances - np.eye(classes)[labels]) ** 2).sum(1).mean(),
    }
    assert set(found) == set(wanted) == set(STOPPING_OF["classes"])
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_a_certain_and_wrong_answer_has_a_finite_loss():
    assert math.isfinite(quality(np.array([0]), np.array([[0.0, 1.0]]))["quality.log_loss"])


def test_batches_are_padded_on_the_right():
    material = TokenRows(np.array([5, 6, 7, 8], np.int32), np.array([0, 1, 4]), np.array([0, 1]), 9)
    batch = material.take(np.array([1, 0]), "cpu")
    assert batch.inputs["input_ids"].tolist() == [[6, 7, 8], [5, 9, 9]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.labels.tolist() == [1, 0] and batch.tokens == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "epoch"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"early_stopping_metric": "quality.acuracy"}, "quality.accuracy"),
        ({"max_length": 512, "batch_tokens": 256}, "at most batch_tokens"),
        ({"report_to": ["visdom"]}, "tensorboard"),
        ({"precision": "int8"}, "bf16"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        TrainOptions(**options)


def test_options_have_descriptions_and_short_forms():
    assert all(field.description for field in TrainOptions.model_fields.values())
    assert TrainOptions(early_stopping_metric="macro_f1").early_stopping_metric == "quality.macro_f1"
    assert TrainOptions(report_to="tensorboard").report_to == ("tensorboard",) and TrainOptions(report_to="none").report_to == ()


def test_precision_is_chosen_by_what_the_cpu_has(monkeypatch):
    for flags, wanted, said in (
        ({"_is_avx512_bf16_supported"}, "bf16", "avx512_bf16"),
        (set(), "fp32", "neither"),
        ({"_is_amx_tile_supported"}, "bf16", "AMX"),
    ):
        monkeypatch.setattr(device, "cpu_flag", flags.__contains__)
        name, reason = device.choose_precision("auto", "cpu")
        assert name == wanted and said in reason
        assert device.choose_precision("fp32", "cpu") == ("fp32", "asked for")
    assert device.choose_precision("bf16", "cpu")[0] == "bf16"
    with pytest.raises(UsageError, match="silently"):
        device.choose_precision("fp16", "cpu")
    with pytest.raises(UsageError, match="one of"):
        device.choose_precision("tf32", "cpu")


def test_trackers_that_are_missing_are_refused_with_what_to_install(tmp_path):
    assert [problem.hint for problem in missing_trackers(["wandb"])] == ["pip install wandb, or remove it"]
    with pytest.raises(RecipeError, match="pip install wandb"), tracked(["wandb"], tmp_path, lambda *_, **__: None, settings={}):
        pass


class FakeRuns:
    """Stands in for wandb and mlflow: remembers which run each start belonged to, and what it was told."""

    def __init__(self):
        self.runs, self.settings = [], []

    def _run(self, id):
        self.runs.append((id or f"run-{len(self.runs)}", []))
        return self.runs[-1]

    def wandb(self):
        def init(*, id, resume, **_):
            name, told = self._run(id)
            return SimpleNamespace(id=name, log=lambda values, step: told.append(step), finish=lambda: None)

        return {"init": init}

    def mlflow(self):
        @contextmanager
        def start_run(run_id):
            yield SimpleNamespace(info=SimpleNamespace(run_id=self._run(run_id)[0]))

        return {
            "start_run": start_run,
            "log_params": self.settings.append,
            "log_metrics": lambda values, step: self.runs[-1][1].append(step),
        }


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_resumed_training_goes_on_in_the_trackers_same_run(tmp_path, monkeypatch, name):
    fake, module = FakeRuns(), ModuleType(name)
    module.__dict__.update(getattr(fake, name)())
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)
    for folder, step in (("a", 1), ("a", 2), ("b", 1)):
        with tracked([name], tmp_path / folder, lambda *_, **__: None, settings={"save_every": step}) as emit:
            emit("step", step=step, loss=1.0, learning_rate=0.1, gradient_norm=None)  # fp16 skipped it
    assert fake.runs == [("run-0", [1]), ("run-0", [2]), ("run-2", [1])], "another folder is another training"
    if name == "mlflow":  # a run's parameters cannot be changed
        assert fake.settings == [{"save_every": "1"}, {"save_every": "1"}]


def test_tensorboard_gets_steps_and_evaluations_and_changes_no_weight(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracked(["tensorboard"], tmp_path, lambda *_, **__: None, settings={}) as emit:
        model, progress, _ = job(tmp_path / "a", validation=rows(20, 1), emit=emit)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("train/loss")) == progress.step
    assert [event.value for event in events.Scalars("validation/quality.log_loss")] == pytest.approx(
        [e["quality.log_loss"] for e in progress.history]
    )
    assert weights(model) == weights(job(tmp_path / "b", validation=rows(20, 1))[0])


def test_the_kit_makes_texts_that_can_be_learnt():
    made = split(20, "train")
    assert all(("good" in text) == bool(label) for text, label in zip(made.texts, made.labels, strict=True))
