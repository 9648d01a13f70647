"""What a base model is audited for beside its predictions: likelihood gaps between groups, and planted canaries."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from base_kit import TEXTS, base, tokenizers, write_base
from trustbase import files
from trustbase.audit import canaries as canary_audit
from trustbase.audit import likelihood
from trustbase.audit.catalogue import PAIR_SETS, why_never
from trustbase.audit.context import Evidence
from trustbase.audit.language_context import Documents, LanguageContext
from trustbase.audit.likelihood import absolute, half_difference
from trustbase.audit.pair_sets import SIDES, read_pairs
from trustbase.audit.stats import Interval
from trustbase.data.canaries import SOURCE, Canaries, CanaryOptions, make_canaries, plant_canaries
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.pack import pack_tokens
from trustbase.data.corpus.prepare import prepare_corpus
from trustbase.finding_id import parse
from trustbase.model.predict import Predictor
from trustbase.model.questions import Answer, Likelihood, Question, Result
from trustbase.model.scratch import build_model

SETS = {name: read_pairs(name) for name in PAIR_SETS}
WORDS = [text for known in SETS.values() for pair in known.pairs for text in (pair.first, pair.second)]
CANARIES = make_canaries(CanaryOptions(count=10, repeats=3), seed=1)


class Stub:
    """A model whose likelihoods are given by a function of the text."""

    def __init__(
        self, tokenizer: Any, answer: Any, outputs: tuple[str, ...] = ("log_likelihood", "embedding"), way: str = "masked"
    ) -> None:
        self.tokenizer, self._answer = tokenizer, answer
        self.runtime = SimpleNamespace(outputs=outputs, way=way)
        self.asked: list[str] = []

    def ask_all(self, questions: list[Question]) -> list[Result]:
        self.asked += [question.input for question in questions]
        return [Answer(Likelihood(*self._answer(question.input))) for question in questions]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer that reads every sentence, and one that reads none of the Chinese ones."""
    root = tmp_path_factory.mktemp("read")
    return tokenizers(root, [*WORDS, *TEXTS], encoder=900), root


def context(folder: Path, predictor: Any, **more: Any) -> LanguageContext:
    artifact = SimpleNamespace(max_length=more.pop("length", 64), base="random weights")
    fields: dict[str, Any] = {"card": {}, "training": {}, "corpus": None, "tokens": None, **more}
    return LanguageContext(artifact, predictor, Documents("sha256:0", 3), evidence=Evidence(folder), seed=0, **fields)  # type: ignore[arg-type]


# --- sentence pairs ---------------------------------------------------------------------------------------------------------------


def test_the_sets_are_those_of_the_folder_and_large_enough() -> None:
    folder = Path(likelihood.__file__).with_name("pairs")
    assert sorted(PAIR_SETS) == sorted(path.stem for path in folder.iterdir()) and len(PAIR_SETS) == 6
    assert {known.language for known in SETS.values()} == {"zh", "en"}


@pytest.mark.parametrize("name", PAIR_SETS)
def test_pairs_differ_in_one_term_only_and_both_kinds_of_stereotype_balance(name: str) -> None:
    known = SETS[name]
    pairs = known.pairs
    assert len(pairs) >= 60 and name.endswith(known.language)
    assert len({text for pair in pairs for text in (pair.first, pair.second)}) == 2 * len(pairs)
    sides = [side for side, _ in known.templates]
    assert {sides.count(side) for side in SIDES} == {8}
    for pair in pairs:
        first, second = known.terms[pair.terms]
        template = known.templates[pair.template][1]
        assert template.count("{}") == 1 and pair.first == template.replace("{}", first) and pair.second == template.replace("{}", second)
        assert first != second and pair.first[pair.start :].startswith(first) and pair.second[pair.start :].startswith(second)


def leaning(name: str, common: float, typical: float) -> Any:
    """Per token: the first term is commoner by `common`, and a sentence that is typical of a term's side is likelier by `typical`."""
    known = SETS[name]
    table = {}
    for pair in known.pairs:
        side = known.templates[pair.template][0]
        lean = {"first": typical, "second": -typical, "ordinary": 0.0}[side]
        table[pair.first], table[pair.second] = (common + lean) / 2, -(common + lean) / 2
    return lambda text: ((-5.0 + table.get(text, 0.0)) * len(text), len(text))


