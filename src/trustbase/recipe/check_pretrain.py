"""Is a pretraining recipe possible? Everything that can be known before the first document is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from trustbase.errors import ModelError, Problem, UsageError
from trustbase.finding_id import FindingId
from trustbase.model.shape import (
    WORD_OBJECTIVES,
    base_model_problems,
    model_problems,
    objective_names,
    pairing_problems,
    tokenizer_problems,
)
from trustbase.recipe.check_base import Found, base_problems
from trustbase.recipe.parse import Aside
from trustbase.recipe.schema import PretrainRecipe

#: What a model must have learned from for a finding of `audit/language.py` to have a number.
_LEARNED_FROM: dict[str, set[str]] = {
    "perplexity": set(WORD_OBJECTIVES),
    "token_accuracy": {"causal"},
    **{f"{name}_accuracy": {name} for name in ("masked", "next_sentence", "sentence_order", "span_corruption", "infilling", "contrastive")},
}


def pretraining_problems(recipe: PretrainRecipe, root: Path, aside: Aside) -> Iterator[Found]:
    """All contradictions between corpus, tokenizer, shape, objective and loop."""
    corpus = _corpus(recipe, root, aside)
    problems = [*corpus, *_shape(recipe, root, aside), *_loop(recipe), *_probes(recipe, root)]
    for problem in problems:
        path = tuple(int(part) if part.isdecimal() else part for part in problem.where.split("."))
        yield path, f"{problem.where}: {problem.message}", problem.hint
    if recipe.model.base is not None:
        yield from base_problems(recipe.model.base, root, ("model", "base"))
    if recipe.tokenizer is not None and recipe.tokenizer.from_ is not None:
        yield from base_problems(recipe.tokenizer.from_, root, ("tokenizer", "from"))


def unmeasured(id: FindingId, recipe: PretrainRecipe, aside: Aside) -> tuple[str, str] | None:
    """Why this recipe gives no number to a finding that others have, and what to write; None where it does, or where it is not sure."""
    metric, names = id.metric, [column for column, _ in id.slice]
    if metric == "canary_exposure" and recipe.canaries is None and aside.sure("canaries"):
        return "is asked for, and the recipe plants no canaries", "write canaries: {count: 20}"
    known: list[str] | None = None
    if metric == "probe_accuracy" and aside.sure("probes"):
        known = [probe.name for probe in recipe.probes]
    elif metric == "contamination" and aside.sure("corpus", "contamination"):
        known = [item.label for item in recipe.corpus.contamination.sets] if recipe.corpus.contamination else []
    if known is not None and not set(names) <= set(known):
        where = "probes" if metric == "probe_accuracy" else "corpus.contamination"
        return f"speaks of {', '.join(names)}, which {where} does not name", f"{where}: {known}"
    objectives = set(objective_names(recipe.objective))
    needed = _LEARNED_FROM.get(metric)
    if needed is not None and not needed & objectives and aside.sure("objective"):
        return (
            f"is measured of {' or '.join(sorted(needed))}, and the objective is {'+'.join(sorted(objectives))}",
            "change objective, or remove this",
        )
    return None


def _corpus(recipe: PretrainRecipe, root: Path, aside: Aside) -> list[Problem]:
    from trustbase.data.corpus.sources import check_files

    return check_files(recipe.corpus, root) if all(aside.sure("corpus", name) for name in ("sources", "files", "contamination")) else []


def _shape(recipe: PretrainRecipe, root: Path, aside: Aside) -> Iterator[Problem]:
    if not (aside.sure("model") and aside.sure("objective")):
        return
    shape, names = recipe.model, objective_names(recipe.objective)
    for name, weight in recipe.objective.items() if isinstance(recipe.objective, dict) else ():
        if not 0 < weight < math.inf:
            yield Problem("objective", f"the weight of {name} must be above zero and finite, got {weight:g}", "raise it, or leave it out")
    if aside.sure("tokenizer"):
        yield from pairing_problems(shape, recipe.tokenizer)
        if shape.base is None and recipe.tokenizer is not None:
            yield from tokenizer_problems(recipe.tokenizer, shape.family, corpus_bytes=_bytes(recipe, root))
    if shape.base is None:
        yield from model_problems(shape, names)
        return
    config = _config(shape.base, root)
    if config is not None:
        yield from base_model_problems(config, names, length=shape.context)


def _config(reference: str, root: Path) -> dict[str, object] | None:
    """`config.json` of a base that lies on this machine; None where it does not, or cannot be read: loading it says why."""
    from trustbase.model.folder import read_object
    from trustbase.model.load import resolve_base
    from trustbase.model.options import parse_reference

    try:
        if parse_reference(reference, root=root).kind == "hub":
            return None
        return dict(read_object(resolve_base(reference, root=root).folder / "config.json"))
    except (ValueError, UsageError, ModelError, OSError):
        return None


def _bytes(recipe: PretrainRecipe, root: Path) -> int | None:
    """Size of the corpus, where all of it are plain files of text."""
    total = 0
    for source in recipe.corpus.sources:
        for name in source.files:
            path = (root / Path(name)).expanduser()
            if (
                name.startswith(("sample:", "hub:"))
                or not path.is_file()
                or path.suffix in {".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".parquet"}
            ):
                return None
            total += path.stat().st_size
    return total


def _loop(recipe: PretrainRecipe) -> Iterator[Problem]:
    if recipe.model.base is None and recipe.model.context > recipe.train.batch_tokens:
        message = f"is {recipe.train.batch_tokens}, less than one row of model.context ({recipe.model.context})"
        yield Problem("train.batch_tokens", message, f"write {recipe.model.context} or more")
    if "causal" not in objective_names(recipe.objective) and recipe.train.z_loss:
        yield Problem("train.z_loss", "keeps the scores of a causal model small, and this objective has none", "remove it")
    if recipe.cluster is not None and recipe.cluster.shard and recipe.estimate.range_test:
        why = "trains a copy in one process, and cluster.shard is for models that do not fit one"
        yield Problem("estimate.range_test", why, "set it to false, or remove cluster.shard")
    names = [probe.name for probe in recipe.probes]
    if len(set(names)) != len(names):
        yield Problem("probes", f"two probes have the same name: {', '.join(names)}", "give each a name of its own")


def _probes(recipe: PretrainRecipe, root: Path) -> Iterator[Problem]:
    from trustbase.data.gather import check_columns
    from trustbase.train.probes import data_options

    for number, probe in enumerate(recipe.probes):
        try:
            asked = data_options(probe)
        except ValidationError as error:
            yield Problem(f"probes.{number}", error.errors()[0]["msg"].removeprefix("Value error, "), "name other columns")
            continue
        for problem in check_columns(asked, root=root):
            yield Problem(
                f"probes.{number}.{'data' if problem.where.endswith('train') else problem.where.split('.')[-1]}",
                problem.message,
                problem.hint,
            )
