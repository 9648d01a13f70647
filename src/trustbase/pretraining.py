"""The steps of pretraining: raw text to a base model, each step keyed by its inputs and done once, as those of `steps.py` are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files, seeds
from trustbase.errors import RecipeError
from trustbase.machine import machine_key
from trustbase.records import ArtifactInfo, AuditReport, BaseModel, Trained
from trustbase.releasing import Seen, look
from trustbase.stages import Stages
from trustbase.steps import ARTIFACT_CODE, AUDIT_CODE, DATA_CODE, MODEL_CODE, find_base, report_of

if TYPE_CHECKING:
    from torch import nn

    from trustbase.data.canaries import Canaries
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.prepare import Corpus
    from trustbase.gate.policy import Policy
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
    """

    tokenizer: Path
    digest: str
    base: BaseModel | None


def choose_base(stages: Stages, plan: Plan) -> BaseModel | None:
    """The model whose pretraining goes on, by digest; None where a new one is built."""
    recipe = plan.pretrain
    if recipe.model.base is None:
        return None
    base = find_base(stages, recipe.model.base, plan.root)
    names, context = _names(recipe), recipe.model.context

    def compute() -> dict[str, Any]:
        from trustbase.model.continued import base_problems

        problems = base_problems(base, names, length=context)
        if problems:
            raise RecipeError(f"Pretraining of '{base.reference}' cannot go on like this", problems=problems, hint="nothing was trained")
        return {"reference": base.reference, "revision": base.revision, "digest": base.digest, "lineage": list(base.lineage)}

    inputs = {"base": base.digest, "objective": list(names), "context": context}
    stages.run("base", inputs=inputs, code=("model",), outputs=[], compute=compute, firm_after="train")
    return base


def _names(recipe: PretrainRecipe) -> tuple[str, ...]:
    from trustbase.model.shape import objective_names

    return objective_names(recipe.objective)


def prepare_texts(stages: Stages, plan: Plan) -> Corpus:
    """The corpus, cleaned, without duplicates, divided."""
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
    return corpus if plan.pretrain.canaries is None else _with_canaries(stages, plan, corpus)


def _canaries(plan: Plan) -> Canaries | None:
    from trustbase.data.canaries import make_canaries

    recipe = plan.pretrain
    return None if recipe.canaries is None else make_canaries(recipe.canaries, seed=recipe.train.seed)


def _with_canaries(stages: Stages, plan: Plan, corpus: Corpus) -> Corpus:
    """The corpus with the canaries among its training documents."""
    from trustbase.data.canaries import plant_canaries
    from trustbase.data.corpus.store import CorpusStore

    canaries, target = _canaries(plan), stages.folder / "planted"
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
    return Start(target, str(result["digest"]), replace(grown, reference=base.reference) if grown and base else None)


def encode_texts(stages: Stages, plan: Plan, corpus: Corpus, start: Start) -> TokenStore:
    """The corpus as tokens, with what the recipe plants among them."""
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
        from trustbase.model.tokenizer import load_tokenizer

        beside = start.base or usual_base()
        base = load_tokenizer(beside.folder) if beside is not None and beside.folder != start.tokenizer else None
        about = tokenizer_report(load_tokenizer(start.tokenizer), texts_by_language(corpus.store.held_out), base=base)
        about["base_name"] = beside.reference if base is not None and beside is not None else None
        files.write_json(target / "data_card.json", {**corpus.card, "tokenizer": about})
        files.write_text(target / "data_card.md", card_markdown(corpus.card))
        return {}

    inputs = {"corpus": corpus.digest, "card": files.digest_json(corpus.card), "tokenizer": start.digest}
    outputs = ["data_card.json", "data_card.md"]
    stages.run("card", inputs=inputs, code=TOKEN_CODE, outputs=outputs, compute=compute, firm_after="train")


def _model(plan: Plan, start: Start, tokenizer: Any) -> tuple[nn.Module, list[str]]:
    """The model as training begins, and which of its parameters a checkpoint that goes on did not have."""
    from trustbase.model.continued import continue_model
    from trustbase.model.scratch import build_model

    recipe = plan.pretrain
    if start.base is None:
        return build_model(recipe.model, tokenizer, objectives=_names(recipe), seed=recipe.train.seed), []
    dropout = recipe.model.dropout if "dropout" in recipe.model.model_fields_set else None
    return continue_model(start.base, _names(recipe), seed=recipe.train.seed, dropout=dropout)


