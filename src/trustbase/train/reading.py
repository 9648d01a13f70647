"""How batches of raw text go through a model that is pretrained: its own forward, or the quicker route where it gives the same answers.

A model's head for words is applied to the tokens to be found only: a hook in front of it picks them out, so that any architecture
with such a head is served by its own forward. Pieces that share a row are kept apart by masks and positions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trustbase import seeds
from trustbase.errors import ModelError
from trustbase.model.evaluating import evaluating
from trustbase.train.batches import Batch
from trustbase.train.forward import DTYPES
from trustbase.train.quick import Dropout, QuickBody

Inputs = Mapping[str, Tensor]
Head = Callable[[Tensor], Tensor]
_BY_DISTANCE = {"roformer"}  # which no positions are told: where a piece stands in its row makes no difference
_COUNTS_FROM_PADDING = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "longformer"}


class Reading:
    """What objectives ask of a model.

    Attributes:
        routes: "model" (its own forward) or "quick" by objective, for the facts of the run.
    """

    def __init__(self, model: nn.Module, *, precision: str, device: str, seed: int) -> None:
        self.routes: dict[str, str] = {}
        self._model: Any = model
        self._device = device
        self._dtype = DTYPES[precision]
        self._seed = seed
        self._dropout = Dropout()
        self._random = True
        self._quick = False

    def begin(self, batch: Batch) -> None:
        """Training: dropout is drawn from the stream of this batch's number, wherever the process started."""
        self._quick = self.routes.get(batch.objective) == "quick"
        if self._random:
            names = ("dropout", batch.objective, batch.number)
            torch.manual_seed(seeds.stream_seed(self._seed, *names))
            self._dropout.start(self._seed, *names)

    @contextmanager
    def scoring(self, *, exactly: bool = False, dropout: bool = False) -> Iterator[None]:
        """No gradients while the context lasts, and no dropout unless asked for; `exactly` also means fp32."""
        kept = self._dtype, self._random
        self._random = dropout
        self._dropout.stop()
        if exactly:
            self._dtype = torch.float32
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices=[]), nullcontext() if dropout else evaluating(self._model):
                yield
        finally:
            self._dtype, self._random = kept

    def words(self, inputs: Inputs, places: Tensor, *, firsts: Tensor | None = None, causal: bool = False) -> tuple[Tensor, Tensor]:
        """Scores of words at places of the flat batch, `(places, vocabulary)`, and the outputs at other places, `(firsts, width)`."""
        with self._arithmetic():
            if self._quick:
                every = places if firsts is None else torch.cat([places, firsts])
                states = self._quick_states(self._model.base_model, inputs, every)
                return self._model.cls.predictions(states[: len(places)]), states[len(places) :]
            return _scores(self._model, inputs, places, firsts, causal=causal)

    def pairs(self, firsts: Tensor) -> Tensor:
        """Scores of the two answers about pairs of segments, `(pairs, 2)`, from the outputs of their first tokens."""
        with self._arithmetic():
            scores: Tensor = self._model.cls.seq_relationship(self.pooled(firsts))
            return scores

    def states(self, inputs: Inputs, places: Tensor) -> Tensor:
        """Outputs at places of the flat batch, `(places, width)`."""
        body = self._model.base_model
        with self._arithmetic():
            if self._quick:
                return self._quick_states(body, inputs, places)
            found: Tensor = body(**_arguments(body, inputs)).last_hidden_state
            return found.flatten(0, 1).index_select(0, places)

    def pooled(self, firsts: Tensor) -> Tensor:
        """What the model's pooler makes of first tokens, `(pieces, width)`; they themselves where it has none."""
        pooler = getattr(self._model.base_model, "pooler", None)
        with self._arithmetic():
            return firsts if pooler is None else pooler(firsts[:, None])

    def generated(self, inputs: Inputs, places: Tensor) -> Tensor:
        """The generator's scores of words, `(places, vocabulary)`."""
        generator = self._model.generator
        with self._arithmetic():
            if self._quick:
                states = self._quick_states(generator.electra, inputs, places)
                return generator.generator_lm_head(generator.generator_predictions(states))  # type: ignore[no-any-return]
            return _scores(generator, inputs, places, causal=False)[0]

    def judged(self, inputs: Inputs, places: Tensor) -> Tensor:
        """The discriminator's scores that tokens were replaced, `(places,)`."""
        judge = self._model.discriminator
        with self._arithmetic():
            if self._quick:
                return judge.discriminator_predictions(self._quick_states(judge.electra, inputs, places))  # type: ignore[no-any-return]
            logits: Tensor = judge(**_arguments(judge, inputs)).logits
            return logits.flatten()[places]

    def writes(self, inputs: Inputs, places: Tensor) -> Tensor:
        """An encoder-decoder's scores of words at places of the decoder's flat batch, `(places, vocabulary)`."""
        model = self._model
        with self._arithmetic():
            arguments = _arguments(model, inputs)
            read = model.get_encoder()(**arguments)
            asked: dict[str, Any] = {"decoder_input_ids": inputs["decoder_input_ids"], "encoder_outputs": read}
            if "pieces" in inputs:
                own, others = inputs["decoder_pieces"], inputs["pieces"]
                seen = (own[:, :, None] == others[:, None, :]) | (own < 0)[:, :, None]  # padding must see something
                asked |= {"attention_mask": _mask(model, seen), "decoder_attention_mask": _mask(model, _causal(own))}
            elif "attention_mask" in arguments:
                asked["attention_mask"] = arguments["attention_mask"]
            with _picked(model, places):
                scores: Tensor = model(**asked, use_cache=False).logits
            return scores.flatten(0, -2)

    def knows(self, objective: str) -> bool:
        """Whether the quicker route could serve an objective."""
        if self._device.split(":")[0] not in ("cpu", "cuda") or objective in {"causal", "span_corruption", "infilling"}:
            return False
        if objective == "replaced_token":
            return all(QuickBody.serves(part.electra) for part in (self._model.generator, self._model.discriminator))
        return QuickBody.serves(self._model.base_model) and (objective == "contrastive" or hasattr(self._model, "cls"))

    def _quick_states(self, body: Any, inputs: Inputs, places: Tensor) -> Tensor:
        return QuickBody(body, self._dropout).states(inputs, places, self._dtype)

    def _arithmetic(self) -> Any:
        return torch.autocast(self._device.split(":")[0], self._dtype, enabled=self._dtype != torch.float32)


