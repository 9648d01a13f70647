"""Tiny base models as artefacts, for the tests of what may be asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trustbase.model.artifact import write_artifact
from trustbase.model.options import ModelOptions
from trustbase.model.scratch import build_model, kept_model, save_base
from trustbase.model.tokenizer import load_tokenizer
from trustbase.model.vocabulary import train_tokenizer
from trustbase.records import ArtifactInfo, LabelSchema

TEXTS = [
    "the film is good and the food was bad",
    "今天天气很好，我们去看电影。",
    "服务很好，电影不好看。",
    "a very fine day for the film, number 0 1 2 3 4 5 6 7 8 9",
] * 6
KINDS = {"encoder": ("wordpiece", 92), "decoder": ("byte_bpe", 290), "encoder-decoder": ("unigram", 150)}
DESCRIBED = {"reference": "corpus", "revision": "1", "digest": "sha256:1", "licence": "unknown", "lineage": []}
#: name → family, architecture, objectives, class that is kept, way it says how likely a text is
CASES: dict[str, tuple[str, str | None, tuple[str, ...], str, str | None]] = {
    "masked": ("encoder", None, ("masked",), "RoFormerForMaskedLM", "masked"),
    "pairs": ("encoder", None, ("masked", "next_sentence"), "RoFormerForPreTraining", "masked"),
    "bert": ("encoder", "bert", ("masked",), "BertForMaskedLM", "masked"),
    "bert pairs": ("encoder", "bert", ("masked", "next_sentence"), "BertForPreTraining", "masked"),
    "causal": ("decoder", None, ("causal",), "GPT2LMHeadModel", "causal"),
    "llama": ("decoder", "llama", ("causal",), "LlamaForCausalLM", "causal"),
    "spans": ("encoder-decoder", None, ("span_corruption",), "T5ForConditionalGeneration", "sentinel"),
    "infilling": ("encoder-decoder", None, ("infilling",), "T5ForConditionalGeneration", "infilling"),
    "contrastive": ("encoder", None, ("contrastive",), "RoFormerModel", None),
    "order": ("encoder", None, ("sentence_order",), "RoFormerForPreTraining", None),
    "bert contrastive": ("encoder", "bert", ("contrastive",), "BertModel", None),
    "replaced": ("encoder", None, ("replaced_token",), "ElectraForPreTraining", None),
}


def tokenizers(root: Path, texts: list[str] = TEXTS, **sizes: int) -> dict[str, Any]:
    """A tokenizer for each family, trained on the texts."""
    for family, (kind, size) in KINDS.items():
        wanted = sizes.get(family.replace("-", "_"), size)
        train_tokenizer(kind, texts, vocab_size=wanted, lower_case=False, folder=root / family, family=family, max_length=512)  # type: ignore[arg-type]
    return {family: load_tokenizer(root / family) for family in KINDS}


def write_base(model: Any, tokenizer: Any, folder: Path, *, objectives: tuple[str, ...], family: str, context: int = 32) -> ArtifactInfo:
    """A model as the artefact that a pretraining leaves."""
    save_base(model, tokenizer, folder, described=DESCRIBED, meta={}, context=context)
    kept = kept_model(model)
    facts = {
        "objective": dict.fromkeys(objectives, 1.0),
        "objectives": list(objectives),
        "context": context,
        "family": family,
        "model_type": kept.config.model_type,  # type: ignore[union-attr]
    }
    labels = LabelSchema((), "", "")
    info = ArtifactInfo(
        folder, "", "pretraining", "language", labels, "language", "fp32", context, "corpus", "1", "text", facts=facts
    )  # fmt: skip
    return write_artifact(info)


def base(root: Path, case: str, made: dict[str, Any], *, context: int = 32, spread: float = 8.0, seed: int = 0) -> ArtifactInfo:
    """A tiny base model on random weights, `spread` times as far from zero as they start, so that texts are told apart."""
    import torch

    family, architecture, objectives, _, _ = CASES[case]
    options = ModelOptions(family=family, architecture=architecture, layers=2, width=32, heads=4, context=context, dropout=0.0)  # type: ignore[arg-type]
    model = build_model(options, made[family], objectives=objectives, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(spread if family != "encoder-decoder" else 1.0)
    return write_base(model, made[family], root / case, objectives=objectives, family=family, context=context)
