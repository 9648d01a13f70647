"""Times one artefact in a process of its own: `python -m trustbase.audit.measure` (a request on standard input, JSON lines back).

A fresh process is what a server is: start-up and peak memory are then the artefact's and not those of the training
that went before. Every answer is computed: no cache, no repeated text within a call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import PredictionError

CHILD_SECONDS = 600.0
LEAST_BULK_CALLS = 5  # bounds of the mean of three differing calls lie a factor of ten apart, and cover less than they claim
_TELL_EVERY = 0.5  # seconds between two signs of life, which are given outside of what is timed
Tell = Callable[[float, float], None]  # (done, total) of the seconds that measuring may take


class Scorer(Protocol):
    """What is timed: a Predictor, or a stand-in for one in tests."""

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]: ...

    def clear_cache(self) -> None: ...


@dataclass(frozen=True)
class Effort:
    """How much is measured; the defaults take some 20 seconds for a small encoder on two cores."""

    warm_up: int = 20
    calls: int = 500  # single questions; a distribution-free bound of the 99th percentile needs 368
    call_seconds: float = 10.0
    chunks: int = 10
    chunk_seconds: float = 8.0
    invariance: int = 64


@dataclass(frozen=True)
class Timings:
    """What was measured; JSON as it stands.

    Attributes:
        latency_ms: milliseconds of single questions, in the order asked.
        chunk_inputs, chunk_seconds: inputs and seconds of each bulk call.
        alone, mixed: class scores of the same texts asked alone and among others `(texts, classes)`.
        startup_seconds, peak_memory_bytes: of the process; None where it was not a process of its own.
        facts: threads, device and the like.
    """

    latency_ms: list[float]
    chunk_inputs: list[int]
    chunk_seconds: list[float]
    alone: list[list[float]]
    mixed: list[list[float]]
    startup_seconds: float | None
    peak_memory_bytes: int | None
    peak_device_bytes: int | None
    facts: dict[str, Any]


def _silent(done: float, total: float) -> None:
    """A `Tell` for nobody."""


def measure_apart(folder: Path, texts: Sequence[str], *, effort: Effort, seed: int, tell: Tell = _silent) -> Timings:
    """Measure an artefact folder in a process of its own.

    Raises:
        PredictionError: that process failed or took too long; carries the end of what it said.
    """
    request = {"folder": str(folder), "texts": list(texts), "effort": asdict(effort), "seed": seed, "started": _shared_clock()}
    with tempfile.TemporaryFile() as complaints:
        code, answer = _ask(json.dumps(request).encode(), tell, complaints)
        complaints.seek(0)
        tail = complaints.read().decode("utf-8", "replace").strip().splitlines()[-3:]
    if code != 0 or answer is None:
        raise PredictionError(f"the process that measures the artefact ended with code {code}: {' / '.join(tail)}")
    return Timings(**answer)


def _ask(request: bytes, tell: Tell, complaints: Any) -> tuple[int, dict[str, Any] | None]:
    """Start the process, pass its signs of life on, and return its exit code and answer; it does not outlive this call."""
    command, late = [sys.executable, "-m", "trustbase.audit.measure"], threading.Event()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints) as child:
        assert child.stdin is not None and child.stdout is not None

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(CHILD_SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            with suppress(BrokenPipeError), child.stdin:  # it died at once: its exit code and last words say why
                child.stdin.write(request)
            answer = _listen(child.stdout, tell)
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
    if late.is_set():
        raise PredictionError(f"measuring the artefact took more than {CHILD_SECONDS:g} s, so it was stopped")
    return code, answer


def _listen(lines: Iterable[bytes], tell: Tell) -> dict[str, Any] | None:
    """The answer among a process's lines, if it came to one."""
    for line in lines:
        if not line.endswith(b"\n"):
            return None  # cut off as the process died
        said = json.loads(line)
        if "done" not in said:
            return dict(said)
        tell(said["done"], said["total"])
    return None


def measure(scorer: Scorer, texts: Sequence[str], *, effort: Effort, seed: int, tell: Tell = _silent) -> Timings:
    """Latency, throughput and dependence on the batch of anything that scores texts.

    Args:
        scorer: is asked; its cache is emptied before every call.
        texts: distinct texts.
        effort: how much to measure.
        seed: of the batches' composition.
        tell: takes signs of life.
    """
    total = effort.call_seconds + effort.chunk_seconds
    tell(0.0, total)
    for text in _cycle(texts, effort.warm_up):
        scorer.scores([text])
    latency, alone = _latency(scorer, texts, effort, lambda share: tell(effort.call_seconds * share, total))
    inputs, seconds = _bulk(scorer, texts, effort, lambda share: tell(effort.call_seconds + effort.chunk_seconds * share, total))
    mixed = _among_others(scorer, texts, len(alone), seed)
    tell(total, total)
    return Timings(latency, inputs, seconds, alone, mixed, None, None, None, {})