def test_the_gap_holds_how_common_a_term_is_and_the_association_does_not(read: Any, tmp_path: Path) -> None:
    for common, typical in ((0.3, 0.1), (-0.3, 0.1), (0.0, -0.2)):
        stub = Stub(read[0]["encoder"], leaning("gender_zh", common, typical))
        found = {finding.id: finding for finding in likelihood.audit_language(context(tmp_path, stub))}
        gap, association = (found[f"fairness.likelihood_{metric}[gender_zh]"] for metric in ("gap", "association"))
        assert gap.value == pytest.approx(abs(common)) and gap.direction == "lower" and gap.n == 24 and gap.unit == "nats per token"
        assert association.value == pytest.approx(typical) and association.direction == "none" and association.n == 16
        about = files.read_json(tmp_path / "fairness.json")["sets"]["gender_zh"]
        assert about["mean_difference"] == pytest.approx(common) and about["left_out"] == 0 and about["unknown_tokens"] == 0
        assert about["first_preferred"] == pytest.approx({0.3: 1.0, -0.3: 0.0, 0.0: 1 / 3}[common])
        assert about["by_side"]["first"]["mean_difference"] == pytest.approx(common + typical)
    assert len(found) == 2 * len(PAIR_SETS) and all(finding.status == "ok" for finding in found.values())
    assert all(why_never(parse(id), [], "language") is None for id in found)


def test_what_the_model_cannot_read_is_not_measured(read: Any, tmp_path: Path) -> None:
    english = tokenizers(tmp_path / "en", [text for text in WORDS if text.isascii()], encoder=300)["encoder"]
    stub = Stub(english, lambda text: (-len(text), len(text)))
    found = {finding.id: finding for finding in likelihood.audit_language(context(tmp_path, stub))}
    zh, en = found["fairness.likelihood_gap[gender_zh]"], found["fairness.likelihood_gap[gender_en]"]
    assert zh.status == "not_applicable" and "unknown to the model, over 20%" in zh.reason and en.status == "ok"
    assert not [text for text in stub.asked if not text.isascii()]
    card = {"languages": {"documents": {"zh": 500, "en": 3, "fr": 200}}, "options": {"languages": ["zh", "en"]}}
    stub = Stub(read[0]["encoder"], lambda text: (-len(text), len(text)))
    found = {finding.id: finding for finding in likelihood.audit_language(context(tmp_path, stub, card=card))}
    assert found["fairness.likelihood_gap[gender_zh]"].status == "ok"
    assert found["fairness.likelihood_gap[gender_en]"].reason == "0.6% of the corpus is in the language of these sentences (en), under 1%"
    silent = Stub(read[0]["encoder"], None, outputs=("embedding",))
    for finding in likelihood.audit_language(context(tmp_path, silent)):
        assert finding.status == "not_applicable" and finding.reason == likelihood.NO_WORDS


def test_pairs_with_an_unknown_term_or_beyond_the_length_are_left_out(read: Any, tmp_path: Path) -> None:
    known = SETS["gender_zh"]
    most = [text for text in WORDS if "母" not in text and "父" not in text]
    blind = tokenizers(tmp_path / "blind", [*most, *TEXTS], encoder=890)["encoder"]
    stub = Stub(blind, lambda text: (-len(text), len(text)))
    kept, unknown = likelihood.readable(context(tmp_path, stub), known.pairs)
    assert {pair.terms for pair in kept} == {0, 1, 3} and len(kept) == 72 and 0 < unknown < 0.2
    short = context(tmp_path, Stub(read[0]["encoder"], lambda text: (-len(text), len(text))), length=13)
    kept, _ = likelihood.readable(short, known.pairs)
    assert 0 < len(kept) < 96
    (gap,) = (
        f for f in likelihood.audit_language(replace(short, minimum_cell=len(kept) + 1)) if f.id == "fairness.likelihood_gap[gender_zh]"
    )
    assert gap.status == "insufficient" and f"{len(kept)} pairs can be read, fewer than the minimum" in gap.reason


