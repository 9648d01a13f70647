"""Every registered adaptation trains what it says and comes back from disk whole; a part that is lost is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from optional import adaptations_here, unless_installed
from tiny import tiny_bert
from trustbase.errors import ModelError, TrainingError
from trustbase.model.adapt import adapt, companion_of, merge, merges, trainable
from trustbase.model.adaptations.shared import ADDED
from trustbase.model.checkpoint import assert_reload_equal, load_checkpoint, save_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import head_names
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ADAPTATIONS
from trustbase.records import LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
TEXTS = ["the food was good", "bad bad service and not very fine", "a", "not good", "fine film", "poor"]
Save = Callable[[nn.Module, Any, Path], None]
GOOD, BAD, FILLER = ("good", "fine", "lovely"), ("bad", "poor", "dull"), ("the", "film", "was", "very", "a", "and", "food", "old", "with")
NAMES = {
    "full": "",
    "lora": "lora_",
    "qlora": "lora_",
    "adalora": "lora_",
    "adapter": "added_",
    "prefix": "added_",
    "prompt": "added_",
}  # of what is trained
NOTICED = (AssertionError, ModelError, TrainingError)


pytestmark = pytest.mark.usefixtures("one_thread")


def save(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    save_checkpoint(model, tokenizer, folder, meta={})


def train(model: nn.Module, batch: dict[str, Any], steps: int = 4) -> None:
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        TEXT_CLASSIFICATION.loss(model, batch).mean().backward()
        optimizer.step()


def settled(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that ship: merged where that can be."""
    return (merge(model) if merges(model) else model).state_dict()


def check_adaptation(method: str, base: Any, folder: Path, *, save: Save = save, prepare: Callable[..., nn.Module] = adapt) -> None:
    """The head is trained; beside it only what the method names; and what is saved is what was trained."""
    tokenizer = load_tokenizer(base.folder)
    rows = encode(tokenizer, TEXTS, max_length=16)
    batch: dict[str, Any] = {name: torch.from_numpy(array) for name, array in pad(rows, range(len(TEXTS)), 0).items()}
    batch["labels"] = torch.tensor([1, 0, 1, 0, 1, 0])
    fresh = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    own = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    model = prepare(fresh, AdaptOptions.model_validate({"method": method}), seed=0).eval()
    heads, mark = {name for name in own if name in set(head_names(fresh))}, NAMES.get(method)
    beside = {name for name, _ in trainable(model)} - heads
    assert beside == {name for name, _ in model.named_parameters() if mark is not None and mark in name} - heads, "it trains other parts"
    start = own | {name: tensor.clone() for name, tensor in model.state_dict().items() if ADDED in name}
    with torch.no_grad():
        before = model(**batch).logits.softmax(-1)
    train(model, batch)
    with torch.no_grad():
        after = model(**batch).logits.softmax(-1)
    assert (before - after).abs().max() > 1e-3, "training changed no answer"

    plain = settled(model)
    moved = {name for name, tensor in plain.items() if name in start and not torch.equal(tensor, start[name])}
    classifier = {name for name in heads if "pooler" not in name}
    assert classifier and classifier <= moved, "the head was not trained"
    assert bool(moved - heads) is (method != "frozen"), f"the body: {sorted(moved - heads)[:3]}"
    assert merges(model) or moved - heads == beside, "the base's own weights moved, or something that was added did not"

    save(model, tokenizer, folder)
    assert assert_reload_equal(model, folder, rows) == 0.0
    reloaded = settled(load_checkpoint(folder, base=base)[0])
    assert set(reloaded) == set(plain)
    for name, tensor in plain.items():
        assert torch.equal(reloaded[name], tensor), f"{name} was not saved"


def test_how_many_adaptations_are_covered() -> None:
    assert list(ADAPTATIONS) == ["full", "frozen", "lora", "qlora", "adalora", "adapter", "prefix", "prompt"]


def test_the_registry_says_what_the_adaptations_are() -> None:
    owned = {name for entry in ADAPTATIONS.values() for name in entry.options}
    assert owned == set(AdaptOptions.model_fields) - {"method"}, "an option belongs to no method, or is none"
    for name, entry in ADAPTATIONS.items():
        way = load(entry)
        assert (entry.leaves == "adapter") is (way.leaves is not None), name
        assert (way.merge is not None) is (entry.merges and entry.leaves == "adapter"), name


