"""Explanations: what of an input an answer hangs on, what all answers hang on, and whether the explanations are true."""
