"""The command line: translates options, calls a plain function, prints. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from trustbase.cli import follower, interrupt, pipes
from trustbase.cli.audit import audit_command
from trustbase.cli.explain import explain_command
from trustbase.cli.pairing import Farthest, MostPairs, Types
from trustbase.cli.recheck import compare_command, recheck_command
from trustbase.cli.search import scaling_command, sweep_command
from trustbase.cli.texts import Choices, Head, Question, Tail, TextPair
from trustbase.cli.values import language, meanings, names, shown
from trustbase.cli.wheelhouse import wheelhouse_command
from trustbase.errors import Interrupted, TrustbaseError, UsageError, VerificationError, from_system

_MOST_PROBLEMS = 20  # lines of one error; the error itself keeps all

app = typer.Typer(
    name="trustbase",
    help="From a base model to a release that somebody can answer for: train, audit what is shipped, gate, sign, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from trustbase import __version__

        typer.echo(f"trustbase {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (works behind any command).")] = False,
) -> None:
    """Exit codes: 0 done and released; 1 error; 2 bad usage, recipe or data; 3 a gate did not pass; 4 verification failed;
    130/143 interrupted, resumable.
    """
    from trustbase.train.launcher import refuse_launchers

    if context.invoked_subcommand != "run":
        refuse_launchers(f"trustbase {context.invoked_subcommand}")


@app.command("init")
def init_command(
    name: Annotated[str, typer.Argument(help="Name of the recipe; .yaml is added.")] = "recipe",
    stage: Annotated[str, typer.Option("--stage", help="finetune or pretrain.")] = "finetune",
    data: Annotated[str | None, typer.Option("--data", help="Labelled rows: the recipe is then one for them, with reasons.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="With --data: what is to be predicted.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="With --data: the label column.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented recipe; with --data one for these rows, with a reason for each line."""
    from trustbase.recipe.template import init

    path = init(name, stage=stage, data=data, task=task, label=label, force=force)
    typer.echo(f"wrote {path}\nnext: edit it, then `trustbase run {path}`")


@app.command("run")
def run_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as train.epochs=2.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/NAME by default.")] = None,
    reuse: Annotated[Path | None, typer.Option("--reuse", help="Take stages whose inputs agree from this run.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Private key (PEM) that signs the bundle.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Recompute stages whose inputs changed (recorded).")] = False,
    lang: Annotated[str | None, typer.Option("--lang", help="Language of the report: en or zh.")] = None,
) -> None:
    """The whole journey: data, training, artefact, audit, gates, signed bundle, report. The same command again goes on."""
    from trustbase.cli.show import show_run
    from trustbase.cli.watch import watching
    from trustbase.flow import run

    with watching() as listener:
        result = run(recipe, overrides or (), out=out, reuse=reuse, key=key, force=force, lang=language(lang), listeners=(listener,))
    show_run(result)
    raise typer.Exit(result.exit_code)


