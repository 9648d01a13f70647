"""Every registered adaptation trains what it says and comes back from disk whole; a part that is lost is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trustbase.errors import ModelError, TrainingError
from trustbase.model.adapt import adapt, merge
from trustbase.model.checkpoint import assert_reload_equal, load_checkpoint, save_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import head_names
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.recipe.lookup import ADAPTATIONS
from trustbase.records import LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
TEXTS = ["the food was good", "bad bad service and not very fine", "a", "not good", "fine film", "poor"]
Save = Callable[[nn.Module, Any, Path], None]
NOTICED = (AssertionError, ModelError, TrainingError)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def save(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    save_checkpoint(model, tokenizer, folder, meta={})


def train(model: nn.Module, batch: dict[str, Any], steps: int = 4) -> None:
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        TEXT_CLASSIFICATION.loss(model, batch).mean().backward()
        optimizer.step()


def check_adaptation(method: str, base: Any, folder: Path, *, save: Save = save, prepare: Callable[..., nn.Module] = adapt) -> None:
    """The head is trained; the body only where the method says so; and what is saved is what was trained."""
    tokenizer = load_tokenizer(base.folder)
    rows = encode(tokenizer, TEXTS, max_length=16)
    batch: dict[str, Any] = {name: torch.from_numpy(array) for name, array in pad(rows, range(len(TEXTS)), 0).items()}
    batch["labels"] = torch.tensor([1, 0, 1, 0, 1, 0])
    fresh = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    start = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    model = prepare(fresh, AdaptOptions.model_validate({"method": method}), seed=0).eval()
    with torch.no_grad():
        before = model(**batch).logits.softmax(-1)
    train(model, batch)
    with torch.no_grad():
        after = model(**batch).logits.softmax(-1)
    assert (before - after).abs().max() > 1e-3, "training changed no answer"

    plain, heads = merge(model).state_dict(), set(head_names(fresh))
    moved = {name for name, tensor in plain.items() if name in start and not torch.equal(tensor, start[name])}
    classifier = {name for name in heads if "pooler" not in name}
    assert classifier and classifier <= moved, "the head was not trained"
    assert bool(moved - heads) is (method != "frozen"), f"the body: {sorted(moved - heads)[:3]}"

    save(model, tokenizer, folder)
    assert assert_reload_equal(model, folder, rows) <= 1e-6
    reloaded = merge(load_checkpoint(folder, base=base)[0]).state_dict()
    assert set(reloaded) == set(plain)
    for name, tensor in plain.items():
        assert torch.allclose(reloaded[name], tensor, atol=1e-6), f"{name} was not saved"


def test_how_many_adaptations_are_covered() -> None:
    assert list(ADAPTATIONS) == ["full", "frozen", "lora"]


@pytest.mark.parametrize("method", list(ADAPTATIONS))
def test_every_adaptation_keeps_the_contract(method: str, tiny_folder: Path, tmp_path: Path) -> None:
    check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved")


def rewritten(change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Save:
    """A way of saving that changes or drops (None) some of the tensors in the file."""

    def broken(model: nn.Module, tokenizer: Any, folder: Path) -> None:
        save(model, tokenizer, folder)
        (path,) = folder.glob("*.safetensors")
        tensors = {name: change(name, tensor) for name, tensor in load_file(path).items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, path, metadata={"format": "pt"})

    return broken


SAVES = {
    "head-dropped": rewritten(lambda name, tensor: None if "classifier" in name else tensor),
    "head-fresh": rewritten(lambda name, tensor: torch.randn_like(tensor) * 0.02 if "classifier.weight" in name else tensor),
    "half-precision": rewritten(lambda name, tensor: tensor.to(torch.bfloat16).float()),
}


@pytest.mark.parametrize("kind", list(SAVES))
@pytest.mark.parametrize("method", list(ADAPTATIONS))
def test_a_head_or_weight_that_is_not_saved_is_noticed(method: str, kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NOTICED):
        check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved", save=SAVES[kind])


@pytest.mark.parametrize("kind", ["dropped", "zeroed"])
def test_an_adapter_that_is_not_saved_is_noticed(kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    lost = None if kind == "dropped" else torch.zeros(1)
    broken = rewritten(lambda name, tensor: tensor if "lora_B" not in name else lost if lost is None else lost.expand_as(tensor))
    with pytest.raises(NOTICED):
        check_adaptation("lora", resolve_base(str(tiny_folder)), tmp_path / "saved", save=broken)


def headless(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    model = adapt(model, options, seed=seed)
    for name in head_names(model):
        model.get_parameter(name).requires_grad_(False)
    return model


def everything(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    return adapt(model, options, seed=seed).requires_grad_(True)


@pytest.mark.parametrize(("method", "prepare"), [("full", headless), ("lora", headless), ("frozen", everything)])
def test_a_method_that_trains_other_parts_is_noticed(method: str, prepare: Any, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved", prepare=prepare)
