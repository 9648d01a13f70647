"""Models from a short shape: real transformers models with the heads that their objectives need, on random weights.

Which class stands for a family, and why: RoFormer reads (a BERT with rotary positions, which small models learn from many times sooner,
see `rotary`; our quicker routes know it), BERT where asked for; ELECTRA where a discriminator is trained; GPT-2
writes (fused projections and norms, quick on a CPU), Llama where asked for; T5 does both (relative positions, so that a later
recipe may ask for longer texts; one head serves span corruption and infilling; it has a classifier class; BART has learned
positions and untied scales that train less steadily when small).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trustbase import files
from trustbase.errors import RecipeError
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import ModelOptions
from trustbase.model.pretrained import Origin, config_of, set_origin
from trustbase.model.quiet import quiet
from trustbase.model.shape import PAIRED, USUAL_OBJECTIVE, architecture_of, model_problems
from trustbase.records import BaseModel
from trustbase.seeds import stream_seed

_DEVIATION = 0.02  # Devlin et al. (2019); Radford et al. (2019)
_GENERATOR = 4  # a generator has a quarter of the discriminator's heads and width: Clark et al. (2020), section 3.2


class ReplacedTokenPair(nn.Module):
    """A small generator that fills masks, and the discriminator that learns to find what it filled in.

    Both are transformers' ELECTRA models and share their embeddings; only the discriminator is kept in the end.

    Source: Clark et al. (2020), ELECTRA, sections 2 and 3.2.
    """

    def __init__(self, generator: Any, discriminator: Any) -> None:
        super().__init__()
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.tie_weights()
        self.generator = generator
        self.discriminator = discriminator

    @property
    def config(self) -> Any:
        """The discriminator's configuration."""
        return self.discriminator.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **rest: Any) -> Any:
        """What the discriminator says of a text: logits `(rows, length)`, positive where a token looks replaced."""
        return self.discriminator(input_ids=input_ids, attention_mask=attention_mask, **rest)


def build_model(options: ModelOptions, tokenizer: Any, *, objectives: Sequence[str] = (), seed: int) -> nn.Module:
    """A new model in training mode, fp32; its body does not depend on the heads beside it.

    Args:
        options: its shape.
        tokenizer: from `load_tokenizer`; decides the size of the vocabulary and the special ids.
        objectives: what it will learn from, which decides its class and heads; by default the family's usual one.
        seed: weights come from the streams `model` (body) and `model, head`; no other random state is used or changed.

    Returns:
        `RoFormerForMaskedLM`, `RoFormerForPreTraining` (two sentences), `RoFormerModel` (contrastive alone), or the same of BERT;
        `ReplacedTokenPair`; `GPT2LMHeadModel` or `LlamaForCausalLM`; `T5ForConditionalGeneration`.

    Raises:
        RecipeError: shape and objectives do not fit together; all problems at once.
    """
    usual = "replaced_token" if options.architecture == "electra" else USUAL_OBJECTIVE[options.family]
    objectives = tuple(objectives) or (usual,)
    problems = model_problems(options, objectives)
    if problems:
        raise RecipeError("This model cannot be built", problems=problems)
    architecture = architecture_of(options, objectives)
    config = _CONFIGS[architecture](options, tokenizer)
    model = _seeded(class_for(architecture, objectives), config, seed)
    return (with_generator(model, seed=seed) if architecture == "electra" else model).train()


def class_for(architecture: str, objectives: Sequence[str]) -> Any:
    """The transformers class that has the heads for some objectives."""
    import transformers as library

    if architecture == "roformer":
        if any(name in objectives for name in PAIRED):
            from trustbase.model.rotary import RoFormerForPreTraining

            return RoFormerForPreTraining
        return library.RoFormerModel if objectives == ("contrastive",) else library.RoFormerForMaskedLM
    if architecture == "bert":
        if any(name in objectives for name in PAIRED) or {"masked", "contrastive"} <= set(objectives):
            return library.BertForPreTraining
        return library.BertModel if objectives == ("contrastive",) else library.BertForMaskedLM
    return {
        "electra": library.ElectraForPreTraining,
        "gpt2": library.GPT2LMHeadModel,
        "llama": library.LlamaForCausalLM,
        "t5": library.T5ForConditionalGeneration,
    }[architecture]


