"""What label columns say: the schema that scores stand for, and the truth of every row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trustbase.data import split
from trustbase.data.advice import advice
from trustbase.data.choices import choice_names
from trustbase.data.gather import Source, all_bad, bad_problems
from trustbase.data.options import DataOptions
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Named, Truth
from trustbase.errors import DataError
from trustbase.records import LabelSchema


def schema_of(options: DataOptions, sources: Mapping[str, Source], truth: Truth, template: TextTemplate, of: str = "train") -> LabelSchema:
    """What scores stand for, from the training rows (from the only rows, where one file is read alone)."""
    source = sources["train"]
    rows = source.parts.get(of, np.zeros(0, np.int64))
    if not len(rows):
        if bad := all_bad(source):  # the bad rows may be the reason, so they are what to say
            whose = f"{of} " if of in split.PARTS else ""
            message = f"{source.reference}: no {whose}rows are left beside the bad rows, {len(bad):,} of {source.raw.total:,}"
            raise DataError(message, problems=bad_problems(source), hint="; ".join(advice(bad, source.reference)))
        raise DataError(f"{source.reference} has no {of} rows", hint="give more rows, or divide them in another way (data.split)")
    column = source.label_cells(options.label, rows)
    try:
        roles = Named(options.label, options.positive, options.favourable, source.reference, options.no_relation, choice_names(template))
        return truth.schema(column, roles)
    except DataError as error:
        if beside := bad_problems(source):
            problems = [*error.problems, *beside]
            raise DataError(f"{source.reference}: {error.message}, beside the bad rows", problems=problems) from error
        raise


def read_truth(options: DataOptions, schema: LabelSchema, sources: Mapping[str, Source], truth: Truth, *, whose: str) -> None:
    """Read the label columns; rows whose truth cannot be used become bad rows, as no model can answer them rightly."""
    for source in sources.values():
        source.truth = source.read_truth(truth, options.label, schema, whose=whose)
        used = source.used()
        for row, (kind, detail) in sorted(source.truth.bad.items()):
            if used[row]:
                source.bad.append(source.raw.as_bad(row, f"column '{options.label}' {kind}", detail))
