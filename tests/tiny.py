"""A tiny random BERT with a WordPiece tokenizer (or a RoBERTa with its own), for tests: offline, in well under a second.

from tiny import tiny_bert            # tests/ is on the path of every test

folder = tiny_bert(tmp_path / "base", ["good", "bad"])      # a base model: resolve_base(str(folder))
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "good",
    "bad",
    "fine",
    "poor",
    "the",
    "a",
    "is",
    "was",
    "very",
    "not",
    "film",
    "service",
    "food",
    "and",
    "years",
    "old",
    "works",
    "as",
)


def tiny_bert(
    folder: Path | str,
    vocab_words: Sequence[str] = WORDS,
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 2,
    max_positions: int = 128,
    seed: int = 0,
    characters: bool = True,
) -> Path:
    """Write a base-model folder: config.json, model.safetensors (a BertModel with its pooler), tokenizer files.

    `characters` adds ASCII letters, digits and punctuation, so that any lower-case English text has no unknown token.
    """
    import torch
    from transformers import BertConfig, BertModel

    from trustbase.model.quiet import quiet

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary(vocab_words, characters)
    _write_tokenizer(folder, vocabulary, max_positions)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_positions,
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = BertModel(config)
        for parameter in model.parameters():  # the usual 0.02 makes all texts look alike
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.15)
        model.save_pretrained(folder)
    return folder


def tiny_roberta(folder: Path | str, *, max_length: int = 128, seed: int = 0) -> Path:
    """A base-model folder as FacebookAI/roberta-base is one: no pooler, a head for masked tokens, one kind of token, pieces of bytes."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import RobertaConfig, RobertaForMaskedLM

    from trustbase.model.quiet import quiet

    folder = Path(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([f"{word} {word}" for word in WORDS], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_length + 2,
        type_vocab_size=1,
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = RobertaForMaskedLM(config)
        for parameter in model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.15)
        model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": max_length}), encoding="utf-8")
    return folder


def _vocabulary(words: Sequence[str], characters: bool) -> list[str]:
    letters = string.ascii_lowercase + string.digits if characters else ""
    marks = string.punctuation if characters else ""
    pieces = [*SPECIAL, *words, *letters, *(f"##{letter}" for letter in letters), *marks]
    return list(dict.fromkeys(pieces))


def _write_tokenizer(folder: Path, vocabulary: list[str], max_positions: int) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    index = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(index, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", index["[CLS]"]), ("[SEP]", index["[SEP]"])]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": max_positions}
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **names}), encoding="utf-8")
