"""Measured findings with intervals, one file per dimension. Called as a function, it is `trustbase audit`."""

from trustbase.callable_folder import make_callable

make_callable(__name__, "trustbase.audit_command:audit")
