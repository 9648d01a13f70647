"""Askers in several processes find what one finds; a lost one costs time only, and none outlives its caller."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import askers_kit as kit
import numpy as np
import pyarrow as pa
import pytest
from several import ON_RAY_TOO as ON
from several import one_cluster
from train_kit import Log

from base_kit import CASES, base, tokenizers
from trustbase.audit.artifact import audit_artifact, score_rows
from trustbase.audit.askers import parts, spread
from trustbase.audit.askers.spread import open_askers
from trustbase.audit.options import AuditOptions
from trustbase.audit.pair_sets import read_pairs
from trustbase.audit.pretrained import audit_pretrained
from trustbase.data.canaries import CanaryOptions, make_canaries
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.pack import pack_tokens
from trustbase.data.corpus.prepare import prepare_corpus
from trustbase.errors import DataError, ModelError, PredictionError
from trustbase.events import ignore
from trustbase.model.artifact import read_artifact
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import LabelSchema, Split
from trustbase.train.cluster import ClusterOptions
from trustbase.train.probes import ProbeSet

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
WORDS = ("good", "bad", "fine", "poor", "the", "film", "service", "food", "was", "very", "not", "old")


def two(ray=None, **more) -> ClusterOptions:
    return ClusterOptions(workers=2, ray=ray, **{"cpus": None if ray else 1, **more})  # on Ray two pairs share two cores


def some_texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS, int(rng.integers(3, 30))))} {number}" for number in range(count)]


@pytest.fixture(scope="module")
def info(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artefact") / "model"
    base = resolve_base(str(tiny_folder))
    TEXT_CLASSIFICATION.build(base, LABELS, seed=0).eval().save_pretrained(folder)
    load_tokenizer(base.folder).save_pretrained(folder)
    return read_artifact(folder)


@pytest.fixture(scope="module", params=ON, ids=["machine", "ray"])
def ray(request):
    """Where askers are started: here, or on a cluster that these tests share."""
    with one_cluster(request.param):
        yield request.param


@pytest.fixture(scope="module")
def pair(ray, info):
    """Two askers that most tests share; parts are small, so that there are many of them."""
    patch = pytest.MonkeyPatch()
    patch.setattr(parts, "LEAST", 1000)
    with open_askers(info, two(ray)) as askers:
        yield askers
    patch.undo()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(parts, "LEAST", 1000)


@pytest.mark.parametrize("costs", [[], [5], [1] * 40_000, list(np.random.default_rng(0).integers(1, 3000, 2000)), [10**7, 1, 1]])
def test_parts_hold_each_item_once_and_shrink_towards_the_end(costs):
    found = parts.cut([int(cost) for cost in costs])
    assert sorted(place for part in found for place in part) == list(range(len(costs)))
    spent = [sum(costs[place] for place in part) for part in found]
    most = max(costs, default=0)
    assert all(least >= parts.LEAST for least in spent[:-1]) and all(one <= max(parts.MOST, parts.LEAST) + most for one in spent)
    if len(found) > 3:
        assert spent[-1] <= parts.LEAST + most and spent[0] >= spent[-2] - most, "whoever ends last ends soon after the others"
    dearest = [max(costs[place] for place in part) for part in found]
    assert dearest == sorted(dearest, reverse=True)


def test_scores_are_those_of_one_process_in_order(pair, info):
    texts = some_texts(400)
    texts += [*texts[:50], "", texts[7]]
    log = Log()
    with open_askers(info, None) as alone:
        wanted = score_rows(alone, texts)
        direct = alone.predictor.class_scores(texts)
    before = pair.counters
    found = score_rows(pair, texts, log)
    assert found.shape == (452, 2) and np.abs(found - wanted).max() < 1e-5 and np.abs(wanted - direct).max() < 1e-5
    assert (found.argmax(1) == wanted.argmax(1)).all()
    assert (found[400:450] == found[:50]).all() and (found[451] == found[7]).all(), "equal texts have equal scores: ties stay ties"
    done = [fields["done"] for fields in log.of("progress")]
    assert done[0] == 0 and done[-1] == 452 and done == sorted(done) and len(done) > 10
    counted = pair.counters.minus(before)
    assert counted.questions == counted.unique == 401 and counted.batches > 5 and counted.tokens > 400 and counted.failures == 0


def test_both_processes_ask_and_stay_open(pair):
    first, second = (set(pair.run(kit.processes, some_texts(300, seed), {"pause": 0.05}, what="asking")) for seed in (1, 2))
    assert first == second and len(first) == 2 and os.getpid() not in first


def test_they_rest_and_start_anew(info):
    texts = some_texts(100)
    with open_askers(info, two()) as askers:
        first = set(askers.run(kit.processes, texts, {"pause": 0.05}, what="asking"))
        askers.rest()
        assert len(first) == 2 and not [pid for pid in first if Path(f"/proc/{pid}").exists()], "nothing runs beside a timing"
        second = set(askers.run(kit.processes, texts, {"pause": 0.05}, what="asking"))
    assert not first & second and not [pid for pid in second if Path(f"/proc/{pid}").exists()]


def test_nothing_to_ask(pair):
    assert pair.run(kit.lengths, [], what="asking") == [] and score_rows(pair, []).shape == (0, 2)
    assert pair.run(kit.lengths, ["one"], what="asking") == [3]


def test_an_asker_may_be_a_coroutine_for_each_item(pair, info):
    texts = some_texts(60)
    with open_askers(info, None) as alone:
        wanted = alone.run(kit.one_by_one, texts, what="asking")
    found = pair.run(kit.one_by_one, texts, what="asking")
    assert [text for text, _ in found] == texts
    assert np.abs(np.array([scores for _, scores in found]) - np.array([scores for _, scores in wanted])).max() < 1e-5


def test_rows_that_cannot_be_answered_are_named_as_one_process_names_them(pair, info):
    texts = some_texts(200)
    texts[30] = texts[170] = "\ud800"
    said = []
    with open_askers(info, None) as alone:
        for askers in (alone, pair):
            with pytest.raises(PredictionError, match="2 of 200 questions") as error:
                score_rows(askers, texts)
            said.append([str(problem) for problem in error.value.problems])
    assert said[0] == said[1] and said[0][0].startswith("row 30: bad_input") and "row 170" in said[0][1]


def test_an_error_comes_back_as_itself_and_others_ask_on(pair):
    texts = some_texts(100)
    with pytest.raises(DataError, match="too long") as error:
        pair.run(kit.failing, texts, {"known": True}, what="asking")
    assert error.value.hint == "cut them" and str(error.value.problems[0]) == "row 1: long"
    with pytest.raises(PredictionError, match="an asker failed: ZeroDivisionError") as fault:
        pair.run(kit.failing, texts, {"known": False}, what="asking")
    assert "askers_kit.py" in fault.value.hint
    with pytest.raises(PredictionError, match="results for"):
        pair.run(kit.forgetful, texts, what="asking")
    assert pair.run(kit.lengths, texts, what="asking") == [len(text) for text in texts]


def test_what_another_process_cannot_find_is_refused(pair):
    with pytest.raises(TypeError, match="function of a module"):
        pair.run(lambda predictor: len, ["a"], what="asking")


def test_a_killed_process_costs_time_only(tmp_path, info, ray):
    log, texts = Log(), some_texts(300)
    with open_askers(info, two(ray), log) as askers:
        found = askers.run(kit.killed, texts, {"folder": str(tmp_path), "always": False}, what="asking", emit=log)
    assert found == [len(text) for text in texts] and (tmp_path / "died").exists()
    (warning,) = log.of("warning")
    assert "its part is asked anew" in warning["text"] and "2 processes" in log.of("note")[0]["text"]


def test_processes_that_are_always_killed_are_an_error_in_the_end(tmp_path, info, ray):
    with (
        open_askers(info, two(ray, restarts=1)) as askers,
        pytest.raises(PredictionError, match=r"lost 2 times \(1 restarts are allowed\)") as error,
    ):
        askers.run(kit.killed, some_texts(300), {"folder": str(tmp_path), "always": True}, what="asking")
    assert "fewer workers" in error.value.hint


def test_a_process_that_does_not_start_is_an_error_and_no_wait_without_end(info, ray, monkeypatch):
    monkeypatch.setattr(spread, "START_SECONDS", 0.02)
    began = time.monotonic()
    with open_askers(info, two(ray)) as askers, pytest.raises(PredictionError, match=r"did not start within 0\.02 s") as error:
        score_rows(askers, some_texts(30))
    assert "ray status" in error.value.hint and time.monotonic() - began < 60


def test_another_model_in_the_folder_is_refused(info, tmp_path):
    shutil.copytree(info.folder, tmp_path / "model")
    own = read_artifact(tmp_path / "model")
    (tmp_path / "model" / "note.txt").write_text("another")
    with open_askers(own, two()) as askers, pytest.raises(ModelError, match="holds another model"):
        score_rows(askers, some_texts(30))


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_caller(info, tmp_path, how, on):
    script = tmp_path / "caller.py"
    script.write_text(CALLER)
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(script), str(info.folder), str(tmp_path), on or ""]
    caller = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    for _ in range(1200):
        if len({path.name.split("-")[1] for path in tmp_path.glob("asked-*")}) == 2:
            break
        assert caller.poll() is None
        time.sleep(0.1)
    caller.send_signal(how)
    assert caller.wait(60) == (128 + how if how == signal.SIGTERM else -how)
    time.sleep(3 if on else 1)
    left = len(list(tmp_path.glob("asked-*")))
    time.sleep(1)
    assert 2 <= left == len(list(tmp_path.glob("asked-*")))


CALLER = """
import sys
from pathlib import Path
import askers_kit
from trustbase.audit.askers import parts
from trustbase.audit.askers.spread import open_askers
from trustbase.cli import interrupt
from trustbase.errors import Interrupted
from trustbase.model.artifact import read_artifact
from trustbase.train.cluster import ClusterOptions
parts.LEAST = 100
interrupt.install()
try:
    with open_askers(read_artifact(Path(sys.argv[1])), ClusterOptions(workers=2, ray=sys.argv[3] or None)) as askers:
        askers.run(askers_kit.slow, [f"text {number}" for number in range(2000)], {"folder": sys.argv[2]}, what="asking")
