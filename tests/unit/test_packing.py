"""Rows of documents: every token once, rows full, everything found again from its seed."""

import numpy as np
import pytest
import torch
from pretrain_kit import batches, corpus, scene, texts, tokenizer, tokens

from trustbase import seeds
from trustbase.train.course import plot_course
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Texts
from trustbase.train.options import TrainOptions
from trustbase.train.packing import cut, one_a_row, pack
from trustbase.train.rows import DocumentRows
from trustbase.train.scene import make_objectives
from trustbase.train.symbols import symbols_of
from trustbase.train.words import word_starts


def some(count=500, most=60, seed=0):
    rng = np.random.default_rng(seed)
    return cut(rng.integers(0, most, count), np.arange(count), 30)


def test_documents_are_cut_into_pieces_that_hold_each_token_once():
    lengths = np.array([0, 7, 30, 31, 95])
    pieces = cut(lengths, np.arange(5), 30)
    for document, length in enumerate(lengths):
        own = pieces.documents == document
        covered = np.concatenate([np.arange(o, o + n) for o, n in zip(pieces.offsets[own], pieces.lengths[own], strict=True)] or [[]])
        assert covered.tolist() == list(range(length))
    assert pieces.lengths.min() > 0 and pieces.lengths.max() == 30
    twice = cut(np.array([31, 31]), np.array([4, 4]), 30)
    assert twice.documents.tolist() == [4] * 4 and twice.offsets.tolist() == [0, 30, 0, 30]


def test_rows_hold_each_piece_once_and_little_air():
    pieces = some()
    sizes = pieces.lengths + 2
    plan = pack(pieces, sizes, capacity=32, batch_tokens=256, rng=np.random.default_rng(0))
    found = []
    for chosen in plan:
        assert np.bincount(chosen.rows, chosen.pieces.lengths + 2).max() == chosen.length <= 32 and len(chosen.numbers) <= 8
        assert (np.diff(chosen.rows) >= 0).all() and chosen.rows[-1] == len(chosen.numbers) - 1
        found += list(zip(chosen.pieces.documents.tolist(), chosen.pieces.offsets.tolist(), strict=True))
    assert sorted(found) == sorted(zip(pieces.documents.tolist(), pieces.offsets.tolist(), strict=True))
    assert plan.filled > 0.95 and plan.rows <= np.ceil(sizes.sum() / 32 * 1.03)
    assert len(plan[1:4]) == 3 and np.array_equal(plan[-1].numbers, plan[len(plan) - 1].numbers)
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_plans_follow_from_their_stream_alone():
    pieces = some()
    plans = [pack(pieces, pieces.lengths, capacity=32, batch_tokens=256, rng=np.random.default_rng(s)).pieces.documents for s in (1, 1, 2)]
    assert np.array_equal(plans[0], plans[1]) and not np.array_equal(plans[0], plans[2])
    alone = one_a_row(pieces, pieces.lengths, batch_tokens=256, rng=np.random.default_rng(0))
    assert all(len(chosen.numbers) * chosen.length <= 256 or len(chosen.numbers) == 1 for chosen in alone)
    assert alone.rows == len(pieces)


