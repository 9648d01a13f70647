"""Trustbase: from a base model to a release that somebody can answer for.

Every command of the command line is also a function here, with the same options.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trustbase.audit_command import audit as audit
    from trustbase.bundle.answer import predict as predict
    from trustbase.bundle.verify import verify as verify
    from trustbase.doctor import doctor as doctor
    from trustbase.flow import run as run
    from trustbase.model.predict import Predictor as Predictor
    from trustbase.recipe.template import init as init
    from trustbase.report.html import report as report

_HOMES = {
    "audit": "trustbase.audit_command",
    "doctor": "trustbase.doctor",
    "init": "trustbase.recipe.template",
    "predict": "trustbase.bundle.answer",
    "Predictor": "trustbase.model.predict",
    "report": "trustbase.report.html",
    "run": "trustbase.flow",
    "verify": "trustbase.bundle.verify",
}

__all__ = ["Predictor", "__version__", "audit", "doctor", "init", "predict", "report", "run", "verify"]


def __getattr__(name: str) -> Any:
    """Public names are imported at first use, so that `import trustbase` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trustbase' has no attribute '{name}'")
