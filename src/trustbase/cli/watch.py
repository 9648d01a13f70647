"""Progress for people: a live line with ETA on a terminal, plain unwrapped lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from trustbase.cli.values import shown
from trustbase.events import Listener


@contextmanager
def watching() -> Iterator[Listener]:
    """A listener that draws what happens, on standard error; results alone go to standard output."""
    if sys.stderr.isatty():
        with _terminal() as listener:
            yield listener
    else:
        yield _plain


def _plain(record: Mapping[str, Any]) -> None:
    text = _line(record)
    if text:
        typer.echo(text, err=True)


def _line(record: Mapping[str, Any]) -> str:
    event, stage = record["event"], record["stage"]
    if event == "stage_started":
        return f"{stage}: started"
    if event == "stage_done":
        return f"{stage}: done in {record['seconds']:.1f} s"
    if event == "stage_reused":
        return f"{stage}: taken from {record['run']}" if "run" in record else f"{stage}: already done"
    if event in {"note", "warning"}:
        return f"{stage}: {'warning: ' if event == 'warning' else ''}{shown(record['text'])}"
    if event == "resumed":
        return f"{stage}: resumed at step {record.get('step')}"
    return ""


@contextmanager
def _terminal() -> Iterator[Listener]:
    from trustbase.cli.bars import Bars

    with Bars() as bars:

        def listener(record: Mapping[str, Any]) -> None:
            bars.follow(record)
            text = _line(record)
            if text:
                bars.console.print(text, markup=False, highlight=False)

        yield listener
