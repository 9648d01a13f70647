"""`trustbase explain`: why a model gives the answer that it gives to one input, asked of the artefact that is shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from trustbase import files, seeds
from trustbase.audit.explain.methods import INSIDE, Method, refusal
from trustbase.data.cells import Reading
from trustbase.data.jsonl import object_of
from trustbase.data.marked import parts
from trustbase.data.pair import CELL, readable
from trustbase.data.template import TextTemplate
from trustbase.errors import DataError, Problem, UsageError
from trustbase.events import Emit, ignore
from trustbase.explain_training import TaughtBy, read_training, taught_by
from trustbase.places import refuse_inside_bundle
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo
from trustbase.train.launcher import refuse_launchers

if TYPE_CHECKING:
    from trustbase.audit.explain.local import Attribution
    from trustbase.audit.explain.reasons import Reason
    from trustbase.audit.explain.units import Units
    from trustbase.model.predict import Predictor

SCHEMA = "trustbase/explanation/1"
KINDS = ("classes", "labels", "number")  # answers that are one score, or one of several
SAMPLES = 500
_NOTHING = ("NAType", "NaTType")  # what pandas has for a cell without a value


@dataclass(frozen=True)
class Explanation:
    """Why an input gets its answer.

    Attributes:
        text: the input as people read it.
        answer: what the model answers.
        label: whose score is explained.
        score, base: that score, and the one without any unit.
        units, weights, errors: name of each unit, what it adds, and its standard error (None where none is known).
        spans: characters of each unit in `text`; None for fields and columns.
        kind: words, characters or fields.
        together: every two units and what they add beyond what each adds, the largest first; none where not all combinations were asked.
        reasons: at most four units that speak most for the label.
        faithful: what happens to the score as these units are left out, or left alone.
        about: method, inputs asked, seed, model; of white-box methods what they ask instead, and what `weights` are of.
        taught: training rows that taught this answer, where they were given.
    """

    text: str
    answer: Any
    label: str
    score: float
    base: float
    units: tuple[str, ...]
    weights: tuple[float, ...]
    errors: tuple[float, ...] | None
    spans: tuple[tuple[int, int] | None, ...]
    kind: str
    together: tuple[tuple[str, str, float], ...]
    reasons: tuple[Reason, ...]
    faithful: Mapping[str, float]
    about: Mapping[str, Any]
    taught: TaughtBy | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"schema": SCHEMA, **asdict(self)}

    def _repr_html_(self) -> str:
        from trustbase.report.explained import explained_block

        return explained_block(self.to_json(), "en")


def explain(
    model: str | Path,
    input: str | Mapping[str, Any],
    *,
    text_pair: str | None = None,
    label: str | None = None,
    method: Method = "shapley",
    samples: int = SAMPLES,
    characters: bool = False,
    seed: int = 0,
    trust: str | Path | None = None,
    html: str | Path | None = None,
    lang: str = "en",
    train: str | Path | None = None,
    train_label: str | None = None,
    emit: Emit = ignore,
) -> Explanation:
    """Explain one answer of a bundle, run folder, checkpoint folder or hub id, by asking it with parts of the input left out.

    Args:
        model: what is asked. Bundles are checked first.
        input: a text, or the recipe's own columns; a model that reads a template or columns needs these.
        text_pair: the second text, where the model reads pairs.
        label: whose score is explained; the answer's by default, or of several labels the one with the highest score.
        method: "shapley" (exact for few units, else Owen values along sentences and words), "orders" (means over random orders, with
            errors), "lime", or "occlusion"; white-box, of the torch weights, "integrated_gradients", "gradient_input", or
            "attention_relevance".
        samples: most inputs that the method asks about; at most 40 more tell whether what it says is true.
        characters: whether each character is a unit, and not each word.
        seed: of what is drawn.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        html: a page to write.
        lang: language of the page, "en" or "zh".
        train: the training rows, of which those are told that taught this answer most (white-box, an estimate).
        train_label: their column of the true label; by default that of the recipe of a bundle or run.
        emit: takes events.

    Raises:
        UsageError: options that do not go together, a label that the model does not have, or a kind of answer that this does not explain.
        DataError: an input that cannot be asked, or that has nothing to leave out.
        VerificationError: a bundle that is not what somebody trusted released.
        PredictionError: the model could not answer.
    """
    from trustbase.audit.explain.whitebox import one_inside
    from trustbase.bundle.subject import open_subject
    from trustbase.model.predict import Predictor
    from trustbase.report.words import words as words_in

    refuse_launchers("an explanation")
    _refuse(method, samples)
    words_in(lang)  # a language that is not there is refused before anything is asked
    page = None if html is None else files.check_output(html)
    if page is not None:
        refuse_inside_bundle(page, "the page")
    with open_subject(str(model), emit, trust=trust) as (info, _):
        _refuse_kind(info)
        place = None if label is None else _place(info, label)
        asked, units = _units(info, input, text_pair, characters)
        row = _row(info, input, text_pair)
        if reason := refusal(method, len(units), samples):
            raise UsageError(f"this input cannot be explained: {reason}", hint="more --samples, another --method, or a shorter input")
        lessons = None if train is None else read_training(info, str(model), train, train_label, trust=trust, emit=emit)
        with Predictor.open(info) as predictor:
            taught = inside = None
            if lessons is not None or method in INSIDE:
                target = _target(predictor, asked, place)
                taught = None if lessons is None else taught_by(predictor, asked, target, lessons, seed=seed, emit=emit)
                inside = one_inside(predictor, asked, units, row, target, method, samples) if method in INSIDE else None
            found = replace(_explained(predictor, asked, units, place, method, samples, seed, inside), taught=taught)
    if page is not None:
        from trustbase.report.explained import explained_page

        files.write_text(page, explained_page(found.to_json(), lang))
    return found


def _refuse(method: str, samples: int) -> None:
    problems = []
    if method not in get_args(Method):
        problems.append(Problem("--method", f"'{method}' is no method", f"one of {', '.join(get_args(Method))}"))
    if not 10 <= samples <= 100_000:
        problems.append(Problem("--samples", f"must be 10 to 100,000, got {samples}"))
    if problems:
        raise UsageError("nothing was explained", problems=problems)


def _refuse_kind(info: ArtifactInfo) -> None:
    if info.answer_kind not in KINDS:
        what = ANSWER_KINDS[info.answer_kind].about if info.answer_kind in ANSWER_KINDS else info.answer_kind
        raise UsageError(f"this version explains labels and numbers, and this model answers with {what}")


def _place(info: ArtifactInfo, label: str) -> int:
    if label not in info.labels.names:
        raise UsageError(f"the model has no label '{label}'", hint=f"it has: {', '.join(info.labels.names)}")
    return info.labels.names.index(label)


def _units(info: ArtifactInfo, input: str | Mapping[str, Any], pair: str | None, characters: bool) -> tuple[str, Units]:
    """What the model is asked, and what of it can be left out."""
    from trustbase.audit.explain.subject import by_words, units_of

    reading = Reading.of(info)
    row = _row(info, input, pair)
    asked = reading.render(row)
    if characters and not by_words(reading):
        raise UsageError("this model reads a template over columns, whose units are the columns, not characters")
    found = units_of(reading, asked, row, characters=characters)
    if not len(found):
        raise DataError("there is no word in this input, so nothing of it can be left out", hint="explain another input")
    return asked, found


def _row(info: ArtifactInfo, input: str | Mapping[str, Any], pair: str | None) -> dict[str, str | None]:
    """The cells of an input."""
    from trustbase.bundle.rows import cells_of

    reading = Reading.of(info)
    if isinstance(input, Mapping) and pair is not None:
        raise UsageError("a row holds both texts of a pair, and a second text was given too", hint="name a row, or two texts")
    given = dict(input) if isinstance(input, Mapping) else _as_row(reading.template, reading, input, pair)
    missing = [name for name in reading.needed if name not in given]
    if missing:
        raise DataError("this input cannot be asked", problems=[Problem(name, "this column is missing") for name in missing])
    return cells_of({name: _plain(given[name]) for name in reading.needed}, reading)


def _plain(value: Any) -> Any:
    """A cell as JSON can write it: of numpy as Python's own, NaN and the like as no value, anything that JSON does not know as its text."""
    value = value.item() if isinstance(value, np.generic) else list(value) if isinstance(value, tuple) else value
    if (isinstance(value, float) and np.isnan(value)) or type(value).__name__ in _NOTHING:
        return None
    return value if value is None or isinstance(value, str | bool | int | float | list | dict) else str(value)