def test_a_layout_keeps_pieces_and_positions_apart():
    layout = Layout.of(np.array([3, 2, 4]), np.array([0, 0, 1]))
    inputs = layout.inputs(np.arange(10, 19), 0, "cpu")
    assert inputs["input_ids"].tolist() == [[10, 11, 12, 13, 14], [15, 16, 17, 18, 0]]
    assert inputs["pieces"].tolist() == [[0, 0, 0, 1, 1], [2, 2, 2, 2, -1]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert layout.firsts.tolist() == [0, 3, 5]
    single = Layout.of(np.array([3, 2]), np.array([0, 1])).inputs(np.arange(5), 9, "cpu")
    assert single["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]] and "pieces" not in single
    assert set(Layout.of(np.array([3, 3]), np.array([0, 1])).inputs(np.arange(6), 9, "cpu")) == {"input_ids"}


@pytest.mark.parametrize("name", ["masked", "masked+sentence_order", "causal", "infilling", "contrastive"])
def test_an_epoch_reads_every_token_of_every_document(name):
    place = scene(name)
    wanted = np.bincount(place.corpus.train.ids, minlength=len(place.tokenizer))
    found = np.zeros_like(wanted)
    for _, batch in batches(place.objective, place.texts, packed=True):
        if name == "masked" or name.endswith("order"):
            ids = batch.inputs["input_ids"].flatten().clone()
            ids[batch.targets["places"]] = batch.targets["words"]
        elif name == "contrastive":
            ids = batch.inputs["input_ids"].flatten()
        else:
            ids = batch.targets["words"]
        found += np.bincount(ids.numpy(), minlength=len(wanted))
    copies = 2 if name == "contrastive" else 1
    plain = ~place.objective.symbols.special
    unknown = place.tokenizer.unk_token_id
    assert wanted[unknown] == 0, "the kit's tokenizer knows its texts"
    assert (found[plain] == copies * wanted[plain]).all()


def test_several_objectives_read_side_by_side_and_the_first_sets_the_epoch():
    data, tok = corpus()
    learned = make_objectives("masked+contrastive", symbols_of(tok), 32, model=torch.nn.Linear(1, 1), options=TrainOptions())
    rows = DocumentRows(Texts(data.train), learned, seed=0)
    plan = rows.plan(batch_tokens=256, seed=0, epoch=0)
    assert len(plan) == len(plan.plans[0]) and len(plan[0]) == 2
    first, second = rows.parts(plan[len(plan) - 1], "cpu", 7)
    assert (first.objective, second.objective) == ("masked", "contrastive") and first.number == second.number == 7
    assert rows.size(plan[0]) == sum(part.tokens for part in rows.parts(plan[0], "cpu", 0)) <= 2 * 256
    again = rows.parts(plan[len(plan) - 1], "cpu", 7)
    assert torch.equal(first.inputs["input_ids"], again[0].inputs["input_ids"])
    other = rows.parts(plan[len(plan) - 1], "cpu", 8)
    assert not torch.equal(first.targets["places"], other[0].targets["places"])


def test_documents_may_be_read_in_an_order_of_ones_own():
    data, tok = corpus()
    (objective,) = make_objectives("masked", symbols_of(tok), 32, model=torch.nn.Linear(1, 1), options=TrainOptions())
    rows = DocumentRows(Texts(data.train), [objective], seed=0, order=lambda epoch: np.array([epoch, 5, 5]))
    for epoch in (0, 3):
        documents = np.concatenate([part.pieces.documents for (part,) in rows.plan(batch_tokens=256, seed=0, epoch=epoch)])
        assert set(documents.tolist()) == {epoch, 5}
        once = len(objective.cut(rows.texts, np.array([5])))
        assert (documents == 5).sum() == 2 * once


@pytest.mark.parametrize(("accumulation", "max_steps"), [(1, None), (3, None), (2, 4)])
def test_a_budget_of_tokens_is_reached_by_the_last_update(accumulation, max_steps):
    data, tok = corpus()
    learned = make_objectives("masked", symbols_of(tok), 32, model=torch.nn.Linear(1, 1), options=TrainOptions())
    rows = DocumentRows(Texts(data.train), learned, seed=0)
    options = TrainOptions(tokens=9000, batch_tokens=512, max_length=16, accumulation=accumulation, max_steps=max_steps)
    course = plot_course(rows, options)
    read, steps, epoch = [], 0, 0
    while sum(read) < 9000:
        plan = rows.plan(batch_tokens=512, seed=0, epoch=epoch)
        for first in range(0, len(plan), accumulation):
            if sum(read) < 9000:
                read.append(sum(rows.size(joint) for joint in plan[first : first + accumulation]))
                steps += 1
        epoch += 1
    assert course.total == (steps if max_steps is None else max_steps)
    assert sum(read[:-1]) < 9000 <= sum(read)


def test_words_begin_where_a_segmenter_and_word_pieces_say(tmp_path):
    tok = tokenizer()
    symbols = symbols_of(tok)
    data = tokens(tok, ["今天我的朋友喜欢喝牛奶。", "公园", "园丁", "the teachers sings"])
    names = tok.convert_ids_to_tokens(data.ids.tolist())
    starts = word_starts(data, symbols, tmp_path / "words.npy", key="a")
    words = "".join(("|" if start else "") + name for start, name in zip(starts, names, strict=True)).split("|")[1:]
    assert words[:7] == ["今天", "我", "的", "朋友", "喜欢", "喝牛奶", "。"]
    assert words[7] == "公园" and words[8][0] == "园", "a document's end is a word's end"
    assert "##s" in words, "word pieces are words of their own unless asked otherwise"
    every = word_starts(data, symbols, tmp_path / "all.npy", whole="all", key="a")
    assert every[names.index("##s")] == 0 and np.array_equal(every[: names.index("the")], starts[: names.index("the")])
    assert word_starts(data, symbols, tmp_path / "none.npy", whole="none", key="a") is None


def test_marks_of_words_are_kept_and_made_anew_for_other_tokens(tmp_path, monkeypatch):
    from trustbase.train import words

    tok = tokenizer()
    data, calls, real = tokens(tok, texts(10)), [], words._write
    monkeypatch.setattr(words, "_write", lambda *given: (calls.append(1), real(*given)))
    first = word_starts(data, symbols_of(tok), tmp_path / "words.npy", key="a")
    assert np.array_equal(first, word_starts(data, symbols_of(tok), tmp_path / "words.npy", key="a")) and len(calls) == 1
    word_starts(data, symbols_of(tok), tmp_path / "words.npy", key="b")
    assert len(calls) == 2


def test_long_corpora_are_marked_in_stretches_as_they_are_whole(tmp_path, monkeypatch):
    from trustbase.train import words

    tok = tokenizer()
    data = tokens(tok, texts(30))
    whole = np.array(word_starts(data, symbols_of(tok), tmp_path / "whole.npy", key="a"))
    monkeypatch.setattr(words, "_STEP", 40)
    assert np.array_equal(word_starts(data, symbols_of(tok), tmp_path / "parts.npy", key="a"), whole)


def test_symbols_know_sentences_and_special_tokens():
    tok = tokenizer("encoder-decoder")
    symbols = symbols_of(tok)
    assert {symbols.texts[i] for i in np.flatnonzero(symbols.ends)} == {".", "。"}
    assert len(symbols.sentinels) == 20 and tok.convert_ids_to_tokens(symbols.sentinels[0]) == "<extra_id_0>"
    assert symbols.special[list(symbols.sentinels)].all() and not symbols.special[symbols.words].any()
    assert symbols.han.sum() == sum("一" <= text[:1] <= "鿿" for text in symbols.texts)


def test_streams_do_not_shift_each_other():
    values = {seeds.stream_seed(0, "objective", name, 3) for name in ("masked", "contrastive", "causal")}
    assert len(values) == 3
