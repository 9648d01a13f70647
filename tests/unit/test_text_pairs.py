"""Pairs of texts: one string each, told apart again where it is rendered and where tokens are made; the same answers on every way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from tiny import tiny_bert
from trustbase.audit.rivals_classes import bag_of_words
from trustbase.compress.graph import export_onnx
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.pair import halves, join, readable
from trustbase.data.single import load_single
from trustbase.data.template import TextTemplate
from trustbase.data_command import data
from trustbase.errors import DataError, ModelError, RecipeError, UsageError
from trustbase.model.encoded import pad
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.token_pairs import kept, pair_layout
from trustbase.model.tokenizer import encode, load_tokenizer, token_stats
from trustbase.recipe.read import read_recipe
from trustbase.records import LabelSchema, Split
from trustbase.train.labelled import TokenRows
from trustbase.train.quick import Dropout, QuickBert

WORDS = tuple(f"w{number}" for number in range(40))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("pairs") / "base", WORDS)


def texts(rows: int, seed: int = 0, longest: int = 12) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [
        (" ".join(rng.choice(WORDS, rng.integers(0, longest))), " ".join(rng.choice(WORDS, rng.integers(0, longest)))) for _ in range(rows)
    ]


def test_one_string_for_two_texts() -> None:
    assert halves(join("a", "b")) == ("a", "b") and halves("a") == ("a",) and halves(join("a", "")) == ("a", "")
    assert readable(join("a", "b")) == "a ↔ b"


def test_a_template_of_two_sides_renders_alike_by_row_and_by_table() -> None:
    template = TextTemplate.parse(join("first", "{second} of {third}"), ["first", "second", "third"])
    assert template.columns == ("first", "second", "third") and template.whole == ("first",) and template.composed == (("second", "third"),)
    assert TextTemplate.parse(template.source, None) == template == TextTemplate.parse(template.source, ["first", "second", "third"])
    rows = [{"first": "a", "second": "b", "third": "c"}, {"first": "d", "second": None, "third": "e"}]
    assert [template.render(row) for row in rows] == [join("a", "b of c"), join("d", "unknown of e")]
    assert template.render_table(pa.Table.from_pylist(rows)) == [template.render(row) for row in rows]


def test_every_unknown_column_of_both_sides_is_named() -> None:
    with pytest.raises(DataError) as error:
        TextTemplate.parse(join("frist", "{secnod}"), ["first", "second"])
    assert [(problem.where, problem.hint) for problem in error.value.problems] == [
        ("data.text", "did you mean 'first'?"),
        ("data.text_pair", "did you mean 'second'?"),
    ]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [5, 8, 9, 13, 64])
def test_tokens_are_those_of_transformers(base: Path, side: str, max_length: int) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.truncation_side = side
    pairs = texts(60, longest=10)
    single = ["w1 w2 w3", "w4"]
    ours = encode(tokenizer, [*single, *(join(*pair) for pair in pairs)], max_length=max_length)
    for row, asked in enumerate([*((text, None) for text in single), *pairs]):
        batch = [[text] for text in asked if text is not None]  # alone, transformers takes an empty second text for none
        wanted = tokenizer(*batch, truncation=True, max_length=max_length)
        place = slice(ours.offsets[row], ours.offsets[row + 1])
        assert ours.ids[place].tolist() == wanted["input_ids"][0], asked
        assert ours.segments is not None and ours.segments[place].tolist() == wanted["token_type_ids"][0]
        assert ours.full_lengths[row] == len(tokenizer(*batch)["input_ids"][0])
    tokenizer.backend_tokenizer.no_truncation()


def other_tokenizer(pair: str | None) -> PreTrainedTokenizerFast:
    """As RoBERTa has it: two tokens between, and models that are not told of segments."""
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<pad>", "<unk>", "a", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if pair is not None:
        inner.post_processor = processors.TemplateProcessing("<s> $A </s>", pair, [("<s>", 0), ("</s>", 1)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=["input_ids", "attention_mask"], **names)


def test_a_tokenizer_of_another_layout() -> None:
    tokenizer = other_tokenizer("<s> $A </s> </s> $B </s>")
    layout = pair_layout(tokenizer)
    assert (layout.before, layout.between, layout.after, layout.told) == (1, 2, 1, False)
    pairs = texts(40, seed=3)
    ours = encode(tokenizer, [join(*pair) for pair in pairs], max_length=11)
    assert ours.segments is None and set(pad(ours, [0, 1], 2)) == {"input_ids", "attention_mask"}
    wanted = tokenizer([a for a, _ in pairs], [b for _, b in pairs], truncation=True, max_length=11)["input_ids"]
    assert [ours.ids[a:b].tolist() for a, b in zip(ours.offsets[:-1], ours.offsets[1:], strict=True)] == wanted


def test_a_tokenizer_that_puts_nothing_between_is_refused() -> None:
    with pytest.raises(ModelError, match="no token between two texts") as error:
        pair_layout(other_tokenizer(None))
    assert "text-classification" in error.value.hint


def test_both_texts_are_cut_alike_and_all_room_is_used() -> None:
    for first in range(14):
        for second in range(14):
            for room in range(2, 20):
                a, b = kept(first, second, room)
                assert a <= first and b <= second and a + b == min(room, first + second)
                assert abs(a - b) <= 1 or a == first or b == second  # a shorter text is whole, or both are as long


def test_unknown_tokens_are_counted_without_the_tokens_between(base: Path) -> None:
    stats = token_stats(load_tokenizer(base), [join("w1 w2", "w3 学"), join("w1", "w2")], 16)
    assert stats.tokens == 6 and stats.unknown_count == 1 and stats.lengths.tolist() == [7, 5]


def test_every_way_gives_the_answers_of_transformers(base: Path, tmp_path: Path) -> None:
    """Packed and padded torch, ONNX, and the training loop's quicker route, with segments that matter."""
    tokenizer = load_tokenizer(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3).eval()
    with torch.no_grad():
        model.bert.embeddings.token_type_embeddings.weight.normal_(0, 1)
    pairs = [join(*pair) for pair in texts(50, seed=1)]
    encoded = encode(tokenizer, pairs, max_length=16)
    inputs = {name: torch.from_numpy(array) for name, array in pad(encoded, range(50), tokenizer.pad_token_id).items()}
    with torch.no_grad():
        wanted = model(**inputs).logits.numpy()
        without = model(**{**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}).logits.numpy()
    assert np.abs(wanted - without).max() > 0.01, "segments change nothing, so this test could not fail"
    export_onnx(model, tokenizer, tmp_path / "model.onnx", texts=pairs[:2], max_length=16)
    material = TokenRows(encoded.ids, encoded.offsets, np.zeros(50, np.int64), int(tokenizer.pad_token_id), encoded.segments)
    with torch.no_grad():
        quick = QuickBert(model, Dropout()).logits(material.take(np.arange(50), "cpu").inputs, torch.float32).numpy()
    np.testing.assert_allclose(quick, wanted, atol=1e-5)
    ways = [
        OnnxRuntime.open(tmp_path, tokenizer=tokenizer, max_length=16),
        TorchRuntime(model, tokenizer, max_length=16, packed=False),
        TorchRuntime(model, tokenizer, max_length=16),
    ]
    for runtime in ways:
        np.testing.assert_allclose(runtime.forward("logits", runtime.prepare(pairs), np.arange(50)), wanted, atol=1e-5)
    assert [runtime.path for runtime in ways][::2] == ["graph", "packed"]
    alone = ways[2].forward("logits", ways[2].prepare(["w1 w2"]), np.arange(1))
    np.testing.assert_allclose(ways[0].forward("logits", ways[0].prepare(["w1 w2"]), np.arange(1)), alone, atol=1e-5)


