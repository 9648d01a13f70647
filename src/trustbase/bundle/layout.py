"""What lies in a bundle: names of its parts, the one form of its manifest, and the statement that is signed."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trustbase import files
from trustbase.bundle.envelope import STATEMENT
from trustbase.places import MANIFEST, SIGNATURE

ATTESTATIONS = "attestations"
REJECTED = "REJECTED.txt"
MODEL = "model"
ORIGIN = "trustbase.json"  # beside the weights: what they came from
BASE_MODEL = "language"  # the answer kind of a model that was pretrained and knows no task yet
GOLDEN_SCHEMA = "trustbase/golden/1"
LABELS_SCHEMA = "trustbase/labels/1"
MANIFEST_SCHEMA = "trustbase/manifest/1"
PREDICATE = "https://model_signing/signature/v1.0"
ATTESTATION = "trustbase/attestation/1"
_SUBJECT = "trustbase-bundle"
_LONGEST = 512


@dataclass(frozen=True)
class FileEntry:
    """One file: relative POSIX path, SHA-256 (hex), size."""

    path: str
    sha256: str
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes}


def is_bundle(folder: Path) -> bool:
    """Whether a folder is to be checked as a bundle: any part of one that marks it lies there, and it is not marked as rejected.

    A bundle whose manifest or signature was taken away is still one, so that the check refuses it.
    """
    return any((folder / name).exists() for name in (MANIFEST, SIGNATURE, f"{MODEL}/artifact.json")) and not (folder / REJECTED).exists()


def bundle_around(model: Path) -> Path | None:
    """The bundle that a folder is the model of, by its place alone; None where there is none.

    A bundle whose manifest or signature was taken away is still one; a `model/` beside neither is any folder of that name.
    """
    folder = model.resolve()
    marked = folder.name == MODEL and any((folder.parent / name).exists() for name in (MANIFEST, SIGNATURE))
    return folder.parent if marked else None


def name_problem(path: str) -> str:
    """Why a relative path may not stand in a bundle; "" where it may."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if not path or len(path.encode("utf-8")) > _LONGEST:
        return f"its path is empty or longer than {_LONGEST} bytes"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") for character in path):
        return "its name holds invisible or control characters"
    if any(character in path for character in '\\:*?"<>|'):
        return "its name holds a character that some systems read as more than a name"
    if unicodedata.normalize("NFC", path) != path:
        return "its name is not in Unicode normal form C"
    for part in path.split("/"):
        if part in ("", ".", "..") or part.startswith(".") or part.endswith((" ", ".")) or part.startswith(" "):
            return f"'{part}' is not a plain name"
    return ""


def collisions(paths: list[str]) -> list[tuple[str, str]]:
    """Pairs of paths (folders included) that some file systems take for the same."""
    seen: dict[str, str] = {}
    found = []
    names = {parent.as_posix() for path in paths for parent in PurePosixPath(path).parents if parent.as_posix() != "."} | set(paths)
    for path in sorted(names):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())
        if folded in seen:
            found.append((seen[folded], path))
        seen.setdefault(folded, path)
    return found


def render_manifest(entries: Mapping[str, FileEntry]) -> bytes:
    """The one byte form of `manifest.json`: every file but itself, its signature and attestations, by path."""
    listed = [entries[path].to_json() for path in sorted(entries) if path != MANIFEST]
    return files.canonical_json({"schema": MANIFEST_SCHEMA, "files": listed})


def signed_statement(entries: Mapping[str, FileEntry]) -> dict[str, Any]:
    """The in-toto statement over all files, `manifest.json` among them. Source: OpenSSF Model Signing, signature v1.0."""
    order = sorted(entries)
    root = hashlib.sha256(b"".join(bytes.fromhex(entries[path].sha256) for path in order)).hexdigest()
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [ATTESTATIONS, SIGNATURE]}
    resources = [{"name": path, "algorithm": "sha256", "digest": entries[path].sha256} for path in order]
    return {
        "_type": STATEMENT,
        "subject": [{"name": _SUBJECT, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {"serialization": serialization, "resources": resources},
    }


def attestation_statement(manifest_sha256: str, statement: Mapping[str, Any]) -> dict[str, Any]:
    """The in-toto statement of a person about one manifest."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": MANIFEST, "digest": {"sha256": manifest_sha256}}],
        "predicateType": ATTESTATION,
        "predicate": dict(statement),
    }


def model_digest(entries: Mapping[str, FileEntry]) -> str:
    """The artefact's digest out of a bundle's entries: what `model.artifact.artifact_digest` gives for its folder."""
    names = sorted(PurePosixPath(path).relative_to(MODEL) for path in entries if path.startswith(f"{MODEL}/"))
    return files.digest_json([[name.as_posix(), entries[f"{MODEL}/{name.as_posix()}"].sha256] for name in names])
