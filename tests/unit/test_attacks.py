"""What an attack on the outside of the package found: devices as outputs and keys, bombs of aliases, torn logs, impossible models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trustbase import files, home
from trustbase.bundle.answer import predict
from trustbase.bundle.keys import KEY_VARIABLE, read_public, signing_key
from trustbase.data.gather import check_columns
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.single import load_single
from trustbase.errors import DataError, ModelError, RecipeError, UsageError
from trustbase.events import RunLog
from trustbase.gate.policy_file import read_file
from trustbase.recipe.read import read_recipe
from trustbase.recipe.template import init

BOMB = "x0: &x0 [0]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize("name", ["/dev/null", ".", "", "file.txt/x", "/proc/self/nope/x"])
def test_an_output_that_is_no_file_is_refused_before_anything_is_looked_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("mine")
    if name != "/proc/self/nope/x":  # its folder shows only when it is made
        with pytest.raises(UsageError):
            predict("no-bundle-here", input="rows.csv", output=name)
    with pytest.raises((UsageError, OSError)):
        files.write_text(files.check_output(name), "text")
    assert Path("file.txt").read_text() == "mine"
    with pytest.raises(UsageError):
        init("" if name in {"", "."} else f"{name}/x.yaml" if name != "/proc/self/nope/x" else name)


def test_no_writer_replaces_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.write_text(tmp_path / "pipe", "text")
    with pytest.raises(UsageError, match="not a file"):
        files.check_output(tmp_path / "pipe")


def test_an_output_through_a_link_goes_to_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert files.check_output(tmp_path / "link") == (tmp_path / "real").resolve()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises((UsageError, OSError)):
        files.write_text(files.check_output(tmp_path / "circle") / "x", "x")


def test_a_key_is_a_regular_file_and_small(tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(UsageError, match=r"not a regular file|cannot be read"):
            signing_key(Path(path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        read_public(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(UsageError, match="more than 65536 bytes"):
        signing_key(tmp_path / "large")


@pytest.mark.parametrize("value", ["~nouser-here/x", "MIGHAgEAMBMG" + "s3cret" * 100, "a\nb" * 40])
def test_a_value_that_is_no_key_is_refused_and_not_repeated(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(UsageError) as caught:
        signing_key()
    assert KEY_VARIABLE in str(caught.value)
    assert len(caught.value.message) < 200
    assert "s3crets3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [(BOMB, "unfolds to more than"), ("a: " + "[" * 5000 + "]" * 5000, "nested deeper"), ("a: " + "[" * 60 + "]" * 60, "nested deeper")],
)
def test_bombs_of_aliases_and_depth_are_problems_with_the_name_of_the_file(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words) as caught:
        read_recipe(path)
    assert "bomb.yaml" in str(caught.value)
    entries, _, problems = read_file(path)
    assert not entries
    assert words in str(problems[0])
    assert "bomb.yaml" in str(problems[0])


def test_a_tag_that_does_not_fit_is_text_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"seed: !!int many\ntask: {'9' * 5000}\n")
    with pytest.raises(RecipeError):
        read_recipe(path)


def test_a_torn_last_line_does_not_swallow_the_next_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "one"}\n{"event": "tw')
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, data[:7]))  # every write is cut short
    log = RunLog(path)
    log("three")
    log("four")
    lines = path.read_text().splitlines()
    assert lines[1] == '{"event": "tw'
    assert [json.loads(line)["event"] for line in lines[2:]] == ["three", "four"]


def test_a_home_that_cannot_be_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/proc/nope", "/dev/null", str(tmp_path / "file"), "~nouser-here/x"):
        monkeypatch.setenv("TRUSTBASE_HOME", place)
        with pytest.raises(UsageError, match="TRUSTBASE_HOME"):
            home.make_home()
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "file"))
    assert "no folder" in home.problem()


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 10**9},
        {"vocab_size": 10**9},
        {"hidden_size": "big"},
        {"num_hidden_layers": "many"},
        {"num_labels": 10**9},
        {"max_position_embeddings": 10**9},
        {"intermediate_size": 10**30},
        {"num_attention_heads": 10**9},
    ],
)
def test_a_configuration_that_its_weights_cannot_bear_out_is_refused_at_once(change: dict[str, object], tmp_path: Path) -> None:
    from tiny import tiny_bert
    from trustbase.model.adapt import base_problems
    from trustbase.model.load import resolve_base
    from trustbase.model.options import AdaptOptions
    from trustbase.model.pretrained import load_classifier

    folder = tiny_bert(tmp_path / "base")
    assert not base_problems(resolve_base(str(folder)), AdaptOptions(), max_length=64)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match="config"):
        base_problems(resolve_base(str(folder)), AdaptOptions(), max_length=64)
    with pytest.raises(ModelError, match="config"):
        load_classifier(folder, label_names=["no", "yes"])


@pytest.mark.parametrize("reference", ["package:", "package:no-such-package-here", "file.txt", "empty", "./absent", "a b c"])
def test_a_reference_that_names_nothing_is_bad_usage(reference: str, tmp_path: Path) -> None:
    from trustbase.model.load import resolve_base

    (tmp_path / "file.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        resolve_base(reference, root=tmp_path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("count", [2, 5, 8])
def test_too_few_rows_to_choose_or_measure_by_are_refused_with_the_counts(count: int, tmp_path: Path) -> None:
    rows = [f"text {n},{'yes' if n % 2 else 'no'}" for n in range(count)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    with pytest.raises(DataError, match=r"found train \d+, validation [01], test \d+") as caught:
        load(DataOptions(train="rows.csv", text="text", label="label"), root=tmp_path, seed=0)
    assert "data.split.validation" in caught.value.hint


def test_the_text_is_no_group_and_trimmed_labels_are_said(tmp_path: Path) -> None:
    rows = [f"text {n},{'yes ' if n % 3 else 'no'}" for n in range(200)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    options = DataOptions(train="rows.csv", text="text", label="label", groups=["text"])
    assert any("is the text itself" in problem.message for problem in check_columns(options, tmp_path))
    told: list[str] = []
    load(
        DataOptions(train="rows.csv", text="text", label="label"),
        root=tmp_path,
        seed=0,
        emit=lambda event, /, **fields: told.append(fields["text"]),
    )
    assert any("blanks around" in text for text in told), told


def test_rows_of_no_recipe_are_judged_without_speaking_of_one(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,yes\nb,yes\n")
    for wish in ({}, {"positive": "no"}, {"label": "lable"}, {"text": "txt"}, {"groups": ["sexx"]}):
        with pytest.raises(DataError) as caught:
            load_single("rows.csv", root=tmp_path, **{"text": "text", "label": "label", **wish})
        assert "recipe" not in str(caught.value)
        assert "data." not in str(caught.value)


def test_a_full_disk_says_what_was_written_and_what_to_do(tmp_path: Path) -> None:
    """In a process of its own, as the limit on file sizes holds for all that it writes."""
    code = """
