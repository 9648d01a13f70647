"""What a reference to a data set of a hub says: `hub:OWNER/NAME[/CONFIG]:SPLIT[@REVISION]`, or `modelscope:` in its place. A leaf."""

from __future__ import annotations

import re
from dataclasses import dataclass

HUB, MODELSCOPE = "hub:", "modelscope:"
_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
BARE = re.compile(rf"{_NAME}(@[\w./-]+)?")  # as people write it without a prefix, which a path may be just as well
_FORM = re.compile(rf"(?P<name>{_NAME})(?:/(?P<config>[\w.+-]+))?:(?P<split>\w+(?:\.\w+)*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)


@dataclass(frozen=True)
class HubName:
    """One part of a data set.

    Attributes:
        hub: the prefix that says which hub.
        name: OWNER/NAME.
        config: which of several data sets of that name; None where it has one alone.
        split: the part, as the hub calls it: train, validation, test.
        revision: commit, branch or tag; None for the newest.
    """

    hub: str
    name: str
    config: str | None
    split: str
    revision: str | None


def is_hub(reference: str) -> bool:
    """Whether a reference means a data set of a hub."""
    return reference.startswith((HUB, MODELSCOPE))


def hub_name(reference: str) -> HubName:
    """The parts of a reference.

    Raises:
        ValueError: it is not of the form; with the form, and an example.
    """
    hub = HUB if reference.startswith(HUB) else MODELSCOPE
    found = _FORM.fullmatch(reference.removeprefix(hub))
    if found is None:
        form = f"{hub}OWNER/NAME[/CONFIG]:SPLIT[@REVISION]"
        raise ValueError(f"'{reference}' names no part of a data set; write {form}, such as {_example(reference.removeprefix(hub), hub)}")
    return HubName(hub, found["name"], found["config"], found["split"], found["revision"])


def _example(rest: str, hub: str) -> str:
    """What was meant where a part or its place is all that is missing; else some data set."""
    name, _, revision = rest.partition("@")
    config, _, split = name.partition(":")
    at = f"@{revision}" if revision else ""
    if not split and _FORM.fullmatch(f"{config}:train{at}"):
        return f"{hub}{config}:train{at}"
    return f"{hub}nyu-mll/glue/mrpc:train" if hub == HUB else f"{hub}modelscope/clue/tnews:train"
