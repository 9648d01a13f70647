"""A model opened for white-box explanations: from words as vectors to the score that is explained, and what comes back to the words.

What is explained is the score before it is squeezed into a probability: of classes the log-odds of one against all others, of labels the
log-odds of one, of a number the number. Gradients of probabilities vanish where a model is sure, though nothing about its reasons does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trustbase.audit.explain.rules import RelevanceRules, without_rules
from trustbase.audit.explain.tokens import Tokens, tokens_of
from trustbase.errors import UsageError
from trustbase.model.packed_backward import Block, Head, PackedBackward, bounds, no_way_back
from trustbase.model.predict import Predictor
from trustbase.model.sequencer import TEXT, Sequencer
from trustbase.recipe.lookup import RUNTIMES, TASKS
from trustbase.records import ArtifactInfo

UNITS = {"classes": "log-odds of the label against all others", "labels": "log-odds of the label", "number": "units of the number"}
_SAME = 1e-3  # by which a score may differ from the model's own, relative to its size
_ANOTHER = "shapley and lime ask the shipped model itself, and explain it"


def no_inside(info: ArtifactInfo) -> str:
    """Why nothing inside of this model can be followed; "" where it can."""
    if not RUNTIMES[info.runtime].tokens:
        return "it has no tokens and no torch weights"
    if info.members > 1:
        return f"its answer is the mean of {info.members} models, and this method follows one"
    if info.answer_kind not in UNITS:
        return "it is known for labels and numbers"
    if info.columns:
        return f"it reads columns beside the text ({', '.join(info.columns)}), which are no tokens"
    if info.task in TASKS and TASKS[info.task].reads != TEXT:
        return "it weighs several choices at once, and this method follows one text"
    return ""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that go through a model together.

    Attributes:
        blocks: their lengths; tokens lie end to end.
        targets: which score of each is explained, int64 `(rows,)`.
        segments: 1 for tokens of the second text of a pair, `(tokens,)`.
    """

    blocks: Sequence[Block]
    targets: Tensor
    segments: Tensor | None = None


