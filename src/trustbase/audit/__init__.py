"""Measured findings with intervals, one file per dimension."""
