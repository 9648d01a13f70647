"""`report.html`: one file that opens offline, made from what lies in a run folder, an audit's output or a bundle."""

from __future__ import annotations

import base64
import hashlib
import webbrowser
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from trustbase import files
from trustbase.report import charts, facts
from trustbase.report.claims import check_claims
from trustbase.report.datacard import data_section
from trustbase.report.dimensions import dimension_sections, finding_row
from trustbase.report.gates import gate_rows, headline
from trustbase.report.material import Material, read_material
from trustbase.report.rivals import rival_table
from trustbase.report.words import Words, words

_TEMPLATES = Path(__file__).with_name("templates")


def render(folder: str | Path, *, lang: str = "en") -> str:
    """The report on a folder, as one HTML page: a reading of its files as they are, which `report` checks first.

    Args:
        folder: a run folder, the output folder of an audit, or a bundle.
        lang: "en" or "zh".

    Raises:
        UsageError: the folder holds no audit, or there is no such language.
    """
    t = words(lang)
    material = read_material(Path(folder))
    style, script = _asset("style.css"), _asset("script.js")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page = _environment().get_template("report.html.j2")
    return page.render(t=t, mark=charts.mark, policy=policy, style=Markup(style), script=Markup(script), **_view(material, t))


def report(run: str | Path, *, lang: str = "en", open_browser: bool = False, trust: str | Path | None = None) -> Path:
    """Write the report of a run, audit or bundle, and return its path.

    It lies in the folder as `report.html`; that of a bundle lies beside the bundle, which nothing may be added to.
    A bundle is checked first, also the one in a run: no report says "released" where no bundle stands that was signed by
    somebody trusted, and none says that limits were met where they are not when they are compared again.

    Args:
        run: a run folder, the output folder of an audit, or a bundle.
        lang: "en" or "zh".
        open_browser: open it afterwards.
        trust: a public key, or a folder of them, that alone are trusted to have signed a bundle.

    Raises:
        UsageError: the folder holds no audit, or there is no such language.
        VerificationError: a bundle that is not what somebody trusted released, or a verdict that nothing supports.
    """
    folder = Path(run)
    words(lang)
    check_claims(folder, trust)
    path = write_report(folder, lang=lang)
    if open_browser:
        webbrowser.open(path.resolve().as_uri())
    return path


def write_report(folder: Path, *, lang: str = "en") -> Path:
    """Write the report on a folder that the caller made himself just now, or has checked."""
    text = render(folder, lang=lang)
    bundle = (folder / "manifest.json").is_file()
    path = folder.resolve().with_name(f"{folder.resolve().name}.report.html") if bundle else folder / "report.html"
    files.write_text(path, text)
    return path


def _view(material: Material, t: Words) -> dict[str, Any]:
    """Everything the page shows, already in words."""
    head = headline(material, t)
    rivals = rival_table(material, t)
    findings = [finding_row(finding, t) for finding in material.audit.findings]
    model, model_more = facts.model_facts(material, t)
    machine, libraries = facts.machine_facts(material, t)
    confidence = next((f.confidence for f in material.audit.findings), 0.95)
    return {
        "name": material.folder.resolve().name,
        "head": head,
        "head_facts": facts.headline_facts(material, head.counts, t),
        "notes": facts.notes(material, rivals, t),
        "gates": gate_rows(material, t),
        "rivals": rivals,
        "dimensions": dimension_sections(material, t),
        "data": data_section(material.data_card, t),
        "model": model,
        "model_more": model_more,
        "purpose": facts.purpose_facts(material, t),
        "looks": material.verdict.test_looks if material.verdict else None,
        "unmeasured": facts.unmeasured(material, t),
        "findings": findings,
        "found_dimensions": list(dict.fromkeys(row["dimension"] for row in findings)),
        "digests": facts.digest_facts(material, t),
        "machine": machine,
        "libraries": libraries,
        "unreadable": material.unreadable,
        "confidence": f"{100 * confidence:g} %",
    }


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The CSP source of an inline element: only this very style and script may act on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
