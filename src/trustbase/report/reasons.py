"""Recorded reasons, methods and remarks in the reader's language; one of an unknown form stands as recorded, and so said."""

from __future__ import annotations

from trustbase.report.words import Words


def reason_in(reason: str, t: Words) -> str:
    """Why something was not measured, left out or refused, in the language of `t`."""
    return _in_words("reason", reason, t)


def method_in(method: str, t: Words) -> str:
    """How something was measured, in the language of `t`."""
    return _in_words("method", method, t)


def remark_in(remark: str, t: Words) -> str:
    """What reading the data found, in the language of `t`."""
    return _in_words("remark", remark, t)


def why_in(why: str, t: Words) -> str:
    """Why an artefact has the form that it has, in the language of `t`."""
    return _in_words("why", why, t)


def _in_words(family: str, text: str, t: Words) -> str:
    if not text:
        return ""
    told = t.recorded(family, text)
    return t("page.recorded", reason=text) if told is None else told
