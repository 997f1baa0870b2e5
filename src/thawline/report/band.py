"""The network as a band of blocks, as in Figure 2 of the BioTune paper: color is the rate, a snowflake is frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thawline.formatting import rate
from thawline.plan import FineTunePlan
from thawline.report import colors
from thawline.report.charts import figure, shorten
from thawline.report.plan_words import besides_rates, is_mixture, named, solved_head
from thawline.results import ScoredRow

TALL, LOW = 38, 16
"""CSS pixels: a plan of one phase, and each phase of several."""
ROOM_FOR_RATES = 24
"""Blocks, up to which there is room for the rate in each."""
ROOM_FOR_NAMES = 14
FEW = 8
"""Blocks, up to which names and rates have room on a phone."""
NAME_FOOT = 20
"""CSS pixels below a band for the names of its blocks."""
SNOWFLAKE = Markup(
    '<symbol id="snowflake" viewBox="-8 -8 16 16">'
    '<g fill="none" stroke="currentColor" stroke-width="1.3" stroke-linecap="round">{}</g></symbol>'
).format(
    Markup("").join(
        Markup('<path d="M0 0V-7M-2.2-6.2 0-4.2 2.2-6.2" transform="rotate({})"/>').format(angle)
        for angle in range(0, 360, 60)
    )
)
"""The symbol that frozen blocks use; once on a page."""
SOLVED = Markup('class="cell solved"')
"""What a head that was only solved is painted with."""


@dataclass(frozen=True)
class Shades:
    """How the value of a block that trains is colored and written."""

    slowest: float
    """Decade of the palest color."""
    fastest: float
    """Decade of the darkest color."""
    meaning: str
    """What the value is."""
    text: Callable[[float], str]

    def fill(self, value: float) -> str:
        """Color of a value."""
        return colors.fill(value, self.slowest, self.fastest)


RATES = Shades(colors.SLOWEST, colors.FASTEST, "learning rate", rate)
WEIGHTS = Shades(-1, 1, "weight on the base rate", lambda weight: f"{weight:.2g}")
"""The range of BioTune's weights is 0.1 to 10."""


@dataclass(frozen=True)
class Strip:
    """A row of blocks over the whole width of what it stands in."""

    values: Mapping[str, float | None]
    """By block, from the input to the head; None = frozen, drawn as a snowflake (`SNOWFLAKE`), or solved."""
    top: int
    height: int = TALL
    shades: Shades = RATES
    solved: str | None = None
    """The head, if it is a solved probe: without a value it is not frozen."""

    def draw(self) -> Markup:
        """The blocks with their values, where there is room for them."""
        return Markup("").join(self._cell(number, name) for number, name in enumerate(self.values))

    def _cell(self, number: int, name: str) -> Markup:
        value, count = self.values[name], len(self.values)
        middle = 100 * (number + 0.5) / count
        if value is None and name == self.solved:
            box = self._box(number, SOLVED, f"{name}: solved as a linear probe")
            return box + self._text(middle, "solved", "var(--ink)")
        if value is None:
            box = self._box(number, Markup('class="cell frozen"'), f"{name}: frozen")
            side = min(self.height - 6, 16 if count <= ROOM_FOR_RATES else 8)
            return box + _flake(middle, self.top + self.height / 2, side)
        fill, words = self.shades.fill(value), self.shades.text(value)
        paint = Markup('class="cell" fill="{}"').format(fill)
        box = self._box(number, paint, f"{name}: {self.shades.meaning} {words}")
        return box + self._text(middle, words, colors.ink(fill))

    def _text(self, middle: float, words: str, ink: str) -> Markup:
        """What stands in a block, if there is room for it."""
        count = len(self.values)
        if count > ROOM_FOR_RATES or self.height < TALL:
            return Markup("")
        text = Markup('<text class="rate{}" x="{:.3f}%" y="{}" dy="4" text-anchor="middle" style="fill:{}">{}</text>')
        crowded = " crowded" if count > FEW else ""
        return text.format(crowded, middle, self.top + self.height / 2, ink, words)

    def _box(self, number: int, paint: Markup, words: str) -> Markup:
        width = 100 / len(self.values)
        box = Markup('<rect {} x="{:.3f}%" y="{}" width="{:.3f}%" height="{}"><title>{}</title></rect>')
        return box.format(paint, number * width, self.top, width, self.height, words)


