"""What a proposed recipe says of its label column, for each answer kind: how it is told, what it holds, which limits it suggests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from trustbase.data.columns import fit_but_for_slips, number_of
from trustbase.data.rows import has_decimal_comma, in_quotes
from trustbase.errors import DataError, Problem
from trustbase.recipe.look import Column, Look
from trustbase.recipe.propose_parts import entity_types, unanswered
from trustbase.recipe.written import in_comment

SEPARATOR = ";"
_RARE = 0.1
_LONGEST_NAME, _MOST_NAMES = 40, 200
_MOST_SHOWN = 3  # cells that do not fit
_POSITIVE = {"1", "yes", "true", "positive", "pos", "y", "是", "正面"}
_NUMBERS = ("price", "score", "rating", "value", "amount", "risk", "target", "label", "y", "价格", "评分", "金额", "分数")
_TASKS = {"classes": "text-classification", "labels": "multi-label-classification", "number": "regression"}


def kind_of(truth: Column, look: Look) -> str:
    """The answer kind that a label column's cells speak for."""
    if label_names(truth) is not None:
        return "labels"
    return "number" if truth.numeric and not truth.can_be_label(look.looked_at) and truth.distinct > 2 else "classes"


def unfit_cells(truth: Column, kind: str) -> Counter[str]:
    """Cells of a label column that cannot be the truth of an answer kind, so that their rows are refused; of classes every cell can."""
    read: dict[str, Callable[[str], object]] = {"number": number_of, "labels": _names}
    return truth.unfit(read[kind]) if kind in read else Counter()


def task_of(kind: str) -> str:
    """The task of single texts with answers of this kind."""
    return _TASKS[kind]


