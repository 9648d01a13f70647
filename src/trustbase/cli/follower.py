"""The command line in a launcher's other processes: it helps to train, and leaves all words, and the exit code, to the first one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from trustbase.cli import interrupt
from trustbase.errors import FirstProcessError, Interrupted


@contextmanager
def silent() -> Iterator[None]:
    """Say nothing that the first process says too, and end with 0 where it ends; what this process alone met comes out as ever.

    With 0, since a launcher ends all processes once one of them fails, and might end the first before it has said why.
    """
    from trustbase.train.launcher import follows

    if not follows():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except (SystemExit, FirstProcessError):
            raise SystemExit(0) from None
        except (Exception, Interrupted) as error:
            stopped = error if isinstance(error, Interrupted) else interrupt.pending()
            if stopped is None:
                raise
            raise SystemExit(stopped.exit_code) from None
