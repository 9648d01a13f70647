"""The last steps of the journey: the look that is counted, the verdict, and what is released or rejected."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustbase
from trustbase import files
from trustbase.errors import TrustbaseError
from trustbase.records import ArtifactInfo, AuditReport, Bundle, Verdict
from trustbase.stages import Stages, read_record

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.gate.policy import Policy
    from trustbase.recipe.read import Plan

PLACES = ("bundle", "rejected")


def named_signer(key: str | Path | None) -> str | None:
    """Fingerprint of the key that `--key` or the environment names; None where the user's own key is to sign."""
    from trustbase.bundle.keys import KEY_VARIABLE, signing_key

    if key is None and not os.environ.get(KEY_VARIABLE, "").strip():
        return None
    return signing_key(Path(key) if key is not None else None).public.fingerprint


def _run_id(folder: Path) -> str:
    """A random name of this run folder, made at first use; the ledger of looks knows the run by it.

    Where its file is gone, the name is the one under which the run was judged: the same look is never counted as another.

    Raises:
        TrustbaseError: the file is not one that a run left.
    """
    path = folder / "run.json"
    if not path.exists():
        judged = read_record(folder, "gate")
        known = str(judged["inputs"].get("run", "")) if judged is not None else ""
        files.write_json(path, {"schema": "trustbase/run/1", "id": known or uuid.uuid4().hex, "trustbase": trustbase.__version__})
    try:
        name = files.read_json(path)["id"]
        if not isinstance(name, str) or not name:
            raise ValueError(f"its id is {name!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it is not the name of a run ({type(error).__name__}: {error})"
        hint = "remove that file: the same command then takes the name from the run's own records"
        raise TrustbaseError(f"{path} cannot be read: {why}", hint=hint) from error
    return name


@dataclass(frozen=True)
class Seen:
    """What a look is at: the test set by its digest, and by which rows of which file they are, whatever was made of them."""

    digest: str
    rows: str | None = None


def test_rows(dataset: Dataset) -> Seen:
    """The test rows of a labelled set."""
    from trustbase.data.digest import digest_positions
    from trustbase.data.truth.base import written

    test, sources = dataset.splits["test"], dataset.facts["sources"]
    labels = written(test, dataset.labels, dataset.answers)
    return Seen(test.digest, digest_positions(sources.get("test", sources["train"])["digest"], test.row_numbers, labels))


def judge(stages: Stages, seen: Seen, artifact: ArtifactInfo, audit: AuditReport, policy: Policy) -> Verdict:
    """The limits against the findings; the look at the test set is counted, also where findings were taken over."""
    from trustbase.gate.decide import decide

    folder = stages.folder

    def compute() -> dict[str, Any]:
        looks = look(folder, artifact, seen, policy)
        verdict = decide(policy, audit, test_looks=looks)
        files.write_json(folder / "verdict.json", verdict.to_json())
        return {"released": verdict.released}

    # The run's own name: a verdict is never taken over from another run, for each run's look is counted.
    inputs = {"audit": files.digest_json(audit.to_json()), "policy": policy.digest, "run": _run_id(folder)}
    stages.run("gate", inputs=inputs, code=("gate",), outputs=["verdict.json", "audit.json"], compute=compute)
    return Verdict.from_json(files.read_json(folder / "verdict.json"))


def look(folder: Path, artifact: ArtifactInfo, seen: Seen, policy: Policy) -> int:
    """Count this look at the test set; the same run, model and policy count once."""
    from trustbase.gate.ledger import record_look

    return record_look(seen.digest, rows=seen.rows, run=_run_id(folder), policy_digest=policy.digest, model_digest=artifact.digest)


def release(
    stages: Stages,
    plan: Plan,
    artifact: ArtifactInfo,
    audit: AuditReport,
    verdict: Verdict,
    key: str | Path | None,
    lang: str | None,
) -> tuple[Bundle, Path]:
    """`bundle/`, signed, or `rejected/`, never signed; and the report that a person reads."""
    from trustbase.bundle.pack import pack, read_bundle
    from trustbase.report.html import write_report  # the signer of this run need not be trusted here

    folder = stages.folder
    place = "bundle" if verdict.released else "rejected"
    language = lang or plan.recipe.report.language

    def compute() -> dict[str, Any]:
        purpose = plan.recipe.purpose.model_dump(exclude_none=True)
        pack(
            folder,
            artifact=artifact,
            report=audit,
            verdict=verdict,
            recipe_text=plan.resolved,
            purpose=purpose,
            key=Path(key) if key is not None else None,
            emit=stages.log,
        )
        write_report(folder, lang=language)
        return {"place": place}

    inputs: dict[str, Any] = {
        "artifact": artifact.digest,
        "audit": files.digest_json(audit.to_json()),
        "verdict": verdict.to_json(),
        "recipe": files.digest_json(plan.resolved),
        "purpose": plan.recipe.purpose.model_dump(mode="json"),
        "data_card": files.sha256_file(folder / "data_card.json"),
        "evidence": files.digest_folder(folder / "evidence"),
        "estimate": files.sha256_file(folder / "estimate.json") if (folder / "estimate.json").is_file() else None,
        "signer": named_signer(key),
    }
    stages.run("release", inputs=inputs, code=("bundle", "report"), outputs=[place], compute=compute, clear=PLACES)
    for other in set(PLACES) - {place}:
        shutil.rmtree(folder / other, ignore_errors=True)  # a bundle that this verdict does not stand behind must not lie here
    page = folder / "report.html"  # a reading of what lies there, not evidence: it may be written again in another language
    if lang is not None or not page.is_file():
        write_report(folder, lang=language)
    return read_bundle(folder / place), page
