"""Personal data that has a form: found by pattern and, where there is one, checksum; replaced by a placeholder that names its kind.

Names, addresses and anything else without a fixed form are not recognised: a scrubbed text is not free of personal data. Internationalised
e-mail addresses, resident numbers of 15 digits (no checksum) and bare host names are not recognised either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from ipaddress import AddressValueError, IPv4Address, IPv6Address

#: In the order in which they claim characters: an address inside a URL is part of the URL.
KINDS = ("url", "email", "resident_id", "bank_card", "phone", "ip")
PLACEHOLDERS = {kind: f"<{kind.upper()}>" for kind in KINDS}

_WIDE = "０１２３４５６７８９" + "".join(map(chr, range(0xFF21, 0xFF3B))) + "".join(map(chr, range(0xFF41, 0xFF5B))) + "＠．－＋（）：／＿"
_NARROW = str.maketrans(_WIDE, "".join(chr(ord(sign) - 0xFEE0) for sign in _WIDE))
_ANY_WIDE = re.compile(f"[{_WIDE}]")


@dataclass(frozen=True)
class Match:
    """One piece of personal data: its kind and where it stands."""

    kind: str
    start: int
    end: int


def find(text: str, kinds: Iterable[str] = KINDS) -> list[Match]:
    """Every piece of personal data of these kinds, in order, none overlapping another.

    Args:
        text: any text; digits and signs of full width count as those of half width.
        kinds: of `KINDS`.
    """
    wanted = set(kinds)
    narrow = text.translate(_NARROW) if _ANY_WIDE.search(text) else text  # one character for one, so that places stay
    taken: list[Match] = []
    for kind in KINDS:
        if kind in wanted:
            taken += [Match(kind, start, end) for start, end in _FINDERS[kind](narrow) if _free(taken, start, end)]
    return sorted(taken, key=lambda match: match.start)


def scrub(text: str, kinds: Iterable[str] = KINDS) -> tuple[str, dict[str, int]]:
    """The text with each piece of personal data replaced by its placeholder, such as `<EMAIL>`, and how many of each kind there were."""
    found = find(text, kinds)
    if not found:
        return text, {}
    counts: dict[str, int] = {}
    parts, position = [], 0
    for match in found:
        parts += [text[position : match.start], PLACEHOLDERS[match.kind]]
        position = match.end
        counts[match.kind] = counts.get(match.kind, 0) + 1
    return "".join([*parts, text[position:]]), counts


def _free(taken: Sequence[Match], start: int, end: int) -> bool:
    return all(end <= match.start or start >= match.end for match in taken)


# ── e-mail and URL ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
# Letters are ASCII on purpose: in Chinese nothing but a letter stands between a word and the address that follows it.

_LOCAL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?\Z")  # RFC 5321: at most 64 characters
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
_URL = re.compile(r"(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.)[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]{3,2000}", re.IGNORECASE | re.ASCII)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text[max(0, at - 64) : at])
        domain = _DOMAIN.match(text, at + 1)
        if local and domain:
            yield at - len(local.group()), domain.end()
        at = text.find("@", at + 1)


def _urls(text: str) -> Iterator[tuple[int, int]]:
    for match in _URL.finditer(text):
        found = match.group().rstrip(".,;:!?'*")
        while found.endswith((")", "]")) and found.count(found[-1]) > found.count("(" if found[-1] == ")" else "["):
            found = found[:-1].rstrip(".,;:!?'*")  # a bracket that was opened before the address
        if "." in found or "://" in found:
            yield match.start(), match.start() + len(found)


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_RESIDENT = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{16}[\dXx](?![0-9A-Za-z])", re.ASCII)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
#: provinces by GB/T 2260; 71 Taiwan, 81 Hong Kong, 82 Macao, 83 residence permits of Taiwan residents, 91 abroad, 9 permanent residents
_PROVINCES = {*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91}
_CARD = re.compile(r"(?<![\dA-Za-z.])\d(?:[ -]?\d){12,18}(?![\dA-Za-z]|[.-]\d)", re.ASCII)
#: issuers: Visa, Mastercard and Maestro, UnionPay and Discover, Mastercard 2221-2720, American Express, JCB, ICBC before UnionPay
_ISSUER = re.compile(r"[456]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|3[47]|35|9558")
_PHONES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        # mainland China: mobile; fixed lines with area code; service lines
        r"(?<![\d.+])(?:(?:\+|00)86[- ]?|86[- ])?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d|\.\d)",
        r"(?<![\d.+A-Za-z])(?:(?:\+|00)86[- ]?)?(?:\(0(?:10|2\d|[3-9]\d{2})\) ?|0(?:10|2\d|[3-9]\d{2})[- ]?)"
        r"[2-9]\d{6,7}(?:-\d{1,6})?(?!\d|\.\d)",
        r"(?<![\d.+A-Za-z])\+86[- ]?(?:10|2\d|[3-9]\d{2})[- ]?[2-9]\d{6,7}(?:-\d{1,6})?(?!\d|\.\d)",
        r"(?<![\d.+A-Za-z])[48]00[- ]?\d{3}[- ]?\d{4}(?!\d|\.\d)",
        # international: a plus sign and 8 to 15 digits (ITU-T E.164); North America without it
        r"(?<![\dA-Za-z+])\+[1-9]\d{0,2}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]?\d{1,4}){2,6}(?!\d|[.-]\d)",
        r"(?<![\d.A-Za-z+-])(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}(?!\d|[.-]\d)",
    )
)
_IPV4 = re.compile(r"(?<![\d.vV])(?:\d{1,3}\.){3}\d{1,3}(?![\dA-Za-z]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f.:]*[0-9A-Fa-f:](?![0-9A-Za-z:])")


def _resident_ids(text: str) -> Iterator[tuple[int, int]]:
    for match in _RESIDENT.finditer(text):
        if is_resident_id(match.group()):
            yield match.span()


def is_resident_id(number: str) -> bool:
    """Whether 18 characters are a number of a resident of China: region, date of birth, and checksum.

    Source: GB 11643-1999, ISO/IEC 7064:2003 MOD 11-2.
    """
    if len(number) != 18 or not (number[:17].isascii() and number[:17].isdigit()) or number[17] not in "0123456789Xx":
        return False
    if int(number[:2]) not in _PROVINCES and number[0] != "9":
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True))
    return 1800 <= born.year <= 2100 and "10X98765432"[total % 11] == number[17].upper()


def _bank_cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match.group())
        if _ISSUER.match(digits) and is_luhn(digits):
            yield match.span()


def is_luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of the others.

    Source: ISO/IEC 7812-1:2017, annex B.
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and any(digit != "0" for digit in digits)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    last: list[tuple[int, int]] = []
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            start, end = match.span()
            digits = sum(char.isdigit() for char in match.group())
            if 7 <= digits <= 20 and (text[start] != "+" or digits >= 8) and all(end <= a or start >= b for a, b in last):
                last.append((start, end))
    yield from last


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for match in _IPV4.finditer(text):
        if _parses(IPv4Address, match.group()):
            yield match.span()
    if "::" in text or text.count(":") >= 7:
        for match in _IPV6.finditer(text):
            found = match.group().rstrip(".")
            groups = [group for group in found.split(":") if group]
            if len(groups) >= 2 and any(len(group) >= 3 for group in groups) and _parses(IPv6Address, found):
                yield match.start(), match.start() + len(found)


def _parses(kind: Callable[[str], object], value: str) -> bool:
    try:
        kind(value)
    except AddressValueError:
        return False
    return True


_FINDERS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "url": _urls,
    "email": _emails,
    "resident_id": _resident_ids,
    "bank_card": _bank_cards,
    "phone": _phones,
    "ip": _ips,
}
