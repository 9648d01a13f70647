"""A checkpoint that reads a new domain or language: more tokens, whose embeddings start from those of their pieces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trustbase import files
from trustbase.errors import ModelError
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.folder import CHECKPOINT, SETTINGS, check_model_folder, read_object
from trustbase.model.growth import Growth, grown, kind_of, learn_growth, letters, name_growth
from trustbase.model.load import describe_base
from trustbase.model.pretrained import SAFE_LOADING, Origin, config_of, refuse_damage, set_origin
from trustbase.model.quiet import quiet
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import BaseModel
from trustbase.seeds import stream_seed


@dataclass(frozen=True)
class Extension:
    """An extended checkpoint.

    Attributes:
        folder: the whole model with its tokenizer.
        digest: `sha256:…` over its files.
        tokens: the new tokens, in the order of their ids.
        from_pieces: how many embeddings start from the mean of their pieces'.
        drawn: how many have no known piece, and start near the mean of all embeddings.
        vocab_size: tokens of the new tokenizer.
    """

    folder: Path
    digest: str
    tokens: tuple[str, ...]
    from_pieces: int
    drawn: int
    vocab_size: int

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the folder's place on this machine; of the tokens, how many."""
        kept = {key: getattr(self, key) for key in ("digest", "from_pieces", "drawn", "vocab_size")}
        return {**kept, "new_tokens": len(self.tokens)}


def extend_vocabulary(
    base: BaseModel, documents: Iterable[str], new_tokens: int | Sequence[str], folder: Path, *, seed: int = 0
) -> Extension:
    """Add tokens to a checkpoint and save it whole: model, tokenizer, lineage.

    Args:
        base: from `resolve_base`.
        documents: texts of the domain or language, which `new_tokens` as a number are learned from.
        new_tokens: how many, or which.
        folder: replaced if it exists.
        seed: of the stream that draws embeddings of tokens with no known piece.

    Raises:
        UsageError: the texts support fewer, or named tokens that no text can hold.
        ModelError: a tokenizer or model of a kind that cannot grow.
    """
    old = load_tokenizer(base.folder)
    backend = old.backend_tokenizer
    growth = learn_growth(backend, documents, new_tokens) if isinstance(new_tokens, int) else name_growth(backend, new_tokens)
    tokenizer = _with_tokens(base.folder, grown(backend, growth), growth)
    model = load_whole(base.folder)
    pieces = _pieces_of(backend, growth, old.unk_token_id)
    _grow_model(model, tokenizer, growth, pieces, seed)
    drawn = sum(not known for known in pieces)
    set_origin(model, Origin("pretraining", describe_base(base), base=base))
    meta = {"extended": {"new_tokens": len(growth.tokens), "from_pieces": len(pieces) - drawn, "drawn": drawn, "seed": seed}}
    digest = save_checkpoint(model, tokenizer, folder, meta=meta)
    return Extension(folder, digest, tuple(growth.tokens), len(pieces) - drawn, drawn, len(tokenizer))


def load_whole(folder: Path) -> nn.Module:
    """A checkpoint as the transformers class that wrote it, heads and all, in fp32 and evaluation mode.

    Raises:
        ModelError: it is damaged, or names a class that transformers does not have.
    """
    import transformers

    from trustbase.model.rotary import RoFormerForPreTraining

    check_model_folder(folder)
    names = read_object(folder / "config.json").get("architectures") or []
    own = {"RoFormerForPreTraining": RoFormerForPreTraining}
    found = own.get(str(names[0])) or getattr(transformers, str(names[0]), None) if names else transformers.AutoModel
    written = isinstance(found, type) and (issubclass(found, transformers.PreTrainedModel) or found is transformers.AutoModel)
    if not written:
        raise ModelError(f"config.json in '{folder.name}' names an architecture that transformers lacks: {names}", hint="name another base")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            model, info = found.from_pretrained(folder, **SAFE_LOADING)  # type: ignore[union-attr]
    except Exception as error:  # the library raises errors of many kinds here; the cause is kept
        raise ModelError(f"The model in '{folder.name}' cannot be loaded: {type(error).__name__}: {error}", hint="name another") from error
    lost = sorted(name for name in info["missing_keys"] if ".pooler." not in f".{name}")
    if lost:
        raise ModelError(f"The model in '{folder.name}' is not whole: missing {', '.join(lost[:5])}", hint="fetch the folder again")
    refuse_damage(folder, model)
    whole: nn.Module = model.eval()
    return whole


