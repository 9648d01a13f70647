"""How likely a base model finds a text: against naive loops of transformers, for every family, alone and in company."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from base_kit import CASES, TEXTS, base, tokenizers
from trustbase.errors import ModelError, PredictionError
from trustbase.model.artifact import read_artifact
from trustbase.model.predict import Predictor
from trustbase.model.questions import Failure, Likelihood, Question
from trustbase.model.runtime_language import LanguageRuntime, load_base, picked
from trustbase.records import LabelSchema

ASKED = ["the film is good", "今天天气很好", "a very fine day for the film", "服务很好，电影不好看。", "food", "the film is zzz and 龘"]
WAYS = [name for name, case in CASES.items() if case[4] is not None]
SILENT = [name for name, case in CASES.items() if case[4] is None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("bases")
    ready = tokenizers(root / "tokenizers")
    yield {name: base(root, name, ready) for name in CASES}, ready
    torch.set_num_threads(threads)


def log_p(scores: torch.Tensor, word: int) -> float:
    return float(torch.log_softmax(scores.float(), dim=-1)[word])


def naive(case: str, folder: Any, tokenizer: Any, text: str) -> tuple[float, int]:
    """One text and one token at a time, as transformers' own classes answer."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining, AutoModelForSeq2SeqLM

    way = CASES[case][4]
    ids = tokenizer(text)["input_ids"]
    skip = set(tokenizer.all_special_ids)
    total, count = 0.0, 0
    with torch.inference_mode():
        if way == "causal":
            model = AutoModelForCausalLM.from_pretrained(folder).eval()
            whole = [tokenizer.bos_token_id, *ids]
            for place in range(1, len(whole)):
                total += log_p(model(torch.tensor([whole[:place]])).logits[0, -1], whole[place])
            return total, len(ids)
        auto = (
            AutoModelForSeq2SeqLM
            if way in ("sentinel", "infilling")
            else AutoModelForPreTraining
            if case == "bert pairs"
            else AutoModelForMaskedLM
        )
        model = auto.from_pretrained(folder).eval()
        for place, word in enumerate(ids):
            if word in skip:
                continue
            sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>") if way == "sentinel" else tokenizer.mask_token_id
            shown = torch.tensor([[*ids[:place], sentinel, *ids[place + 1 :]]])
            start = model.config.decoder_start_token_id if way != "masked" else None
            if way == "sentinel":
                scores = model(shown, decoder_input_ids=torch.tensor([[start, sentinel]])).logits[0, -1]
            elif way == "infilling":
                scores = model(shown, decoder_input_ids=torch.tensor([[start, *ids[:place]]])).logits[0, -1]
            else:
                result = model(shown)
                scores = getattr(result, "prediction_logits", None) if case == "bert pairs" else result.logits
                scores = scores[0, place]
            total, count = total + log_p(scores, word), count + 1
    return total, count


@pytest.mark.parametrize("case", WAYS)
def test_every_way_equals_a_naive_loop_of_transformers(made: Any, case: str) -> None:
    info, ready = made[0][case], made[1]
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        assert predictor.runtime.way == CASES[case][4]  # type: ignore[attr-defined]
        found = predictor.log_likelihoods(ASKED)
    wanted = np.array([naive(case, info.folder, ready[info.facts["family"]], text) for text in ASKED])
    assert np.ptp(wanted[:, 0] / wanted[:, 1]) > 0.1, "texts are too much alike to tell them apart"
    np.testing.assert_array_equal(found[:, 1], wanted[:, 1])
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("case", ["causal", "llama"])
def test_the_chain_rule_is_what_transformers_trains_on(made: Any, case: str) -> None:
    from transformers import AutoModelForCausalLM

    info, tokenizer = made[0][case], made[1]["decoder"]
    model = AutoModelForCausalLM.from_pretrained(info.folder).eval()
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        found = predictor.log_likelihoods(ASKED)
    for text, (total, tokens) in zip(ASKED, found, strict=True):
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.inference_mode():
            loss = float(model(ids, labels=ids).loss)
        assert -total / tokens == pytest.approx(loss, rel=1e-4)


def test_without_a_start_token_the_first_token_is_not_scored(made: Any) -> None:
    from transformers import AutoTokenizer

    info = made[0]["causal"]
    tokenizer = AutoTokenizer.from_pretrained(info.folder)
    tokenizer.bos_token = None
    runtime = LanguageRuntime(load_base(info.folder), tokenizer, max_length=32)
    encodings = runtime.prepare(ASKED)
    found = runtime.forward("log_likelihood", encodings, np.arange(len(ASKED)))
    assert found[:, 1].tolist() == [length - 1 for length in encodings.lengths]


