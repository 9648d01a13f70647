"""What takes long says how far it is, and a terminal shows it: also while a single step takes long, and nowhere else."""

from __future__ import annotations

import io
import json
import sys
import time
from itertools import pairwise

import numpy as np
from rich.console import Console
from train_kit import LABELS, Log, split

from tiny import tiny_bert
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.measure import Effort, measure
from trustbase.audit.rivals import rival_answers
from trustbase.audit.run import run_audit
from trustbase.cli import bars
from trustbase.cli.bars import Bars
from trustbase.cli.watch import watching
from trustbase.compress.export import make_artifact
from trustbase.compress.options import ReleaseOptions
from trustbase.events import RunLog
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.records import Decision
from trustbase.train.fit import fit
from trustbase.train.options import TrainOptions

WORDS = ("the", "film", "is", "a", "very", "bad", "good")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Screen:
    """Bars on a terminal with a clock of their own; `at(seconds)` is what they show then."""

    def __init__(self):
        self.now, self.out = 0.0, Terminal()
        console = Console(file=self.out, force_terminal=True, width=100, color_system=None)
        self.bars = Bars(console=console, clock=lambda: self.now, auto_refresh=False)

    def tell(self, event, **fields):
        self.bars.follow({"event": event, "stage": "artifact", **fields})

    def at(self, seconds):
        self.now = seconds
        with self.bars.console.capture() as shown:
            self.bars.console.print(self.bars.get_renderable())
        return shown.get()


def test_a_single_long_step_is_shown_with_its_time_though_no_event_comes():
    screen = Screen()
    screen.tell("progress", what="exporting", done=0, total=1)
    assert "exporting" not in screen.at(1.9)
    assert "exporting" in screen.at(2.1) and "0:00:02" in screen.at(2.1)
    assert "0:01:15" in screen.at(75)
    screen.tell("progress", what="exporting", done=1, total=1)
    assert "exporting" not in screen.at(76)


def test_steps_give_the_time_that_is_left():
    screen = Screen()
    for done in range(6):
        screen.now = 2.0 * done
        screen.tell("progress", what="scoring", done=done * 10, total=100)
    shown = screen.at(10)
    assert "50/100" in shown and "0:00:10" in shown and "left 0:00:10" in shown


def test_a_few_unlike_steps_foretell_no_end():
    screen = Screen()
    for done in range(3):
        screen.now = 2.0 * done
        screen.tell("progress", what="rivals", done=done, total=3)
    assert "2/3" in screen.at(10) and "left" not in screen.at(10)


def test_a_stage_without_steps_is_shown_and_takes_the_lines_of_what_stopped_early_with_it():
    screen = Screen()
    screen.tell("stage_started")
    screen.tell("progress", what="training", done=3, total=9)
    assert not screen.at(1.0).strip()
    assert "stage artifact" in screen.at(3.0) and "training" in screen.at(3.0) and "None" not in screen.at(3.0)
    screen.tell("stage_done", seconds=3.0)
    assert not screen.at(100.0).strip()


def test_a_terminal_is_drawn_on_by_a_timer_and_a_pipe_is_not(monkeypatch):
    monkeypatch.setattr(bars, "_SLOW", 0.2)
    monkeypatch.setenv("TERM", "xterm")
    shown = {}
    for kind in (Terminal, io.StringIO):
        monkeypatch.setattr(sys, "stderr", kind())
        with watching() as listener:
            listener({"event": "note", "stage": "artifact", "text": "a [note] of its own"})
            listener({"event": "progress", "stage": "artifact", "what": "one long step", "done": 0, "total": 1})
            until = time.monotonic() + (10 if kind is Terminal else 0.6)
            while time.monotonic() < until and "one long step" not in sys.stderr.getvalue():
                time.sleep(0.02)
        shown[kind] = sys.stderr.getvalue()
    assert "one long step" in shown[Terminal] and "a [note] of its own" in shown[Terminal]
    assert shown[io.StringIO] == "artifact: a [note] of its own\n"


def test_progress_is_told_to_listeners_and_kept_out_of_the_log(tmp_path):
    heard = []
    log = RunLog(tmp_path / "log.jsonl", listeners=(heard.append,))
    log("progress", what="scoring", done=0, total=2)
    log("note", text="said")
    assert [record["event"] for record in heard] == ["progress", "note"]
    assert [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["note"]


def sound(log):
    """Names of what told its progress: each begins below its total, never falls within one pass, and comes to its end."""
    told = {}
    for fields in log.of("progress"):
        told.setdefault(fields["what"], []).append((fields["done"], fields["total"]))
    for what, steps in told.items():
        assert steps[0][0] < steps[0][1] and steps[-1][0] == steps[-1][1], f"{what}: {steps}"
        for (before, total), (after, _) in pairwise(steps):
            assert after >= before or before == total, f"{what}: {steps}"
    return set(told)


def test_training_a_head_and_making_the_artefact_tell_their_steps(tmp_path):
    base = resolve_base(str(tiny_bert(tmp_path / "base", WORDS)))
    parts, log = (split(60, "train"), split(20, "validation", 1)), Log()
    options = TrainOptions(epochs=2, batch_tokens=64, max_length=16, precision="fp32", threads=1)
    arguments = {"adapt": AdaptOptions(method="frozen"), "options": options, "folder": tmp_path / "checkpoints"}
    trained = fit(base, TEXT_CLASSIFICATION, LABELS, *parts, emit=log, **arguments)
    assert sound(log) == {"tokenising", "outputs of the frozen body", "training", "scoring the validation rows"}

    log = Log()
    release = ReleaseOptions(runtime="torch", precision="fp32")
    shape = {"labels": LABELS, "text": "text", "base": base, "max_length": 16, "sample": parts[1].texts}
    make_artifact(trained, tmp_path / "artifact", options=release, emit=log, **shape)
    assert sound(log) == {"building the candidates", "scoring with torch fp32", "timing the candidates"}


def test_rivals_and_dimensions_count_under_one_name_each(tmp_path):
    train, test, log = split(80, "train"), split(40, "test", 1), Log()
    rivals = rival_answers(train.__class__(**{**vars(train), "table": _text(train)}), test, LABELS, 0, log)
    assert rivals and sound(log) == {"rivals"}
    log = Log()
    answers = Answers(None, np.zeros(40, np.int64))
    context = AuditContext(test, LABELS, Decision(), answers, Evidence(tmp_path), 0, emit=log)
    run_audit(context, ["privacy", "efficiency"], policy_digest=None, emit=log)
    assert sound(log) == {"audited dimensions"} and len(log.of("progress")) == 3


def _text(part):
    import pyarrow as pa

    return pa.table({"text": list(part.texts)})


class Slow:
    def __init__(self, seconds):
        self.seconds = seconds

    def scores(self, texts):
        time.sleep(self.seconds)
        return np.full((len(texts), 2), 0.5)

    def clear_cache(self):
        pass


def test_measuring_tells_its_steps_between_the_timed_calls(monkeypatch):
    monkeypatch.setattr("trustbase.audit.measure._TELL_EVERY", 0.02)
    effort = Effort(warm_up=1, calls=40, call_seconds=5, chunks=5, chunk_seconds=0.2, invariance=4)
    told = []
    measure(Slow(0.005), ["a", "b", "c"], effort=effort, seed=0, tell=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {5.2} and told == sorted(told) and told[-1] == (5.2, 5.2)
    assert 3 <= sum(0 < done < 5 for done, _ in told) <= 20, "the calls are told, but not each"
    assert sum(5 <= done < 5.2 for done, _ in told) == effort.chunks