def with_generator(discriminator: nn.Module, *, seed: int) -> ReplacedTokenPair:
    """A discriminator with a new generator: a quarter of its heads and width, on the same embeddings."""
    from transformers import ElectraForMaskedLM

    config = config_of(discriminator)
    small = copy.deepcopy(config)
    small.num_attention_heads = max(1, config.num_attention_heads // _GENERATOR)
    small.hidden_size = small.num_attention_heads * (config.hidden_size // config.num_attention_heads)
    small.intermediate_size = max(8, config.intermediate_size * small.hidden_size // config.hidden_size)
    return ReplacedTokenPair(_seeded(ElectraForMaskedLM, small, seed, "generator"), discriminator)


def kept_model(model: nn.Module) -> nn.Module:
    """The transformers model that a pretraining leaves: all of it, or of a pair the discriminator."""
    return model.discriminator if isinstance(model, ReplacedTokenPair) else model


def write_scratch_base(options: ModelOptions, tokenizer: Any, folder: Path, *, seed: int, tokenizer_from: str) -> BaseModel:
    """An untrained base model as a folder, for `base: {from: scratch, …}`.

    Args:
        options: its shape.
        tokenizer: from `load_tokenizer`.
        folder: replaced if it exists.
        seed: of the weights.
        tokenizer_from: where the tokenizer came from, in words without a path; stands in the lineage.

    Returns:
        What `resolve_base` says of the folder: its lineage names the shape's digest, the seed and the tokenizer.

    Raises:
        RecipeError: the shape is impossible.
    """
    model = kept_model(build_model(options, tokenizer, seed=seed))
    shape = options.model_dump(mode="json", exclude_none=True)
    described = {
        "reference": "scratch",
        "revision": f"seed {seed}",
        "digest": files.digest_json({"model": shape, "seed": seed}),
        "licence": "unknown",
        "lineage": [f"tokenizer: {tokenizer_from}"],
    }
    save_base(model, tokenizer, folder, described=described, meta={"scratch": {"model": shape, "seed": seed}}, context=options.context)
    return resolve_base(str(folder.resolve()))


def save_base(
    model: nn.Module, tokenizer: Any, folder: Path, *, described: Mapping[str, Any], meta: Mapping[str, Any], context: int
) -> str:
    """Write a pretrained (or untrained) model as a base that the next recipe can name, and return its digest.

    Args:
        model: from `build_model` or `continue_model`; of a pair the discriminator is kept.
        tokenizer: its tokenizer; the copy that is saved says how much the model reads.
        folder: replaced if it exists.
        described: what it came from (`reference`, `revision`, `digest`, `licence`, `lineage`), as `describe_base` gives it.
        meta: what else shall stand in `trustbase.json`.
        context: most tokens that the model reads.
    """
    kept, tokenizer = kept_model(model), copy.deepcopy(tokenizer)
    tokenizer.model_max_length = context
    set_origin(kept, Origin("pretraining", dict(described)))
    return save_checkpoint(kept, tokenizer, folder, meta=meta)


def size_of(model: nn.Module) -> dict[str, int]:
    """Parameters in all, in embedding tables (tied heads are counted there), and the rest, as FLOPs are counted.

    Source: Kaplan et al. (2020), Scaling laws for neural language models, section 2.1 (non-embedding parameters).
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    total = sum(parameter.numel() for parameter in model.parameters())
    embedding = sum(parameter.numel() for parameter in model.parameters() if id(parameter) in tables)
    return {"parameters": total, "embedding_parameters": embedding, "non_embedding_parameters": total - embedding}


def _seeded(architecture: Any, config: Any, seed: int, *names: str) -> nn.Module:
    """A model whose body comes from one stream and whose heads from another, so that a head never shifts the body."""
    from transformers import AutoModel

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model", *names))
        body = AutoModel.from_config(config)
        torch.manual_seed(stream_seed(seed, "model", *names, "head"))
        model: Any = architecture(config)
    inside = getattr(model, model.base_model_prefix, model)  # T5 keeps its stacks at the top
    inside.load_state_dict(body.state_dict(), strict=False)  # a body may have a pooler that a head leaves out
    model.tie_weights()
    whole: nn.Module = model
    return whole


def _inner_width(options: ModelOptions, *, gated: bool = False) -> int:
    """Width inside a feed-forward block; a gated one has three matrices instead of two and gets 2/3 of it (Shazeer 2020)."""
    if options.intermediate is not None:
        return options.intermediate
    return -(-options.width * 8 // 3 // 8) * 8 if gated else 4 * options.width


def _ids(tokenizer: Any, **names: str) -> dict[str, Any]:
    """Special ids under the names that a configuration uses."""
    return {name: getattr(tokenizer, attribute) for name, attribute in names.items()}


def _encoder(options: ModelOptions, tokenizer: Any, kind: str) -> Any:
    """BERT, RoFormer and ELECTRA name their shapes alike; in the last two the width of the embeddings must be said as well."""
    import transformers

    return getattr(transformers, kind)(
        vocab_size=len(tokenizer),
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=_inner_width(options),
        max_position_embeddings=options.context,
        hidden_dropout_prob=options.dropout_when_new,
        attention_probs_dropout_prob=options.dropout_when_new,
        initializer_range=_DEVIATION,
        **({} if kind == "BertConfig" else {"embedding_size": options.width}),
        **_ids(tokenizer, pad_token_id="pad_token_id"),
    )


def _gpt2(options: ModelOptions, tokenizer: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=options.context,
        n_embd=options.width,
        n_layer=options.layers,
        n_head=options.heads,
        n_inner=_inner_width(options),
        resid_pdrop=options.dropout_when_new,
        embd_pdrop=options.dropout_when_new,
        attn_pdrop=options.dropout_when_new,
        initializer_range=_DEVIATION,
        **_ids(tokenizer, bos_token_id="bos_token_id", eos_token_id="eos_token_id", pad_token_id="pad_token_id"),
    )


def _llama(options: ModelOptions, tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=_inner_width(options, gated=True),
        max_position_embeddings=options.context,
        attention_dropout=options.dropout_when_new,
        initializer_range=_DEVIATION,
        tie_word_embeddings=True,
        **_ids(tokenizer, bos_token_id="bos_token_id", eos_token_id="eos_token_id", pad_token_id="pad_token_id"),
    )


def _t5(options: ModelOptions, tokenizer: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=len(tokenizer),
        d_model=options.width,
        d_kv=options.width // options.heads,
        d_ff=_inner_width(options, gated=True),
        num_layers=options.layers,
        num_decoder_layers=options.layers,
        num_heads=options.heads,
        dropout_rate=options.dropout_when_new,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        **_ids(tokenizer, pad_token_id="pad_token_id", eos_token_id="eos_token_id", decoder_start_token_id="pad_token_id"),
    )


_CONFIGS: dict[str, Callable[[ModelOptions, Any], Any]] = {
    "roformer": partial(_encoder, kind="RoFormerConfig"),
    "bert": partial(_encoder, kind="BertConfig"),
    "electra": partial(_encoder, kind="ElectraConfig"),
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
}
