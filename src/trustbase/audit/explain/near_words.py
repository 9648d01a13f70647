"""Near words for the words of the explained rows: what an attack would put there, as far as rules and nearness let it pass.

They come from the masked language model that the options name, else from the nearest words among the input embeddings of the judge of
meaning, or of the model itself where no judge reads the texts. Whoever proposes, a word must keep the rules of `robustness.meaning`, and
lie near among those embeddings: this is what can be known of a paraphrase here, and no proof that the text means the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trustbase import files, seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.fluent import OPTION
from trustbase.audit.explain.subject import Item, units_of
from trustbase.audit.explain.units import Edits, Units
from trustbase.audit.masked_words import open_masked
from trustbase.audit.robustness import meaning
from trustbase.audit.robustness.candidates import Space, neighbours
from trustbase.audit.robustness.judge import WORD, Judge, open_judge
from trustbase.audit.robustness.words_attack import lexicon_of, space_of
from trustbase.data.cells import Reading
from trustbase.errors import ModelError, UsageError

WORDINGS = 3  # edits of a row
REPLACED = 0.2  # of the words of a row that each puts others for; one at least
MOST = 5  # near words of each word

NO_TEXT = "no near words, since the units are columns"
NO_SOURCE = "no near words, since nothing names any"

Near = Mapping[str, Sequence[str]]  # place of a unit, in digits → words that may stand there; JSON


@dataclass(frozen=True)
class Found:
    """What may stand in the place of words.

    Attributes:
        near: of each item.
        said: where they come from; why there are none where there are none.
    """

    near: Sequence[Near]
    said: str


def near_words(context: AuditContext, items: Sequence[Item]) -> Found:
    """What may stand in the place of the words of each item."""
    none: list[Near] = [{} for _ in items]
    if not items or items[0]["row"] is not None:
        return Found(none, NO_TEXT)
    assert context.artifact is not None
    reading = Reading.of(context.artifact)
    units = [units_of(reading, item["text"], None) for item in items]
    with open_judge(context.options.robustness.judge) as judge:
        reads = None if isinstance(judge, str) or judge.unreadable([item["text"] for item in items]) else judge
        try:
            return _near(context, items, units, reads)
        except (UsageError, ModelError) as error:
            context.emit("warning", text=f"no near words for the rows that are explained again: {error}")
            return Found(none, NO_SOURCE)


def _near(context: AuditContext, items: Sequence[Item], units: Sequence[Units], judge: Judge | None) -> Found:
    space = space_of(context, judge)
    reference = context.options.explanation.fluent
    places = [[place for place, span in enumerate(each.spans) if span is not None] for each in units]
    if reference is None:
        words = [each.names[place] for each, own in zip(units, places, strict=True) for place in own]
        known = neighbours(space, words, lexicon=lexicon_of(context), most=2 * MOST)
        proposed = [{place: known.get(each.names[place], []) for place in own} for each, own in zip(units, places, strict=True)]
        whose = space.name
    else:
        masked = open_masked(reference, option=OPTION)
        spans = [[span or (0, 0) for span in each.spans] for each in units]
        rows = zip(items, spans, places, strict=True)
        proposed = [masked.options(item["text"], own, at) for item, own, at in rows]
        whose = f"the masked language model {masked.name}"
    allowed = [_allowed(item["text"], each, given, space) for item, each, given in zip(items, units, proposed, strict=True)]
    return Found(
        allowed, f"edits: near words of '{whose}', by rules of meaning and nearer than {WORD} among the embeddings of '{space.name}'"
    )


def _allowed(text: str, units: Units, given: Mapping[int, Sequence[str]], space: Space) -> dict[str, list[str]]:
    """Of what is proposed what rules allow, and what lies near."""
    pairs = []
    for place, words in given.items():
        start, _ = units.spans[place] or (0, 0)
        pairs += [(place, units.names[place], word) for word in words if not meaning.why_not(units.names[place], word, text[:start])]
    near = space.nearness([(old, new) for _, old, new in pairs])
    found: dict[str, list[str]] = {}
    for (place, _, word), value in zip(pairs, near.tolist(), strict=True):
        if value >= WORD and len(found.get(str(place), [])) < MOST:
            found.setdefault(str(place), []).append(word)
    return found


def wordings(units: Units, near: Near, item: Item, seed: int) -> list[str]:
    """The row with near words in the place of some, drawn by its content; different ones, at most `WORDINGS`."""
    rng = seeds.generator(seed, "explanation", "wordings", files.digest_json(item))
    open_places = sorted(int(place) for place in near if near[place])
    count = min(len(open_places), max(1, int(REPLACED * sum(span is not None for span in units.spans))))
    edits: list[Edits] = []
    for _ in range(WORDINGS if open_places else 0):
        chosen = sorted(rng.permutation(open_places)[:count].tolist())
        edits.append({place: near[str(place)][int(rng.integers(len(near[str(place)])))] for place in chosen})
    return list(dict.fromkeys(units.edited(edits)))