@pytest.mark.parametrize("method", adaptations_here(ADAPTATIONS))
def test_every_adaptation_keeps_the_contract(method: str, tiny_folder: Path, tmp_path: Path) -> None:
    check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved")


RATES = {"full": 0.003, "prefix": 0.1, "prompt": 0.1}  # vectors in front of a text want more than weights


@pytest.mark.parametrize("method", adaptations_here(name for name in ADAPTATIONS if name != "frozen"))
def test_what_is_trained_beside_the_head_learns_by_itself(method: str, tmp_path: Path) -> None:
    """The head stays as it was drawn: all that is learned is learned by what the method adds or changes."""
    base = resolve_base(str(tiny_bert(tmp_path / "base", [*GOOD, *BAD, *FILLER])))
    losses = losses_with_an_untouched_head(method, base, RATES.get(method, 0.02))
    assert losses[-1] < 0.65 < losses[0], f"{losses[::15]}; 0.693 is the best that an answer can do which does not look at the text"


def losses_with_an_untouched_head(method: str, base: Any, rate: float, steps: int = 120) -> list[float]:
    """On sixty-four texts whose label hangs on one word, while all but the head is trained as the method says."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation([*rng.choice(FILLER, size=6), rng.choice(GOOD if row % 2 else BAD)])) for row in range(64)]
    rows = encode(load_tokenizer(base.folder), texts, max_length=32)
    batch: dict[str, Any] = {name: torch.from_numpy(array) for name, array in pad(rows, range(64), 0).items()}
    batch["labels"] = torch.arange(64) % 2
    model = headless(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method=method), seed=0).eval()
    with torch.no_grad():
        model.get_parameter("classifier.weight").mul_(20)  # as drawn it is so small that no body could move its scores far
    optimizer, beside = torch.optim.Adam([parameter for _, parameter in trainable(model)], lr=rate), companion_of(model, steps)
    losses = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = TEXT_CLASSIFICATION.loss(model, batch).mean()
        loss.backward()
        if beside is not None:
            beside.before()
        optimizer.step()
        if beside is not None:
            beside.after(step)
        losses.append(float(loss.detach()))
    return losses


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
@pytest.mark.parametrize("method", adaptations_here(ADAPTATIONS))
def test_a_head_or_weight_that_is_not_saved_is_noticed(method: str, kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NOTICED):
        check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved", save=SAVES[kind])


PARTS = {"lora": "lora_B", "qlora": "lora_B", "adalora": "lora_E", "adapter": ".up.", "prefix": ".values", "prompt": ".vectors"}


@pytest.mark.parametrize("kind", ["dropped", "zeroed"])
@pytest.mark.parametrize("method", adaptations_here(PARTS))
def test_an_adapter_that_is_not_saved_is_noticed(method: str, kind: str, tiny_folder: Path, tmp_path: Path) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor | None:
        return tensor if PARTS[method] not in name else None if kind == "dropped" else torch.zeros_like(tensor)

    assert set(PARTS) == {name for name, entry in ADAPTATIONS.items() if entry.leaves == "adapter"}
    with pytest.raises(NOTICED):
        check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved", save=rewritten(change))


def headless(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    model = adapt(model, options, seed=seed)
    for name in head_names(model):
        model.get_parameter(name).requires_grad_(False)
    return model


def everything(model: nn.Module, options: AdaptOptions, *, seed: int) -> nn.Module:
    return adapt(model, options, seed=seed).requires_grad_(True)


WRONG = [
    *(pytest.param(name, headless, marks=unless_installed(ADAPTATIONS[name].needs)) for name in ADAPTATIONS if name != "frozen"),
    *(pytest.param(name, everything, marks=unless_installed(ADAPTATIONS[name].needs)) for name in ADAPTATIONS if name != "full"),
]


@pytest.mark.parametrize(("method", "prepare"), WRONG)
def test_a_method_that_trains_other_parts_is_noticed(method: str, prepare: Any, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_adaptation(method, resolve_base(str(tiny_folder)), tmp_path / "saved", prepare=prepare)
