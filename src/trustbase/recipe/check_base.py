"""Is a base model that a recipe names there? Said when the recipe is read, for every section that names one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

Place = tuple[str | int, ...] | str  # path in the recipe, or file and line elsewhere
Found = tuple[Place, str, str]  # where, what is wrong, next step


def base_problems(reference: str, root: Path, where: tuple[str, ...]) -> Iterator[Found]:
    """A model that is not on this machine although it is said to be; its files are looked into when it is loaded."""
    from trustbase.model.options import parse_reference

    try:
        base = parse_reference(reference, root=root)
        there = base.kind != "path" or (root / Path(base.name).expanduser()).is_dir()
    except (ValueError, OSError, RuntimeError) as error:  # the last two: a name too long for any file, no such user's `~`
        yield where, str(error), "write package:NAME, a folder, or a hub id such as owner/name"
        return
    if base.kind == "package":
        from importlib import metadata

        try:
            metadata.distribution(base.name)
        except metadata.PackageNotFoundError:
            installed = {str(name) for item in metadata.distributions() if (name := item.metadata["Name"])}
            near = difflib.get_close_matches(base.name, installed, n=1)
            meant = f"; did you mean package:{near[0]}?" if near else ""
            yield where, f"the package '{base.name}' is not installed here{meant}", f"pip install {base.name}"
    elif not there:
        message = f"there is no folder '{base.name}'"
        yield where, message, "check the path, which is relative to the recipe, or write a hub id as owner/name"
