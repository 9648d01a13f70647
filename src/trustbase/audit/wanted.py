"""What users want asked beyond what every audit asks: the files that its options name, read, and found to fit the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trustbase.audit.options import AuditOptions
from trustbase.audit.robustness.expectations import Expectations, read_expectations
from trustbase.audit.safety.policy import OutputPolicy, read_output_policy
from trustbase.errors import Problem, UsageError
from trustbase.records import LabelSchema


@dataclass(frozen=True, eq=False)
class Wanted:
    """Files of a user, as the audit's options name them.

    Attributes:
        forbidden: what must never be answered (`safety.policy`).
        expectations: what answers should do (`robustness.expectations`).
    """

    forbidden: OutputPolicy | None = None
    expectations: Expectations | None = None

    def digests(self) -> Mapping[str, str]:
        """Of each file that there is."""
        found = {"forbidden": self.forbidden, "expectations": self.expectations}
        return {name: file.digest for name, file in found.items() if file is not None}

    def refuse_unfit(self, labels: LabelSchema, kind: str) -> None:
        """Refuse what cannot be meant of a model of these labels and this answer kind.

        Raises:
            UsageError: every such place of every file.
        """
        problems = [
            *(self.forbidden.unfit(labels, kind) if self.forbidden is not None else ()),
            *(self.expectations.unfit(labels.names, kind) if self.expectations is not None else ()),
        ]
        if problems:
            raise UsageError("files that the audit names do not fit this model", problems=problems)


def read_wanted(options: AuditOptions, root: Path, *, option: str = "audit.") -> Wanted:
    """Every file that the options name.

    Args:
        options: of the audit.
        root: folder that relative paths start from.
        option: what stands before the names of options, for messages: `audit.` in a recipe, `--budget ` in a call.

    Raises:
        UsageError: some cannot be used; every problem of all.
    """
    problems: list[Problem] = []
    forbidden, expectations = None, None
    try:
        if (named := options.safety.policy) is not None:
            forbidden = read_output_policy(named, root, where=f"{option}safety.policy")
    except UsageError as error:
        problems += error.problems
    try:
        if (named := options.robustness.expectations) is not None:
            expectations = read_expectations(named, root, where=f"{option}robustness.expectations")
    except UsageError as error:
        problems += error.problems
    if problems:
        raise UsageError("files that the audit names cannot be used", problems=problems)
    return Wanted(forbidden, expectations)
