"""What the commands print when they are done: plain lines, verdict first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trustbase.records import AuditReport, Verdict

if TYPE_CHECKING:
    from trustbase.audit_command import AuditResult
    from trustbase.bundle.answer import PredictSummary
    from trustbase.bundle.verify import VerifiedBundle
    from trustbase.flow import RunResult

HEADLINES = (
    "quality.accuracy",
    "quality.macro_f1",
    "quality.auroc",
    "quality.gain_over_majority",
    "quality.gain_over_bag_of_words",
    "quality.gain_over_boosting",
)


def show_run(result: RunResult) -> None:
    """Verdict, headline numbers, and where everything lies."""
    show_verdict(result.verdict)
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
            typer.echo(f"  {id}: {finding.value:.4f} [{finding.low:.4f}, {finding.high:.4f}] n={finding.n}")


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
    counts: dict[str, int] = {}
    for finding in result.report.findings:
        counts[finding.status] = counts.get(finding.status, 0) + 1
    typer.echo(f"findings: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}")
    _headlines(result.report)
    typer.echo(f"report: {result.folder / 'report.html'}")


def show_verified(bundle: VerifiedBundle) -> None:
    """What was checked, in one line each."""
    typer.echo(f"verified: {bundle.folder}")
    typer.echo(f"  signer: {bundle.signer}")
    typer.echo(f"  manifest: {bundle.manifest_digest}")


def show_predicted(summary: PredictSummary, output: Path) -> None:
    """How many rows were answered, how many failed."""
    typer.echo(f"answered {summary.answered} of {summary.rows} rows, {summary.failed} with an error; wrote {output}")
