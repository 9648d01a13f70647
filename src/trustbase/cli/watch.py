"""Progress for people: a live line with ETA on a terminal, plain unwrapped lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from trustbase.events import Listener

_SLOW = 2.0  # seconds after which something deserves a progress bar


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
        return f"{stage}: {'warning: ' if event == 'warning' else ''}{record['text']}"
    if event == "resumed":
        return f"{stage}: resumed at step {record.get('step')}"
    return ""


@contextmanager
def _terminal() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}
        first_seen: dict[str, float] = {}

        def listener(record: Mapping[str, Any]) -> None:
            if record["event"] != "progress":
                text = _line(record)
                if text:
                    console.print(text, markup=False, highlight=False)
                return
            what = str(record["what"])
            first_seen.setdefault(what, time.monotonic())
            if what not in tasks and time.monotonic() - first_seen[what] >= _SLOW:
                tasks[what] = progress.add_task(what, total=record["total"])
            if what in tasks:
                progress.update(tasks[what], completed=record["done"], total=record["total"])
                if record["done"] >= record["total"]:
                    progress.remove_task(tasks.pop(what))
                    first_seen.pop(what)

        yield listener
