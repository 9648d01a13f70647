"""The quality audit of a base model: how well it predicts documents that were held out, what a linear probe finds in it, and whether
test sets stood in its corpus.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.askers.worker import Ask
from trustbase.audit.language_context import LanguageContext
from trustbase.audit.ratios import LEAST_FREEDOM, freedom, mean_over_units, share_over_units
from trustbase.audit.stats import Interval, proportion
from trustbase.records import Finding
from trustbase.train.heldout import HeldOut, HeldOutBatches, Outcome, Place, Tally, accuracy_name

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

_LEAST_SOUGHT = 0.9  # of a test set; nothing is concluded from what could not be looked for
_MOST_TOKENS = 1 << 21  # of held-out documents that are read; which ones is fixed
_LOSSES = {
    "masked": "at masked positions",
    "causal": "of every next token",
    "span_corruption": "of hidden spans",
    "infilling": "of hidden spans",
}


def audit_language(context: LanguageContext) -> list[Finding]:
    """All quality findings of a base model; writes `evidence/language.json` and `evidence/probes.json`."""
    return [*_predictions(context), *_probes(context), *_contamination(context)]


def _predictions(context: LanguageContext) -> Iterator[Finding]:
    """Perplexity and accuracies on held-out documents: the same masks, pairs and spans for every model of this tokenizer."""
    objectives = list(context.artifact.facts["objectives"])
    if "replaced_token" in objectives:
        reason = "the generator that replaces tokens is not kept, so there is nothing to ask the discriminator"
        yield Finding.without_value("quality.replaced_accuracy", "not_applicable", reason, direction="higher", unit="share")
        return
    measured = _ask(context, objectives)
    terms = {
        term: {
            "loss": tally.loss,
            "accuracy": tally.accuracy,
            "units": int(tally.units.sum()),
            "documents": int((tally.units > 0).sum()),
            "degrees_of_freedom": freedom(tally.units[tally.units > 0]),
        }
        for term, tally in measured.tallies.items()
    }
    context.evidence.write(
        "language", {"terms": terms, "main": measured.main, "objectives": objectives, "context": context.artifact.max_length}
    )
    if measured.main in measured.tallies:
        yield _perplexity(context, measured.main or "", measured.tallies[measured.main or ""])
    for term, tally in measured.tallies.items():
        if tally.right is not None:
            yield _accuracy(context, term, tally)


def _ask(context: LanguageContext, objectives: list[str]) -> HeldOut:
    """The model lent by the Predictor, in fp32 as it ships, asked for what its objectives hide."""
    from trustbase.train.symbols import symbols_of
    from trustbase.train.words import word_starts

    tokens = context.tokens.held_out
    with tempfile.TemporaryDirectory(dir=context.evidence.folder) as place:  # which all processes see
        path, marks = Path(place) / "words.npy", None
        if "masked" in objectives or {"next_sentence", "sentence_order"} & set(objectives):
            whole, key = context.training["whole_words"], context.tokens.digest
            marks = word_starts(tokens, symbols_of(context.predictor.tokenizer), path, whole=whole, key=key, emit=context.emit)
        asked: dict[str, Any] = {
            "tokens": str(context.tokens.folder.resolve()),
            "words": None if marks is None else str(path.resolve()),
            "objectives": objectives,
            "context": context.artifact.max_length,
        }
        batches = _batches(context.predictor, **asked)
        what = "measuring held-out documents"
        outcomes = context.asking.run(held_out, batches.places, asked, what=what, emit=context.emit, cost=batches.tokens)
        return batches.together(outcomes)


def held_out(predictor: Predictor, **asked: Any) -> Ask:
    """The asker of batches of held-out documents, by their places; see `_batches` for what is asked."""
    from trustbase.train.reading import Reading

    batches = _batches(predictor, **asked)

    def ask(places: Sequence[Place]) -> list[Outcome]:
        with predictor.white_box() as box:
            device = str(next(box.model.parameters()).device)
            reading = Reading(box.model, precision="fp32", device=device, seed=0)
            return [batches.outcome((which, number), reading, device=device) for which, number in places]

    return ask


def _batches(predictor: Predictor, *, tokens: str, words: str | None, objectives: list[str], context: int) -> HeldOutBatches:
    """The batches of held-out documents, the same in every process.

    Args:
        predictor: of the base model.
        tokens: folder of the packed corpus.
        words: file that says where words begin, where they are hidden whole.
        objectives: of the base model.
        context: tokens of a row.
    """
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.train.objectives.base import Texts
    from trustbase.train.options import TrainOptions
    from trustbase.train.scene import make_objectives
    from trustbase.train.symbols import symbols_of

    texts = Texts(TokenStore.open(Path(tokens)).held_out, None if words is None else np.load(words, mmap_mode="r"))
    with predictor.white_box() as box:
        made = make_objectives(objectives, symbols_of(box.tokenizer), context, model=box.model, options=TrainOptions())
    return HeldOutBatches(made, texts, most=_MOST_TOKENS)


def _perplexity(context: LanguageContext, term: str, tally: Tally) -> Finding:
    about = f"exp of the mean cross-entropy {_LOSSES.get(term, '')} of held-out documents, fixed choices".replace("  ", " ")
    few = _few(tally)
    if few:
        return Finding.without_value("quality.perplexity", "insufficient", few, n=len(tally.units), direction="lower", method=about)
    chosen = tally.units > 0
    found = mean_over_units(tally.losses[chosen], tally.units[chosen], confidence=context.confidence)
    low, value, high = (math.exp(min(700.0, bound)) for bound in (found.low, found.value, found.high))
    interval = Interval(low, high, f"{about}; {found.method}", found.source, value, found.n)
    return interval.finding("quality.perplexity", direction="lower", confidence=context.confidence)


def _accuracy(context: LanguageContext, term: str, tally: Tally) -> Finding:
    id = f"quality.{accuracy_name(term)}"
    few = _few(tally)
    if few:
        return Finding.without_value(id, "insufficient", few, n=len(tally.units), direction="higher", unit="share")
    assert tally.right is not None
    chosen = tally.units > 0
    interval = share_over_units(tally.right[chosen], tally.units[chosen], confidence=context.confidence)
    return interval.finding(id, direction="higher", confidence=context.confidence, unit="share")


def _few(tally: Tally) -> str:
    """Why held-out documents are too few, or too uneven, to bound a mean over their tokens; empty where they are not."""
    left = freedom(tally.units[tally.units > 0])
    if left >= LEAST_FREEDOM:
        return ""
    count = int((tally.units > 0).sum())
    return (
        f"{count} held-out documents whose tokens leave {max(left, 0.0):.1f} degrees of freedom, fewer than the minimum of "
        f"{LEAST_FREEDOM}: hold more out (corpus.held_out), or cut long documents"
    )


def _probes(context: LanguageContext) -> list[Finding]:
    """Accuracy of a linear classifier on the model's embeddings of small labelled sets."""
    from trustbase.train.probes import probe_hits

    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array(context.asking.ask("embedding", texts, what="asking for embeddings", emit=context.emit))

    findings, evidence = [], {}
    for name, probe in context.probes.items():
        hits = probe_hits(embed, probe)
        counts = [int((probe.test[1] == index).sum()) for index in range(len(probe.labels))]
        majority = max(counts) / max(1, sum(counts))
        evidence[name] = {"fitted_on": len(probe.train[0]), "tested_on": len(hits), "right": int(hits.sum()), "majority": majority}
        found = proportion(int(hits.sum()), len(hits), confidence=context.confidence)
        method = f"logistic regression on embeddings of {len(probe.train[0])} texts, the model unchanged; {found.method}"
        interval = Interval(found.low, found.high, method, found.source, found.value, found.n)
        findings.append(
            interval.finding(
                f"quality.probe_accuracy[{name}]", direction="higher", confidence=context.confidence, unit="share", seed=context.seed
            )
        )
    if evidence:
        context.evidence.write("probes", evidence)
    return findings


def _contamination(context: LanguageContext) -> list[Finding]:
    """Share of each named test set that stands in the training documents as they were learned from."""
    asked = context.card.get("contamination") or {}
    removed = asked.get("sets", {})
    findings = []
    for name, found in context.contamination.items():
        method = f"test texts that share {asked.get('ngram')} units in a row with a training document; all were compared, so no interval"
        id, sought = f"quality.contamination[{name}]", found["looked_for"]
        if sought < max(1.0, _LEAST_SOUGHT * found["texts"]):
            reason = f"{sought} of {found['texts']} test texts have the two words, or characters, that it takes to look for them: too few"
            findings.append(Finding.without_value(id, "insufficient", reason, n=sought, direction="lower", unit="share"))
            continue
        findings.append(Finding.exact(id, found["found"] / sought, n=sought, unit="share", direction="lower", method=method))
    if findings:
        context.evidence.write("contamination", {"in_corpus": dict(context.contamination), "before_removal": removed})
    return findings
