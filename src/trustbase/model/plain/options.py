"""What a recipe may say under `base: {kind: linear | tree | rules | boosting, …}`. Imports pydantic alone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

# What no training exceeds; files that do are refused when they are opened.
MOST_TERMS = 200_000
MOST_DEPTH = 12
MOST_RULES = 200
MOST_CONDITIONS = 6
MOST_ROUNDS = 5000
MOST_LEAVES = 1024
MOST_CATEGORIES = 250  # histogram boosting takes 255 bins


class PlainOptions(BaseModel):
    """What every model that is learned from words and columns, and not from a pretrained one, has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="linear, tree, rules or boosting")
    terms: int = Field(300, ge=1, le=MOST_TERMS, description="most words of each text that it reads, the most telling ones (chi-squared)")
    least_rows: int = Field(
        5, ge=1, description="training rows that a word or a category must occur in, or it is not read: what is read ships with the model"
    )


class LinearOptions(PlainOptions):
    """Logistic regression: a weight for each word, number and category."""

    terms: int = Field(20_000, ge=1, le=MOST_TERMS, description="most words and pairs of words that have a weight, the most frequent ones")
    steps: int = Field(
        8,
        ge=0,
        le=50,
        description="intervals of a number, each with a weight of its own, cut where the labels change most; 0: one weight, standardised",
    )
    c: float | None = Field(
        None, gt=0, description="inverse of the L2 penalty; absent: 10 for words alone, whose rows have length 1, and 1 with columns"
    )


class TreeOptions(PlainOptions):
    """A decision tree that can be read on one page."""

    depth: int = Field(4, ge=1, le=MOST_DEPTH, description="questions from the root to an answer, at most")
    least_leaf: int = Field(20, ge=1, description="training rows of every leaf, at least")


class RulesOptions(PlainOptions):
    """An ordered list of rules, of which the first that holds answers."""

    rules: int = Field(12, ge=1, le=MOST_RULES, description="rules before the last, which holds for all that is left")
    conditions: int = Field(3, ge=1, le=MOST_CONDITIONS, description="conditions of a rule, at most")
    least_leaf: int = Field(20, ge=1, description="training rows that every rule answers, at least")


class BoostingOptions(PlainOptions):
    """Histogram gradient boosting: strong on columns, and too many trees to read one by one."""

    rounds: int = Field(
        100,
        ge=1,
        le=MOST_ROUNDS,
        description="trees of each label, at most (of two, one): over 10,000 rows a tenth of the rows says when to stop",
    )
    learning_rate: float = Field(0.1, gt=0, le=1, description="how much of each tree's answer counts")
    leaves: int = Field(31, ge=2, le=MOST_LEAVES, description="leaves of a tree, at most")
    least_leaf: int = Field(20, ge=1, description="training rows of every leaf, at least")


PLAIN_OPTIONS: dict[str, type[PlainOptions]] = {
    "linear": LinearOptions,
    "tree": TreeOptions,
    "rules": RulesOptions,
    "boosting": BoostingOptions,
}
