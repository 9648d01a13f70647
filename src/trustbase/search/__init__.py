"""Choosing before the expensive run: short trainings of a recipe, scored on text that is neither trained on nor audited."""
