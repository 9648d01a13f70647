"""`report.html`: one file that opens offline, made from what lies in a run folder, an audit's output or a bundle."""

from __future__ import annotations

import base64
import hashlib
import re
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trustbase import files
from trustbase.events import Emit, ignore
from trustbase.report import charts, facts
from trustbase.report.claims import check_claims
from trustbase.report.corpuscard import CORPUS_CARD, corpus_section
from trustbase.report.datacard import data_section
from trustbase.report.dimensions import Section, dimension_sections, finding_row
from trustbase.report.gates import Headline, gate_rows, headline
from trustbase.report.material import Material, read_material
from trustbase.report.rivals import rival_table
from trustbase.report.words import Words, words
from trustbase.report.written import written_model

T = TypeVar("T")
_TEMPLATES = Path(__file__).with_name("templates")
_BETWEEN_WORDS = re.compile(r"(?<=[._])(?=[^\W\d])")


def render(folder: str | Path, *, lang: str = "en") -> str:
    """The report on a folder, as one HTML page: a reading of its files as they are, which `report` checks first.

    Args:
        folder: a run folder, the output folder of an audit, or a bundle.
        lang: "en" or "zh".

    Raises:
        UsageError: the folder holds no audit, or there is no such language.
    """
    return _page(Path(folder), lang)[0]


def _page(folder: Path, lang: str) -> tuple[str, list[str]]:
    """The page, and what of the folder it could not show."""
    t = words(lang)
    material = read_material(folder)
    style, script = read_asset("style.css"), read_asset("script.js")
    policy = content_policy(style, script)
    page = page_environment().get_template("report.html.j2")
    view = _view(material, t)
    text = page.render(t=t, mark=charts.mark, policy=policy, style=Markup(style), script=Markup(script), **view)
    return text.encode("utf-8", "replace").decode("utf-8"), view["unreadable"]  # JSON can name half a character, which no file holds


def report(run: str | Path, *, lang: str = "en", open_browser: bool = False, trust: str | Path | None = None, emit: Emit = ignore) -> Path:
    """Write the report of a run, audit or bundle, and return its path.

    It lies in the folder as `report.html`; that of a bundle lies beside the bundle, which nothing may be added to.
    A bundle is checked first, also the one in a run: no report says "released" where no bundle stands that was signed by
    somebody trusted, and none says that limits were met where they are not when they are compared again.

    Args:
        run: a run folder, the output folder of an audit, or a bundle.
        lang: "en" or "zh".
        open_browser: open it afterwards.
        trust: a public key, or a folder of them, that alone are trusted to have signed a bundle.
        emit: takes a warning for each part that cannot be shown.

    Raises:
        UsageError: the folder holds no audit, or there is no such language.
        VerificationError: a bundle that is not what somebody trusted released, or a verdict that nothing supports.
    """
    folder = Path(run)
    words(lang)
    check_claims(folder, trust, emit)
    path = write_report(folder, lang=lang, emit=emit)
    if open_browser:
        webbrowser.open(path.resolve().as_uri())
    return path


def write_report(folder: Path, *, lang: str = "en", emit: Emit = ignore) -> Path:
    """Write the report on a folder that the caller made himself just now, or has checked."""
    text, unshown = _page(folder, lang)
    for item in unshown:
        emit("warning", text=f"the report does not show all of {folder}: {item}")
    bundle = (folder / "manifest.json").is_file()
    path = folder.resolve().with_name(f"{folder.resolve().name}.report.html") if bundle else folder / "report.html"
    files.write_text(path, text)
    return path