def _training_inputs(plan: Plan, corpus: Corpus, tokens: TokenStore, start: Start) -> dict[str, Any]:
    recipe = plan.pretrain
    return {
        "corpus": corpus.digest,
        "tokens": tokens.digest,
        "start": start.digest,
        "model": recipe.model.model_dump(mode="json", exclude={"base"}),
        "objective": recipe.objective,
        "whole_words": recipe.whole_words,
        "train": recipe.train.model_dump(mode="json"),
        "machine": machine_key(),
    }


def estimate_cost(stages: Stages, plan: Plan, corpus: Corpus, tokens: TokenStore, start: Start) -> dict[str, Any]:
    """Tokens, operations, hours, energy and CO2 that training will take, from a trial on this machine; said before the first step."""
    recipe, target = plan.pretrain, stages.folder / "estimate.json"

    def compute() -> dict[str, Any]:
        from trustbase.model.tokenizer import load_tokenizer
        from trustbase.train.estimate import estimate
        from trustbase.train.flops import matmul_peak
        from trustbase.train.range_test import range_test

        tokenizer = load_tokenizer(start.tokenizer)
        seed, marks = recipe.train.seed, stages.folder / "checkpoints"  # words are marked once, for the training too
        asked: dict[str, Any] = {
            "context": recipe.model.context,
            "options": recipe.train,
            "whole_words": recipe.whole_words,
            "folder": marks,
            "order": lambda epoch: corpus.store.epoch(seed=seed, epoch=epoch),
            "emit": stages.log,
        }
        model, _ = _model(plan, start, tokenizer)
        found = estimate(model, recipe.objective, tokens, tokenizer, cost=recipe.audit.cost, seconds=recipe.estimate.seconds, **asked)
        stages.log("note", text=found.said)
        peak = matmul_peak(found.precision, recipe.train.threads, device=found.device)
        about = {**found.to_json(), "peak_flops": peak, "utilisation": found.flops_per_second / peak}
        if recipe.estimate.range_test:
            model, _ = _model(plan, start, tokenizer)
            tested = range_test(model, recipe.objective, tokens, tokenizer, **asked)
            stages.log("note", text=tested.said)
            about["range_test"] = tested.to_json()
        files.write_json(target, about)
        return {}

    inputs = {
        **_training_inputs(plan, corpus, tokens, start),
        "estimate": recipe.estimate.model_dump(mode="json"),
        "cost": recipe.audit.cost.model_dump(mode="json"),
    }
    stages.run("estimate", inputs=inputs, code=MODEL_CODE, outputs=["estimate.json"], compute=compute, firm_after="train", any_machine=True)
    return dict(files.read_json(target))


