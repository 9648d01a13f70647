"""A run's memory: what is taken, refused, forced, cleared, and gone on with after a crash or on another machine."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tiny import tiny_bert
from trustbase import bases, files, machine, releasing, steps
from trustbase.audit.options import AuditOptions
from trustbase.audit.wanted import Wanted
from trustbase.errors import DataError, Interrupted, StaleRunError, TrustbaseError, UsageError, VerificationError
from trustbase.events import RunLog
from trustbase.stages import LIBRARIES, Stages, code_digest, locked


class Run:
    """One stage of a run folder, computed by writing a file; each call is a process of its own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, value=1, *, machine="A", force=False, reuse=None, crash=False, any_machine=False):
        self.stages = Stages(self.folder, RunLog(self.folder / "log.jsonl"), reuse=reuse, force=force)

        def compute():
            (self.folder / "work").mkdir(exist_ok=True)
            (self.folder / "work" / f"step-of-{value}").touch()
            if crash:
                raise Interrupted("stopped", signal_number=15)
            files.write_text(self.folder / "out.txt", str(value))
            return {"value": value}

        inputs = {"value": value, "machine": machine}
        options = {"code": ("data",), "outputs": ["out.txt"], "compute": compute, "clear": ["work"], "any_machine": any_machine}
        return self.stages.run("s", inputs=inputs, **options)

    @property
    def record(self):
        return files.read_json(self.folder / "stages" / "s.json")

    @property
    def work(self):
        return sorted(path.name for path in (self.folder / "work").glob("*"))


def test_the_same_inputs_are_computed_once_and_others_refused(tmp_path):
    run = Run(tmp_path)
    assert run() == run() == {"value": 1} and run.stages.computed == []
    with pytest.raises(StaleRunError, match="value changed"):
        run(2)
    assert run(2, force=True) == {"value": 2} and run.record["forced"]


def test_force_is_remembered_over_a_crash_and_goes_on_with_its_own_work(tmp_path):
    run = Run(tmp_path)
    run()
    with pytest.raises(Interrupted):
        run(2, force=True, crash=True)
    assert run.work == ["step-of-2"]  # what was trained for other inputs is gone before the new record stands
    run(2)
    assert run.record["forced"] and run.record["finished"]
    run(3, force=True)
    assert run.work == ["step-of-3"]


