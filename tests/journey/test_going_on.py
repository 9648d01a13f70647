"""Checkpoints that others made, of architectures that this version does not build itself, gone on with from a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw import write_texts

import trustbase
from base_kit import tokenizers
from hurry import time_quickly
from trustbase import files
from trustbase.model.continued import continue_model
from trustbase.model.load import resolve_base

APART = "several pieces a row: their losses are those of pieces alone"
ALONE = "one piece a row: in rows of several, losses are not those of pieces alone"
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 34}
BART = {
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))
    },
    **{"d_model": 32, "max_position_embeddings": 32, "forced_eos_token_id": None},
}
#: name → class, settings of its configuration, family of the tokenizer, objective, how its rows are made
CASES: dict[str, tuple[str, Mapping[str, Any], str, str, str]] = {
    "bart filled in": ("BartForConditionalGeneration", BART, "encoder-decoder", "infilling", ALONE),
    "bart in spans": ("BartForConditionalGeneration", BART, "encoder-decoder", "span_corruption", ALONE),
    "albert": ("AlbertForMaskedLM", {**SMALL, "embedding_size": 16}, "encoder", "masked", APART),
    "roberta": ("RobertaForMaskedLM", SMALL, "encoder", "masked", APART),
    "electra": ("ElectraForPreTraining", {**SMALL, "num_attention_heads": 4, "embedding_size": 16}, "encoder", "replaced_token", APART),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32}, "decoder", "causal", APART),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Texts, and a tokenizer of each family that was trained on them."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("world")
    patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
    time_quickly(patch)
    texts = write_texts(folder / "texts.txt", 500).read_text(encoding="utf-8").split("\n\n")
    yield folder, tokenizers(folder, texts, encoder=80, decoder=300, encoder_decoder=130)
    patch.undo()


def checkpoint(folder: Path, name: str, settings: Mapping[str, Any], tokenizer: Any) -> Path:
    """A tiny random model with its tokenizer, as transformers saves both."""
    import torch
    import transformers as library

    kind: Any = getattr(library, name)
    special = {role: getattr(tokenizer, role) for role in ("pad_token_id", "bos_token_id", "eos_token_id")}
    start = {"decoder_start_token_id": tokenizer.eos_token_id} if name.startswith("Bart") else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(kind.config_class(vocab_size=len(tokenizer), **special, **start, **settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_foreign_checkpoint_goes_on(world: Any, tmp_path: Path, case: str) -> None:
    name, settings, family, objective, way = CASES[case]
    texts, made = world
    base = checkpoint(tmp_path / "base", name, settings, made[family])
    recipe = {
        "stage": "pretrain",
        "corpus": {"files": str(texts / "texts.txt"), "held_out": 0.1},
        "model": {"base": str(base), "context": 32},
        "objective": objective,
        "train": {"tokens": 12_000, "batch_tokens": 512, "learning_rate": 3e-3, "precision": "fp32", "threads": 1},
        "estimate": {"seconds": 0.1},
        "audit": ["quality"],
        "gates": {"quality.perplexity": "<= 1000"} if objective != "replaced_token" else {"efficiency.parameters": "<= 1000000"},
    }
    if objective == "replaced_token":
        recipe["audit"] = ["quality", "efficiency"]
    result = trustbase.run(recipe, out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    log = [json.loads(line) for line in (result.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [event["loss"] for event in log if event["event"] == "step" and event["stage"] == "train"]
    assert len(losses) >= 20 and np.mean(losses[-5:]) < np.mean(losses[:3]) - 0.1, losses
    facts = files.read_json(result.folder / "stages" / "train.json")["result"]["facts"]
    assert facts["ways"][objective].startswith(way), facts["ways"]
    trustbase.verify(result.bundle.folder)
    model, fresh = continue_model(resolve_base(str(result.bundle.folder / "model")), (objective,), seed=0)
    assert type(model).__name__ in {name, "WithGenerator"} or hasattr(model, "generator"), type(model)
    assert [each for each in fresh if each != "generator"] == []
