"""Which data set is which: where more than a solved probe and tuned full fine-tuning is worth having."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.ground.board import PROBE, REFERENCE, Board, Cell, parsed
from benchmarks.ground.tables import paired, points
from thawline.formatting import counted
from thawline.recipes.recipe import Table

LOSS = 1.0
"""Points that probe and full must both lose to the best depth for a data set to prove something."""
ALL = "all"


@dataclass(frozen=True)
class Regime:
    """A data set's best depth, and what the two usual ways lose to it."""

    depths: Mapping[str, Cell]
    """The cell that validation picks at each depth, by depth from the head alone to everything."""
    probe: Cell
    full: Cell

    @property
    def best(self) -> Cell:
        """The depth with the highest test accuracy, which is biased upwards, since it was chosen on test."""
        return max(self.depths.values(), key=lambda cell: cell.accuracy)

    @property
    def picked(self) -> Cell:
        """The depth that is best on validation: what somebody who tries them all gets."""
        return max(self.depths.values(), key=on_validation)

    @property
    def proving(self) -> bool:
        """Whether probe and full both lose at least `LOSS` points."""
        return all(100 * (self.best.accuracy - cell.accuracy) >= LOSS for cell in (self.probe, self.full))

    @property
    def half(self) -> str:
        """What the data set is good for in a benchmark."""
        return "proving" if self.proving else "do no harm"


def on_validation(cell: Cell) -> tuple[float, float]:
    """What validation ranks by: accuracy, then loss."""
    return cell.val_accuracy, -cell.val_loss


def depth_of(cell: Cell) -> str | None:
    """0, 1, 2, ... (blocks below the head that train), 25 % (of the layers), all; None for what does more than that."""
    (name, _), (_, arguments) = parsed(cell.spec), parsed(cell.chosen)
    if cell.method == PROBE:
        return "0"
    if name == "last_blocks":
        return arguments["k"]
    if name == "depth":
        return f"{float(arguments['share']):g} %"
    return ALL if name == "full" else None


def regime(board: Board, data: str) -> Regime | None:
    """The regime of a data set; None if the cell of the probe or of full is missing."""
    probe, full = board.row(PROBE).get(data), board.row(REFERENCE).get(data)
    if probe is None or full is None:
        return None
    picked: dict[str, Cell] = {}
    for cell in (row[data] for row in board.rows.values() if data in row):
        depth = depth_of(cell)
        if depth is not None and (depth not in picked or on_validation(cell) > on_validation(picked[depth])):
            picked[depth] = cell
    return Regime({depth: picked[depth] for depth in sorted(picked, key=_order)}, probe, full)


def _order(depth: str) -> tuple[bool, bool, float]:
    """Numbers of blocks, then shares, then everything."""
    return depth == ALL, "%" in depth, 0.0 if depth == ALL else float(depth.removesuffix(" %"))


def regimes(board: Board) -> dict[str, Regime]:
    """Regimes by data set, for those that have the cells of probe and full."""
    found = {data: regime(board, data) for data in board.sets}
    return {data: own for data, own in found.items() if own is not None}


def depth_table(board: Board) -> Table:
    """Accuracy by depth, each with the head start and norm mode that validation prefers."""
    found = regimes(board)
    depths = sorted({depth for own in found.values() for depth in own.depths}, key=_order)
    lines = [[data, *(_at(own, depth) for depth in depths)] for data, own in found.items()]
    note = (
        "Columns: how many blocks below the head train, counted from the head; shares are of the layers. Where a depth "
        "has several cells (head start, norm mode), the one that is best on validation is shown. Bold: the highest."
    )
    return Table("Test accuracy by depth, %", ["data set", *depths], lines, [note])


def _at(own: Regime, depth: str) -> str:
    cell = own.depths.get(depth)
    if cell is None:
        return ""
    return f"**{points(cell.accuracy)}**" if cell is own.best else points(cell.accuracy)


def regime_table(board: Board) -> Table:
    """Each data set's best depth, and by how much the solved probe and tuned full lose to it."""
    found = regimes(board)
    header = [
        "data set",
        "best depth",
        "norm",
        "head start",
        "accuracy, %",
        "probe loses",
        "full loses",
        "picked",
        "half",
    ]
    lines = [_regime_line(data, own) for data, own in found.items()]
    proving = [data for data, own in found.items() if own.proving]
    note = (
        f"On {counted(len(found), 'data set')}. Probe loses, full loses: points by which the best depth is ahead of "
        "the solved probe and of tuned `full`, with 95 % intervals over test images. The best depth is the one with "
        "the highest test accuracy in the table above, so these losses are too high by what chance gives to the "
        "highest of several. Picked: the depth that validation chooses instead, and its test accuracy. Proving: both "
        f"lose at least {LOSS:g} point ({len(proving)} of {len(found)}: {', '.join(proving) or 'none'})."
    )
    return Table("Which data set is which", header, lines, [note])


def _regime_line(data: str, own: Regime) -> list[str]:
    best, picked = own.best, own.picked
    return [
        data,
        depth_of(best) or "",
        best.norm or "",
        best.head_start if best is not own.probe else "",
        points(best.accuracy),
        paired(best, own.probe),
        paired(best, own.full),
        f"{depth_of(picked)}: {points(picked.accuracy)}",
        own.half,
    ]


def backbone_table(boards: Sequence[Board]) -> Table:
    """Each data set's best depth and half on every board."""
    found = [regimes(board) for board in boards]
    sets = dict.fromkeys(data for own in found for data in own)
    lines = [[data, *(_in_short(own.get(data)) for own in found)] for data in sets]
    header = ["data set", *(f"{board.backbone}, split {board.split}" for board in boards)]
    return Table("Which data set is which, by backbone", header, lines, ["Best depth, norm mode, head start: half."])


def _in_short(own: Regime | None) -> str:
    if own is None:
        return ""
    facts = [depth_of(own.best), own.best.norm, own.best.head_start if own.best is not own.probe else None]
    return f"{', '.join(filter(None, facts))}: {own.half}"