import resource, sys
from pathlib import Path
import torch
from trustbase.errors import TrainingError
from trustbase.model.checkpoint import load_checkpoint, save_checkpoint
from trustbase.model.pretrained import load_classifier
from trustbase.train import state
sys.path.insert(0, sys.argv[2])
from tiny import tiny_bert
place = Path(sys.argv[1])
model = load_classifier(tiny_bert(place / "base"), label_names=["no", "yes"])
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for save in (
    lambda: state.save(place / "steps", list(model.named_parameters()), None, state.Progress(step=1), {}),
    lambda: save_checkpoint(model, None, place / "saved", meta={}),
):
    try:
        save()
    except TrainingError as error:
        print(error)
assert not (place / "saved").exists() and not list((place / "steps").glob("*"))
"""
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tests)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("could not be written (it takes about") == 2, done.stdout
    assert done.stdout.count("free or allow more disk space") == 2


def test_words_of_a_recipe_name_no_class_and_booleans_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,yes\nb,no\n")
    path = tmp_path / "recipe.yaml"
    sound = "data: {train: rows.csv, text: text, label: label}\n"
    for text, overrides, words in (
        ("data: 3\ntrain: [1]\n", (), "must be a section of keys"),
        (f"{sound}train: {{epochs: true}}\n", (), "'train.epochs': must be a number, got true"),
        (sound, ("a..b=3",), r"override a\.\.b=3: has a dot"),
        (sound, (".train=3",), "has a dot"),
        (sound, ("=3",), "key=value"),
    ):
        path.write_text(text)
        with pytest.raises(RecipeError, match=words) as caught:
            read_recipe(path, overrides)
        assert "instance of" not in str(caught.value)
        assert "Options" not in str(caught.value)


EARLY = """
import os, sys
from trustbase.cli import __main__ as entry
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "trustbase.cli.main":
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Slow())
entry.main()
"""
INSIDE = """
import os, time
from trustbase.cli import main as cli
def library(**_):
    try:
        os.kill(os.getpid(), 15)
        time.sleep(5)
    except BaseException:
        raise TypeError("odd")
cli.app = library
cli.main()
"""


def test_signals_while_loading_and_inside_a_library_end_with_words_and_their_code() -> None:
    for code, exit_code, words in ((EARLY, 130, "stopped by Ctrl-C"), (INSIDE, 143, "stopped by signal 15")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == exit_code, done.stderr
        assert words in done.stderr
        assert "the same command goes on" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_reader_that_goes_away_changes_no_exit_code(exit_code: int) -> None:
    code = "import sys, typer; from trustbase.cli import main as cli\n"
    code += "def work(**_):\n    for _ in range(9000): typer.echo('x' * 80)\n    raise SystemExit(int(sys.argv[1]))\n"
    code += "cli.app = work; cli.main()"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", code, str(exit_code)], stdout=gone, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (exit_code, "")
