"""`python -m trustbase`: the console command, for launchers that start modules."""

from __future__ import annotations

from trustbase.cli.__main__ import main

if __name__ == "__main__":
    main()
