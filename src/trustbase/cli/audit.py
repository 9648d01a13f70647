"""`trustbase audit`: its options, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustbase.cli.pairing import Farthest, MostPairs, Types
from trustbase.cli.texts import Choices, Head, Question, Tail, TextPair
from trustbase.cli.values import budgets, language, meanings, names


def audit_command(
    model: Annotated[str | None, typer.Argument(help="Checkpoint folder, bundle, run or hub id.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Rows to audit on.")] = None,
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
    entity: Annotated[str | None, typer.Option("--entity", help="Column of whom a row is about; intervals then allow for it.")] = None,
    entities: Annotated[
        str | None,
        typer.Option("--entities", help="A model that finds the entities between which MODEL tells relations."),
    ] = None,
    types: Types = None,
    farthest: Farthest = None,
    most_pairs: MostPairs = None,
    train: Annotated[Path | None, typer.Option("--train", help="Training rows, for the rivals.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Limits to judge by (YAML).")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Dimensions to measure, with commas between, or one option for each.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option("--predictions", help="Somebody else's answers, instead of a model.")] = None,
    score: Annotated[str | None, typer.Option("--score", help="Column with the probability of the positive label.")] = None,
    predicted: Annotated[str | None, typer.Option("--predicted", help="Column with the predicted label.")] = None,
    positive: Annotated[str | None, typer.Option("--positive", help="The positive label; the last in sorted order by default.")] = None,
    favourable: Annotated[str | None, typer.Option("--favourable", help="The favourable label; the positive one by default.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, verdict.json, report.html, evidence/.")] = Path("audit"),
    lang: Annotated[str | None, typer.Option("--lang", help="Language of the report: en or zh.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is sampled.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes of this machine that ask the model.")] = 1,
    budget: Annotated[list[str] | None, typer.Option("--budget", help="How much is asked, such as explanation.texts=20.")] = None,
) -> None:
    """Audit any model on any rows, or somebody else's answers (--predictions)."""
    from trustbase.audit_command import audit
    from trustbase.cli.show import show_audit
    from trustbase.cli.watch import watching

    with watching() as listener:
        result = audit(
            model,
            data=data,
            text=text,
            text_pair=text_pair,
            question=question,
            choices=names(choices),
            head=head,
            tail=tail,
            label=label,
            groups=names(groups),
            entity=entity,
            entities=entities,
            types=meanings(types, "--types"),
            farthest=farthest,
            most_pairs=most_pairs,
            train=train,
            policy=policy,
            only=names(only),
            predictions=predictions,
            score=score,
            predicted=predicted,
            positive=positive,
            favourable=favourable,
            out=out,
            lang=language(lang) or "en",
            seed=seed,
            workers=workers,
            budget=budgets(budget),
            emit=lambda event, /, **fields: listener({"event": event, "stage": "audit", **fields}),
        )
    show_audit(result)
    raise typer.Exit(result.exit_code)
