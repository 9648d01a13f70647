"""How each kind of vocabulary is learned with the `tokenizers` library, the same in every process.

That library hashes words in an order of its own each time it is started. What depends on it is fixed here: WordPiece's
inner pieces get their numbers before the first merge, and Unigram's scores are settled, rounded and sorted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trustbase.model.options import Family, TokenizerKind
from trustbase.model.shape import SENTINELS

RARE = 2  # a character or pair that occurs once teaches nothing and is left out
PIECES: tuple[TokenizerKind, ...] = ("wordpiece", "characters")
_STEP = 1e-4  # what the Unigram trainer adds to the score of each further character that it keeps for coverage alone
_DECIMALS = 4  # of Unigram's scores: far above what the order of sums changes, far below what decides a split


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of a family: at the start of the vocabulary, at its end, and by their role in transformers."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    roles: dict[str, str]
    before: str | None = None
    after: str | None = None

    @classmethod
    def of(cls, family: Family, *, byte_level: bool) -> SpecialTokens:
        """BERT's for an encoder, GPT-2's for a decoder, T5's (with BART's mask) for an encoder-decoder."""
        if family == "encoder":
            roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
            return cls(tuple(roles.values()), (), roles, before="[CLS]", after="[SEP]")
        if family == "decoder":
            end = "<|endoftext|>"
            roles = {"bos_token": end, "eos_token": end, "pad_token": end}
            return cls((end,), (), roles) if byte_level else cls((end, "<unk>"), (), {**roles, "unk_token": "<unk>"})
        roles = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
        # the highest number is sentinel 0, as in T5
        return cls(tuple(roles.values()), tuple(f"<extra_id_{number}>" for number in reversed(range(SENTINELS))), roles, after="</s>")

    @property
    def unknown(self) -> str | None:
        """What stands for a character that the vocabulary lacks."""
        return self.roles.get("unk_token")


@dataclass(frozen=True)
class Wanted:
    """The vocabulary that is to be learned; `inner` are the characters that need a second form inside words (`##a`)."""

    kind: TokenizerKind
    lower_case: bool
    special: SpecialTokens
    size: int
    inner: frozenset[str] = frozenset()


def normalizer(kind: TokenizerKind, lower_case: bool) -> Any:
    """WordPiece kinds, which only read, fold width and compatibility forms (Ａ → A, ， → ,); the others can write them back."""
    from tokenizers import normalizers

    if kind in PIECES:
        bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower_case)
        return normalizers.Sequence([normalizers.NFKC(), bert])
    return normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lower_case else [])])


def learn(texts: Iterable[str], wanted: Wanted) -> Any:
    """A `tokenizers.Tokenizer` without its special handling: vocabulary, normaliser, word boundaries, decoder.

    Args:
        texts: normalised, with nothing in them that shall get no token; read once.
        wanted: what to learn. The result may be smaller, or larger where the characters alone take more.
    """
    if wanted.kind in PIECES:
        return _learn_pieces(texts, wanted)
    return _learn_unigram(texts, wanted) if wanted.kind == "unigram" else _learn_merges(texts, wanted)


def inner_letters(texts: Iterable[str], wanted: Wanted) -> frozenset[str]:
    """Characters that stand inside words: asked of the trainer, by a vocabulary with no merges."""
    return frozenset(piece[2:] for piece in _pieces(texts, wanted, 0, []) if piece.startswith("##") and len(piece) > 2)


def _dress(tokenizer: Any, wanted: Wanted) -> Any:
    """Normaliser, word boundaries and decoder of a kind."""
    from tokenizers import Regex, decoders, pre_tokenizers

    tokenizer.normalizer = normalizer(wanted.kind, wanted.lower_case)
    if wanted.kind in PIECES:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if wanted.kind == "characters" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), *digits])
        tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    elif wanted.kind == "byte_bpe":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        lines = pre_tokenizers.Split(Regex(r"\n"), "isolated")
        parts = [pre_tokenizers.Metaspace(), lines, pre_tokenizers.Punctuation(), pre_tokenizers.Digits()]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _pieces(texts: Iterable[str], wanted: Wanted, size: int, first: list[str]) -> list[str]:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = _dress(Tokenizer(models.WordPiece(unk_token="[UNK]")), wanted)
    trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=RARE, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _in_order(tokenizer.get_vocab(with_added_tokens=False))


def _learn_pieces(texts: Iterable[str], wanted: Wanted) -> Any:
    """WordPiece by BPE merges, as BERT's vocabularies are made; inner forms enter first, in sorted order."""
    from tokenizers import Tokenizer, models

    first = [*wanted.special.first, *(f"##{letter}" for letter in sorted(wanted.inner))]
    pieces = [*_pieces(texts, wanted, wanted.size - len(wanted.special.last), first), *wanted.special.last]
    index = {piece: number for number, piece in enumerate(pieces)}
    return _dress(Tokenizer(models.WordPiece(index, unk_token=wanted.special.unknown, max_input_chars_per_word=100)), wanted)


def _learn_merges(texts: Iterable[str], wanted: Wanted) -> Any:
    """Byte-pair encoding, over characters or over bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    special = wanted.special
    tokenizer = _dress(Tokenizer(models.BPE(unk_token=special.unknown)), wanted)
    trainer = trainers.BpeTrainer(
        vocab_size=wanted.size - len(special.last),
        min_frequency=RARE,
        special_tokens=list(special.first),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if wanted.kind == "byte_bpe" else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    pieces = [*_in_order(state["vocab"]), *special.last]
    model = models.BPE({piece: number for number, piece in enumerate(pieces)}, merges_of(state), unk_token=special.unknown)
    return _dress(Tokenizer(model), wanted)


def merges_of(state: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges of a BPE model's JSON, whose older form joins the two with a space."""
    return [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in state["merges"]]  # type: ignore[misc]


def _learn_unigram(texts: Iterable[str], wanted: Wanted) -> Any:
    """A unigram language model over pieces.

    Source: Kudo (2018), Subword regularization, section 3.2.
    """
    from tokenizers import Tokenizer, models, trainers

    special = wanted.special
    tokenizer = _dress(Tokenizer(models.Unigram()), wanted)
    room = wanted.size - len(special.first) - len(special.last)
    trainer = trainers.UnigramTrainer(vocab_size=room + 1, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    found = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"] if piece != "<unk>"]
    ranked = sorted(_settled(found), key=lambda entry: (len(entry[0]) > 1, -entry[1], entry[0]))
    # where the characters alone fill the room, the trainer forgets to stop; they stay, the likeliest others up to the room
    learned = sorted(ranked[:room], key=lambda entry: (-entry[1], entry[0]))
    first, last = [(name, 0.0) for name in special.first], [(name, 0.0) for name in special.last]
    unknown = special.first.index(special.unknown or "")
    return _dress(Tokenizer(models.Unigram([*first, *learned, *last], unk_id=unknown, byte_fallback=False)), wanted)


def _settled(found: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Scores that do not depend on the order in which the trainer met the words.

    Characters that its pruning would have lost get the lowest score plus 0, 1, 2 … steps, in an order that changes with
    each process: here they all get the lowest score. The others differ by the rounding of sums, which rounding takes away.
    """
    lowest = min((score for _, score in found), default=0.0)
    settled = []
    for piece, score in found:
        steps = (score - lowest) / _STEP
        saved = len(piece) == 1 and steps < len(found) and abs(steps - round(steps)) < 1e-4
        settled.append((piece, round(lowest if saved else score, _DECIMALS)))
    return settled


def _in_order(vocabulary: dict[str, int]) -> list[str]:
    return [piece for piece, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
