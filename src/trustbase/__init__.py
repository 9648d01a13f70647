"""Trustbase: from a base model to a release that somebody can answer for.

Every command of the command line is also a function here, with the same options.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers read it; importing `typing` would cost milliseconds before a command minds its signals
if TYPE_CHECKING:
    from typing import Any

    from trustbase.audit_command import audit as audit
    from trustbase.bundle.answer import predict as predict
    from trustbase.bundle.verify import verify as verify
    from trustbase.compare_command import compare as compare
    from trustbase.corpus_command import corpus as corpus
    from trustbase.data_command import data as data
    from trustbase.doctor import doctor as doctor
    from trustbase.explain_command import explain as explain
    from trustbase.flow import run as run
    from trustbase.model.predict import Predictor as Predictor
    from trustbase.recheck_command import recheck as recheck
    from trustbase.recipe.template import init as init
    from trustbase.relating import relations as relations
    from trustbase.report.html import report as report
    from trustbase.search.scaling import scaling as scaling
    from trustbase.search.sweep import sweep as sweep
    from trustbase.wheelhouse_command import wheelhouse as wheelhouse

_HOMES = {
    "audit": "trustbase.audit_command",
    "compare": "trustbase.compare_command",
    "corpus": "trustbase.corpus_command",
    "data": "trustbase.data_command",
    "doctor": "trustbase.doctor",
    "explain": "trustbase.explain_command",
    "init": "trustbase.recipe.template",
    "predict": "trustbase.bundle.answer",
    "Predictor": "trustbase.model.predict",
    "recheck": "trustbase.recheck_command",
    "relations": "trustbase.relating",
    "report": "trustbase.report.html",
    "run": "trustbase.flow",
    "scaling": "trustbase.search.scaling",
    "sweep": "trustbase.search.sweep",
    "verify": "trustbase.bundle.verify",
    "wheelhouse": "trustbase.wheelhouse_command",
}

__all__ = [
    *("Predictor", "__version__"),
    *(
        "audit",
        "compare",
        "corpus",
        "data",
        "doctor",
        "explain",
        "init",
        "predict",
        "recheck",
        "report",
        "run",
        "scaling",
        "sweep",
        "verify",
    ),
    *("relations", "wheelhouse"),
]


def __getattr__(name: str) -> Any:
    """Public names are imported at first use, so that `import trustbase` costs nothing."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trustbase' has no attribute '{name}'")
