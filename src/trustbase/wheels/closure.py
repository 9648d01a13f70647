"""Which packages Trustbase needs here, directly and indirectly, in the versions that are installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trustbase.errors import Problem, UsageError

OWN = "trustbase"


@dataclass(frozen=True)
class Package:
    """One installed package.

    Attributes:
        name: its canonical name.
        version: as installed, a local part such as `+cpu` included.
        licence: what its metadata says, or "not stated".
        needs: canonical names of what it requires here, sorted.
    """

    name: str
    version: str
    licence: str
    needs: tuple[str, ...]


def closure(extras: Sequence[str] = (), only: Sequence[str] = ()) -> list[Package]:
    """Trustbase and all that it requires, by name; with `only`, Trustbase and these packages with what they require.

    Raises:
        UsageError: a package or extra that is not there; every one is named.
    """
    starts = [Requirement(name) for name in only] if only else [Requirement(f"{OWN}[{','.join(extras)}]" if extras else OWN)]
    known = {canonicalize_name(name) for name in metadata.metadata(OWN).get_all("Provides-Extra") or ()}
    problems = [Problem("--extra", f"'{name}' is no extra; they are {', '.join(sorted(known))}") for name in extras if name not in known]
    found: dict[str, Package] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [(item, "") for item in starts]
    while waiting:
        requirement, wanted_by = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            why = f"{wanted_by} requires {requirement}, which is not installed" if wanted_by else f"'{requirement}' is not installed"
            problems.append(Problem(name, why, "install it here first: what is installed is what is taken"))
            continue
        needed = list(_needed(distribution, requirement.extras))
        before = found[name].needs if name in found else ()
        names = {canonicalize_name(item.name) for item in needed}
        found[name] = Package(name, distribution.version, licence_of(distribution), tuple(sorted({*before, *names})))
        for item in needed:
            key = (canonicalize_name(item.name), ",".join(sorted(item.extras)))
            if key not in asked:
                asked.add(key)
                waiting.append((item, name))
    if problems:
        raise UsageError("the installed packages are not complete", problems=problems)
    if OWN not in found:
        found[OWN] = Package(OWN, metadata.version(OWN), licence_of(metadata.distribution(OWN)), ())
    return [found[name] for name in sorted(found)]


def _needed(distribution: metadata.Distribution, extras: Iterable[str]) -> Iterable[Requirement]:
    """Requirements whose markers hold on this machine."""
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def licence_of(distribution: metadata.Distribution) -> str:
    """The licence that a package states: an SPDX expression where it has one, else its word or its classifiers."""
    told = distribution.metadata
    expression = told.get_all("License-Expression")
    if expression:
        return str(expression[0])
    word = str(next(iter(told.get_all("License") or ()), "")).strip()
    if word and word.upper() != "UNKNOWN" and "\n" not in word and len(word) <= 100:
        return word
    names = [line.split(" :: ")[-1] for line in told.get_all("Classifier") or () if line.startswith("License :: ")]
    return "; ".join(dict.fromkeys(names)) or "not stated"
