"""Every error Trustbase raises on purpose.

TrustbaseError                     exit 1
├── UsageError                     exit 2   a command or function was called in a way that cannot work
│   ├── RecipeError                exit 2   the recipe asks for something wrong or impossible (all problems at once)
│   └── DataError                  exit 2   the data cannot be read as described (all problems at once)
├── ModelError                     exit 1   a base model or artefact cannot be loaded or does not do what was saved
├── TrainingError                  exit 1   training stopped itself (NaN, reload mismatch …)
├── PredictionError                exit 1   one or more questions to a model failed
├── StaleRunError                  exit 1   the run folder holds results of other inputs
├── FirstProcessError              exit 1   a launcher's other processes: the first one ended with an error, and tells it
└── VerificationError              exit 4   a bundle is not what its signer released

Interrupted                        exit 130/143  stopped by a signal; the state left behind is resumable. Like KeyboardInterrupt
                                   no Exception: nothing that catches errors may swallow a signal or make a failed finding of it
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and what to do about it."""

    where: str  # "recipe.yaml:12", "train.csv:48", "data.text"
    message: str  # what must be, what was got, why
    hint: str = ""  # the next step

    @property
    def said(self) -> str:
        """Where and what."""
        return f"{self.where}: {self.message}" if self.where else self.message

    def __str__(self) -> str:
        return f"{self.said} ({self.hint})" if self.hint else self.said


class _Told(BaseException):
    """Says what, got, why and the next step.

    Args:
        message: what is wrong, what was found, and why it matters.
        hint: the next step for the reader.
        problems: every problem found, where there is more than one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)
        super().__init__(message)

    def __str__(self) -> str:
        return self.text()

    def text(self, most: int | None = None) -> str:
        """All of it in lines; of more than `most` problems the first ones, and how many there are beside them."""
        shown = self.problems[:most]
        lines = [self.message, *(f"  {problem}" for problem in shown)]
        if len(shown) < len(self.problems):
            lines.append(f"  … and {len(self.problems) - len(shown):,} more")
        if self.hint and all(problem.hint != self.hint for problem in self.problems):
            lines.append(f"Next: {self.hint}")
        return "\n".join(lines)


class TrustbaseError(_Told, Exception):
    """Base of all deliberate errors."""


def problems_of(error: TrustbaseError, where: str) -> list[Problem]:
    """What an error says, to stand among the problems of others: its hint goes with the last, unless one of them gives it already.

    Args:
        error: it.
        where: its place, where it names no problem of its own.
    """
    found = list(error.problems) or [Problem(where, error.message)]
    if error.hint and all(problem.hint != error.hint for problem in found):
        last = found[-1]
        found[-1] = replace(last, hint=f"{last.hint}; {error.hint}" if last.hint else error.hint)
    return found


class UsageError(TrustbaseError):
    """A command or function was called in a way that cannot work."""

    exit_code = 2


class RecipeError(UsageError):
    """The recipe is wrong or asks for the impossible; carries all problems."""


class DataError(UsageError):
    """The data cannot be read as the recipe describes it; carries all problems."""


class ModelError(TrustbaseError):
    """A base model, checkpoint or artefact cannot be loaded as what it claims to be."""


class TrainingError(TrustbaseError):
    """Training stopped itself; the last good state is on disk."""


class PredictionError(TrustbaseError):
    """At least one question to a model failed; never turned into a score."""


class StaleRunError(TrustbaseError):
    """The run folder was made from other inputs than those now given."""


#: system errors about a path that somebody named: mended by naming another, or by removing what stands there
_PATHS = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY, errno.ENODEV, errno.ENXIO),
}
_WORD = re.compile("(veri)(fied)", re.IGNORECASE)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def from_system(error: OSError, doing: str = "") -> TrustbaseError:
    """What the operating system refused, with the path it was about (or what was being done) and the next step."""
    words = error.strerror or str(error)
    path = str(error.filename) if error.filename is not None else ""
    shown = path if len(path) <= 200 else f"{path[:100]}…{path[-60:]}"
    message = f"{shown or doing or 'the system refused'}: {words}"
    if error.errno in _FULL:
        hint = "free or allow more disk space (TMPDIR included), and run the same command again: what is whole on disk is kept"
        return TrustbaseError(f"{message}; the disk, or the size that a file may have, is used up", hint=hint)
    if error.errno in _PATHS:
        return UsageError(message, hint="check that path: name another, or remove or rename what stands there")
    return TrustbaseError(message, hint="mend what the system names, and run the same command again")


@contextmanager
def system_errors_told(doing: str = "") -> Iterator[None]:
    """Turn what the operating system refuses into an error that says what to do; only what has a number of the system's."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise from_system(error, doing) from error


class Interrupted(_Told):
    """A signal stopped the run; the same command resumes it. No handler of errors catches it."""

    def __init__(self, message: str, *, signal_number: int = 2, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


class FirstProcessError(TrustbaseError):
    """The first of several processes ended with an error; this is one of the others, and has nothing to add."""


def told(error: TrustbaseError) -> dict[str, Any]:
    """An error as JSON, for another process."""
    problems = [[each.where, each.message, each.hint] for each in error.problems]
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "problems": problems}


def told_again(said: Mapping[str, Any], default: type[TrustbaseError]) -> TrustbaseError:
    """The error that another process told, of its own kind where that is known here."""
    named = globals().get(said["kind"])
    kind = named if isinstance(named, type) and issubclass(named, TrustbaseError) else default
    problems = [Problem(*each) for each in said["problems"]]
    error: TrustbaseError = kind(said["message"], hint=said["hint"], problems=problems)
    return error


class VerificationError(TrustbaseError):
    """A bundle was altered, is incomplete, or was signed by nobody the user trusts."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        # A file can bear any name: no refusal may hold the word that says the opposite.
        told = [Problem(_broken(problem.where), _broken(problem.message), _broken(problem.hint)) for problem in problems]
        super().__init__(_broken(message), hint=_broken(hint), problems=told)


def _broken(text: str) -> str:
    return _WORD.sub(r"\1…\2", text)
