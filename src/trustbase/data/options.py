"""What a recipe may say about its data."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from trustbase.data.hub_name import is_hub
from trustbase.data.marked import HEAD, TAIL, columns_of
from trustbase.data.pair import SEPARATOR, join
from trustbase.data.reference import SUFFIXES, Format, is_database, refuse_query, refuse_source, says_format
from trustbase.data.samples import SAMPLES, is_sample
from trustbase.data.split_options import RowSampleOptions, SplitOptions, ToleranceOptions

_MISSING_SPLIT = {"test": 0.2, "validation": 0.1, "by": "content-hash"}


class FeatureOptions(BaseModel):
    """Table columns that the model reads beside the text, as numbers and as names."""

    model_config = ConfigDict(extra="forbid")

    numeric: list[str] = Field(default_factory=list, description="columns of numbers; an empty cell is a state of its own")
    categorical: list[str] = Field(
        default_factory=list, description="columns of names; an empty cell, and a name that training hardly showed, are states of their own"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, numbers first: the order in which their cells are asked."""
        return (*self.numeric, *self.categorical)


class DataOptions(BaseModel):
    """Where the rows are, and which columns mean what."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)  # what is refused may hold a password

    train: str = Field(
        description="csv, tsv, jsonl, conll (also .gz, .bz2, .xz, .zst, .zip) or parquet file, a folder or glob of them; a database as "
        "sqlite:///file.db or another SQLAlchemy URL, with query; hub:OWNER/NAME/CONFIG:SPLIT (or modelscope:); sample:census-income, "
        "sample:reviews-zh or sample:people-daily-ner"
    )
    query: str | None = Field(default=None, description="the SELECT that gives the rows, where train is a database; end it with ORDER BY")
    validation: str | None = Field(default=None, description="file of rows for choosing; cut from train where not given")
    test: str | None = Field(default=None, description="file of rows for testing; cut from train where not given")
    calibration: str | None = Field(
        default=None, description="file of rows for the audit's thresholds; cut from train where not given (split.calibration)"
    )
    out_of_time: str | None = Field(
        default=None,
        description="file of later rows, audited for quality and fairness beside the test rows: those findings end in @out-of-time",
    )
    text: str = Field(description='a column, or a template over columns: "{age} years old, {education}"')
    text_pair: str | None = Field(
        default=None,
        description="tasks text-pair-classification and, if wanted, regression: the second text (column or template), read beside text",
    )
    head: str | None = Field(
        default=None,
        description="task relation-extraction: column of the first entity, characters of the text: `[start, end]`, "
        '`{"start", "end", "type"}` or start:end, end exclusive',
    )
    tail: str | None = Field(default=None, description="task relation-extraction: column of the second entity, as head")
    question: str | None = Field(
        default=None, description="task question-answering: column or template of the question; text is searched for its answer"
    )
    choices: list[str] = Field(
        default_factory=list,
        description="task multiple-choice: two or more columns (or templates) of choices, in the order that is read; label names the right "
        "one by its column, its letter (A is the first) or its number (0 is the first)",
    )
    stride: int | None = Field(
        default=None,
        ge=0,
        description="texts longer than train.max_length are read in windows that overlap by so many tokens, and their scores averaged (of "
        "entities each word is answered by one window, of questions the best answer counts); absent: they are cut off",
    )
    features: FeatureOptions = Field(
        default_factory=FeatureOptions, description="table columns read beside the text, at the head: {numeric: [...], categorical: [...]}"
    )
    label: str = Field(
        description="column of the true label: its name; a number (regression); or several names, with semicolons between them or as a "
        "JSON list, `[]` for none (multi-label-classification)"
    )
    groups: list[str] = Field(default_factory=list, description="columns to audit by; shown to the model only if the template names them")
    positive: str | None = Field(
        default=None, description="label that threshold and AUROC speak about (default: last by name, said to be assumed)"
    )
    favourable: str | None = Field(
        default=None, description="outcome that counts as selected in fairness (default: positive, said to be assumed)"
    )
    no_relation: str | None = Field(
        default=None, description="label that says that nothing holds; quality.relation_f1 is the F1 over all others together"
    )
    split: SplitOptions = Field(default_factory=SplitOptions, description="which rows are for training, choosing and testing")
    deduplicate: bool = Field(
        default=False, description="keep one row of each text within a split; of contradicting labels the most frequent"
    )
    tolerance: ToleranceOptions = Field(
        default_factory=lambda: ToleranceOptions(rows=0),
        description="bad rows that may be left out, counted and listed: a number of rows (`20`), a share (`0.01` or `1%`), or "
        "`{rows: 20, share: 1%}`, which allows what both allow",
    )
    sample: RowSampleOptions = Field(default_factory=RowSampleOptions, description="a seeded part of the rows of a split: {train: 8000}")
    missing: str = Field(default="unknown", description="what the template writes for an empty cell")
    allow_unknown_tokens: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="largest share of the training texts' tokens that the base's tokenizer may not know; more is refused before training",
    )
    licence: str | None = Field(default=None, description="licence of the data, for the data card")
    memory: Literal["auto", "whole", "stream"] = Field(
        default="auto",
        description="how rows are read: whole, stream (Parquet alone; texts stay on disk, the splits are the same), or by the files' size",
    )
    format: Format | None = Field(default=None, description="what the files are, where their names do not say it")
    quoted: bool = Field(default=True, description='whether csv/tsv cells may be quoted; false where " is an ordinary character')
    id: str | None = Field(default=None, description="column whose values must be unique within a file (or folder)")

    @model_validator(mode="before")
    @classmethod
    def _with_own_split(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**value, "split": _own_split(value)} if value.get("split") is None else value

    @field_validator("positive", "favourable", "no_relation", mode="before")
    @classmethod
    def _label_as_text(cls, value: Any) -> Any:
        if isinstance(value, bool):  # YAML reads `true` as a boolean; the files hold it as text
            return str(value).lower()
        return str(value) if isinstance(value, int) else value

    @field_validator("train", "validation", "test", "calibration", "out_of_time")
    @classmethod
    def _readable(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            refuse_source(value, database=info.field_name == "train")
        return value

    @field_validator("query")
    @classmethod
    def _reads(cls, value: str | None) -> str | None:
        if value is not None:
            refuse_query(value)
        return value

    @field_validator("missing")
    @classmethod
    def _writable(cls, value: str) -> str:
        if set(value) & set("{}|"):
            raise ValueError(f"'{value}' must not hold any of {{ }} |, which have a meaning in templates")
        return value

    @field_validator("text", "text_pair", "question", "head", "tail")
    @classmethod
    def _one_text(cls, value: str | None) -> str | None:
        if value is not None and any(sign in value for sign in (HEAD, TAIL)):
            raise ValueError("holds U+000E or U+000F, which stand around entities; name them as head and tail")
        if value is not None and SEPARATOR in value:
            raise ValueError("holds U+001F, which stands between the texts of a pair; name the second one as text_pair")
        return value

    @field_validator("choices")
    @classmethod
    def _several(cls, value: list[str]) -> list[str]:
        if any(SEPARATOR in choice for choice in value):
            raise ValueError("a choice holds U+001F, which stands between choices")
        if len(value) == 1 or len(set(value)) < len(value):
            raise ValueError(f"must name two or more columns, each once, got {', '.join(value)}")
        return value

    @property
    def read_together(self) -> dict[str, str]:
        """The texts that the model reads, in its order, by the key that names each."""
        if self.question is not None:
            return {"data.question": self.question, "data.text": self.text}
        texts = {"data.text": self.text} | ({} if self.text_pair is None else {"data.text_pair": self.text_pair})
        return texts | {f"data.choices.{number}": choice for number, choice in enumerate(self.choices)}

    @property
    def reading(self) -> str:
        """What the model reads, as `TextTemplate.parse` takes it: the text, texts read together, or the text and the entities in it."""
        if self.head is not None and self.tail is not None:
            return columns_of(self.text, self.head, self.tail)
        return join(*self.read_together.values())

    @model_validator(mode="after")
    def _consistent(self) -> DataOptions:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _own_split(value: dict[str, Any]) -> dict[str, Any]:
    """The split where the recipe names none: the sample's own, else by content hash."""
    sample = SAMPLES.get(str(value.get("train", "")).removeprefix("sample:"))
    alone = not value.get("test") and not value.get("validation")
    if sample is not None and sample.split_column and is_sample(str(value["train"])) and alone:
        return {"column": sample.split_column}
    return dict(_MISSING_SPLIT)


