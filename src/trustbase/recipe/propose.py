"""A recipe for a given file: what is proposed from a look at its columns, each line with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trustbase.errors import DataError, Problem, UsageError
from trustbase.model.options import DEFAULT_BASE
from trustbase.recipe.look import Column, Look
from trustbase.recipe.lookup import TASKS

_CHINESE_BASE = "hfl/chinese-roberta-wwm-ext"
_LABELS = ("label", "labels", "target", "class", "category", "y", "outcome", "sentiment", "标签", "类别")
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("query", "passage"),
    ("query", "title"),
    ("text", "text_pair"),
    ("text1", "text2"),
)
_GROUPS = {"sex", "gender", "race", "ethnicity", "religion", "disability", "nationality", "age_band", "age_group", "region", "性别", "民族"}
_ENTITIES = {"customer", "client", "patient", "user", "account", "person", "客户", "患者", "用户"}
_SPLITS = {"split", "part", "fold", "subset"}
_PARTS = {"train", "training", "validation", "valid", "val", "dev", "test", "testing"}
_POSITIVE = {"1", "yes", "true", "positive", "pos", "y", "是", "正面"}
_LENGTHS = (32, 64, 128, 256, 512)
_FEW_ROWS, _RARE = 1_000, 0.1
_SURE = 0.95


@dataclass(frozen=True)
class Proposal:
    """What of the file is what."""

    task: str
    label: Column
    texts: tuple[Column, ...]  # one, or the two of a pair; none where the text is made from the columns of a table
    shown: tuple[Column, ...]  # columns of a table that make the text
    groups: tuple[Column, ...]
    entity: Column | None
    split: Column | None


def propose(look: Look, *, task: str | None = None, label: str | None = None) -> str:
    """The text of a commented recipe.

    Args:
        look: at the file.
        task: what is to be predicted; found out where not given.
        label: column of the true label; found out where not given.

    Raises:
        UsageError: a task that this version cannot do.
        DataError: no column can be the label or the text, or the named one is not there; what was seen is in it.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"'{task}' is no task of this version", hint=f"it can do: {', '.join(TASKS)}")
    found = _found(look, task, label)
    lines = [*_head(look, found), *_data(look, found), *_training(look, found), *_limits(look, found)]
    return "\n".join(lines) + "\n"


def _found(look: Look, task: str | None, label: str | None) -> Proposal:
    split = next((column for column in look.columns if column.name.lower() in _SPLITS and _names_parts(column)), None)
    entity = next((column for column in look.columns if _is_entity(column)), None)
    aside = {column.name for column in (split, entity) if column is not None}
    others = [column for column in look.columns if column.name not in aside]
    truth = _label(look, label, others)
    others = [column for column in others if column.name != truth.name]
    texts = [column for column in others if column.reads_like_text]
    if task == "text-pair-classification" and len(texts) < 2:  # asked for: texts that repeat are texts too
        texts = sorted((column for column in others if not column.numeric and column.filled), key=_longest)[-2:]
        texts = [column for column in others if column in texts]
    pair = _pair(texts, named=task == "text-pair-classification")
    if task == "text-pair-classification" and pair is None:
        raise DataError(
            f"{look.reference}: no two columns read like texts", problems=_seen(look), hint="write the recipe by hand: trustbase init NAME"
        )
    groups = tuple(column for column in others if column.name.lower() in _GROUPS and 2 <= column.distinct <= 50)
    if pair is not None and task != "text-classification":
        return Proposal("text-pair-classification", truth, pair, (), groups, entity, split)
    if texts:
        longest = max(texts, key=_longest)
        return Proposal("text-classification", truth, (longest,), (), groups, entity, split)
    shown = tuple(column for column in others if column not in groups and column.filled and not (column.one_each and not column.numeric))
    if not shown:
        message = f"{look.reference}: no column is left that a model could read"
        raise DataError(message, problems=_seen(look), hint="name other columns by hand")
    return Proposal("text-classification", truth, (), shown, groups, entity, split)


def _label(look: Look, named: str | None, columns: Sequence[Column]) -> Column:
    if named is not None:
        found = look.column(named)
        if found.numeric and not found.can_be_label(look.looked_at) and found.distinct > 2:
            raise DataError(
                f"column '{named}' holds {found.distinct:,} different numbers: predicting numbers is a task that this version cannot do",
                hint="make classes of them, such as low and high, in a column of their own",
            )
        return found
    able = [column for column in columns if column.can_be_label(look.looked_at)]
    by_name = [column for name in _LABELS for column in able if column.name.lower() == name]
    if not able:
        raise DataError(f"{look.reference}: no column looks like a label", problems=_seen(look), hint="name it: --label COLUMN")
    ordinary = [column for column in able if column.name.lower() not in _GROUPS]
    return (by_name or ordinary or able)[0 if by_name else -1]


def _pair(texts: Sequence[Column], *, named: bool) -> tuple[Column, Column] | None:
    """Two texts that belong together: by their names, or where pairs were asked for, the only two."""
    by_name = {column.name.lower(): column for column in texts}
    for first, second in _PAIRS:
        if first in by_name and second in by_name:
            return by_name[first], by_name[second]
    return (texts[0], texts[1]) if named and len(texts) == 2 else None


def _longest(column: Column) -> float:
    return sum(column.tokens) / max(1, column.filled)


def _names_parts(column: Column) -> bool:
    return {value.strip().lower() for value in column.values} <= _PARTS


def _is_entity(column: Column) -> bool:
    """An identifier of people or the like that comes back in several rows."""
    name = column.name.lower().removesuffix("_id").removesuffix("id").rstrip("_")
    return name in _ENTITIES and 1 < column.distinct < 0.95 * column.filled and column.distinct > 0.05 * column.filled


