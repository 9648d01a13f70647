"""What a recipe may say about its corpus."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase.data.samples import RUNNING_TEXTS, SAMPLES, is_sample
from trustbase.data.shares import Share, written_out

Format = Literal["text", "jsonl", "parquet"]
Pii = Literal["email", "phone", "resident_id", "bank_card", "ip", "url"]
Language = Literal["zh", "en", "ja", "ko", "de", "fr", "es", "it", "pt", "nl", "other"]
Part = Literal["train", "validation", "test"]
Deduplicate = Literal["none", "exact", "near"]

HUB = "hub:"


class PartOptions(BaseModel):
    """Which rows of a labelled set are meant: the part that a fine-tuning recipe with the same shares would call by that name."""

    model_config = ConfigDict(extra="forbid")

    name: Part = Field(description="train, validation or test")
    test: float = Field(default=0.2, ge=0, lt=1, description="share for testing in the fine-tuning recipe (data.split.test)")
    validation: float = Field(default=0.1, ge=0, lt=1, description="share for choosing in the fine-tuning recipe (data.split.validation)")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class TextSourceOptions(BaseModel):
    """Where texts lie: a path, a glob, a folder, a packaged sample, or a data set of a hub."""

    model_config = ConfigDict(extra="forbid")

    files: list[str] = Field(min_length=1, description="paths, globs or folders; sample:NAME; hub:OWNER/NAME")
    text: str = Field(default="text", description="column of the text in jsonl and parquet")
    format: Format | None = Field(default=None, description="what the files are, where their names do not say it")
    part: PartOptions | None = Field(default=None, description="of a labelled set, only the rows of this part: train, validation, test")
    name: str | None = Field(default=None, description="name in cards and messages; the files by default")

    @model_validator(mode="before")
    @classmethod
    def _files_alone(cls, value: Any) -> Any:
        return {"files": value} if isinstance(value, str) else value

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("files")
    @classmethod
    def _readable(cls, value: list[str]) -> list[str]:
        problems = [problem for reference in value if (problem := _unreadable(reference))]
        if problems:
            raise ValueError("; ".join(problems))
        return value

    @property
    def label(self) -> str:
        """What the source is called."""
        return self.name or ", ".join(self.files)


class SourceOptions(TextSourceOptions):
    """One source of a corpus, with its share in the mixture."""

    weight: float = Field(default=1.0, gt=0, le=100, description="how often each document is seen in one pass; 0.5 sees a seeded half")
    licence: str | None = Field(default=None, description="licence of these texts, for the card")


class NormaliseOptions(BaseModel):
    """Which differences in writing are removed; meaning and script stay as they are (traditional Chinese stays traditional)."""

    model_config = ConfigDict(extra="forbid")

    unicode: bool = Field(default=True, description="canonical composition (Unicode NFC)")
    width: bool = Field(default=True, description="full-width letters, digits and signs to half width; Chinese punctuation stays full")
    controls: bool = Field(default=True, description="control characters and invisible marks are left away; line ends become one kind")
    spaces: bool = Field(default=True, description="runs of blanks become one, at most one empty line, none at the ends")

    @model_validator(mode="before")
    @classmethod
    def _all_or_none(cls, value: Any) -> Any:
        return dict.fromkeys(cls.model_fields, value) if isinstance(value, bool) else value


class QualityOptions(BaseModel):
    """Limits that a document must keep; `false` turns a rule off. A unit is a Chinese (or Japanese) character, or a word of letters."""

    model_config = ConfigDict(extra="forbid")

    too_short: int | None = Field(default=5, ge=1, description="fewest units (Gopher takes 50 for web pages)")
    too_long: int | None = Field(default=100_000, ge=1, description="most units (Gopher)")
    short_words: float | None = Field(default=3.0, ge=0, description="least mean length of words, where most units are words (Gopher)")
    long_words: float | None = Field(default=10.0, gt=0, description="largest mean length of words, where most units are words (Gopher)")
    symbols: float | None = Field(default=0.1, ge=0, description="most hashes and ellipses for each unit (Gopher)")
    few_letters: float | None = Field(
        default=0.6, ge=0, le=1, description="least share of letters and digits among the characters that are no blanks"
    )
    bullets: float | None = Field(
        default=0.9, ge=0, le=1, description="most lines that begin with a bullet, as a share, of 3 or more (Gopher)"
    )
    ellipses: float | None = Field(
        default=0.3, ge=0, le=1, description="most lines that end in an ellipsis, as a share, of 3 or more (Gopher)"
    )
    open_lines: float | None = Field(
        default=None, ge=0, le=1, description="most characters in lines without a final sign such as . ! ? 。 ！ ？, as a share (after C4)"
    )
    repeated_lines: float | None = Field(
        default=0.2, ge=0, le=1, description="most characters in lines that stood before in the document, as a share (Gopher)"
    )
    repeated_ngrams: float | None = Field(
        default=0.3, ge=0, le=1, description="most 5-grams of words (10-grams in Chinese) that stood before in the document, as a share"
    )
    function_words: int | None = Field(
        default=2,
        ge=0,
        description="fewest function words (the, of; 的, 了) in documents of 50 words, or 200 Chinese characters, or more (Gopher)",
    )
    placeholder: bool = Field(default=True, description="no 'lorem ipsum' (C4)")

    @model_validator(mode="before")
    @classmethod
    def _switches(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {} if value else {name: False if name == "placeholder" else None for name in cls.model_fields}
        if not isinstance(value, dict):
            return value
        on = [name for name, limit in value.items() if limit is True and name != "placeholder"]
        kept = {name: limit for name, limit in value.items() if name not in on}
        return {name: None if limit is False and name != "placeholder" else limit for name, limit in kept.items()}

    @model_validator(mode="after")
    def _possible(self) -> QualityOptions:
        for low, high in (("too_short", "too_long"), ("short_words", "long_words")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least:g}) is above {high} ({most:g}): no document could pass")
        return self


class NearOptions(BaseModel):
    """When two documents are nearly the same."""

    model_config = ConfigDict(extra="forbid")

    similarity: float = Field(default=0.8, ge=0.3, le=1, description="estimated Jaccard similarity of shingles from which one is left out")
    shingle: int = Field(default=5, ge=1, le=20, description="units in a shingle")
    permutations: int = Field(default=128, ge=16, le=512, description="hash functions of a signature")


class ContaminationOptions(BaseModel):
    """Test sets that must not stand in the corpus."""

    model_config = ConfigDict(extra="forbid")

    sets: list[TextSourceOptions] = Field(min_length=1, description="named test sets: a path, sample:NAME, or {name, files, text, part}")
    ngram: int = Field(default=13, ge=3, le=50, description="units that a document and a test text must share in a row")
    action: Literal["remove", "list"] = Field(default="remove", description="whether documents that overlap are left out or only listed")

    @model_validator(mode="before")
    @classmethod
    def _sets_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"sets": [value]}
        return {"sets": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _named_once(self) -> ContaminationOptions:
        names = [item.label for item in self.sets]
        if len(set(names)) != len(names):
            raise ValueError(f"two test sets have the same name: {', '.join(names)}; give each a name")
        return self


class FaultOptions(BaseModel):
    """How many faults in the files may be passed over instead of stopping: a line, document or file that cannot be read is one."""

    model_config = ConfigDict(extra="forbid")

    faults: int | None = Field(default=None, ge=0, description="at most this many faults, all files together")
    share: Share | None = Field(default=None, ge=0, lt=1, description="at most this many faults for each document read: `0.01`, or `1%`")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return value if isinstance(value, FaultOptions) else written_out(value, "faults", "faults")

    def allows(self, faults: int, documents: int) -> bool:
        """Whether so many faults beside so many documents may be passed over."""
        if self.faults is None and self.share is None:
            return faults == 0
        return (self.faults is None or faults <= self.faults) and (self.share is None or faults <= self.share * (documents + faults))


class CorpusOptions(BaseModel):
    """Raw text for pretraining: where it is, and how it is made ready."""

    model_config = ConfigDict(extra="forbid")

    sources: list[SourceOptions] = Field(
        min_length=1, description="where the texts are, in the order in which the first of two equals stays"
    )
    normalise: NormaliseOptions = Field(default_factory=NormaliseOptions, description="differences in writing that are removed")
    languages: list[Language] | None = Field(default=None, description="languages to keep, such as [zh, en]; all where not given")
    quality: QualityOptions = Field(default_factory=QualityOptions, description="limits that a document must keep; false for none")
    scrub: list[Pii] = Field(default_factory=list, description="personal data that is replaced by a placeholder, such as [email, phone]")
    deduplicate: Deduplicate = Field(default="exact", description="none, exact, or near (MinHash; equal documents as well)")
    near: NearOptions = Field(default_factory=NearOptions, description="when two documents are nearly the same")
    contamination: ContaminationOptions | None = Field(default=None, description="test sets that must not stand in the corpus")
    held_out: float = Field(default=0.02, gt=0, lt=1, description="share of the documents held out by content hash, at least one")
    tolerance: FaultOptions = Field(
        default_factory=lambda: FaultOptions(faults=0),
        description="faults in the files that may be passed over, counted and listed: a number (`20`), a share (`0.01` or `1%`), or "
        "`{faults: 20, share: 1%}`, which allows what both allow",
    )
    longest_document: int = Field(
        default=4_000_000, ge=1000, le=16_000_000, description="bytes of one document; a longer one is a fault, not a document"
    )
    workers: int | Literal["auto"] = Field(default="auto", description="processes; the result does not depend on it")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """A path alone, a list of sources, or one source's keys beside the others."""
        if isinstance(value, str | list):
            return {"sources": [value] if isinstance(value, str) else value}
        if not isinstance(value, dict):
            return value
        own = {name: value[name] for name in SourceOptions.model_fields if name in value}
        if not own:
            return {**value, "sources": [value["sources"]] if isinstance(value.get("sources"), str | dict) else value.get("sources", [])}
        if "sources" in value:
            raise ValueError(f"says {', '.join(own)} for one source and has a list of sources; put them into the list")
        if "files" not in own:
            raise ValueError(f"{', '.join(own)} without files: say where the texts are")
        return {**{name: item for name, item in value.items() if name not in own}, "sources": [own]}

    @field_validator("scrub", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return list(get_args(Pii)) if value else []
        return [value] if isinstance(value, str) else value

    @field_validator("languages", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("workers")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 256:
            raise ValueError(f"must be between 1 and 256, or auto, got {value}")
        return value

    @model_validator(mode="after")
    def _named_once(self) -> CorpusOptions:
        names = [source.label for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}; give each a name")
        return self


def _unreadable(reference: str) -> str:
    """Why a reference names nothing that can be read; "" where it may."""
    if not reference.strip():
        return "names no file"
    if is_sample(reference):
        known = [*RUNNING_TEXTS, *(name for name, sample in SAMPLES.items() if "text" in sample.columns)]
        name = reference.removeprefix("sample:")
        return "" if name in known else f"'{reference}' is no sample of text; there is: {', '.join('sample:' + one for one in known)}"
    if reference.startswith(HUB):
        right = re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", reference.removeprefix(HUB))
        return "" if right else f"'{reference}' is no data set of a hub; write hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
    if re.match(r"[a-z][a-z0-9+.-]+://", reference):
        return f"'{reference}': URLs are not read; fetch the files first, or name a data set as hub:OWNER/NAME"
    return ""
