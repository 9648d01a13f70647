"""The first steps of pretraining: raw text to tokens, each step keyed by its inputs and done once, as those of `labelled_rows.py` are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.bases import find_base
from trustbase.errors import RecipeError
from trustbase.labelled_rows import DATA_CODE
from trustbase.records import BaseModel
from trustbase.releasing import Seen
from trustbase.stages import Stages

if TYPE_CHECKING:
    from trustbase.data.canaries import Canaries
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.prepare import Corpus
    from trustbase.recipe.read import Plan
    from trustbase.recipe.schema import PretrainRecipe

CORPUS_CODE = DATA_CODE
TOKEN_CODE = (*DATA_CODE, "model")


@dataclass(frozen=True)
class Start:
    """What training begins from.

    Attributes:
        tokenizer: folder of the tokenizer.
        digest: of the tokenizer, or of the model that goes on.
        base: the model that goes on; None where a new one is built.
        beside: the model whose tokenizer is compared with; the base as it was before its vocabulary grew.
    """

    tokenizer: Path
    digest: str
    base: BaseModel | None
    beside: BaseModel | None = None


def choose_base(stages: Stages, plan: Plan) -> BaseModel | None:
    """The model whose pretraining goes on, by digest; None where a new one is built."""
    recipe = plan.pretrain
    if recipe.model.base is None:
        return None
    base = find_base(stages, recipe.model.base, plan.root)
    names, context = names_of(recipe), recipe.model.context

    def compute() -> dict[str, Any]:
        from trustbase.model.continued import base_problems

        problems = base_problems(base, names, length=context)
        if problems:
            raise RecipeError(f"Pretraining of '{base.reference}' cannot go on like this", problems=problems, hint="nothing was trained")
        return {"reference": base.reference, "revision": base.revision, "digest": base.digest, "lineage": list(base.lineage)}

    inputs = {"base": base.digest, "objective": list(names), "context": context}
    stages.run("base", inputs=inputs, code=("model",), outputs=[], compute=compute, firm_after="train")
    return base


def names_of(recipe: PretrainRecipe) -> tuple[str, ...]:
    from trustbase.model.shape import objective_names

    return objective_names(recipe.objective)


def prepare_texts(stages: Stages, plan: Plan) -> Corpus:
    """The corpus, cleaned, without duplicates, divided."""
    from trustbase.audit.ratios import LEAST_FREEDOM
    from trustbase.data.corpus.prepare import corpus_key, open_corpus, prepare_corpus

    options, seed, target = plan.pretrain.corpus, plan.pretrain.train.seed, stages.folder / "corpus"
    stages.log.enter("corpus")
    asked: dict[str, Any] = {"root": plan.root, "folder": target, "seed": seed, "emit": stages.log}

    def compute() -> dict[str, Any]:
        return {"digest": prepare_corpus(options, **asked).digest}

    inputs = {"corpus": corpus_key(options, **asked)}
    outputs = ["corpus/documents", "corpus/corpus.json"]
    stages.run("corpus", inputs=inputs, code=CORPUS_CODE, outputs=outputs, compute=compute, firm_after="train")
    corpus = open_corpus(target)
    few = len(corpus.store.held_out)
    if few <= LEAST_FREEDOM:
        stages.log("warning", text=f"{few} documents are held out, too few to bound a perplexity by: set corpus.held_out to a larger share")
    return corpus if plan.pretrain.canaries is None else _with_canaries(stages, plan, corpus)


def canaries_of(plan: Plan) -> Canaries | None:
    """What the recipe plants among its training documents."""
    from trustbase.data.canaries import make_canaries

    recipe = plan.pretrain
    return None if recipe.canaries is None else make_canaries(recipe.canaries, seed=recipe.train.seed)


def _with_canaries(stages: Stages, plan: Plan, corpus: Corpus) -> Corpus:
    """The corpus with the canaries among its training documents."""
    from trustbase.data.canaries import plant_canaries
    from trustbase.data.corpus.store import CorpusStore

    canaries, target = canaries_of(plan), stages.folder / "planted"
    assert canaries is not None

    def compute() -> dict[str, Any]:
        return {"digest": plant_canaries(corpus.store, canaries, target).digest}

    inputs = {"corpus": corpus.digest, "canaries": files.digest_json(canaries.to_json())}
    stages.run("canaries", inputs=inputs, code=CORPUS_CODE, outputs=["planted"], compute=compute, firm_after="train")
    return replace(corpus, store=CorpusStore.open(target))


def choose_tokenizer(stages: Stages, plan: Plan, corpus: Corpus, base: BaseModel | None) -> Start:
    """The tokenizer: trained on the corpus, another model's, or the base's own, which may have grown."""
    from trustbase.model.load import resolve_base

    recipe = plan.pretrain
    wanted, named = recipe.tokenizer, base
    if wanted is None and base is not None:
        return Start(base.folder, base.digest, base)
    assert wanted is not None  # the recipe was refused otherwise
    if wanted.from_ is not None:
        named = find_base(stages, wanted.from_, plan.root)
        return Start(named.folder, named.digest, base)
    name = "tokenizer" if wanted.extend is None else "extended"
    target = stages.folder / name

    def compute() -> dict[str, Any]:
        if wanted.extend is None:
            from trustbase.model.vocabulary import train_as_asked

            return train_as_asked(wanted, corpus.store.train, recipe.model.family, recipe.model.context, target).to_json()
        from trustbase.model.extension import extend_vocabulary

        assert base is not None and wanted.add is not None
        return extend_vocabulary(base, corpus.store.train, wanted.add, target, seed=recipe.train.seed).to_json()

    inputs = {
        "tokenizer": wanted.model_dump(mode="json", by_alias=True),
        "corpus": corpus.digest,
        "base": base.digest if base else None,
        "family": recipe.model.family,
        "context": recipe.model.context,
        "seed": recipe.train.seed,
    }
    result = stages.run("tokenizer", inputs=inputs, code=TOKEN_CODE, outputs=[name], compute=compute, firm_after="train")
    grown = resolve_base(str(target.resolve())) if wanted.extend else None
    return Start(target, str(result["digest"]), replace(grown, reference=base.reference) if grown and base else None, beside=base)


def encode_texts(stages: Stages, plan: Plan, corpus: Corpus, start: Start) -> TokenStore:
    """The corpus as tokens, planted documents included."""
    from trustbase.data.corpus.pack import TokenStore

    target = stages.folder / "tokens"

    def compute() -> dict[str, Any]:
        from trustbase.data.corpus.pack import pack_tokens
        from trustbase.model.tokenizer import load_tokenizer

        return {"digest": pack_tokens(corpus.store, load_tokenizer(start.tokenizer), target, emit=stages.log).digest}

    inputs = {"corpus": corpus.digest, "tokenizer": start.digest}
    stages.run("tokens", inputs=inputs, code=TOKEN_CODE, outputs=["tokens"], compute=compute, firm_after="train")
    return TokenStore.open(target)


def describe_corpus(stages: Stages, plan: Plan, corpus: Corpus, start: Start) -> None:
    """The corpus card, and what the tokenizer makes of each language."""
    target = stages.folder

    def compute() -> dict[str, Any]:
        from trustbase.data.corpus.card import card_markdown
        from trustbase.data.corpus.tongues import texts_by_language
        from trustbase.model.fertility import tokenizer_report
        from trustbase.model.load import usual_base
        from trustbase.model.options import portable_reference
        from trustbase.model.tokenizer import load_tokenizer

        beside = start.beside or (usual_base() if start.base is None else None)
        base = load_tokenizer(beside.folder) if beside is not None else None
        about = tokenizer_report(load_tokenizer(start.tokenizer), texts_by_language(corpus.store.held_out), base=base)
        about["base_name"] = None if beside is None else portable_reference(beside.reference)
        card = {**corpus.card, "tokenizer": about}
        if plan.pretrain.canaries is not None:  # the card tells of the corpus as it was cleaned, training reads this one
            card["planted"] = {**plan.pretrain.canaries.model_dump(mode="json"), "digest": corpus.store.digest}
        files.write_json(target / "data_card.json", card)
        files.write_text(target / "data_card.md", card_markdown(corpus.card))
        return {}

    inputs = {
        "corpus": corpus.digest,
        "card": files.digest_json(corpus.card),
        "tokenizer": start.digest,
        "beside": start.beside.digest if start.beside else None,
    }
    outputs = ["data_card.json", "data_card.md"]
    stages.run("card", inputs=inputs, code=TOKEN_CODE, outputs=outputs, compute=compute, firm_after="train")


def held_out(corpus: Corpus) -> Seen:
    """What an audit of a base model looks at: the held-out documents."""
    return Seen(f"sha256:{files.sha256_file(corpus.store.held_out.folder / 'documents.bin')}")
