"""Small inline SVG charts, coloured by the page's style sheet; all text in them is escaped."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 560


@dataclass(frozen=True)
class Point:
    """A value with its interval."""

    x: float
    y: float
    lo: float | None = None
    hi: float | None = None
    label: str = ""
    title: str = ""


@dataclass(frozen=True)
class Series:
    """Named points; `style` is a CSS class, `strength` (0 to 1) the place in the colour ramp of stages."""

    name: str
    points: Sequence[Point]
    style: str = ""
    strength: float = 1.0


def lines(title: str, series: Sequence[Series], ticks: Sequence[str], top: float, unit: str = "%") -> Markup:
    """Line chart over named ticks, such as word errors over noise; a point's x is the index of its tick."""
    height, left, right, above, below = 300, 44, 12, 12, 30
    step, grid = (WIDTH - left - right) / max(len(ticks), 1), nice_ticks(0, top)
    top = grid[-1]

    def px(x: float) -> float:
        return left + (x + 0.5) * step

    def py(y: float) -> float:
        return above + (height - above - below) * (1 - min(y, top) / top)

    parts = [_y_axis(grid, py, left, WIDTH - right, unit)]
    parts += [_text(px(i), height - 8, tick, "tick", "middle") for i, tick in enumerate(ticks)]
    for one in series:
        path = " ".join(f"{'L' if i else 'M'}{px(p.x):.1f} {py(p.y):.1f}" for i, p in enumerate(one.points))
        body = [Markup('<path class="line" d="{}"/>').format(path)]
        for p in one.points:
            if p.lo is not None and p.hi is not None:
                body.append(_segment(px(p.x), py(p.lo), px(p.x), py(p.hi), "whisker"))
            body.append(_dot(px(p.x), py(p.y), p.title))
        parts.append(_group(one, body))
    return _svg(title, height, parts)


def over_frequency(title: str, series: Sequence[Series], lo: float, hi: float, unit: str, down: bool = False) -> Markup:
    """Line chart over frequency in octaves; a point's x is in Hz. `down`: larger is lower, as in an audiogram."""
    height, left, right, above, below = 260, 56, 14, 12, 30
    grid = nice_ticks(lo, hi, 7)
    octaves = (125, 250, 500, 1000, 2000, 4000, 8000)

    def px(hz: float) -> float:
        return left + (WIDTH - left - right) * math.log(hz / octaves[0]) / math.log(octaves[-1] / octaves[0])

    def py(y: float) -> float:
        share = (y - grid[0]) / (grid[-1] - grid[0])
        return above + (height - above - below) * (share if down else 1 - share)

    parts = [_y_axis(grid, py, left, WIDTH - right, unit)]
    for hz in octaves:
        parts.append(_segment(px(hz), above, px(hz), height - below, "grid"))
        parts.append(_text(px(hz), height - 8, f"{hz / 1000:g} k" if hz >= 1000 else str(hz), "tick", "middle"))
    for one in series:
        path = " ".join(f"{'L' if i else 'M'}{px(p.x):.1f} {py(p.y):.1f}" for i, p in enumerate(one.points))
        dots = [_dot(px(p.x), py(p.y), p.title) for p in one.points if p.title]
        parts.append(_group(one, [Markup('<path class="line" d="{}"/>').format(path), *dots]))
    return _svg(title, height, parts)