def test_a_crash_before_the_new_record_leaves_the_old_one_refusing(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run()
    monkeypatch.setattr(Stages, "_compute", lambda *_, **__: (_ for _ in ()).throw(Interrupted("stopped")))
    with pytest.raises(Interrupted):
        run(2, force=True)
    monkeypatch.undo()
    with pytest.raises(StaleRunError):
        run(2)
    assert run.work == []


def test_an_unfinished_stage_goes_on_on_another_machine_and_says_so(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(Interrupted):
        run(crash=True)
    with pytest.raises(StaleRunError):
        run(2, machine="B")  # not the machine alone
    assert run(machine="B") == {"value": 1}
    assert run.record["other_machines"] == ["A"] and not run.record["forced"] and run.work == ["step-of-1"]
    assert "not bit-identical" in (tmp_path / "log.jsonl").read_text()


def test_a_finished_stage_stands_elsewhere_only_where_it_measured_nothing(tmp_path):
    run = Run(tmp_path)
    run(any_machine=True)
    assert run(machine="B", any_machine=True) == {"value": 1} and run.stages.computed == []
    with pytest.raises(StaleRunError, match="machine changed"):
        run(machine="B")


def test_a_taken_stage_keeps_the_word_that_it_was_forced(tmp_path):
    other, run = Run(tmp_path / "other"), Run(tmp_path / "run")
    other()
    run(2)
    run(force=True, reuse=other.folder)
    assert run.record["reused_from"] == "other" and run.record["forced"] and run.work == []


def test_keys_know_what_results_depend_on():
    assert {"scipy", "pandas", "pyarrow", "safetensors", "torch"} <= set(LIBRARIES)
    assert code_digest(["recipe/lookup.py"]) not in {code_digest([]), code_digest(["recipe"])}
    assert "recipe/lookup.py" in steps.AUDIT_CODE
    key = machine.machine_key()
    assert key == machine.machine_key() and {"processor", "cores", "memory_gib", "accelerators"} <= set(key)


def test_a_system_without_file_locks_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(UsageError, match="POSIX"), locked(tmp_path):
        pass


# ---- release: what the key must hold ------------------------------------------------------------------------------


@pytest.fixture
def releasing_run(tmp_path, monkeypatch):
    """`release` with a packer that only counts."""
    from trustbase.bundle import pack as packing
    from trustbase.report import html

    packed = []

    def pack(folder, *, verdict, **options):
        packed.append(options)
        place = folder / ("bundle" if verdict.released else "rejected")
        place.mkdir(exist_ok=True)
        (place / "n").write_text(str(len(packed)))

    monkeypatch.setattr(packing, "pack", pack)
    monkeypatch.setattr(packing, "read_bundle", lambda folder: folder)
    monkeypatch.setattr(html, "write_report", lambda folder, lang: files.write_text(folder / "report.html", lang))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)

    def release(name="run", *, resolved="a: 1", owner="me", card="{}", evidence="{}", released=True, force=False, reuse=None):
        folder = tmp_path / name
        files.write_text(folder / "data_card.json", card)
        files.write_text(folder / "evidence" / "quality.json", evidence)
        purpose = SimpleNamespace(model_dump=lambda **_: {"owner": owner})
        plan = SimpleNamespace(resolved=resolved, recipe=SimpleNamespace(purpose=purpose, report=SimpleNamespace(language="en")))
        stages = Stages(folder, RunLog(folder / "log.jsonl"), force=force, reuse=tmp_path / reuse if reuse else None)
        audit, artifact = SimpleNamespace(to_json=lambda: {}), SimpleNamespace(digest="sha256:a")
        verdict = SimpleNamespace(released=released, to_json=lambda: {"released": released})
        place, _ = releasing.release(stages, plan, artifact, audit, verdict, None, None)
        return place, len(packed)

    return release


def test_a_bundle_is_packed_anew_when_anything_in_it_changed(releasing_run):
    assert releasing_run()[1] == releasing_run()[1] == 1
    for count, changed in enumerate(({"resolved": "a: 2"}, {"owner": "you"}, {"card": "[]"}, {"evidence": "[]"}), start=2):
        with pytest.raises(StaleRunError):
            releasing_run(**changed)
        assert releasing_run(f"other-{count}", reuse="run", **changed)[1] == count  # not the old bundle of the reused run
    assert releasing_run("same", reuse="run")[1] == 5


def test_only_the_place_of_the_present_verdict_is_left(releasing_run):
    bundle, _ = releasing_run()
    rejected, _ = releasing_run(released=False, force=True)
    assert (bundle.name, rejected.name) == ("bundle", "rejected") and rejected.is_dir() and not bundle.exists()
    releasing_run("other")
    again, _ = releasing_run(force=True, reuse="other")
    assert again.is_dir() and not rejected.exists()


# ---- single steps -------------------------------------------------------------------------------------------------


def test_a_bundle_as_base_is_verified_before_anything_parses_it(tmp_path, monkeypatch):
    from trustbase.model import load

    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    (tmp_path / "theirs" / "model").mkdir(parents=True)
    (tmp_path / "theirs" / "manifest.json").write_text("{}")
    monkeypatch.setattr(load, "resolve_base", lambda *_, **__: pytest.fail("parsed before it was verified"))
    recipe = SimpleNamespace(base="./theirs")
    stages = Stages(tmp_path / "run", RunLog(tmp_path / "log.jsonl"))
    for recipe.base in ("./theirs", "./theirs/model"):
        with pytest.raises(VerificationError):
            bases.choose_base(stages, SimpleNamespace(finetune=recipe, root=tmp_path))


@pytest.mark.parametrize(("share", "allowed", "outcome"), [(0.01, 0.2, ""), (0.06, 0.2, "6.0%"), (0.63, 0.2, None), (0.63, 0.7, "63.0%")])
def test_a_base_that_cannot_read_the_text_is_refused_before_training(share, allowed, outcome):
    from trustbase.data.card import check_unknown_tokens

    card = {"splits": {"train": {"tokens": {"unknown_share": share}}}}
    if outcome is None:
        with pytest.raises(DataError, match="reads this language"):
            check_unknown_tokens(card, base="package:x", allowed=allowed)
    else:
        warning = check_unknown_tokens(card, base="package:x", allowed=allowed)
        assert outcome in warning and bool(warning) == bool(outcome)


@pytest.mark.parametrize("han", [0.0, 0.8])
def test_of_chinese_texts_it_is_said_what_reads_them_without_a_network(han):
    from trustbase.data.card import check_unknown_tokens

    card = {"splits": {"train": {"tokens": {"unknown_share": 0.63}, "scripts": {"letters": {"Han": han, "Latin": 1 - han}}}}}
    with pytest.raises(DataError) as told:
        check_unknown_tokens(card, base="package:x", allowed=0.2)
    warning = check_unknown_tokens(card, base="package:x", allowed=0.7)
    for said in (told.value.hint, warning):
        assert ("recipes/base-zh.yaml" in said and "runs/base-zh/bundle" in said and "folder of a model that lies here" in said) is (
            han > 0.3
        )


@pytest.mark.parametrize("result", [{}, {"a": 1}, {"folder": 5}, {"folder": "checkpoints/trained", "more": 1}])
def test_a_result_that_its_stage_cannot_have_given_is_named(result, tmp_path, monkeypatch):
    monkeypatch.setattr(Stages, "run", lambda *_, **__: result)
    options = SimpleNamespace(model_dump=lambda **_: {}, seed=0, members=1)
    read, given = SimpleNamespace(stride=0, features=options), SimpleNamespace(max_answer_tokens=None)
    plan = SimpleNamespace(
        root=tmp_path,
        finetune=SimpleNamespace(
            task="text-classification",
            adapt=options,
            train=options,
            audit=AuditOptions(),
            cluster=None,
            data=read,
            decision=given,
            purpose=options,
        ),
    )
    test = SimpleNamespace(groups={})
    labels = SimpleNamespace(positive_assumed=True, favourable_assumed=True)
    data = SimpleNamespace(digest="d", splits={"test": test}, labels=labels)
    stages = Stages(tmp_path, RunLog(None))
    with pytest.raises(TrustbaseError, match=r"train\.json cannot be read: its result"):
        steps.train_model(stages, plan, data, data)
    files.write_json(tmp_path / "findings.json", {"findings": []})
    monkeypatch.setattr(steps.AuditReport, "from_json", lambda _: None)
    with pytest.raises(TrustbaseError, match=r"audit\.json cannot be read: its result"):
        steps.audit_model(stages, plan, data, data, SimpleNamespace(digest="p"), Wanted())


def test_a_base_whose_run_was_not_released_is_told(tmp_path):
    tiny_bert(tmp_path / "run")
    told = []

    class Log:
        enter = staticmethod(lambda stage: None)

        def __call__(self, event, **fields):
            told.append((event, fields["text"]))

    find = lambda: bases.find_base(SimpleNamespace(log=Log()), "run", tmp_path)  # noqa: E731
    find()
    assert told == []
    (tmp_path / "run" / "rejected").mkdir()
    find()
    assert told == [("warning", "base 'run' is a run that was not released: its gates did not pass")]
    (tmp_path / "run" / "bundle").mkdir()
    find()
    assert len(told) == 1
