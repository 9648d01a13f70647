"""The console command and `python -m trustbase.cli`: ready for signals first, and only then the imports that take time."""

from __future__ import annotations

import sys

from trustbase.cli.interrupt import install
from trustbase.errors import Interrupted


def main() -> None:
    """Run the command line; an interruption while it loads ends as one later does."""
    try:
        install()
        from trustbase.cli.main import main as begin
    except Interrupted as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    begin()


if __name__ == "__main__":
    main()