@app.command("data")
def data_command(
    file: Annotated[str, typer.Argument(help="What data.train may name: files, a folder, a glob, a database, a sample, a part of a hub.")],
    text: Annotated[str | None, typer.Option("--text", help="Text column, or a template over columns.")] = None,
    text_pair: TextPair = None,
    question: Question = None,
    choices: Choices = None,
    head: Head = None,
    tail: Tail = None,
    label: Annotated[str | None, typer.Option("--label", help="Label column.")] = None,
    groups: Annotated[
        list[str] | None, typer.Option("--groups", help="Group columns, with commas between (\\, in a name), or one option for each.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", help="The SELECT that gives the rows of a database.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="csv, tsv, jsonl, parquet or conll, where no name says it.")] = None,
    positive: Annotated[str | None, typer.Option("--positive", help="The positive label; the last in sorted order by default.")] = None,
    favourable: Annotated[str | None, typer.Option("--favourable", help="The favourable label; the positive one by default.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the data, for the card.")] = None,
    task: Annotated[str, typer.Option("--task", help="What the rows are for, which says how labels are read.")] = "text-classification",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for data_card.json and data_card.md.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Describe rows before anything is trained: the data card, or without --text and --label what each column holds."""
    from trustbase.cli.show import show_data
    from trustbase.data_command import data

    found = data(
        file,
        text=text,
        text_pair=text_pair,
        question=question,
        choices=names(choices),
        head=head,
        tail=tail,
        label=label,
        groups=names(groups),
        query=query,
        format=_format(format),
        positive=positive,
        favourable=favourable,
        licence=licence,
        task=task,
        out=out,
        emit=_tell,
    )
    show_data(found, as_json=as_json)


@app.command("corpus")
def corpus_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe with stage: pretrain (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as corpus.scrub=true.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/NAME by default. The corpus lies in its corpus/.")] = None,
) -> None:
    """Prepare the corpus of a pretraining recipe alone, and say what stayed; `trustbase run` then finds it ready."""
    from trustbase.cli.show import show_corpus
    from trustbase.cli.watch import watching
    from trustbase.corpus_command import corpus

    with watching() as listener:
        prepared = corpus(recipe, overrides or (), out=out, listeners=(listener,))
    show_corpus(prepared)


app.command("sweep")(sweep_command)
app.command("scaling")(scaling_command)
app.command("audit")(audit_command)


@app.command("verify")
def verify_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
) -> None:
    """Check signature, manifest, policy and gates of a bundle; exit code 4 on anything wrong."""
    from trustbase.bundle.verify import verify
    from trustbase.cli.show import show_verified

    show_verified(verify(_bundle(bundle), trust=trust, emit=_tell))


app.command("recheck")(recheck_command)
app.command("compare")(compare_command)
app.command("explain")(explain_command)


@app.command("predict")
def predict_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder; it is checked first.")],
    input: Annotated[Path, typer.Option("--input", help="csv, tsv, jsonl or parquet with the recipe's own columns.")],
    output: Annotated[Path, typer.Option("--output", help="JSONL to write: one line per input row, same order.")],
    entities: Annotated[
        Path | None, typer.Option("--entities", help="A bundle that finds the entities between which BUNDLE tells relations.")
    ] = None,
    types: Types = None,
    farthest: Farthest = None,
    most_pairs: MostPairs = None,
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
) -> None:
    """Batch answers of a released bundle; with --entities, the relations between the entities that another bundle finds.

    Exit code 0 although some rows have an error in place of an answer, 1 where all have one.
    """
    from trustbase.bundle.answer import predict
    from trustbase.cli.show import show_predicted
    from trustbase.cli.watch import watching

    with watching() as listener:
        summary = predict(
            bundle,
            input=input,
            output=output,
            entities=entities,
            types=meanings(types, "--types"),
            farthest=farthest,
            most_pairs=most_pairs,
            trust=trust,
            emit=lambda event, /, **fields: listener({"event": event, "stage": "predict", **fields}),
        )
    show_predicted(summary, output)
    if summary.rows and not summary.answered:
        typer.echo(f"error: not one row was answered; each line of {output} says why", err=True)
        raise typer.Exit(1)


@app.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="A run, audit or bundle folder.")],
    lang: Annotated[str | None, typer.Option("--lang", help="Language: en or zh.")] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    trust: Annotated[Path | None, typer.Option("--trust", help="A public key, or a folder of them, to trust.")] = None,
) -> None:
    """Regenerate report.html and open it; a bundle is checked first."""
    from trustbase.report.html import report

    path = report(
        run,
        lang=language(lang) or "en",
        open_browser=open_browser and sys.stdout.isatty(),
        trust=trust,
        emit=_tell,
    )
    typer.echo(f"report: {path}")


app.command("wheelhouse")(wheelhouse_command)


@app.command("doctor")
def doctor_command() -> None:
    """Say what this machine can do, and why."""
    from trustbase.doctor import doctor

    for check in doctor():
        typer.echo(str(check))


def _format(format: str | None) -> Any:
    from trustbase.data.reference import Format

    formats = get_args(Format)
    if format is not None and format not in formats:
        raise UsageError(f"--format must be one of {', '.join(formats)}, got '{format}'")
    return format


def main() -> None:
    """Entry point: exit codes as in the contract, one clear message an error, a traceback only with --debug."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        interrupt.install()  # Typer would end on a KeyboardInterrupt itself, and say nothing
        pipes.install()
        with follower.silent():
            app(args=arguments, standalone_mode=True)
    except Exception as error:
        error_or_signal = interrupt.pending() or error
        if isinstance(error_or_signal, TrustbaseError | Interrupted):
            _complain(error_or_signal.text(_MOST_PROBLEMS), debug)
            raise SystemExit(error_or_signal.exit_code) from None
        told = _told(error)
        if told is not None:
            _complain(told.text(_MOST_PROBLEMS), debug)
            raise SystemExit(told.exit_code) from None
        _complain(f"unexpected {type(error).__name__}: {error}\nNext: run it again with --debug and report what it shows", debug)
        raise SystemExit(1) from None
    except Interrupted as error:
        _complain(str(error), debug)
        raise SystemExit(error.exit_code) from None
    finally:
        interrupt.leave()


def _told(error: Exception) -> TrustbaseError | None:
    """The net under every command: what the system or a name's bytes forbid, in words; None where it is a fault of Trustbase's own."""
    if isinstance(error, OSError) and error.errno is not None:
        return from_system(error)
    if isinstance(error, UnicodeEncodeError) and any("\ud800" <= character <= "\udfff" for character in error.object):
        name = error.object[:200].encode("utf-8", "backslashreplace").decode()
        return UsageError(f"'{name}' is not UTF-8 text, so no record can hold it", hint="rename it, or name another")
    return None


def _tell(event: str, /, **fields: Any) -> None:
    """Warnings of a command that shows no progress."""
    typer.echo(shown(f"{event}: {fields.get('text', '')}"), err=True)


def _bundle(folder: Path) -> Path:
    """The bundle that is to be verified; whatever is wrong with it is exit code 4, as the contract of `verify` knows 0 and 4 alone.

    Raises:
        VerificationError: the system knows no such name.
    """
    try:
        folder.is_dir()
    except OSError as error:
        raise VerificationError(f"{str(folder)[:200]} is no bundle: {error.strerror}", hint="name the bundle folder") from error
    return folder


def _complain(text: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"error: {shown(text)}", err=True)
