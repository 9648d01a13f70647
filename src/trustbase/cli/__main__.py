"""The console command and `python -m trustbase.cli`: ready for signals first, and only then the imports that take time."""

from __future__ import annotations

import sys

try:
    import os
    import signal
except KeyboardInterrupt:  # these few milliseconds too; what came before is the interpreter's own start
    sys.stderr.write("error: stopped by Ctrl-C before anything began\n")
    raise SystemExit(130) from None

_TOLD: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "signal 15"}


def main() -> None:
    """Run the command line; a signal while it loads ends it with one line and the exit code of any later one."""
    for number in _TOLD:
        signal.signal(number, _end)  # `trustbase.cli.main` puts its own in place as soon as it runs
    from trustbase.cli.main import main as begin

    begin()


def _end(number: int, frame: object) -> None:
    """Nothing was begun, so there is nothing to leave in order: an exception could be lost in somebody's import, this cannot."""
    os.write(2, f"error: stopped by {_TOLD[number]} before anything began; the same command goes on from here\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
