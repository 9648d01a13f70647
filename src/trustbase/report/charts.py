"""Charts as inline SVG. Every text is escaped here; colours come from the page's style sheet by class.

Bars use percent coordinates, so that they stretch with the page while their text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Show = Callable[[float], str]


@dataclass(frozen=True)
class Scale:
    """A linear scale from `low` to `high`, in percent of the width."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position of a value in percent, kept inside the scale."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """At most `most` round numbers inside the scale."""
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / max(most - 1, 1)))
        step = next(step * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (step * factor) <= most - 1 + 1e-9)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + i) * step, 12) for i in range(count)]


def scale_over(
    values: Iterable[float | None], *, include: Sequence[float] = (), bounds: tuple[float | None, float | None] = (None, None)
) -> Scale:
    """A scale that shows all values with some air, not beyond the given natural bounds."""
    known = [value for value in (*values, *include) if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    air = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    floor, ceiling = bounds
    low = low - air if floor is None else max(low - air, floor)
    high = high + air if ceiling is None else min(high + air, ceiling)
    return Scale(low, high if high > low else low + air)


def _svg(css: str, title: str, body: Iterable[str], *, desc: str = "", size: str = "") -> Markup:
    about = f"<desc>{escape(desc)}</desc>" if desc else ""
    return Markup(
        f'<svg class="{css}" role="img" aria-label="{escape(title)}" {size}><title>{escape(title)}</title>{about}{"".join(body)}</svg>'
    )


def _anchor(position: float) -> str:
    return "start" if position < 14 else "end" if position > 86 else "middle"


def _whisker(scale: Scale, low: float, high: float, y: float, css: str = "whisker") -> str:
    a, b = scale.at(low), scale.at(high)
    caps = "".join(f'<line class="{css}" x1="{x}%" x2="{x}%" y1="{y - 4}" y2="{y + 4}"/>' for x in (a, b))
    return f'<line class="{css}" x1="{a}%" x2="{b}%" y1="{y}" y2="{y}"/>{caps}'


def limit_bar(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    limit: float,
    upwards: bool,
    scale: Scale,
    css: str,
    title: str,
    limit_text: str,
) -> Markup:
    """The measured interval drawn against its limit; the allowed side is shaded.

    Args:
        upwards: whether values above the limit are allowed.
        css: class of the verdict, which colours dot and bar.
    """
    at = scale.at(limit)
    left, width = (at, 100 - at) if upwards else (0, at)
    body = [
        '<rect class="track" x="0" y="6" width="100%" height="16" rx="2"/>',
        f'<rect class="allowed" x="{left}%" y="6" width="{round(width, 2)}%" height="16" rx="2"/>',
        f'<line class="limit" x1="{at}%" x2="{at}%" y1="2" y2="26"/>',
        f'<text class="tick" x="{at}%" y="38" text-anchor="{_anchor(at)}">{escape(limit_text)}</text>',
    ]
    if value is not None:
        if low is not None and high is not None and high > low:
            a, b = scale.at(low), scale.at(high)
            body.append(f'<rect class="range {css}" x="{a}%" y="11" width="{max(round(b - a, 2), 0.8)}%" height="6" rx="3"/>')
        body.append(f'<circle class="dot {css}" cx="{scale.at(value)}%" cy="14" r="5"/>')
    return _svg("bar limitbar", title, body, size='width="100%" height="42"')


def rate_bar(value: float, low: float | None, high: float | None, *, scale: Scale, title: str, reference: float | None = None) -> Markup:
    """One bar from the scale's start, with its interval as a whisker and, where given, a reference line."""
    body = ['<rect class="track" x="0" y="3" width="100%" height="14" rx="2"/>']
    body.append(f'<rect class="rate" x="0" y="3" width="{scale.at(value)}%" height="14" rx="2"/>')
    if reference is not None:
        body.append(f'<line class="reference" x1="{scale.at(reference)}%" x2="{scale.at(reference)}%" y1="0" y2="20"/>')
    if low is not None and high is not None and high > low:
        body.append(_whisker(scale, low, high, 10))
    return _svg("bar ratebar", title, body, size='width="100%" height="20"')


def gain_bar(value: float, low: float, high: float, *, scale: Scale, title: str, css: str) -> Markup:
    """A gain against zero: to the right the model is ahead, to the left the rival."""
    zero = scale.at(0)
    a, b = scale.at(low), scale.at(high)
    body = [
        '<rect class="track" x="0" y="3" width="100%" height="18" rx="2"/>',
        f'<line class="limit" x1="{zero}%" x2="{zero}%" y1="0" y2="24"/>',
        f'<rect class="range {css}" x="{a}%" y="9" width="{max(round(b - a, 2), 0.8)}%" height="6" rx="3"/>',
        f'<circle class="dot {css}" cx="{scale.at(value)}%" cy="12" r="5"/>',
    ]
    return _svg("bar", title, body, size='width="100%" height="24"')


def number_bar(value: float, low: float | None, high: float | None, *, scale: Scale, title: str) -> Markup:
    """A number of any sign with its interval, and a line at zero where the scale holds it."""
    body = ['<rect class="track" x="0" y="3" width="100%" height="14" rx="2"/>']
    if scale.low <= 0 <= scale.high:
        body.append(f'<line class="reference" x1="{scale.at(0)}%" x2="{scale.at(0)}%" y1="0" y2="20"/>')
    if low is not None and high is not None and high > low:
        body.append(_whisker(scale, low, high, 10))
    body.append(f'<circle class="dot plain" cx="{scale.at(value)}%" cy="10" r="4"/>')
    return _svg("bar ratebar", title, body, size='width="100%" height="20"')


def axis(scale: Scale, show: Show) -> Markup:
    """Tick marks with their numbers, to stand under a column of bars (hidden from screen readers: the table holds the numbers)."""
    body = []
    labelled = -math.inf  # where the last label ends: one that would run into it is left out
    for tick in scale.ticks(4):
        at = scale.at(tick)
        body.append(f'<line class="axis" x1="{at}%" x2="{at}%" y1="0" y2="5"/>')
        wide, before = _label_width(show(tick)), {"start": 0.0, "middle": 0.5, "end": 1.0}[_anchor(at)]
        if at - before * wide > labelled:
            body.append(f'<text class="tick" x="{at}%" y="17" text-anchor="{_anchor(at)}">{escape(show(tick))}</text>')
            labelled = at + (1 - before) * wide
    body.append('<line class="axis" x1="0" x2="100%" y1="0.5" y2="0.5"/>')
    return Markup(f'<svg class="bar" aria-hidden="true" width="100%" height="20">{"".join(body)}</svg>')


@dataclass(frozen=True)
class Point:
    """A point of the reliability curve: stated probability, how often it came true, its interval, and the rows behind it."""

    stated: float
    observed: float
    low: float
    high: float
    n: int
    title: str


def _label_width(text: str) -> float:
    """About how much of an axis of some 200 pixels a label takes, in percent: Han characters are twice as wide as letters."""
    return sum(6.0 if character >= "\u2e80" else 3.2 for character in text)


def reliability(
    points: Sequence[Point], *, title: str, desc: str, x: str, y: str, rows: str, show: Show, scale: Scale | None = None
) -> Markup:
    """Reliability curve, with intervals, and the number of rows of each point below; on the unit square where no scale is given."""
    left, top, size, strip = 56, 10, 292, 40
    ticks = (0, 0.25, 0.5, 0.75, 1) if scale is None else tuple(scale.ticks())
    scale = scale or Scale(0, 1)

    def px(value: float) -> float:
        return round(left + size * scale.at(value) / 100, 1)

    def py(value: float) -> float:
        return round(top + size * (1 - scale.at(value) / 100), 1)

    body = [f'<rect class="plot" x="{left}" y="{top}" width="{size}" height="{size}"/>']
    for tick in ticks:
        body.append(f'<line class="grid" x1="{px(tick)}" x2="{px(tick)}" y1="{top}" y2="{top + size}"/>')
        body.append(f'<line class="grid" x1="{left}" x2="{left + size}" y1="{py(tick)}" y2="{py(tick)}"/>')
        body.append(f'<text class="tick" x="{left - 6}" y="{py(tick) + 4}" text-anchor="end">{escape(show(tick))}</text>')
        place = f'x="{px(tick)}" y="{top + size + strip + 22}" text-anchor="{"end" if scale.at(tick) > 96 else "middle"}"'
        body.append(f'<text class="tick" {place}>{escape(show(tick))}</text>')
    ends = scale.low, scale.high
    body.append(f'<line class="diagonal" x1="{px(ends[0])}" y1="{py(ends[0])}" x2="{px(ends[1])}" y2="{py(ends[1])}"/>')
    if len(points) > 1:
        body.append(f'<polyline class="curve" points="{" ".join(f"{px(p.stated)},{py(p.observed)}" for p in points)}"/>')
    most = max((point.n for point in points), default=1) or 1
    for point in points:
        height = round(max((strip - 8) * point.n / most, 0.6), 1)
        body.append(f'<line class="whisker" x1="{px(point.stated)}" x2="{px(point.stated)}" y1="{py(point.low)}" y2="{py(point.high)}"/>')
        centre = f'cx="{px(point.stated)}" cy="{py(point.observed)}"'
        body.append(f'<circle class="dot plain" {centre} r="4"><title>{escape(point.title)}</title></circle>')
        body.append(f'<rect class="rate" x="{px(point.stated) - 4}" y="{top + size + strip - height}" width="8" height="{height}"/>')
    body.append(f'<text class="tick" x="{left - 6}" y="{top + size + strip}" text-anchor="end">n</text>')
    body.append(f'<text class="name" x="{left + size / 2}" y="{top + size + strip + 40}" text-anchor="middle">{escape(x)}</text>')
    body.append(f'<text class="name" transform="translate(11 {top + size / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return _svg("chart", f"{title}. {rows}", body, desc=desc, size=f'viewBox="0 0 356 {top + size + strip + 46}"')


def histogram(
    edges: Sequence[float], counts: Sequence[int], marks: Mapping[str, float], *, title: str, desc: str, x: str, y: str, show: Show
) -> Markup:
    """Histogram with named vertical marks (quantiles). `edges` has one number more than `counts`."""
    most = max(counts, default=1) or 1
    left, top, height = 26 + 7 * len(f"{most:,}"), 48, 180  # the largest count stands between the name of the axis and its line
    width = 346 - left
    scale = Scale(edges[0], edges[-1] if edges[-1] > edges[0] else edges[0] + 1)

    def px(value: float) -> float:
        return round(left + width * scale.at(value) / 100, 1)

    body = []
    for count in sorted({0, most // 2, most}):
        level = round(top + height * (1 - count / most), 1)
        body.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{level}" y2="{level}"/>')
        body.append(f'<text class="tick" x="{left - 6}" y="{level + 4}" text-anchor="end">{count:,}</text>')
    for a, b, count in zip(edges, edges[1:], counts, strict=False):
        tall, wide = round(height * count / most, 1), max(round(px(b) - px(a) - 1, 1), 1)
        body.append(f'<rect class="rate" x="{px(a)}" y="{top + height - tall}" width="{wide}" height="{tall}"/>')
    for tick in scale.ticks(5):
        body.append(f'<text class="tick" x="{px(tick)}" y="{top + height + 16}" text-anchor="middle">{escape(show(tick))}</text>')
    for row, (name, value) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        at = px(value)
        body.append(f'<line class="limit" x1="{at}" x2="{at}" y1="{4 + 14 * (row % 3)}" y2="{top + height}"/>')
        side, shift = ("end", -3) if at > left + width * 0.6 else ("start", 3)
        body.append(f'<text class="tick strong" x="{at + shift}" y="{13 + 14 * (row % 3)}" text-anchor="{side}">{escape(name)}</text>')
    body.append(f'<line class="axis" x1="{left}" x2="{left + width}" y1="{top + height}" y2="{top + height}"/>')
    body.append(f'<text class="name" x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">{escape(x)}</text>')
    body.append(f'<text class="name" transform="translate(9 {top + height / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return _svg("chart", title, body, desc=desc, size=f'viewBox="0 0 356 {top + height + 42}"')


_MARKS = {
    "pass": '<circle class="fill" cx="12" cy="12" r="11"/><path class="ink" d="M6.5 12.5l3.8 3.8 7.2-8"/>',
    "fail": '<path class="fill" d="M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z"/><path class="ink" d="M8 8l8 8M16 8l-8 8"/>',
    "insufficient": '<path class="fill" d="M12 .8L23.2 12 12 23.2.8 12z"/><path class="ink" d="M12 6.4v6.6M12 17.2v.3"/>',
    "open": '<circle class="ring" cx="12" cy="12" r="10"/><path class="ring" d="M7 12h10"/>',
}


def mark(word: str) -> Markup:
    """The sign of a verdict: told apart by shape, not by colour alone. The word stands beside it, so readers skip it."""
    shape = _MARKS.get(word, _MARKS["open"])
    return Markup(f'<svg class="mark" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{shape}</svg>')
