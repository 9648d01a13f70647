"""`trustbase explain`: its options, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from trustbase.cli.texts import TextPair
from trustbase.cli.values import four_places, language
from trustbase.errors import UsageError

if TYPE_CHECKING:
    from trustbase.explain_command import Explanation
    from trustbase.explain_training import TaughtBy

_SHOWN = 15  # units of a table
_PAIRS = 3
_WIDTH = 20  # characters of the longest bar
_METHODS = (
    "shapley, orders (with errors), lime or occlusion; white-box, of the torch weights: integrated_gradients, gradient_input or "
    "attention_relevance."
)


def explain_command(
    model: Annotated[str, typer.Argument(help="Bundle (checked first), run folder, checkpoint folder or hub id.")],
    text: Annotated[str | None, typer.Argument(help="The text, where the model reads a text column as it stands.")] = None,
    text_pair: TextPair = None,
    row: Annotated[str | None, typer.Option("--row", help="The recipe's columns as a JSON object, in place of a text.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Whose score is explained; the answer's by default.")] = None,
    method: Annotated[str, typer.Option("--method", help=_METHODS)] = "shapley",
    samples: Annotated[int, typer.Option("--samples", help="Most inputs that the method asks; up to 40 more check it.")] = 500,
    characters: Annotated[bool, typer.Option("--characters", help="Each character is a unit, and not each word.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is drawn.")] = 0,
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
    train: Annotated[Path | None, typer.Option("--train", help="Training rows: those that taught this answer most are told.")] = None,
    train_label: Annotated[str | None, typer.Option("--train-label", help="Their label's column; by default the recipe's.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="A page to write.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="Language of the page: en or zh.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Why an input gets its answer: what each word, or field, adds to the score, and whether leaving it out really moves it."""
    from trustbase.cli.watch import watching
    from trustbase.explain_command import explain, read_row

    if (text is None) == (row is None):
        raise UsageError("name a text, or a row with --row: one of the two", hint='trustbase explain BUNDLE "a text"')
    with watching() as listener:
        found = explain(
            model,
            read_row(row) if row is not None else cast(str, text),
            text_pair=text_pair,
            label=label,
            method=cast(Any, method),
            samples=samples,
            characters=characters,
            seed=seed,
            trust=trust,
            html=html,
            lang=language(lang) or "en",
            train=train,
            train_label=train_label,
            emit=lambda event, /, **fields: listener({"event": event, "stage": "explain", **fields}),
        )
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False))
    else:
        show_explanation(found, html)


def show_explanation(found: Explanation, page: Path | None) -> None:
    """The answer, a line for each of the units that add most, the reasons, and whether they are true of the model."""
    about, faithful = found.about, found.faithful
    typer.echo(f"{_cut(found.label)}: {four_places(found.score)} (without any {found.kind}: {four_places(found.base)})")
    if "white_box" in about:
        taken = "1 gradient" if about["asked"] == 1 else f"{about['asked']:,} gradients"
        typer.echo(f"what each of the {found.kind} adds to the {about['of']}, by {about['method']}, from {taken}")
        typer.echo(f"({about['white_box']}):")
    else:
        typer.echo(f"what each of the {found.kind} adds, by {about['method']}, from {about['asked']:,} inputs:")
    order = sorted(range(len(found.units)), key=lambda place: -abs(found.weights[place]))
    most = max(map(abs, found.weights), default=0.0) or 1.0
    width = max((len(_cut(found.units[place])) for place in order[:_SHOWN]), default=0)
    for place in order[:_SHOWN]:
        weight = found.weights[place]
        error = "" if found.errors is None or not found.errors[place] else f" ± {found.errors[place]:.4f}"
        bar = ("+" if weight > 0 else "-") * round(_WIDTH * abs(weight) / most)
        typer.echo(f"  {_cut(found.units[place]):<{width}}  {four_places(weight, signed=True)}{error}  {bar}".rstrip())
    if len(order) > _SHOWN:
        typer.echo(f"  and {len(order) - _SHOWN} others that add less; all of them: --json")
    if about.get("sum_error") is not None:
        typer.echo(f"  their sum misses what all of them do together by {four_places(about['sum_error'], signed=True)}")
    elif "elsewhere" in about:
        typer.echo(f"  and {four_places(about['elsewhere'], signed=True)} lies on signs and special tokens")
    for one, other, adds in found.together[:_PAIRS]:
        typer.echo(f"together: {_cut(one)} and {_cut(other)} {four_places(adds, signed=True)} beyond what each adds")
    for reason in found.reasons:
        typer.echo(f"reason: {_cut(reason.unit)}; without it alone the score falls by {four_places(reason.moved, signed=True)}")
    if not found.reasons:
        typer.echo(f"reason: none of the {found.kind} speaks for this answer")
    typer.echo(
        f"without the first units the score falls by {four_places(faithful['comprehensiveness'], signed=True)}, "
        f"with them alone by {four_places(faithful['sufficiency'], signed=True)} (means over shares of the {found.kind})"
    )
    if found.taught is not None:
        _show_taught(found.taught)
    if about["unread_tokens"]:
        typer.echo(f"the input is longer than the model reads: {about['unread_tokens']:,} of its tokens are not read, and add nothing")
    if page is not None:
        typer.echo(f"page: {page}")


def _show_taught(taught: TaughtBy) -> None:
    """The training rows for this answer and against it, by their number in the file."""
    some = "" if taught.followed == taught.rows else f" of {taught.rows:,}"
    typer.echo(f"training rows that taught this answer most, among {taught.followed:,}{some}; without each it would lose, in {taught.of}")
    typer.echo(f"({taught.note}):")
    for row in (*taught.speak_for, *reversed(taught.against)):
        typer.echo(f"  row {row.row:,} ({_cut(row.label)})  {row.falls:+.4f}")


def _cut(name: str, most: int = 40) -> str:
    from trustbase.escapes import escaped

    shown = escaped(name)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
