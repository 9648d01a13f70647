"""Packing what a run came to: `bundle/`, signed, where every gate passed; else `rejected/`, with the same content and no signature."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.bundle.base_card import base_card
from trustbase.bundle.card import model_card
from trustbase.bundle.contents import disagreements
from trustbase.bundle.course import COURSE, read_course
from trustbase.bundle.envelope import sign
from trustbase.bundle.environment import environment_facts
from trustbase.bundle.golden import golden_record
from trustbase.bundle.keys import SigningKey, signing_key
from trustbase.bundle.layout import BASE_MODEL, LABELS_SCHEMA, MODEL, REJECTED, FileEntry, model_digest, render_manifest, signed_statement
from trustbase.bundle.portable import portable_recipe
from trustbase.bundle.scan import hash_files, list_files
from trustbase.errors import ModelError, TrustbaseError, UsageError
from trustbase.events import Emit, ignore
from trustbase.gate.decide import decide
from trustbase.gate.policy import Policy
from trustbase.places import MANIFEST, SIGNATURE
from trustbase.records import ArtifactInfo, AuditReport, Bundle, LabelSchema, Verdict

Ask = Callable[[Sequence[str]], NDArray[np.float64]]


def pack(
    run_folder: Path,
    *,
    artifact: ArtifactInfo,
    report: AuditReport,
    verdict: Verdict,
    recipe_text: str,
    purpose: Mapping[str, Any],
    key: Path | None = None,
    emit: Emit = ignore,
    ask: Ask | None = None,
) -> Bundle:
    """Write `bundle/` or `rejected/` into the run folder, whole or not at all, and remove the other of the two.

    Args:
        run_folder: holds `policy.json`, `data_card.json`, `data_card.md` and `evidence/`; of a pretraining also
            `estimate.json` and `log.jsonl`, of which the course of the training is kept.
        artifact: what was audited and is shipped.
        report: the audit.
        verdict: what the gates say; a released one is computed again before anything is signed.
        recipe_text: the resolved recipe (YAML); paths in it are packed as names.
        purpose: what the recipe says under `purpose:`.
        key: private key that signs; the user's own by default.
        emit: takes warnings.
        ask: texts → probabilities `(rows, classes)` of this artefact, of a base model `(rows, 2)` (log-likelihood, tokens);
            by default a Predictor is opened on it.

    Raises:
        TrustbaseError: the parts do not belong together; nothing was written.
    """
    policy = _policy(run_folder, report, verdict, artifact)
    signer = signing_key(key, emit=emit) if verdict.released else None
    golden = golden_record(artifact, ask)
    name, other = ("bundle", "rejected") if verdict.released else ("rejected", "bundle")

    def fill(folder: Path) -> None:
        _fill(folder, run_folder, artifact, report, verdict, policy, portable_recipe(recipe_text), purpose, golden)
        _seal(folder, report, signer, verdict)

    files.replace_folder(run_folder / name, fill)
    shutil.rmtree(run_folder / other, ignore_errors=True)
    return read_bundle(run_folder / name)


def read_bundle(folder: Path) -> Bundle:
    """The record of a packed folder as it says of itself; `verify` is what checks it.

    Raises:
        UsageError: there is no bundle.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UsageError(f"{folder} is not a bundle: it has no {MANIFEST}", hint="name the bundle/ or rejected/ folder of a run")
    signature = folder / SIGNATURE
    signer = files.read_json(signature)["verificationMaterial"]["publicKey"]["hint"] if signature.is_file() else None
    return Bundle(folder, signer is not None, f"sha256:{files.sha256_file(manifest)}", signer)


