"""Names, units and formatting of figures."""

from collections.abc import Iterable
from typing import Any

from posttrain.evals.metrics import COUNT, MEGABYTES, SECONDS, TABLE, Group, Role, of, place

CONDITIONS = {"clean": "clean", "snr10": "10 dB", "snr5": "5 dB", "snr0": "0 dB"}
PROCESSINGS = {"unaided": "unaided", "nalr": "NAL-R", "enhanced": "enhanced", "enhanced_nalr": "enhanced + NAL-R"}


def label(name: str) -> str:
    """A metric's name in words."""
    row = of(name)
    rest = name.removeprefix(row.name)
    parts = [PROCESSINGS.get(part, part.removeprefix("snr")) for part in rest.split("/")]
    return row.label.format(*parts, rest=CONDITIONS.get(rest, rest.replace("_", " ")))


def ordered(names: set[str]) -> list[tuple[str, list[str]]]:
    """Metrics in groups, in reading order; costs are left out."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=_place):
        groups.setdefault(of(name).group, []).append(name)
    return [(title, found) for title, found in groups.items() if title != Group.COSTS]


def headlines(names: Iterable[str]) -> list[str]:
    """The metrics to read first, in that order."""
    return sorted((n for n in names if of(n).role is Role.HEADLINE), key=lambda n: (TABLE.index(of(n)), _place(n)))


def number(name: str, value: float | None) -> str:
    """A figure with its unit."""
    unit = of(name).unit
    if value is None:
        return "–"
    if unit in (SECONDS, MEGABYTES, COUNT):
        return {SECONDS: duration, MEGABYTES: size, COUNT: count}[unit](value)
    return f"{unit.scale * value:.{unit.decimals}f}{unit.symbol}".replace("-", "−")


def change(name: str, value: float | None) -> str:
    """A difference with its sign: percentage points, or the figure's own unit."""
    if value is None:
        return ""
    if value == 0:
        return "±0"
    unit = of(name).unit
    text = f"{unit.scale * value:+.{unit.decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[0].replace("+", "<+").replace("−", ">−") + "0.1"


def between(name: str, ci: Any) -> str:
    """An interval in the figure's unit, without the unit's symbol."""
    if not ci:
        return ""
    unit = of(name).unit
    lo, hi = (f"{unit.scale * v:.{unit.decimals}f}".replace("-", "−") for v in ci)
    return f"[{lo}, {hi}]"


def duration(seconds: float) -> str:
    """Seconds, minutes and seconds, or hours and minutes."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(mb: float) -> str:
    """Megabytes, or gigabytes from 1,000 MB."""
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.0f} MB"


def count(value: float) -> str:
    """A readable count, such as 3,100 or 2.4 M."""
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def unit(name: str) -> str:
    """The unit of a difference in the metric."""
    return of(name).unit.of_difference


def reference(name: str) -> str:
    """The reference that the metric is compared with."""
    return of(name).reference


def _place(name: str) -> tuple[tuple[int, int], int, str]:
    last = name.rpartition("/")[2]
    return (place(name), list(CONDITIONS).index(last) if last in CONDITIONS else 9, name)