def _view(material: Material, t: Words) -> dict[str, Any]:
    """Everything the page shows, already in words; a section that its files do not let be shown is named, with the reason."""
    show = _Sections(material)
    head = show(t("verdict.label"), lambda: headline(material, t), Headline("open", t("verdict.open"), t("verdict.bad_verdict"), ""))
    bare = replace(material, evidence={})
    rivals = show(t("rivals.title"), lambda: rival_table(material, t), lambda: rival_table(bare, t))
    findings = [finding_row(finding, t) for finding in material.audit.findings]
    model, model_more = show(t("model.title"), lambda: facts.model_facts(material, t), ([], []))
    machine, libraries = show(t("digests.machine"), lambda: facts.machine_facts(material, t), ([], []))
    confidence = next((f.confidence for f in material.audit.findings), 0.95)
    return {
        "name": material.folder.resolve().name,
        "head": head,
        "head_facts": show(t("verdict.label"), lambda: facts.headline_facts(material, head.counts, t), []),
        "notes": show(t("note.title"), lambda: facts.notes(material, rivals, t), []),
        "gates": show(t("gates.title"), lambda: gate_rows(material, t), []),
        "rivals": None if material.pretrained else rivals,
        "dimensions": [_dimension(section, show, t) for section in dimension_sections(material, t)],
        "data": show(t("data.title"), lambda: _data(material, t), Markup()),
        "model": model,
        "model_more": model_more,
        "written": show(t("model.title"), lambda: written_model(material, t), None),
        "purpose": show(t("purpose.title"), lambda: facts.purpose_facts(material, t), []),
        "looks": facts.looks_words(material, t),
        "looks_title": t("looks.document_title") if material.pretrained else t("looks.title"),
        "data_title": t("corpus.title") if material.pretrained else t("data.title"),
        "unmeasured": facts.unmeasured(material, t),
        "findings": findings,
        "found_dimensions": list(dict.fromkeys(row["dimension"] for row in findings)),
        "digests": facts.digest_facts(material, t),
        "machine": machine,
        "libraries": libraries,
        "unreadable": list(dict.fromkeys(show.unshown)),
        "confidence": f"{100 * confidence:g} %",
    }


def _dimension(section: Section, show: _Sections, t: Words) -> dict[str, Any]:
    """A dimension with its charts drawn: evidence of an odd shape costs the charts, never the numbers of the audit."""
    return {**vars(section), "blocks": show(section.name, lambda: [_drawn("block.html.j2", b=block, t=t) for block in section.build()], [])}


def _data(material: Material, t: Words) -> Markup:
    corpus = str(material.data_card.get("schema") or "").startswith(CORPUS_CARD)
    left = material.evidence.get("contamination", {}).get("in_corpus")
    data = corpus_section(material.data_card, t, left=left) if corpus else data_section(material.data_card, t)
    return _drawn("data.html.j2", data=data, t=t) if data else Markup()


def _drawn(template: str, **values: Any) -> Markup:
    return Markup(page_environment().get_template(template).render(mark=charts.mark, **values))


class _Sections:
    """Builds the sections of a page one by one. A report is a display: what cannot be shown is said, and the rest is shown."""

    def __init__(self, material: Material) -> None:
        self.unshown = list(material.unreadable)

    def __call__(self, section: str, build: Callable[[], T], otherwise: T | Callable[[], T]) -> T:
        try:
            return build()
        except Exception as error:  # any parseable file may be of any shape, and fail in any way
            self.unshown.append(f"{section}: {type(error).__name__}: {str(error)[:200]}")
            return otherwise() if callable(otherwise) else otherwise


@lru_cache(maxsize=1)
def page_environment() -> Environment:
    """Where the templates of pages lie, and how they are filled in: everything that is put in is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["between_words"] = between_words
    return environment


def between_words(id: str) -> Markup:
    """A finding's id that a browser breaks between its words, after `.` and `_`, before it breaks one of them; never within a number."""
    return Markup("<wbr>").join(_BETWEEN_WORDS.split(id))


def read_asset(name: str) -> str:
    """The style or the script of a page, which are written into it."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str = "") -> str:
    """What a page allows its reader's browser to load and run: this style and this script, and nothing of any network."""
    rules = ["default-src 'none'", f"style-src '{_hash(style)}'"]
    rules += [f"script-src '{_hash(script)}'"] if script else []
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    """The CSP source of an inline element: only this very style and script may act on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
