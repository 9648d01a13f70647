"""What fits together before anything is built: shape, objective, context, vocabulary. Torch-free, for the recipe's reader."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.errors import Problem
from trustbase.model.options import Family, ModelOptions, TokenizerKind, TokenizerOptions

#: Families that can learn from an objective.
OBJECTIVE_FAMILIES: dict[str, tuple[Family, ...]] = {
    "causal": ("decoder",),
    "masked": ("encoder",),
    "next_sentence": ("encoder",),
    "sentence_order": ("encoder",),
    "replaced_token": ("encoder",),
    "contrastive": ("encoder",),
    "span_corruption": ("encoder-decoder",),
    "infilling": ("encoder-decoder",),
}
#: Objectives that leave a head which predicts words.
WORD_OBJECTIVES = frozenset({"causal", "masked", "span_corruption", "infilling"})
PAIRED = ("next_sentence", "sentence_order")
USUAL_OBJECTIVE: dict[Family, str] = {"encoder": "masked", "decoder": "causal", "encoder-decoder": "span_corruption"}
_ARCHITECTURES: dict[Family, tuple[str, ...]] = {
    "encoder": ("roformer", "bert", "electra"),
    "decoder": ("gpt2", "llama"),
    "encoder-decoder": ("t5",),
}
_ROTARY = ("roformer", "llama")
_LOSSY: tuple[TokenizerKind, ...] = ("wordpiece", "characters")  # they do not keep where spaces stood
SENTINELS = 100  # <extra_id_0> … <extra_id_99>, as T5 has them
#: RoBERTa and its kin number positions from that of padding + 1, so that many rows of the table are never used.
_FROM_PADDING = {
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "longformer", "mpnet", "data2vec-text", "ibert"),
}
_DECODERS = {
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "opt", "bloom", "llama", "mistral", "mixtral", "qwen2", "qwen3", "phi", "phi3"),
    *("gemma", "gemma2", "gemma3_text", "falcon", "mpt", "starcoder2", "olmo", "olmo2", "stablelm", "codegen", "xglm", "biogpt", "glm"),
}


def objective_names(objective: str | Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """`masked+next_sentence`, a list, or a mapping to weights, as plain names in the order given."""
    parts = objective.split("+") if isinstance(objective, str) else list(objective)
    return tuple(name.strip() for part in parts for name in part.split("+"))


def architecture_of(options: ModelOptions, objectives: Sequence[str]) -> str:
    """The transformers architecture that a shape means: the one named, or the family's usual one."""
    if options.architecture is not None:
        return options.architecture
    if "replaced_token" in objectives:
        return "electra"
    return _ARCHITECTURES[options.family][0]


