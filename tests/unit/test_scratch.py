"""Models from a short shape: the classes, heads and ids that were asked for, and bases that a recipe can name."""

import json

import numpy as np
import pytest
import torch

from trustbase.errors import RecipeError
from trustbase.model.continued import base_problems, continue_model
from trustbase.model.load import resolve_base
from trustbase.model.options import ModelOptions
from trustbase.model.pretrained import load_classifier
from trustbase.model.scratch import build_model, kept_model, save_base, size_of, write_scratch_base
from trustbase.model.tokenizer import load_tokenizer, model_max_length
from trustbase.model.vocabulary import train_tokenizer

TEXTS = [
    "the film is good and the food was bad",
    "今天天气很好，我们去看电影。",
    "服务很好，电影不好看。",
    "a very fine day for the film",
] * 6
DESCRIBED = {"reference": "corpus", "revision": "1", "digest": "sha256:1", "licence": "unknown", "lineage": []}
CASES = {
    "masked": ("encoder", None, ("masked",), "RoFormerForMaskedLM"),
    "pairs": ("encoder", None, ("masked", "next_sentence"), "RoFormerForPreTraining"),
    "order": ("encoder", None, ("sentence_order",), "RoFormerForPreTraining"),
    "contrastive": ("encoder", None, ("contrastive",), "RoFormerModel"),
    "masked+contrastive": ("encoder", None, ("masked", "contrastive"), "RoFormerForMaskedLM"),
    "bert": ("encoder", "bert", ("masked",), "BertForMaskedLM"),
    "bert pairs": ("encoder", "bert", ("masked", "next_sentence"), "BertForPreTraining"),
    "bert order": ("encoder", "bert", ("sentence_order",), "BertForPreTraining"),
    "bert contrastive": ("encoder", "bert", ("contrastive",), "BertModel"),
    "bert masked+contrastive": ("encoder", "bert", ("masked", "contrastive"), "BertForPreTraining"),
    "replaced": ("encoder", None, ("replaced_token",), "ElectraForPreTraining"),
    "causal": ("decoder", None, ("causal",), "GPT2LMHeadModel"),
    "llama": ("decoder", "llama", ("causal",), "LlamaForCausalLM"),
    "spans": ("encoder-decoder", None, ("span_corruption",), "T5ForConditionalGeneration"),
    "infilling": ("encoder-decoder", None, ("infilling", "span_corruption"), "T5ForConditionalGeneration"),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    wanted = {"encoder": ("wordpiece", 70), "decoder": ("byte_bpe", 290), "encoder-decoder": ("unigram", 140)}
    for family, (kind, size) in wanted.items():
        train_tokenizer(kind, TEXTS, vocab_size=size, lower_case=False, folder=root / family, family=family, max_length=512)
    return {family: load_tokenizer(root / family) for family in wanted}


def shape(family, architecture=None, **more):
    return ModelOptions(**{"family": family, "architecture": architecture, "layers": 2, "width": 32, "heads": 4, "context": 24, **more})


def build(tokenizers, case, seed=0, **more):
    family, architecture, objectives, _ = CASES[case]
    return build_model(shape(family, architecture, **more), tokenizers[family], objectives=objectives, seed=seed)


def state(model):
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@pytest.mark.parametrize("case", CASES)
def test_each_objective_gets_its_class_and_its_base_loads_everywhere(tokenizers, case, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    family, _, _, name = CASES[case]
    tokenizer = tokenizers[family]
    random_state = torch.get_rng_state()
    model = build(tokenizers, case, seed=3)
    assert torch.equal(torch.get_rng_state(), random_state) and model.training
    kept = kept_model(model)
    assert type(kept).__name__ == name and kept.config.vocab_size == len(tokenizer) == kept.get_input_embeddings().weight.shape[0]
    digest = save_base(model, tokenizer, tmp_path / "base", described=DESCRIBED, meta={"steps": 0}, context=24)
    base = resolve_base(str(tmp_path / "base"))
    assert base.digest == digest and base.lineage == ("corpus at 1 (sha256:1)",)
    saved = load_tokenizer(base.folder)
    assert model_max_length(kept.config, saved) == saved.model_max_length == 24 and tokenizer.model_max_length == 512
    text = "今天 the film 很好"
    inputs = AutoTokenizer.from_pretrained(base.folder)(text, return_tensors="pt")
    plain = AutoModel.from_pretrained(base.folder)
    wanted = getattr(kept, kept.base_model_prefix, None)
    if wanted is not None:
        pairs = zip(plain.eval()(**inputs)[0], wanted.eval()(**inputs)[0], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    classifier = load_classifier(base.folder, label_names=["bad", "good"], pad_id=saved.pad_token_id)
    assert classifier(**inputs).logits.shape == (1, 2)


@pytest.mark.parametrize("case", CASES)
def test_weights_come_from_the_named_stream(tokenizers, case):
    one, two, other = (state(build(tokenizers, case, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["", "bert "])
def test_a_head_never_shifts_the_body(tokenizers, kind):
    masked, pairs, contrastive = (
        build(tokenizers, f"{kind}{case}".replace("bert masked", "bert")) for case in ("masked", "pairs", "contrastive")
    )
    bodies = [state(masked.base_model), state(pairs.base_model), state(contrastive)]
    assert bodies[1].keys() == bodies[2].keys() and len(bodies[0]) > 30
    assert all(torch.equal(bodies[1][name], bodies[2][name]) for name in bodies[2])
    assert all(torch.equal(bodies[0][name], bodies[1][name]) for name in bodies[0])


@pytest.mark.parametrize("case", ["masked", "causal", "llama", "spans"])
def test_random_weights_are_spread_as_transformers_spreads_them(tokenizers, case):
    """Oracle: a model that the library makes of the same configuration, its weights' standard deviations."""
    ours = build(tokenizers, case, width=64, layers=3).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = type(ours)(ours.config)
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.numel() > 2000:
            assert parameter.std().item() == pytest.approx(wanted[name].std().item(), rel=0.15), name
        if parameter.dim() == 1:
            assert torch.equal(parameter, wanted[name]), name


def test_a_pair_shares_embeddings_and_the_generator_is_smaller(tokenizers):
    pair = build(tokenizers, "replaced")
    generator, discriminator = pair.generator, pair.discriminator
    table = discriminator.electra.embeddings.word_embeddings.weight
    assert generator.electra.embeddings is discriminator.electra.embeddings and generator.get_output_embeddings().weight is table
    assert generator.config.hidden_size == 8 and generator.config.num_attention_heads == 1 and discriminator.config.hidden_size == 32
    ids = torch.tensor([[2, 7, 8, 3]])
    assert generator(input_ids=ids).logits.shape == (1, 4, 70) and pair(ids).logits.shape == (1, 4)
    names = [name for name, _ in pair.named_parameters()]
    assert len(names) == len({id(parameter) for parameter in pair.parameters()})  # shared tables are trained once
    other = build(tokenizers, "replaced")
    assert not torch.equal(
        generator.electra.encoder.layer[0].output.dense.weight, discriminator.electra.encoder.layer[0].output.dense.weight[:8, :8]
    )
    assert torch.equal(generator.electra.encoder.layer[0].output.dense.weight, other.generator.electra.encoder.layer[0].output.dense.weight)


def test_shapes_are_what_was_asked_for(tokenizers):
    for case in ("masked", "bert"):
        body = build(tokenizers, case, intermediate=40, dropout=0.25).base_model
        layer = body.encoder.layer[0]
        assert layer.intermediate.dense.weight.shape == (40, 32) and layer.output.dropout.p == 0.25 and len(body.encoder.layer) == 2
    gpt = build(tokenizers, "causal")
    assert gpt.transformer.h[0].mlp.c_fc.weight.shape == (32, 128) and gpt.config.n_positions == 24
    assert gpt.lm_head.weight is gpt.transformer.wte.weight and gpt.config.eos_token_id == tokenizers["decoder"].eos_token_id
    llama = build(tokenizers, "llama")
    assert llama.model.layers[0].mlp.gate_proj.weight.shape == (88, 32)  # 8/3 of the width, to a multiple of 8
    t5 = build(tokenizers, "spans")
    assert (
        len(t5.decoder.block) == len(t5.encoder.block) == 2
        and t5.config.decoder_start_token_id == tokenizers["encoder-decoder"].pad_token_id
    )
    assert t5.lm_head.weight is t5.shared.weight


def test_sizes_are_counted_as_by_hand(tokenizers):
    model = build(tokenizers, "causal")
    width, layers = 32, 2
    inner = layers * (12 * width * width + 13 * width) + 2 * width  # Kaplan et al. (2020): 12 · layers · width², and biases and norms
    assert size_of(model) == {
        "parameters": inner + (290 + 24) * width,
        "embedding_parameters": (290 + 24) * width,
        "non_embedding_parameters": inner,
    }


def test_an_untrained_base_tells_where_it_comes_from(tokenizers, tmp_path):
    options = shape("encoder")
    made = [
        write_scratch_base(options, tokenizers["encoder"], tmp_path / str(number), seed=seed, tokenizer_from="trained")
        for number, seed in enumerate((0, 0, 1))
    ]
    assert made[0].digest == made[1].digest != made[2].digest and made[0].lineage == made[1].lineage
    assert made[0].lineage[0] == "tokenizer: trained" and made[2].lineage[-1].startswith("scratch at seed 1 (sha256:")
    described = json.loads((made[0].folder / "trustbase.json").read_text())
    assert described["meta"]["scratch"]["model"]["width"] == 32 and str(tmp_path) not in json.dumps(described)
    for part in (tmp_path / "0").iterdir():
        assert str(tmp_path).encode() not in part.read_bytes(), part.name


def test_what_does_not_fit_is_refused_at_once(tokenizers):
    with pytest.raises(RecipeError, match="cannot be built") as refused:
        build_model(shape("encoder", width=30, heads=4), tokenizers["encoder"], objectives=("causal",), seed=0)
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("case", ["masked", "pairs", "contrastive", "replaced", "causal", "llama", "spans"])
def test_pretraining_goes_on_with_the_heads_that_were_saved(tokenizers, case, tmp_path):
    family, _, objectives, _ = CASES[case]
    model = build(tokenizers, case, seed=5)
    save_base(model, tokenizers[family], tmp_path / "base", described=DESCRIBED, meta={}, context=24)
    again, fresh = continue_model(resolve_base(str(tmp_path / "base")), objectives, seed=9, dropout=0.0)
    first, second = state(kept_model(model)), state(kept_model(again))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first) and again.training
    assert fresh == (["generator"] if case == "replaced" else [])
    assert all(module.p == 0.0 for module in kept_model(again).modules() if isinstance(module, torch.nn.Dropout))


def test_a_base_without_heads_gets_new_ones_and_says_which(tiny_folder):
    base = resolve_base(str(tiny_folder))
    one, fresh = continue_model(base, ("masked", "next_sentence"), seed=0)
    two, _ = continue_model(base, ("masked", "next_sentence"), seed=0)
    assert type(one).__name__ == "BertForPreTraining" and any("seq_relationship" in name for name in fresh)
    assert not any(name.startswith("bert.encoder") for name in fresh)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert base.digest in json.dumps(one.trustbase_origin.described)
    masked, fresh = continue_model(base, ("masked",), seed=0)
    assert not any("pooler" in name for name, _ in masked.named_parameters()) and fresh
    assert np.isfinite(masked(input_ids=torch.tensor([[2, 5, 3]])).logits.detach().numpy()).all()


def test_objectives_that_do_not_fit_a_base_are_refused(tiny_folder):
    base = resolve_base(str(tiny_folder))
    with pytest.raises(RecipeError, match="cannot go on") as refused:
        continue_model(base, ("causal",), seed=0)
    assert "decoder" in str(refused.value.problems[0])
    assert "128" in str(base_problems(base, ("masked",), length=512)[0])
    assert base_problems(base, ("masked",), length=128) == []