def scatter(
    title: str,
    points: Sequence[Point],
    x_name: str,
    y_name: str,
    widths: Sequence[tuple[float, float]],
    trail: Sequence[Point] | None = None,
) -> Markup:
    """Labelled points with intervals in both directions, in percent; `widths` has each point's interval in x.

    A path connects all points in order, or those in `trail`.
    """
    height, left, right, above, below = 310, 48, 18, 28, 46
    xs = nice_ticks(min([0, *(w[0] for w in widths)]), max([1, *(w[1] for w in widths)]))
    ys = nice_ticks(min([0, *(p.lo or p.y for p in points)]), max([1, *(p.hi or p.y for p in points)]))

    def px(x: float) -> float:
        return left + (WIDTH - left - right) * (x - xs[0]) / (xs[-1] - xs[0])

    def py(y: float) -> float:
        return above + (height - above - below) * (1 - (y - ys[0]) / (ys[-1] - ys[0]))

    parts = [_y_axis(ys, py, left, WIDTH - right, "%")]
    for x in xs:
        parts.append(_segment(px(x), above, px(x), height - below, "zero" if x == 0 else "grid"))
        parts.append(_text(px(x), height - below + 16, f"{x:g} %", "tick", "middle"))
    parts.append(_text((left + WIDTH - right) / 2, height - 8, x_name, "axis", "middle"))
    parts.append(_text(left - 36, 14, y_name, "axis", "start"))
    path = " ".join(
        f"{'L' if i else 'M'}{px(p.x):.1f} {py(p.y):.1f}" for i, p in enumerate(points if trail is None else trail)
    )
    parts.append(Markup('<path class="trail" d="{}"/>').format(path))
    taken: list[tuple[float, float]] = []
    for number, (p, (lo, hi)) in enumerate(zip(points, widths, strict=True)):
        body = [_segment(px(lo), py(p.y), px(hi), py(p.y), "whisker")]
        if p.lo is not None and p.hi is not None:
            body.append(_segment(px(p.x), py(p.lo), px(p.x), py(p.hi), "whisker"))
        body.append(_dot(px(p.x), py(p.y), p.title, 5))
        parts.append(_group(Series(p.label, [p], strength=(number + 1) / len(points)), body))
        x, y, anchor = _free(px(p.x), py(p.y), taken, WIDTH - right)
        parts.append(_text(x, y, p.label, "name", anchor))
    return _svg(title, height, parts)


def two_sided(title: str, rows: Sequence[tuple[str, dict[str, Point | None]]], left: str, right: str) -> Markup:
    """Bars to the left and right of the middle, typed and spoken; a row is (stage, its points).

    The four keys are "left text", "left speech", "right text" and "right speech"; a point's y is in percent.
    """
    pitch, above, label = 42, 34, 92
    height = above + pitch * len(rows) + 26
    found = [p for _, sides in rows for p in sides.values() if p]
    grid = nice_ticks(0, max([1.0, *(p.hi if p.hi is not None else p.y for p in found)]), 3)
    half = (WIDTH - label) / 2 - 16
    starts = {"left": WIDTH / 2 - label / 2, "right": WIDTH / 2 + label / 2}
    parts = [
        _text(starts["left"], 14, left, "axis", "end"),
        _text(starts["right"], 14, right, "axis", "start"),
    ]
    for side, sign in (("left", -1), ("right", 1)):
        for tick in grid:
            x = starts[side] + sign * half * tick / grid[-1]
            parts.append(_segment(x, above - 8, x, height - 22, "grid"))
            parts.append(_text(x, height - 6, f"{tick:g} %", "tick", "middle"))
    for number, (name, sides) in enumerate(rows):
        y = above + pitch * number
        if number:
            parts.append(_segment(0, y - 7, WIDTH, y - 7, "grid"))
        parts.append(_text(WIDTH / 2, y + 18, name, "name", "middle"))
        for side, sign in (("left", -1), ("right", 1)):
            for place, form in enumerate(("text", "speech")):
                p = sides.get(f"{side} {form}")
                if p:
                    parts.append(_bar(p, starts[side], sign * half / grid[-1], y + 1 + 15 * place, f"{side} {form}"))
    return _svg(title, height, parts)


