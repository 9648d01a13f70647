"""Stands in for ModelScope's package, which no test here has: the one call that Trustbase makes, with the parameters that it has there."""