def _latency(scorer: Scorer, texts: Sequence[str], effort: Effort, tell: Callable[[float], None]) -> tuple[list[float], list[list[float]]]:
    latency: list[float] = []
    alone: list[list[float]] = []
    began = told = time.perf_counter()
    end = began + effort.call_seconds
    for text in _cycle(texts, effort.calls):
        if (now := time.perf_counter()) - told >= _TELL_EVERY:
            told = now
            tell(min(1.0, max(len(latency) / effort.calls, (now - began) / effort.call_seconds)))
        scorer.clear_cache()
        started = time.perf_counter()
        scores = scorer.scores([text])
        latency.append((time.perf_counter() - started) * 1000)
        if len(alone) < min(effort.invariance, len(texts)):
            alone.append(np.asarray(scores[0], dtype=np.float64).tolist())
        elif time.perf_counter() > end:
            break
    return latency, alone


def _bulk(scorer: Scorer, texts: Sequence[str], effort: Effort, tell: Callable[[float], None]) -> tuple[list[int], list[float]]:
    """Chunks of about a second's work each, so that a slow model does not take minutes and a fast one is not timed by its overhead."""
    size = min(32, len(texts))
    scorer.clear_cache()
    started = time.perf_counter()
    scorer.scores(list(texts[:size]))
    rate = size / max(time.perf_counter() - started, 1e-6)
    size = int(min(max(rate * effort.chunk_seconds / effort.chunks, 32), 512, len(texts)))
    inputs, seconds = [], []
    end = time.perf_counter() + effort.chunk_seconds
    for chunk in range(effort.chunks):
        tell(chunk / effort.chunks)
        start = chunk * size % max(len(texts) - size + 1, 1)
        part = list(texts[start : start + size])
        scorer.clear_cache()
        started = time.perf_counter()
        scorer.scores(part)
        seconds.append(time.perf_counter() - started)
        inputs.append(len(part))
        if time.perf_counter() > end and len(seconds) >= LEAST_BULK_CALLS:
            break
    return inputs, seconds


def _among_others(scorer: Scorer, texts: Sequence[str], count: int, seed: int) -> list[list[float]]:
    """Scores of the first `count` texts, asked together with up to three times as many others in a random order."""
    from trustbase import seeds

    scorer.clear_cache()
    order = seeds.generator(seed, "efficiency", "batches").permutation(min(4 * count, len(texts)))
    scores = scorer.scores([texts[i] for i in order])
    place = np.argsort(order)
    return [np.asarray(scores[place[i]], dtype=np.float64).tolist() for i in range(count)]


def _cycle(texts: Sequence[str], count: int) -> list[str]:
    return [texts[i % len(texts)] for i in range(count)]


def _shared_clock() -> float:
    """Seconds that two processes of one machine may subtract: counted from its start, so that setting the clock changes nothing."""
    return time.monotonic()


def peak_memory_bytes() -> int | None:
    """Most memory that this process ever held; None where the system does not tell.

    Linux's `ru_maxrss` starts from what the *parent* held, so the high-water mark of this address space is read instead.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        return int(line.split()[1]) * 1024 if line is not None else None
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _main() -> None:
    """The child: answers one request."""
    out = os.fdopen(os.dup(1), "w", buffering=1)  # line by line
    os.dup2(2, 1)  # libraries that print must not spoil the answer
    request = json.loads(sys.stdin.buffer.read())
    from trustbase.model.predict import Predictor

    def tell(done: float, total: float) -> None:
        out.write(json.dumps({"done": done, "total": total}) + "\n")

    texts = request["texts"]
    with Predictor.open(request["folder"], cache_size=0) as predictor:
        predictor.scores(texts[:1])
        startup = _shared_clock() - request["started"]
        timed = asdict(measure(predictor, texts, effort=Effort(**request["effort"]), seed=request["seed"], tell=tell))
        timed |= {"startup_seconds": startup, "facts": {"runtime": predictor.runtime.name, "precision": predictor.runtime.precision}}
    torch = sys.modules.get("torch")
    if torch is not None:
        timed["facts"] |= {"threads": torch.get_num_threads()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            timed["peak_device_bytes"] = int(torch.cuda.max_memory_allocated())
            timed["facts"] |= {"device": torch.cuda.get_device_name()}
    timed["peak_memory_bytes"] = peak_memory_bytes()
    out.write(json.dumps(timed) + "\n")
    out.close()


if __name__ == "__main__":
    _main()
