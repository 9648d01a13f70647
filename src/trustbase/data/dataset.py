"""All splits of a run, and the digest that every later stage knows them by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trustbase import files
from trustbase.data.digest import digest_numbers
from trustbase.data.template import TextTemplate
from trustbase.records import LabelSchema, Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """All splits of a run, and what was found while they were made.

    Attributes:
        splits: "train", "validation", "test" → rows; "calibration" too, where rows are kept apart for the audit's thresholds.
        labels: the label schema.
        template: how columns become text.
        facts: counts and choices for the data card; aggregates only.
        digest: `sha256:…` over the splits' digests, the labels and the template.
        answers: answer kind of the task that the rows are for.
    """

    splits: Mapping[str, Split]
    labels: LabelSchema
    template: TextTemplate
    facts: dict[str, Any]
    digest: str
    answers: str = "classes"


def dataset_digest(splits: Mapping[str, Split], schema: LabelSchema, template: TextTemplate) -> str:
    """`sha256:…` of all that a later stage can see."""
    named = [schema.names, schema.positive, schema.favourable, *([] if schema.neutral is None else [schema.neutral])]
    told = {"splits": {name: part.digest for name, part in splits.items()}, "labels": named, "text": template.source}
    owners = {name: digest_numbers(part.entities) for name, part in splits.items() if part.entities is not None}
    return files.digest_json({**told, "entities": owners} if owners else told)