def dumbbells(title: str, rows: Sequence[tuple[str, float, float, str]], names: tuple[str, str]) -> Markup:
    """Two dots per row, joined by a line; a row is (stage, first, second, note), in percent."""
    pitch, above, left, right = 34, 30, 80, 130
    height = above + pitch * len(rows) + 26
    low = min([50.0, *(min(a, b) for _, a, b, _ in rows)])
    grid = nice_ticks(low, 100, 4)

    def px(x: float) -> float:
        return left + (WIDTH - left - right) * (x - grid[0]) / (grid[-1] - grid[0])

    parts = [_text(WIDTH - right + 12, 14, "gap, points", "axis", "start")]
    for tick in grid:
        parts.append(_segment(px(tick), above - 12, px(tick), height - 22, "grid"))
        parts.append(_text(px(tick), height - 6, f"{tick:g} %", "tick", "middle"))
    for number, (name, first, second, note) in enumerate(rows):
        y = above + pitch * number + 8
        parts.append(_text(left - 12, y + 4, name, "name", "end"))
        parts.append(_segment(px(first), y, px(second), y, "bridge"))
        parts.append(Markup('<g class="text">{}</g>').format(_dot(px(first), y, f"{names[0]} {first:.1f} %", 5.5)))
        parts.append(Markup('<g class="speech">{}</g>').format(_dot(px(second), y, f"{names[1]} {second:.1f} %", 5.5)))
        parts.append(_text(WIDTH - right + 12, y + 4, note, "tick", "start"))
    return _svg(title, height, parts)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], unit: str) -> Markup:
    """Columns between edges, of which there is one more than counts."""
    height, left, right, above, below = 220, 56, 14, 12, 30
    grid, ticks = nice_ticks(0, max(counts)), nice_ticks(edges[0], edges[-1], 8)
    low, high = min(edges[0], ticks[0]), max(edges[-1], ticks[-1])

    def px(x: float) -> float:
        return left + (WIDTH - left - right) * (x - low) / (high - low)

    def py(y: float) -> float:
        return above + (height - above - below) * (1 - y / grid[-1])

    columns = [
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>').format(
            px(lo), py(n), max(px(hi) - px(lo) - 1, 1), py(0) - py(n), f"{lo:.3g} to {hi:.3g} {unit}: {n:,}".strip()
        )
        for lo, hi, n in zip(edges, edges[1:], counts, strict=False)
    ]
    parts = [
        _y_axis(grid, py, left, WIDTH - right, ""),
        Markup('<g class="bar text">{}</g>').format(Markup("").join(columns)),
    ]
    parts += [_text(px(x), height - 8, f"{x:g} {unit}".strip(), "tick", "middle") for x in ticks]
    return _svg(title, height, parts)


def nice_ticks(lo: float, hi: float, most: int = 5) -> list[float]:
    """Evenly spaced round numbers that cover lo to hi in at most `most` steps."""
    hi = max(hi, lo + 1e-6)
    size = 10.0**-6
    while True:
        for factor in (1, 2, 5):
            step = size * factor
            first, last = int(lo // step), -int(-hi // step)
            if last - first <= most:
                return [round(step * i, 9) for i in range(first, last + 1)]
        size *= 10


def _y_axis(grid: Sequence[float], py: Callable[[float], float], left: float, right: float, unit: str) -> Markup:
    parts = []
    for tick in grid:
        parts.append(_segment(left, py(tick), right, py(tick), "zero" if tick == 0 else "grid"))
        parts.append(_text(left - 6, py(tick) + 4, f"{tick:g} {unit}", "tick", "end"))
    return Markup("").join(parts)


def _free(x: float, y: float, taken: list[tuple[float, float]], right: float) -> tuple[float, float, str]:
    """Position and anchor of a label near its point that does not cover an earlier label."""
    for dx, dy in ((9 * side, y) for y in (-8, 16, -22, 30, -36, 44, -50, 58) for side in (1, -1)):
        spot = (x + dx if dx > 0 else x + dx - 50, y + dy)
        fits = 44 < spot[0] < right - 50 and 10 < spot[1] < 250
        if fits and all(abs(spot[0] - a) > 52 or abs(spot[1] - b) > 13 for a, b in taken):
            taken.append(spot)
            return x + dx, y + dy, "start" if dx > 0 else "end"
    return x + 9, y - 8, "start"


def _bar(p: Point, start: float, scale: float, y: float, style: str) -> Markup:
    end = start + scale * p.y
    parts = [
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="12" rx="2"><title>{}</title></rect>').format(
            min(start, end), y, max(abs(end - start), 1), p.title
        )
    ]
    if p.lo is not None and p.hi is not None:
        parts.append(_segment(start + scale * p.lo, y + 6, start + scale * p.hi, y + 6, "whisker"))
    return Markup('<g class="bar {}">{}</g>').format(style, Markup("").join(parts))


def _group(one: Series, body: Sequence[Markup]) -> Markup:
    return Markup('<g class="series {}" style="--strength:{:.0f}%">{}</g>').format(
        one.style, 25 + 75 * one.strength, Markup("").join(body)
    )


def _dot(x: float, y: float, title: str, radius: float = 3.5) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(x, y, radius, title)


def _segment(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(style, x1, y1, x2, y2)


def _text(x: float, y: float, text: str, style: str, anchor: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(style, x, y, anchor, text)


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, escape(title), Markup("").join(parts)
    )