def _as_row(template: TextTemplate, reading: Reading, text: str, pair: str | None) -> dict[str, Any]:
    """One or two texts as the columns of a model that reads these alone."""
    texts = [text] if pair is None else [text, pair]
    sides = template.sides or (template,)
    plain = all(side.plain for side in sides) and not template.entities and not reading.columns
    if not plain or len(texts) != len(sides):
        what = f"columns {', '.join(reading.needed)}" if not plain else f"{len(sides)} text(s)"
        raise UsageError(f"this model reads {what}, got {len(texts)} text(s)", hint='give them as JSON: --row \'{"column": "value", …}\'')
    return dict(zip((side.columns[0] for side in sides), texts, strict=True))


def _target(predictor: Predictor, asked: str, place: int | None) -> int:
    from trustbase.audit.explain.subject import target_of

    return target_of(predictor.scores([asked])[0], predictor.info) if place is None else place


def _explained(
    predictor: Predictor,
    asked: str,
    units: Units,
    place: int | None,
    method: Method,
    samples: int,
    seed: int,
    inside: tuple[Attribution, dict[str, Any]] | None = None,
) -> Explanation:
    from trustbase.audit.explain.faithful import faithfulness
    from trustbase.audit.explain.local import Game
    from trustbase.audit.explain.methods import attribute
    from trustbase.audit.explain.reasons import reasons_of
    from trustbase.audit.explain.subject import target_of
    from trustbase.outputs.answers.base import answering

    info = predictor.info
    game = Game(predictor, units, question=ANSWER_KINDS[info.answer_kind].question)

    async def work() -> Explanation:
        whole = await game.whole()
        answer = answering(info.answer_kind).line(whole, info.labels, info.decision)
        target = target_of(whole, info) if place is None else place
        rng = seeds.generator(seed, "explain", method, files.digest_json(asked))
        found, told = inside or (await attribute(game, target, method, samples=samples, rng=rng), {})
        base = float((await game.scores(np.zeros((1, len(game)), dtype=bool)))[0, target])
        reasons = await reasons_of(game, found, float(whole[target]), target)
        text, spans = _shown(asked, units)
        return Explanation(
            text=text,
            answer=answer,
            label=info.labels.names[target],
            score=float(whole[target]),
            base=base,
            units=units.names,
            weights=tuple(found.weights.tolist()),
            errors=None if found.errors is None else tuple(found.errors.tolist()),
            spans=spans,
            kind=units.kind,
            together=_together(found, units),
            reasons=reasons,
            faithful=await faithfulness(game, found.weights, target),
            about={"method": found.method, "asked": found.asked, "samples": samples, "seed": seed, "place": target, "model": info.digest,
                   "settled": found.settled, "runtime": info.runtime, "precision": info.precision, "unread_tokens": unread, **told},
        )  # fmt: skip

    unread = int(predictor.unread([asked])[0])
    return predictor.gather([work()])[0]


