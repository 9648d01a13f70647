"""Small corpora in Chinese and English, tokenizers for each family, and tiny models, for the tests of pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from train_kit import Log

from trustbase.train.objectives.base import Texts
from trustbase.train.options import TrainOptions
from trustbase.train.packing import one_a_row, pack
from trustbase.train.pretrain import pretrain
from trustbase.train.reading import Reading
from trustbase.train.scene import make_objectives
from trustbase.train.symbols import symbols_of

WHO = ("the cat", "a small dog", "my old friend", "the teacher", "our neighbour")
DOES = ("drinks milk", "reads a letter", "walks in the park", "waits for the bus", "sings a song")
WHEN = ("today", "in the morning", "after school", "every evening")
ZH_WHO = ("老师", "我的朋友", "那只小猫", "邻居", "学生们")
ZH_DOES = ("在公园散步", "喜欢喝牛奶", "正在等公共汽车", "给家人写信", "唱一首歌")
ZH_WHEN = ("今天", "早上", "放学以后", "每天晚上")

SPECIAL = {
    "encoder": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
    "decoder": {"pad_token": "<end>", "unk_token": "<unk>", "bos_token": "<end>", "eos_token": "<end>"},
    "encoder-decoder": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"},
    "bart": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"},
}


@dataclass
class Tokens:
    """Documents as `data.corpus.pack` keeps them, in memory."""

    ids: np.ndarray
    bounds: np.ndarray


@dataclass
class Corpus:
    train: Tokens
    held_out: Tokens
    digest: str = "sha256:test"


def texts(count: int, seed: int = 0) -> list[str]:
    """Documents of 1–8 sentences, half of them Chinese; a document keeps to one person, so that its sentences belong together."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        who, does, when = (ZH_WHO, ZH_DOES, ZH_WHEN) if number % 2 else (WHO, DOES, WHEN)
        person = rng.choice(who)
        parts = [(rng.choice(when), person, rng.choice(does)) for _ in range(rng.integers(1, 9))]
        found.append("".join(f"{w}{p}{d}。" for w, p, d in parts) if number % 2 else " ".join(f"{w} {p} {d} ." for w, p, d in parts))
    return found


