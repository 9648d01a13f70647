"""The attack by gradient: the model's own weights propose words, and the artefact itself is asked about each.

What a word adds to the loss of the true label is, to first order, the gradient at the old word's embedding times the way to the new one's.
Half of a word's candidates are the words that add most; the others are its nearest neighbours, in the order of what they add, so that some
of them may keep the meaning. Words are tried in the order of the best of what they add, so that no question is spent on finding it.

Source: Ebrahimi et al. (2018), "HotFlip", section 3 (first-order estimate) and section 6 (words, among those near in embedding).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.masked_words import MOST, cased
from trustbase.audit.robustness.attack import Target
from trustbase.audit.robustness.attacked import Attack, measure, refusal, without_value
from trustbase.audit.robustness.candidates import Space, unit_length
from trustbase.audit.robustness.judge import Judge, most_changed, open_judge
from trustbase.audit.robustness.targets import Cells, Rows, Spans, open_places, word_spans
from trustbase.audit.robustness.words_attack import JUDGED, allowed, keeps_of
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.units import ALONE
from trustbase.errors import ModelError
from trustbase.recipe.lookup import TASKS
from trustbase.records import Finding

if TYPE_CHECKING:
    from trustbase.model.encoded import Encoded
    from trustbase.model.predict import WhiteBox

VARIANT = "gradient"
Floats = NDArray[np.float32]
_HAN = re.compile(f"[{ALONE}]")
_BATCH = 16
_NEAR = 40  # neighbours among which the gradient chooses
_METHOD = f"greedy search over words of one piece of the vocabulary, {MOST} candidates each, half by gradient alone and half of the nearest"


def measure_gradient(context: AuditContext) -> list[Finding]:
    """What words the model's own weights propose, and which of them turn the artefact's answers."""
    rows = Rows.drawn(context)
    if why := refusal(context, rows):
        return without_value(context, VARIANT, "insufficient", why)
    if why := why_not(context):
        return without_value(context, VARIANT, "not_applicable", why)
    try:
        options, note = _options(context, rows)
    except ModelError as error:
        return without_value(context, VARIANT, "not_applicable", f"the model lends no weights: {error}")
    with open_judge(context.options.robustness.judge) as judge:
        unread = judge if isinstance(judge, str) else judge.unreadable(rows.texts)
        reading = None if unread or isinstance(judge, str) else judge
        targets = [_target(text, *found, reading) if found else None for text, found in zip(rows.texts, options, strict=True)]
        method = f"{_METHOD}; candidates: {note}; every answer is the artefact's own"
        facts = {"candidates": "gradient of the loss", "judge": reading.name if reading else unread}
        return measure(context, rows, Attack(VARIANT, targets, keeps_of(reading, unread), JUDGED, method, facts))


def why_not(context: AuditContext) -> str:
    """Why no gradient leads to words of this model; "" where it can."""
    assert context.predictor is not None and context.artifact is not None
    task = TASKS.get(context.artifact.task)
    if context.predictor.tokenizer is None:
        return "this model has no tokens, so it has no gradient at a word"
    if task is not None and (task.reads != "text" or task.entities):
        return f"task {context.artifact.task} reads its texts in another form, for which this version follows no gradient to a word"
    return "this model reads long texts in windows, for which this version follows no gradient" if context.artifact.stride else ""


def _pieces(text: str, context: AuditContext) -> Spans:
    """Words of a text, and of Chinese its characters."""
    assert context.artifact is not None
    found: Spans = []
    for start, end in word_spans(text, context.artifact.columns):
        found += [(place, place + 1) for place in range(start, end)] if _HAN.search(text[start:end]) else [(start, end)]
    return found


class Lexicon:
    """Words that the model's vocabulary holds whole: of Chinese single characters."""

    def __init__(self, space: Space) -> None:
        whole = space.whole_words()
        signs = {piece: number for piece, number in space.tokenizer.get_vocab().items() if len(piece) == 1 and _HAN.match(piece)}
        signs = {piece: number for piece, number in sorted(signs.items()) if number < len(space.matrix)}
        self.words = [*whole, *signs]
        self.table = space.matrix[[*whole.values(), *signs.values()]] if self.words else np.zeros((0, space.matrix.shape[1]), np.float32)
        self._unit = unit_length(self.table)
        self._chinese = np.arange(len(self.words)) >= len(whole)
        self._place = {word: number for number, word in enumerate(self.words)}
        self._near: dict[str, NDArray[np.int64]] = {}

    def proposals(self, words: Sequence[str], vectors: Floats, gradients: Floats) -> list[tuple[list[str], float]]:
        """Candidates for each word, the neighbours first, and what the best of them adds to the loss."""
        if not self.words:
            return [([], -np.inf)] * len(words)
        added = gradients @ self.table.T - (gradients * vectors).sum(axis=1, keepdims=True)
        return [self._of(word, vector, row) for word, vector, row in zip(words, vectors, added, strict=True)]

    def _of(self, word: str, vector: Floats, added: Floats) -> tuple[list[str], float]:
        added = self._fitting(word, added)
        if (key := word.casefold()) not in self._near:
            self._near[key] = _largest(self._fitting(word, self._unit @ unit_length(vector[None])[0]), _NEAR)
        near = self._near[key]
        near = near[np.argsort(-added[near], kind="stable")][: MOST // 2].tolist()
        free = [place for place in _largest(added, MOST).tolist() if place not in near][: MOST - len(near)]
        places = [place for place in [*near, *free] if np.isfinite(added[place])]
        return [cased(self.words[place], word) for place in places], max((float(added[place]) for place in places), default=-np.inf)

    def _fitting(self, word: str, values: Floats) -> Floats:
        """The values of words of the same script, but the word itself."""
        found = np.where(self._chinese == (_HAN.search(word) is not None), values, -np.inf)
        if (own := self._place.get(word.casefold())) is not None:
            found[own] = -np.inf
        return found


def _largest(values: Floats, count: int) -> NDArray[np.int64]:
    """Places of the largest values, the largest first."""
    first = np.argpartition(-values, min(count, len(values) - 1))[:count]
    return np.asarray(first[np.lexsort((first, -values[first]))])


Proposed = tuple[Spans, dict[int, tuple[list[str], float]]]  # words of a text; place → candidates, and what the best adds to the loss


def _options(context: AuditContext, rows: Rows) -> tuple[list[Proposed | None], str]:
    """What the gradient proposes for each row, None where no word is one piece; and what must be said of it."""
    assert context.predictor is not None
    encoded, cells = context.predictor.runtime.prepare(rows.texts), Cells(context)
    found: list[Proposed | None] = [None] * len(rows)
    with context.predictor.white_box() as box:
        space = Space(box.tokenizer, box.model.get_input_embeddings().weight.detach().float().cpu().numpy(), "the model itself")
        lexicon = Lexicon(space)
        for row, gradient in gradients(encoded, rows.truth, box):
            text, own = rows.texts[row], _pieces(rows.texts[row], context)
            ids = encoded.ids[encoded.offsets[row] : encoded.offsets[row + 1]]
            at = _tokens_of(text, own, ids.tolist(), box.tokenizer)
            places = [p for p in open_places(own, cells.spans(int(rows.numbers[row]), text)) if p in at and text[slice(*own[p])].isalpha()]
            tokens = [at[place] for place in places]
            told = lexicon.proposals([text[slice(*own[place])] for place in places], space.matrix[ids[tokens]], gradient[tokens])
            proposed = {place: each for place, each in zip(places, told, strict=True) if each[0]}
            found[row] = (own, proposed) if proposed else None
        return found, box.note


def _target(text: str, own: Spans, proposed: dict[int, tuple[list[str], float]], judge: Judge | None) -> Target:
    options = {place: words for place, (words, _) in proposed.items()}
    order = sorted(options, key=lambda place: (-proposed[place][1], place))
    return Target(text, own, options, allowed(text, own, options, judge), most_changed(len(own)), order)


def _tokens_of(text: str, spans: Spans, ids: Sequence[int], tokenizer: Any) -> dict[int, int]:
    """Place of each word that is one token, and which token of the sequence that is; what was cut off has none."""
    sides = text.split(CELL, 1)[0].split(SEPARATOR, 1)
    whole = tokenizer.backend_tokenizer.encode(*sides, add_special_tokens=True)
    place = {span: number for number, span in enumerate(spans)}
    found: dict[int, int] = {}
    for token, ((start, end), side) in enumerate(zip(whole.offsets, whole.sequence_ids, strict=True)):
        shift = len(sides[0]) + 1 if side == 1 else 0
        span = (start + shift, end + shift)
        while span[0] < span[1] and text[span[0]] == " ":  # some tokenizers count the blank before a word to it
            span = (span[0] + 1, span[1])
        if side is not None and span in place and token < len(ids) and ids[token] == whole.ids[token]:
            found[place[span]] = token
    return found


def gradients(encoded: Encoded, truth: NDArray[np.int64], box: WhiteBox) -> Iterator[tuple[int, Floats]]:
    """Row by row, the gradient of the true label's loss at the embedding of each token, `(tokens, width)`."""
    import torch

    from trustbase.model.encoded import pad

    seen: list[torch.Tensor] = []

    def caught(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append(output.detach().requires_grad_(True))
        return seen[-1]

    hook = box.model.get_input_embeddings().register_forward_hook(caught)
    try:
        for start in range(0, len(encoded), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(encoded)))
            batch = {name: torch.from_numpy(array) for name, array in pad(encoded, rows, int(box.tokenizer.pad_token_id or 0)).items()}
            seen.clear()
            with torch.enable_grad():
                logits = box.model(**batch).logits.float()
                loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth[rows]), reduction="sum")
                slope = torch.autograd.grad(loss, seen[0])[0].numpy()
            yield from ((int(row), slope[place]) for place, row in enumerate(rows))
    finally:
        hook.remove()
