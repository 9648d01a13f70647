"""Encoders made for long texts: one text of 700 tokens is read in one piece, trained on, saved, and read back the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiny import tiny_bert
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.sequencer import Sequencer
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import LabelSchema, Split
from trustbase.train.fit import fit
from trustbase.train.options import TrainOptions

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH, LABELS = 768, LabelSchema(("bad", "good"), "good", "good")


def long_base(folder: Path, kind: str) -> Path:
    """A tiny encoder of that architecture with random weights, which reads 1,024 tokens."""
    import transformers as library

    words = tiny_bert(folder.with_name("words"))
    size = len(json.loads((words / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    shape: dict[str, Any] = {"vocab_size": size, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0}
    ends = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "modernbert":
            config = library.ModernBertConfig(**shape, **ends, num_hidden_layers=3, max_position_embeddings=1024)
        else:
            wide = {"max_position_embeddings": 1026, "attention_window": [64, 64]}  # two places are of padding
            config = library.LongformerConfig(**shape, **wide, num_hidden_layers=2, sep_token_id=3)
        model = library.AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(words / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 1024}), encoding="utf-8")
    return folder


def long_rows(count: int, name: str) -> Split:
    """Texts of some 700 tokens whose last word says what they are."""
    rng = np.random.default_rng(len(name))
    labels = rng.integers(0, 2, count)
    fill = np.array(["the", "film", "was", "very", "old", "and"])
    texts = [" ".join([*rng.choice(fill, 700 + int(rng.integers(0, 30))), ("bad", "good")[label]]) for label in labels]
    return Split(name, texts, labels, {}, None, np.arange(count) + 1, "made", f"sha256:{name}")


@pytest.mark.parametrize("kind", ["modernbert", "longformer"])
def test_a_long_text_is_read_in_one_piece_to_its_last_word(tmp_path: Path, kind: str) -> None:
    base = resolve_base(str(long_base(tmp_path / "base", kind)))
    options = TrainOptions(epochs=1, batch_tokens=2048, max_length=LENGTH, precision="fp32", threads=1)
    parts = (long_rows(12, "train"), long_rows(6, "validation"))
    trained = fit(base, TEXT_CLASSIFICATION, LABELS, *parts, adapt=AdaptOptions(), options=options, folder=tmp_path / "checkpoints")
    assert trained.steps >= 4 and trained.reload_difference == 0.0
    model, tokenizer = load_checkpoint(trained.folder, base=base)[0], load_tokenizer(trained.folder)
    reading = Sequencer.by_task("text-classification", LENGTH)
    stats = reading.stats(tokenizer, parts[0].texts)
    assert stats.truncated == 0, stats

    def asked(text: str, length: int) -> np.ndarray[Any, Any]:
        rows = Sequencer.by_task("text-classification", length).encode(tokenizer, [text])
        batch = {name: torch.from_numpy(array) for name, array in pad(rows, range(1), 0).items()}
        with torch.no_grad():
            return model.eval()(**batch).logits.numpy()

    text = parts[0].texts[0].rpartition(" ")[0]
    assert np.abs(asked(f"{text} good", LENGTH) - asked(f"{text} bad", LENGTH)).max() > 1e-6
    assert np.array_equal(asked(f"{text} good", 512), asked(f"{text} bad", 512)), "cut off, the last word is not seen"