def tokenizer(family: str = "encoder", sentinels: int = 20):
    """Whole words and single Chinese characters, with a family's special tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL[family]
    words = sorted({word for part in (WHO, DOES, WHEN) for phrase in part for word in phrase.split()})
    letters = sorted({letter for part in (ZH_WHO, ZH_DOES, ZH_WHEN) for phrase in part for letter in phrase})
    names = [*dict.fromkeys(special.values()), *words, "##ing", "##s", *letters, ".", "。"]
    names += [f"<extra_id_{i}>" for i in reversed(range(sentinels))] if family == "encoder-decoder" else []
    inner = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token=special["unk_token"]))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def tokens(tok, documents: list[str]) -> Tokens:
    ids = [tok(text, add_special_tokens=False)["input_ids"] for text in documents]
    return Tokens(np.array([i for part in ids for i in part], np.uint16), np.cumsum([0, *map(len, ids)]).astype(np.int64))


def corpus(family: str = "encoder", count: int = 60) -> tuple[Corpus, object]:
    tok = tokenizer(family)
    return Corpus(tokens(tok, texts(count)), tokens(tok, texts(8, 1))), tok


def model(kind: str, tok, *, context: int = 32, seed: int = 0, dropout: float = 0.1, std: float = 0.02):
    """A tiny random model of transformers."""
    import transformers as library

    size = len(tok)
    bert = {
        "vocab_size": size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": context,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "initializer_range": std,
        "pad_token_id": tok.pad_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind in {"BertForMaskedLM", "BertForPreTraining", "BertModel"}:
            return getattr(library, kind)(library.BertConfig(**bert)).train()
        if kind == "electra":
            from trustbase.model.scratch import with_generator

            config = library.ElectraConfig(**{**bert, "num_attention_heads": 4}, embedding_size=32)
            return with_generator(library.ElectraForPreTraining(config), seed=seed).train()
        if kind == "roberta":
            config = library.RobertaConfig(**{**bert, "max_position_embeddings": context + tok.pad_token_id + 1})
            return library.RobertaForMaskedLM(config).train()
        if kind == "gpt2":
            config = library.GPT2Config(
                vocab_size=size, n_positions=context, n_embd=32, n_layer=2, n_head=2, resid_pdrop=dropout, embd_pdrop=dropout,
                attn_pdrop=dropout, initializer_range=std, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
            )  # fmt: skip
            return library.GPT2LMHeadModel(config).train()
        if kind == "llama":
            config = library.LlamaConfig(
                vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                max_position_embeddings=context, attention_dropout=dropout, pad_token_id=tok.pad_token_id,
            )  # fmt: skip
            return library.LlamaForCausalLM(config).train()
        if kind == "t5":
            config = library.T5Config(
                vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=dropout,
                decoder_start_token_id=tok.pad_token_id, pad_token_id=tok.pad_token_id, eos_token_id=tok.eos_token_id,
            )  # fmt: skip
            return library.T5ForConditionalGeneration(config).train()
        config = library.BartConfig(
            vocab_size=size, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=context, dropout=dropout, init_std=std,
            pad_token_id=tok.pad_token_id, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
            decoder_start_token_id=tok.eos_token_id, forced_eos_token_id=None,
        )  # fmt: skip
        return library.BartForConditionalGeneration(config).train()


#: objective → model, family of the tokenizer
PAIRS = {
    "masked": ("BertForMaskedLM", "encoder"),
    "masked+next_sentence": ("BertForPreTraining", "encoder"),
    "masked+sentence_order": ("BertForPreTraining", "encoder"),
    "contrastive": ("BertModel", "encoder"),
    "replaced_token": ("electra", "encoder"),
    "causal": ("gpt2", "decoder"),
    "span_corruption": ("t5", "encoder-decoder"),
    "infilling": ("bart", "bart"),
}


def scene(name: str, *, kind: str | None = None, count: int = 60, context: int = 32, seed: int = 0, **options) -> SimpleNamespace:
    """Model, tokenizer, documents and objective, without training."""
    own, family = PAIRS[name]
    data, tok = corpus(family, count)
    net = model(kind or own, tok, context=context, seed=seed, std=0.15)
    settings = TrainOptions(**{"max_length": 16, "precision": "fp32", **options})
    (objective,) = make_objectives(name, symbols_of(tok), context, model=net, options=settings)
    reading = Reading(net, precision="fp32", device="cpu", seed=0)
    return SimpleNamespace(
        model=net, tokenizer=tok, corpus=data, texts=Texts(data.train), objective=objective, reading=reading, family=family
    )


def batches(objective, texts: Texts, *, packed: bool, documents=None, batch_tokens: int = 512, seed: int = 0):
    """All documents as batches of an objective."""
    rng = np.random.default_rng(seed)
    pieces = objective.cut(texts, np.arange(len(texts.tokens.bounds) - 1) if documents is None else np.asarray(documents))
    sizes = objective.sizes(pieces.lengths)
    if packed:
        plan = pack(pieces, sizes, capacity=objective.context, batch_tokens=batch_tokens, rng=rng)
    else:
        plan = one_a_row(pieces, sizes, batch_tokens=batch_tokens, rng=rng)
    return [(chosen, objective.collate(chosen, texts, np.random.default_rng(seed + i), "cpu", i)) for i, chosen in enumerate(plan)]


def run(
    folder,
    name: str,
    *,
    kind: str | None = None,
    data=None,
    context: int = 32,
    emit=None,
    training_seed: int = 0,
    positions=None,
    shard=False,
    **options,
):
    """Pretrain a tiny model; returns it, what came of it, and the events."""
    own, family = PAIRS.get(name, ("BertForPreTraining", "encoder"))
    made, tok = corpus(family)
    net = model(kind or own, tok, context=positions or context, std=0.1)
    log = emit if emit is not None else Log()
    settings = TrainOptions(
        **{
            "tokens": 12_000,
            "batch_tokens": 512,
            "max_length": 16,
            "learning_rate": 5e-3,
            "precision": "fp32",
            "threads": 1,
            "seed": training_seed,
            **options,
        }
    )
    result = pretrain(net, name, data or made, tok, context=context, options=settings, folder=folder, shard=shard, emit=log)
    return net, result, log