@dataclass(frozen=True)
class Band:
    """One plan, ready to draw."""

    label: str
    drawing: Markup


def band(name: str, label: str, row: ScoredRow) -> Band:
    """The plan of a row: one strip of blocks for each phase, of each training, and the names of the blocks below.

    Of a distilled network its own: the networks that it learned from are not in it.
    """
    plan = row.plan
    members = plan.members[:1] if plan.is_distilled else plan.members
    phases = [(member.plan, phase) for member in members for phase in member.plan.phases]
    height = TALL if len(phases) == 1 else LOW
    strips = [
        Strip(
            {block: phase.learning_rates[block] for block in plan.blocks},
            number * (height + 3),
            height,
            solved=solved_head(trained),
        ).draw()
        for number, (trained, phase) in enumerate(phases)
    ]
    foot = len(phases) * (height + 3)
    named = names(plan.blocks, foot)
    whole = foot + (NAME_FOOT if named else 4)
    drawing = figure(
        name, label, _description(plan), Markup("").join([*strips, named]), whole, "band named" if named else "band"
    )
    return Band(label, drawing)


def label_of(row: ScoredRow) -> str:
    """What stands above a band: the strategy, and what its plan does besides rates."""
    whose = f"{row.network}: " if row.network else ""
    return "; ".join([whose + (row.strategy if is_mixture(row) else named(row)), *besides_rates(row)])


def scale() -> Markup:
    """The key to the colors."""
    description = "From pale at 1e-5 to dark at 1e-1; frozen blocks carry a snowflake."
    return figure("scale", "Learning rate per step", description, ramp(RATES), 30, "scale")


def ramp(shades: Shades) -> Markup:
    """The colors of a scale from its palest to its darkest over the whole width, 10 pixels high, decades below."""
    steps = 40
    width, span = 100 / steps, shades.fastest - shades.slowest
    pieces = [
        Markup('<rect x="{:.2f}%" y="0" width="{:.2f}%" height="10" fill="{}"/>').format(
            number * width, width + 0.1, shades.fill(10 ** (shades.slowest + span * (number + 0.5) / steps))
        )
        for number in range(steps)
    ]
    decades = range(round(shades.slowest), round(shades.fastest) + 1)
    for decade in decades:
        x = 100 * (decade - shades.slowest) / span
        anchor = "start" if decade == decades[0] else "end" if decade == decades[-1] else "middle"
        label = Markup('<text class="tick" x="{:.2f}%" y="24" text-anchor="{}">{}</text>')
        pieces.append(label.format(x, anchor, shades.text(10.0**decade)))
    return Markup("").join(pieces)


def names(blocks: Sequence[str], top: int) -> Markup:
    """Names of the blocks below `top`, if there is room for them."""
    if len(blocks) > ROOM_FOR_NAMES:
        return Markup("")
    width = 100 / len(blocks)
    text = Markup(
        '<svg x="{:.3f}%" y="{}" overflow="visible"><text class="name" text-anchor="middle">{}<title>{}</title>'
        "</text></svg>"
    )
    return Markup("").join(
        text.format((number + 0.5) * width, top + 12, shorten(name, 12), name) for number, name in enumerate(blocks)
    )


def _flake(x: float, y: float, side: int) -> Markup:
    flake = Markup(
        '<svg class="flake" x="{:.3f}%" y="{}" overflow="visible">'
        '<use href="#snowflake" x="{}" y="{}" width="{}" height="{}"/></svg>'
    )
    return flake.format(x, y, -side / 2, -side / 2, side, side)


def _description(plan: FineTunePlan) -> str:
    words, moved = [], plan.united if plan.mixture else plan
    for name in plan.blocks:
        highest, still = moved.highest_rate(name), "frozen" if name not in plan.trained else "solved"
        words.append(f"{shorten(name)} {still if highest is None else rate(highest)}")
    return f"Blocks from the input to the head: {', '.join(words)}."
