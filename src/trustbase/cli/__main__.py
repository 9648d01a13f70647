"""`python -m trustbase.cli`."""

from trustbase.cli.main import main

if __name__ == "__main__":
    main()
