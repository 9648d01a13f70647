"""What an offline folder says of itself: pinned requirements, a bill of materials, licences, and how to install."""

from __future__ import annotations

import platform
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from trustbase import __version__, files
from trustbase.records import BaseModel
from trustbase.wheels.closure import OWN, Package

INSTALL = (
    "{python} -m venv ../trustbase-env",
    "../trustbase-env/bin/python -m pip install --no-index --no-deps --require-hashes --find-links wheels -r requirements.txt",
)


def requirements(packages: Sequence[Package], hashes: Mapping[str, str]) -> str:
    """A requirements file that pins versions and hashes.

    Args:
        packages: what is to be installed.
        hashes: hex SHA-256 of the wheel of each, by name.
    """
    return "".join(f"{package.name}=={package.version} --hash=sha256:{hashes[package.name]}\n" for package in packages)


def bill_of_materials(packages: Sequence[Package], hashes: Mapping[str, str], bases: Mapping[str, BaseModel]) -> dict[str, Any]:
    """A CycloneDX document of packages and base models. The same content gives the same document; it carries no time.

    Source: CycloneDX specification 1.6 (ECMA-424), JSON form.
    """
    components = [
        {
            "type": "application" if package.name == OWN else "library",
            "bom-ref": _ref(package),
            "name": package.name,
            "version": package.version,
            "purl": _ref(package),
            "licenses": [{"license": {"name": package.licence}}],
            "hashes": [{"alg": "SHA-256", "content": hashes[package.name]}],
        }
        for package in packages
    ]
    components += [
        {
            "type": "machine-learning-model",
            "bom-ref": f"base:{name}",
            "name": base.reference,
            "version": base.revision,
            "licenses": [{"license": {"name": base.licence}}],
            "properties": [{"name": "trustbase:digest", "value": base.digest}],
        }
        for name, base in bases.items()
    ]
    refs = {package.name: _ref(package) for package in packages}
    depends = [{"ref": refs[p.name], "dependsOn": [refs[name] for name in p.needs if name in refs]} for p in packages]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, files.digest_json([components, depends]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"tools": {"components": [{"type": "application", "name": "trustbase", "version": __version__}]}},
        "components": components,
        "dependencies": depends,
    }


def _ref(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}"


def licences(packages: Sequence[Package], bases: Mapping[str, BaseModel]) -> str:
    """Packages and base models with the licence that each states, as a Markdown table."""
    rows = [f"| {package.name} | {package.version} | {package.licence.replace('|', '/')} |" for package in packages]
    rows += [f"| base model {base.reference} | {base.revision} | {base.licence.replace('|', '/')} |" for base in bases.values()]
    unknown = sum(row.endswith("| not stated |") or row.endswith("| unknown |") for row in rows)
    head = "# Licences\n\nAs the metadata of each states it; nobody has read the licences themselves.\n"
    told = f"\n{unknown} of {len(rows)} state none.\n" if unknown else ""
    return f"{head}{told}\n| what | version | licence |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def this_machine() -> dict[str, str]:
    """What the wheels were taken for."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": version, "system": platform.system(), "architecture": platform.machine(), "libc": "-".join(platform.libc_ver())}


def readme(packages: Sequence[Package], bases: Mapping[str, BaseModel], only: Sequence[str], extras: Sequence[str]) -> str:
    """How to install, and what is here."""
    machine = this_machine()
    commands = "\n".join(f"    {line}" for line in INSTALL).format(python=f"python{machine['python']}")
    lines = [
        "# Trustbase, offline",
        "",
        f"Packages: {len(packages)}, for Python {machine['python']} on {machine['system']} {machine['architecture']}. In this folder:",
        "",
        commands,
        "",
        "`../trustbase-env/bin/trustbase wheelhouse . --check` compares every file with its hash. The hashes tell damage; who made",
        "this folder they do not tell: compare the SHA-256 of `manifest.json` with the one that you were given another way.",
        "",
        "`sbom.json` is the bill of materials (CycloneDX), `LICENCES.md` what each package states.",
    ]
    if extras:
        lines += ["", f"With the extras {', '.join(extras)}."]
    if only:
        lines += ["", f"**Not complete**: made with --only {' '.join(only)}; most commands need packages that are not here."]
    if bases:
        lines += ["", "Base models, for `base:` in a recipe (a path, from where the recipe lies):", ""]
        lines += [f"- `bases/{name}`: {base.reference}, {base.digest}" for name, base in bases.items()]
    return "\n".join(lines) + "\n"
