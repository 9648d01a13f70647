"""Several processes train one model: the numbers of one process, and the same end whatever happens to one of them."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_kit import run as pretrain_tiny
from several import check_stopped_by_nan, check_stopped_by_signal, outcomes, together
from train_kit import Log, Toy, job, rows, weights

from trustbase.errors import Interrupted, TrainingError, UsageError
from trustbase.train import state, table
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain
from trustbase.train.world import World, dealt, joined

TOY = {"accumulation": 2, "batch_tokens": 24, "epochs": 3, "validation": None}


class Looked(Toy):
    """Its word table is trained by the rows that are used, where such a table counts as large."""

    def get_input_embeddings(self):
        return self.table


class Sudden(Log):
    """Does something in the process of one rank when it comes to a batch."""

    def __init__(self, action, at):
        super().__init__()
        self.action, self.at, self.made = action, at, 0

    def update(self, tools, batches, step, **named):
        if step == self.at:
            self.action(tools, batches)
        return plain(tools, batches, step, **named)


def toy(folder: Path, world: World = World(), action=None, at: int = 6, **options):  # noqa: B008
    """A toy training: losses of its steps, its end, and all weights."""
    sudden = Sudden(action, at)
    model, progress, log = job(
        folder, emit=sudden, update=sudden.update if action else plain, world=world, **{**TOY, "validation": rows(30, 1), **options}
    )
    steps = {fields["step"]: (fields["loss"], fields["gradient_norm"], fields["rows"], fields["tokens"]) for fields in log.of("step")}
    return steps, progress, np.frombuffer(weights(model), np.float32)


def scenarios(rank: int, folder: Path) -> dict:
    """Everything that two processes can show without one of them being lost."""
    with joined("cpu") as world:
        assert world.size == 2 and world.rank == rank
        found = {
            "whole": toy(folder / "whole", world),
            "uneven": toy(folder / "uneven", world, accumulation=3, early_stopping=1, learning_rate=0.05),
            "guarded": toy(folder / "guarded", world, gradient_guard=1.2, spike=2.0, epochs=12),
            "saved": sorted(path.name for path in (folder / "whole").glob("step-*")),
        }
        parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
        for parameter in parameters[rank:2]:
            parameter.grad = torch.full((2,), rank + 1.0)
        world.sum_gradients(parameters)
        found["gradients"] = [None if parameter.grad is None else parameter.grad.tolist() for parameter in parameters]
        table._LARGE_TABLE = 0
        found["used rows"] = toy(folder / "table", world, model=Looked())
        one = rank == 1
        for name, action in (("nan", _spoil), ("signal", lambda tools, batches: os.kill(os.getpid(), signal.SIGTERM))):
            try:
                toy(folder / name, world, action=action if one else None)
                found[name] = "nothing was raised"
            except (TrainingError, Interrupted) as error:
                found[name] = f"{type(error).__name__}: {error.message}"
        world.wait()
        found["gone on"] = toy(folder / "signal", world)
        try:
            job(folder / "other", model=Toy(seed=rank), world=world)
        except TrainingError as error:
            found["other"] = error.message
        return found


def _spoil(tools, batches) -> None:
    for parameter in tools.parameters:
        parameter.data[0] = float("nan")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return outcomes(scenarios, folder, patience=300)


def test_two_processes_make_the_updates_of_one(two, tmp_path):
    first, second = two
    for name, options in (("whole", {}), ("uneven", {"accumulation": 3, "early_stopping": 1, "learning_rate": 0.05})):
        steps, progress, ends = toy(tmp_path / name, **options)
        theirs, their_progress, their_ends = first[name]
        assert len(steps) > 8 and theirs.keys() == steps.keys()
        np.testing.assert_allclose([theirs[i] for i in steps], [steps[i] for i in steps], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(their_ends, ends, atol=1e-5)
        assert (their_progress.best_step, their_progress.finished, their_progress.tokens) == (
            progress.best_step, progress.finished, progress.tokens,
        )  # fmt: skip
        np.testing.assert_array_equal(second[name][2], their_ends)  # to the bit: they hold one model
        assert not second[name][0] or second[name][0] == theirs


def test_a_table_of_used_rows_is_trained_alike(two, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_LARGE_TABLE", 0)
    steps, _, ends = toy(tmp_path, model=Looked())
    np.testing.assert_allclose([two[0]["used rows"][0][i] for i in steps], [steps[i] for i in steps], rtol=1e-5, atol=1e-6)
    unused = slice(8, 16)  # the second row of the table, `(50, 8)`: weight decay would have moved it
    for each in two:
        np.testing.assert_allclose(each["used rows"][2], ends, atol=1e-5)
        np.testing.assert_array_equal(each["used rows"][2][unused], np.frombuffer(weights(Toy()), np.float32)[unused])


def test_a_gradient_that_one_process_lacks_counts_as_zero_and_one_that_all_lack_as_none(two):
    assert two[0]["gradients"] == two[1]["gradients"] == [[1.0, 1.0], [3.0, 3.0], None]


def test_limits_are_kept_by_all_alike(two, tmp_path):
    _, progress, ends = toy(tmp_path, gradient_guard=1.2, spike=2.0, epochs=12)
    (_, theirs, their_ends), (_, others, other_ends) = (each["guarded"] for each in two)
    assert progress.refused + progress.spikes > 0, "nothing broke a limit, so nothing was tested"
    assert (theirs.refused, theirs.spikes, theirs.left_out) == (others.refused, others.spikes, others.left_out)
    assert (theirs.refused, theirs.spikes, theirs.left_out) == (progress.refused, progress.spikes, progress.left_out)
    np.testing.assert_array_equal(their_ends, other_ends)
    np.testing.assert_allclose(their_ends, ends, atol=1e-4)


def test_only_the_first_writes(two):
    assert two[0]["saved"] and two[0]["saved"][-1] == state.name_of(two[0]["whole"][1].step)


def test_what_is_not_finite_in_one_stops_all_with_the_same_words(two):
    check_stopped_by_nan(two)


def test_a_signal_to_one_stops_all_and_they_go_on_to_the_same_bits(two):
    check_stopped_by_signal(two)
    for each in two:
        np.testing.assert_array_equal(each["gone on"][2], two[0]["whole"][2])
    assert min(two[0]["gone on"][0]) == 7


def test_processes_that_hold_different_models_are_refused(two):
    assert all("would not train the same model: they differ in weights" in each["other"] for each in two)


def lost(rank: int, folder: Path, at: int) -> tuple:
    """Pretrain; the second process is killed in the middle of an update."""
    from trustbase.train import pretrain as module

    def deadly(tools, batches, step, **named):
        if at and rank == 1 and step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(tools, batches, step, **named)

    module.plain = deadly
    model, result, log = pretrain_tiny(folder, "masked+next_sentence", save_every=1e-3, accumulation=2, batch_tokens=256, tokens=6000)
    ends = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).numpy()
    return [fields["loss"] for fields in log.of("step")], ends, result.progress.step, result.held_out.findings(), result.facts["processes"]


def test_a_lost_process_ends_the_others_and_they_go_on_to_the_same_bits(tmp_path):
    whole = together(lost, tmp_path / "out", tmp_path / "whole", 0)
    cut = together(lost, tmp_path / "out", tmp_path / "cut", 7)
    assert cut[1] == -signal.SIGKILL and isinstance(cut[0], RuntimeError), cut
    assert state.latest(tmp_path / "cut")[0].name == state.name_of(6)
    again = together(lost, tmp_path / "out", tmp_path / "cut", 0)
    np.testing.assert_array_equal(again[0][1], whole[0][1])
    np.testing.assert_array_equal(again[1][1], whole[0][1])
    assert len(again[0][0]) == whole[0][2] - 6 and again[0][0] == whole[0][0][6:]
    _, alone, log = pretrain_tiny(tmp_path / "alone", "masked+next_sentence", accumulation=2, batch_tokens=256, tokens=6000)
    np.testing.assert_allclose([fields["loss"] for fields in log.of("step")], whole[0][0], atol=1e-5)
    assert whole[0][3].keys() == alone.held_out.findings().keys() and whole[0][3] == whole[1][3]
    assert (whole[0][4], alone.facts["processes"]) == (2, 1)


@pytest.mark.parametrize(
    ("accumulation", "size", "wanted"), [(1, 1, (1, 64)), (1, 2, (2, 32)), (4, 2, (4, 64)), (3, 2, (6, 32)), (2, 4, (4, 32))]
)
def test_batches_are_cut_only_where_they_cannot_be_dealt(accumulation, size, wanted):
    cut = dealt(TrainOptions(accumulation=accumulation, batch_tokens=64, max_length=16), size)
    assert (cut.accumulation, cut.batch_tokens) == wanted
    shares = [World(rank, size).own(range(cut.accumulation)) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1 and sorted(i for share in shares for i, _ in share) == list(range(cut.accumulation))


def test_batches_too_small_to_cut_are_refused():
    with pytest.raises(UsageError, match="which leaves batches of 12"):
        dealt(TrainOptions(batch_tokens=24, max_length=16), 2)
