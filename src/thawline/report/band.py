"""The network as a band of blocks, as in Figure 2 of the BioTune paper: colour is the rate, a snowflake is frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thawline.formatting import rate
from thawline.plan import FineTunePlan
from thawline.report import colours
from thawline.report.charts import figure, shorten
from thawline.report.summary import besides_rates
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


@dataclass(frozen=True)
class Band:
    """One plan, ready to draw."""

    label: str
    drawing: Markup


def band(name: str, label: str, row: ScoredRow) -> Band:
    """The plan of a row: one strip of blocks for each phase, and the names of the blocks below."""
    plan = FineTunePlan.from_dict(row.plan)
    height = TALL if len(plan.phases) == 1 else LOW
    strips = [
        _strip(plan.blocks, phase.learning_rates, number * (height + 3), height)
        for number, phase in enumerate(plan.phases)
    ]
    foot = len(plan.phases) * (height + 3)
    names = _names(plan.blocks, foot)
    whole = foot + (NAME_FOOT if names else 4)
    drawing = figure(
        name, label, _description(plan), Markup("").join([*strips, names]), whole, "band named" if names else "band"
    )
    return Band(label, drawing)


def label_of(row: ScoredRow) -> str:
    """What stands above a band: the strategy, and what its plan does besides rates."""
    return "; ".join([f"{row.chosen} at {rate(row.learning_rate)}", *besides_rates(FineTunePlan.from_dict(row.plan))])


def scale() -> Markup:
    """The key to the colours."""
    decades = range(round(colours.SLOWEST), round(colours.FASTEST) + 1)
    steps = 40
    width = 100 / steps
    span = colours.FASTEST - colours.SLOWEST
    pieces = [
        Markup('<rect x="{:.2f}%" y="0" width="{:.2f}%" height="10" fill="{}"/>').format(
            number * width, width + 0.1, colours.fill(10 ** (colours.SLOWEST + span * (number + 0.5) / steps))
        )
        for number in range(steps)
    ]
    for decade in decades:
        x = 100 * (decade - colours.SLOWEST) / span
        anchor = "start" if decade == decades[0] else "end" if decade == decades[-1] else "middle"
        label = Markup('<text class="tick" x="{:.2f}%" y="24" text-anchor="{}">{}</text>')
        pieces.append(label.format(x, anchor, f"1e{decade}"))
    description = "From pale at 1e-5 to dark at 1e-1; frozen blocks carry a snowflake."
    return figure("scale", "Learning rate per step", description, Markup("").join(pieces), 30, "scale")


def _strip(blocks: Sequence[str], rates: Mapping[str, float | None], top: int, height: int) -> Markup:
    width = 100 / len(blocks)
    cells = [
        _cell(name, rates[name], number * width, width, top, height, len(blocks)) for number, name in enumerate(blocks)
    ]
    return Markup("").join(cells)


def _cell(name: str, value: float | None, x: float, width: float, top: int, height: int, count: int) -> Markup:
    words = "frozen" if value is None else f"learning rate {rate(value)}"
    paint = Markup('class="cell frozen"') if value is None else Markup('class="cell" fill="{}"').format(_fill(value))
    box = Markup('<rect {} x="{:.3f}%" y="{}" width="{:.3f}%" height="{}"><title>{}: {}</title></rect>')
    drawn = box.format(paint, x, top, width, height, name, words)
    middle, centre = x + width / 2, top + height / 2
    if value is None:
        side = min(height - 6, 16) if count <= ROOM_FOR_RATES else min(height - 6, 8)
        flake = Markup(
            '<svg class="flake" x="{:.3f}%" y="{}" overflow="visible">'
            '<use href="#snowflake" x="{}" y="{}" width="{}" height="{}"/></svg>'
        )
        return drawn + flake.format(middle, centre, -side / 2, -side / 2, side, side)
    if count > ROOM_FOR_RATES or height < TALL:
        return drawn
    text = Markup('<text class="rate{}" x="{:.3f}%" y="{}" dy="4" text-anchor="middle" style="fill:{}">{}</text>')
    return drawn + text.format(_crowded(count), middle, centre, colours.ink(_fill(value)), rate(value))


def _names(blocks: Sequence[str], top: int) -> Markup:
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


def _description(plan: FineTunePlan) -> str:
    words = []
    for name in plan.blocks:
        highest = plan.highest_rate(name)
        words.append(f"{shorten(name)} {'frozen' if highest is None else rate(highest)}")
    return f"Blocks from the input to the head: {', '.join(words)}."


def _fill(value: float) -> str:
    return colours.fill(value)


def _crowded(count: int) -> str:
    return " crowded" if count > FEW else ""
