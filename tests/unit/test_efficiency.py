"""Efficiency numbers come from what was measured, quantile bounds cover, and counts equal torch's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tiny import tiny_bert
from trustbase import files
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.counted import flops, folder_bytes, read_config, tensor_sizes
from trustbase.audit.durations import mean_duration, quantile_interval
from trustbase.audit.efficiency import audit_any
from trustbase.audit.measure import Effort, measure, peak_memory_bytes
from trustbase.audit.options import AuditOptions, CostOptions
from trustbase.errors import Interrupted, ModelError, PredictionError
from trustbase.records import ArtifactInfo, Decision, Finding, LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
EFFORT = Effort(warm_up=2, calls=400, call_seconds=5, chunks=5, chunk_seconds=0.2, invariance=16)


class Fake:
    """Scores by length; a batch neighbour longer than 40 characters moves every score by `leak`."""

    tokenizer = None

    def __init__(self, leak: float = 0.0, seconds: float = 0.0) -> None:
        self.leak, self.seconds, self.calls, self.cleared = leak, seconds, 0, 0

    def scores(self, texts: Sequence[str]) -> np.ndarray:
        assert len(set(texts)) == len(texts), "a repeated text would be answered once"
        time.sleep(self.seconds)
        self.calls += 1
        positive = np.array([(len(text) % 10) / 10 for text in texts])
        positive = positive + self.leak * (len(texts) > 1)
        return np.column_stack([1 - positive, positive])

    def clear_cache(self) -> None:
        self.cleared += 1


def context(folder: Path, predictor: Any, **more: Any) -> AuditContext:
    texts = [f"text {'x' * (i % 60)} {i}" for i in range(90)] + ["text again"] * 10
    test = Split("test", texts, np.zeros(100, np.int64), {}, pa.table({}), np.arange(100), "x", "sha256:d")
    return AuditContext(test, LABELS, Decision(), Answers(None, np.zeros(100, np.int64)), Evidence(folder), 0, predictor=predictor, **more)


def measured(ctx: AuditContext, effort: Effort = EFFORT) -> dict[str, Finding]:
    return {finding.id.removeprefix("efficiency."): finding for finding in audit_any(ctx, effort=effort)}


def test_a_slow_model_is_measured_as_slow(tmp_path: Path) -> None:
    fake = Fake(seconds=0.004)
    found = measured(context(tmp_path, fake))
    for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"):
        assert found[name].status == "ok" and found[name].value is not None and found[name].value >= 4
    assert found["latency_p50_ms"].value <= found["latency_p95_ms"].value  # type: ignore[operator]
    assert 0 < found["throughput"].value < 91 / 0.004  # type: ignore[operator]
    assert fake.cleared >= 400, "the cache must be empty before each timed call"
    evidence = files.read_json(tmp_path / "efficiency.json")
    histogram = evidence["latency_ms"]["histogram"]
    assert sum(histogram["counts"]) + histogram["above"] == 400 and "quantiles" in evidence["latency_ms"]


def test_cost_and_energy_follow_from_throughput_and_their_assumptions(tmp_path: Path) -> None:
    options = AuditOptions(cost=CostOptions(price_per_hour=3.6, currency="EUR", watts=36, carbon_grams_per_kwh=500))
    found = measured(context(tmp_path, Fake(seconds=0.002), options=options))
    seconds = 1 / found["throughput"].value  # type: ignore[operator]
    assert found["cost_per_1000"].value == pytest.approx(seconds) and found["cost_per_1000"].unit == "EUR"
    assert found["energy_per_1000"].value == pytest.approx(36 * seconds / 3.6)
    assert found["carbon_per_1000"].value == pytest.approx(36 * seconds / 3.6 * 500 / 1000)
    assert "36 W" in found["energy_per_1000"].method and "3.6 EUR per hour" in found["cost_per_1000"].method
    assert files.read_json(tmp_path / "efficiency.json")["assumptions"]["watts"] == 36


def test_dependence_on_the_batch_is_found(tmp_path: Path) -> None:
    still = measured(context(tmp_path, Fake()))
    assert still["batch_invariance"].value == pytest.approx(0, abs=1e-15) and still["batch_label_flips"].value == 0
    leaky = measured(context(tmp_path, Fake(leak=0.15)))
    assert leaky["batch_invariance"].value == pytest.approx(0.15)
    assert leaky["batch_label_flips"].value > 0 and leaky["batch_label_flips"].n == 16  # type: ignore[operator]


def test_few_calls_bound_no_high_quantile(tmp_path: Path) -> None:
    found = measured(context(tmp_path, Fake()), replace(EFFORT, calls=60))
    assert found["latency_p50_ms"].status == "ok"
    assert found["latency_p99_ms"].status == "insufficient" and "60 calls" in found["latency_p99_ms"].reason


def test_quantile_bounds_cover_the_true_quantile() -> None:
    rng = np.random.default_rng(0)
    for q in (0.5, 0.95, 0.99):
        true = float(np.exp(_normal_quantile(q)))
        inside = 0
        for _ in range(1000):
            value, low, high = quantile_interval(rng.lognormal(size=500), q)
            assert low is not None and high is not None and low <= value <= high
            inside += low <= true <= high
        assert 0.93 <= inside / 1000 <= 0.975  # counts are whole numbers, so coverage lies a little above 95 %


def test_mean_of_bulk_calls_agrees_with_drawn_pivots_and_asks_for_positive_times() -> None:
    rng = np.random.default_rng(0)
    seconds = rng.lognormal(0, 0.4, 6)
    logs = np.log(seconds)
    normal, ratio = rng.standard_normal(400_000), np.sqrt(rng.chisquare(5, 400_000) / 5)
    drawn = np.exp(logs.mean() - normal / ratio * logs.std(ddof=1) / np.sqrt(6) + logs.var(ddof=1) / ratio**2 / 2)
    found = mean_duration(seconds)
    assert found.value == pytest.approx(seconds.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=0.01)
    same = mean_duration([2.0] * 5)
    assert same.low == pytest.approx(2.0) == same.high
    for wrong in ([1.0], [1.0, 0.0, 2.0], [1.0, np.inf]):
        with pytest.raises(ValueError, match="two finite values above zero"):
            mean_duration(wrong)


def test_few_bulk_calls_are_insufficient(tmp_path: Path) -> None:
    found = measured(context(tmp_path, Fake()), replace(EFFORT, chunks=4))
    for name in ("throughput", "energy_per_1000", "carbon_per_1000", "cost_per_1000"):
        assert found[name].status == "insufficient" and found[name].n == 4 and "minimum of 5" in found[name].reason


def _normal_quantile(q: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(q)


def test_without_a_model_there_is_nothing_to_time(tmp_path: Path) -> None:
    found = measured(context(tmp_path, None))
    assert len(found) >= 14 and {finding.status for finding in found.values()} == {"not_applicable"}


def test_a_process_that_fails_is_failed_findings_and_counts_stand(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x00")
    info = ArtifactInfo(folder, "sha256:m", "text-classification", "classes", LABELS, "torch", "fp32", 64, "base", "1")
    events: list[str] = []
    emit = lambda event, /, **fields: events.append(event)  # noqa: E731
    found = measured(context(tmp_path, Fake(), artifact=info, emit=emit))
    assert found["artifact_bytes"].value == 3
    assert found["parameters"].status == "failed" and "no safetensors file" in found["parameters"].reason
    assert found["latency_p50_ms"].status == "failed" and "ended with code" in found["latency_p50_ms"].reason
    assert "warning" in events


def test_parity_is_taken_from_the_artefact(tmp_path: Path) -> None:
    info = ArtifactInfo(tmp_path / "nowhere", "sha256:m", "t", "classes", LABELS, "torch", "bf16", 64, "base", "1")
    assert measured(context(tmp_path, Fake(), artifact=info))["parity_max_difference"].status == "insufficient"
    assert "parity_max_difference" not in measured(context(tmp_path, Fake(), artifact=replace(info, precision="fp32")))
    facts = {"parity": {"n": 500, "max_difference": 0.004, "label_flips": 1}}
    found = measured(context(tmp_path, Fake(), artifact=replace(info, facts=facts)))
    assert found["parity_max_difference"].value == 0.004 and found["parity_max_difference"].n == 500
    flips = found["parity_label_flips"]
    assert flips.value == 1 / 500 and flips.low is not None and flips.high is not None and flips.low < 1 / 500 < flips.high


def test_operations_equal_those_that_torch_counts(tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path / "base", layers=3, hidden=32, heads=4)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager", num_labels=5).eval()
    model.save_pretrained(tmp_path / "model")
    tokens = 24
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(1, tokens, dtype=torch.long), attention_mask=torch.ones(1, tokens, dtype=torch.long))
    sizes = tensor_sizes(tmp_path / "model")
    value, method = flops(read_config(tmp_path / "model"), sizes, tokens, 5)
    assert value == counter.get_total_flops() and "transformer encoder" in method
    assert sum(sizes.values()) == sum(parameter.numel() for parameter in model.parameters())
    other, method = flops({"model_type": "something new"}, {"embed.weight": 100, "layer.weight": 50}, 10, 5)
    assert other == 1000 and "attention left out" in method
    assert folder_bytes(tmp_path / "model") == sum(path.stat().st_size for path in (tmp_path / "model").iterdir())


def test_broken_weights_are_not_counted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors"):
        tensor_sizes(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelError, match="header"):
        tensor_sizes(tmp_path)


def test_fewer_texts_than_a_chunk_are_enough() -> None:
    timings = measure(Fake(), ["a", "bb", "ccc"], effort=replace(EFFORT, calls=10), seed=0)
    assert len(timings.latency_ms) == 10 and timings.chunk_inputs == [3] * 5 and len(timings.alone) == len(timings.mixed) == 3


def test_peak_memory_is_of_this_process() -> None:
    peak = peak_memory_bytes()
    assert peak is not None and 10_000_000 < peak < 10**12


def test_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    """One real start: a tiny checkpoint, opened by its Predictor, timed apart."""
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path / "model")
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(folder)
    from trustbase.model.artifact import read_artifact

    info = read_artifact(folder)
    predictor = SimpleNamespace(tokenizer=None, info=info)
    told: list[tuple[float, float]] = []
    emit = lambda event, /, **fields: told.append((fields["done"], fields["total"]))  # noqa: E731
    found = measured(context(tmp_path, predictor, artifact=info, emit=emit), replace(EFFORT, calls=400))
    done = [seconds for seconds, _ in told]  # beside a total that is less where a busy machine makes fewer calls
    assert len(told) >= EFFORT.chunks and done == sorted(done) and told[-1] == (5.2, 5.2), "its signs of life come through"
    for name in ("startup_seconds", "peak_memory_bytes", "latency_p95_ms", "throughput", "batch_invariance"):
        assert found[name].status == "ok", found[name].reason
    assert found["batch_invariance"].value <= 1e-5  # type: ignore[operator]
    assert found["peak_memory_bytes"].value > 50_000_000  # type: ignore[operator]
    assert files.read_json(tmp_path / "efficiency.json")["process"]["runtime"] == "torch"


def test_a_signal_while_timing_ends_the_audit_and_a_failure_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: BaseException) -> Any:
        def measure(*args: Any, **kwargs: Any) -> Any:
            raise error

        return measure

    monkeypatch.setattr("trustbase.audit.efficiency.measure", raising(Interrupted("stopped", signal_number=15)))
    with pytest.raises(Interrupted):
        measured(context(tmp_path, Fake()))
    monkeypatch.setattr("trustbase.audit.efficiency.measure", raising(PredictionError("too slow")))
    found = measured(context(tmp_path, Fake()))
    assert found["throughput"].status == "failed" and found["throughput"].value is None and found["throughput"].reason == "too slow"