def _with_tokens(base: Path, backend: Any, growth: Growth) -> Any:
    """The base's tokenizer over the grown vocabulary, made by loading it as anybody will.

    Raises:
        ModelError: its class builds the vocabulary from something else than `tokenizer.json`.
    """
    with tempfile.TemporaryDirectory() as name:
        staging = Path(name)
        present = [file for file in SETTINGS if (base / file).is_file() and file not in ("config.json", "tokenizer.json", CHECKPOINT)]
        files.copy_files(base, staging, present)
        backend.save(str(staging / "tokenizer.json"))
        tokenizer = load_tokenizer(staging)
    wanted = {token: backend.token_to_id(token) for token in growth.tokens}
    lost = [token for token, number in wanted.items() if tokenizer.convert_tokens_to_ids(token) != number]
    if lost or tokenizer.backend_tokenizer.get_vocab_size() != backend.get_vocab_size():
        what = f"{type(tokenizer).__name__} does not take its vocabulary from tokenizer.json"
        raise ModelError(f"The tokenizer cannot be extended: {what}", hint="extend a model with a plain fast tokenizer")
    return tokenizer


def _pieces_of(backend: Any, growth: Growth, unknown: int | None) -> list[list[int]]:
    """For each new token the ids that the old vocabulary makes of it; of its letters, where it could not read the whole."""
    kind = kind_of(backend)
    found = []
    for token in growth.tokens:
        ids = (
            _inner_ids(backend, token)
            if kind == "WordPiece" and _is_inner(token)
            else [piece.id for piece in backend.model.tokenize(token)]
        )
        if unknown in ids:
            ids = _known_letters(backend, token, kind)
        found.append([number for number in ids if number != unknown])
    return found


def _is_inner(token: str) -> bool:
    return token.startswith("##") and len(token) > 2


def _inner_ids(backend: Any, token: str) -> list[int]:
    """Ids of an inner piece such as `##ology`: what the old vocabulary makes of it after some letter; by letters otherwise.

    The letter is only there to make the rest stand inside a word, and is left out again.
    """
    for carrier in "xqzabcdefghijklmnoprstuvwy0":
        if backend.token_to_id(carrier) is not None:
            split = backend.model.tokenize(carrier + token[2:])
            if split and split[0].value == carrier:
                return [piece.id for piece in split[1:]]
    return _known_letters(backend, token, "WordPiece")


def _known_letters(backend: Any, token: str, kind: str) -> list[int]:
    pieces = letters(token, kind) if not (kind == "WordPiece" and _is_inner(token)) else [f"##{letter}" for letter in token[2:]]
    return [number for piece in pieces if (number := backend.token_to_id(piece)) is not None]


def _grow_model(model: Any, tokenizer: Any, growth: Growth, pieces: list[list[int]], seed: int) -> None:
    """Resize embeddings (and a head of its own, with its bias), and fill the rows of the new tokens."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in growth.tokens]
    known = min(ids)  # rows behind it are padding of the old table, never trained
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    before = [table.detach()[:known].clone() for table in tables]
    if head is not None and head.weight is not tables[0]:
        before.append(head.weight.detach()[:known].clone())
    with quiet(), torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(max(rows, max(ids) + 1), mean_resizing=False)
    config_of(model).vocab_size = model.get_input_embeddings().weight.shape[0]
    after = [model.get_input_embeddings().weight, *([model.get_output_embeddings().weight] if len(before) > 1 else [])]
    with torch.no_grad():
        for number, (table, old) in enumerate(zip(after, before, strict=True)):
            table[ids] = _rows(old, pieces, torch.Generator().manual_seed(stream_seed(seed, "vocabulary", number)))
        bias = getattr(model.get_output_embeddings(), "bias", None)
        if bias is not None:
            start = bias[:known].mean()
            bias[ids] = torch.stack([bias[known_ids].mean() if known_ids else start for known_ids in pieces])


def _rows(old: Tensor, pieces: list[list[int]], stream: torch.Generator) -> Tensor:
    """Rows for new tokens, `(tokens, width)`.

    The mean of the pieces' rows; without a known piece, a draw around the mean of all rows with a tenth of their spread, so
    that no two tokens start alike and none stands out.

    Source: Hewitt (2021), Initializing new word embeddings for pretrained language models: a start near the mean keeps the
    model's other answers.
    """
    mean, spread = old.mean(dim=0), old.std(dim=0)
    rows = [old[known].mean(dim=0) if known else mean + 0.1 * spread * torch.randn(len(mean), generator=stream) for known in pieces]
    return torch.stack(rows)
