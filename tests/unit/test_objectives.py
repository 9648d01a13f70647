"""Objectives against transformers' own losses, and what their collators hide."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pretrain_kit import PAIRS, batches, corpus, model, scene, tokens
from torch.nn import functional

from trustbase.errors import UsageError
from trustbase.model.scratch import kept_model
from trustbase.train.objectives.base import Texts
from trustbase.train.objectives.denoising import Infilling, SpanCorruption, _poisson_spans
from trustbase.train.objectives.masked import choose, hide, word_numbers
from trustbase.train.options import TrainOptions
from trustbase.train.packing import Chosen
from trustbase.train.scene import make_objectives, weights_of
from trustbase.train.symbols import symbols_of
from trustbase.train.trial import choose_ways


def losses(place, batch):
    with place.reading.scoring(exactly=True):
        return {term: values.double() for term, values in place.objective(place.reading, batch).items()}


def labels_of(batch, shape):
    labels = torch.full(shape, -100)
    labels.view(-1)[batch.targets["places"]] = batch.targets["words"]
    return labels


def alone(place, **more):
    """A batch of one piece a row, with padding."""
    batch = batches(place.objective, place.texts, packed=False, **{"batch_tokens": 4096, **more})[0][1]
    assert "attention_mask" in batch.inputs or place.objective.name == "causal"
    return batch


def close(ours, theirs):
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5, rel=1e-5)


def test_masked_is_the_loss_of_bert_for_masked_lm():
    place = scene("masked")
    batch = alone(place)
    result = place.model.eval()(**batch.inputs, labels=labels_of(batch, batch.inputs["input_ids"].shape))
    close(losses(place, batch)["masked"].mean(), result.loss)


@pytest.mark.parametrize("name", ["masked+next_sentence", "masked+sentence_order"])
def test_masked_with_pairs_is_the_loss_of_bert_for_pretraining(name):
    place = scene(name)
    batch = alone(place)
    labels = labels_of(batch, batch.inputs["input_ids"].shape)
    pairs = batch.targets["pairs"]
    assert 20 < len(pairs) < len(batch.rows) and 0 < int(pairs.sum()) < len(pairs), "short pieces are not asked about"
    asked = torch.full((len(batch.rows),), -100)
    asked[batch.targets["firsts"] // labels.shape[1]] = pairs
    result = place.model.eval()(**batch.inputs, labels=labels, next_sentence_label=asked)
    found = losses(place, batch)
    close(found["masked"].mean() + found[name.split("+")[1]].mean(), result.loss)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_causal_is_the_loss_of_a_language_model(kind):
    place = scene("causal", kind=kind)
    batch = alone(place)
    shape = batch.inputs["input_ids"].shape
    words, inputs = labels_of(batch, shape), batch.inputs["input_ids"]
    whole = torch.cat([inputs, torch.zeros(len(inputs), 1, dtype=torch.int64)], 1)
    labels = torch.cat([torch.full((len(inputs), 1), -100), words], 1)  # transformers shifts them by one
    for row, length in enumerate((words >= 0).sum(1).tolist()):
        whole[row, length] = words[row, length - 1]
    most = place.model.config.max_position_embeddings
    result = place.model.eval()(whole[:, :most], labels=labels[:, :most])
    kept = (labels[:, :most][:, 1:] >= 0).sum()
    ours = losses(place, batch)["causal"]
    if shape[1] + 1 <= most:
        close(ours.mean(), result.loss)
    else:  # a row as long as the context: its last token has no place in transformers' input
        inside = (batch.targets["places"] % shape[1]) < most - 1
        assert int(inside.sum()) == int(kept)
        close(ours[inside].mean(), result.loss)


def test_z_loss_is_the_squared_logarithm_of_the_softmaxs_sum():
    place = scene("causal", z_loss=1e-3)
    batch = alone(place)
    assert place.objective.weights == {"causal": 1.0, "z": 1e-3} and batch.units["z"] == batch.units["causal"]
    scores = place.model.eval()(batch.inputs["input_ids"]).logits.flatten(0, 1)[batch.targets["places"]]
    close(losses(place, batch)["z"].mean(), (scores.double().exp().sum(-1).log() ** 2).mean())


@pytest.mark.parametrize(("name", "kind"), [("span_corruption", "t5"), ("infilling", "bart"), ("infilling", "t5")])
def test_denoising_is_the_loss_of_an_encoder_decoder(name, kind):
    data, tok = corpus("bart" if kind == "bart" else "encoder-decoder")
    place = scene(name, kind=kind)
    if kind != PAIRS[name][0]:
        place.model = model(kind, tok)
        (place.objective,) = make_objectives(name, symbols_of(tok), 32, model=place.model, options=TrainOptions())
        place.texts = Texts(data.train)
        place.reading = type(place.reading)(place.model, precision="fp32", device="cpu", seed=0)
    batch = alone(place)
    labels = labels_of(batch, batch.inputs["decoder_input_ids"].shape)
    given = {key: batch.inputs[key] for key in ("input_ids", "attention_mask")}
    result = place.model.eval()(**given, labels=labels)
    close(losses(place, batch)[name].mean(), result.loss)


def test_replaced_tokens_are_judged_with_the_loss_of_electra():
    place = scene("replaced_token")
    batch = alone(place)
    kept = {}
    real = place.reading.judged
    place.reading.judged = lambda inputs, places: (kept.update(inputs), real(inputs, places))[1]
    found = losses(place, batch)
    original = batch.inputs["input_ids"].clone().view(-1)
    original[batch.targets["judged"]] = batch.targets["ids"]
    filled = kept["input_ids"].clone()
    replaced = (filled.view(-1) != original).long().view(filled.shape)
    mask = batch.inputs["attention_mask"]
    theirs = place.model.discriminator.eval()(input_ids=filled, attention_mask=mask, labels=replaced)
    close(found["replaced_token"].mean(), theirs.loss)
    masked = place.model.generator.eval()(**batch.inputs, labels=labels_of(batch, filled.shape))
    close(found["generator"].mean(), masked.loss)
    assert place.objective.weights == {"generator": 1.0, "replaced_token": 50.0}
    assert int(batch.inputs["input_ids"].eq(place.tokenizer.mask_token_id).sum()) == batch.units["generator"], "all are shown as masks"
    assert 0 < int(replaced.sum()) <= batch.units["generator"] and not replaced[mask == 0].any()
    assert kept_model(place.model) is place.model.discriminator


def test_contrastive_is_cross_entropy_over_cosines():
    place = scene("contrastive")
    batch = alone(place)
    hidden = place.model.eval()(**batch.inputs).pooler_output.detach().double()
    first, second = hidden.chunk(2)
    cosines = np.array([[float(functional.cosine_similarity(a, b, dim=0)) for b in second] for a in first]) / 0.05
    wanted = np.log(np.exp(cosines).sum(1)) - np.diag(cosines)
    np.testing.assert_allclose(losses(place, batch)["contrastive"].numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("name", list(PAIRS))
def test_the_loss_of_a_document_does_not_depend_on_its_neighbours(name):
    """Ten documents in shared rows, in other rows, and each alone: the same losses to 1e-5 in fp32."""
    place = scene(name)
    if PAIRS[name][0] == "bart":
        assert "one piece a row" in choose_ways(place.reading, place.objective, place.texts, "cpu")
        assert not place.objective.packs, "BART's positions cannot begin anew inside a row"
        return
    pieces = place.objective.cut(place.texts, np.arange(10))
    pieces = replace(pieces, lengths=np.minimum(pieces.lengths, 12))
    sizes = place.objective.sizes(pieces.lengths)
    rows, row, left = [], -1, 0
    for size in sizes:
        row, left = (row, left) if size <= left else (row + 1, 32)
        rows.append(row)
        left -= size
    assert max(np.bincount(rows)) > 1
    found = []
    for layout in (np.array(rows), np.arange(len(pieces))):
        chosen = Chosen(pieces, layout, np.unique(layout), 32)
        batch = place.objective.collate(chosen, place.texts, np.random.default_rng(0), "cpu", 0)
        found.append(losses(place, batch))
    for term, values in found[0].items():
        assert len(values) > 5
        np.testing.assert_allclose(values, found[1][term], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("masked", "roberta"), ("causal", "llama"), ("masked", "BertForPreTraining")])
def test_other_architectures_pack_too(name, kind):
    place = scene(name, kind=kind)
    said = choose_ways(place.reading, place.objective, place.texts, "cpu")
    assert place.objective.packs and "several pieces a row" in said, said


@pytest.mark.parametrize("name", [name for name, (_, family) in PAIRS.items() if family == "encoder"])
def test_the_quicker_route_is_found_compared_and_taken(name):
    place = scene(name)
    said = choose_ways(place.reading, place.objective, place.texts, "cpu")
    assert "quicker route, which agrees" in said and place.reading.routes == {place.objective.name: "quick"}, said
    for packed in (True, False):
        batch = batches(place.objective, place.texts, packed=packed)[0][1]
        place.reading.routes.clear()
        own = losses(place, batch)
        place.reading.routes[place.objective.name] = "quick"
        for term, values in losses(place, batch).items():
            np.testing.assert_allclose(values, own[term], atol=2e-5, rtol=1e-5)


def test_a_route_that_differs_is_not_taken(monkeypatch):
    from trustbase.train.quick import QuickBody

    place = scene("masked")
    real = QuickBody.states
    monkeypatch.setattr(QuickBody, "states", lambda *given: real(*given) * 1.01)
    said = choose_ways(place.reading, place.objective, place.texts, "cpu")
    assert "differs by" in said and place.reading.routes == {"masked": "model"}


def test_gradients_of_the_quicker_route_are_those_of_the_models_own():
    grads = []
    for route in ("model", "quick"):
        place = scene("masked+next_sentence")
        place.model.eval()  # no dropout
        place.reading.routes[place.objective.name] = route
        place.reading._random = False
        batch = batches(place.objective, place.texts, packed=True)[0][1]
        sum(values.mean() for values in place.objective(place.reading, batch).values()).backward()
        grads.append({name: p.grad for name, p in place.model.named_parameters()})
    for name, grad in grads[0].items():
        np.testing.assert_allclose(grads[1][name], grad, atol=2e-5, err_msg=name)


def test_masks_are_fifteen_percent_eighty_ten_ten():
    rng = np.random.default_rng(0)
    piece = np.repeat(np.arange(300), rng.integers(20, 60, 300))
    chosen = choose(piece, np.arange(len(piece)), 0.15, rng)
    assert chosen.mean() == pytest.approx(0.15, abs=0.003)
    each = np.bincount(piece, chosen)
    assert each.min() >= 1 and (np.abs(each - 0.15 * np.bincount(piece)) < 1 + 1e-9).all()
    ids = rng.integers(10, 1000, len(piece))
    shown = hide(ids, chosen, 3, np.arange(10, 1000), rng)
    assert (shown[~chosen] == ids[~chosen]).all()
    assert (shown[chosen] == 3).mean() == pytest.approx(0.8, abs=0.03)
    assert (shown[chosen] == ids[chosen]).mean() == pytest.approx(0.1, abs=0.02)


def test_whole_words_are_masked_together_in_both_languages():
    rng = np.random.default_rng(1)
    piece = np.repeat(np.arange(200), 40)
    starts = (rng.random(len(piece)) < 0.6).astype(np.uint8)
    words = word_numbers(piece, starts)
    chosen = choose(piece, words, 0.15, rng)
    for word in range(words[-1] + 1):
        assert len(set(chosen[words == word].tolist())) == 1
    assert chosen.mean() == pytest.approx(0.15, abs=0.02)
    edges = np.flatnonzero(np.diff(piece)) + 1
    assert (words[edges] != words[edges - 1]).all(), "no word lies in two pieces"


def test_special_and_unknown_tokens_are_never_hidden():
    place = scene("masked")
    tok = place.tokenizer
    place.texts = Texts(tokens(tok, ["the unseen cat sings", "今天鑫"] * 20))
    assert (place.texts.tokens.ids == tok.unk_token_id).sum() == 40
    for _, batch in batches(place.objective, place.texts, packed=True):
        assert not set(batch.targets["words"].tolist()) & {tok.unk_token_id, tok.cls_token_id, tok.sep_token_id, tok.pad_token_id}


def test_next_sentences_come_half_from_other_documents():
    place = scene("masked+next_sentence", count=400)
    tok, wrong, foreign = place.tokenizer, [], []
    person = {tok.convert_tokens_to_ids(word): n for n, word in enumerate(("cat", "dog", "friend", "teacher", "neighbour"))}
    for _, batch in batches(place.objective, place.texts, packed=False, batch_tokens=1024):
        ids = batch.inputs["input_ids"].clone()
        ids.view(-1)[batch.targets["places"]] = batch.targets["words"]
        for first, label in zip(batch.targets["firsts"].tolist(), batch.targets["pairs"].tolist(), strict=True):
            row = ids[first // ids.shape[1]]
            kinds = batch.inputs["token_type_ids"][first // ids.shape[1]]
            a, b = ({person[i] for i in row[kinds == kind].tolist() if i in person} for kind in (0, 1))
            wrong.append(label)
            if a and b:
                foreign.append((label, a != b))
    assert np.mean(wrong) == pytest.approx(0.5, abs=0.06)
    right = [differs for label, differs in foreign if label == 0]
    assert len(right) > 30 and not any(right), "a document keeps to one person, so a true second half has the same"
    assert np.mean([differs for label, differs in foreign if label == 1]) > 0.6


def test_pairs_are_cut_at_sentence_ends_and_turned_round():
    place = scene("masked+sentence_order", count=200)
    ends = np.flatnonzero(place.objective.symbols.ends)
    at_end, turned = [], []
    for chosen, batch in batches(place.objective, place.texts, packed=False, batch_tokens=1024):
        ids = batch.inputs["input_ids"].clone()
        ids.view(-1)[batch.targets["places"]] = batch.targets["words"]
        places = iter(zip(batch.targets["firsts"].tolist(), batch.targets["pairs"].tolist(), strict=True))
        for row, (doc, offset, length) in enumerate(
            zip(*[getattr(chosen.pieces, n) for n in ("documents", "offsets", "lengths")], strict=True)
        ):
            if length < 8:
                continue
            first, label = next(places)
            assert first == row * ids.shape[1]
            begin = place.texts.tokens.bounds[doc] + offset
            text = place.texts.tokens.ids[begin : begin + length].astype(int).tolist()
            a, b = (ids[row][(batch.inputs["token_type_ids"][row] == kind)].tolist() for kind in (0, 1))
            a, b = a[1:-1] if a[-1] == place.tokenizer.sep_token_id else a[1 : a.index(place.tokenizer.sep_token_id)], b[:-1]
            assert (b + a if label else a + b) == text
            inner = (b if label else a)[-1]
            if any(i in ends for i in text[1:-2]):
                at_end.append(inner in ends)
            turned.append(label)
    assert all(at_end) and len(at_end) > 50 and np.mean(turned) == pytest.approx(0.5, abs=0.1)


def test_one_document_has_no_other_to_take_from():
    place = scene("masked+next_sentence", count=1)
    with pytest.raises(UsageError, match="another document"):
        place.objective.check(place.texts)


def test_corrupted_spans_can_be_put_back():
    place = scene("span_corruption")
    objective: SpanCorruption = place.objective
    rng = np.random.default_rng(0)
    sentinels, eos = list(objective.symbols.sentinels), place.tokenizer.eos_token_id
    for length in (1, 2, 3, 7, objective.room()):
        ids = rng.integers(60, 70, length)
        read, written = objective.spoil(ids, rng)
        assert len(read) == objective.sizes(np.array([length]))[0] <= 32 and read[-1] == written[-1] == eos
        spans, current = {}, None
        for token in written[:-1].tolist():
            if token in sentinels:
                current = spans.setdefault(token, [])
            else:
                current.append(token)
        assert list(spans) == sentinels[: len(spans)] and all(spans.values())
        back = [t for token in read[:-1].tolist() for t in spans.get(token, [token])]
        assert back == ids.tolist()
    hidden = sum(map(len, spans.values()))
    assert hidden == round(0.15 * objective.room()) and len(spans) == round(hidden / 3)


def test_a_context_with_more_spans_than_sentinels_is_refused():
    place = scene("span_corruption")
    with pytest.raises(UsageError, match="sentinels"):
        SpanCorruption(place.objective.symbols, 1024, decoder_start=0)


def test_infilling_hides_thirty_percent_in_spans_and_asks_for_all():
    place = scene("infilling", context=512)
    objective: Infilling = place.objective
    rng, hidden, masks = np.random.default_rng(0), 0, 0
    for _ in range(200):
        ids = rng.integers(60, 70, 200)
        read, written = objective.spoil(ids, rng)
        assert written[1:-1].tolist() == ids.tolist() and len(read) <= objective.sizes(np.array([200]))[0]
        kept = [t for t in read[1:-1].tolist() if t != objective.mask]
        iterator = iter(ids.tolist())
        assert all(token in iterator for token in kept), "what is left stands in the order it had"
        hidden += 200 - len(kept)
        masks += len(read) - 2 - len(kept)
    assert hidden / 200 / 200 == pytest.approx(0.3, abs=0.01)
    assert hidden / masks == pytest.approx(3.0, abs=0.25)
    assert all(sum(_poisson_spans(n, rng)) <= n for n in range(1, 12) for _ in range(50))


def test_objectives_are_made_as_a_recipe_names_them():
    assert weights_of("masked+next_sentence") == {"masked": 1.0, "next_sentence": 1.0}
    assert weights_of({"masked": 1.0, "contrastive": 0.1}) == {"masked": 1.0, "contrastive": 0.1}
    _, tok = corpus()
    symbols, net = symbols_of(tok), torch.nn.Linear(1, 1)
    both = make_objectives({"masked": 1.0, "next_sentence": 0.5, "contrastive": 0.1}, symbols, 32, model=net, options=TrainOptions())
    assert [objective.name for objective in both] == ["next_sentence", "contrastive"]
    assert both[0].weights == {"masked": 1.0, "next_sentence": 0.5} and both[1].weights == {"contrastive": 0.1}
    (only,) = make_objectives("next_sentence", symbols, 32, model=net, options=TrainOptions())
    assert only.weights == {"next_sentence": 1.0} and only.main is None
    with pytest.raises(UsageError, match="maskt"):
        make_objectives("maskt", symbols, 32, model=net, options=TrainOptions())
    with pytest.raises(UsageError, match="text-classification"):
        make_objectives("text-classification", symbols, 32, model=net, options=TrainOptions())
    with pytest.raises(UsageError, match="eos"):
        make_objectives("infilling", symbols, 32, model=model("t5", corpus("encoder-decoder")[1]), options=TrainOptions())


@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_attention_of_accelerators_finds_what_ours_finds(masked):
    from trustbase.train.quick import Dropout, QuickBody

    body = QuickBody(None, Dropout())
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(2, 3, 4, 8, generator=rng), torch.randn(2, 3, 6, 8, generator=rng), torch.randn(2, 3, 6, 8, generator=rng)
    mask = None
    if masked:
        mask = torch.zeros(2, 1, 4, 6)
        mask[0, :, :, 4:] = torch.finfo(torch.float32).min / 2
    torch.testing.assert_close(body._fused(q, k, v, mask, 0.5), body._attended(q, k, v, mask, 0.5))  # no dropout before `start`
    body._dropout.start(0, "batch")
    torch.manual_seed(0)
    dropped = body._fused(q, k, v, mask, 0.5)
    assert not torch.allclose(dropped, body._attended(q, k, v, mask, 0.0))