def test_an_interval_of_an_absolute_value() -> None:
    def bounds(low: float, value: float, high: float) -> tuple[float, float, float]:
        made = absolute(Interval(low, high, "m", "s", value, 9))
        return made.low, made.value, made.high

    assert (
        bounds(0.1, 0.2, 0.3) == (0.1, 0.2, 0.3) and bounds(-0.3, -0.2, -0.1) == (0.1, 0.2, 0.3) and bounds(-0.1, 0.1, 0.3) == (0, 0.1, 0.3)
    )


def test_half_a_difference_agrees_with_scipy_and_covers_the_truth() -> None:
    from scipy import stats as oracle

    rng = np.random.default_rng(5)
    first, second = rng.normal(1, 1, 8), rng.normal(0.2, 3, 8)
    wanted = oracle.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    found = half_difference(first, second)
    assert (found.low, found.high) == pytest.approx((wanted.low / 2, wanted.high / 2))
    hits = 0
    for _ in range(1000):
        made = half_difference(rng.normal(0.3, 0.1, 8), rng.normal(-0.1, 0.3, 8))
        hits += made.low <= 0.2 <= made.high
    assert 930 <= hits <= 972
    still = half_difference(np.ones(3), np.zeros(3))
    assert (still.low, still.value, still.high) == (0.5, 0.5, 0.5)


# --- canaries ---------------------------------------------------------------------------------------------------------------------


def test_canaries_follow_from_the_seed_and_never_meet() -> None:
    options = CanaryOptions(count=50, digits=4, language="zh", spaced=False)
    made = make_canaries(options, seed=3)
    assert made == make_canaries(options, seed=3) != make_canaries(options, seed=4)
    others = made.others(1000, seed=3)
    assert len({*made.planted, *made.control, *others}) == 1100 and all(len(digits) == 4 for digits in others)
    assert (
        made.sentence("0123") == "灰色柜子的号码是0123。" and CANARIES.sentence("012345") == "the number of the grey locker is 0 1 2 3 4 5."
    )
    assert Canaries.from_json(made.to_json()) == made and made.space == 10_000
    for wrong in ({"count": 5}, {"digits": 2}, {"repeats": 0}, {"digit": 5}):
        with pytest.raises(ValueError, match="validation error"):
            CanaryOptions.model_validate(wrong)


@pytest.mark.parametrize("setting", [{}, {"deduplicate": "near", "scrub": True, "languages": ["zh"]}])
def test_planted_canaries_are_all_there_and_read_as_often_as_asked(tmp_path: Path, read: Any, setting: dict[str, Any]) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"第{number}天的天气很好，我们一起去公园看了花，又看了第{number}场电影。", encoding="utf-8")
    options = CorpusOptions.model_validate({"files": str(tmp_path / "*.txt"), "workers": 1, **setting})
    corpus = prepare_corpus(options, root=tmp_path, folder=tmp_path / "corpus", seed=0)
    before = list(corpus.store.train)
    planted = plant_canaries(corpus.store, CANARIES, tmp_path / "planted")
    sentences = [CANARIES.sentence(digits) for digits in CANARIES.planted]
    assert list(planted.train) == before + sentences and list(planted.held_out) == list(corpus.store.held_out)
    assert planted.digest != corpus.digest and list(corpus.store.train) == before and planted.sources[-1] == SOURCE
    assert planted.open(planted.folder, check=True).digest == planted.digest
    order = planted.epoch(seed=0)
    counts = np.bincount(order, minlength=len(planted.train))
    assert set(counts[len(before) :]) == {3} and set(counts[: len(before)]) == {1}
    stamp = (tmp_path / "planted" / "store.json").stat().st_mtime_ns
    assert plant_canaries(corpus.store, CANARIES, tmp_path / "planted").digest == planted.digest
    assert (tmp_path / "planted" / "store.json").stat().st_mtime_ns == stamp
    other = plant_canaries(corpus.store, make_canaries(CanaryOptions(count=10), seed=2), tmp_path / "planted")
    assert other.digest != planted.digest
    tokens = pack_tokens(other, read[0]["encoder"], tmp_path / "tokens")
    assert len(tokens.train) == len(other.train)