def test_the_data_card_of_pairs(tmp_path: Path) -> None:
    path = rows_file(tmp_path, [f"one {n},two {n},{'yes' if n % 2 else 'no'}" for n in range(20)])
    found = data(path, text="a", text_pair="b", label="label")
    assert "pair of texts `a ↔ b`" in found.markdown and found.card["text"]["pair"]
    with pytest.raises(UsageError):
        data(path, text_pair="b")


def rows_file(folder: Path, lines: list[str]) -> Path:
    path = folder / "rows.csv"
    path.write_text("\n".join(["a,b,label", *lines]) + "\n", encoding="utf-8")
    return path


def test_rows_without_a_second_text_are_bad_rows(tmp_path: Path) -> None:
    good = [f"one {n},two {n},{'yes' if n % 2 else 'no'}" for n in range(60)]
    rows_file(tmp_path, [*good, "one,,yes", ",two,no", "o\x1fne,two,no"])
    options = DataOptions(train="rows.csv", text="a", text_pair="b", label="label")
    with pytest.raises(DataError) as error:
        load(options, root=tmp_path, seed=0)
    reasons = [f"{problem.where} {problem.message}" for problem in error.value.problems]
    assert len(reasons) == 3 and "rows.csv:62 column 'b' (text) is empty" in reasons[0] and "column 'a' (text) is empty" in reasons[1]
    assert "U+001F" in reasons[2]
    dataset = load(options.model_copy(update={"tolerance": options.tolerance.model_copy(update={"rows": 3})}), root=tmp_path, seed=0)
    assert dataset.template.source == join("a", "b") and dataset.facts["text"]["template"] == "a ↔ b" and dataset.facts["text"]["pair"]
    assert all(len(halves(text)) == 2 for part in dataset.splits.values() for text in part.texts)
    split, _, template = load_single(rows_file(tmp_path, good), text=join("a", "b"), label="label")
    assert split.texts[0] == join("one 0", "two 0") and template.columns == ("a", "b")


