"""The report a person reads, in English and Chinese. Called as a function, it is `trustbase report`."""

from trustbase.callable_folder import make_callable

make_callable(__name__, "trustbase.report.html:report")
