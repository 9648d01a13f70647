"""The data section of the report, from the data card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.report.dimensions import plain_facts
from trustbase.report.words import Words


def data_section(card: Mapping[str, Any], t: Words) -> dict[str, Any]:
    """The data card in words; empty where the folder has none."""
    return {"facts": plain_facts(card)} if card else {}
