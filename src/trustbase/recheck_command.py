"""`trustbase recheck`: every finding of a bundle or a run that can be measured again is, and is compared with the one on record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from trustbase import files
from trustbase.audit.options import AuditOptions
from trustbase.data.options import DataOptions
from trustbase.errors import Problem, UsageError, VerificationError
from trustbase.events import Emit, ignore
from trustbase.places import refuse_inside_bundle
from trustbase.recipe.lookup import calibrates
from trustbase.records import ArtifactInfo, AuditReport, LabelSchema, Split
from trustbase.train.launcher import refuse_launchers

if TYPE_CHECKING:
    from trustbase.audit.context import Answers, AuditContext
    from trustbase.audit.recheck import Rechecked
    from trustbase.bundle.verify import VerifiedBundle
    from trustbase.model.predict import Predictor

RECHECK_SCHEMA = "trustbase/recheck/1"
_BASE_MODEL = "is a base model: what was measured of it rests on held-out documents, which this version cannot measure again"


@dataclass(frozen=True)
class Recheck:
    """Findings on record beside those measured again.

    Attributes:
        source: what they were measured from: "stored scores" or "new answers".
        score_tolerance: largest difference of a probability that is allowed; 0 for stored scores.
        unsure: rows that lie so near to their decision that such a difference turns their answer.
        rows: one for each finding on record, and for each that is not and should be.
    """

    subject: Path
    source: str
    score_tolerance: float
    unsure: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    rows: tuple[Rechecked, ...]

    def count(self, outcome: str) -> int:
        """How many findings came out so."""
        return sum(row.outcome == outcome for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 where all that could be measured again is the same, else 4."""
        return 4 if self.count("different") else 0

    def to_json(self) -> dict[str, Any]:
        """As JSON (`trustbase/recheck/1`)."""
        return {
            "schema": RECHECK_SCHEMA,
            "model": dict(self.model),
            "data": dict(self.data),
            "source": self.source,
            "score_tolerance": self.score_tolerance,
            "rows_near_decision": self.unsure,
            "same": self.count("same"),
            "different": self.count("different"),
            "not_recomputable": self.count("not recomputable"),
            "findings": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True)
class _Recipe:
    """What of a recipe says how to measure again."""

    data: DataOptions
    audit: AuditOptions
    seed: int  # of the run


@dataclass(frozen=True, eq=False)
class _Measured:
    """What findings are measured on."""

    splits: Mapping[str, Split]
    labels: LabelSchema
    in_order: bool
    answers: Answers
    tolerance: float


def recheck(
    bundle: str | Path,
    *,
    data: str | Path | None = None,
    trust: str | Path | None = None,
    json_file: str | Path | None = None,
    emit: Emit = ignore,
) -> Recheck:
    """Measure again what a bundle or a run folder says of its model, and compare.

    A bundle is checked first, and its model asked about the rows of `data`. A run folder needs no `data`: the rows and the scores that its
    audit left are measured again; where it was released, its bundle is checked and is what the run's record must agree with.
    This looks at no test set anew: nothing is told that is not on record, so the ledger counts nothing.

    Args:
        bundle: a bundle, or a run folder.
        data: the file with the audited rows (a bundle).
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.
        json_file: where to write the result as JSON.
        emit: takes events.

    Raises:
        VerificationError: the bundle is not what somebody trusted released, or the run's record is not that of its bundle.
        UsageError: `data` is missing or not wanted, `json_file` cannot be written or is part of what is rechecked, or the model is a base
            model.
        DataError: the file does not hold the audited rows; both digests are named.
        ModelError: this machine does not reproduce the bundle's golden outputs.
    """
    refuse_launchers("a recheck")
    folder = Path(bundle)
    run = (folder / "recipe.resolved.yaml").is_file() and (folder / "stages").is_dir()
    if run and data is not None:
        hint = f"name its bundle: trustbase recheck {folder / 'bundle'} --data …" if (folder / "bundle").is_dir() else "leave out --data"
        raise UsageError(f"{folder} is a run folder, which keeps its own rows and scores, and --data names others", hint=hint)
    if not run and data is None:
        raise UsageError(f"{folder} holds no rows: a bundle ships none", hint="name the file with the audited rows: --data FILE")
    target = None if json_file is None else _output(json_file, folder, data)
    found = _of_run(folder, trust, emit) if run else _of_bundle(folder, Path(str(data)), trust, emit)
    if target is not None:
        files.write_json(target, found.to_json())
    return found


