"""White-box attributions: gradients, Integrated Gradients and attention relevance, against Captum and against rules written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inside_kit import FAMILIES, classifier, inside_of
from rules_by_hand import relevance_of

from trustbase.audit.explain.gradients import integrated, times_input
from trustbase.audit.explain.inside import Inside
from trustbase.errors import UsageError

TEXTS = ["the film was very good", "bad", "the service is not good and the food was poor, very poor"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: classifier(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


def asked(inside: Inside, texts: list[str] = TEXTS):
    tokens = inside.tokens(texts)
    assert not any(isinstance(each, str) for each in tokens), tokens
    inside.check(tokens[0], 1)
    return tokens


def by_captum(inside: Inside, ids: torch.Tensor, base: torch.Tensor, steps: int, *, method: str = "gausslegendre"):
    captum = pytest.importorskip("captum.attr")

    def score(ids, mask):
        logits = inside.model(input_ids=ids, attention_mask=mask).logits
        return logits[:, 1] - logits[:, 0]

    follow = captum.LayerIntegratedGradients(score, inside.model.get_input_embeddings())
    more = (torch.ones_like(ids[None]),)
    found = follow.attribute(ids[None], base[None], additional_forward_args=more, n_steps=steps, method=method)
    return found.detach()[0].sum(-1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_integrated_gradients_are_those_of_captum(folders, family):
    inside = inside_of(folders[family])
    tokens = asked(inside)
    for ours, token in zip(integrated(inside, tokens, [1] * 3, steps=20, budget=100), tokens, strict=True):
        ids = torch.from_numpy(token.ids)
        base = torch.where(torch.from_numpy(token.places[:, 0] >= 0), torch.full_like(ids, inside.nothing), ids)
        assert np.abs(ours.values - by_captum(inside, ids, base, 20)).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_times_input_is_that_of_captum(folders, family):
    captum = pytest.importorskip("captum.attr")
    inside = inside_of(folders[family])
    tokens = asked(inside)
    follow = captum.InputXGradient(lambda words: (lambda z: z[:, 1] - z[:, 0])(inside.model(inputs_embeds=words).logits))
    for ours, token in zip(times_input(inside, tokens, [1] * 3), tokens, strict=True):
        words = inside.embedded(torch.from_numpy(token.ids))[None].requires_grad_()
        assert np.abs(ours.values - follow.attribute(words).detach()[0].sum(-1).numpy()).max() < 1e-5


@pytest.mark.parametrize("relevance", [False, True])
def test_both_ways_through_a_model_give_the_same(folders, relevance):
    packed, usual = inside_of(folders["bert"]), inside_of(folders["bert"], packed=False)
    assert packed.path == "packed" and usual.path.startswith("transformers")
    tokens = asked(packed)
    for one, other in zip(*(times_input(each, tokens, [1, 0, 1], relevance=relevance) for each in (packed, usual)), strict=True):
        assert np.abs(one.values - other.values).max() < 1e-5 and one.score == pytest.approx(other.score, abs=1e-5)


def test_one_text_is_not_told_otherwise_among_others(folders):
    inside = inside_of(folders["bert"])
    tokens = asked(inside, TEXTS * 7)
    together = integrated(inside, tokens, [1] * 21, steps=13, budget=64)
    alone = [integrated(inside, [each], [1], steps=13, budget=10_000)[0] for each in tokens[:3]]
    for place, found in enumerate(together):
        assert np.abs(found.values - alone[place % 3].values).max() < 1e-5


def test_integrated_gradients_sum_to_what_the_words_do(folders):
    inside = inside_of(folders["bert"])
    tokens = asked(inside)
    errors = [[abs(each.error) for each in integrated(inside, tokens, [1] * 3, steps=steps)] for steps in (5, 200)]
    assert max(errors[1]) < 1e-4 < max(errors[0])


@pytest.mark.parametrize("packed", [True, False])
def test_attention_relevance_is_that_of_its_rules_written_out(folders, packed):
    """The oracle takes no gradient; and all that it gives to words, to positions, and keeps in biases and softmaxes, is the score."""
    inside = inside_of(folders["bert"], packed=packed)
    tokens = asked(inside)
    for target in (0, 1):
        for ours, token in zip(times_input(inside, tokens, [target] * 3, relevance=True), tokens, strict=True):
            words, score, elsewhere = relevance_of(inside.model, token.ids, target)
            assert ours.score == pytest.approx(score, abs=1e-4)
            assert words.sum() + elsewhere == pytest.approx(score, abs=1e-6)
            assert np.abs(ours.values - words).max() < 1e-4 * max(1.0, np.abs(words).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_change_nothing_of_the_score(folders, family):
    inside = inside_of(folders[family], packed=False)
    tokens = asked(inside)
    scores = [[each.score for each in times_input(inside, tokens, [1] * 3, relevance=relevance)] for relevance in (False, True)]
    assert np.allclose(*scores, atol=1e-5)


def test_relevance_refuses_models_whose_rules_it_does_not_know(tmp_path):
    inside = inside_of(classifier(tmp_path / "odd", hidden_act="gelu_new"))
    with pytest.raises(UsageError, match="activation gelu_new"):
        times_input(inside, asked(inside), [1] * 3, relevance=True)
    assert all(np.isfinite(each.values).all() for each in times_input(inside, asked(inside), [1] * 3))