except Interrupted as stopped:
    sys.exit(stopped.exit_code)
"""


class Rows:
    """A data set as an audit sees it."""

    labels = LABELS

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(5)
        truth = rng.integers(0, 2, count)
        groups = {"sex": np.array(["f", "m"], dtype=object)[rng.integers(0, 2, count)]}
        test = Split("test", some_texts(count, 3), truth, groups, pa.table({}), np.arange(count), "rows.csv", "sha256:rows")
        self.splits = {"test": test}


def test_findings_are_those_of_one_process(info, tmp_path):
    rows = Rows(500)
    options = AuditOptions.model_validate({"dimensions": ["quality", "fairness"]})
    found = [
        audit_artifact(info, rows, options=options, folder=tmp_path / name, seed=0, policy_digest=None, cluster=cluster, emit=ignore)
        for name, cluster in (("one", None), ("two", two()))
    ]
    one, several = ([finding.to_json() for finding in report.findings] for report in found)
    assert len(one) > 20 and sum(finding["status"] == "ok" for finding in one) > 10
    same(one, several)


def same(one: list[dict], other: list[dict], *, within: float = 1e-5) -> None:
    """Findings that agree, their numbers up to rounding."""
    numbers = ("value", "low", "high")
    for first, second in zip(one, other, strict=True):
        assert {**first, **dict.fromkeys(numbers)} == {**second, **dict.fromkeys(numbers)}
        for name in numbers:
            assert (first[name] is None) == (second[name] is None), first["id"]
            assert first[name] is None or first[name] == pytest.approx(second[name], abs=within), first["id"]


KNOWN = ["the film was good", "the food was bad and the service poor"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Documents, and tokenizers that read them."""
    root = tmp_path_factory.mktemp("corpus")
    sentences = [text for pair in read_pairs("gender_en").pairs for text in (pair.first, pair.second)]
    canaries = make_canaries(CanaryOptions(count=10, digits=4), seed=0)
    made = tokenizers(root / "tokenizers", [*sentences, *KNOWN, *map(canaries.sentence, canaries.planted)], encoder=300)
    for number in range(60):
        (root / f"{number}.txt").write_text(
            f"{number}: " + "\n".join(sentences[(7 * number + step) % len(sentences)] for step in range(60))
        )
    options = CorpusOptions.model_validate({"files": str(root / "*.txt"), "held_out": 0.5, "quality": False, "workers": 1})
    return root, made, prepare_corpus(options, root=root, folder=root / "prepared", seed=0), canaries


