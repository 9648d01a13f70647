"""Inputs with some of their units hidden, and the asker of smoothed answers.

A hidden word is the tokenizer's mask token; where there is none it is left out. A hidden field is an empty cell. What stands there says
nothing of what was hidden, not even how long it was: certificates rest on that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase import files, seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain import units
from trustbase.audit.explain.units import Masks, Units
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.robustness.smoothing import draws, kept_of
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL
from trustbase.model.questions import Question, values_of
from trustbase.outputs.decision import decide_labels
from trustbase.records import Decision, LabelSchema

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Item = Mapping[str, Any]  # `{"text": what the model is asked, "row": its cells by column, or null where the units are words}`


def items_of(context: AuditContext, count: int) -> list[tuple[int, Item]]:
    """At most so many test rows, each with what is asked about it."""
    assert context.artifact is not None
    reading, inputs = Reading.of(context.artifact), asked_inputs(context)
    rows = sampled_rows(context, count, "certified").tolist()
    template = reading.template
    by_words = bool(template.entities) or all(side.plain for side in (template.sides or (template,)))
    if by_words or not set(reading.needed) <= set(context.test.table.column_names):
        return [(row, {"text": inputs[row], "row": None}) for row in rows]
    cells = context.test.table.select(list(reading.needed)).take(rows).to_pylist()
    return [(row, {"text": inputs[row], "row": dict(each)}) for row, each in zip(rows, cells, strict=True)]


def hidden(text: str, found: Units, masks: Masks, sign: str) -> list[str]:
    """A text with `sign` in the place of the words that a mask does not keep, and empty cells for such columns, `(masks,)`."""
    spans = [span for span in found.spans if span is not None]
    body, *cells = text.split(CELL) if len(found) > len(spans) else (text,)
    between = [body[end:start] for end, start in zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), None], strict=True)]
    names = [body[start:end] for start, end in spans]

    def one(mask: list[bool]) -> str:
        pieces = [between[0]]
        for name, gap, keep in zip(names, between[1:], mask, strict=False):
            pieces += [name if keep else sign, gap]
        return CELL.join(["".join(pieces), *(cell if keep else "" for cell, keep in zip(cells, mask[len(names) :], strict=True))])

    return [one(mask) for mask in masks.tolist()]


def mask_sign(tokenizer: Any) -> str:
    """The mask token, where the tokenizer reads it in a text as that one token; "" else."""
    sign = getattr(tokenizer, "mask_token", None)
    if not sign:
        return ""
    ids = tokenizer.backend_tokenizer.encode(f"a {sign} b", add_special_tokens=False).ids
    return str(sign) if ids.count(tokenizer.mask_token_id) == 1 else ""


def answers_hidden(
    predictor: Predictor, *, seed: int, share: float, samples: int, labels: Mapping[str, Any], decision: Mapping[str, Any]
) -> Callable[[Item], Awaitable[dict[str, Any]]]:
    """The asker of what an input is answered with while only some of its units are read.

    Args:
        seed: of the masks, together with the input.
        share: of the units that are read.
        samples: most masks of an input; all of them where there are no more.
        labels, decision: how scores become an answer, as JSON.

    Returns:
        A coroutine function: item → `{"kind", "units", "kept", "whole", "answers"}`, the answers by place, `(masks,)`; none where there is
        nothing to hide.
    """
    reading, sign = Reading.of(predictor.info), mask_sign(predictor.tokenizer)
    schema, rule = LabelSchema.from_json(labels), Decision.from_json(decision)

    async def ask(item: Item) -> dict[str, Any]:
        fields = item["row"] is not None
        found = units.fields(item["row"], reading) if fields else units.words(item["text"], columns=reading.columns)
        if not len(found):
            return {"kind": found.kind, "units": 0, "kept": 0, "whole": True, "answers": []}
        kept = kept_of(len(found), share)
        masks, whole = draws(len(found), kept, samples, seeds.generator(seed, "certified", files.digest_json(item)))
        texts = hidden(item["text"], found, masks, sign) if sign and not fields else found.texts(masks)
        values = values_of(await predictor.ask_each([Question("class_scores", text) for text in texts]))
        answers = decide_labels(np.stack(values), schema, rule)
        return {"kind": found.kind, "units": len(found), "kept": kept, "whole": whole, "answers": answers.tolist()}

    return ask
