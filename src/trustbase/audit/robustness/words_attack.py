"""The attack on words: each may be replaced by a neighbour, or by what a masked language model puts in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from trustbase.audit.context import AuditContext
from trustbase.audit.masked_words import MOST, open_masked
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness import meaning
from trustbase.audit.robustness.attack import Changes, Target
from trustbase.audit.robustness.attacked import Attack, Keeps, measure, refusal, without_value
from trustbase.audit.robustness.candidates import Space, neighbours
from trustbase.audit.robustness.judge import WHOLE, WINDOW, WORD, Judge, most_changed, open_judge
from trustbase.audit.robustness.targets import Cells, Rows, Spans, open_places, word_spans
from trustbase.errors import TrustbaseError
from trustbase.records import Finding

EMBEDDING = "embedding"
JUDGED = "successes that the filter of meaning refuses do not count"
_LEXICON_ROWS = 1000  # whose Chinese words may replace others

Options = Mapping[int, Sequence[str]]


def measure_words(context: AuditContext) -> list[Finding]:
    """What words can be changed to until the answer turns."""
    rows = Rows.drawn(context)
    if why := refusal(context, rows):
        return without_value(context, "", "insufficient", why)
    spans = spans_of(context, rows)
    with open_judge(context.options.robustness.judge) as judge:
        unread = judge if isinstance(judge, str) else judge.unreadable(rows.texts)
        reading = None if unread or isinstance(judge, str) else judge
        try:
            options, source = _options(context, rows, spans, reading)
        except TrustbaseError as error:
            return without_value(context, "", "not_applicable", f"there is nothing to take other words from: {error}")
        targets = targets_of(rows, spans, options, reading)
        facts = {
            "candidates": source,
            "refused_candidates": dict(refused(rows, spans, options)),
            "judge": reading.name if reading else unread,
            "least_nearness": {"whole": WHOLE, "window": WINDOW, "word": WORD},
        }
        cells = ", which columns fill, mostly by such as no row of them holds" if Cells(context).known else ""
        method = f"greedy search over words of the text{cells}, {MOST} candidates each: {source}"
        return measure(context, rows, Attack("", targets, keeps_of(reading, unread), JUDGED, method, facts))


def spans_of(context: AuditContext, rows: Rows) -> list[tuple[Spans, list[int]]]:
    """The words of each row, and which of them may be attacked."""
    columns = context.artifact.columns if context.artifact is not None else ()
    cells = Cells(context)
    found = []
    for text, number in zip(rows.texts, rows.numbers.tolist(), strict=True):
        spans = word_spans(text, columns)
        found.append((spans, open_places(spans, cells.spans(number, text))))
    return found


def _options(context: AuditContext, rows: Rows, spans: Sequence[tuple[Spans, list[int]]], judge: Judge | None) -> tuple[list[Options], str]:
    """What may stand at each place of each row, and where that comes from."""
    wanted = context.options.robustness.candidates
    if wanted != EMBEDDING:
        filler = open_masked(wanted, option="robustness.candidates")
        return [filler.options(text, own, places) for text, (own, places) in zip(rows.texts, spans, strict=True)], filler.about
    space = space_of(context, judge)
    near = neighbours(space, words_at(rows, spans), lexicon=lexicon_of(context))
    return [
        {place: near[word] for place in places if (word := text[slice(*own[place])]) in near}
        for text, (own, places) in zip(rows.texts, spans, strict=True)
    ], f"nearest among the input embeddings of {space.name}"


def space_of(context: AuditContext, judge: Judge | None) -> Space:
    """The embeddings of the judge; of the model itself where no judge reads the texts.

    Raises:
        ModelError: the model has no torch weights.
    """
    assert context.predictor is not None
    if judge is not None:
        return judge.space
    return Space.of(context.predictor, "the model itself")


def words_at(rows: Rows, spans: Sequence[tuple[Spans, list[int]]]) -> list[str]:
    """Every word that may be attacked, once."""
    found = (text[slice(*own[place])] for text, (own, places) in zip(rows.texts, spans, strict=True) for place in places)
    return list(dict.fromkeys(found))


def lexicon_of(context: AuditContext) -> list[str]:
    """Words of some of the test rows."""
    inputs, columns = asked_inputs(context), context.artifact.columns if context.artifact is not None else ()
    texts = [inputs[row] for row in sampled_rows(context, _LEXICON_ROWS, "lexicon", one_each=False).tolist()]
    return list(dict.fromkeys(chain.from_iterable((text[slice(*span)] for span in word_spans(text, columns)) for text in texts)))


def targets_of(
    rows: Rows, spans: Sequence[tuple[Spans, list[int]]], options: Sequence[Options], judge: Judge | None
) -> list[Target | None]:
    """The rows as they are attacked, with what rules and judge allow at each word; None where no word has a candidate."""
    found: list[Target | None] = []
    for text, (own, _), given in zip(rows.texts, spans, options, strict=True):
        found.append(Target(text, own, given, allowed(text, own, given, judge), most_changed(len(own))) if given else None)
    return found


def allowed(text: str, own: Spans, given: Options, judge: Judge | None) -> dict[int, list[str]]:
    """Of the candidates those that the rules allow, and that the judge takes for words of nearly the same meaning."""
    pairs = [
        (place, text[slice(*own[place])], word)
        for place, words in given.items()
        for word in words
        if not meaning.why_not(text[slice(*own[place])], word, text[: own[place][0]])
    ]
    near = np.ones(len(pairs)) if judge is None else judge.space.nearness([(old, new) for _, old, new in pairs])
    found: dict[int, list[str]] = {}
    for (place, _, word), value in zip(pairs, near.tolist(), strict=True):
        if value >= WORD:
            found.setdefault(place, []).append(word)
    return found


def refused(rows: Rows, spans: Sequence[tuple[Spans, list[int]]], options: Sequence[Options]) -> Counter[str]:
    """Candidates by the rule that refuses them; "" of those that none does."""
    found: Counter[str] = Counter()
    for text, (own, _), given in zip(rows.texts, spans, options, strict=True):
        for place, words in given.items():
            found.update(meaning.why_not(text[slice(*own[place])], word, text[: own[place][0]]) or "allowed" for word in words)
    return found


def keeps_of(judge: Judge | None, unread: str) -> Keeps:
    """The filter: the judge, or the reason why there is none."""

    def keeps(changed: Sequence[tuple[Target, Changes]]) -> Sequence[bool] | str:
        return unread if judge is None else judge.keeps(changed)

    return keeps