def _output(json_file: str | Path, folder: Path, data: str | Path | None) -> Path:
    """Where the result goes: found out before anything is measured, and never over what is rechecked or what it is rechecked with.

    Raises:
        UsageError: it cannot be written, would break a bundle, or lies in the run or is the file of rows.
    """
    target = files.check_output(json_file, "--json")
    refuse_inside_bundle(target, "--json")
    if target.is_relative_to(folder.resolve()) or (data is not None and target == Path(data).resolve()):
        what = "the rows themselves" if data is not None and target == Path(data).resolve() else f"inside {folder}, which is rechecked"
        raise UsageError(f"--json {json_file} is {what}", hint="name a file elsewhere; nothing was done")
    return target


def _of_bundle(folder: Path, data: Path, trust: str | Path | None, emit: Emit) -> Recheck:
    """A bundle's model asked anew about the audited rows."""
    from trustbase.bundle.golden import repeat_golden
    from trustbase.bundle.layout import BASE_MODEL, bundle_around
    from trustbase.bundle.verify import verify
    from trustbase.data.audited import find_audited_rows
    from trustbase.model.artifact import read_artifact
    from trustbase.model.predict import Predictor

    checked = verify(bundle_around(folder) or folder, trust=trust, emit=emit)
    recipe = _read_recipe(checked.read("recipe.resolved.yaml"), BASE_MODEL, folder)
    with checked.private_model() as copy:
        info = read_artifact(copy)
        rows = find_audited_rows(
            data,
            recipe.data,
            text=info.text or recipe.data.text,
            labels=info.labels,
            recorded=checked.report.data,
            seed=recipe.seed,
            kind=info.answer_kind,
            numbers=info.numbers,
            calibrate=calibrates(recipe.audit.dimensions, info.answer_kind),
            emit=emit,
        )
        golden = json.loads(checked.read("golden.json"))
        with Predictor.open(info) as predictor:
            repeat_golden(golden, predictor)
            answers = _asked(predictor, rows.splits["test"], emit)
            measured = _Measured(rows.splits, info.labels, rows.in_order, answers, float(golden["tolerance"]))
            return _recheck(folder, checked.report, recipe, info, measured, predictor, emit)


def _of_run(folder: Path, trust: str | Path | None, emit: Emit) -> Recheck:
    """The rows and scores that a run's audit left, under what its bundle says where there is one."""
    from trustbase.audit.stored import read_scores
    from trustbase.bundle.layout import BASE_MODEL
    from trustbase.data.save import load_dataset
    from trustbase.model.artifact import read_artifact
    from trustbase.model.predict import Predictor

    report = _record_of_run(folder, trust, emit)
    recipe = _read_recipe((folder / "recipe.resolved.yaml").read_bytes(), BASE_MODEL, folder)
    dataset = load_dataset(folder / "data")
    test, info = dataset.splits["test"], read_artifact(folder / "artifact")
    problems = []
    if test.digest != report.data["digest"]:
        problems.append(Problem("data/", f"holds test rows with the digest {test.digest}, audited were {report.data['digest']}"))
    if info.digest != report.model["digest"]:
        problems.append(Problem("artifact/", f"is {info.digest}, audited was {report.model['digest']}"))
    if problems:
        raise VerificationError(f"{folder} is not what its audit was about", problems=problems, hint="take the folder from a copy")
    answers = read_scores(folder / "scores.parquet", test, info)
    with Predictor.open(info) as predictor:
        measured = _Measured(dataset.splits, dataset.labels, True, answers, 0.0)
        return _recheck(folder, report, recipe, info, measured, predictor, emit)


