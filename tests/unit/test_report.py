"""The report as a page: what it says first, what it never does, and that it reads what the audits really write."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bundles import World
from report_folders import HOSTILE, make

from trustbase import files
from trustbase.audit import fairness, quality
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.errors import UsageError, VerificationError
from trustbase.records import AuditReport, Decision, Finding, LabelSchema, Split
from trustbase.report.facts import _only_answer
from trustbase.report.html import between_words, render, report
from trustbase.report.words import words

KINDS = ("released", "rejected", "unsettled", "multiclass", "predictions", "hostile", "groups30", "many_labels")
VOID = {"meta", "link", "br", "img", "input", "hr", "col"}


class Page(HTMLParser):
    """A page taken apart: its tags, texts and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.feed(text.replace("<wbr>", ""))  # where a line may break is no text
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        for tag in set(self.open):
            self.content.setdefault(tag, []).append(data)

    def text(self, tag: str = "body") -> str:
        return " ".join(" ".join(self.content.get(tag, [])).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[tuple[str, str], str]:
    root = tmp_path_factory.mktemp("reports")
    folders = {kind: make(root / kind, kind=kind) for kind in KINDS}
    return {(kind, lang): render(folder, lang=lang) for kind, folder in folders.items() for lang in ("en", "zh")}


def test_every_page_is_whole_small_and_asks_nothing_of_the_network(pages):
    assert len(pages) == 16
    for name, text in pages.items():
        page = Page(text)
        assert len(text.encode()) < 1_000_000, name
        fetching = [
            (tag, key, value)
            for tag, found in page.tags
            for key, value in found.items()
            if key in {"src", "srcset", "data", "action", "formaction", "poster", "background"}
        ]
        links = [found.get("href") for tag, found in page.tags if tag in {"a", "link", "image", "use"}]
        assert fetching == [] and all(link and link.startswith("#") for link in links), name
        style = "".join(page.content["style"])
        assert "url(" not in style and "@import" not in style
        assert not page.all("img") and not page.all("iframe") and not page.all("link") and not page.all("object")
        ids = {found["id"] for _, found in page.tags if "id" in found}
        assert all(link[1:] in ids for link in links), name


def test_only_the_page_s_own_style_and_script_may_act(pages):
    for text in pages.values():
        page = Page(text)
        policy = next(found["content"] for found in page.all("meta") if found.get("http-equiv") == "Content-Security-Policy")
        for tag in ("style", "script"):
            assert len(page.all(tag)) == 1
            content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
            assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert not [found for _, found in page.tags for key in found if key == "style" or key.startswith("on")]


def test_ids_break_between_their_words_and_never_within_a_number(pages):
    for lang in ("en", "zh"):
        text = pages["rejected", lang]
        assert "<code>fairness.<wbr>demographic_<wbr>parity_<wbr>difference[sex] &lt;= 0.1</code>" in text
        assert "<code>fairness.<wbr>demographic_<wbr>parity_<wbr>difference[sex]</code>" in text
    assert between_words("a.b_c[x_y=<i>]@d#0.10") == "a.<wbr>b_<wbr>c[x_<wbr>y=&lt;i&gt;]@d#0.10"


def test_hostile_names_stay_text(pages):
    for lang in ("en", "zh"):
        text = pages["hostile", lang]
        page = Page(text)
        assert "<img" not in text and "alert(1)</script><script>" not in text.replace("&lt;", "").replace("&#39;", "")
        assert len(re.findall(r"<script", text)) == 1
        assert (
            page.text().count("</script><script>alert(1)</script><img src=x onerror=alert(2)>") >= 4
        )  # labels, groups, column, owner, base
        assert "{{7*7}}" in page.text() and "49" not in page.text("h3")


@pytest.mark.parametrize(
    ("kind", "lang", "word", "sentence"),
    [
        ("released", "en", "Released", "All 5 gates passed."),
        ("released", "zh", "准予发布", "5 道门槛全部通过。"),
        ("rejected", "en", "Not released", "1 of 8 gates failed. Difference in favourable answers between groups of sex is 19.6 percentage points (18.3 to 20.9); the limit is at most 10.0 percentage points."),  # noqa: E501
        ("rejected", "zh", "未予发布", "8 道门槛中有 1 道未通过。有利回答之差（按 sex 分组）为 19.6 个百分点（18.3 至 20.9），限值为不高于 10.0 个百分点。"),  # noqa: E501
        ("unsettled", "en", "Not released", "1 of 6 gates could not be settled. Macro F1 is 80.7 % (80.0 to 81.4); the limit is at least 81.0 %."),  # noqa: E501
        ("predictions", "en", "No verdict", "No limit was set, so nothing was decided. The measurements below stand for themselves."),
    ],
)  # fmt: skip
def test_the_verdict_comes_first_in_one_sentence(pages, kind, lang, word, sentence):
    text = pages[kind, lang]
    body = Page(text).text("main")
    assert body.startswith(f"{words(lang)('verdict.label')} {word} {sentence}")
    assert f"<title>{word} ·" in text


def test_each_gate_has_limit_value_interval_word_reason_and_bar(pages):
    section = pages["rejected", "en"].split('<section id="gates">')[1].split("</section>")[0]
    page = Page(section)
    assert section.count('class="bar limitbar"') == 7  # eight gates, one of them on something nobody measured
    text = page.text("table")
    for phrase in (
        "Even the better end of the interval, 18.3 pp, misses the limit.",
        "The limit lies inside the interval, so 16,281 rows cannot settle it.",
        "There is no usable number, and a missing number never passes.",
        "no finding of this id was measured",
        "This number has no interval, and it keeps the limit.",
        "The measured value keeps the limit. Its interval was not judged, as the policy asks.",
        "Even the weaker end of the interval, 86.1 %, keeps the limit.",
    ):
        assert phrase in text
    words_in_order = list(re.findall(r'<tr class="(\w+)">', section))
    assert words_in_order == ["fail", "insufficient", "insufficient", "pass", "pass", "pass", "pass", "pass"]


def test_a_rival_that_wins_is_named_plainly(pages):
    body = Page(pages["released", "en"]).text("main")
    assert "Gradient boosting on the raw columns does better than this model: accuracy is 87.4 % for it, and 86.6 % for the model." in body
    assert "the rival is better" in body and "the model is better" in body and "no difference shown" in body
    assert "基于原始列的梯度提升优于本模型" in Page(pages["released", "zh"]).text("main")


def test_what_was_assumed_hidden_or_not_asked_for_is_said(pages, tmp_path):
    body = Page(pages["released", "en"]).text("main")
    for phrase in (
        "No mitigation was asked for.",
        "Favourable label: >50K (as named).",
        "Never shown to the model: ",
        "These test rows were looked at once.",
        "Model risk, example bank",
        "credit decisions; hiring",
        "bf16 was 2.3 times faster",
    ):
        assert phrase in body, phrase
    folder = make(tmp_path / "run")
    evidence = files.read_json(folder / "evidence" / "fairness.json")
    files.write_json(folder / "evidence" / "fairness.json", {**evidence, "assumed": True})
    artifact = files.read_json(folder / "artifact" / "artifact.json")
    files.write_json(folder / "artifact" / "artifact.json", {**artifact, "text": "{age} {sex}"})
    body = Page(render(folder)).text("main")
    assert "The favourable label, “>50K”, was assumed." in body and "The model reads these group columns: sex." in body
    files.write_json(folder / "artifact" / "artifact.json", {**artifact, "text": "{age}", "features": {"categorical": ["sex"]}})
    assert "The model reads these group columns: sex." in Page(render(folder)).text("main")


def test_test_rows_that_training_saw_are_the_first_thing_said(tmp_path):
    folder = make(tmp_path / "run")
    card = {"splits": {"test": {"rows": 1200}}, "overlap": {"train/test": 0}}
    files.write_json(folder / "data_card.json", card)
    assert "also stands in the training rows" not in Page(render(folder)).text("main")
    files.write_json(folder / "data_card.json", {**card, "overlap": {"train/test": 419}})
    assert "419 of the 1,200" in Page(render(folder)).text("main") and "419" in Page(render(folder, lang="zh")).text("main")


def test_what_was_not_measured_stands_with_its_reason(pages):
    body = Page(pages["groups30", "en"].split('<section id="unmeasured">')[1].split("</section>")[0]).text("table")
    assert "could not be measured KS statistic ValueError: made to fail" in body
    assert "fewer than two groups have 30 rows" in body
    section = pages["released", "en"].split('<section id="unmeasured">')[1].split("</section>")[0]
    assert "Privacy, Explanation, Robustness, Backdoors, leaks and forbidden answers, Law" in section


def test_every_finding_stands_in_the_full_table(pages, tmp_path):
    folder = make(tmp_path / "run", kind="groups30")
    audit = files.read_json(folder / "audit.json")
    text = render(folder).split('<section id="findings">')[1].split("</section>")[0]
    shown = Page(text).text("code")
    assert len(audit["findings"]) > 40 and all(finding["id"] in shown for finding in audit["findings"])


def test_charts_have_names_units_n_and_intervals(pages):
    for kind in ("released", "groups30", "multiclass"):
        page = Page(pages[kind, "en"])
        charts = [found for found in page.all("svg") if found.get("role") == "img"]
        assert len(charts) > 20 and all(found["aria-label"] for found in charts)
        assert all("aria-hidden" in found for found in page.all("svg") if found.get("role") != "img")
    body = pages["groups30", "en"]
    assert "Region number 29 with a rather long name: " in body and body.count("ratebar") > 120
    assert "too few rows" in Page(body).text()
    assert "31 labels are too many for a readable grid" in Page(pages["many_labels", "en"]).text()


def test_headings_go_down_by_one_and_every_table_has_scoped_heads(pages):
    for text in pages.values():
        page = Page(text)
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
        assert all(found.get("scope") in {"col", "row"} for found in page.all("th"))
        assert page.all("html")[0]["lang"] in {"en", "zh-CN"}


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_text_stands_out_from_its_ground_in_light_and_dark(pages):
    style = "".join(Page(pages["released", "en"]).content["style"])
    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root[^{]*\{([^}]*)\}", style)]
    themes = [block for block in blocks if "paper" in block]
    assert len(themes) == 3 and themes[1] == themes[2]
    for theme in themes[:2]:
        pairs = [(ink, ground) for ink in ("ink", "quiet", "link") for ground in ("paper", "soft")]
        pairs += [(tone, ground) for tone in ("pass", "fail", "insufficient", "open") for ground in ("paper", f"{tone}-soft")]
        pairs += [("ink", f"{tone}-soft") for tone in ("pass", "fail", "insufficient", "open")]
        pairs += [("ink", f"heat{i}") for i in range(7)] + [("heat-ink", f"heat{i}") for i in (7, 8, 9)]
        low = {
            pair: round(_contrast(theme[pair[0]], theme[pair[1]]), 2) for pair in pairs if _contrast(theme[pair[0]], theme[pair[1]]) < 4.5
        }
        assert low == {}  # WCAG 2.2, success criterion 1.4.3


def _real(folder: Path, *, classes: int = 2, scores: bool = True, groups: bool = True) -> Path:
    """A folder as the audits themselves write it."""
    rng = np.random.default_rng(5)
    n = 900
    names = tuple(["no", "yes"] if classes == 2 else [f"label {i}" for i in range(classes)])
    truth = rng.integers(0, classes, n)
    table = rng.dirichlet(np.ones(classes), n)
    table[np.arange(n), truth] += 0.8
    table /= table.sum(1, keepdims=True)
    columns = {
        "sex": rng.choice(["Female", "Male"], n).astype(object),
        "region": rng.choice(["north", "south", "west"], n, p=[0.5, 0.48, 0.02]).astype(object),
    }
    texts = [f"row {i} of some length {'x' * (i % 40)}" for i in range(n)]
    raw = pa.table({"age": [str(20 + i % 50) for i in range(n)], "job": rng.choice(["a", "b"], n).tolist()})
    split = Split("test", texts, truth.astype(np.int64), columns if groups else {}, raw, np.arange(1, n + 1), "test", "sha256:0")
    answers = Answers(table if scores else None, table.argmax(1).astype(np.int64))
    rival = Answers(None, np.where(rng.random(n) < 0.5, truth, 0).astype(np.int64))
    labels = LabelSchema(names, names[-1], names[-1])
    context = AuditContext(split, labels, Decision(), answers, Evidence(folder / "evidence"), 0, train=split, rivals={"majority": rival})
    findings = [*quality.audit_classes(context), *fairness.audit_classes(context)]
    files.write_json(
        folder / "audit.json", AuditReport({}, {"digest": "sha256:0", "rows": n}, None, {"cores": 2}, tuple(findings)).to_json()
    )
    return folder


@pytest.mark.parametrize("classes", [2, 4])
def test_what_the_audits_really_write_is_drawn(tmp_path, classes):
    folder = _real(tmp_path, classes=classes)
    for lang in ("en", "zh"):
        text = render(folder, lang=lang)
        t, body = words(lang), Page(text).text("main")
        for title in (
            t("confusion.title"),
            t("reliability.title"),
            t("classes.title"),
            t("slices.title"),
            t("groups.title", column="sex"),
            t("groups.title", column="sex × region"),
        ):
            assert title in body, title
        assert text.count("ratebar") > 30 and t("groups.assumed") in body
        region = files.read_json(folder / "evidence" / "fairness.json")["columns"]["region"]["groups"]
        small = next(row["n"] for row in region if row["group"] == "west")
        assert 0 < small < 30 and f"west {small}" in body and "Female × west" in body and t("groups.small") in body
    row = next(
        row for row in files.read_json(folder / "evidence" / "fairness.json")["columns"]["sex"]["groups"] if row["group"] == "Female"
    )
    assert f"{100 * row['intervals']['selection_rate']['value']:.1f} %" in body
    assert (t("groups.others") in body) == (classes > 2)


def test_groups_of_an_intersection_stand_in_the_order_of_its_columns(tmp_path):
    text = render(_real(tmp_path))
    assert "Groups of sex × region" in text and "Female × north" in text and "north × Female" not in text
    assert text.index("Groups of sex<") < text.index("Groups of region<")


def test_recorded_reasons_are_said_in_the_language_of_the_report(tmp_path):
    body = Page(render(_real(tmp_path, scores=False), lang="zh")).text("main")
    assert "只给出了回答，没有得分" in body and "因少于 30 行而未计入：west（" in body
    files.write_json(
        tmp_path / "odd" / "audit.json", AuditReport({}, {}, None, {}, (Finding.without_value("quality.ks", "failed", "odd"),)).to_json()
    )
    assert "原始记录：odd" in Page(render(tmp_path / "odd", lang="zh")).text("main")


def test_answers_without_scores_or_groups_say_what_is_missing(tmp_path):
    body = Page(render(_real(tmp_path, scores=False, groups=False))).text("main")
    assert "only answers were given, no scores" in body
    assert "No group columns were named" in body
    assert "Reliability curve" not in body


def test_metrics_of_real_audits_have_names(tmp_path):
    audit = AuditReport.from_json(files.read_json(_real(tmp_path) / "audit.json"))
    unnamed = {f.parts.metric for f in audit.findings if not words("zh").metric_about(f.id)}
    assert len(audit.findings) > 50 and unnamed == set()


def test_a_part_that_cannot_be_read_is_named_and_a_broken_verdict_releases_nothing(tmp_path):
    folder = make(tmp_path / "run")
    (folder / "evidence" / "quality.json").write_text("{", encoding="utf-8")
    files.write_json(folder / "verdict.json", {"released": True})
    body = Page(render(folder)).text("main")
    assert "Some files could not be read" in body and "quality.json: " in body
    assert body.startswith("Verdict No verdict The recorded verdict cannot be read, so none is shown. Treat this as not released.")


def test_limits_that_came_after_the_measurements_are_said_to(tmp_path):
    folder = make(tmp_path / "run")
    audit = files.read_json(folder / "audit.json")
    files.write_json(folder / "audit.json", {**audit, "policy": {"digest": "sha256:1", "set_before_measuring": False}})
    verdict = files.read_json(folder / "verdict.json")
    files.write_json(folder / "verdict.json", {**verdict, "released": False, "reason": "set after"})
    body = Page(render(folder)).text("main")
    assert body.startswith("Verdict Not released All gates passed, but their limits were set after the measurements")
    assert "taken before the limits now applied were set" in body


def test_the_report_is_written_whole_and_never_into_a_bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    run = make(tmp_path / "run", kind="rejected")
    path = report(run, lang="zh")
    assert path == run / "report.html" and path.read_text(encoding="utf-8") == render(run, lang="zh")
    bundle = World(tmp_path / "packed").pack().folder
    before = sorted(p.name for p in bundle.rglob("*"))
    beside = report(bundle)
    assert beside == tmp_path / "packed" / "bundle.report.html" and sorted(p.name for p in bundle.rglob("*")) == before
    assert "Manifest of the bundle" in beside.read_text(encoding="utf-8")


def test_no_report_says_released_of_a_bundle_that_is_not_what_was_signed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    run = tmp_path / "run"
    bundle = World(run).pack().folder
    assert "Released" in report(run).read_text(encoding="utf-8"), "no audit.json in the run folder: the bundle's is read, once checked"
    (run / "report.html").unlink()
    altered = (bundle / "audit.json").read_bytes().replace(b"0.861234", b"0.991234")
    (bundle / "audit.json").write_bytes(altered)
    for gone in ((), ("model.sig",), ("manifest.json",)):
        for name in gone:
            (bundle / name).unlink()
        for place in (bundle, run):
            with pytest.raises(VerificationError):
                report(place)
    rejected = World(tmp_path / "other", gates={"quality.accuracy": ">= 0.99"}).pack().folder
    assert "Not released" in report(rejected).read_text(encoding="utf-8")
    verdict = files.read_json(rejected / "verdict.json")
    files.write_json(rejected / "verdict.json", {**verdict, "released": True})
    with pytest.raises(VerificationError, match="never signed"):
        report(rejected)
    assert not (run / "bundle.report.html").exists() and not (run / "report.html").exists()


def test_a_folder_without_an_audit_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(UsageError, match=r"audit\.json.*\n.*run folder"):
        render(tmp_path)
    (tmp_path / "audit.json").write_text(json.dumps({"findings": [{"id": "not an id"}]}), encoding="utf-8")
    with pytest.raises(UsageError, match="is not an audit"):
        render(tmp_path)


def test_an_unknown_metric_is_shown_by_its_id_and_its_unit(tmp_path):
    audit = AuditReport({}, {}, None, {}, (Finding.exact("robustness.some_new_thing", 3.5, unit="furlongs"),))
    files.write_json(tmp_path / "audit.json", audit.to_json())
    body = Page(render(tmp_path)).text("main")
    assert "robustness.some_new_thing" in body and "3.500 furlongs" in body


def test_reports_are_made_without_torch(tmp_path):
    make(tmp_path / "run")
    code = f"import sys; from trustbase.report.html import render; render({str(tmp_path / 'run')!r}); assert not {{'torch', 'transformers', 'pandas'}} & set(sys.modules)"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_whole_report_in_a_notebook_stands_in_a_frame_of_its_own(pages):
    from trustbase.report.notebook import page_html

    page = Page(page_html(pages["hostile", "en"]))
    assert [tag for tag, _ in page.tags] == ["iframe"]
    assert page.all("iframe")[0]["srcdoc"] == pages["hostile", "en"] and page.all("iframe")[0]["sandbox"] == "allow-scripts"


def test_notebook_faces_escape_what_they_show():
    from trustbase.records import GateResult, Verdict
    from trustbase.report.notebook import audit_html, finding_html, verdict_html

    finding = Finding.without_value("quality.accuracy", "failed", HOSTILE)
    gate = GateResult("quality.accuracy >= 0.8", "insufficient", None, None, None, None, HOSTILE)
    verdict = Verdict(False, 1, (gate,), HOSTILE)
    for text in (finding_html(finding), verdict_html(verdict), audit_html(AuditReport({}, {}, None, {}, (finding,)), lang="zh")):
        page = Page(text)
        assert not page.all("script") and not page.all("img") and "alert(1)" in page.text("td")
    assert "Not released" in verdict_html(verdict) and "未予发布" in verdict_html(verdict, lang="zh")
    assert finding._repr_html_() == finding_html(finding) and verdict._repr_html_() == verdict_html(verdict)


def test_languages_and_writing_systems_of_the_data_are_told_apart(tmp_path):
    folder = make(tmp_path / "run")
    card = files.read_json(folder / "data_card.json") if (folder / "data_card.json").is_file() else {}
    part = {"rows": 10, "languages": {"texts": {"en": 0.9, "other": 0.1}}, "scripts": {"letters": {"Latin": 1.0}}}
    files.write_json(folder / "data_card.json", {**card, "splits": {"train": part}})
    body = Page(render(folder)).text("main")
    assert "Languages, as guessed English 90.0 %, other 10.0 %" in body and "Writing systems Latin 100.0 %" in body
    assert "语言（推测） 英文 90.0 %，其他 10.0 %" in Page(render(folder, lang="zh")).text("main")


def test_one_answer_for_everybody_is_said_beside_the_verdict():
    assert _only_answer({"labels": ["no", "yes"], "confusion": [[5, 0], [3, 0]]}) == "no"
    assert _only_answer({"labels": ["no", "yes"], "confusion": [[5, 1], [3, 0]]}) is None
    assert _only_answer({}) is None