def _contradictions(options: DataOptions) -> list[str]:
    """What cannot be meant, or cannot go together."""
    checks = (_impossible_entities, _impossible_texts, _impossible_features, _impossible_groups, _impossible_division, _unknown_forms)
    return [problem for check in checks for problem in check(options)]


def _impossible_entities(options: DataOptions) -> list[str]:
    """Entities whose other one is not named, or that are no spans of a column."""
    named = [name for name in ("head", "tail") if getattr(options, name) is not None]
    if not named:
        return []
    if len(named) == 1:
        return [f"{named[0]} is one of two entities: name the column of the other as {'tail' if named[0] == 'head' else 'head'}"]
    found = []
    if "{" in options.text or "}" in options.text:
        found.append("head and tail count characters of one column, and text is a template; name the column")
    if options.text_pair is not None:
        found.append("head and tail are entities of one text, and text_pair names a second one; keep one of both")
    if len({options.text, options.head, options.tail, options.label}) < 4:
        found.append("text, head, tail and label must be four columns")
    return found


def _impossible_texts(options: DataOptions) -> list[str]:
    """Texts that show the answer, stand twice, or are read in two ways."""
    found = []
    for where, text in options.read_together.items():
        name = where.removeprefix("data.")
        if text == options.label:
            found.append(f"{name} and label are the same column '{options.label}': the model would be shown the answer")
        if "{" + options.label + "}" in text:
            found.append(f"the {name} template shows the label '{options.label}' to the model; take it out")
    if options.text_pair == options.text:
        found.append(f"text and text_pair are both '{options.text}': a pair is of two texts")
    if options.choices and options.text_pair is not None:
        found.append("choices and text_pair are both named: a question has choices, or stands in a pair")
    if options.choices and options.stride is not None:
        found.append("stride makes windows of long texts, and a question is read whole with each of its choices; take one out")
    if options.question is not None and (options.choices or options.text_pair is not None):
        found.append("question is asked of text alone, and choices or text_pair stand beside it; take them out")
    if options.question == options.text:
        found.append(f"question and text are both '{options.text}'")
    if options.text in options.choices:
        found.append(f"'{options.text}' is the question and a choice")
    return found


