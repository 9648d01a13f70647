"""The efficiency audit: what an answer of this artefact costs in bytes, time, memory, energy and money on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.counted import flops, read_config, size_findings
from trustbase.audit.durations import mean_duration, quantile_interval
from trustbase.audit.measure import LEAST_BULK_CALLS, Effort, Timings, measure, measure_apart
from trustbase.audit.options import CostOptions
from trustbase.audit.stats import Interval, bounded_mean, proportion
from trustbase.data.cells import inputs_of
from trustbase.data.pair import CELL
from trustbase.errors import PredictionError
from trustbase.model.artifact import PLAIN_FILE
from trustbase.model.ensemble import first_part
from trustbase.outputs.answers.base import answering
from trustbase.records import ArtifactInfo, Direction, Finding, Status

QUANTILES = (("latency_p50_ms", 0.50), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99))
COUNTED = ("artifact_bytes", "parameters", "flops_per_input")
SAMPLE = 2_000  # distinct test texts that are timed
_TIMED = (
    *(name for name, _ in QUANTILES),
    "throughput",
    "peak_memory_bytes",
    "startup_seconds",
    "batch_invariance",
    "batch_label_flips",
    "energy_per_1000",
    "carbon_per_1000",
    "cost_per_1000",
)
_LEAST_TEXTS = 100  # of fewer, the interval of their mean length was seen to cover more than it claims
_DIRECTION: dict[str, Direction] = {"throughput": "higher", "flops_per_input": "lower"}
_ORDER = "David & Nagaraja (2003), Order Statistics, section 7.1"
_CAVEAT = "calls one after another on this machine, whatever else it was doing"


def audit_any(context: AuditContext, *, effort: Effort | None = None) -> list[Finding]:
    """All efficiency findings, of answers of any kind; writes `evidence/efficiency.json`."""
    predictor = context.predictor
    if predictor is None:
        reason = "answers were given without a model, so there is nothing to time or count"
        return [_without(context, name, "not_applicable", reason) for name in (*COUNTED, *_TIMED)]
    info: ArtifactInfo | None = context.artifact or getattr(predictor, "info", None)
    texts = _sample(context)
    findings = _counted(context, info, texts)
    try:
        timings = _time(context, info, texts, effort or Effort())
    except PredictionError as error:  # what was counted stands; what could not be timed is said for each number
        context.emit("warning", text=f"the artefact could not be timed: {error.message}")
        return [*findings, *(_without(context, name, "failed", error.message) for name in _TIMED), *_parity(context, info)]
    cost = context.options.cost
    context.evidence.write("efficiency", _evidence(timings, cost))
    findings += [*_latencies(context, timings), *_running(context, timings, cost), *_invariance(context, info, timings)]
    return [*findings, *_parity(context, info)]


def audit_counted(context: AuditContext) -> list[Finding]:
    """The efficiency findings that are counted and not timed: what another machine finds as well. Writes nothing."""
    return _counted(context, context.artifact, _sample(context))


def _sample(context: AuditContext) -> list[str]:
    """Distinct test inputs in a seeded order: repeated ones would be answered once and flatter every number."""
    columns = context.artifact.columns if context.artifact is not None else ()
    distinct = np.array(list(dict.fromkeys(inputs_of(context.test, columns))), dtype=object)
    order = seeds.generator(context.seed, "efficiency", "texts").permutation(len(distinct))[:SAMPLE]
    return [str(text) for text in distinct[order]]


def _time(context: AuditContext, info: ArtifactInfo | None, texts: list[str], effort: Effort) -> Timings:
    """In a process of its own where the artefact lies on disk; else (a stand-in) by asking it here."""

    def tell(done: float, total: float) -> None:
        context.emit("progress", what="timing the artefact", done=done, total=total)

    tell(0, effort.call_seconds + effort.chunk_seconds)
    if context.askers is not None:
        context.askers.rest()
    if info is not None and any((first_part(info.folder) / name).is_file() for name in ("config.json", PLAIN_FILE)):
        return measure_apart(info.folder, texts, effort=effort, seed=context.seed, tell=tell)
    assert context.predictor is not None
    return measure(context.predictor, texts, effort=effort, seed=context.seed, tell=tell)


def _counted(context: AuditContext, info: ArtifactInfo | None, texts: list[str]) -> list[Finding]:
    """Bytes, parameters and operations; `failed` where the folder does not tell."""
    if info is None or not info.folder.is_dir():
        return [_without(context, name, "not_applicable", "this model has no artefact folder") for name in COUNTED]
    findings, sizes = size_findings(info, confidence=context.confidence)
    if sizes is None:
        return [*findings, _without(context, "flops_per_input", "failed", findings[-1].reason)]
    return [*findings, _operations(context, info, sizes, texts)]


def _operations(context: AuditContext, info: ArtifactInfo, sizes: Mapping[str, int], texts: list[str]) -> Finding:
    """Operations at the mean length of the test texts; the interval is that of the mean length."""
    tokenizer = getattr(context.predictor, "tokenizer", None)
    if tokenizer is None:
        return _without(context, "flops_per_input", "not_applicable", "this model has no tokenizer, so the length of its inputs is unknown")
    if len(texts) < _LEAST_TEXTS:
        reason = f"{len(texts)} distinct test texts, fewer than the minimum of {_LEAST_TEXTS}"
        return _without(context, "flops_per_input", "insufficient", reason, n=len(texts))
    from trustbase.model.sequencer import Sequencer

    read = Sequencer.of(info).encode(tokenizer, [text.split(CELL, 1)[0] for text in texts])
    counted, pieces = read.lengths, len(read.flat) / len(read)  # sequences of an input, on average
    lengths = bounded_mean(counted, 1.0, float(max(info.max_length, *counted)), confidence=context.confidence)
    config, classes, members = read_config(first_part(info.folder)), len(info.labels.names), info.members
    value, low, high = (
        members * pieces * flops(config, sizes, tokens / pieces, classes)[0]
        for tokens in (lengths.value, max(lengths.low, 1.0), lengths.high)
    )
    method = flops(config, sizes, lengths.value / pieces, classes)[1]
    times = f"; of {members} members together" if members > 1 else ""
    return Interval(
        min(low, value),
        max(high, value),
        f"{method}, at the mean of {lengths.value:.1f} tokens{_in_pieces(pieces)}; padding not counted{times}",
        "derived from the shapes; compare Kaplan et al. (2020), section 2.1",
        value,
        lengths.n,
    ).finding("efficiency.flops_per_input", direction="lower", confidence=context.confidence, unit="FLOPs")


def _in_pieces(pieces: float) -> str:
    return "" if pieces == 1 else f" in {pieces:.2f} sequences an input"


def _latencies(context: AuditContext, timings: Timings) -> list[Finding]:
    findings = []
    n = len(timings.latency_ms)
    for name, q in QUANTILES:
        value, low, high = quantile_interval(timings.latency_ms, q, confidence=context.confidence)
        if low is None or high is None:
            reason = f"{n} calls are too few to bound the {q:.0%} quantile"
            findings.append(_without(context, name, "insufficient", reason, n=n, unit="ms"))
            continue
        method = f"order statistics of {n} warm single questions on real test texts; {_CAVEAT}"
        findings.append(
            Interval(low, high, method, _ORDER, value, n).finding(
                f"efficiency.{name}", direction="lower", confidence=context.confidence, unit="ms"
            )
        )
    return findings


def _running(context: AuditContext, timings: Timings, cost: CostOptions) -> list[Finding]:
    """Throughput and what follows from it, memory and start-up."""
    calls = len(timings.chunk_seconds)
    if calls < LEAST_BULK_CALLS:
        reason = f"{calls} bulk calls, fewer than the minimum of {LEAST_BULK_CALLS}"
        names = ("throughput", "energy_per_1000", "carbon_per_1000", "cost_per_1000")
        findings = [_without(context, name, "insufficient", reason, n=calls) for name in names]
    else:
        each = mean_duration(np.array(timings.chunk_seconds) / np.array(timings.chunk_inputs), confidence=context.confidence)
        inputs = sum(timings.chunk_inputs) // len(timings.chunk_inputs)
        method = f"mean of {each.n} bulk calls of {inputs} inputs, no cache; {_CAVEAT}"
        findings = [_scaled(context, "throughput", each, lambda seconds: 1 / seconds, "inputs/s", method)]
        assumed = f"assuming {cost.watts:g} W"
        findings.append(_scaled(context, "energy_per_1000", each, lambda s: cost.watts * s * 1000 / 3600, "Wh", assumed))
        grid = f"{assumed} and {cost.carbon_grams_per_kwh:g} g CO2-equivalent per kWh"
        factor = cost.watts * cost.carbon_grams_per_kwh / 3600
        findings.append(_scaled(context, "carbon_per_1000", each, lambda s: factor * s, "g", grid))
        price = f"assuming {cost.price_per_hour:g} {cost.currency} per hour of a machine that is always busy"
        findings.append(_scaled(context, "cost_per_1000", each, lambda s: cost.price_per_hour * s * 1000 / 3600, cost.currency, price))
    return [*findings, *_process(context, timings)]


def _scaled(context: AuditContext, name: str, each: Interval, convert: Callable[[float], float], unit: str, method: str) -> Finding:
    """A monotone function of the seconds per input, with its bounds carried along."""
    bounds = sorted((convert(each.low), convert(each.high)))
    value = convert(each.value)
    interval = Interval(min(bounds[0], value), max(bounds[1], value), method, each.source, value, each.n)
    return interval.finding(f"efficiency.{name}", direction=_DIRECTION.get(name, "lower"), confidence=context.confidence, unit=unit)


def _process(context: AuditContext, timings: Timings) -> list[Finding]:
    findings = []
    measured = (
        (
            "peak_memory_bytes",
            timings.peak_memory_bytes,
            "bytes",
            "high-water mark of a process that only answers; one process, so no interval",
        ),
        ("startup_seconds", timings.startup_seconds, "s", "from starting a process to its first answer; one start, so no interval"),
    )
    for name, value, unit, method in measured:
        if value is None:
            findings.append(_without(context, name, "not_applicable", "not measured in a process of its own"))
        else:
            findings.append(Finding.exact(f"efficiency.{name}", value, n=1, unit=unit, direction="lower", method=method))
    if timings.peak_device_bytes is not None:
        method = "most memory of the accelerator that tensors held at once"
        findings.append(
            Finding.exact("efficiency.peak_device_bytes", timings.peak_device_bytes, n=1, unit="bytes", direction="lower", method=method)
        )
    return findings


def _invariance(context: AuditContext, info: ArtifactInfo | None, timings: Timings) -> list[Finding]:
    """How much an answer depends on its neighbours in the batch."""
    labels = info.labels if info is not None else context.labels
    way = answering(info.answer_kind if info is not None else "classes")
    alone, mixed = way.together(timings.alone, labels), way.together(timings.mixed, labels)
    n = len(alone)
    largest = float(way.differences(alone, mixed, labels).max())
    method = f"largest difference over {n} texts asked alone and among others; a maximum of a sample, so no interval"
    findings = [
        Finding.exact("efficiency.batch_invariance", largest, n=n, unit=way.unit, direction="lower", method=method, seed=context.seed)
    ]
    flips = int(way.flips(way.decide(alone, labels, context.decision), way.decide(mixed, labels, context.decision)).sum())
    interval = proportion(flips, n, confidence=context.confidence)
    findings.append(
        interval.finding("efficiency.batch_label_flips", direction="lower", confidence=context.confidence, unit="share", seed=context.seed)
    )
    return findings


def _parity(context: AuditContext, info: ArtifactInfo | None) -> list[Finding]:
    """How far an artefact that is not fp32 torch strays from it on real rows, as its export measured it."""
    parity = info.facts.get("parity") if info is not None else None
    if info is None or not isinstance(parity, Mapping):
        if info is None or info.precision == "fp32":
            return []
        reason = f"the artefact is {info.precision} and carries no comparison with fp32"
        return [_without(context, name, "insufficient", reason) for name in ("parity_max_difference", "parity_label_flips")]
    n = int(parity["n"])
    method = f"largest difference from fp32 over {n} validation rows; a maximum of a sample, so no interval"
    largest = Finding.exact(
        "efficiency.parity_max_difference",
        float(parity["max_difference"]),
        n=n,
        unit=str(parity.get("unit", "probability")),
        direction="lower",
        method=method,
    )
    flips = proportion(int(parity["label_flips"]), n, confidence=context.confidence)
    return [largest, flips.finding("efficiency.parity_label_flips", direction="lower", confidence=context.confidence, unit="share")]


def _evidence(timings: Timings, cost: CostOptions) -> dict[str, Any]:
    latency = np.array(timings.latency_ms)
    edges = np.linspace(0, float(np.quantile(latency, 0.995)) * 1.02, 31)
    shown = (1, 5, 10, 25, 50, 75, 90, 95, 99)
    return {
        "latency_ms": {
            "calls": len(latency),
            "quantiles": {str(q): float(np.percentile(latency, q)) for q in shown},
            "histogram": {
                "edges": edges.tolist(),
                "counts": np.histogram(latency, edges)[0].tolist(),
                "above": int((latency > edges[-1]).sum()),
            },
        },
        "throughput": {"inputs": timings.chunk_inputs, "seconds": timings.chunk_seconds},
        "assumptions": cost.model_dump(),
        "process": {"startup_seconds": timings.startup_seconds, "peak_memory_bytes": timings.peak_memory_bytes, **timings.facts},
    }


def _without(context: AuditContext, name: str, status: Status, reason: str, **fields: Any) -> Finding:
    direction = _DIRECTION.get(name, "lower")
    return Finding.without_value(f"efficiency.{name}", status, reason, direction=direction, confidence=context.confidence, **fields)
