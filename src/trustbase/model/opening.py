"""How a Predictor opens: options refused before anything is loaded, then the artefact's tokenizer and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trustbase.errors import ModelError, Problem, UsageError
from trustbase.model.ensemble import Ensemble, first_part, members_of
from trustbase.model.questions import KINDS
from trustbase.model.runtime import Runtime
from trustbase.recipe.entries import load, load_named
from trustbase.recipe.lookup import ANSWER_KINDS, RUNTIMES
from trustbase.records import ArtifactInfo


def check_options(*, batch_tokens: int, threads: int | None, cache_size: int, deadline: float | None) -> None:
    """Refuse numbers that the engine's thread would die of at the first question, or that would make it wait for ever.

    Raises:
        UsageError: options that cannot work; every one of them.
    """
    problems = [
        Problem(name, f"must be a whole number of at least {least}, got {value!r}")
        for name, value, least in (("batch_tokens", batch_tokens, 1), ("threads", threads, 1), ("cache_size", cache_size, 0))
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least)
    ]
    if deadline is not None and not 0 <= deadline < float("inf"):  # NaN compares false, so it is refused too
        problems.append(Problem("deadline", f"must be None or seconds of at least 0, got {deadline!r}"))
    if problems:
        raise UsageError("the Predictor cannot be opened like this", problems=problems)


def open_runtime(info: ArtifactInfo, precision: str, device: str | None, threads: int | None) -> tuple[Any, Runtime]:
    """The artefact's tokenizer and runtime; imports torch or ONNX Runtime only now.

    Raises:
        ModelError: no runtime of this version, or files that cannot be read.
        UsageError: the precision or the device does not exist here.
    """
    from trustbase.model.sequencer import Sequencer

    if info.runtime not in RUNTIMES:
        known = f"it knows {', '.join(RUNTIMES)}; use the version that made the artefact"
        raise ModelError(f"{info.folder}: runtime '{info.runtime}' is unknown to this version", hint=known)
    # Another precision than what ships: of the weights, which a graph does not hold.
    name = "torch" if info.runtime == "onnx" and precision != info.precision else info.runtime
    tokenizer = _tokenizer(info) if RUNTIMES[name].tokens else None
    sequencer = Sequencer.of(info)
    settings = {"precision": precision, "device": device, "threads": threads, **sequencer.unusual}
    if not RUNTIMES[name].tokens:
        settings |= {"classes": len(info.labels.names), "columns": info.columns}
    opened = load(RUNTIMES[name])
    folders = [info.folder] if info.members == 1 else members_of(info.folder, info.members)
    runtimes: list[Runtime] = [opened.open(each, tokenizer=tokenizer, max_length=info.max_length, **settings) for each in folders]
    return tokenizer, together(runtimes, info.answer_kind, sequencer.answer_tokens)


def together(runtimes: Sequence[Runtime], answer_kind: str, answer_tokens: int) -> Runtime:
    """One runtime as it is, and several as their mean; where texts are searched, for answers of so many tokens at most.

    Raises:
        ModelError: several, and answers of this kind have no mean.
    """
    if len(runtimes) == 1:
        return runtimes[0]
    mean = ANSWER_KINDS[answer_kind].averaged if answer_kind in ANSWER_KINDS else ""
    if not mean:
        raise ModelError(f"answers of kind '{answer_kind}' of several members have no mean in this version", hint="open one of its members")
    output = KINDS[ANSWER_KINDS[answer_kind].question].output
    return Ensemble(runtimes, load_named(mean), output=output, answer_tokens=answer_tokens)


def _tokenizer(info: ArtifactInfo) -> Any:
    from trustbase.model.tokenizer import load_tokenizer

    return load_tokenizer(first_part(info.folder) if info.members > 1 else info.folder)


def limit_threads(threads: int) -> None:
    """Torch's threads of the calling thread's work."""
    import torch

    torch.set_num_threads(threads)