def label_names(column: Column) -> Counter[str] | None:
    """Rows of each name in cells that hold several; None where they hold none, or one each.

    Cells are JSON lists of names, or names with semicolons between them that come back in other cells.
    """
    found: Counter[str] = Counter()
    several = fitting = 0
    for cell, count in column.values.items():
        names = _names(cell)
        if names is None or any(len(name) > _LONGEST_NAME for name in names):
            continue
        fitting += count
        several += count * (len(names) != 1 or cell.strip().startswith("["))
        found.update(dict.fromkeys(names, count))
    several = several and fit_but_for_slips(fitting, column.filled)
    return found if several and 1 <= len(found) <= min(_MOST_NAMES, max(2, column.filled // 2)) else None


def _names(cell: str) -> list[str] | None:
    if not cell.strip().startswith("["):
        return [name.strip() for name in cell.split(SEPARATOR) if name.strip()]
    try:
        names = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return names if all(isinstance(name, str) for name in names) else None


def refuse_label(column: Column, kind: str) -> None:
    """Refuse a label column that cannot be the truth of an answer kind that was asked for.

    Raises:
        DataError: it holds something else.
    """
    if kind == "number" and not column.numeric:
        other = column.unfit(number_of)
        shown = ", ".join(in_quotes(cell, 20) for cell in list(other)[:_MOST_SHOWN])
        message = f"holds more than numbers: {other.total():,} of {column.filled:,} cells are none, such as {shown}"
        commas = any(map(has_decimal_comma, other))
        hint = "write 1234.5 for 1,234.5 and for 1.234,5" if commas else "name the column of numbers: --label COLUMN"
        problem = Problem(column.name, message, hint)
        raise DataError(f"column '{column.name}' cannot be the truth of a regression", problems=[problem])
    if kind == "labels" and label_names(column) is None:
        problem = Problem(column.name, "holds neither JSON lists of names nor names with semicolons between them", "--label COLUMN")
        raise DataError(f"column '{column.name}' cannot hold any number of labels", problems=[problem])


def refuse_no_classes(column: Column) -> None:
    """Refuse a named label column whose cells hardly repeat: there is nothing to learn about a label of one row.

    Raises:
        DataError: it is one.
    """
    if column.distinct > _MOST_NAMES and column.distinct > 0.5 * column.filled:
        message = f"column '{column.name}' holds {column.distinct:,} different values in {column.filled:,} rows, which are no labels"
        commas = any(map(has_decimal_comma, column.values))
        hint = "if these are numbers, write 1234.5 for 1,234.5 and for 1.234,5" if commas else "name the column of labels: --label COLUMN"
        raise DataError(message, hint=hint)


def able(columns: Sequence[Column], kind: str | None, look: Look) -> list[Column]:
    """Columns that can be the truth of an answer kind; of classes or labels where none was asked for."""
    if kind == "number":
        found = [column for column in columns if column.numeric and column.distinct > 2]
        return sorted(found, key=lambda column: column.name.lower() in _NUMBERS)  # the last one is taken
    several = [column for column in columns if label_names(column) is not None]
    if kind == "labels":
        return several
    single = [column for column in columns if column.can_be_label(look.looked_at) and column not in several]
    return single if kind == "classes" else [*single, *several]


def about_label(truth: Column, kind: str) -> str:
    """What the label column holds, in a few words."""
    if kind == "number":
        numbers = _numbers(truth)
        low, middle, high = np.quantile(numbers, [0.1, 0.5, 0.9])
        return f"numbers, the middle one {middle:g}; eight of ten lie between {low:g} and {high:g}"
    if kind == "labels":
        names = label_names(truth) or Counter()
        return f"any number of {len(names)} labels: {_shares(names, truth.filled)}"
    if kind == "tokens":
        types = entity_types(truth)
        return f"entities of {len(types)} types; rows that have one: {_shares(types, truth.filled)}"
    if kind == "span":
        return f"answers to questions, characters of the text; {unanswered(truth) / truth.filled:.0%} of the rows have none"
    return f"{len(truth.values)} labels: {_shares(truth.values, truth.filled)}"


def _shares(names: Counter[str], rows: int) -> str:
    most = sorted(names.items(), key=lambda item: (-item[1], item[0]))[:5]  # a set's order must not decide between equals
    told = ", ".join(f"{in_comment(name)} {count / rows:.0%}" for name, count in most)
    return told + (", …" if len(names) > 5 else "")


def positive_label(truth: Column) -> tuple[str, str] | None:
    """The positive one of two labels, and why it; None where there are more."""
    shares = truth.values.most_common()
    if len(shares) != 2:
        return None
    positive = next((name for name, _ in shares if name.strip().lower() in _POSITIVE), shares[-1][0])
    return positive, "by its name" if positive.strip().lower() in _POSITIVE else "the rarer one"


def limits(truth: Column, kind: str, groups: Sequence[Column]) -> Iterator[str]:
    """Limits that the simplest answer would come to, so that they say something."""
    if kind == "number":
        yield f'  quality.rmse: "<= {float(_numbers(truth).std()):.4g}"    # always answering the mean comes to this'
        yield '  quality.interval_coverage: ">= 0.85"    # intervals are made for 90 % of the rows (decision.coverage)'
        yield from (f'  # fairness.mae_difference[{column.name}]: "<= …"    # in the label\'s unit' for column in groups)
    elif kind == "labels":
        share = sum((label_names(truth) or Counter()).values()) / (truth.filled * len(label_names(truth) or [1]))
        yield f'  quality.micro_f1: ">= {2 * share / (1 + share):.2f}"    # always answering every label comes to this'
        yield from (f'  # fairness.exact_match_difference[{column.name}]: "<= 0.10"' for column in groups)
    else:
        shares = [count / truth.filled for count in truth.values.values()]
        yield f'  quality.accuracy: ">= {max(shares):.2f}"    # always answering the most frequent label comes to this'
        if min(shares) < _RARE:
            yield f'  quality.macro_f1: ">= {1 / len(shares):.2f}"    # accuracy hides what becomes of rare labels'
        yield from (f'  # fairness.demographic_parity_difference[{column.name}]: "<= 0.10"' for column in groups)
    yield '  # quality.gain_over_bag_of_words: ">= 0.0"    # whether the model is worth more than counting words'


def _numbers(truth: Column) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.repeat([float(value) for value in truth.values], list(truth.values.values()))