def model_problems(options: ModelOptions, objectives: Sequence[str] = (), *, length: int | None = None) -> list[Problem]:
    """What cannot work about a new model.

    Args:
        options: its shape (`base` is not looked into: see `base_model_problems`).
        objectives: names, such as those of `objective_names`; none for a model that is only fine-tuned.
        length: tokens of a training sequence, where that is not the model's context.
    """
    family = options.family
    problems = objective_problems(family, objectives)
    if options.width % options.heads:
        near = max(options.heads, round(options.width / options.heads) * options.heads)
        message = f"is {options.width}, which {options.heads} heads cannot share: it must be a multiple of heads"
        problems.append(Problem("model.width", message, f"write width: {near}"))
    architecture = architecture_of(options, objectives)
    if architecture not in _ARCHITECTURES[family]:
        hint = f"write {' or '.join(_ARCHITECTURES[family])}, or another family"
        problems.append(Problem("model.architecture", f"'{architecture}' is no {family}", hint))
    elif ("replaced_token" in objectives) != (architecture == "electra") and family == "encoder":
        message = (
            f"'{architecture}' does not go with objective {'+'.join(objectives) or 'none'}: replaced_token and electra belong together"
        )
        problems.append(Problem("model.architecture", message, "remove architecture: the objective chooses it"))
    elif architecture in _ROTARY and options.width % options.heads == 0 and (options.width // options.heads) % 2:
        message = f"of {options.width} over {options.heads} heads makes heads of odd size, which rotary positions cannot turn"
        problems.append(Problem("model.width", message, f"write width: {options.heads * (options.width // options.heads + 1)}"))
    return problems + _length_problems(length, options.context, "model.context")


def objective_problems(family: Family, objectives: Sequence[str]) -> list[Problem]:
    """Objectives that do not exist, do not fit a family, or do not go together."""
    problems = []
    for name in objectives:
        if name not in OBJECTIVE_FAMILIES:
            near = difflib.get_close_matches(name, OBJECTIVE_FAMILIES, n=1)
            hint = f"did you mean '{near[0]}'?" if near else ""
            problems.append(
                Problem("objective", f"'{name}' is no objective of this version, which knows {', '.join(OBJECTIVE_FAMILIES)}", hint)
            )
        elif family not in OBJECTIVE_FAMILIES[name]:
            fitting = [key for key, families in OBJECTIVE_FAMILIES.items() if family in families]
            message = f"'{name}' needs a model of family {' or '.join(OBJECTIVE_FAMILIES[name])}, and this is {_article(family)}"
            problems.append(Problem("objective", message, f"write {', '.join(fitting)}, or change model.family"))
    if "replaced_token" in objectives and len(objectives) > 1:
        others = ", ".join(name for name in objectives if name != "replaced_token")
        problems.append(
            Problem("objective", f"replaced_token trains a pair of models of its own and cannot be joined with {others}", "choose one")
        )
    if all(name in objectives for name in PAIRED):
        problems.append(Problem("objective", "next_sentence and sentence_order ask one head two different questions", "choose one"))
    return problems


def tokenizer_problems(options: TokenizerOptions, family: Family, *, corpus_bytes: int | None = None) -> list[Problem]:
    """What cannot work about a tokenizer that is to be trained.

    Args:
        options: the recipe's `tokenizer:`.
        family: of the model that will read with it.
        corpus_bytes: size of the corpus, where known. Every merge joins two tokens at least twice and so takes two tokens
            off the corpus: n bytes can never support more than n / 2 tokens. What the text really supports is
            known, and said, when the vocabulary is trained.
    """
    if options.train is None:
        return []
    problems = []
    if options.train in _LOSSY and family != "encoder":
        message = f"'{options.train}' does not keep where spaces stood, and {_article(family)} has to write text"
        problems.append(Problem("tokenizer.train", message, "write byte_bpe, bpe or unigram"))
    least = least_vocabulary(options.train, family)
    if options.vocab_size < least:
        message = f"is {options.vocab_size}, but {options.train} for {_article(family)} takes {least} before the first word"
        problems.append(Problem("tokenizer.vocab_size", message, f"write {least} or more"))
    elif corpus_bytes is not None and options.vocab_size > least + corpus_bytes // 2:
        message = f"is {options.vocab_size}, and a corpus of {corpus_bytes:,} bytes cannot support more than {least + corpus_bytes // 2}"
        problems.append(Problem("tokenizer.vocab_size", message, "write fewer, or name more text"))
    return problems


def pairing_problems(model: ModelOptions, tokenizer: TokenizerOptions | None) -> list[Problem]:
    """A tokenizer and a model whose embeddings cannot belong to each other; None: the recipe names no tokenizer."""
    if model.base is None:
        if tokenizer is None:
            return [Problem("tokenizer", "a new model needs a tokenizer", "write tokenizer: {train: …, vocab_size: …} or {from: ID}")]
        if tokenizer.extend is not None:
            message = f"extends '{tokenizer.extend}', but a new model has no embeddings to extend"
            return [Problem("tokenizer.extend", message, "write tokenizer: {from: …}, or model: {base: …} to go on with that model")]
        return []
    if tokenizer is None or model.base in (tokenizer.from_, tokenizer.extend):
        return []
    given = (
        f"extend: {tokenizer.extend}"
        if tokenizer.extend
        else f"from: {tokenizer.from_}"
        if tokenizer.from_
        else f"train: {tokenizer.train}"
    )
    message = f"is {given}, but model.base '{model.base}' has embeddings for the tokens of its own tokenizer only"
    return [Problem("tokenizer", message, f"remove tokenizer, or write {{extend: {model.base}, add: …}}")]


def least_vocabulary(kind: TokenizerKind, family: Family) -> int:
    """Tokens that a kind of tokenizer has before anything is learned: special ones, one character or all 256 bytes."""
    special = {"encoder": 5, "decoder": 1 if kind == "byte_bpe" else 2, "encoder-decoder": 4 + SENTINELS}[family]
    return special + (256 if kind == "byte_bpe" else 2)


def base_model_problems(config: Mapping[str, Any], objectives: Sequence[str], *, length: int | None = None) -> list[Problem]:
    """What cannot work about going on with a model.

    Args:
        config: its `config.json`.
        objectives: names of the objectives.
        length: tokens of a training sequence.
    """
    family, kind = family_of(config), str(config.get("model_type"))
    problems = objective_problems(family, objectives)
    if any(name in objectives for name in PAIRED) and kind not in ("bert", "roformer"):
        named = next(name for name in PAIRED if name in objectives)
        problems.append(
            Problem("objective", f"'{named}' needs a head for pairs as BERT has it, which a model of type {kind} lacks", "write masked")
        )
    if ("replaced_token" in objectives) != (kind == "electra") and family == "encoder" and objectives != ("contrastive",):
        problems.append(
            Problem(
                "objective", f"a model of type {kind} cannot go on with {'+'.join(objectives)}: electra and replaced_token belong together"
            )
        )
    return problems + _length_problems(length, positions_of(config), "model.base")


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model has positions for, from its `config.json`; None where that is not bounded."""
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - ((config.get("pad_token_id", 1) or 0) + 1 if config.get("model_type") in _FROM_PADDING else 0)


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a model from its `config.json`."""
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    written = [str(name) for name in config.get("architectures") or ()]
    if config.get("model_type") in _DECODERS or any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in written):
        return "decoder"
    return "encoder"


def _length_problems(length: int | None, context: int | None, where: str) -> list[Problem]:
    if length is None or context is None or length <= context:
        return []
    return [Problem(where, f"reads {context} tokens at most, and sequences of {length} are asked for", f"ask for {context} or fewer")]


def _article(family: Family) -> str:
    return f"an {family}" if family.startswith("e") else f"a {family}"