@pytest.mark.parametrize(
    ("task", "data", "where", "words"),
    [
        ("text-pair-classification", "text: a", "data", "only data.text is named"),
        ("text-classification", "text: a, text_pair: b", "data.text_pair", "reads one"),
        ("text-pair-classification", "text: a, text_pair: c", "data.text_pair", "no column 'c'"),
        ("text-pair-classification", "text: a, text_pair: a", "data", "a pair is of two texts"),
        ("text-pair-classification", "text: a, text_pair: label", "data", "shown the answer"),
        ("text-pair-classification", 'text: a, text_pair: "\\x1f"', "data.text_pair", "U+001F"),
    ],
)
def test_what_cannot_be_is_said_when_the_recipe_is_read(tmp_path: Path, base: Path, task: str, data: str, where: str, words: str) -> None:
    rows_file(tmp_path, ["x,y,no", "z,w,yes"])
    recipe = tmp_path / "recipe.yaml"
    judged = "audit: [quality]\ngates: {quality.accuracy: '>= 0'}\n"
    recipe.write_text(f"task: {task}\nbase: {base}\ndata: {{train: rows.csv, {data}, label: label}}\n{judged}")
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe)
    assert any(words in problem.message for problem in error.value.problems), error.value.problems


def split_of(rows: list[tuple[str, str]], labels: list[int]) -> Split:
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    return Split("train", [join(*row) for row in rows], np.array(labels), {}, table, np.arange(1, len(rows) + 1), "rows", "sha256:0")


def test_the_rival_sees_which_words_both_texts_share() -> None:
    """Words alone say nothing here, and that a word stands in both says all."""
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for _ in range(400):
        same = bool(rng.random() < 0.5)
        first = rng.choice(WORDS, 3, replace=False)
        second = (
            [first[0], *rng.choice([w for w in WORDS if w not in first], 2, replace=False)]
            if same
            else rng.choice([w for w in WORDS if w not in first], 3, replace=False)
        )
        rows.append((" ".join(first), " ".join(rng.permutation(second))))
        labels.append(int(same))
    schema = LabelSchema(("no", "yes"), "yes", "yes")
    answers = bag_of_words(split_of(rows[:300], labels[:300]), schema, 0)(split_of(rows[300:], labels[300:]))
    assert (answers.predicted == labels[300:]).mean() > 0.95


def test_numbers_may_be_of_two_texts_and_sets_of_labels_are_of_one(tmp_path: Path, base: Path) -> None:
    rows_file(tmp_path, [f"w{n} w1,w2 w{n},{n / 4}" for n in range(40)])
    recipe = tmp_path / "recipe.yaml"
    told = f"base: {base}\ndata: {{train: rows.csv, text: a, text_pair: b, label: label}}\ngates: {{efficiency.parameters: '<= 1e9'}}\n"
    recipe.write_text(f"task: regression\n{told}")
    options = read_recipe(recipe).recipe.data
    data = load(options, root=tmp_path, seed=0, answers="number")
    assert data.splits["train"].texts[0].count("\x1f") == 1 and data.template.columns == ("a", "b")
    recipe.write_text(f"task: multi-label-classification\n{told}")
    with pytest.raises(RecipeError, match="task multi-label-classification reads one"):
        read_recipe(recipe)