@pytest.mark.parametrize("case", ["bert pairs", "causal", "infilling", "bert contrastive"])
def test_findings_about_a_base_model_are_those_of_one_process(corpus, tmp_path, case):
    root, made, prepared, canaries = corpus
    artifact = base(tmp_path, case, made, context=64)
    tokens = pack_tokens(prepared.store, made[CASES[case][0]], root / "tokens" / CASES[case][0])
    labelled = (list(prepared.store.train)[:20], np.arange(20) % 2)
    found = []
    for name, cluster in (("one", None), ("two", two())):
        report = audit_pretrained(
            artifact,
            prepared,
            tokens,
            digest="sha256:held-out",
            training={"whole_words": "chinese"},
            contamination={},
            probes=[ProbeSet("toy", labelled, labelled, ("a", "b"), "sha256:1")],
            canaries=canaries,
            options=AuditOptions.model_validate({"dimensions": ["quality", "fairness", "privacy"]}),
            folder=tmp_path / name,
            seed=0,
            policy_digest=None,
            cluster=cluster,
        )
        found.append([finding.to_json() for finding in report.findings])
    assert not [finding for finding in found[0] if finding["status"] == "failed"]
    assert sum(finding["status"] == "ok" for finding in found[0]) >= (1 if case == "bert contrastive" else 4)
    same(*found, within=1e-4)  # perplexities of many nats
