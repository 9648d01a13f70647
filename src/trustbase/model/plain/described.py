"""`plain.json` as it must be, checked before anything is made of it: every field of its own type, within what a training can have written.

These files are also read from run folders that nobody signed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from trustbase.data.terms import Manner
from trustbase.model.artifact_form import in_short
from trustbase.model.plain.readers import Categories, Numbers, Reader, Words

PLAIN_SCHEMA = "trustbase/plain/1"
_LARGEST = float(np.finfo(np.float32).max)  # numbers of cells are read as far as this

Name = Annotated[str, Field(min_length=1)]
Value = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
Spread = Annotated[float, Field(gt=0, le=2 * _LARGEST, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]  # ln((1 + rows) / (1 + rows with the term)) + 1


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a name stands in it twice")
    return values


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(low < high for low, high in pairwise(values)):
        raise ValueError("each must be larger than the one before")
    return values


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Numbers(_Strict):
    reads: Literal["numbers"]
    column: Name
    fill: Value
    mean: Value
    scale: Spread
    cuts: Annotated[tuple[Value, ...], AfterValidator(_rising)] = ()

    def made(self) -> Reader:
        return Numbers(self.column, self.fill, self.mean, self.scale, self.cuts)


class _Categories(_Strict):
    reads: Literal["categories"]
    column: Name
    names: Annotated[tuple[Name, ...], AfterValidator(_once)]

    def made(self) -> Reader:
        return Categories(self.column, self.names)


class _Words(_Strict):
    reads: Literal["words"]
    column: Name | None
    manner: Manner
    longest: Annotated[int, Field(ge=1, le=2)]
    pairs: bool
    terms: Annotated[tuple[Name, ...], AfterValidator(_once)]
    idf: tuple[Weight, ...]

    @model_validator(mode="after")
    def _together(self) -> _Words:
        if len(self.terms) != len(self.idf):
            raise ValueError(f"{len(self.terms)} terms have {len(self.idf)} weights")
        if self.pairs and not all(term.partition(" ")[0] in {"0", "1", "both", "shared"} and " " in term for term in self.terms):
            raise ValueError("a term of a pair must begin with 0, 1, both or shared")
        return self

    def made(self) -> Reader:
        return Words(self.column, self.manner, self.longest, self.pairs, self.terms, self.idf)


class Described(_Strict):
    """The whole file."""

    schema_: Literal["trustbase/plain/1"] = Field(alias="schema")
    kind: Literal["linear", "tree", "rules", "boosting"]
    classes: Annotated[int, Field(ge=2)]
    columns: Annotated[tuple[Name, ...], AfterValidator(_once)]
    readers: Annotated[tuple[Annotated[_Numbers | _Categories | _Words, Field(discriminator="reads")], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _together(self) -> Described:
        read = [reader.column for reader in self.readers]
        if sorted(map(str, read)) != sorted(self.columns or ("None",)) or (None in read) != (not self.columns):
            raise ValueError(f"it is asked with the columns {str(self.columns)[:100]} and reads {str(read)[:100]}")
        return self

    def made(self) -> tuple[Reader, ...]:
        """The readers of the file."""
        return tuple(reader.made() for reader in self.readers)


def described(content: bytes) -> Described:
    """The file's content, if a training can have written it.

    Raises:
        ValueError: it cannot; says where, and what was found.
    """
    try:
        return TypeAdapter(Described).validate_json(content)
    except ValidationError as error:
        raise ValueError(in_short(error)) from None