def _seen(look: Look) -> list[Problem]:
    """Every column in a line."""
    return [Problem(column.name, _about(column, look.looked_at)) for column in look.columns]


def _about(column: Column, rows: int) -> str:
    kind = "texts" if column.reads_like_text else "numbers" if column.numeric else "names or codes"
    empty = f", {rows - column.filled:,} empty" if column.filled < rows else ""
    return f"{column.distinct:,} different {kind}{empty}"


def _head(look: Look, found: Proposal) -> Iterator[str]:
    part = "" if look.looked_at == look.rows else f" (of which {look.looked_at:,}, evenly spaced, were looked at)"
    yield f"# Proposed by `trustbase init --data` from a look at {look.rows:,} rows{part}. Every line is yours to change."
    yield f"task: {found.task}"
    columns = found.texts or found.shown
    letters = sum(column.filled for column in columns) or 1
    han = sum(column.han * column.filled for column in columns) / letters
    if han > 0.3:
        yield f"base: {_CHINESE_BASE}    # {han:.0%} of the letters are Chinese, which the default base cannot read; or, offline,"
        yield "    # a base of your own: trustbase run recipes/base-zh.yaml, then its bundle's folder here"
    else:
        yield f"base: {DEFAULT_BASE}    # reads English; another language wants another base"


def _data(look: Look, found: Proposal) -> Iterator[str]:
    yield "data:"
    yield f"  train: {_text(look.reference)}"
    if len(found.texts) == 2:
        yield f"  text: {_text(found.texts[0].name)}    # both read like texts, and their names belong together"
        yield f"  text_pair: {_text(found.texts[1].name)}"
    elif found.texts:
        yield f"  text: {_text(found.texts[0].name)}    # {_about(found.texts[0], look.looked_at)}, the longest"
    else:
        template = ", ".join(f"{column.name.replace('_', ' ')} {{{column.name}}}" for column in found.shown)
        yield f"  text: {_text(template)}    # no column reads like a text: a sentence of the others"
    shares = found.label.values.most_common()
    told = ", ".join(f"{name} {count / found.label.filled:.0%}" for name, count in shares[:5])
    more = ", …" if len(shares) > 5 else ""
    yield f"  label: {_text(found.label.name)}    # {len(shares)} labels: {told}{more}"
    if len(shares) == 2:
        positive = next((name for name, _ in shares if name.strip().lower() in _POSITIVE), shares[-1][0])
        why = "by its name" if positive.strip().lower() in _POSITIVE else "the rarer one"
        yield f"  positive: {_text(positive)}    # {why}: what a threshold and AUROC speak about"
    if found.groups:
        names = ", ".join(_text(column.name) for column in found.groups)
        yield f"  groups: [{names}]    # audited by these, and not shown to the model"
    if found.split is not None:
        yield f"  split: {{column: {_text(found.split.name)}}}    # the file says itself which rows are for testing"
    elif found.entity is not None:
        each = found.entity.filled / found.entity.distinct
        yield f"  split: {{by: {{entity: {_text(found.entity.name)}}}}}    # {each:.1f} rows each: nobody may stand in training and test"


def _training(look: Look, found: Proposal) -> Iterator[str]:
    yield "train:"
    rows = f"{look.rows:,} rows"
    yield f"  epochs: {5 if look.rows < _FEW_ROWS else 3}    # {rows}" + (": few, so more passes" if look.rows < _FEW_ROWS else "")
    longest, length = _length(look, found)
    yield f"  max_length: {length}    # 95 % of the rows have at most about {longest:.0f} tokens"
    if length > 128:
        yield f"  batch_tokens: {max(1024, 8 * length)}    # at least eight of the longest rows"
    rarest, count = found.label.values.most_common()[-1]
    if count < _RARE * found.label.filled:
        share = f"{count / found.label.filled:.1%}"
        yield f"  # class_weights: balanced    # '{rarest}' has {share} of the rows; scores are then no longer shares"
    yield "  seed: 0"


def _length(look: Look, found: Proposal) -> tuple[float, int]:
    """The 95 % quantile of the tokens of a row, about, and the usual length that holds it."""
    columns = found.texts or found.shown
    total = 3.0 + (2.0 * len(columns) if not found.texts else 0.0)
    for column in columns:
        ordered = sorted(column.tokens)
        total += ordered[min(len(ordered) - 1, int(_SURE * len(ordered)))] if ordered else 0.0
    return total, next((length for length in _LENGTHS if length >= 1.1 * total), _LENGTHS[-1])


def _limits(look: Look, found: Proposal) -> Iterator[str]:
    shares = [count / found.label.filled for count in found.label.values.values()]
    yield "purpose: {intended_use: say what it is for, owner: say who answers for it}"
    yield "gates:    # limits are yours to set, before anything is measured"
    yield f'  quality.accuracy: ">= {max(shares):.2f}"    # always answering the most frequent label comes to this'
    if min(shares) < _RARE:
        yield f'  quality.macro_f1: ">= {1 / len(shares):.2f}"    # accuracy hides what becomes of rare labels'
    for column in found.groups:
        yield f'  # fairness.demographic_parity_difference[{column.name}]: "<= 0.10"'
    yield '  # quality.gain_over_bag_of_words: ">= 0.0"    # whether the model is worth more than counting words'


def _text(value: str) -> str:
    """A string as YAML reads it back, plain where that is certain."""
    plain = value.isidentifier() and value.lower() not in {"y", "n", "yes", "no", "true", "false", "on", "off", "null"}
    return value if plain else json.dumps(value, ensure_ascii=False)
