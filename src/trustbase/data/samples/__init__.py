"""Data sets that ship with Trustbase. The catalogue is light; the rows are read only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from trustbase.errors import DataError, Problem

if TYPE_CHECKING:
    from trustbase.data.rows import RawTable

PREFIX = "sample:"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """One data set of the package: its file, what the file must be, and whose work it is."""

    name: str
    file: str
    sha256: str
    rows: int
    split_column: str | None
    columns: tuple[str, ...]
    licence: str
    attribution: str

    @property
    def path(self) -> Path:
        return _FOLDER / self.file


SAMPLES: dict[str, Sample] = {
    "census-income": Sample(
        name="census-income",
        file="census-income.parquet",
        sha256="ef095b65cfb461d0f69772d9cefcefd3d29dbc50fc6676064f361e8d78f9dbd0",
        rows=48_842,
        split_column="split",
        columns=(
            *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
            *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income", "split"),
        ),
        licence="CC BY 4.0",
        attribution=(
            "Adult (Census Income), Barry Becker and Ronny Kohavi, 1996, UCI Machine Learning Repository, "
            "doi.org/10.24432/C5XW20, CC BY 4.0; changed: see census-income.LICENSE.md"
        ),
    ),
}


def is_sample(reference: str) -> bool:
    """Whether a data reference names a sample of the package (`sample:NAME`)."""
    return reference.startswith(PREFIX)


def find_sample(reference: str) -> Sample:
    """The sample that `sample:NAME` names.

    Raises:
        DataError: no such sample; the message names those that exist.
    """
    name = reference.removeprefix(PREFIX)
    if name not in SAMPLES:
        close = get_close_matches(name, SAMPLES, n=1)
        hint = f"did you mean '{PREFIX}{close[0]}'?" if close else f"samples that exist: {', '.join(PREFIX + known for known in SAMPLES)}"
        raise DataError(f"there is no sample '{name}'", problems=[Problem(reference, "is no sample of this version", hint)])
    return SAMPLES[name]


def read_sample(reference: str, *, columns: Sequence[str] | None = None) -> RawTable:
    """Read a shipped sample, after its digest was compared with the one that is written in the code.

    Args:
        reference: `sample:NAME`.
        columns: the columns to read; all of them by default.

    Raises:
        DataError: no such sample, it was altered, or a column is not there.
    """
    from trustbase import files
    from trustbase.data.columnar import read_parquet

    sample = find_sample(reference)
    found = files.sha256_file(sample.path) if sample.path.is_file() else "no file"
    if found != sample.sha256:
        raise DataError(
            f"{PREFIX}{sample.name} is not the file that was released: expected sha256 {sample.sha256}, got {found}",
            hint="install trustbase again",
        )
    return read_parquet(sample.path, columns=columns, source=f"{PREFIX}{sample.name}")
