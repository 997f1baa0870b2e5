"""Charts as inline SVG. Places are percentages of the plot, letters are pixels: a chart fits any width unshrunk."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Point = tuple[float, float]
_NICE = (1, 2, 2.5, 5, 10)
LONGEST_LABEL = 28
"""Characters of a name inside a figure; the whole name is in its tooltip."""


@dataclass(frozen=True)
class Axis:
    """One direction of a chart, with its unit in the label."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, 0 to 100 from low to high; values beyond are held at the edge."""
        low, high, place = (math.log10(x) if self.log else x for x in (self.low, self.high, self._held(value)))
        return 100 * ((place - low) / (high - low)) if high > low else 50.0

    def _held(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def linear_axis(label: str, values: Iterable[float], *, bounds: tuple[float, float] | None = None) -> Axis:
    """An axis of round numbers around `values`, never beyond `bounds`."""
    known = list(values) or [0.0, 1.0]
    spread = max(known) - min(known) or max(abs(known[0]) * 0.1, 0.05)
    step = _nice_step(spread / 4)
    low, high = math.floor(min(known) / step) * step, math.ceil(max(known) / step) * step
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    if high - low < step / 2:
        low, high = low - step, high + step
    count = round((high - low) / step)
    ticks = [low + step * number for number in range(count + 1)]
    return Axis(label, low, high, [(tick, f"{tick:.10g}" if abs(tick) > step / 1e6 else "0") for tick in ticks])


def log_axis(label: str, values: Iterable[float]) -> Axis:
    """An axis of decades, and of 2 and 5 between them where there are few decades."""
    known = [value for value in values if value > 0] or [0.1, 1.0]
    low, high = min(known) / 1.3, max(known) * 1.3
    few = math.log10(high / low) < 2.5
    marks = [
        factor * 10.0**decade
        for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factor in ((1, 2, 5) if few else (1,))
    ]
    return Axis(label, low, high, [(mark, f"{mark:.6g}") for mark in marks if low <= mark <= high], log=True)


@dataclass
class Chart:
    """Marks on two axes; later marks lie over earlier ones."""

    name: str
    """Unique on the page: the root of the ids."""
    title: str
    description: str
    """What a reader who cannot see it should know."""
    x: Axis
    y: Axis
    height: int = 240
    """CSS pixels of the plot."""
    marks: list[Markup] = field(default_factory=list)

    def line(self, points: Sequence[Point], kind: str = "main") -> None:
        """Straight pieces from point to point."""
        for start, end in itertools.pairwise(points):
            self._segment(start, end, f"line {kind}")

    def whisker(self, x: float, low: float, high: float, kind: str = "main") -> None:
        """An upright error bar."""
        self._segment((x, low), (x, high), f"whisker {kind}")

    def dot(self, point: Point, tooltip: str, kind: str = "main", radius: float = 4) -> None:
        """A point with a tooltip."""
        cx, cy = self._place(point)
        shape = Markup('<circle class="dot {}" cx="{}%" cy="{}%" r="{}"><title>{}</title></circle>')
        self.marks.append(shape.format(kind, cx, cy, radius, tooltip))

    def badge(self, point: Point, text: str, tooltip: str, kind: str = "main") -> None:
        """A point with a number or letter in it."""
        self.dot(point, tooltip, f"badge {kind}", radius=9)
        cx, cy = self._place(point)
        label = Markup('<text class="on-badge {}" x="{}%" y="{}%" dy="3.5" text-anchor="middle">{}</text>')
        self.marks.append(label.format(kind, cx, cy, text))

    def column(self, low: float, high: float, value: float, tooltip: str, kind: str = "main") -> None:
        """A bar from the foot of the chart, between two places of the x axis."""
        left, right, top = self.x.at(low), self.x.at(high), 100 - self.y.at(value)
        shape = Markup('<rect class="bar {}" x="{}%" y="{}%" width="{}%" height="{}%"><title>{}</title></rect>')
        sizes = (_short(number) for number in (left, top, right - left, 100 - top))
        self.marks.append(shape.format(kind, *sizes, tooltip))

    def note(self, point: Point, text: str, anchor: str = "start", lift: int = -8) -> None:
        """Words beside a point; `lift` pixels down."""
        cx, cy = self._place(point)
        label = Markup('<text class="note" x="{}%" y="{}%" dy="{}" text-anchor="{}">{}</text>')
        self.marks.append(label.format(cx, cy, lift, anchor, text))

    def draw(self) -> Markup:
        """The chart as a figure with its title above."""
        inside = Markup("").join([*self._grid(), *self.marks])
        return figure(self.name, self.title, self.description, inside, self.height, "plot")

    def _segment(self, start: Point, end: Point, kind: str) -> None:
        (x1, y1), (x2, y2) = self._place(start), self._place(end)
        shape = Markup('<line class="{}" x1="{}%" y1="{}%" x2="{}%" y2="{}%"/>')
        self.marks.append(shape.format(kind, x1, y1, x2, y2))

    def _place(self, point: Point) -> tuple[str, str]:
        return _short(self.x.at(point[0])), _short(100 - self.y.at(point[1]))

    def _grid(self) -> list[Markup]:
        lines = [Markup('<text class="axis" x="-44" y="-14">{}</text>').format(self.y.label)]
        for value, text in self.y.ticks:
            y = _short(100 - self.y.at(value))
            lines.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>').format(y))
            label = Markup('<text class="tick" x="-8" y="{}%" dy="4" text-anchor="end">{}</text>')
            lines.append(label.format(y, text))
        for value, text in self.x.ticks:
            x = _short(self.x.at(value))
            label = Markup('<text class="tick" x="{}%" y="100%" dy="18" text-anchor="middle">{}</text>')
            lines.append(label.format(x, text))
        foot = Markup('<text class="axis" x="50%" y="100%" dy="38" text-anchor="middle">{}</text>')
        return [*lines, foot.format(self.x.label)]


def figure(name: str, title: str, description: str, inside: Markup, height: int, kind: str) -> Markup:
    """SVG as an HTML figure, with the title and description that a screen reader speaks."""
    return Markup(
        '<figure class="{kind}"><figcaption>{title}</figcaption><div class="frame">'
        '<svg role="img" aria-labelledby="{name}-t {name}-d" width="100%" height="{height}">'
        '<title id="{name}-t">{title}</title><desc id="{name}-d">{description}</desc>{inside}</svg></div></figure>'
    ).format(name=name, title=title, description=description, inside=inside, height=height, kind=kind)


def shorten(text: str, longest: int = LONGEST_LABEL) -> str:
    """A name of at most `longest` characters, its middle left out."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _nice_step(rough: float) -> float:
    scale = 10.0 ** math.floor(math.log10(rough))
    return next(factor * scale for factor in _NICE if factor * scale >= rough * 0.999)
