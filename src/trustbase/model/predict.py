"""The Predictor: the right to ask a model. Audits, explanations, batch answers and the server all ask through it."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import ModelError, PredictionError
from trustbase.model.artifact import read_artifact
from trustbase.model.cache import AnswerCache, scope_of
from trustbase.model.engine import Engine
from trustbase.model.faces import LoopFace, ask_and_wait, run_askers
from trustbase.model.opening import check_options, limit_threads, open_runtime
from trustbase.model.questions import KINDS, Answer, Failure, Kind, Question, Result, values_of
from trustbase.model.ragged import ragged
from trustbase.model.runtime import Counters, Runtime
from trustbase.recipe.lookup import ANSWER_KINDS, RUNTIMES
from trustbase.records import ArtifactInfo

__all__ = ["Answer", "Counters", "Failure", "Predictor", "Question", "Result", "WhiteBox"]

T = TypeVar("T")

BATCH_TOKENS = 4096  # MiniLM in bf16 on two cores: 3 % less CPU time than with 2048; beyond a core's cache more gains nothing
CACHE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class WhiteBox:
    """The torch model of an artefact, lent for gradients: the fp32 weights, whatever runtime and precision are shipped."""

    model: Any  # transformers.PreTrainedModel
    tokenizer: Any
    note: str  # what must be said beside every number made with it


_SPECIAL = 8  # tokens around the texts of a row, at most


class Predictor:
    """Asks one artefact. Every method may be called from any thread, at the same time; nothing is printed or trained.

    Open it with `Predictor.open`, use it as a context manager or call `close()`. One Predictor belongs to the process
    that opened it: a forked child is refused (a thread does not survive a fork) and opens its own.
    """

    def __init__(
        self,
        info: ArtifactInfo,
        runtime: Runtime,
        *,
        tokenizer: Any = None,
        batch_tokens: int = BATCH_TOKENS,
        threads: int | None = None,
        cache_size: int = CACHE_BYTES,
        deadline: float | None = None,
        kinds: Mapping[str, Kind] = KINDS,
    ) -> None:
        check_options(batch_tokens=batch_tokens, threads=threads, cache_size=cache_size, deadline=deadline)
        self.info = info
        self.runtime = runtime
        self.tokenizer = tokenizer
        self._deadline = deadline
        self._pid = os.getpid()
        self._borrower: int | None = None
        self._white_model: Any = None
        self._faces: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopFace] = weakref.WeakKeyDictionary()
        self._engine = Engine(
            runtime,
            labels=info.labels,
            answer_kind=info.answer_kind,
            kinds=kinds,
            scope=_scope(info, runtime),
            cache=AnswerCache(cache_size),
            batch_tokens=batch_tokens,
            setup=None if threads is None else lambda: limit_threads(threads),
        )
        self._finalizer = weakref.finalize(self, _close_quietly, self._engine, self._pid)

    @classmethod
    def open(
        cls,
        path: str | Path | ArtifactInfo,
        *,
        precision: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
        threads: int | None = None,
        cache_size: int = CACHE_BYTES,
        deadline: float | None = None,
        device: str | None = None,
        kinds: Mapping[str, Kind] = KINDS,
    ) -> Predictor:
        """Open an artefact folder, a bundle's model, or a plain Hugging Face checkpoint folder.

        Args:
            path: the folder, or the record that `make_artifact` gave.
            precision: `fp32` or `bf16` in place of the artefact's own (comparisons only: what is audited is what ships).
            batch_tokens: most tokens of a batch.
            threads: CPU threads of the model, or None for torch's own choice.
            cache_size: bytes of answers kept; 0 keeps none.
            deadline: seconds that an awaited question may wait for company (servers); None asks as soon as no asker can go on.
            device: `cpu`, `cuda` …; None chooses.
            kinds: the table of question kinds.

        Raises:
            ModelError: the folder holds no model that this version can ask.
            UsageError: the precision does not exist on this device, the device does not exist here, or a number cannot work.
        """
        check_options(batch_tokens=batch_tokens, threads=threads, cache_size=cache_size, deadline=deadline)
        info = path if isinstance(path, ArtifactInfo) else read_artifact(Path(path))
        tokenizer, runtime = open_runtime(info, precision or info.precision, device, threads)
        options: dict[str, Any] = {"batch_tokens": batch_tokens, "threads": threads, "cache_size": cache_size}
        return cls(info, runtime, tokenizer=tokenizer, deadline=deadline, kinds=kinds, **options)

    # ---- asking ----------------------------------------------------------------------------------------------------

    def ask_all(self, questions: Sequence[Question]) -> list[Result]:
        """One Answer or Failure for each question, in order."""
        self._check_caller()
        return ask_and_wait(self._engine, questions)

    async def ask(self, question: Question) -> Result:
        """Ask from a coroutine; questions of all coroutines that wait at the same time go through the model together."""
        return await self._face().ask(question)

    async def ask_each(self, questions: Iterable[Question]) -> list[Result]:
        """The same of several, whose answers come together, in order."""
        face = self._face()
        return list(await asyncio.gather(*(face.ask(question) for question in questions)))

    def _face(self) -> LoopFace:
        self._check_caller()
        loop = asyncio.get_running_loop()
        face = self._faces.get(loop)
        if face is None:
            face = self._faces[loop] = LoopFace(self._engine, loop, deadline=self._deadline)
        return face

    def gather(self, coroutines: Iterable[Awaitable[T]], *, at_once: int = 500) -> list[T]:
        """Run many asking coroutines, at most `at_once` at a time; their return values in order.

        Raises:
            BaseException: the first exception of a coroutine; the others are then cancelled.
            UsageError: `at_once` leaves room for nobody.
        """
        self._check_caller()
        return run_askers(coroutines, at_once=at_once)

    def scores(self, texts: Sequence[str]) -> NDArray[Any]:
        """What the model's answers are made of, by its answer kind (`recipe.lookup.ANSWER_KINDS`): of classes the probability of each.

        Returns:
            float64 `(rows, len(labels.names))`; where an answer is a table (of ragged kinds), an array of objects `(rows,)`, each float64
            `(units, …)`.

        Raises:
            PredictionError: some texts could not be answered; names them.
        """
        return self._rows(ANSWER_KINDS[self.info.answer_kind].question, texts, width=len(self.info.labels.names))

    def class_scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each class, float64 `(rows, classes)`.

        Raises:
            PredictionError: some texts could not be answered; names them. `ask_all` gives the others their answers.
        """
        return self._rows("class_scores", texts, width=len(self.info.labels.names))

    def losses(self, texts: Sequence[str], labels: Sequence[int | str] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Cross-entropy of each text's given label in nats, float64 `(rows,)`.

        Raises:
            PredictionError: some texts could not be answered, or some labels are none of the model's; names them.
            ValueError: not one label for each text.
        """
        if len(texts) != len(labels):
            raise ValueError(f"losses needs one label for each text, got {len(texts)} texts and {len(labels)} labels")
        questions = [
            Question("loss", text, {"label": label.item() if isinstance(label, np.generic) else label})
            for text, label in zip(texts, labels, strict=True)
        ]
        return np.array(values_of(self.ask_all(questions)), dtype=np.float64)

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Mean of the last hidden states over the real tokens, float64 `(rows, width)`.

        Raises:
            PredictionError: some texts could not be answered.
        """
        return self._rows("embedding", texts, width=0)

    def log_likelihoods(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """How likely a base model finds each text: sum of log-probabilities in nats and number of scored tokens, float64 `(rows, 2)`.

        What is summed depends on the model: see `runtime_language`. A text without a token that can be scored has 0 of both.

        Raises:
            PredictionError: the model gives no likelihoods, or some texts could not be answered.
        """
        values = values_of(self.ask_all([Question("log_likelihood", text) for text in texts]))
        return np.array([(value.total, value.tokens) for value in values], dtype=np.float64).reshape(-1, 2)

    def unread(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each text beyond what the model reads, `(rows,)`; 0 where a model has no tokens."""
        lost = np.zeros(len(texts), dtype=np.int64)
        if RUNTIMES[self.info.runtime].tokens:
            # no tokenizer makes more tokens than a text has bytes, and a few special ones
            long = [row for row, text in enumerate(texts) if len(text.encode("utf-8", "replace")) + _SPECIAL > self.info.max_length]
            if long:
                lost[long] = self.runtime.prepare([texts[row] for row in long]).lost
        return lost

    def _rows(self, kind: str, texts: Sequence[str], *, width: int) -> NDArray[Any]:
        values = values_of(self.ask_all([Question(kind, text) for text in texts]))
        if kind in KINDS and KINDS[kind].ragged:
            return ragged(values)
        return np.stack(values) if values else np.zeros((0, width))

    # ---- the model itself ------------------------------------------------------------------------------------------

    @contextmanager
    def white_box(self) -> Iterator[WhiteBox]:
        """Borrow the torch model alone: questions of other threads wait, questions of this thread are refused.

        The model is the artefact's fp32 weights, in eval mode with gradients off; whatever the borrower changes in it
        is thrown away at the end where the runtime would have seen it.

        Raises:
            ModelError: the artefact holds no torch weights.
            PredictionError: this thread already borrows it, or the Predictor was closed.
        """
        self._check_caller()
        if self._engine.closing:
            raise PredictionError("this Predictor was closed, so it lends no model", hint="open it again")
        before: int | None = None  # stays None where the model could not be read: then nothing is kept
        with self._engine.model_lock:
            self._borrower = threading.get_ident()
            try:
                if self._white_model is None:
                    self._white_model = _load_white_box(self.info)
                model = self._white_model
                before = _versions(model)
                shipped = f"{self.runtime.name} {self.runtime.precision}"
                yield WhiteBox(model, self.tokenizer, f"white-box: asked of the fp32 torch weights, not of the shipped runtime ({shipped})")
            finally:
                self._borrower = None
                self._tidy(before)

    def _tidy(self, before: int | None) -> None:
        """Leave the lent model as it was: gradients dropped; weights that were written to are read again next time."""
        model = self._white_model
        if model is None:
            return
        if before is None or _versions(model) != before:
            self._white_model = None
            return
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)
        model.eval()

    # ---- life ------------------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """What was asked and what it cost so far (a copy)."""
        self._check_process()
        return self._engine.counters

    def clear_cache(self) -> None:
        """Forget every answer, for timings."""
        self._check_caller()
        self._engine.forget()

    def close(self) -> None:
        """Answer what was already asked, then end the engine's thread."""
        self._check_caller()
        self._finalizer.detach()
        self._engine.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Predictor owns a thread and cannot be pickled; send its folder (info.folder) and open it there")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise PredictionError(
                "this Predictor was opened by another process (its thread did not survive the fork)",
                hint="open a Predictor in the process that asks",
            )

    def _check_caller(self) -> None:
        self._check_process()
        if self._borrower == threading.get_ident():
            raise PredictionError(
                "this thread has borrowed the model (white_box), so a question would wait for ever", hint="ask after the with block"
            )


def _scope(info: ArtifactInfo, runtime: Runtime) -> bytes:
    """The digest covers weights, tokenizer, calibration and adapter, since all of them are files of the artefact."""
    return scope_of(artifact=info.digest, runtime=runtime.name, precision=runtime.precision, max_length=info.max_length)


def _load_white_box(info: ArtifactInfo) -> Any:
    if not RUNTIMES[info.runtime].tokens:
        raise ModelError(
            f"{info.folder}: runtime {info.runtime} has no torch weights to lend",
            hint="what the model is stands in its artifact.json (facts.model), as a person reads it",
        )
    if info.members > 1:
        raise ModelError(
            f"{info.folder}: its answer is the mean of {info.members} models, so there is no one model to lend",
            hint=f"open one of them: Predictor.open('{info.folder / 'member-0'}')",
        )
    if info.answer_kind == "language":
        from trustbase.model.runtime_language import load_base as load_model
    else:
        from trustbase.model.runtime_torch import load_model

    return load_model(info.folder).requires_grad_(False).eval()


def _versions(model: Any) -> int:
    """Changes whenever a parameter was written to in place (torch counts writes)."""
    return sum(int(parameter._version) for parameter in model.parameters())


def _close_quietly(engine: Engine, pid: int) -> None:
    if os.getpid() == pid:
        engine.close()