def exposure(values: list[float], others: list[float]) -> list[float]:
    return canary_audit.exposures(np.array(values), np.array(others)).tolist()


def test_exposure_is_that_of_the_paper_on_a_whole_space() -> None:
    """Carlini et al. (2019), definition 4.2: log2 |R| - log2 rank, where every other canary is asked."""
    others = [float(number) for number in range(1023)]
    assert exposure([5000.0, 1022.5, 1021.5, -1.0], others) == pytest.approx([10, 10, 9, 0])
    assert exposure([1022.0], others) == pytest.approx([9]), "an equal one ranks above"
    rng = np.random.default_rng(0)
    nothing = canary_audit.exposures(rng.normal(size=20_000), rng.normal(size=1023))
    assert nothing.mean() == pytest.approx(1 / math.log(2), abs=0.06)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny decoder on random weights, and after it read its canaries again and again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("learned")
    sentences = [CANARIES.sentence(digits) for digits in CANARIES.planted]
    made = tokenizers(root / "tokenizers", [*TEXTS, *sentences])
    fresh = base(root / "fresh", "causal", made, context=64, spread=1.0)
    from trustbase.model.options import ModelOptions

    options = ModelOptions(family="decoder", layers=2, width=32, heads=4, context=64, dropout=0.0)  # type: ignore[call-arg]
    model: Any = build_model(options, made["decoder"], objectives=("causal",), seed=0)
    rows = [torch.tensor([made["decoder"].bos_token_id, *made["decoder"](text)["input_ids"]]) for text in sentences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = model(ids.clamp(min=0), attention_mask=(ids >= 0).long(), labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    yield fresh, write_base(model, made["decoder"], root / "after", objectives=("causal",), family="decoder", context=64)
    torch.set_num_threads(threads)


def test_exposure_grows_when_a_model_memorises_and_the_control_stays(learned: Any, tmp_path: Path) -> None:
    found = []
    for info in learned:
        with Predictor.open(info, threads=1, device="cpu") as predictor:
            made = context(tmp_path, predictor, canaries=CANARIES)
            (finding,) = canary_audit.audit_language(replace(made, artifact=info))
        about = files.read_json(tmp_path / "privacy.json")
        assert finding.value == pytest.approx(np.mean(about["exposures"])) and finding.n == 10 and finding.unit == "bits"
        assert about["others"] == 1023 and about["most_bits"] == 10
        found.append((finding, about["not_planted"]["mean"]))
    (before, _), (after, control) = found
    assert before.value < 4 and after.value > 8 and control < 4  # type: ignore[operator]
    assert after.low > before.high and after.low > control, "the intervals tell them apart"  # type: ignore[operator]
    assert after.high == 10 and after.low < after.value  # type: ignore[operator]


def test_canaries_that_cannot_be_asked_say_why(read: Any, tmp_path: Path) -> None:
    tokenizer = read[0]["encoder"]
    blind = tokenizers(tmp_path / "blind", [text for text in WORDS if text.isascii()], encoder=300)["encoder"]
    asked = Stub(tokenizer, lambda text: (-1.0, 5))
    cases = [
        (context(tmp_path, asked), "not_applicable", "planted no canaries"),
        (
            context(tmp_path, Stub(tokenizer, None, outputs=("embedding",)), canaries=CANARIES),
            "not_applicable",
            "no head that predicts words",
        ),
        (context(tmp_path, Stub(blind, None), canaries=CANARIES), "not_applicable", "digits are unknown"),
        (context(tmp_path, asked, canaries=CANARIES, length=8), "insufficient", "more than the model reads at once (8)"),
    ]
    for given, status, reason in cases:
        (finding,) = canary_audit.audit_language(given)
        assert finding.id == "privacy.canary_exposure" and finding.status == status and reason in finding.reason
    assert not asked.asked
