"""Limits set beforehand, verdicts, and the ledger of looks."""
