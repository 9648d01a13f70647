"""A quantity over the tokens of a training, as inline SVG: its course, its spread, a limit, and what the audit measured in the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from trustbase.report.charts import Scale, scale_over

Show = Callable[[float], str]
_LEFT, _TOP, _WIDTH, _HEIGHT = 62, 14, 372, 190
_DECADES = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Point:
    """One place of the curve; `low` and `high` are the spread of what it stands for, where it stands for several values."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class End:
    """A value with its interval, drawn where the training ended."""

    value: float
    low: float
    high: float
    title: str


def curve(
    points: Sequence[Point],
    *,
    title: str,
    desc: str,
    x: str,
    y: str,
    show_x: Show,
    show_y: Show,
    dots: bool = False,
    log: bool = False,
    limit: float | None = None,
    limit_text: str = "",
    end: End | None = None,
) -> Markup:
    """A line over tokens.

    Args:
        points: in order of `x`.
        title, desc: for who cannot see it.
        x, y: names of the axes.
        show_x, show_y: how numbers are written there.
        dots: whether each point is a measurement of its own, and is marked.
        log: whether `y` is drawn by its logarithm (all values above zero).
        limit: a gate's limit on `y`.
        limit_text: beside it.
        end: what the audit measured.
    """
    warp: Callable[[float], float] = math.log10 if log else float
    heights = [warp(value) for point in points for value in (point.y, point.low, point.high) if value is not None]
    more = [warp(value) for value in (limit, *((end.low, end.high) if end else ())) if value is not None]
    down = Scale(min(heights + more), max(heights + more)) if log else scale_over([*heights, *more])
    down = Scale(down.low - 0.04 * (down.high - down.low or 1), down.high + 0.04 * (down.high - down.low or 1)) if log else down
    along = Scale(0.0, max((point.x for point in points), default=1.0) or 1.0)

    def px(value: float) -> float:
        return round(_LEFT + _WIDTH * along.at(value) / 100, 1)

    def py(value: float) -> float:
        return round(_TOP + _HEIGHT * (1 - down.at(warp(value)) / 100), 1)

    bottom = _TOP + _HEIGHT
    body = [f'<rect class="plot" x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}"/>']
    for tick in _log_ticks(down) if log else down.ticks(5):
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{py(tick)}" y2="{py(tick)}"/>')
        body.append(f'<text class="tick" x="{_LEFT - 6}" y="{py(tick) + 4}" text-anchor="end">{escape(show_y(tick))}</text>')
    for tick in along.ticks(5):
        body.append(f'<text class="tick" x="{px(tick)}" y="{bottom + 16}" text-anchor="middle">{escape(show_x(tick))}</text>')
    body += _limit(limit, limit_text, py)
    body += _course(points, dots, px, py)
    if end is not None:
        body += _end(end, px(along.high), py)
    body.append(f'<text class="name" x="{_LEFT + _WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">{escape(x)}</text>')
    body.append(f'<text class="name" transform="translate(12 {_TOP + _HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return Markup(
        f'<svg class="chart curvechart" role="img" aria-label="{escape(title)}" viewBox="0 0 450 {bottom + 42}">'
        f"<title>{escape(title)}</title><desc>{escape(desc)}</desc>{''.join(body)}</svg>"
    )


def _course(points: Sequence[Point], dots: bool, px: Show | Callable[[float], float], py: Callable[[float], float]) -> list[str]:
    """The band of the spread, the line, and a mark for each measurement."""
    body = []
    spread = [point for point in points if point.low is not None and point.high is not None]
    if len(spread) > 1 and any(point.low != point.high for point in spread):
        upper = " ".join(f"{px(point.x)},{py(point.high or 0.0)}" for point in spread)
        lower = " ".join(f"{px(point.x)},{py(point.low or 0.0)}" for point in reversed(spread))
        body.append(f'<polygon class="band" points="{upper} {lower}"/>')
    if len(points) > 1:
        body.append(f'<polyline class="curve" points="{" ".join(f"{px(point.x)},{py(point.y)}" for point in points)}"/>')
    if dots or len(points) == 1:
        body += [f'<circle class="dot plain" cx="{px(point.x)}" cy="{py(point.y)}" r="3"/>' for point in points]
    return body


def _limit(limit: float | None, text: str, py: Callable[[float], float]) -> list[str]:
    if limit is None:
        return []
    level = py(limit)
    place = f'x="{_LEFT + 5}" y="{level - 5 if level > _TOP + 16 else level + 13}"'
    return [
        f'<line class="limit dashed" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{level}" y2="{level}"/>',
        f'<text class="tick strong" {place}>{escape(text)}</text>',
    ]


def _end(end: End, at: float, py: Callable[[float], float]) -> list[str]:
    low, high = py(end.low), py(end.high)
    return [
        f'<g><title>{escape(end.title)}</title><line class="whisker" x1="{at}" x2="{at}" y1="{low}" y2="{high}"/>',
        *(f'<line class="whisker" x1="{at - 4}" x2="{at + 4}" y1="{level}" y2="{level}"/>' for level in (low, high)),
        f'<circle class="dot final" cx="{at}" cy="{py(end.value)}" r="5"/></g>',
    ]


def _log_ticks(scale: Scale) -> list[float]:
    """Round numbers whose logarithms lie inside the scale: 1, 2, 5 of each decade, or fewer where they would be many."""
    low, high = math.floor(scale.low), math.ceil(scale.high)
    every = [step * 10.0**decade for decade in range(low, high + 1) for step in _DECADES]
    inside = [tick for tick in every if scale.low <= math.log10(tick) <= scale.high]
    if len(inside) > 7:
        inside = [tick for tick in inside if math.log10(tick).is_integer()]
    return inside