class Inside:
    """Follows a model from its words to scores, and back.

    Args:
        model: a transformers classifier in fp32, lent by a Predictor.
        tokenizer: its own.
        info: what the artefact says of itself.
        packed: False keeps to the forward pass of transformers (comparisons).

    Attributes:
        path: which way is gone: "packed", or "transformers" with the reason.
    """

    def __init__(self, model: Any, tokenizer: Any, info: ArtifactInfo, *, packed: bool = True) -> None:
        self.model, self.tokenizer, self.info = model, tokenizer, info
        why_not = no_way_back(model) if packed else "not asked for"
        self.path = "packed" if why_not is None else f"transformers ({why_not})"
        self._packed = PackedBackward(model) if why_not is None else None
        self._words: Tensor = model.get_input_embeddings().weight.detach()
        self._checked = False

    def tokens(self, texts: Sequence[str]) -> list[Tokens | str]:
        """How it reads these inputs, or why that cannot be told."""
        return tokens_of(self.tokenizer, Sequencer.of(self.info), texts)

    def embedded(self, ids: Tensor) -> Tensor:
        """Vectors of words, `(tokens, width)`."""
        return self._words[ids]

    @property
    def nothing(self) -> int:
        """The token that stands where nothing is said."""
        return int(self.tokenizer.pad_token_id or 0)

    def scores(self, words: Tensor, rows: Rows) -> Tensor:
        """What is explained of each row, `(rows,)`."""
        if self._packed is not None:
            return self._packed.values(words, rows.blocks, self._head(rows), segments=rows.segments)
        with torch.no_grad():
            return torch.cat([self._block(words, rows, place)[0] for place in range(len(rows.blocks))])

    def back(self, words: Tensor, rows: Rows, *, relevance: bool = False) -> tuple[Tensor, Tensor]:
        """Scores `(rows,)`, and gradients of their sum with respect to `words` `(tokens, width)`, or in their place relevance by word.

        Raises:
            UsageError: relevance cannot go back through this model.
        """
        if relevance and (why_not := without_rules(self.model.config)):
            raise UsageError(f"this model cannot be explained by attention relevance: {why_not}", hint="--method integrated_gradients")
        if self._packed is not None:
            return self._packed(words, rows.blocks, self._head(rows, relevance), segments=rows.segments, relevance=relevance)
        found = [self._block(words, rows, place, back=True, relevance=relevance) for place in range(len(rows.blocks))]
        return torch.cat([scores for scores, _ in found]), torch.cat([grad for _, grad in found])

    def check(self, tokens: Tokens, target: int) -> None:
        """That the score of words as vectors is that of the model asked with tokens.

        Raises:
            UsageError: it is not, or the model cannot be asked with vectors.
        """
        if self._checked:
            return
        ids = torch.from_numpy(tokens.ids)
        segments = None if tokens.segments is None else torch.from_numpy(tokens.segments)
        rows = Rows([Block(1, len(ids))], torch.tensor([target]), segments)
        call: dict[str, Any] = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if segments is not None:
            call["token_type_ids"] = segments.long()[None]
        try:
            with torch.no_grad():
                own = float(self.score(self.model(**call).logits, rows.targets)[0])
            followed = float(self.scores(self.embedded(ids), rows)[0])
        except Exception as error:  # architectures differ in what their forward accepts; the cause is kept
            raise _impossible(self.model, f"{type(error).__name__}: {error}") from error
        if not abs(own - followed) <= _SAME * max(1.0, abs(own)):
            raise _impossible(self.model, f"asked with vectors it gives {followed:.4f}, and asked with tokens {own:.4f}")
        self._checked = True

    def _head(self, rows: Rows, relevance: bool = False) -> Head:
        """From what the packed path's head reads to scores."""
        model, pooler = self.model, getattr(self.model.base_model, "pooler", None)

        def head(first: Tensor) -> Tensor:
            read = first.unsqueeze(1)
            logits: Tensor = model.classifier(read if pooler is None else pooler(read))
            return self.score(logits, rows.targets)

        def with_rules(first: Tensor) -> Tensor:
            with RelevanceRules():
                return head(first)

        return with_rules if relevance else head

    def _block(self, words: Tensor, rows: Rows, place: int, *, back: bool = False, relevance: bool = False) -> tuple[Tensor, Tensor]:
        """Scores of one block's rows, as transformers computes them, and what comes back."""
        block, (begin, end) = rows.blocks[place], bounds(rows.blocks)[place]
        first, last = bounds(rows.blocks, rows=True)[place]
        given = words[begin:end].view(block.rows, block.length, -1).detach().requires_grad_(back)
        call: dict[str, Any] = {"inputs_embeds": given, "attention_mask": torch.ones(block.rows, block.length, dtype=torch.long)}
        if rows.segments is not None:
            call["token_type_ids"] = rows.segments[begin:end].view(block.rows, block.length).long()
        if not back:
            return self.score(self.model(**call).logits, rows.targets[first:last]), given
        with torch.enable_grad():
            if relevance:
                with RelevanceRules() as rules:
                    scores = self.score(self.model(**call).logits, rows.targets[first:last])
                self._check_rules(rules)
            else:
                scores = self.score(self.model(**call).logits, rows.targets[first:last])
            (grad,) = torch.autograd.grad(scores.sum(), given)
        return scores.detach(), grad.reshape(end - begin, -1)

    def _check_rules(self, rules: RelevanceRules) -> None:
        """Every norm and every product of attention met its rule; what went another way would be told wrongly.

        Raises:
            UsageError: they did not.
        """
        layers = int(self.model.config.num_hidden_layers)
        norms = sum(isinstance(module, torch.nn.LayerNorm) for module in self.model.base_model.modules())
        if rules.seen["norm"] < norms or rules.seen["product"] < 2 * layers or rules.seen["gate"] < layers:
            raise _impossible(self.model, f"of {layers} layers and {norms} norms, rules met {rules.seen}")

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What is explained, `(rows,)`, from logits `(rows, classes)`."""
        kind = self.info.answer_kind
        if kind == "number":
            return logits[:, 0].float() * float(self.info.labels.scale)
        rows = torch.arange(len(logits))
        own = logits[rows, targets].float()
        if kind == "labels" or logits.shape[1] == 1:
            return own
        others = logits.float().masked_fill(torch.nn.functional.one_hot(targets, logits.shape[1]).bool(), -torch.inf)
        return own - torch.logsumexp(others, dim=1)


def _impossible(model: Any, why: str) -> UsageError:
    return UsageError(f"the inside of this {type(model).__name__} cannot be followed: {why}", hint=_ANOTHER)


@contextmanager
def opened(predictor: Predictor, *, packed: bool = True) -> Iterator[tuple[Inside, str]]:
    """The inside of a Predictor's model, lent while the block runs, and what must be said beside every number made with it.

    Raises:
        UsageError: nothing inside of it can be followed.
        ModelError: it has no torch weights.
    """
    if why_not := no_inside(predictor.info):
        raise UsageError(f"this model cannot be explained from inside: {why_not}", hint=_ANOTHER)
    with predictor.white_box() as box:
        yield Inside(box.model, box.tokenizer, predictor.info, packed=packed), box.note
