"""Pictures of a board as SVG files: who ranks where, and which blocks the searches train on which data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmarks.ground.board import Board, Cell
from benchmarks.ground.statistics import LEVEL, Ranking
from benchmarks.ground.tables import label, points, ranking
from thawline.formatting import counted, rate
from thawline.report.band import NAME_FOOT, SNOWFLAKE, TALL, WEIGHTS, Strip, names, ramp
from thawline.report.html import packaged

SEARCHES = ("biotune", "auto", "subtune")
"""Strategies whose plans are drawn."""
WIDTH = 900
MARGIN = 20
STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
svg .ground { fill: var(--page); }
svg .heading { font-size: 15px; font-weight: 600; }
svg .alike { stroke: var(--ink); stroke-width: 3; stroke-linecap: round; }
svg line.grid.row { stroke-dasharray: 1 4; }
"""


@dataclass(frozen=True)
class Picture:
    """An SVG file that needs nothing else: on a ground of its own, light or dark as the reader prefers."""

    name: str
    title: str
    description: str
    """What a reader who cannot see it should know."""
    inside: Markup
    height: int

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.name}.svg"

    @property
    def svg(self) -> str:
        """The file."""
        document = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img"><title>{title}</title><desc>{description}</desc><style>{style}</style>{snowflake}'
            '<rect class="ground" width="100%" height="100%" rx="6"/>'
            '<text class="heading" x="{margin}" y="30">{title}</text>{inside}</svg>\n'
        )
        return document.format(
            width=WIDTH,
            height=self.height,
            title=self.title,
            description=self.description,
            style=Markup(packaged("figures.css") + STYLE),
            snowflake=SNOWFLAKE,
            margin=MARGIN,
            inside=self.inside,
        )


def pictures(board: Board) -> Iterator[Picture]:
    """All pictures that there are cells for."""
    place = f"{board.backbone}-{board.split}"
    found = ranking(board)
    if found.tests:
        yield rank_picture(f"ranks-{place}", {name: label(name, board) for name in found.ranks}, found)
    for method in board.methods:
        if label(method, board) in SEARCHES:
            yield plan_picture(f"plans-{label(method, board)}-{place}", label(method, board), board.row(method))


# --- Ranks


ROW, TOP, LEFT, SCALE = 22, 134, 200, 480
"""Pixels: a method's row, all that is above the rows, the names, and the axis."""
BAR = 12
"""Pixels from one bar to the next."""