def train_base(stages: Stages, plan: Plan, corpus: Corpus, tokens: TokenStore, start: Start, estimate: Mapping[str, Any]) -> Trained:
    """A base model that was trained, saved, reloaded and found equal."""
    recipe, target = plan.pretrain, stages.folder / "checkpoints"

    def compute() -> dict[str, Any]:
        from trustbase.model.tokenizer import load_tokenizer
        from trustbase.train.base import train_and_save
        from trustbase.train.probes import read_probe

        tokenizer = load_tokenizer(start.tokenizer)
        model, fresh = _model(plan, start, tokenizer)
        if fresh:
            stages.log("note", text=f"new parameters, which the base did not have: {', '.join(fresh)}")
        seed = recipe.train.seed
        probes = [read_probe(probe, root=plan.root, seed=seed, emit=stages.log) for probe in recipe.probes if probe.live]
        stages.log.enter("train")
        trained = train_and_save(
            model,
            tokenizer,
            tokens,
            recipe.objective,
            context=recipe.model.context,
            options=recipe.train,
            whole_words=recipe.whole_words,
            order=lambda epoch: corpus.store.epoch(seed=seed, epoch=epoch),
            probes=probes,
            peak=estimate["peak_flops"],
            described=_ancestor(plan, corpus, start),
            folder=target,
            emit=stages.log,
        )
        return trained.to_json(stages.folder)

    result = stages.run(
        "train",
        inputs=_training_inputs(plan, corpus, tokens, start),
        code=MODEL_CODE,
        outputs=["checkpoints/trained"],
        compute=compute,
        clear=["checkpoints"],
        any_machine=True,
    )
    try:
        return Trained.from_json(result, stages.folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise stages.damaged("train", error) from error


def _ancestor(plan: Plan, corpus: Corpus, start: Start) -> dict[str, Any]:
    """What the base model came from, for its lineage: a model that went on, or random weights; and in both cases the corpus."""
    from trustbase.model.load import describe_base

    learned = f"pretrained on corpus {corpus.digest}"
    if start.base is not None:
        about = describe_base(start.base)
        return {**about, "lineage": [*about["lineage"], learned]}
    shape = plan.pretrain.model.model_dump(mode="json", exclude_none=True)
    digest = files.digest_json({"model": shape, "seed": plan.pretrain.train.seed})
    licences = "; ".join(dict.fromkeys(str(source["licence"]) for source in corpus.card["sources"]))
    said = f"corpus: {licences}"
    return {
        "reference": "random weights",
        "revision": f"seed {plan.pretrain.train.seed}",
        "digest": digest,
        "licence": said,
        "lineage": [learned],
    }


def make_base_artifact(stages: Stages, plan: Plan, start: Start, trained: Trained) -> ArtifactInfo:
    """What is shipped: the base model in fp32, which the next recipe names."""
    from trustbase.model.artifact import read_artifact

    target = stages.folder / "artifact"

    def compute() -> dict[str, Any]:
        from trustbase.compress.base import ship_base

        base = start.base
        reference, revision = (base.reference, base.revision) if base else ("random weights", f"seed {plan.pretrain.train.seed}")
        made = ship_base(trained, target, context=plan.pretrain.model.context, reference=reference, revision=revision)
        return {"digest": made.digest}

    inputs = {"trained": trained.digest}
    stages.run("artifact", inputs=inputs, code=ARTIFACT_CODE, outputs=["artifact"], compute=compute)
    return read_artifact(target)


def held_out(corpus: Corpus) -> Seen:
    """What an audit of a base model looks at: the held-out documents."""
    return Seen(f"sha256:{files.sha256_file(corpus.store.held_out.folder / 'documents.bin')}")


def audit_base(
    stages: Stages,
    plan: Plan,
    corpus: Corpus,
    tokens: TokenStore,
    artifact: ArtifactInfo,
    trained: Trained,
    estimate: Mapping[str, Any],
    policy: Policy,
) -> AuditReport:
    """Every finding about the base model as it ships, on documents that no step of training has seen."""
    recipe, folder, seen = plan.pretrain, stages.folder, held_out(corpus)
    seed = seeds.stream_seed(recipe.train.seed, "audit") % 2**31

    def compute() -> dict[str, Any]:
        from trustbase.audit.pretrained import audit_pretrained
        from trustbase.data.corpus.testsets import measure_contamination
        from trustbase.train.probes import read_probe

        look(folder, artifact, seen, policy)  # counted before the documents are seen
        report = audit_pretrained(
            artifact,
            corpus,
            tokens,
            digest=seen.digest,
            training={**trained.facts, "estimate": estimate},
            contamination=measure_contamination(corpus.store.train, recipe.corpus, root=plan.root) if recipe.corpus.contamination else {},
            probes=[read_probe(probe, root=plan.root, seed=recipe.train.seed, emit=stages.log) for probe in recipe.probes],
            canaries=_canaries(plan),
            options=recipe.audit,
            folder=folder,
            seed=seed,
            policy_digest=policy.digest,
            emit=stages.log,
        )
        files.write_json(folder / "findings.json", report.to_json())
        return {"policy": policy.digest}

    inputs = {
        "artifact": artifact.digest,
        "held_out": seen.digest,
        "card": files.digest_json(corpus.card),
        "training": files.digest_json(dict(trained.facts)),
        "probes": [probe.model_dump(mode="json") for probe in recipe.probes],
        "audit": recipe.audit.model_dump(mode="json"),
        "seed": seed,
        "machine": machine_key(),
    }
    result = stages.run("audit", inputs=inputs, code=AUDIT_CODE, outputs=["findings.json", "evidence"], compute=compute)
    return report_of(stages, result, policy)