def _together(found: Attribution, units: Units) -> tuple[tuple[str, str, float], ...]:
    """Every two units by what they add together."""
    if found.together is None:
        return ()
    pairs = [(units.names[a], units.names[b], float(found.together[a, b])) for b in range(len(units)) for a in range(b)]
    return tuple(sorted(pairs, key=lambda pair: -abs(pair[2])))


def _shown(asked: str, units: Units) -> tuple[str, tuple[tuple[int, int] | None, ...]]:
    """The text as people read it, and where units stand in it; nowhere where entities are marked, which people read in other words."""
    text = asked.split(CELL, 1)[0]
    if parts(text) is not None or units.kind == "fields":
        return readable(text), (None,) * len(units)
    return readable(text), tuple(
        None if span is None else (len(readable(text[: span[0]])), len(readable(text[: span[1]]))) for span in units.spans
    )


def read_row(text: str) -> dict[str, Any]:
    """The columns of an input, from JSON; numbers stay as they were written.

    Raises:
        UsageError: it is no object of cells.
    """
    try:
        return object_of(text)
    except ValueError as error:
        what = "is no JSON" if isinstance(error, json.JSONDecodeError) else "must be one JSON object of columns and cells"
        raise UsageError(f"--row {what}: {error}", hint='such as --row \'{"age": "42", "job": "smith"}\'') from error
