"""Small charts as inline SVG: bars with a target, stacked bars, a line with marks. Pure; a browser fetches nothing.

Numbers become floats here, because a pixel has no more digits; exact amounts stand in the titles (what a browser shows
when the pointer rests) and in the tables beside the charts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from msgspec import Struct

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26
LABEL_CHARS_MAX = 10  # of 11 px before the axis


class Bar(Struct, frozen=True, kw_only=True):
    """One bar of one or several parts, bottom up; parts below 0 hang down. target: a line across it."""

    label: str
    parts: Sequence[tuple[str, float]]  # CSS class, value
    title: str
    target: float | None = None


class Mark(Struct, frozen=True, kw_only=True):
    """A point on a line chart. kind: CSS class, "buy" points up, everything else down."""

    x: float
    y: float
    kind: str
    title: str


def bars(columns: Sequence[Bar], *, about: str, height: int = 200) -> str:
    """Bars side by side on one scale that holds 0."""
    tops = [sum(max(value, 0.0) for _, value in bar.parts) for bar in columns]
    tops += [bar.target for bar in columns if bar.target is not None]
    bottoms = [sum(min(value, 0.0) for _, value in bar.parts) for bar in columns]
    scale = _Scale(min(0.0, *bottoms, 0.0), max(0.0, *tops, 0.0), height)
    step = (WIDTH - LEFT - RIGHT) / max(len(columns), 1)
    wide = min(step * 0.7, 60.0)
    drawn = [scale.axis()]
    every = max(1, math.ceil(len(columns) * 62 / (WIDTH - LEFT - RIGHT)))
    for number, bar in enumerate(columns):
        x = LEFT + step * (number + 0.5)
        drawn.append(f"<g><title>{escape(bar.title)}</title>{_stack(bar, x - wide / 2, wide, scale)}</g>")
        if bar.target is not None:
            y = scale.y(bar.target)
            drawn.append(
                f'<line class="target" x1="{x - wide * 0.65:.1f}" x2="{x + wide * 0.65:.1f}" y1="{y}" y2="{y}"/>'
            )
        if number % every == 0:
            drawn.append(f'<text class="x" x="{x:.1f}" y="{height - 8}">{escape(bar.label)}</text>')
    return _svg(drawn, about, height)


def line(
    points: Sequence[tuple[float, float, float, float]],
    marks: Sequence[Mark],
    *,
    x_labels: Sequence[tuple[float, str]],
    about: str,
    height: int = 260,
) -> str:
    """points: x from 0 to 1, low, high, close; in order. A gap is left open if it is more than a fiftieth of the width,
    and wide beside the others."""
    lows = [low for _, low, _, _ in points] + [mark.y for mark in marks]
    highs = [high for _, _, high, _ in points] + [mark.y for mark in marks]
    scale = _Scale(min(lows), max(highs), height)
    drawn = [scale.axis()]
    for run in _runs(points):
        if len(run) == 1:
            run = [(run[0][0] + side / (WIDTH - LEFT - RIGHT), *run[0][1:]) for side in (-1, 1)]
        band = [f"{_x(x):.1f},{scale.y(high)}" for x, _, high, _ in run]
        band += [f"{_x(x):.1f},{scale.y(low)}" for x, low, _, _ in reversed(run)]
        path = " ".join(f"{_x(x):.1f},{scale.y(close)}" for x, _, _, close in run)
        drawn.append(f'<polygon class="range" points="{" ".join(band)}"/><polyline class="price" points="{path}"/>')
    drawn += [_mark(mark, scale) for mark in marks]
    drawn += [f'<text class="x" x="{_x(x):.1f}" y="{height - 8}">{escape(label)}</text>' for x, label in x_labels]
    return _svg(drawn, about, height)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, at most `most` steps apart by 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 5.0, 10.0) if size * power >= raw * 0.999)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """Values to pixels from the bottom up, a little air above and below."""

    def __init__(self, low: float, high: float, height: int) -> None:
        if high <= low:
            low, high = low - (abs(low) * 0.01 or 1.0), high + (abs(high) * 0.01 or 1.0)
        air = (high - low) * 0.05
        self.low, self.high = (low if low == 0 else low - air), high + air
        self._height = height

    def y(self, value: float) -> float:
        inner = self._height - TOP - BOTTOM
        return round(TOP + inner * (self.high - value) / (self.high - self.low), 1)

    def axis(self) -> str:
        drawn = []
        marks = ticks(self.low, self.high)
        step = math.floor(math.log10(marks[1] - marks[0])) if len(marks) > 1 else -4
        for value in marks:
            y = self.y(value)
            kind = "zero" if value == 0 else "grid"
            drawn.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            drawn.append(f'<text class="y" x="{LEFT - 6}" y="{y + 4}">{_label(value, step)}</text>')
        return "".join(drawn)


def _label(value: float, step: int) -> str:
    """Exact to 10^step; where that takes too much room, as a power of ten."""
    plain = f"{value:,.{max(0, -step)}f}"
    if len(plain) <= LABEL_CHARS_MAX or value == 0:
        return plain if value else "0"
    return f"{value:.{max(0, math.floor(math.log10(abs(value))) - step)}e}"


def _stack(bar: Bar, x: float, wide: float, scale: _Scale) -> str:
    drawn, up, down = [], 0.0, 0.0
    for kind, value in bar.parts:
        start = up if value >= 0 else down
        top, bottom = scale.y(max(start, start + value)), scale.y(min(start, start + value))
        up, down = (up + value, down) if value >= 0 else (up, down + value)
        high = bottom - top
        drawn.append(f'<rect class="{kind}" x="{x:.1f}" y="{top}" width="{wide:.1f}" height="{high:.1f}"/>')
    return "".join(drawn)


def _mark(mark: Mark, scale: _Scale) -> str:
    x, y = _x(mark.x), scale.y(mark.y)
    tip = 5 if mark.kind == "buy" else -5
    shape = f"{x:.1f},{y - tip} {x - 4:.1f},{y + tip * 0.6:.1f} {x + 4:.1f},{y + tip * 0.6:.1f}"
    return f'<polygon class="{mark.kind}" points="{shape}"><title>{escape(mark.title)}</title></polygon>'


def _runs(points: Sequence[tuple[float, float, float, float]]) -> list[list[tuple[float, float, float, float]]]:
    found: list[list[tuple[float, float, float, float]]] = []
    steps = sorted(later[0] - point[0] for point, later in pairwise(points))
    widest = max(0.02, 5 * steps[(len(steps) - 1) // 2]) if steps else 0.02
    for point in points:
        if not found or point[0] - found[-1][-1][0] > widest:
            found.append([])
        found[-1].append(point)
    return found


def _x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _svg(drawn: Sequence[str], about: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(about)}">{"".join(drawn)}</svg>'
