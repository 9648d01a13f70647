"""Rows from files: reading, checking, splitting, describing. Called as a function, it is `trustbase data`."""

from trustbase.callable_folder import make_callable

make_callable(__name__, "trustbase.data_command:data")