def rank_picture(name: str, labels: Mapping[str, str], found: Ranking) -> Picture:
    """Mean ranks on an axis; methods that Nemenyi's test cannot tell apart are joined by a bar (Demšar 2006)."""
    axis = _RankAxis(len(found.ranks))
    at = {method: TOP + ROW * number + ROW // 2 for number, method in enumerate(found.ranks)}
    foot = TOP + ROW * len(at)
    rows = [_rank_row(labels[method], mean, axis.x(mean), at[method]) for method, mean in found.ranks.items()]
    bars = [_bar(number, at[first], at[last]) for number, (first, last) in enumerate(found.alike)]
    title = f"Mean rank of {counted(len(at), 'method')} over {counted(found.sets, 'data set')}"
    told = (
        f"Friedman's test: p = {found.friedman_p:.2g}. Methods joined by a bar differ by less than the critical "
        f"difference ({found.critical_difference:.1f} ranks)"
    )
    test = f"of Nemenyi's test at {100 * LEVEL:g} %: these data sets cannot tell them apart."
    words = [_text(MARGIN, 52, told, "axis"), _text(MARGIN, 68, test, "axis")]
    description = (
        f"{told} {test} From the best: {', '.join(f'{labels[m]} {mean:.1f}' for m, mean in found.ranks.items())}."
    )
    inside = Markup("").join([*words, *axis.draw(foot), *axis.ruler(found.critical_difference), *rows, *bars])
    return Picture(name, title, description, inside, foot + MARGIN)


@dataclass(frozen=True)
class _RankAxis:
    """From the best rank to the last."""

    last: int

    def x(self, value: float) -> float:
        return LEFT + SCALE * (value - 1) / (self.last - 1)

    def draw(self, foot: int) -> Iterator[Markup]:
        step = 1 if self.last <= 12 else 5
        for tick in sorted({1, *range(step, self.last + 1, step)}):
            yield _line("grid", self.x(tick), TOP - 6, self.x(tick), foot)
            yield _text(self.x(tick), TOP - 12, f"{tick}", "tick", "middle")

    def ruler(self, difference: float) -> Iterator[Markup]:
        """How long the critical difference is on the axis."""
        end = min(self.x(1 + difference), LEFT + SCALE)
        yield _line("line quiet", LEFT, TOP - 36, end, TOP - 36)
        yield _text(end + 8, TOP - 32, "critical difference", "tick")


def _rank_row(shown: str, mean: float, x: float, y: int) -> Markup:
    dot = Markup('<circle class="dot" cx="{:.1f}" cy="{}" r="5"><title>{}: {:.2f}</title></circle>')
    return Markup("").join(
        [
            _text(LEFT - 14, y + 4, shown, "", "end"),
            _line("grid row", LEFT, y, x, y),
            dot.format(x, y, shown, mean),
            _text(x + 10, y + 4, f"{mean:.1f}", "tick"),
        ]
    )


def _bar(number: int, top: int, bottom: int) -> Markup:
    x = LEFT + SCALE + 60 + BAR * number
    return _line("alike", x, top - 4, x, bottom + 4)


# --- Plans


LEFT_OF_PLAN, RIGHT_OF_PLAN, HEAD_OF_PLAN = 120, 170, 92
"""Pixels: names of the data sets, what stands to the right of a plan, all that is above the first plan."""


def plan_picture(name: str, method: str, row: Mapping[str, Cell]) -> Picture:
    """Figure 2 of the BioTune paper in kind: for each data set the blocks from the input to the head."""
    strips = [_plan_row(cell, HEAD_OF_PLAN + number * (TALL + 3)) for number, cell in enumerate(row.values())]
    foot = HEAD_OF_PLAN + len(strips) * (TALL + 3)
    blocks = list(next(iter(row.values())).learning_rates)
    inner = WIDTH - LEFT_OF_PLAN - RIGHT_OF_PLAN
    inside = Markup("").join([*_key(), *strips, _nested(LEFT_OF_PLAN, foot, inner, NAME_FOOT, names(blocks, 0))])
    title = f"What {method} trains on {counted(len(row), 'data set')}"
    return Picture(name, title, "; ".join(map(_in_words, row.values())), inside, foot + NAME_FOOT + MARGIN)


def weights(cell: Cell) -> dict[str, float | None]:
    """Rate of each block over the base rate of the plan; None = frozen."""
    trained = [value for value in cell.learning_rates.values() if value]
    base = cell.learning_rate or max(trained, default=1.0)
    return {block: None if value is None else value / base for block, value in cell.learning_rates.items()}


def _plan_row(cell: Cell, top: int) -> Markup:
    strip = Strip(weights(cell), 0, TALL, WEIGHTS).draw()
    beside = WIDTH - RIGHT_OF_PLAN + 12
    share = "" if cell.trainable_share is None else f"{points(cell.trainable_share)} % of parameters"
    base = "solved" if cell.learning_rate is None else f"base rate {rate(cell.learning_rate)}"
    rest = [base, cell.norm, "probe" if cell.head_start == "probe" else None]
    return Markup("").join(
        [
            _text(LEFT_OF_PLAN - 12, top + TALL // 2 + 4, cell.data, "", "end"),
            _nested(LEFT_OF_PLAN, top, WIDTH - LEFT_OF_PLAN - RIGHT_OF_PLAN, TALL, strip),
            _text(beside, top + 16, share),
            _text(beside, top + 31, ", ".join(filter(None, rest)), "tick"),
        ]
    )


def _key() -> Sequence[Markup]:
    """The colors in words, and the snowflake."""
    width = 200
    flake = Markup(
        '<rect class="cell frozen" x="{x}" y="0" width="34" height="22"/>'
        '<g class="flake"><use href="#snowflake" x="{inner}" y="4" width="14" height="14"/></g>'
    )
    frozen = LEFT_OF_PLAN + width + 60
    return (
        _text(MARGIN, 54, "weight on the", "axis"),
        _text(MARGIN, 68, "base rate", "axis"),
        _nested(LEFT_OF_PLAN, 46, width, 30, ramp(WEIGHTS)),
        _nested(frozen, 46, 34, 22, flake.format(x=0, inner=10)),
        _text(frozen + 44, 62, "frozen", "axis"),
        _text(WIDTH - RIGHT_OF_PLAN, 62, "input on the left, head on the right", "axis", "end"),
    )


def _in_words(cell: Cell) -> str:
    trained = [f"{block} {weight:.2g}" for block, weight in weights(cell).items() if weight is not None]
    return f"{cell.data}: {', '.join(trained)}"


# --- Shapes


def _nested(x: float, y: float, width: float, height: float, inside: Markup) -> Markup:
    """A drawing whose places are percentages of its own size."""
    return Markup('<svg x="{}" y="{}" width="{}" height="{}">{}</svg>').format(x, y, width, height, inside)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    shape = Markup('<text class="{}" x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
    return shape.format(kind, x, y, anchor, words)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    shape = Markup('<line class="{}" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>')
    return shape.format(kind, x1, y1, x2, y2)
