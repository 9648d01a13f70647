"""Live lines on a terminal for everything that takes longer than two seconds: what, how far, since when, how long still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

_SLOW = 2.0  # seconds after which something deserves a line
_FEW = 5  # steps; fewer than these are as unlike as training three rivals, so that the first foretell nothing


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class _Left(TimeRemainingColumn):
    def render(self, task: Task) -> Text:
        return Text("") if task.total is None or task.total < _FEW else Text.assemble("left ", super().render(task))


class Bars(Progress):
    """One line for the stage under way and one for each thing in it that tells its progress.

    A line shows once its thing has taken two seconds, whether or not an event comes then: what a long step never tells, the
    clock of the display does.
    """

    def __init__(self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic, auto_refresh: bool = True) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Count(), TimeElapsedColumn(), _Left())
        where = console or Console(stderr=True)
        super().__init__(*columns, console=where, transient=True, get_time=clock, auto_refresh=auto_refresh, speed_estimate_period=120)
        self._lines: dict[str, TaskID] = {}

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines of what is slow."""
        yield self.make_tasks_table([task for task in self.tasks if (task.elapsed or 0.0) >= _SLOW])

    def follow(self, record: Mapping[str, Any]) -> None:
        """Let the lines say what an event tells."""
        event = str(record["event"])
        if event.startswith("stage_"):
            for line in self._lines.values():  # what stopped early or failed never tells its end
                self.remove_task(line)
            self._lines.clear()
        if event == "stage_started":
            self._lines[""] = self.add_task(f"stage {record['stage']}", total=None)
        if event == "progress":
            self._step(str(record["what"]), float(record["done"]), float(record["total"]))

    def _step(self, what: str, done: float, total: float) -> None:
        if done >= total:
            if what in self._lines:
                self.remove_task(self._lines.pop(what))
        elif what in self._lines:
            self.update(self._lines[what], completed=done, total=total)
        else:
            self._lines[what] = self.add_task(what, completed=done, total=total)  # type: ignore[arg-type]  # a float counts too
