"""`trustbase init`: a commented recipe to start from."""

from __future__ import annotations

from pathlib import Path

from trustbase import files
from trustbase.errors import UsageError

TEMPLATES = {"finetune": "starter.yaml", "pretrain": "starter-pretrain.yaml"}


def init(name: str = "recipe", *, stage: str = "finetune", force: bool = False) -> Path:
    """Write a commented recipe and return its path.

    Args:
        name: of the recipe; `.yaml` is added where it is missing.
        stage: "finetune" or "pretrain".
        force: replace a file that is already there.

    Raises:
        UsageError: no such stage, or the file cannot be written, or it exists and `force` is not set.
    """
    if stage not in TEMPLATES:
        raise UsageError(f"'{stage}' is no stage of a recipe", hint=f"write {' or '.join(TEMPLATES)}")
    path = Path(name)
    if not path.name:
        raise UsageError(f"'{name}' is no name for a recipe", hint="trustbase init NAME")
    if path.suffix not in {".yaml", ".yml"}:
        path = path.with_name(path.name + ".yaml")
    target = files.check_output(path, "the recipe")
    if path.exists() and not force:
        raise UsageError(f"{path} already exists", hint="choose another name, or --force to replace it")
    try:
        files.write_text(target, (Path(__file__).parent / TEMPLATES[stage]).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
    return path
