"""Golden inputs: synthetic rows and what the artefact answered, so that another machine can find out whether it answers the same.

No row of user data is used: words are drawn from the tokenizer's vocabulary, which ships with the model in any case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.bundle.golden_base import LanguageScorer, base_difference, base_outputs
from trustbase.bundle.layout import BASE_MODEL, GOLDEN_SCHEMA
from trustbase.data.cells import Reading
from trustbase.data.template import TextTemplate
from trustbase.errors import ModelError
from trustbase.model.artifact import PLAIN_FILE
from trustbase.model.ensemble import first_part
from trustbase.model.ragged import largest_difference
from trustbase.records import ArtifactInfo

#: Largest |Δ probability| that another machine may show: in bf16 the order of additions alone moves the third decimal.
#: Of a base model it is the difference of a log-likelihood or an embedding as a share of it.
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
_WORD_COUNTS = (1, 2, 3, 5, 8, 12, 18, 30)
_PLAIN_ROWS = 64  # cheap to ask, and a tree has many leaves
_FALLBACK = ("alpha", "beta", "gamma", "delta", "one", "two", "three", "four", "five", "six")
Ask = Callable[[Sequence[str]], NDArray[Any]]


class Scorer(Protocol):
    """What gives class scores: a `Predictor`, or a stand-in."""

    def scores(self, texts: Sequence[str]) -> NDArray[Any]: ...


def golden_record(artifact: ArtifactInfo, ask: Ask | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Content of `golden.json`.

    Args:
        artifact: the artefact, as it is packed.
        ask: texts → probabilities `(rows, classes)`, of a base model see `base_outputs`; by default a Predictor is opened on it.
        seed: seed of the synthetic rows.

    Raises:
        ModelError: the artefact answers with something else.
    """
    reading = Reading.of(artifact)
    rows = synthetic_rows(artifact.folder, reading, max_length=artifact.max_length, seed=seed)
    texts = [reading.render(row) for row in rows]
    base = artifact.answer_kind == BASE_MODEL
    asks, outputs = base_outputs(artifact, texts, ask) if base else ("", _scores(artifact, texts, ask))
    inputs = [{"row": row, "text": text, **output} for row, text, output in zip(rows, texts, outputs, strict=True)]
    return {
        "schema": GOLDEN_SCHEMA,
        "about": "synthetic rows, no user data; another machine repeats them before it answers",
        "template": reading.template.source,
        **({"columns": list(reading.columns)} if reading.columns else {}),
        **({"asks": asks} if base else {}),
        **({"answers": artifact.answer_kind, "unit": artifact.labels.scale} if artifact.answer_kind not in ("classes", BASE_MODEL) else {}),
        "labels": list(artifact.labels.names),
        "precision": artifact.precision,
        "runtime": artifact.runtime,
        "tolerance": TOLERANCE[artifact.precision],
        "seed": seed,
        "inputs": inputs,
    }


def _scores(artifact: ArtifactInfo, texts: Sequence[str], ask: Ask | None) -> list[dict[str, Any]]:
    """The scores of each text, of classes as `probabilities`.

    Raises:
        ModelError: the artefact answers with something that is no score of its kind.
    """
    given = ask(texts) if ask is not None else _ask(artifact, texts)
    if artifact.answer_kind == "tokens":
        return _tables(artifact, texts, given)
    scores = np.asarray(given, dtype=np.float64)
    shape = (len(texts), len(artifact.labels.names))
    classes = artifact.answer_kind == "classes"
    if scores.shape != shape or not np.isfinite(scores).all() or (classes and np.abs(scores.sum(axis=1) - 1).max() > 1e-3):
        raise ModelError(f"{artifact.folder}: the golden inputs need probabilities {shape}, got {scores.shape}", hint="check the artefact")
    return [{"probabilities" if classes else "scores": [float(p) for p in line]} for line in scores]


def _tables(artifact: ArtifactInfo, texts: Sequence[str], given: NDArray[Any]) -> list[dict[str, Any]]:
    """The table of each text: bounds of its units, and probabilities.

    Raises:
        ModelError: the artefact answers with something else.
    """
    width = 2 + len(artifact.labels.names)
    for table in given:
        chances = table[:, 2:] if table.ndim == 2 and table.shape[1] == width else None
        if chances is None or not np.isfinite(table).all() or (len(table) and np.abs(chances.sum(axis=1) - 1).max() > 1e-3):
            raise ModelError(
                f"{artifact.folder}: the golden inputs need tables (units, {width}), got {table.shape}", hint="check the artefact"
            )
    return [{"scores": table.tolist()} for table in given]