def _policy(run_folder: Path, report: AuditReport, verdict: Verdict, artifact: ArtifactInfo) -> Policy:
    """The run's policy, if verdict, report and artefact belong to it."""
    try:
        policy = Policy.from_json(files.read_json(run_folder / "policy.json"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrustbaseError(f"{run_folder / 'policy.json'} cannot be read: {error}", hint="run it again from the start") from error
    problems = disagreements(policy, report, verdict, artifact.digest) if verdict.released else []
    if not verdict.released and decide(policy, report, test_looks=verdict.test_looks, model_digest=artifact.digest).released:
        raise TrustbaseError("the verdict says not released, but every gate passes", hint="run it again from the start")
    if problems:
        raise TrustbaseError("nothing was signed: the parts of this run do not belong together", problems=problems, hint="run it again")
    return policy


def _fill(
    folder: Path,
    run_folder: Path,
    artifact: ArtifactInfo,
    report: AuditReport,
    verdict: Verdict,
    policy: Policy,
    recipe_text: str,
    purpose: Mapping[str, Any],
    golden: Mapping[str, Any],
) -> None:
    """Everything but manifest and signature."""
    _copy_model(artifact, folder / MODEL)
    environment = environment_facts()
    data_card = _optional_json(run_folder / "data_card.json")
    files.write_json(folder / "labels.json", labels_record(artifact.labels))
    files.write_text(folder / "recipe.resolved.yaml", recipe_text)
    files.write_text(folder / "policy.json", policy.to_text())
    files.write_json(folder / "audit.json", report.to_json())
    files.write_json(folder / "verdict.json", verdict.to_json())
    files.write_json(folder / "environment.json", environment)
    files.write_json(folder / "golden.json", golden)
    for path in sorted((run_folder / "evidence").glob("*.json")):
        files.write_json(folder / "evidence" / path.name, files.read_json(path))
    base = artifact.answer_kind == BASE_MODEL
    for name in ("data_card.json", "data_card.md", *(("estimate.json",) if base else ())):
        if (run_folder / name).is_file():
            shutil.copyfile(run_folder / name, folder / name)
    if base and (course := read_course(run_folder / "log.jsonl")):
        files.write_json(folder / COURSE, course)
    card = (base_card if base else model_card)(
        artifact=artifact,
        report=report,
        verdict=verdict,
        recipe_text=recipe_text,
        purpose=purpose,
        data_card=data_card,
        environment=environment,
    )
    files.write_text(folder / "README.md", card)


def _copy_model(artifact: ArtifactInfo, target: Path) -> None:
    """Copy the artefact's files (never link them: a linked file can be changed from elsewhere)."""
    for root, folders, names in os.walk(artifact.folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            source = Path(root) / name
            place = target / source.relative_to(artifact.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            place.chmod(0o644)


def _seal(folder: Path, report: AuditReport, signer: SigningKey | None, verdict: Verdict) -> None:
    """Write manifest and signature, after finding that the copied model is the one that was audited."""
    if signer is None:
        lines = [f"{gate.verdict}: {gate.gate} - {gate.reason}" for gate in verdict.gates if gate.verdict != "pass"]
        reasons = "\n".join([verdict.reason, *lines] if verdict.reason else lines)
        files.write_text(folder / REJECTED, f"This model was NOT released and is not signed. It must not be used.\n\n{reasons}\n")
    entries = _hash(folder)
    found = model_digest(entries)
    if found != report.model.get("digest"):
        raise ModelError(
            f"the model that is packed ({found}) is not the one that was audited ({report.model.get('digest')})", hint="run it again"
        )
    files.write_bytes(folder / MANIFEST, render_manifest(entries))
    if signer is not None:
        files.write_bytes(folder / SIGNATURE, sign(signed_statement(_hash(folder)), signer))


def _hash(folder: Path) -> dict[str, FileEntry]:
    paths, problems = list_files(folder)
    scan = hash_files(folder, paths)
    if problems or scan.problems:
        raise TrustbaseError("the bundle cannot be packed: some files may not stand in one", problems=[*problems, *scan.problems])
    return scan.entries


def labels_record(labels: LabelSchema) -> dict[str, Any]:
    """Content of `labels.json`."""
    return {"schema": LABELS_SCHEMA, **labels.to_json()}


def _optional_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value if isinstance(value, dict) else {}
