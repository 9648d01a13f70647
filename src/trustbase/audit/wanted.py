"""What users want asked beyond what every audit asks: the files that its options name, read, and found to fit the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from trustbase.audit.options import AuditOptions
from trustbase.audit.robustness.expectations import Expectations, read_expectations
from trustbase.audit.safety.policy import OutputPolicy, read_output_policy
from trustbase.data.cells import Reading
from trustbase.errors import ModelError, Problem, UsageError
from trustbase.records import ArtifactInfo, LabelSchema

JUDGE = "robustness.judge"
MODELS = ("explanation.fluent", JUDGE, "robustness.candidates")  # options that name a model beside the audited one
EMBEDDING = "embedding"  # names the input embeddings of a model that is open anyway


@dataclass(frozen=True, eq=False)
class Wanted:
    """Files of a user, as the audit's options name them.

    Attributes:
        forbidden: what must never be answered (`safety.policy`).
        expectations: what answers should do (`robustness.expectations`).
        models: of each model beside the audited one that the audit asks, by its option, where it stands and its digest.
    """

    forbidden: OutputPolicy | None = None
    expectations: Expectations | None = None
    models: Mapping[str, tuple[Path, str]] = field(default_factory=dict)

    def digests(self) -> Mapping[str, str]:
        """Of each file and model that there is."""
        found = {"forbidden": self.forbidden, "expectations": self.expectations}
        files = {name: file.digest for name, file in found.items() if file is not None}
        return files | {option: digest for option, (_, digest) in self.models.items()}

    def rooted(self, options: AuditOptions) -> AuditOptions:
        """The options with each model named by the folder where it was found, which is the same wherever somebody stands."""
        parts: dict[str, BaseModel] = {}
        for option, (folder, _) in self.models.items():
            dimension, _, name = option.partition(".")
            part = parts.get(dimension, getattr(options, dimension))
            if getattr(part, name) is not None:
                parts[dimension] = part.model_copy(update={name: str(folder)})
        return options.model_copy(update=parts)

    def refuse_unread(self, info: ArtifactInfo) -> None:
        """Refuse what this model cannot be asked, as it reads other columns.

        Raises:
            UsageError: every such place of every file.
        """
        files = [file for file in (self.forbidden, self.expectations) if file is not None]
        problems = [problem for file in files for problem in file.unread(Reading.of(info))]
        if problems:
            raise UsageError("files that the audit names do not fit this model", problems=problems)

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


def find_models(
    options: AuditOptions, root: Path, dimensions: Collection[str], *, option: str = "audit."
) -> Mapping[str, tuple[Path, str]]:
    """Models beside the audited one that the audit asks: option → folder and digest, so that another one makes another audit.

    Args:
        options: of the audit.
        root: folder that relative paths start from.
        dimensions: that are measured.
        option: what stands before the names of options, for messages.

    Raises:
        UsageError: a named one is not there, or is none; every one of them.
    """
    from trustbase.audit.masked_words import open_masked
    from trustbase.model.load import resolve_base, usual_base

    found: dict[str, tuple[Path, str]] = {}
    problems: list[Problem] = []
    for key in MODELS:
        dimension, _, name = key.partition(".")
        named = getattr(getattr(options, dimension), name)
        if dimension not in dimensions or named == EMBEDDING:
            continue
        try:
            base = usual_base() if named is None and key == JUDGE else None if named is None else resolve_base(named, root=root)
            if base is not None and key != JUDGE:
                open_masked(str(base.folder), option=key)  # whoever is to say which words fit must be able to
            if base is not None:
                found[key] = (base.folder, base.digest)
        except (UsageError, ModelError) as error:
            problems.append(Problem(f"{option}{key}", error.message, error.hint))
    if problems:
        raise UsageError("models that the audit names cannot be used", problems=problems)
    return found