def check_golden(golden: Path | Mapping[str, Any], predictor: Scorer | LanguageScorer) -> float:
    """Largest difference between the golden outputs and what `predictor` answers now (infinite where it answers no number).

    Of class scores it is the largest |Δ probability|, of numbers the largest difference in standard deviations of the training rows, of a
    base model's answers the largest difference as a share of them.

    The caller compares it with the record's `tolerance`.

    Args:
        golden: a bundle folder, or the content of its `golden.json` (from `VerifiedBundle.read`, where trust matters).
        predictor: asks the artefact on this machine.

    Raises:
        ModelError: the rows no longer render to the same texts, or the number of classes differs.
    """
    record = json.loads((golden / "golden.json").read_text(encoding="utf-8")) if isinstance(golden, Path) else golden
    reading = Reading(TextTemplate.parse(record["template"], None), tuple(record.get("columns", ())))
    inputs = record["inputs"]
    texts = [reading.render(item["row"]) for item in inputs]
    if texts != [item["text"] for item in inputs]:
        raise ModelError("the golden rows render to other texts than when the bundle was made", hint="use the version that made the bundle")
    if "asks" in record:
        return base_difference(record, cast(LanguageScorer, predictor), texts)
    if record.get("answers") == "tokens":
        return _apart(inputs, cast(Scorer, predictor).scores(texts))
    name = "scores" if "answers" in record else "probabilities"
    expected = np.array([item[name] for item in inputs], dtype=np.float64)
    found = np.asarray(cast(Scorer, predictor).scores(texts), dtype=np.float64)
    if found.shape != expected.shape:
        raise ModelError(f"the golden outputs are {expected.shape}, the model answers {found.shape}", hint="is this the bundle's model?")
    if record.get("answers") == "span":  # where an answer lies is no distance, and made-up texts hold many that are as good
        found, expected = found[:, 2:], expected[:, 2:]
    difference = np.abs(found - expected) / float(record.get("unit", 1.0))
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def _apart(inputs: Sequence[Mapping[str, Any]], found: NDArray[Any]) -> float:
    """The largest difference between tables.

    Raises:
        ModelError: of other units or tags.
    """
    try:
        expected = [np.array(item["scores"], dtype=np.float64) for item in inputs]
        difference = largest_difference(expected, list(found))
    except ValueError as error:
        raise ModelError(f"the golden outputs are of another form: {error}", hint="is this the bundle's model?") from error
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def repeat_golden(record: Mapping[str, Any], predictor: Scorer | LanguageScorer) -> float:
    """Whether this machine answers as the one did that made the bundle; the largest difference it shows.

    Raises:
        ModelError: it does not, or the golden rows cannot be repeated here.
    """
    difference, tolerance = check_golden(record, predictor), float(record["tolerance"])
    if not difference <= tolerance:
        raise ModelError(
            "this machine does not reproduce the bundle's golden outputs: "
            f"{'answers' if 'asks' in record else 'probabilities'} differ by up to {difference:.2g}, over {tolerance:g}",
            hint="its answers are not those that were audited: compare the libraries with environment.json, or use another machine",
        )
    return difference


def synthetic_rows(folder: Path, reading: Reading, *, max_length: int, seed: int) -> list[dict[str, str]]:
    """Rows of made-up values, from one word to more tokens than the model reads."""
    rng = seeds.generator(seed, "golden")
    columns, template = reading.needed, reading.template
    if (folder / PLAIN_FILE).is_file():
        return _rows_for_readers(folder, columns, rng)
    words, texts = _words(folder), template.columns
    if template.entities:
        columns, texts = tuple(name for name in columns if name not in template.entities), template.whole
    numeric = set(texts[1::3]) - set(template.whole) if len(texts) > 1 else set()  # many columns of a table are numbers
    numeric = numeric - set(reading.columns) | set(reading.numeric)
    rows = []
    for count in (*_WORD_COUNTS, max_length + 1):
        share = -(-count // max(1, len(set(texts) - numeric)))
        rows.append(
            {
                column: str(int(rng.integers(0, 100)))
                if column in numeric
                else " ".join(words[int(i)] for i in rng.integers(0, len(words), size=share))
                for column in columns
            }
        )
    return [_with_entities(row, template, rng) for row in rows] if template.entities else rows


def _with_entities(row: dict[str, str], template: TextTemplate, rng: np.random.Generator) -> dict[str, str]:
    """The row with two words of its text as entities, in any order; a text of one word is doubled."""
    [column], text = template.whole, row[template.whole[0]]
    text = text if " " in text else f"{text} {text}"
    ends = np.cumsum([len(word) + 1 for word in text.split(" ")]) - 1
    begins = np.array([0, *(ends[:-1] + 1)])
    spans = [f"{begins[i]}:{ends[i]}" for i in rng.permutation(len(ends))[:2].tolist()]
    return {**row, column: text, **dict(zip(template.entities, spans, strict=True))}


def _rows_for_readers(folder: Path, columns: Sequence[str], rng: np.random.Generator) -> list[dict[str, str]]:
    """Rows out of the values that a plain model itself names, and some that it does not know, so that many of its answers are asked for."""
    from trustbase.model.plain.store import example_values

    known = example_values(folder)
    values = [known.get(column) or known.get(None) or list(_FALLBACK) for column in columns]
    drawn = [{name: each[int(rng.integers(0, len(each)))] for name, each in zip(columns, values, strict=True)} for _ in range(_PLAIN_ROWS)]
    return [row for row in drawn if any(row.values())]


def _words(folder: Path) -> list[str]:
    """Whole words of the artefact's tokenizer, in a fixed order; a few plain ones where it has none."""
    path = first_part(folder) / "tokenizer.json"
    if not path.is_file():
        return list(_FALLBACK)
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=False)
    words = {token.lstrip("Ġ▁") for token in vocabulary if not token.startswith("##")}
    kept = sorted(word for word in words if word.isalpha() and ((word.isascii() and len(word) > 2) or all("一" <= c <= "鿿" for c in word)))
    return kept or list(_FALLBACK)


def _ask(artifact: ArtifactInfo, texts: Sequence[str]) -> NDArray[Any]:
    from trustbase.model.predict import Predictor

    with Predictor.open(artifact) as predictor:
        return predictor.scores(texts)
