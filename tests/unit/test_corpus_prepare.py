"""A corpus from files to tokens: what stays and why, the same in one process as in two, and after a kill at any moment."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import trustbase
from trustbase import files
from trustbase.data.corpus import duplicates, prepare, read, survey
from trustbase.data.corpus.card import card_markdown
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.pack import TokenStore, pack_tokens
from trustbase.data.corpus.prepare import corpus_key, prepare_corpus
from trustbase.data.corpus.store import CorpusStore
from trustbase.data.corpus.testsets import measure_contamination
from trustbase.data.corpus.workers import run_tasks
from trustbase.errors import DataError, TrustbaseError

SUBJECTS = ["老师", "邻居的孩子", "那位医生", "卖菜的阿姨", "新来的同事", "我的父亲", "图书馆的管理员", "司机", "农民", "画家"]
VERBS = ["昨天去了", "一直喜欢", "终于修好了", "正在寻找", "从来没有见过", "打算卖掉", "经常说起", "不愿意离开", "刚刚买了", "忘记了"]
THINGS = [
    "山下的房子",
    "一本旧书",
    "院子里的水井",
    "城里的车站",
    "那条小船",
    "三只白色的鹅",
    "村口的大树",
    "自己的手表",
    "河边的桥",
    "一把木头椅子",
]
WORDS = re.findall(r"\w+", "the old river house stood near a quiet hill and many people from there walked to market with bread or fruit")


def chinese(rng: random.Random) -> str:
    return "，".join(rng.choice(SUBJECTS) + rng.choice(VERBS) + rng.choice(THINGS) for _ in range(rng.randint(3, 12))) + "。"


def english(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(30, 90))).capitalize() + "."


def write_world(folder: Path, documents: int = 120) -> dict:
    """Two sources with duplicates within and across, personal data, junk and a test text; what a recipe says of them."""
    rng = random.Random(11)
    zh, en = [chinese(rng) for _ in range(documents)], [english(rng) for _ in range(documents)]
    zh[5] = zh[4]
    zh[7] = zh[6][:-1] + "了。"
    zh[9] += "请写信到li@example.com或致电13800138000。"
    zh[10] = "好"
    zh[11] = "★★★★★★★★"
    zh[12] = "Старый дом стоял на холме, и он жил там много лет со своей матерью."
    zh[13] = "考试里的这一段话专门写成别处没有的样子，好让检查找得到它，也只找到它。"
    en[13] = "This sentence of an exam was written so that nothing else says it, and the check finds it here, and here alone."
    en[0] = zh[20]
    (folder / "zh.txt").write_text("\n\n".join(zh), encoding="utf-8")
    (folder / "en.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in en), encoding="utf-8")
    (folder / "test.csv").write_text(f'text,label\n"{zh[13]}",yes\n"{en[13]}",no\n"neither here nor there",no\n', encoding="utf-8")
    return {
        "sources": [{"files": "zh.txt", "licence": "CC0-1.0", "weight": 2}, {"files": "en.jsonl", "name": "english"}],
        "languages": ["zh", "en"],
        "deduplicate": "near",
        "scrub": ["email", "phone"],
        "contamination": [{"name": "exam", "files": "test.csv"}],
        "workers": 1,
    }


def options(said: dict, **more) -> CorpusOptions:
    return CorpusOptions.model_validate({**said, **more})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def small(monkeypatch):
    """Shards, reads and batches so small that a toy corpus has many."""
    monkeypatch.setattr(prepare, "plan_shards", lambda files, surveys: survey.plan_shards(files, surveys, shard=4000))
    monkeypatch.setattr(prepare, "survey", lambda file: survey.survey(file, shard=4000))
    monkeypatch.setattr(survey, "_CHUNK", 1500)
    monkeypatch.setattr(read, "READ", 1000)
    monkeypatch.setattr(read, "BATCH", 700)
    monkeypatch.setattr(duplicates, "ROWS", 50)


def test_what_stays_what_falls_and_what_the_card_says(tmp_path):
    said = write_world(tmp_path)
    told = []
    corpus = prepare_corpus(
        options(said), root=tmp_path, folder=tmp_path / "out", seed=0, emit=lambda event, **more: told.append((event, more))
    )
    texts = [*corpus.store.train, *corpus.store.held_out]
    fallen = {row["step"]: row["documents"] for row in corpus.card["steps"]}
    assert fallen == {
        "read": 240,
        "language": 2,  # Russian; stars alone are of no language
        "quality:too_short": 1,
        "contaminated": 2,
        "exact duplicate": 2,
        "near duplicate": 1,
    }
    assert len(texts) == 232 == corpus.card["steps"][-1]["left"] == corpus.card["result"]["train"]["documents"] + len(corpus.store.held_out)
    assert len(set(texts)) == 232 and len(corpus.store.held_out) >= 1
    assert any("请写信到<EMAIL>或致电<PHONE>。" in text for text in texts) and corpus.card["scrubbed"] == {"email": 1, "phone": 1}
    assert corpus.card["contamination"]["sets"] == {"exam": {"texts": 3, "found": 2, "share": 2 / 3, "documents": 2}}
    assert [[where, line] for where, line, *_ in corpus.card["contamination"]["offenders"]] == [["zh.txt", 27], ["en.jsonl", 14]]
    assert measure_contamination(texts, options(said), root=tmp_path) == {"exam": {"texts": 3, "looked_for": 3, "found": 0}}
    zh, en = corpus.card["sources"]
    assert zh["licence"] == "CC0-1.0" and en["licence"] == "not stated" and zh["weight"] == 2 and en["name"] == "english"
    assert zh["files"][0]["digest"] == "sha256:" + files.sha256_file(tmp_path / "zh.txt") and zh["languages"]["zh"] == 118
    assert [row["documents"] for row in en["steps"] if row["step"] == "exact duplicate"] == [1], "the later source loses"
    assert (
        "progress",
        {"what": "corpus: cleaning", "done": zh["files"][0]["bytes"] + en["files"][0]["bytes"]} | {"total": told_total(told)},
    ) in told
    examples = [json.loads(line) for line in (tmp_path / "out" / "examples.jsonl").read_text("utf-8").splitlines()]
    assert {example["reason"] for example in examples} == set(fallen) - {"read"}
    near = next(example for example in examples if example["reason"] == "near duplicate")
    assert near["where"] == "zh.txt:15" and near["stays"] == "zh.txt:13"
    page = (tmp_path / "out" / "corpus.md").read_text("utf-8")
    assert page == card_markdown(corpus.card) and "less: near duplicate | 1 |" in page and "| exam | 3 | 2 (66.67%) | 2 |" in page
    assert not any(text[:12] in page or text[:12] in (tmp_path / "out" / "corpus.json").read_text("utf-8") for text in texts)
    assert str(tmp_path) not in page + (tmp_path / "out" / "corpus.json").read_text("utf-8")
    assert not (tmp_path / "out" / "work").exists()


def told_total(told: list) -> int:
    return next(more["total"] for event, more in told if event == "progress" and more["what"] == "corpus: cleaning")


def test_contamination_can_be_listed_instead_of_removed(tmp_path):
    said = write_world(tmp_path)
    listed = options(said, contamination={"sets": said["contamination"], "action": "list"})
    corpus = prepare_corpus(listed, root=tmp_path, folder=tmp_path / "out", seed=0)
    assert "contaminated" not in {row["step"] for row in corpus.card["steps"]} and len(corpus.card["contamination"]["offenders"]) == 2
    assert measure_contamination(corpus.store.train, listed, root=tmp_path)["exam"]["found"] >= 1
    (tmp_path / "words.jsonl").write_text('{"text": "hello"}\n{"text": "two words"}\n')
    short = options({"files": "zh.txt", "contamination": [{"name": "words", "files": "words.jsonl"}]})
    found = measure_contamination(["hello"], short, root=tmp_path)
    assert found == {"words": {"texts": 2, "looked_for": 1, "found": 0}}, "one word is no test text that can be looked for"
    assert "and stay in the corpus" in (tmp_path / "out" / "corpus.md").read_text("utf-8")


def test_shards_and_workers_change_nothing(tmp_path, small, monkeypatch):
    said = write_world(tmp_path)
    found = {}
    for name, workers in (("one", 1), ("two", 2)):
        prepare_corpus(options(said, workers=workers), root=tmp_path, folder=tmp_path / name, seed=0)
        found[name] = content(tmp_path / name)
    monkeypatch.undo()
    prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "whole", seed=0)
    found["whole"] = content(tmp_path / "whole")
    for name in ("two", "whole"):
        for file in ("documents/train/documents.bin", "documents/held_out/documents.bin", "documents/train/sources.npy", "corpus.md"):
            assert found[name][file] == found["one"][file], (name, file)


def test_the_same_call_again_reads_nothing_and_other_inputs_start_anew(tmp_path, monkeypatch):
    said = write_world(tmp_path)
    first = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "out", seed=0)
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "survey", None)
        patched.setattr(prepare, "run_tasks", lambda tasks, workers, done: None if not tasks else 1 / 0)
        again = prepare_corpus(options(said, workers=2), root=tmp_path, folder=tmp_path / "out", seed=0)
        assert again.digest == first.digest and again.card == first.card
        assert corpus_key(options(said), root=tmp_path, folder=tmp_path / "out", seed=0) == first.card["key"]
    assert corpus_key(options(said), root=tmp_path, folder=tmp_path / "out", seed=1) != first.card["key"]
    with (tmp_path / "zh.txt").open("a", encoding="utf-8") as stream:
        stream.write("\n\n" + chinese(random.Random(99)))
    other = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "out", seed=0)
    assert other.digest != first.digest and other.card["steps"][0]["documents"] == 241


def test_shards_that_are_whole_are_taken_after_an_error_and_damaged_ones_are_made_again(tmp_path, small, monkeypatch):
    said = write_world(tmp_path)
    (tmp_path / "zz.jsonl").write_text('{"text": "a good line of many words"}\nbroken\n')
    said["sources"].append({"files": "zz.jsonl"})
    with pytest.raises(DataError, match=r"zz.jsonl:2: not valid JSON"):
        prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "out", seed=0)
    shards = sorted((tmp_path / "out" / "work").glob("shard-*"))
    assert len(shards) > 10
    (shards[0] / "documents.bin").write_bytes(b"damaged")
    made = []
    real = prepare.make_shard
    monkeypatch.setattr(prepare, "make_shard", lambda job, pieces, folder: (made.append(folder), real(job, pieces, folder)))
    tolerant = options(said, tolerance=1)
    corpus = prepare_corpus(tolerant, root=tmp_path, folder=tmp_path / "out", seed=0)
    assert made == [shards[0]] and corpus.card["faults"]["listed"] == ["zz.jsonl:2: not valid JSON"]
    fresh = prepare_corpus(tolerant, root=tmp_path, folder=tmp_path / "fresh", seed=0)
    assert content(tmp_path / "fresh" / "documents") == content(tmp_path / "out" / "documents") and fresh.digest == corpus.digest


KILLED = """
import sys, os, signal
from pathlib import Path
sys.path.insert(0, {tests!r})
import json
from trustbase.data.corpus import duplicates, prepare, read, survey
from trustbase.data.corpus.options import CorpusOptions
prepare.plan_shards = lambda files, surveys, plan=survey.plan_shards: plan(files, surveys, shard=4000)
prepare.survey = lambda file, look=survey.survey: look(file, shard=4000)
survey._CHUNK, read.READ, read.BATCH = 1500, 1000, 700
from trustbase import files
left = int(sys.argv[2])
real = os.replace, Path.rename
def counted(call):
    def inner(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return inner
os.replace, Path.rename = counted(os.replace), counted(Path.rename)
root = Path(sys.argv[1])
options = CorpusOptions.model_validate(json.loads((root / "said.json").read_text()))
prepare.prepare_corpus(options, root=root, folder=root / "killed", seed=0)
print("done")
"""


@pytest.mark.slow
def test_killed_at_any_write_the_same_call_goes_on_to_the_same_bytes(tmp_path, small):
    """The process is killed just before each of its first writes becomes visible, then later ones, until it comes through."""
    said = write_world(tmp_path, documents=40)
    (tmp_path / "said.json").write_text(json.dumps(said))
    (tmp_path / "run.py").write_text(KILLED.format(tests=str(Path(__file__).parent)))
    environment = {**os.environ, "PYTHONPATH": str(Path(trustbase.__file__).parents[1])}
    kills = 0
    for allowed in (0, 1, 2, 4, 3, 5, 9, 9):
        command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), str(allowed)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        kills += 1
    assert kills >= 5
    last = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "killed", seed=0)
    fresh = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "fresh", seed=0)
    assert content(tmp_path / "killed" / "documents") == content(tmp_path / "fresh" / "documents") and last.card == fresh.card


def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import sys; from trustbase.data.corpus.workers import _Worker\n"
        "import time; w = _Worker(); print(w._process.pid(), flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(trustbase.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(300):
        if not Path(f"/proc/{worker}").exists() or "(zombie)" in Path(f"/proc/{worker}/status").read_text():
            break
        time.sleep(0.1)
    else:
        os.kill(worker, signal.SIGKILL)
        raise AssertionError("the worker outlived its parent")


def test_an_error_in_a_worker_is_the_error_of_the_call():
    tasks = [("json:loads", {"s": "1"}), ("trustbase.data.samples:find_sample", {"reference": "sample:none"}), ("json:loads", {"s": "2"})]
    with pytest.raises(DataError, match="no sample 'none'"):
        run_tasks(tasks, 2, lambda index, value: None)
    with pytest.raises(TrustbaseError, match=r"ended with code -?\d+ while it was at work(.|\n)*fewer workers"):
        run_tasks([("os:_exit", {"status": 3}), ("os:getpid", {})], 2, lambda index, value: None)
    found = {}
    run_tasks([("json:loads", {"s": str(i)}) for i in range(20)], 2, found.__setitem__)
    assert found == {i: i for i in range(20)}


def test_nothing_left_is_an_error_that_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("一篇足够长的文章，写的是秋天的田野。", encoding="utf-8")
    with pytest.raises(DataError, match="fewer than two different documents"):
        prepare_corpus(options({"files": "a.txt"}), root=tmp_path, folder=tmp_path / "out", seed=0)


def test_held_out_documents_follow_their_content_and_equal_ones_stay_together(tmp_path):
    rng = random.Random(5)
    texts = [chinese(rng) for _ in range(300)]
    (tmp_path / "a.txt").write_text("\n\n".join(texts + texts[:50]), encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n\n".join(texts[::-1]), encoding="utf-8")
    one = prepare_corpus(options({"files": "a.txt", "deduplicate": "none", "held_out": 0.1}), root=tmp_path, folder=tmp_path / "a", seed=0)
    other = prepare_corpus(options({"files": "b.txt", "held_out": 0.1}), root=tmp_path, folder=tmp_path / "b", seed=1)
    assert set(one.store.held_out) == set(other.store.held_out) and 10 < len(other.store.held_out) < 60
    assert not set(one.store.held_out) & set(one.store.train) and len(one.store.train) + len(one.store.held_out) == 350
    (tmp_path / "two.txt").write_text("\n\n".join(texts[:2]), encoding="utf-8")
    for share in (0.001, 0.999):
        few = prepare_corpus(options({"files": "two.txt", "held_out": share}), root=tmp_path, folder=tmp_path / f"c{share}", seed=0)
        assert len(few.store.train) == len(few.store.held_out) == 1


def test_the_store_is_mapped_and_checked_and_weights_say_how_often(tmp_path):
    said = write_world(tmp_path)
    said["sources"][1]["weight"] = 0.5
    store = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "out", seed=0).store
    assert isinstance(store.train.offsets, np.memmap) and store.train.offsets[0] == 0 and store.weights == (2.0, 0.5)
    assert store.train.texts(3, 6) == [store.train[3], store.train[4], store.train[5]] and store.train[-1] == list(store.train)[-1]
    assert store.train.texts(10**6, 10**7) == []
    with pytest.raises(IndexError):
        store.train[len(store.train)]
    order = store.epoch(seed=1)
    times = np.bincount(order, minlength=len(store.train))
    zh = store.train.sources[:] == 0
    assert (times[zh] == 2).all() and set(times[~zh]) == {0, 1} and 0.3 < times[~zh].mean() < 0.7
    assert (store.epoch(seed=1) == order).all() and not (store.epoch(seed=1, epoch=1)[:50] == order[:50]).all()
    path = store.folder / "train" / "documents.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    CorpusStore.open(store.folder)
    for damage in (lambda: CorpusStore.open(store.folder, check=True), lambda: (path.write_bytes(b"x"), CorpusStore.open(store.folder))):
        with pytest.raises(DataError, match="was altered"):
            damage()
    with pytest.raises(DataError, match="holds no corpus"):
        CorpusStore.open(tmp_path)


def tokenizer(store: CorpusStore):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(store.train, trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]"], show_progress=False))
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    made.enable_truncation(5)
    made.enable_padding()
    return made


def test_tokens_are_those_of_the_tokenizer_mapped_and_whole_after_an_interruption(tmp_path, monkeypatch):
    store = prepare_corpus(options(write_world(tmp_path)), root=tmp_path, folder=tmp_path / "out", seed=0).store
    made = tokenizer(store)
    told = []
    packed = pack_tokens(store, made, tmp_path / "tokens", emit=lambda event, **more: told.append(more))
    assert packed.train.ids.dtype == np.uint16 and isinstance(packed.train.ids, np.memmap) and len(packed.train) == len(store.train)
    assert told[-1] == {"what": "packing tokens", "done": 232, "total": 232}
    made.no_truncation()
    made.no_padding()
    for part in ("train", "held_out"):
        expected = [made.encode(text, add_special_tokens=False).ids for text in getattr(store, part)]
        assert [getattr(packed, part)[i].tolist() for i in range(len(expected))] == expected
    monkeypatch.setattr("trustbase.data.corpus.pack._BATCH", 2000)
    monkeypatch.setattr("trustbase.data.corpus.pack._SAVE", 5000)

    class StopError(Exception):
        pass

    def stop(event, done=0, **more):
        if done > 150:
            raise StopError

    again = tokenizer(store)
    with pytest.raises(StopError):
        pack_tokens(store, again, tmp_path / "stopped", emit=stop)
    with pytest.raises(DataError, match="holds no packed corpus"):
        TokenStore.open(tmp_path / "stopped")
    done = []
    resumed = pack_tokens(store, again, tmp_path / "stopped", emit=lambda event, **more: done.append(more["done"]))
    assert done[0] > 100, "began from nothing"
    for name in ("train/tokens.bin", "train/bounds.npy", "held_out/tokens.bin"):
        assert (resumed.folder / name).read_bytes() == (packed.folder / name).read_bytes()
    with pytest.raises(DataError, match="has no fast form"):
        pack_tokens(store, object(), tmp_path / "slow")


def test_a_corpus_of_both_samples_keeps_the_test_reviews_out(tmp_path):
    """The demonstration's corpus: news and the training part of the reviews; no test review stands in what is left."""
    said = {
        "sources": ["sample:people-daily", {"files": "sample:reviews-zh", "part": "train"}],
        "deduplicate": "near",
        "contamination": [{"name": "reviews", "files": "sample:reviews-zh", "part": "test"}],
        "workers": 1,
    }
    corpus = prepare_corpus(options(said), root=tmp_path, folder=tmp_path / "out", seed=0)
    found = corpus.card["contamination"]["sets"]["reviews"]
    assert found["texts"] > 6500 and 0 < found["share"] < 0.05, "a few test reviews share long phrases with others"
    both = [text for part in (corpus.store.train, corpus.store.held_out) for text in part]
    assert measure_contamination(both, options(said), root=tmp_path)["reviews"]["found"] == 0
    assert {source["name"]: source["steps"][0]["documents"] for source in corpus.card["sources"]} == {
        "sample:people-daily": 2896,
        "sample:reviews-zh": 24626,
    }
