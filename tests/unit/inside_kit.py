"""Tiny classifiers of several architectures, opened for white-box explanations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tiny import tiny_bert, tiny_roberta
from trustbase.audit.explain.inside import Inside
from trustbase.model.artifact import read_artifact
from trustbase.model.quiet import quiet
from trustbase.model.tokenizer import load_tokenizer

FAMILIES = ("bert", "roberta", "distilbert", "electra", "roformer")


def classifier(folder: Path, family: str = "bert", *, labels: int = 2, seed: int = 0, **more: Any) -> Path:
    """A checkpoint folder with a random head, such as any Hugging Face classifier is one."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    base = tiny_roberta(folder) if family == "roberta" else tiny_bert(folder)
    vocabulary = load_tokenizer(base).vocab_size
    shape = {"vocab_size": vocabulary, "num_labels": labels, **more}
    if family == "distilbert":
        shape |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 128}
    else:
        wide = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 130,
        }
        shape |= wide | ({"embedding_size": 32} if family in ("electra", "roformer") else {})
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **shape))
        for parameter in model.parameters():  # so that texts, and what is added to every sum, differ
            torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() == 2 else parameter.data.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    return folder


def inside_of(folder: Path, *, packed: bool = True) -> Inside:
    """Its inside, without a Predictor."""
    from trustbase.model.runtime_torch import load_model

    info = read_artifact(folder)
    return Inside(load_model(folder).requires_grad_(False).eval(), load_tokenizer(folder), info, packed=packed)
