"""A recipe for a given file: what is proposed from a look at its columns, each line with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from trustbase.data.columns import fit_but_for_slips
from trustbase.errors import DataError, Problem, UsageError
from trustbase.escapes import escaped
from trustbase.model.options import DEFAULT_BASE
from trustbase.recipe.look import Column, Look
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.propose_answers import (
    able,
    about_label,
    kind_of,
    limits,
    positive_label,
    refuse_label,
    refuse_no_classes,
    task_of,
    unfit_cells,
)
from trustbase.recipe.propose_beside import about_unfit, left_out, other_labels, tolerance
from trustbase.recipe.propose_parts import Parts, find_parts, limits_of_parts
from trustbase.recipe.written import can_be_named, in_comment, yaml_text

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
_PARTS = {"train", "training", "validation", "valid", "val", "dev", "test", "testing", "calibration"}
_LENGTHS = (32, 64, 128, 256, 512)
_FEW_ROWS, _RARE = 1_000, 0.1
_SURE = 0.95
_WINDOW, _STRIDE = 384, 128  # of texts that are searched for an answer, and at most of those that are read in windows


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
    parts: Parts | None = None  # where a row is more than texts and a label
    unfit: Mapping[str, int] = field(default_factory=dict)  # cells of the label column that tell none, and that `label` is without

    @property
    def taken(self) -> set[str]:
        """Names of the columns that the recipe reads, its label among them."""
        beside = self.parts.columns if self.parts is not None else ()
        named = (self.label, *self.texts, *self.shown, *self.groups, *beside, *filter(None, (self.entity, self.split)))
        return {column.name for column in named}

    @property
    def answers(self) -> str:
        """The answer kind of the task."""
        return TASKS[self.task].answers


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
    return "".join(f"{escaped(line)}\n" for line in lines)


def _found(look: Look, task: str | None, label: str | None) -> Proposal:
    split = next((column for column in look.columns if column.name.lower() in _SPLITS and _names_parts(column)), None)
    entity = next((column for column in look.columns if _is_entity(column)), None)
    aside = {column.name for column in (split, entity) if column is not None}
    others = [column for column in look.columns if column.name not in aside]
    parts = find_parts(look, _nameable(others), task, label, yaml_text, partial(_refusal, look))
    if parts is not None:
        taken = {column.name for column in (parts.label, parts.text, *parts.beside)}
        return Proposal(parts.task, parts.label, (parts.text,), (), _groups(others, taken), entity, split, parts, parts.unfit)
    truth = _label(look, label, others, None if task is None else TASKS[task].answers)
    kind = TASKS[task].answers if task is not None else kind_of(truth, look)
    others = _nameable([column for column in others if column.name != truth.name])
    unfit = unfit_cells(truth, kind)
    truth = truth.without(unfit)
    texts = [column for column in others if column.reads_like_text]
    if task == "text-pair-classification" and len(texts) < 2:  # asked for: texts that repeat are texts too
        texts = sorted((column for column in others if not column.numeric and column.filled), key=_longest)[-2:]
        texts = [column for column in others if column in texts]
    pair = _pair(texts, named=task == "text-pair-classification")
    if task == "text-pair-classification" and pair is None:
        raise DataError(
            f"{look.reference}: no two columns read like texts", problems=_seen(look), hint="write the recipe by hand: trustbase init NAME"
        )
    groups = _groups(others, set())
    if pair is not None and kind == "classes" and task != "text-classification":
        return Proposal("text-pair-classification", truth, pair, (), groups, entity, split, unfit=unfit)
    if texts:
        longest = max(texts, key=_longest)
        return Proposal(task_of(kind), truth, (longest,), (), groups, entity, split, unfit=unfit)
    shown = tuple(column for column in others if column not in groups and _tells(column))
    if not shown:
        message = f"{look.reference}: no column is left that a model could read"
        odd = any(not can_be_named(column.name) for column in look.columns)
        hint = "rename columns that have braces or control characters in their name" if odd else "name other columns by hand"
        raise DataError(message, problems=_seen(look), hint=hint)
    return Proposal(task_of(kind), truth, (), shown, groups, entity, split, unfit=unfit)


def _nameable(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if can_be_named(column.name)]


def _tells(column: Column) -> bool:
    """Whether a column of a table can stand in a sentence: it has a name, and there is something in it, other than a name of each row."""
    return column.name != "" and column.filled > 0 and not (column.one_each and not column.numeric)


def _groups(columns: Sequence[Column], taken: set[str]) -> tuple[Column, ...]:
    return tuple(c for c in columns if c.name.lower() in _GROUPS and 2 <= c.distinct <= 50 and c.name not in taken)


def _refusal(look: Look, message: str, hint: str) -> DataError:
    return DataError(message, problems=_seen(look), hint=hint)


def _label(look: Look, named: str | None, columns: Sequence[Column], kind: str | None) -> Column:
    if named is not None:
        found = look.column(named)
        if kind is not None:
            refuse_label(found, kind)
        if kind == "classes" and kind_of(found, look) == "number":
            raise DataError(
                f"column '{named}' holds {found.distinct:,} different numbers, which are no labels",
                hint="predict them as numbers with --task regression, or make classes of them in a column of their own",
            )
        if kind_of(found, look) == "classes" and kind in (None, "classes"):
            refuse_no_classes(found)
        return found
    possible = able(columns, kind, look)
    by_name = [column for name in _LABELS for column in possible if column.name.lower() == name]
    if not possible:
        raise DataError(f"{look.reference}: no column looks like a label", problems=_seen(look), hint="name it: --label COLUMN")
    ordinary = [column for column in possible if column.name.lower() not in _GROUPS]
    return (by_name or ordinary or possible)[0 if by_name else -1]


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
    return fit_but_for_slips(column.filled - column.unfit(_part_of).total(), column.filled)


def _part_of(cell: str) -> str | None:
    """The part that a cell names; None where it names none."""
    name = cell.strip().lower()
    return name if name in _PARTS else None


def _is_entity(column: Column) -> bool:
    """An identifier of people or the like that comes back in several rows."""
    name = column.name.lower().removesuffix("_id").removesuffix("id").rstrip("_")
    return name in _ENTITIES and 1 < column.distinct < 0.95 * column.filled and column.distinct > 0.05 * column.filled


def _seen(look: Look) -> list[Problem]:
    """Every column in a line."""
    return [Problem(in_comment(column.name), _about(column, look.looked_at)) for column in look.columns]


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
    yield f"  train: {yaml_text(look.reference)}"
    if len(found.texts) == 2:
        yield f"  text: {yaml_text(found.texts[0].name)}    # both read like texts, and their names belong together"
        yield f"  text_pair: {yaml_text(found.texts[1].name)}"
    elif found.texts:
        yield f"  text: {yaml_text(found.texts[0].name)}    # {_about(found.texts[0], look.looked_at)}, the longest"
    else:
        template = ", ".join(f"{column.name.replace('_', ' ')} {{{column.name}}}" for column in found.shown)
        yield f"  text: {yaml_text(template)}    # no column reads like a text: a sentence of the others"
    if found.parts is not None:
        yield from (f"  {line}" for line in found.parts.lines)
        length = _length(look, found)[1]
        if TASKS[found.task].reads in ("units", "context") and _row_tokens(found, 1.0) > length:
            yield f"  stride: {min(_STRIDE, length // 2)}    # longer texts are read in windows that overlap by so many tokens"
    yield f"  label: {yaml_text(found.label.name)}    # {about_label(found.label, found.answers)}{about_unfit(found.unfit)}"
    if found.parts is None:
        aside = {column.name for column in (found.entity, found.split, *found.groups, *found.texts) if column is not None}
        yield from other_labels(look.columns, found.label, look, aside)
    if found.answers == "classes" and found.parts is None and (positive := positive_label(found.label)) is not None:
        yield f"  positive: {yaml_text(positive[0])}    # {positive[1]}: what a threshold and AUROC speak about"
    if found.groups:
        names = ", ".join(yaml_text(column.name) for column in found.groups)
        yield f"  groups: [{names}]    # audited by these, and not shown to the model"
    if found.split is not None:
        yield f"  split: {{column: {yaml_text(found.split.name)}}}    # the file says itself which rows are for testing"
    elif found.entity is not None:
        each = found.entity.filled / found.entity.distinct
        why = f"{each:.1f} rows each: nobody may stand in training and test"
        yield f"  split: {{by: {{entity: {yaml_text(found.entity.name)}}}}}    # {why}"
    yield from left_out(look, found.taken)
    yield from tolerance(look, _refused(look, found))


def _refused(look: Look, found: Proposal) -> dict[str, int]:
    """Why rows would be refused, as far as a look at single columns shows it → how many."""
    unfit = sum(found.unfit.values())
    refused = {"without a label": look.looked_at - found.label.filled - unfit, "whose label is none": unfit}
    whole = (*found.texts, *(found.parts.columns if found.parts is not None else ()))  # columns that are read as they stand
    names = dict.fromkeys(column.name for column in (*whole, found.entity, found.split) if column is not None)
    refused |= {f"without '{name}'": look.looked_at - look.column(name).filled for name in names if name != found.label.name}
    if found.split is not None:
        refused["of no part"] = found.split.unfit(_part_of).total()
    return refused


def _training(look: Look, found: Proposal) -> Iterator[str]:
    yield "train:"
    rows = f"{look.rows:,} rows"
    yield f"  epochs: {5 if look.rows < _FEW_ROWS else 3}    # {rows}" + (": few, so more passes" if look.rows < _FEW_ROWS else "")
    longest, length = _length(look, found)
    yield f"  max_length: {length}    # 95 % of the rows have at most about {longest:.0f} tokens"
    if length > 128:
        yield f"  batch_tokens: {max(1024, 8 * length)}    # at least eight of the longest rows"
    rarest, count = found.label.values.most_common()[-1]
    if found.answers == "classes" and found.task != "multiple-choice" and count < _RARE * found.label.filled:
        share = f"{count / found.label.filled:.1%}"
        yield f"  # class_weights: balanced    # '{in_comment(rarest)}' has {share} of the rows; scores are then no longer shares"
    yield "  seed: 0"


def _length(look: Look, found: Proposal) -> tuple[float, int]:
    """The 95 % quantile of the tokens of a row, about, and the usual length that holds it."""
    total = _row_tokens(found, _SURE)
    length = next((length for length in _LENGTHS if length >= 1.1 * total), _LENGTHS[-1])
    return total, min(length, _WINDOW) if found.task == "question-answering" else length


def _row_tokens(found: Proposal, share: float) -> float:
    """About so many tokens have most rows, that share of them, as the model reads them at once."""
    total = 3.0 + (2.0 * len(found.shown) if not found.texts else 0.0)
    total += sum(_quantile(column, share) for column in found.texts or found.shown)
    beside = [_quantile(column, share) for column in found.parts.beside] if found.parts is not None else [0.0]
    return total + max(beside, default=0.0)  # of choices, each is read with the question by itself


def _quantile(column: Column, share: float) -> float:
    ordered = sorted(column.tokens)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _limits(look: Look, found: Proposal) -> Iterator[str]:
    yield "purpose:    # in your words; what is left empty stands in card and report as not stated"
    yield "  intended_use:    # what it is for, and by whom it is used"
    yield "  owner:    # who answers for it"
    yield "gates:    # limits are yours to set, before anything is measured"
    yield from limits(found.label, found.answers, found.groups) if found.parts is None else limits_of_parts(found.parts, found.groups)
