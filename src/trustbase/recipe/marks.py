"""Where in a recipe a path stands, for whoever reads a message about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from trustbase.errors import UsageError
from trustbase.marked_yaml import Marked, Path, unwritable


@dataclass
class Locator:
    """Path in a recipe → where a person finds it.

    Attributes:
        name: of the recipe, as messages show it.
        marked: the recipe as it was read.
        overridden: path → the override that set it.
    """

    name: str
    marked: Marked
    overridden: dict[Path, str] = field(default_factory=dict)

    def __call__(self, path: Path) -> str:
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"override {self.overridden[path[:end]]}"
        line = self.marked.line(path) if path else None
        return f"{self.name}:{line}" if line else self.name

    def move(self, old: Path, new: Path) -> None:
        """What was written under `old` stands under `new` from now on, as when a short form is written out."""
        inner = {path: line for path, line in self.marked.lines.items() if len(path) > len(old) and path[: len(old)] == old}
        self.marked.lines.update({(*new, *path[len(old) :]): line for path, line in inner.items()})


def require_text(name: str, what: str) -> None:
    """Refuse a name that cannot be written into records.

    Raises:
        UsageError: it is not UTF-8, or holds a NUL.
    """
    if why := unwritable(name):
        shown = name[:200].encode("utf-8", "backslashreplace").decode()
        raise UsageError(f"{what} '{shown}' holds {why}, so no record can name it", hint="rename it, or name another")
