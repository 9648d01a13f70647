"""Base models behind the Predictor's face: how likely a text is, and where the body puts it, by the plain models of transformers.

How likely a text is means another thing for each family, and `way` says which one it was:

- `causal`: the chain rule from left to right, `log p(t1 | start) + log p(t2 | start, t1) + …`. Where the tokenizer has no start token
  the first token has nothing to be predicted from and is not scored. The end token is not scored.
- `masked`: the pseudo-log-likelihood, `log p(ti | all others)` summed over the tokens, each masked alone (Salazar et al. 2020, Masked
  language model scoring, ACL, section 2.2). It is no probability of the text, only comparable with itself.
- `sentinel`: the same for an encoder-decoder that learned span corruption: the encoder reads the text with one token replaced by the
  first sentinel, and the decoder, after that sentinel, is asked for the token.
- `infilling`: for one that learned to write whole texts of which spans were masked: the encoder reads the text with one token masked,
  and the decoder, after the tokens before it, is asked for it.

Special and unknown tokens are never scored: there is no telling what an unknown one was. A text is read as far as the model's length
goes, and only what is read is scored: the number of tokens beside the sum says how much that was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trustbase import files
from trustbase.data.batch import plan_batches
from trustbase.errors import ModelError
from trustbase.model.artifact import ARTIFACT_FILE
from trustbase.model.encoded import Encoded, pad
from trustbase.model.extension import load_whole
from trustbase.model.folder import check_model_folder, read_object
from trustbase.model.pretrained import refuse_impossible
from trustbase.model.runtime_torch import place_of
from trustbase.model.shape import WORD_OBJECTIVES
from trustbase.model.tokenizer import encode

Way = Literal["causal", "masked", "sentinel", "infilling"]
Rows = list[NDArray[np.int64]]

_TOKENS = 8192  # of a forward pass; a text of n tokens is read n times where each token is masked alone
_SCORES = 1 << 25  # scores of words held at once, 128 MiB in fp32


class LanguageRuntime:
    """Runs a pretrained transformers model, whatever its family.

    Args:
        model: of one of the classes that pretraining leaves, in fp32; it is moved and switched to eval mode.
        tokenizer: a fast tokenizer.
        max_length: tokens after which a text is cut.
        objectives: what the model learned from; None where that is not known, and then its class decides.
        precision: `fp32` or `bf16` (by autocast; scores of words are compared in fp32).
        device: where it runs.
        reason: why this precision, in words.
    """

    name = "language"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        objectives: Sequence[str] | None = None,
        precision: str = "fp32",
        device: str = "cpu",
        reason: str = "",
    ) -> None:
        self.precision = precision
        self.precision_reason = reason
        self.way = way_of(model, tokenizer, objectives)
        self.path = f"transformers ({self.way or 'no likelihood'})"
        self.outputs: tuple[str, ...] = ("embedding",) if self.way is None else ("log_likelihood", "embedding")
        self._tokenizer = tokenizer
        self._device = torch.device(device)
        self._model: Any = model.to(self._device).eval().requires_grad_(False)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._start = _start(tokenizer) if self.way == "causal" else []
        self._max_length = max_length - len(self._start)
        self._scored = np.ones(max(len(tokenizer), _vocabulary(model)), bool)
        self._scored[[number for number in tokenizer.all_special_ids if number < len(self._scored)]] = False

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        tokenizer: Any,
        max_length: int,
        precision: str = "fp32",
        device: str | None = None,
        threads: int | None = None,
    ) -> LanguageRuntime:
        """Load the weights of a base model; `threads` is torch's own, set in the thread that asks.

        Raises:
            ModelError: weights or configuration cannot be read, or are of a class that no pretraining leaves.
            UsageError: the precision does not exist on this device, or the device does not exist here.
        """
        where, chosen, reason = place_of(precision, device)
        objectives = _objectives(folder)
        return cls(
            load_base(folder), tokenizer, max_length=max_length, objectives=objectives, precision=chosen, device=where, reason=reason
        )

    def prepare(self, inputs: Sequence[Any]) -> Encoded:
        return encode(self._tokenizer, inputs, max_length=self._max_length)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        """Of one reading; where each token is masked alone, a text is read once for each of its tokens."""
        return int(lengths.max()) * len(lengths)

    def forward(self, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`embedding`: `(rows, width)`; `log_likelihood`: `(rows, 2)`, sum of log-probabilities in nats and number of scored tokens."""
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if output == "embedding":
                return self._embedding(encodings, rows)
            texts = [encodings.ids[encodings.offsets[row] : encodings.offsets[row + 1]].astype(np.int64) for row in rows]
            found = self._from_left(texts) if self.way == "causal" else self._each_alone(texts)
            return found.astype(np.float32)

    def _embedding(self, encodings: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean of the last hidden states over the real tokens; the encoder's where there is a decoder."""
        batch = {name: torch.from_numpy(array).to(self._device) for name, array in pad(encodings, rows, self._pad_id).items()}
        body = self._model.get_encoder() if self._model.config.is_encoder_decoder else self._model.base_model
        hidden = body(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return np.asarray(mean.cpu().numpy(), dtype=np.float32)

    def _from_left(self, texts: Rows) -> NDArray[np.float64]:
        """Chain rule: one reading of each text, `(texts, 2)`."""
        texts = [np.concatenate([np.array(self._start, np.int64), text]) for text in texts]
        found = np.zeros((len(texts), 2))
        width = max(1, _SCORES // len(self._scored))  # predicted tokens at once
        for chosen in plan_batches([len(text) for text in texts], batch_tokens=min(_TOKENS, width)):
            length = max(len(texts[row]) for row in chosen)
            ids = np.full((len(chosen), length), self._pad_id)
            real = np.zeros(ids.shape, bool)
            for place, row in enumerate(chosen):
                ids[place, : len(texts[row])], real[place, : len(texts[row])] = texts[row], True
            scored = real & self._scored[ids]
            scored[:, 0] = False  # nothing stands before it
            owner, column = np.nonzero(scored)
            if not len(owner):
                continue
            inputs = {"input_ids": self._tensor(ids), "attention_mask": self._tensor(real.astype(np.int64))}
            with picked(self._model, self._tensor(owner * length + column - 1)):
                scores = self._model(**inputs, use_cache=False).logits.flatten(0, -2)
            found[chosen] = _summed(scores, self._tensor(ids[owner, column]), owner, len(chosen))
        return found

    def _each_alone(self, texts: Rows) -> NDArray[np.float64]:
        """Pseudo-log-likelihood: every scored token hidden alone, in copies of its text, `(texts, 2)`.

        Only copies of equal length are read together, so that no text is padded for another.
        """
        found = np.zeros((len(texts), 2))
        lengths = np.array([len(text) for text in texts])
        for length in np.unique(lengths):
            own = np.flatnonzero(lengths == length)
            block = np.stack([texts[row] for row in own])
            owner, column = np.nonzero(self._scored[block])
            most = max(1, min(_TOKENS // int(length), _SCORES // len(self._scored)))
            for start in range(0, len(owner), most):
                part = slice(start, start + most)
                scores = self._hidden_alone(block[owner[part]], column[part])
                wanted = self._tensor(block[owner[part], column[part]])
                found[own] += _summed(scores, wanted, owner[part], len(own))
        return found

    def _hidden_alone(self, ids: NDArray[np.int64], column: NDArray[np.int64]) -> Tensor:
        """Scores of words, `(copies, vocabulary)`, at the one place of each copy that is hidden from the model."""
        copies, length = ids.shape
        rows = np.arange(copies)
        shown, sentinel = ids.copy(), _sentinel(self._tokenizer)
        hidden: Any = sentinel if self.way == "sentinel" else self._tokenizer.mask_token_id
        shown[rows, column] = hidden
        inputs = {"input_ids": self._tensor(shown), "attention_mask": self._tensor(np.ones_like(shown))}
        places = rows * length + column
        if self.way != "masked":
            first = np.full((copies, 1), self._model.config.decoder_start_token_id)
            if self.way == "sentinel":
                asked, places = np.hstack([first, np.full((copies, 1), sentinel)]), rows * 2 + 1
            else:
                asked = np.hstack([first, ids[:, :-1]])
            inputs |= {"decoder_input_ids": self._tensor(asked)}
        with picked(self._model, self._tensor(places)):
            result = self._model(**inputs, **({} if self.way == "masked" else {"use_cache": False}))
        scores = getattr(result, "prediction_logits", None)  # of a model that also judges pairs of sentences
        found: Tensor = (result.logits if scores is None else scores).flatten(0, -2)
        return found

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(self._device)


def load_base(folder: Path) -> nn.Module:
    """The plain transformers model of a base model's folder with its heads, in fp32: no pickle, remote code or random part.

    Raises:
        ModelError: it cannot be read, is not whole, or is of a class that no pretraining leaves.
    """
    check_model_folder(folder)
    names = read_object(folder / "config.json").get("architectures") or []
    if len(names) != 1 or str(names[0]) not in _known_classes():
        raise ModelError(
            f"config.json in '{folder.name}' names {', '.join(map(str, names)) or 'no architecture'}, which is no class of a base model",
            hint="name a model as pretraining leaves it, such as a BertForMaskedLM, a GPT2LMHeadModel or a T5ForConditionalGeneration",
        )
    refuse_impossible(folder)
    return load_whole(folder)


def way_of(model: Any, tokenizer: Any, objectives: Sequence[str] | None) -> Way | None:
    """How this model says how likely a text is; None where it does not.

    Args:
        model: a transformers model.
        tokenizer: its tokenizer, which must have the token that hides another.
        objectives: what it learned from, where that is known: a head that nothing taught says nothing.
    """
    taught = WORD_OBJECTIVES if objectives is None else WORD_OBJECTIVES & set(objectives)
    if model.get_output_embeddings() is None or not taught:
        return None
    if model.config.is_encoder_decoder:
        if "span_corruption" in taught and _sentinel(tokenizer) is not None:
            return "sentinel"
        return "infilling" if "infilling" in taught and tokenizer.mask_token_id is not None else None
    if type(model).__name__ in _causal_classes():
        return "causal"
    return "masked" if tokenizer.mask_token_id is not None else None


@contextmanager
def picked(model: Any, places: Tensor) -> Iterator[None]:
    """While the context lasts, the head that predicts words sees some places of the flat batch only, `(places,)`."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, given: (given[0].flatten(0, -2).index_select(0, places), *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def _summed(scores: Tensor, wanted: Tensor, owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Log-probabilities of the wanted words, `(words,)`, summed by owner and counted, `(count, 2)`."""
    scores = scores.float()
    values = scores.gather(1, wanted[:, None])[:, 0] - torch.logsumexp(scores, dim=1)
    sums = np.bincount(owner, values.double().cpu().numpy(), count)
    return np.stack([sums, np.bincount(owner, minlength=count)], axis=1)


def _objectives(folder: Path) -> Sequence[str] | None:
    """What an artefact says that it learned from; None where it says nothing."""
    path = folder / ARTIFACT_FILE
    facts: Mapping[str, Any] = files.read_json(path).get("facts", {}) if path.is_file() else {}
    named = facts.get("objectives")
    return list(named) if named else None


def _start(tokenizer: Any) -> list[int]:
    """The start token, where there is one that the tokenizer does not put before a text by itself."""
    if tokenizer.bos_token_id is None:
        return []
    before = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True).ids[:1]
    return [] if before == [tokenizer.bos_token_id] else [int(tokenizer.bos_token_id)]


def _sentinel(tokenizer: Any) -> int | None:
    """The first sentinel of a tokenizer, where it has any."""
    number = tokenizer.get_vocab().get("<extra_id_0>")
    return None if number is None else int(number)


def _vocabulary(model: Any) -> int:
    """Rows of the table of words, which may be more than the tokenizer has tokens."""
    return int(model.get_input_embeddings().num_embeddings)


def _causal_classes() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    return _names(CAUSAL)


def _known_classes() -> set[str]:
    """Classes that pretraining leaves: with a head for words, with one of its own (BERT, ELECTRA), or a body alone."""
    from transformers.models.auto import modeling_auto as auto

    tables = (
        auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES,
        auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    )
    return {"RoFormerForPreTraining"}.union(*map(_names, tables))


def _names(table: Mapping[str, Any]) -> set[str]:
    """Names of classes in a table of transformers, in which a model may have several."""
    return {name for entry in table.values() for name in ([entry] if isinstance(entry, str) else entry)}
