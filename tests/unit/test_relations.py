"""Two entities in a text: read, checked, marked, tokenized within a window around both; and F1 that leaves out what says nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from tiny import tiny_bert
from trustbase.audit.catalogue import why_never
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.quality_relation import f1_of, relation_findings, relation_sums
from trustbase.audit.resampled import at_the_edge
from trustbase.audit.rivals import why_not
from trustbase.audit.rivals_classes import bag_of_words
from trustbase.audit.slices import partitions
from trustbase.audit.stats import proportion
from trustbase.bundle.golden import synthetic_rows
from trustbase.bundle.rows import BadInput, read_rows
from trustbase.data.cells import Reading
from trustbase.data.load import load
from trustbase.data.marked import HEAD, TAIL, Span, columns_of, mark, parts, read_span, readable, three_columns
from trustbase.data.options import DataOptions
from trustbase.data.pair import readable as for_people
from trustbase.data.single import load_single
from trustbase.data.template import TextTemplate
from trustbase.data.terms import finder
from trustbase.errors import DataError, ModelError, RecipeError
from trustbase.finding_id import parse
from trustbase.model.token_marks import check_signs, spoken, too_far
from trustbase.model.tokenizer import encode, load_tokenizer, token_stats
from trustbase.recipe.read import read_recipe
from trustbase.records import Decision, LabelSchema, Split

WORDS = tuple(f"w{number}" for number in range(40))
LABELS = LabelSchema(("born", "lives", "none"), "none", "none", neutral="none")
THREE = columns_of("text", "head", "tail")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("relations") / "base", WORDS)


def marked_at(words: list[str], head: int, tail: int) -> str:
    """A text of these words, two of which are the entities."""
    begins = np.cumsum([0, *(len(word) + 1 for word in words)])
    one, two = (Span(int(begins[at]), int(begins[at]) + len(words[at])) for at in (head, tail))
    return mark(" ".join(words), one, two)


@pytest.mark.parametrize(
    ("cell", "span"),
    [
        ("[3, 9]", Span(3, 9)),
        ("3:9", Span(3, 9)),
        (" 3 : 9 ", Span(3, 9)),
        ('{"start": 3, "end": 9, "type": "org"}', Span(3, 9, "org")),
        ('{"end": 9, "start": 3, "type": null}', Span(3, 9)),
    ],
)
def test_every_form_of_a_span_is_read(cell: str, span: Span) -> None:
    assert read_span(cell) == span


@pytest.mark.parametrize(
    "cell", ["3", "3-9", "[3]", "[3, 9, 1]", "[3.0, 9]", "[true, 9]", '{"start": 3}', '{"start": 3, "end": 9, "kind": "x"}', "[" * 9999]
)
def test_what_is_no_span_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="is no span"):
        read_span(cell)


def test_marks_come_off_again_whatever_the_text(rng: np.random.Generator) -> None:
    for _ in range(300):
        text = "".join(rng.choice(list("ab @#*^小明\n [](){}:,"), 12).tolist())
        one, two, three, four = np.sort(rng.choice(13, 4, replace=False)).tolist()
        head, tail = (Span(one, two, "per_son"), Span(three, four)) if rng.random() < 0.5 else (Span(three, four), Span(one, two, "x"))
        if not (text[one:two].strip() and text[three:four].strip()):
            continue
        found = parts(mark(text, head, tail))
        assert found is not None and (found.head, found.tail) == (text[head.start : head.end], text[tail.start : tail.end])
        assert found.types == (head.type, tail.type) and found.head_first == (head.start < tail.start)
        between = (found.head, found.tail) if found.head_first else (found.tail, found.head)
        assert f"{found.before}{between[0]}{found.between}{between[1]}{found.after}" == text


def test_adjacent_entities_are_marked_and_overlapping_ones_are_not() -> None:
    assert parts(mark("abcd", Span(2, 4), Span(0, 2))) is not None
    for head, tail, why in (
        (Span(0, 3), Span(2, 4), "overlap"),
        (Span(0, 9), Span(1, 2), "outside"),
        (Span(2, 2), Span(0, 1), "ends where"),
        (Span(-1, 1), Span(2, 3), "outside"),
    ):
        with pytest.raises(ValueError, match=why):
            mark("abcd", head, tail)
    assert parts("plain") is None and parts(f"{HEAD}\x02a{HEAD}") is None and parts(f"{HEAD}\x02a{HEAD} {HEAD}\x02b{HEAD}") is None


def test_the_signs_are_those_of_the_paper() -> None:
    text = mark("Bill was born in Seattle.", Span(0, 4, "PERSON"), Span(17, 24, "US_city"))
    assert spoken(text)[0] == "@ * person * Bill @ was born in # ^ us city ^ Seattle #."
    assert spoken(mark("Bill was born in Seattle.", Span(17, 24), Span(0, 4)))[0] == "# Bill # was born in @ Seattle @."
    assert spoken("Bill") == ("Bill", None)
    assert for_people(text) == readable(text) == "[head PERSON: Bill] was born in [tail US_city: Seattle]."
    assert readable(THREE) == "text (head: head, tail: tail)" and three_columns(THREE) == ("text", "head", "tail")


def test_a_template_renders_alike_by_row_and_by_table() -> None:
    template = TextTemplate.parse(THREE, ["text", "head", "tail", "label"])
    assert template == TextTemplate.parse(template.source, None)
    assert (template.columns, template.whole, template.composed) == (("text", "head", "tail"), ("text",), ())
    rows = [{"text": "a b", "head": "0:1", "tail": "[2, 3]"}, {"text": "a b", "head": "2:3", "tail": '{"start": 0, "end": 1}'}]
    assert template.render_table(pa.Table.from_pylist(rows)) == [template.render(row) for row in rows]
    with pytest.raises(DataError, match=r"data\.head: there is no column 'haed'"):
        TextTemplate.parse(columns_of("text", "haed", "tail"), ["text", "head", "tail"])


BAD = [
    ({"text": "ab cd", "head": [0, 2], "tail": [3, 9]}, "column 'tail' lies outside the text: got [3, 9]"),
    ({"text": "ab cd", "head": [0, 2], "tail": [1, 4]}, "columns 'head' and 'tail' overlap: got [0, 2] and [1, 4]"),
    ({"text": "ab cd", "head": [2, 2], "tail": "3-5"}, "column 'head' ends where it begins, or before; column 'tail' is no span"),
    ({"text": "ab cd", "head": [0, 2], "tail": None}, "column 'tail' is empty"),
    ({"text": "ab cd", "head": [2, 3], "tail": [3, 5]}, "column 'head' holds nothing but white space"),
    ({"text": "ab\u000ecd", "head": [0, 2], "tail": [3, 5]}, "U+000E"),
    ({"text": "", "head": [0, 2], "tail": [3, 5]}, "column 'text' (text) is empty"),
]


def test_bad_rows_are_told_exactly_and_all_at_once(tmp_path: Path) -> None:
    good = {"text": "ab cd", "head": {"start": 0, "end": 2, "type": "x"}, "tail": [3, 5], "label": "none"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, *({**row, "label": "born"} for row, _ in BAD))))
    with pytest.raises(DataError) as told:
        load_single(path, text=THREE, label="label", labels=LABELS)
    reasons = [str(problem) for problem in told.value.problems]
    assert len(reasons) == len(BAD)
    for number, (reason, (_, wanted)) in enumerate(zip(reasons, BAD, strict=True), 2):
        assert f"rows.jsonl:{number}" in reason and wanted in reason
    [chunk] = read_rows(path, Reading(TextTemplate.parse(THREE, None)))  # what predict reads
    assert isinstance(chunk.rows[0], str) and [isinstance(row, BadInput) for row in chunk.rows] == [False] + [True] * len(BAD)


def test_csv_and_parquet_say_the_same_as_json_lines(tmp_path: Path) -> None:
    rows = [{"text": "ab, cd", "head": [4, 6], "tail": [0, 2], "label": label} for label in ("born", "none")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.csv").write_text('text,head,tail,label\n"ab, cd",4:6,"[0, 2]",born\n"ab, cd",4:6,"[0, 2]",none\n')
    read = [load_single(tmp_path / f"rows.{kind}", text=THREE, label="label")[0] for kind in ("parquet", "jsonl", "csv")]
    assert all(list(split.texts) == [mark("ab, cd", Span(4, 6), Span(0, 2))] * 2 for split in read)
    [chunk] = read_rows(tmp_path / "rows.parquet", Reading(TextTemplate.parse(THREE, None)))
    assert chunk.rows == list(read[0].texts)


def test_tokens_are_those_of_the_signs_in_the_text(base: Path, rng: np.random.Generator) -> None:
    tokenizer = load_tokenizer(base)
    texts = [marked_at(rng.choice(WORDS, 9).tolist(), *rng.choice(9, 2, replace=False).tolist()) for _ in range(20)] + ["w1 w2", ""]
    found = encode(tokenizer, texts, max_length=64)
    wanted = [tokenizer(spoken(text)[0])["input_ids"] for text in texts]
    assert [found.ids[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == wanted
    assert not found.truncated.any() and token_stats(tokenizer, texts, 64).unknown_count == 0


def test_a_long_text_keeps_both_entities_wherever_they_stand(base: Path, rng: np.random.Generator) -> None:
    tokenizer = load_tokenizer(base)
    parted = []
    for _ in range(200):
        words = rng.choice(WORDS[:30], 60).tolist()
        at = rng.choice(60, 2, replace=False).tolist()
        words[at[0]], words[at[1]] = "w38", "w39"
        text = marked_at(words, *at)
        row = encode(tokenizer, [text], max_length=24)
        read = tokenizer.convert_ids_to_tokens(row.ids.tolist())
        assert len(read) == 24 and (read[0], read[-1]) == ("[CLS]", "[SEP]") and row.truncated.all()
        around = [read.index(word) for word in ("w38", "w39")]
        assert [read[place - 1 : place + 2] for place in around] == [["@", "w38", "@"], ["#", "w39", "#"]]
        parted.append(bool(too_far(tokenizer, [text], 24)[0]))
        assert parted[-1] == (abs(at[0] - at[1]) + 5 > 22)
        whole = tokenizer.tokenize(spoken(text)[0])
        begin = whole.index(read[1]) if parted[-1] else [whole[k : k + 22] for k in range(len(whole) - 21)].index(read[1:-1])
        if not parted[-1]:  # a window: as much on either side, but for the ends of the text
            first, last = min(around), max(around)
            left, right = first - 2, 22 - last - 1
            assert abs(left - right) <= 1 or begin in (0, len(whole) - 22)
    assert 0.3 < np.mean(parted) < 0.9, "both cases were met"
    stats = token_stats(tokenizer, [text, "w1"], 24)
    assert stats.parted_rows == int(parted[-1]) and stats.truncated_rows == 1


def test_unmarked_texts_among_marked_ones_are_cut_as_ever(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    long = " ".join(WORDS)
    mixed = encode(tokenizer, [long, marked_at(["w1", "w2"], 0, 1)], max_length=12)
    alone = encode(tokenizer, [long], max_length=12)
    assert mixed.ids[: mixed.offsets[1]].tolist() == alone.ids.tolist()


def test_a_tokenizer_without_the_signs_is_refused(tmp_path: Path, base: Path) -> None:
    check_signs(load_tokenizer(base), "base")
    with pytest.raises(ModelError, match="does not know @ #"):
        check_signs(load_tokenizer(bare(tmp_path)), "bare")


def bare(folder: Path) -> Path:
    """A base whose vocabulary holds letters and no signs."""
    made = tiny_bert(folder / "bare", WORDS)
    path = made / "tokenizer.json"
    state = json.loads(path.read_text())
    for sign in "@#":
        state["model"]["vocab"][f"gone{ord(sign)}"] = state["model"]["vocab"].pop(sign)
    path.write_text(json.dumps(state))
    return made


def test_golden_rows_have_entities_and_some_are_longer_than_the_model_reads(base: Path) -> None:
    reading = Reading(TextTemplate.parse(THREE, None))
    rows = synthetic_rows(base, reading, max_length=24, seed=0)
    texts = [reading.render(row) for row in rows]
    assert all(parts(text) is not None for text in texts) and {row["head"] for row in rows} != {"0:2"}
    assert encode(load_tokenizer(base), texts, max_length=24).truncated.any()


def test_rivals_and_slices_see_the_entities(rng: np.random.Generator) -> None:
    text = mark("Anna met Boris today", Span(9, 14, "person"), Span(0, 4))
    terms = finder("words", longest=1)(text)
    assert terms == ["anna", "met", "boris", "today", "tail first", "head boris", "tail anna", "between met", "type person"]
    texts = [marked_at(["w1", str(word), "w2", "w3"], *((0, 2) if flip else (2, 0))) for word, flip in cells(rng, 300)]
    truth = np.array([int(word == "w8") for word, _ in cells(np.random.default_rng(0), 300)])
    train = Split("train", texts, truth, {}, pa.table({"text": texts, "head": texts, "tail": texts}), np.arange(300), "made", "sha256:0")
    answers = bag_of_words(train, LabelSchema(("a", "b"), "b", "b"), 0)(train)
    assert (answers.predicted == truth).mean() > 0.99 and "places of entities" in str(why_not("boosting", train))
    typed = replace(train, texts=[text] * 150 + texts[:150])
    schema = LabelSchema(("a", "b"), "b", "b")
    context = AuditContext(typed, schema, Decision(), answers, Evidence(Path()), 0)
    named = {columns: values for kind, columns, _, values in partitions(context) if kind == "column"}
    assert set(named) == {("head type",), ("between entities",)} or set(named) == {("head type",)}
    assert named[("head type",)] == [("missing",), ("person",)]


def test_rows_on_disk_are_sliced_like_rows_in_memory(tmp_path: Path) -> None:
    typed = '{"start": 0, "end": 4, "type": "person"}'
    rows = [
        {"text": f"anna met boris {i}", "head": typed if i % 3 else "0:4", "tail": "9:14", "label": "born" if i % 2 else "none"}
        for i in range(400)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    options = DataOptions(train="rows.parquet", text="text", head="head", tail="tail", label="label")
    found = []
    for memory in ("whole", "stream"):
        data = load(options.model_copy(update={"memory": memory}), root=tmp_path, seed=0, store=tmp_path)
        test = data.splits["test"]
        context = AuditContext(test, data.labels, Decision(), Answers(None, test.labels), Evidence(Path()), 0)
        found.append([(kind, columns, codes.tolist(), names) for kind, columns, codes, names in partitions(context)])
    assert found[0] == found[1] and ("column", ("head type",)) in [item[:2] for item in found[0]]


def cells(rng: np.random.Generator, rows: int) -> list[tuple[str, bool]]:
    drawn = np.random.default_rng(0)
    return [(str(drawn.choice(["w8", "w9"])), bool(drawn.random() < 0.5)) for _ in range(rows)]


def context_of(truth: Any, predicted: Any, tmp_path: Path, labels: LabelSchema = LABELS) -> AuditContext:
    split = Split("test", ["x"] * len(truth), truth, {}, pa.table({}), np.arange(len(truth)), "made", "sha256:0")
    return AuditContext(split, labels, Decision(), Answers(None, predicted), Evidence(tmp_path), 0)


def test_f1_of_relations_is_that_of_scikit_learn(tmp_path: Path, rng: np.random.Generator) -> None:
    for _ in range(20):
        truth = rng.choice(3, 200, p=[0.2, 0.2, 0.6])
        predicted = np.where(rng.random(200) < 0.3, rng.choice(3, 200), truth)
        found = {finding.parts.metric: finding for finding in relation_findings(context_of(truth, predicted, tmp_path))}
        named: dict[str, Any] = {"labels": [0, 1], "average": "micro"}
        wanted = (f1_score, precision_score, recall_score)
        for metric, oracle in zip(("relation_f1", "relation_precision", "relation_recall"), wanted, strict=True):
            finding = found[metric]
            assert finding.value == pytest.approx(oracle(truth, predicted, **named)) and finding.low < finding.value < finding.high
    assert relation_findings(context_of(truth, predicted, tmp_path, replace(LABELS, neutral=None))) == []


def test_few_or_no_relations_are_insufficient(tmp_path: Path) -> None:
    none = np.full(100, 2)
    assert [finding.status for finding in relation_findings(context_of(none, none, tmp_path))] == ["insufficient"] * 3
    few = np.array([0] * 9 + [2] * 91)
    assert relation_findings(context_of(few, few, tmp_path))[0].status == "insufficient"


def test_relations_are_counted_by_the_rows_that_speak_of_them(tmp_path: Path) -> None:
    """F1 needs 20 rows, and ten with a true or answered relation; precision 30 answered ones, recall 30 true ones."""
    truth, told = np.array([0] * 10 + [2] * 40), np.array([0] * 9 + [2] * 41)
    assert relation_findings(context_of(truth, told, tmp_path))[0].status == "ok"
    assert relation_findings(context_of(truth[:20], told[:20], tmp_path))[0].status == "ok"
    assert relation_findings(context_of(truth[:19], told[:19], tmp_path))[0].reason.startswith("19 rows, 10 of them with")
    truth = np.array([0] * 20 + [1] * 20 + [2] * 60)
    told = np.array([0] * 15 + [1] * 5 + [1] * 8 + [2] * 12 + [0] * 1 + [2] * 59)  # 29 answered, 40 true, 23 hits
    f1, precision, recall = relation_findings(context_of(truth, told, tmp_path))
    assert (f1.value, f1.n) == (pytest.approx(2 * 23 / 69), 100)
    assert (precision.status, precision.n) == ("insufficient", 29) and "only 29 rows answered with a relation" in precision.reason
    assert (recall.value, recall.n, recall.status) == (23 / 40, 40, "ok")
    told[-1] = 1
    precision = relation_findings(context_of(truth, told, tmp_path))[1]
    assert (precision.value, precision.n, precision.status) == (23 / 30, 30, "ok")
    few_true = relation_findings(context_of(told, truth, tmp_path))[2]
    assert (few_true.value, few_true.n) == (23 / 30, 30), "recall is precision with truth and answer swapped"


def test_all_right_or_all_wrong_still_has_doubt(tmp_path: Path) -> None:
    """And the bounds that this doubt stands on hold for every mixture of hits and kinds of error."""
    truth = np.array([0, 1] * 20 + [2] * 40)
    right, wrong = (relation_findings(context_of(truth, told, tmp_path))[0] for told in (truth, np.array([1, 0] * 20 + [2] * 40)))
    assert right.value == right.high == 1.0 and 0.85 < right.low < 1.0 and wrong.value == wrong.low == 0.0 and 0 < wrong.high < 0.2
    share = proportion(0, 40).high
    assert wrong.high == pytest.approx(2 * share / (1 + share)) and right.low == pytest.approx(proportion(40, 40).low)
    for hits in range(5):
        for missed in range(4):
            for invented in range(4):
                for mixed in range(4):
                    rows = hits + missed + invented + mixed
                    if rows:
                        f1 = 2 * hits / (2 * hits + missed + invented + 2 * mixed)
                        share = hits / rows
                        assert share - 1e-12 <= f1 <= 2 * share / (1 + share) + 1e-12
    assert at_the_edge(200, right=True, harmonic=True, confidence=0.95, what="a relation").low > right.low


def test_the_interval_of_f1_covers_what_it_claims() -> None:
    """Rows with a relation in three of ten, of which seven in ten are found; F1 of the whole population is known."""
    from trustbase.audit.resampled import of_sums

    rng = np.random.default_rng(5)
    truth = rng.choice(3, 200_000, p=[0.15, 0.15, 0.7])
    told = np.where(rng.random(200_000) < 0.25, rng.choice(3, 200_000), truth)
    sums = relation_sums(told, truth, 2)
    known, held = float(f1_of(sums.sum(axis=0))), 0
    for _ in range(200):
        interval = of_sums(sums[rng.integers(0, len(sums), 250)], f1_of, rng=rng, replicates=400)
        held += interval.low <= known <= interval.high
    assert held >= 180, f"95 % intervals held {held} of 200 times"


RECIPE = """
task: {task}
data: {{train: rows.jsonl, text: text, label: label{more}}}
audit: [quality, fairness, efficiency]
gates: {{{gate}: ">= 0.1"}}
"""


@pytest.mark.parametrize(
    ("task", "more", "gate", "why"),
    [
        ("relation-extraction", "", "quality.accuracy", "add head: COLUMN and tail: COLUMN"),
        ("relation-extraction", ", head: head", "quality.accuracy", "name the column of the other as tail"),
        ("text-classification", ", head: head, tail: tail", "quality.accuracy", "asks about none"),
        ("relation-extraction", ", head: head, tail: tail", "quality.relation_f1", "data.no_relation: LABEL"),
        ("relation-extraction", ", head: head, tail: tali", "quality.accuracy", "did you mean 'tail'"),
        ("relation-extraction", ", head: head, tail: head", "quality.accuracy", "four columns"),
        ("multi-label-classification", ", no_relation: none", "quality.micro_f1", "data.no_relation is one label of several"),
        ("text-classification", "", "quality.relation_f1", "none is named"),
    ],
)
def test_impossible_recipes_are_refused_with_the_reason(tmp_path: Path, task: str, more: str, gate: str, why: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "ab cd", "head": "0:2", "tail": "3:5", "label": "none"}\n')
    (tmp_path / "r.yaml").write_text(RECIPE.format(task=task, more=more, gate=gate))
    with pytest.raises(RecipeError) as told:
        read_recipe(tmp_path / "r.yaml")
    assert why in " ".join([str(problem) for problem in told.value.problems])


def test_any_classification_may_name_a_label_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "ab cd", "label": "none"}\n')
    (tmp_path / "r.yaml").write_text(RECIPE.format(task="text-classification", more=", no_relation: none", gate="quality.relation_f1"))
    assert read_recipe(tmp_path / "r.yaml").recipe.data.no_relation == "none"
    assert why_never(parse("quality.relation_f1"), [], "labels") is not None
    assert LabelSchema.from_json(LABELS.to_json()) == LABELS and "neutral" not in replace(LABELS, neutral=None).to_json()
    assert TAIL not in for_people(THREE)
