"""Rows from files: reading, checking, splitting, describing."""
