"""The command line: translates options, calls a plain function, prints."""
