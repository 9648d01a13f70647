"""`trustbase recheck` and `trustbase compare`: their options, and what they print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trustbase.cli.texts import Choices, Head, Question, Tail, TextPair
from trustbase.cli.values import four_places, language, names

if TYPE_CHECKING:
    from trustbase.compare_command import Comparison
    from trustbase.recheck_command import Recheck
    from trustbase.records import Finding


def recheck_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle (checked first), or a run folder.")],
    data: Annotated[Path | None, typer.Option("--data", help="The audited rows; a run folder keeps its own.")] = None,
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the result as JSON.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Print a line for each finding, the same ones too.")] = False,
) -> None:
    """Measure every finding again that can be, and compare with the record; exit code 4 where one differs."""
    from trustbase.cli.watch import watching
    from trustbase.recheck_command import recheck

    with watching() as listener:
        found = recheck(
            bundle,
            data=data,
            trust=trust,
            json_file=json_file,
            emit=lambda event, /, **fields: listener({"event": event, "stage": "recheck", **fields}),
        )
    show_recheck(found, every=every)
    raise typer.Exit(found.exit_code)


def compare_command(
    champion: Annotated[str, typer.Argument(help="Bundle, run folder, checkpoint folder or hub id.")],
    challenger: Annotated[str, typer.Argument(help="Another one, with the same labels.")],
    data: Annotated[Path, typer.Option("--data", help="Rows to ask both about.")],
    label: Annotated[str | None, typer.Option("--label", help="Label column; by default the one that a recipe names.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text column or template of a model that does not say what it reads.")] = None,
    text_pair: TextPair = None,
    question: Question = None,
    choices: Choices = None,
    head: Head = None,
    tail: Tail = None,
    groups: Annotated[
        list[str] | None,
        typer.Option("--groups", help="Group columns, with commas between, or one option for each; by default those that a recipe names."),
    ] = None,
    positive: Annotated[str | None, typer.Option("--positive", help="The positive label, where the two name different ones.")] = None,
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for compare.json and compare.html.")] = Path("comparison"),
    lang: Annotated[str | None, typer.Option("--lang", help="Language of the page: en or zh.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")] = 0,
    calls: Annotated[int, typer.Option("--calls", min=0, help="Single questions to each for the latency; 0 measures none.")] = 200,
) -> None:
    """A champion and a challenger on the same rows: every difference with a paired interval, per group, and the latency."""
    from trustbase.cli.watch import watching
    from trustbase.compare_command import compare

    with watching() as listener:
        found = compare(
            champion,
            challenger,
            data=data,
            label=label,
            text=text,
            text_pair=text_pair,
            question=question,
            choices=names(choices),
            head=head,
            tail=tail,
            groups=names(groups) if groups is not None else None,
            positive=positive,
            trust=trust,
            out=out,
            lang=language(lang) or "en",
            seed=seed,
            calls=calls,
            emit=lambda event, /, **fields: listener({"event": event, "stage": "compare", **fields}),
        )
    show_comparison(found)


def show_comparison(found: Comparison) -> None:
    """One line a metric, the discordant rows, the latency, and where the page lies."""
    facts = found.facts
    before = facts["data"]["looks"] - facts["data"]["looks_now"]
    seen = f"looked at {before} time(s) before" if before else "not looked at before"
    typer.echo(f"difference = challenger - champion; {facts['data']['rows']:,} rows, {seen}; this is one look of each model")
    for item in facts["metrics"]:
        typer.echo(f"  {item['metric']}: {_contrast(item)}")
    if (told := facts["mcnemar"]) is not None:
        typer.echo(
            f"  right alone: champion {told['champion_only_right']}, challenger {told['challenger_only_right']}; "
            f"exact McNemar p = {told['p_value']:.3g}"
        )
    for item in facts["groups"]:
        typer.echo(f"  {facts['main']}[{item['column']}={item['group']}]: {_contrast(item)}")
    latency = facts["latency"]
    if latency is not None:
        span = "" if latency["low"] is None else f" [{latency['low']:.2f}, {latency['high']:.2f}]"
        typer.echo(f"  latency, challenger / champion: {latency['ratio']:.2f}{span} n={latency['n']}")
    typer.echo(f"page: {found.folder / 'compare.html'}")


def _contrast(item: Mapping[str, Any]) -> str:
    if item["difference"] is None:
        return f"{item['outcome']}: {item['reason']}"
    span = item["reason"] if item["low"] is None else f"[{four_places(item['low'], signed=True)}, {four_places(item['high'], signed=True)}]"
    both = f"{four_places(item['champion'])} and {four_places(item['challenger'])}"
    return f"{four_places(item['difference'], signed=True)} {span} n={item['n']} ({both}): {item['outcome']}"


def show_recheck(found: Recheck, *, every: bool = False) -> None:
    """The verdict and its counts, each finding that differs, why others cannot be measured again; with `every` a line for each finding."""
    word = "DIFFERENT" if found.exit_code else "SAME" if found.count("same") else "NOTHING MEASURED AGAIN"
    typer.echo(
        f"{word}: {found.count('same')} the same, {found.count('different')} different, "
        f"{found.count('not recomputable')} that cannot be measured again here"
    )
    near = f"; {found.unsure} row(s) lie so near to their decision that it may turn" if found.unsure else ""
    said = (
        f"probabilities may differ by {found.score_tolerance:g}{near}" if found.score_tolerance else "counts exact, other numbers to 1e-9"
    )
    typer.echo(f"from {found.source}: {said}")
    order = {"different": 0, "not recomputable": 1, "same": 2}
    rows = sorted((row for row in found.rows if every or row.outcome == "different"), key=lambda row: order[row.outcome])
    if rows:
        typer.echo(f"{'outcome':<17} {'on record':>12} {'again':>12} {'allowed':>9}  finding")
    for row in rows:
        allowed = "" if row.tolerance is None else f"{row.tolerance:.2g}"
        why = f": {row.reason}" if row.reason else ""
        typer.echo(f"{row.outcome:<17} {_value(row.recorded):>12} {_value(row.again):>12} {allowed:>9}  {row.id}{why}")
    if not every:
        _show_reasons(Counter(row.reason for row in found.rows if row.outcome == "not recomputable"))
        typer.echo("every finding in a line of its own: --all; as JSON: --json FILE")


def _show_reasons(reasons: Counter[str]) -> None:
    if reasons:
        typer.echo("cannot be measured again here:")
    for reason, count in reasons.most_common():
        typer.echo(f"  {count}: {reason}")


def _value(finding: Finding | None) -> str:
    if finding is None:
        return "–"
    return finding.status if finding.value is None else f"{finding.value:.6g}"
