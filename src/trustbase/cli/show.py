"""What the commands print when they are done: plain lines, verdict first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trustbase.cli.values import four_places, shown
from trustbase.records import AuditReport, Finding, Verdict

if TYPE_CHECKING:
    from trustbase.audit_command import AuditResult
    from trustbase.bundle.answer import PredictSummary
    from trustbase.bundle.verify import VerifiedBundle
    from trustbase.data.corpus.prepare import Corpus
    from trustbase.data_command import DataDescription
    from trustbase.flow import RunResult
    from trustbase.search.scaling import Scaling
    from trustbase.search.sweep import Sweep

HEADLINES = (
    "quality.accuracy",
    "quality.macro_f1",
    "quality.auroc",
    "quality.relation_f1#end-to-end",
    "quality.gain_over_majority",
    "quality.gain_over_bag_of_words",
    "quality.gain_over_boosting",
    "quality.perplexity",
    "quality.masked_accuracy",
    "quality.token_accuracy",
)


def show_run(result: RunResult) -> None:
    """Verdict, which simple models do better all the same, headline numbers, and where everything lies."""
    show_verdict(result.verdict)
    if result.verdict.released:
        _warn_of_rivals(result.audit)
    _headlines(result.audit)
    typer.echo(f"report: {result.report}")
    typer.echo(f"{'bundle' if result.verdict.released else 'rejected'}: {result.bundle.folder}")
    if result.taken:
        typer.echo(f"taken from the other run: {', '.join(result.taken)}; computed: {', '.join(result.computed) or 'nothing'}")
    elif not result.computed:
        typer.echo("nothing was computed: this run was finished")


def _headlines(report: AuditReport) -> None:
    for id in HEADLINES:
        finding = report.find(id)
        if finding is not None and finding.value is not None:
            typer.echo(f"  {_measured(finding)}")


def _warn_of_rivals(report: AuditReport) -> None:
    """A line for each simple rival that is surely better than what passed its limits: the whole interval of the gain lies below 0."""
    from trustbase.report.words import words

    for finding in report.findings:
        parts = finding.parts
        if parts.metric.startswith("gain_over_") and not (parts.slice or parts.variant) and finding.high is not None and finding.high < 0:
            name = words("en").of("rival", parts.metric.removeprefix("gain_over_"))
            typer.echo(f"warning: a simpler model does better ({name.lower()}): {_measured(finding)}")


def _measured(finding: Finding) -> str:
    value, low, high = (four_places(number or 0.0) for number in (finding.value, finding.low, finding.high))
    return f"{finding.id}: {value} [{low}, {high}] n={finding.n}"


def show_verdict(verdict: Verdict, *, met: str = "RELEASED", missed: str = "NOT RELEASED") -> None:
    """One line for the verdict, one a gate."""
    reason = f" ({verdict.reason})" if verdict.reason else ""
    typer.echo(f"{met if verdict.released else missed}{reason}; this test set was looked at {verdict.test_looks} time(s)")
    for gate in verdict.gates:
        measured = "" if gate.value is None else f" measured {gate.value:.4g} [{gate.low:.4g}, {gate.high:.4g}]"
        judged = " (judged by the point value)" if gate.judge == "value" else ""
        why = f" {gate.reason}" if gate.verdict != "pass" and gate.reason else ""
        typer.echo(f"  {gate.verdict}: {gate.gate}{judged}{measured}{why}")


def show_audit(result: AuditResult) -> None:
    """Verdict where there is one, then the number of findings by status."""
    if result.verdict is not None and result.verdict.gates:
        show_verdict(result.verdict, met="ALL LIMITS MET", missed="NOT ALL LIMITS MET")  # an audit releases nothing
        if result.verdict.released:
            _warn_of_rivals(result.report)
    counts: dict[str, int] = {}
    for finding in result.report.findings:
        counts[finding.status] = counts.get(finding.status, 0) + 1
    typer.echo(f"findings: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}")
    _headlines(result.report)
    typer.echo(f"report: {result.folder / 'report.html'}")


def show_data(found: DataDescription, *, as_json: bool) -> None:
    """The data card: Markdown, which reads well as it is, or JSON."""
    typer.echo(json.dumps(found.card, ensure_ascii=False, indent=2) if as_json else shown(found.markdown.rstrip("\n")))


def show_corpus(corpus: Corpus) -> None:
    """What stayed of each source, which step left out what, and where it lies."""
    for step in corpus.card["steps"]:
        dropped = f", {step['documents'] - step['left']:,} left out" if step["documents"] != step["left"] else ""
        typer.echo(f"  {step['step']}: {step['left']:,} documents{dropped}")
    for part, size in corpus.card["result"].items():
        typer.echo(f"{part.replace('_', ' ')}: {size['documents']:,} documents, {size['bytes']:,} bytes")
    faults = corpus.card["faults"]["count"]
    if faults:
        typer.echo(f"faults passed over: {faults:,} (listed in the card)")
    typer.echo(f"card: {corpus.folder / 'corpus.md'}")


def show_sweep(found: Sweep) -> None:
    """All combinations by loss, the verdict on the best, and how to use them."""
    typer.echo(
        f"{found.metric}, lower is better; {len(found.grid.chosen)} of {found.grid.combinations} combinations, {found.tokens:,} tokens each"
    )
    for trial in found.trials:
        score = f"{trial.score:.4f}" if trial.score is not None else f"failed: {trial.failed}"
        repeats = ", ".join("failed" if again is None else f"{again:.4f}" for again in trial.repeats)
        typer.echo(f"  {score}  {' '.join(trial.to_json()['overrides'])}{f'  (other seeds: {repeats})' if repeats else ''}")
    if found.noise.deviation is not None:
        typer.echo(f"noise from seed to seed: standard deviation {found.noise.deviation:.4f}")
    typer.echo(f"best: {' '.join(found.overrides)}")
    typer.echo(f"  {found.said}")
    for key in found.edges:
        typer.echo(f"  {key} is best at the end of what was tried: a better value may lie beyond")
    typer.echo(f"table: {found.folder / 'sweep.json'}")


def show_scaling(found: Scaling) -> None:
    """Sizes with their losses, the law, and predicted beside reached."""
    typer.echo(f"{found.metric}; {found.tokens:,} tokens for each size")
    for size in found.fitted:
        typer.echo(f"  {size.parameters:>12,}  {size.loss:.4f}  {size.said}  (seeds: {', '.join(f'{loss:.4f}' for loss in size.losses)})")
    law, told = found.law, found.prediction
    typer.echo(f"law: {law.floor:.4f} + {law.scale:.4g} / N^{law.exponent:.4f}")
    interval = "no interval: repeats are 1" if told.low is None else f"[{told.low:.4f}, {told.high:.4f}] from the noise of seeds alone"
    typer.echo(f"  {found.target.parameters:>12,}  predicted {told.value:.4f} {interval}  {found.target.said}")
    if found.reached is not None:
        held = {True: "inside the interval", False: "OUTSIDE the interval", None: "no interval to compare with"}[found.inside]
        typer.echo(f"  {'':>12}  reached   {found.reached:.4f}, {held}; off by {found.reached - told.value:+.4f}")
        typer.echo(f"  {'':>12}  without a floor {told.no_floor:.4f}; had size not mattered {told.unchanged:.4f}")
    if found.doubt:
        typer.echo(f"warning: {found.doubt}")
    typer.echo(f"table: {found.folder / 'scaling.json'}")


def show_verified(bundle: VerifiedBundle) -> None:
    """What was checked, in one line each."""
    typer.echo(f"verified: {bundle.folder}")
    typer.echo(f"  signer: {bundle.signer}")
    typer.echo(f"  manifest: {bundle.manifest_digest}")


def show_predicted(summary: PredictSummary, output: Path) -> None:
    """How many rows were answered, how many failed."""
    typer.echo(f"answered {summary.answered} of {summary.rows} rows, {summary.failed} with an error; wrote {output}")
