"""What to do about bad rows that have one cause together: with how many there are, once, and not beside each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from trustbase.data.columns import OF_NUMBERS
from trustbase.data.encodings import GB, NOT_UTF8, WESTERN, converting
from trustbase.data.jsonl import NESTED, NO_TEXT
from trustbase.data.rows import DECIMAL_COMMA, BadRow

MEND = "mend these rows"
_REASONS = 12  # that are counted by name


def advice(bad: Sequence[BadRow], source: str) -> list[str]:
    """The next steps of one file's bad rows.

    Args:
        bad: them.
        source: the file's name, where a row does not say it.
    """
    steps = [MEND]
    for encoding in (GB, WESTERN):
        rows = [item for item in bad if f"{NOT_UTF8}, reads as {encoding}" in item.kind]
        if rows:
            name = PurePath(rows[0].file or source).name
            steps.append(f"rows that read as {encoding}: {len(rows):,}; where all of the file does, {converting(encoding, name)}")
    commas = sum(DECIMAL_COMMA in item.kind for item in bad)
    if commas:
        said = "write 1.5 for 1,5, and 1234.5 for 1,234.5 or 1.234,5"
        steps.append(f"rows with a decimal comma, or commas between thousands: {commas:,}; {said}")
    if any(OF_NUMBERS in item.kind for item in bad):
        steps.append("a column of which 99 % and more are numbers is read as numbers: leave a cell empty that tells none")
    nested = sum(NO_TEXT in item.kind and item.detail in NESTED for item in bad)
    if nested:
        tasks = "token-classification, question-answering, multi-label-classification"
        steps.append(f"rows with a list or an object where a text is read: {nested:,}; labels of tasks {tasks} may be such: name the task")
    return steps


def by_reason(bad: Sequence[BadRow]) -> str:
    """How many bad rows there are for each reason, most first, to stand between a message and its list; empty where that tells nothing."""
    kinds = Counter(item.kind for item in bad)
    if len(kinds) == len(bad):
        return ""
    told = [(kind, count) for kind, count in kinds.most_common(_REASONS)]
    left = len(bad) - sum(count for _, count in told)
    lines = [f"  {count:,}: {kind}" for kind, count in [*told, *([("other reasons", left)] if left else [])]]
    return "\n".join([", by reason", *lines, "one by one"])