def _impossible_features(options: DataOptions) -> list[str]:
    """Features that are the label, named twice, or the text itself."""
    columns, found = options.features.columns, []
    if options.label in columns:
        found.append(f"features names the label '{options.label}': the model would be shown the answer")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        found.append(f"features names {', '.join(twice)} more than once; a column is numeric or categorical")
    whole = [name for name in columns if name in (options.text, options.text_pair, options.head, options.tail)]
    if whole:
        found.append(f"features names {', '.join(whole)}, which is the text itself, and nearly every row would be a category of its own")
    return found


def _impossible_groups(options: DataOptions) -> list[str]:
    """A label that is a group, and columns that are named twice."""
    found = []
    if options.label in options.groups:
        found.append(f"the label '{options.label}' cannot be a group column")
    repeated = sorted({name for name in options.groups if options.groups.count(name) > 1})
    if repeated:
        found.append(f"groups names {', '.join(repeated)} more than once")
    return found


def _impossible_division(options: DataOptions) -> list[str]:
    """Columns that divide rows and mean something else too, or beside which files are named."""
    found = []
    key, word = options.split.key, "entity" if options.split.by_entity else "time"
    if key is not None and key in (options.label, *options.read_together.values(), options.split.column):
        what = {options.split.column: "split", options.label: "label"}.get(key, "text")
        found.append(f"split.by.{word} '{key}' is also the {what} column; by: content-hash keeps equal texts together")
    if options.split.column is not None:
        if options.split.column in (options.label, *options.read_together.values()):
            found.append(f"split.column '{options.split.column}' is also the text or label column")
        given = [name for name in ("validation", "test", "calibration") if getattr(options, name) is not None]
        if given:
            found.append(f"split.column says which rows are for testing, and {' and '.join(given)} names a file as well; keep one")
    return found


def _unknown_forms(options: DataOptions) -> list[str]:
    """Files whose names do not say what they are."""
    found = []
    for name in ("train", "validation", "test", "calibration", "out_of_time"):
        path = getattr(options, name)
        if path is not None and not (is_sample(path) or is_database(path) or is_hub(path) or options.format or says_format(path)):
            known = ", ".join(get_args(Format))
            found.append(f"{name} '{path}' does not end in {', '.join(SUFFIXES)}; rename it, or say what it is with data.format: {known}")
    return found
