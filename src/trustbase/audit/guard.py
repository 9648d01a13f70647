"""One number that breaks must not take the others with it, and must never become a number itself."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from trustbase.audit.context import AuditContext
from trustbase.data.groups import LEAST_NAMED
from trustbase.errors import Interrupted
from trustbase.records import Direction, Finding

LEAST_ROWS = 10  # of each label, under which intervals of rankings, losses and summed F1 were seen to cover less than they claim
LEAST_ALARMS = 10  # false alarms that a rate allows, under which the threshold is known too badly for an interval
NAMED_ROWS = LEAST_NAMED  # no slice of fewer rows is looked at, whatever the minimum of a group's cell

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

Result = TypeVar("Result")


def of_the_disk(error: BaseException) -> bool:
    """Whether a disk is full or broken: that says nothing of the model, and the same command goes on where there is room again."""
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def attempt(context: AuditContext, what: str, measure: Callable[[], Result]) -> Result | str:
    """The result, or the reason why there is none; interruptions and full disks are none of these and go on their way."""
    try:
        return measure()
    except Interrupted:
        raise
    except Exception as error:  # seen as a warning here, and as a failed finding by the caller
        if of_the_disk(error):
            raise
        reason = f"{type(error).__name__}: {error}"
        context.emit("warning", text=f"{what} could not be measured: {reason}", finding=what)
        return reason


def guarded(context: AuditContext, id: str, direction: Direction, measure: Callable[[], Finding]) -> Finding:
    """The finding that `measure` makes; where it raises, a `failed` finding of this id with the reason."""
    made = attempt(context, id, measure)
    return made if isinstance(made, Finding) else failed(context, id, direction, str(made))


def failed(context: AuditContext, id: str, direction: Direction, reason: str, **fields: Any) -> Finding:
    """A finding that could not be measured."""
    return Finding.without_value(id, "failed", reason, direction=direction, confidence=context.confidence, **fields)
