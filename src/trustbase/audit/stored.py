"""The scores that an audit left in a run folder, read back (`audit.run.write_scores` wrote them)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trustbase.audit.context import Answers
from trustbase.errors import DataError, Problem, VerificationError
from trustbase.outputs.answers.base import answering
from trustbase.records import ArtifactInfo, Split


def read_scores(path: Path, test: Split, info: ArtifactInfo) -> Answers:
    """The scores that the audit left, of these rows; answers are decided from them anew.

    Raises:
        DataError: the file is not that of these rows, or its answers do not follow from its scores; every problem.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read: {error}", hint="run the recipe again with --force, or recheck the bundle with --data"
        ) from error
    way = answering(info.answer_kind)
    names = way.score_names(info.labels)
    wanted = ["row", "label", "predicted", *names, *(f"group:{name}" for name in test.groups)]
    problems = [Problem(path.name, f"has no column '{name}'") for name in wanted if name not in table.column_names]
    if not problems and table.num_rows != len(test):
        problems.append(Problem(path.name, f"has {table.num_rows} rows, audited were {len(test)}"))
    if problems:
        raise VerificationError(f"{path} is not what the audit left", problems=problems, hint="take it from a copy")
    scores = way.read_scores(table, info.labels)
    answers = Answers(scores, way.decide(scores, info.labels, info.decision))
    same = {
        "row": table["row"].to_numpy() == test.row_numbers,
        "label": _same(table["label"], way.columns(test.labels, info.labels)),
        "predicted": _same(table["predicted"], way.columns(answers.predicted, info.labels)),
        **{f"group:{name}": np.array(table[f"group:{name}"].to_pylist(), dtype=object) == values for name, values in test.groups.items()},
    }
    for column, right in same.items():
        if not right.all():
            what = "do not follow from the scores" if column == "predicted" else "are not those of the audited rows"
            problems.append(Problem(path.name, f"{int((~right).sum())} values of column '{column}' {what}"))
    if problems:
        raise VerificationError(f"{path} is not what the audit left", problems=problems, hint="take it from a copy")
    return answers


def _same(kept: pa.ChunkedArray, made: pa.Array) -> NDArray[np.bool_]:
    """Where a column of the file holds what is made anew, bool `(rows,)`."""
    return np.array([one == other for one, other in zip(kept.to_pylist(), made.to_pylist(), strict=True)], dtype=bool)
