"""Recorded reasons in the reader's language: the forms that the audits use, found by pattern; any other reason stands as recorded."""

from __future__ import annotations

import re

from trustbase.report.words import Words

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("left_out", re.compile(r"left out, as fewer than (?P<minimum>\d+): (?P<groups>.+)", re.DOTALL)),
    ("no_train", re.compile(r"no training rows were given, so no rival could be trained")),
    ("no_scores", re.compile(r"only answers were given, no scores|the answers came without scores, .+")),
    ("no_model", re.compile(r"answers were given without a model, .+")),
    ("no_columns", re.compile(r"the text is one plain column, so there are no raw columns to learn from")),
    ("no_groups", re.compile(r"the data name no group columns .+")),
    ("binary_only", re.compile(r"speaks about one label against another; this task has (?P<n>\d+)")),
    ("few_rows", re.compile(r"(?:only )?(?P<n>[\d,]+) rows(?: .*)?, fewer than (?:the minimum of )?(?P<minimum>\d+)", re.DOTALL)),
    ("two_groups", re.compile(r"a gap needs two groups of at least (?P<minimum>\d+) rows(?:; .+)?", re.DOTALL)),
    ("no_finding", re.compile(r"the report has no such finding(?:; the nearest is '(?P<near>.+)')?", re.DOTALL)),
)


def reason_in(reason: str, t: Words) -> str:
    """The reason in the language of `t`; as recorded, and said to be so, where its form is not known."""
    if not reason or t.lang == "en":
        return reason
    for name, pattern in _FORMS:
        match = pattern.fullmatch(reason)
        if match is not None:
            return t(f"reason.{name}", **{key: value or "–" for key, value in match.groupdict().items()})
    return t("page.recorded", reason=reason)