@pytest.mark.parametrize("case", WAYS)
def test_company_order_and_batches_change_nothing(made: Any, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.model import runtime_language

    texts = [*ASKED, *TEXTS[:4]]
    with Predictor.open(made[0][case], threads=1, device="cpu", cache_size=0) as predictor:
        together = predictor.log_likelihoods(texts)
        alone = np.concatenate([predictor.log_likelihoods([text]) for text in texts])
        monkeypatch.setattr(runtime_language, "_TOKENS", 40)
        small = predictor.log_likelihoods(texts[::-1])[::-1]
    np.testing.assert_allclose(alone, together, rtol=1e-5)
    np.testing.assert_allclose(small, together, rtol=1e-5)


def test_only_what_is_read_is_scored_and_an_empty_text_has_no_tokens(made: Any) -> None:
    long = "the film is good " * 30
    for case in ("masked", "causal"):
        with Predictor.open(made[0][case], threads=1, device="cpu") as predictor:
            found = predictor.log_likelihoods([long, ""])
        assert found[0, 1] == {"masked": 30, "causal": 31}[case] and found[1].tolist() == [0, 0]


@pytest.mark.parametrize("case", SILENT)
def test_a_model_whose_head_for_words_is_missing_or_untrained_says_so(made: Any, case: str) -> None:
    info = made[0][case]
    assert json.loads((info.folder / "config.json").read_text())["architectures"] == [CASES[case][3]]
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        assert predictor.runtime.outputs == ("embedding",)
        with pytest.raises(PredictionError, match="cannot compute 'log_likelihood'"):
            predictor.log_likelihoods(["the film"])
        assert predictor.embeddings(["the film"]).shape == (1, 32)


@pytest.mark.parametrize("case", list(CASES))
def test_embeddings_are_means_over_the_real_tokens(made: Any, case: str) -> None:
    from transformers import AutoModel, T5EncoderModel

    info = made[0][case]
    family = info.facts["family"]
    body = (T5EncoderModel if family == "encoder-decoder" else AutoModel).from_pretrained(info.folder).eval()
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        found = predictor.embeddings(ASKED)
    for row, text in zip(found, ASKED, strict=True):
        with torch.inference_mode():
            wanted = body(**made[1][family](text, return_tensors="pt", return_token_type_ids=False))[0][0].mean(0)
        np.testing.assert_allclose(row, wanted.numpy(), atol=2e-5)
    assert np.ptp(found, axis=0).max() > 0.01


def test_the_artefact_is_read_as_it_was_written_without_labels(made: Any) -> None:
    info = made[0]["masked"]
    assert read_artifact(info.folder) == info and info.labels == LabelSchema((), "", "")
    with Predictor.open(info.folder, threads=1, device="cpu") as predictor:
        results = predictor.ask_all([Question("class_scores", "the film"), Question("log_likelihood", "the film", {"label": 1})])
        assert [type(result) for result in results] == [Failure, Failure]
        assert "cannot be asked 'class_scores'" in results[0].reason and "takes no parameters" in results[1].reason  # type: ignore[union-attr]
        (answer,) = predictor.ask_all([Question("log_likelihood", "the film")])
        assert answer.value == Likelihood(answer.value.total, 2) and answer.value.total < 0


def test_the_white_box_is_the_model_that_was_pretrained(made: Any) -> None:
    with Predictor.open(made[0]["masked"], threads=1, device="cpu") as predictor, predictor.white_box() as lent:
        assert type(lent.model).__name__ == "RoFormerForMaskedLM" and "language fp32" in lent.note


def test_bf16_is_near_and_stays_a_language_runtime(made: Any) -> None:
    for case in ("masked", "causal", "spans"):
        with Predictor.open(made[0][case], threads=1, device="cpu") as full:
            wanted = full.log_likelihoods(ASKED)
        with Predictor.open(made[0][case], precision="bf16", threads=1, device="cpu") as half:
            found = half.log_likelihoods(ASKED)
            assert half.runtime.name == "language" and half.runtime.precision == "bf16"
        np.testing.assert_allclose(found, wanted, rtol=0.05)
        assert (found[:, 0] != wanted[:, 0]).any()


def test_a_classifier_is_no_base_model(made: Any, tmp_path: Any) -> None:
    info = made[0]["masked"]
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in info.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    for names in (["BertForSequenceClassification"], ["os.system"], [], ["BertForMaskedLM", "BertModel"]):
        (copy / "config.json").write_text(json.dumps({**config, "architectures": names}))
        with pytest.raises(ModelError, match="no class of a base model"):
            load_base(copy)
    (copy / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.py"}}))
    with pytest.raises(ModelError, match="run code"):
        Predictor.open(replace(info, folder=copy))


def test_the_head_sees_all_places_again_afterwards(made: Any) -> None:
    model: Any = load_base(made[0]["masked"].folder)
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        before = model(ids).logits
        with picked(model, torch.tensor([2])):
            one = model(ids).logits
        after = model(ids).logits
    assert one.shape == before[0, 2:3].shape and torch.allclose(one[0], before[0, 2], atol=1e-6) and torch.equal(after, before)