def _record_of_run(folder: Path, trust: str | Path | None, emit: Emit) -> AuditReport:
    """What the run says it found, which must be what its signed bundle says, where it was released."""
    path = folder / "audit.json"
    try:
        report = AuditReport.from_json(files.read_json(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "run its recipe again: the audit stage writes it"
        raise UsageError(f"{path} cannot be read, so there is nothing to compare with: {error}", hint=hint) from error
    if not (folder / "bundle").is_dir():
        said = "says that it was released, and its bundle/ is gone: whether this is the record that was signed cannot be seen"
        text = f"{folder.name} {said if _says_released(folder) else 'was not released, so nobody signed its record'}"
        emit("warning" if _says_released(folder) else "note", text=text)
        return report
    from trustbase.bundle.verify import verify

    checked: VerifiedBundle = verify(folder / "bundle", trust=trust, emit=emit)
    if checked.report.to_json() != report.to_json():
        raise VerificationError(f"{path} is not what the signed bundle says", hint="compare it with bundle/audit.json, which was signed")
    return report


def _says_released(folder: Path) -> bool:
    try:
        verdict = files.read_json(folder / "verdict.json")
    except (OSError, ValueError):
        return False
    return isinstance(verdict, dict) and verdict.get("released") is True


def _read_recipe(data: bytes, base_model: str, folder: Path) -> _Recipe:
    """The sections that say how to measure again.

    Raises:
        UsageError: a base model's recipe, or one of a form that this version does not know.
    """
    recipe = yaml.safe_load(data.decode("utf-8"))
    if recipe.get("stage", "finetune") != "finetune":
        raise UsageError(
            f"{folder} {_BASE_MODEL}", hint=f"findings of the answer kind '{base_model}' stand in its audit.json and report.html"
        )
    try:
        seed = int((recipe.get("train") or {}).get("seed", 0))
        return _Recipe(DataOptions.model_validate(recipe["data"]), AuditOptions.model_validate(recipe.get("audit") or {}), seed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "use the version of Trustbase that made it"
        raise UsageError(f"the recipe in {folder} cannot be read by this version: {error}", hint=hint) from error


def _asked(predictor: Predictor, test: Split, emit: Emit) -> Answers:
    from trustbase.audit.artifact import score_rows
    from trustbase.audit.askers.asking import Alone
    from trustbase.audit.context import Answers
    from trustbase.data.cells import inputs_of
    from trustbase.outputs.answers.base import decided

    info = predictor.info
    scores = score_rows(Alone(predictor), inputs_of(test, info.columns), emit)
    return Answers(scores, decided(scores, info.labels, info.decision, info.answer_kind))


def _recheck(
    subject: Path, report: AuditReport, recipe: _Recipe, info: ArtifactInfo, measured: _Measured, predictor: Predictor, emit: Emit
) -> Recheck:
    """Measure on what was gathered, and put both side by side."""
    from trustbase.audit.askers.asking import Alone
    from trustbase.audit.context import AuditContext, Evidence
    from trustbase.audit.machine import machine_facts
    from trustbase.audit.recheck import Tolerance, measure_again, recheck_findings, why_not_here
    from trustbase.audit.rivals import rival_answers
    from trustbase.outputs.answers.base import answering
    from trustbase.steps import audit_seed

    test, train, seed = measured.splits["test"], measured.splits.get("train"), audit_seed(recipe.seed)
    options = recipe.audit
    with TemporaryDirectory(prefix="trustbase-recheck-") as place:
        context = AuditContext(
            test=test,
            labels=measured.labels,
            decision=info.decision,
            answers=measured.answers,
            evidence=Evidence(Path(place)),
            seed=seed,
            predictor=predictor,
            askers=Alone(predictor) if measured.tolerance else None,  # stored scores are measured, and nobody is asked
            artifact=info,
            train=train,
            validation=measured.splits.get("validation"),
            rivals=rival_answers(train, test, measured.labels, seed, emit, info.answer_kind) if train is not None else {},
            options=options,
            emit=emit,
            confidence=options.confidence,
            minimum_cell=options.minimum_cell,
        )
        shaky = _unsure_members(context, measured.tolerance)
        again = measure_again(context, list(dict.fromkeys(finding.parts.dimension for finding in report.findings)))
    way, scores = answering(info.answer_kind), context.answers.scores
    unsure = way.near(scores, info.labels, info.decision, measured.tolerance) if measured.tolerance and scores is not None else 0
    cells = min(options.minimum_cell, way.smallest(test.labels, info.labels) or 1)
    dearest = max(info.decision.cost.values(), default=1.0)
    here = machine_facts()["libraries"]
    why = why_not_here(context, in_order=measured.in_order, libraries=report.machine.get("libraries", {}), here=here)
    tolerance = Tolerance(measured.tolerance, unsure, cells, dearest, info.labels.scale, info.answer_kind == "number", shaky)
    rows = recheck_findings(report.findings, again, tolerance, why)
    source = "new answers" if measured.tolerance else "stored scores"
    return Recheck(subject, source, measured.tolerance, unsure, report.model, report.data, tuple(rows))


def _unsure_members(context: AuditContext, tolerance: float) -> float:
    """Of an ensemble that is asked anew, the largest share of one member's own answers that such a difference may turn; else 0."""
    from trustbase.audit.seeds import member_answers
    from trustbase.outputs.answers.base import answering

    info = context.artifact
    if info is None or info.members == 1 or context.askers is None:
        return 0.0
    way = answering(info.answer_kind)
    scores = [answers.scores for answers in member_answers(context)]
    near = max(way.near(each, info.labels, info.decision, tolerance) for each in scores if each is not None)
    return near / max(way.counted(context.test.labels), 1)
