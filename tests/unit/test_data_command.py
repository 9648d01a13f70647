"""`trustbase data`: the card of any source, every bad row at once, and no secret in any message."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import trustbase
from trustbase.cli.main import app, main
from trustbase.data_command import data
from trustbase.errors import DataError, UsageError


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"text {i},{'yes' if i % 4 else 'no'},{['f', 'm', ''][i % 3]}" for i in range(12)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,sex", *lines, "text 0,yes,f"]) + "\n")
    return tmp_path / "rows.csv"


@pytest.fixture
def entry():
    """The entry point of the command, in this process: it has signals its own way and leaves them, as nobody comes after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield main
    for number, handler in before.items():
        signal.signal(number, handler)


def trust(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_the_card_counts_all_rows_as_one_part(rows):
    card = data("rows.csv", text="text", label="label", groups=["sex"], licence="CC0").card
    (part,) = card["splits"].values()
    assert (part["rows"], part["labels"], part["groups"]["sex"]) == (13, {"no": 3, "yes": 10}, {"f": 5, "m": 4, "unknown": 4})
    assert part["duplicate_rows"] == 1 and part["conflicting_texts"] == 1 and part["missing"]["sex"] == 4
    assert card["licence"] == "CC0" and card["overlap"] == {} and card["label"]["positive"] == "yes"
    answer = trust("rows.csv", "--text", "text", "--label", "label", "--groups", "sex")
    assert answer.exit_code == 0 and "| `no` | 3 (23.1%) |" in answer.stdout and "| all | 13 | 0 | all rows, undivided |" in answer.stdout
    assert json.loads(trust("rows.csv", "--text", "text", "--label", "label", "--json").stdout)["splits"]["all"]["rows"] == 13


def test_without_text_and_label_the_columns_are_described(rows):
    card = data(rows).card
    assert card["columns"] == {
        "text": {"empty": 0, "distinct": 12, "longest": 7},
        "label": {"empty": 0, "distinct": 2, "longest": 3},
        "sex": {"empty": 4, "distinct": 2, "longest": 1},
    }
    assert "| `sex` | 4 (30.8%) | 2 | 1 |" in trust("rows.csv").stdout
    for missing, given in (("--label", {"text": "text"}), ("--text", {"label": "label"}), ("--text", {"groups": ["sex"]})):
        with pytest.raises(UsageError, match=f"{missing}: is missing"):
            data(rows, **given)


def test_columns_of_lists_and_objects_are_described_and_their_task_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = {
        "entities": [[{"start": 0, "end": 3, "label": "PER"}], []],
        "answers": [{"text": ["Ann"], "answer_start": [0]}, {"text": [], "answer_start": []}],
        "tags": [["late", "rude"], []],
        "places": [{"x": 1}, {"x": 2}],
    }
    rows = [{"text": f"Ann met {n}", **{name: both[n % 2] for name, both in cells.items()}} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {name: found.get("task") for name, found in data("rows.jsonl").card["columns"].items()}
    named = {"entities": "token-classification", "answers": "question-answering", "tags": "multi-label-classification"}
    assert tasks == {"text": None, "places": None, **named}
    said = trust("rows.jsonl").stdout
    assert "| `entities` | 0 (0.0%) | 2 |" in said
    for name, task in named.items():
        assert f"`--text COLUMN --label {name} --task {task}` describes them" in said
        assert trust("rows.jsonl", "--text", "text", "--label", name, "--task", task).exit_code == 0
    with pytest.raises(DataError, match="no rows are left beside the bad rows, 30 of 30") as caught:
        data("rows.jsonl", text="text", label="entities")
    assert "rows with a list or an object where a text is read: 30" in caught.value.hint and "name the task" in caught.value.hint


def test_every_format_that_a_recipe_names_can_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.txt").write_text("Ann B-PER\nleft O\n\nRome B-LOC\n\n" * 12)
    answer = trust("rows.txt", "--format", "conll")
    assert answer.exit_code == 0 and "| `entities` | 0 (0.0%) | 2 |" in answer.stdout
    assert "--format conll" not in answer.stdout and "--task token-classification" in answer.stdout
    card = trust("rows.txt", "--format", "conll", "--text", "text", "--label", "entities", "--task", "token-classification")
    assert card.exit_code == 0 and "| `PER` |" in card.stdout


def test_the_terminal_shows_twenty_problems_and_counts_the_others(rows, monkeypatch, capsys, entry):
    with rows.open("a") as handle:
        handle.write("one cell\n" * 25)
    monkeypatch.setattr(sys, "argv", ["trustbase", "data", "rows.csv"])
    with pytest.raises(SystemExit):
        entry()
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == ["error: 25 of 38 rows cannot be used, by reason", "  25: too few columns", "one by one"]
    listed, left = said[3:-2], said[-2:]
    assert len(listed) == 20 and listed[-1].startswith("  rows.csv:34: ")
    assert left[0] == "  … and 5 more" and left[1].startswith("Next: ")
    with pytest.raises(DataError) as caught:
        data("rows.csv")
    assert len(caught.value.problems) == 25 and str(caught.value).count("rows.csv:") == 25 and "more" not in str(caught.value)


def test_every_bad_row_is_named_and_the_exit_code_is_two(rows, tmp_path):
    with rows.open("a") as handle:
        handle.write("one cell\ntext,,m\n")
    for options in ((), ("--text", "text", "--label", "label")):
        answer = subprocess.run(
            [sys.executable, "-m", "trustbase.cli", "data", "rows.csv", *options], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert answer.returncode == 2 and answer.stdout == ""
        assert "rows.csv:15: too few columns: expected 3, got 1" in answer.stderr
        assert ("rows.csv:16: column 'label' (label) is empty" in answer.stderr) == bool(options)  # a column without a meaning may be empty


def test_other_sources_and_an_output_folder(rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    rows.rename(folder / "a.csv")
    found = data("rows", text="{text}, {sex}", label="label", out=tmp_path / "card")
    assert json.loads((tmp_path / "card" / "data_card.json").read_text()) == found.card
    assert (tmp_path / "card" / "data_card.md").read_text() == found.markdown == found._repr_markdown_()
    assert "`rows`, 1 file, 13 rows" in found.markdown
    census = data("sample:census-income", text="{age}", label="income").card
    assert census["splits"]["all"]["rows"] == 48_842 and census["licence"] == "CC BY 4.0"


def test_what_cannot_be_is_refused_in_words(rows, monkeypatch, capsys, entry):
    for arguments, words in (
        (("rows.csv", "--text", "txt", "--label", "label"), "did you mean 'text'"),
        (("rows.csv", "--format", "xml"), "--format must be one of csv"),
        (("none.csv",), "does not exist"),
        (("rows.xlsx", "--text", "text", "--label", "label"), "cannot read spreadsheets"),
        (("rows.csv", "--text", "text", "--label", "text"), "would be shown the answer"),
    ):
        monkeypatch.setattr(sys, "argv", ["trustbase", "data", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry()
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"text": "a", "label": "b"}])
def test_a_password_is_never_shown(options):
    with pytest.raises(DataError) as caught:
        data("postgresql://ann:s3cr3t@host/db", query="select 1", **options)
    assert "holds a password" in str(caught.value) and "s3cr3t" not in str(caught.value)


def test_it_is_a_function_of_the_package_whether_or_not_that_was_imported(rows, tmp_path):
    code = "import trustbase; print(trustbase.data('rows.csv').card['source']['rows']); "
    code += "import trustbase.data.load; print(trustbase.data('rows.csv').card['source']['rows'], trustbase.data.load.__name__)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert answer.stdout.split() == ["13", "13", "trustbase.data.load"], answer.stderr
    assert trustbase.data("rows.csv").card == data("rows.csv").card


def test_rows_of_every_task_are_described_with_what_is_read_beside_the_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("Ann", "Bob", "Rome", "Oslo")
    rows = [
        {
            "text": f"{words[n % 2]} went to {words[2 + n % 3 % 2]} on day {n}",
            "asked": "who went?",
            "answers": {"text": [words[n % 2]], "answer_start": [0]},
            **{"a": "by train", "b": "on foot", "right": "ab"[n % 2]},
            **{"who": [0, 3], "where": [12, 16], "relation": ("visits", "none")[n % 2]},
        }
        for n in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--question", "asked", "--label", "answers", "--task", "question-answering")
    chosen = ("--choices", "a,b", "--label", "right", "--task", "multiple-choice")
    told = ("--head", "who", "--tail", "where", "--label", "relation", "--task", "relation-extraction")
    for options, column, said in ((asked, "answers", "asked"), (chosen, "right", "b"), (told, "relation", "where")):
        card = json.loads(trust("rows.jsonl", "--text", "text", *options, "--json").stdout)
        assert card["label"]["column"] == column and said in card["text"]["columns"], card["text"]
        assert sum(split["rows"] for split in card["splits"].values()) == 40
    for options, message in (
        (("--question", "asked"), "--text: is missing"),
        (("--text", "text", "--label", "relation", "--head", "who"), "add --tail COLUMN"),
        (("--text", "text", "--label", "right", "--choices", "a,b", "--question", "asked"), "are of models of different tasks"),
    ):
        answer = trust("rows.jsonl", *options)
        assert isinstance(answer.exception, UsageError) and message in str(answer.exception), answer.exception