def _scores(model: Any, inputs: Inputs, places: Tensor, firsts: Tensor | None = None, *, causal: bool) -> tuple[Tensor, Tensor]:
    """By the model's own forward: scores of words at some places, outputs at others."""
    caught: list[Tensor] = []
    with ExitStack() as stack:
        stack.enter_context(_picked(model, places))
        if firsts is not None:
            hook = model.base_model.register_forward_hook(lambda module, given, output: caught.append(output.last_hidden_state))
            stack.callback(hook.remove)
        given = {"use_cache": False} if causal else {}
        result = model(**_arguments(model, inputs, causal=causal), **given)
    scores = getattr(result, "prediction_logits", None)
    scores = result.logits if scores is None else scores
    states = scores[:0] if firsts is None else caught[0].flatten(0, 1).index_select(0, firsts)
    return scores.flatten(0, -2), states


@contextmanager
def _picked(model: Any, places: Tensor) -> Iterator[None]:
    """The head sees the wanted places only.

    Raises:
        ModelError: the model has no head for words.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(
            f"{type(model).__name__} has no head that predicts words, which this objective needs",
            hint="take a base model that was pretrained so, such as a BertForMaskedLM or a GPT2LMHeadModel",
        )
    hook = head.register_forward_pre_hook(lambda module, given: (given[0].flatten(0, -2).index_select(0, places), *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def _arguments(model: Any, inputs: Inputs, *, causal: bool = False) -> dict[str, Tensor]:
    """A batch as the arguments of a transformers model."""
    found = {name: inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in inputs}
    pieces = inputs.get("pieces")
    if pieces is not None:
        seen = _causal(pieces) if causal else pieces[:, :, None] == pieces[:, None, :]
        found["attention_mask"] = _mask(model, seen)
        if not model.config.is_encoder_decoder and model.config.model_type not in _BY_DISTANCE:
            from_padding = model.config.model_type in _COUNTS_FROM_PADDING
            found["position_ids"] = inputs["position_ids"] + (model.config.pad_token_id + 1 if from_padding else 0)
    elif causal:  # without a mask some models warn of padding; one of ones costs them nothing
        found["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return found


def _causal(pieces: Tensor) -> Tensor:
    """Which tokens each sees, `(rows, length, length)`: those of its piece up to itself."""
    length = pieces.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=pieces.device).tril()
    return (pieces[:, :, None] == pieces[:, None, :]) & before


def _mask(model: Any, seen: Tensor) -> Tensor:
    """A mask `(rows, 1, length, others)` in the form that the model's attention takes."""
    if model.config._attn_implementation == "eager":
        return (~seen[:, None]).to(torch.float32) * (torch.finfo(torch.float32).min / 2)
    return seen[:, None]
