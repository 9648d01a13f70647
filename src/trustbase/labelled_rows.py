"""The first steps of fine-tuning: labelled rows read, divided and described, each step keyed by its inputs and done once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.errors import DataError
from trustbase.finding_id import OUT_OF_TIME
from trustbase.model.plain.options import PlainOptions
from trustbase.recipe.lookup import TASKS, calibrates
from trustbase.records import BaseModel
from trustbase.stages import Stages

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.recipe.read import Plan

DATA_CODE = ("data", "recipe/lookup.py", "recipe/entries.py")


def read_data(stages: Stages, plan: Plan) -> Dataset:
    """Rows read, checked, split; every later stage starts from what this one saved."""
    from trustbase.data.labels import assumed
    from trustbase.data.load import load, source_digests
    from trustbase.data.save import load_dataset, save_dataset

    options, seed, answers = plan.finetune.data, plan.finetune.train.seed, TASKS[plan.finetune.task].answers
    apart = isinstance(plan.finetune.base, PlainOptions)
    calibrate = calibrates(plan.finetune.audit.dimensions, answers)
    target = stages.folder / "data"

    def compute() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix=".data.", suffix=".part", dir=stages.folder) as store:
            read: dict[str, Any] = {"answers": answers, "apart": apart, "calibrate": calibrate, "emit": stages.log}
            dataset = load(options, root=plan.root, seed=seed, store=Path(store), **read)
            changed = [f"data.{name}" for name, digest in sources.items() if dataset.facts["sources"][name]["digest"] != digest]
            if changed:
                raise DataError(f"{' and '.join(changed)} changed while being read", hint="run it again when nothing writes to it")
            save_dataset(dataset, target)
        return {"digest": dataset.digest}

    # none of these makes other rows: stride is asked of card and model, the others of where rows stand
    asked = options.model_dump(mode="json", exclude={"allow_unknown_tokens", "memory", "out_of_time", "stride"})
    if not calibrate:  # then its share makes no other rows either
        del asked["split"]["calibration"]
    if options.calibration is None:
        del asked["calibration"]
    sources = source_digests(options, root=plan.root)
    inputs = {"options": asked, "sources": sources, "seed": seed, "answers": answers, **({"apart": True} if apart else {})}
    stages.run("data", inputs=inputs, code=DATA_CODE, outputs=["data"], compute=compute, firm_after="train")
    dataset = load_dataset(target)
    if answers == "classes" and TASKS[plan.finetune.task].reads != "choices":  # labels of choices are their places
        for text in assumed(dataset.labels, groups=bool(options.groups)):
            stages.log("warning", text=text)
    return dataset


def read_later(stages: Stages, plan: Plan, dataset: Dataset) -> Dataset | None:
    """Rows that are audited beside the test rows, where the recipe names some."""
    options = plan.finetune.data
    if options.out_of_time is None:
        return None
    from trustbase.data.later import load_later
    from trustbase.data.save import load_dataset, save_dataset
    from trustbase.data.source import source_digest

    target = stages.folder / OUT_OF_TIME

    def compute() -> dict[str, Any]:
        later = load_later(options, dataset, root=plan.root, emit=stages.log)
        save_dataset(later, target)
        return {"digest": later.digest}

    texts = {"text", "text_pair", "question", "choices"}
    asked = options.model_dump(mode="json", include={*texts, "label", "groups", "missing", "quoted", "format", "split"})
    del asked["split"]["calibration"]
    source = source_digest(options.out_of_time, plan.root)
    named = [list(dataset.labels.names), dataset.template.source, dataset.splits["train"].digest]
    named += [dataset.facts["columns"]] if "columns" in dataset.facts else []
    inputs = {"options": asked, "source": source, "data": named}
    stages.run(OUT_OF_TIME, inputs=inputs, code=DATA_CODE, outputs=[OUT_OF_TIME], compute=compute)
    return load_dataset(target)


def describe_data(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel, later: Dataset | None = None) -> None:
    """The data card: the rows as data, and as the base model's tokenizer reads them; refused where it hardly reads them."""
    recipe, target = plan.finetune, stages.folder
    max_length, stride = recipe.train.max_length, recipe.data.stride

    def compute() -> dict[str, Any]:
        from trustbase.data.card import data_card
        from trustbase.data.card_page import card_markdown
        from trustbase.model.sequencer import CONTEXT, Sequencer
        from trustbase.model.tokenizer import load_tokenizer

        tokenizer, reading = load_tokenizer(base.folder), Sequencer.by_task(recipe.task, max_length, stride)
        stats = partial(reading.stats, tokenizer)
        card = data_card(dataset, tokenizer_stats=stats, licence=recipe.data.licence, later=later)
        if reading.form == CONTEXT:
            for name, split in dataset.splits.items():
                card["splits"][name]["answers"] = reading.answers(tokenizer, split.texts, split.labels)
        files.write_json(target / "data_card.json", card)
        files.write_text(target / "data_card.md", card_markdown(card))
        return {}

    inputs = {
        "data": dataset.digest,
        "base": base.digest,
        "max_length": max_length,
        "stride": stride,
        "task": recipe.task,
        "licence": recipe.data.licence,
        **({OUT_OF_TIME: [later.digest, later.facts]} if later is not None else {}),
    }
    outputs = ["data_card.json", "data_card.md"]
    stages.run("card", inputs=inputs, code=(*DATA_CODE, "model"), outputs=outputs, compute=compute, firm_after="train")
    _warn_of_unread(stages, plan, base, files.read_json(target / "data_card.json"))


def _warn_of_unread(stages: Stages, plan: Plan, base: BaseModel, card: Mapping[str, Any]) -> None:
    """Say what of the rows the base model does not read, in this run and in every one that finds the card made.

    Raises:
        DataError: it hardly reads them.
    """
    from trustbase.data.card import check_unknown_tokens
    from trustbase.data.languages import NOT_GUESSED

    warning = check_unknown_tokens(card, base=base.reference, allowed=plan.finetune.data.allow_unknown_tokens)
    parted = sum(part["tokens"].get("entities_parted", 0) for part in card["splits"].values())
    if parted:
        most = f"train.max_length ({plan.finetune.train.max_length})"
        text = f"{parted:,} texts have more than {most} tokens between their entities: what lies there is not read"
        stages.log("warning", text=text)
    if warning:
        stages.log("warning", text=warning)
    unread = card["splits"]["train"].get("answers", {}).get("not_read", 0)
    if unread:
        text = f"{unread:,} training answers lie where the model does not read: data.stride reads longer texts in windows"
        stages.log("warning", text=text)
    guesses = {part["languages"]["how"] for part in card["splits"].values()}
    for how in sorted(how for how in guesses if how.startswith(NOT_GUESSED)):
        stages.log("warning", text=f"languages of the texts were {how}")
