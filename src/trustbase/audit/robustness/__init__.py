"""Robustness: what answers do when inputs change, when somebody changes them on purpose, and when they are of another kind."""
