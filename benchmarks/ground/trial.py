"""The trial of `auto`: what was wanted, written down before it ran, and what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.ground.board import NEIGHBOURS, TUNED_FULL, Board, Cell, parsed
from benchmarks.ground.methods import ANSWERS, AUTO, FIXED, RANDOM
from benchmarks.ground.tables import ANSWER, over, over_sets, points
from thawline.recipes.recipe import Table

AVERAGE, ENSEMBLE, DISTILLED = (f"auto:answer={answer}" for answer in ("average", "ensemble", "distilled"))
HEAD_FIRST = "full:head_start=probe"
"""The best fixed way of the first trial, with both networks."""
WANTED = {AVERAGE: 0.7, DISTILLED: 0.7, ENSEMBLE: 2.0}
"""Points over the best fixed way at least, with the interval above zero."""
WANTED_OF_FULL = 1.5
"""Points over tuned full fine-tuning at least, with the interval above zero."""
NOT_FIXED = {"auto", "biotune", "fastai", "hf", "timm", NEIGHBOURS}
"""Searches, other libraries, and what nobody would hand over."""


@dataclass(frozen=True)
class Claim:
    """A row of the trial: a difference in points over data sets, and what was wanted of it."""

    first: str
    second: str
    least: float
    above_zero: bool = False
    """Whether the 95 % interval over data sets must lie above zero."""


def trial_tables(board: Board) -> Sequence[Table]:
    """The outcome on a board, and its cells; nothing before the default answer has been there."""
    if not board.row(ANSWER):
        return ()
    return claims_table(board), costs_table(board)


def best_fixed(board: Board) -> str | None:
    """The fixed way with the highest mean test accuracy: chosen on test, in its favor. None if none is complete."""
    complete = [name for name in board.complete if parsed(name)[0] not in NOT_FIXED]
    return max(complete, key=lambda name: _mean_accuracy(board.row(name).values()), default=None)


def claims(board: Board) -> Sequence[Claim]:
    """What was wanted, where both sides have been on this board."""
    fixed = best_fixed(board)
    ways = filter(None, dict.fromkeys([fixed, HEAD_FIRST]))
    against_fixed = [Claim(name, way, least, True) for way in ways for name, least in WANTED.items()]
    others = [
        Claim(ANSWER, TUNED_FULL, WANTED_OF_FULL, True),
        Claim(ANSWER, AUTO.name, 0.7),
        Claim(ANSWER, "hf", 2.0),
        Claim(ANSWER, "fastai", 4.0),
        Claim(ANSWER, "timm", 0.0),
        Claim(ANSWER, RANDOM.name, 0.0),
        *(Claim(method.name, ANSWER, 0.0) for method in ANSWERS if method.name != ANSWER),
    ]
    return [claim for claim in (*against_fixed, *others) if board.pairs(claim.first, claim.second)]


def claims_table(board: Board) -> Table:
    """Differences against what was wanted of them."""
    header = ["difference", "sets", "points (95 % over sets)", "worst set", "higher/lower", "wanted", "held"]
    fixed = best_fixed(board)
    note = (
        f"The best fixed way is the one with the highest mean test accuracy on this split, chosen with hindsight and "
        f"so in its favor: {f'`{fixed}`' if fixed else 'not there yet'}. Higher/lower: data sets. Differences with 0 "
        "wanted were only to be measured."
    )
    return Table("The trial of `auto`", header, [_claim_line(board, claim) for claim in claims(board)], [note])


def _claim_line(board: Board, claim: Claim) -> Sequence[str]:
    pairs = board.pairs(claim.first, claim.second)
    found = over(pairs)
    worst = min(range(len(pairs)), key=found.differences.__getitem__)
    wanted = f"at least {claim.least:g}{', interval above 0' if claim.above_zero else ''}" if claim.least else ""
    held = found.mean >= claim.least and (found.above_zero or not claim.above_zero)
    return [
        f"`{claim.first}` - `{claim.second}`",
        str(len(pairs)),
        over_sets(found),
        f"{pairs[worst][0].data} {found.differences[worst]:+.1f}",
        f"{found.higher}/{found.lower}",
        wanted,
        ("yes" if held else "no") if claim.least else "",
    ]


def costs_table(board: Board) -> Table:
    """What each row of the trial cost, and how far the validation accuracy that it shows is from test."""
    names = [method.name for method in (*ANSWERS, *FIXED, RANDOM, AUTO) if board.row(method.name)]
    header = ["method", "sets", "test, %", "shown on validation less test, points", "work", "time in full runs"]
    lines = [_cost_line(board, name) for name in names]
    note = (
        "Shown on validation: without what it owes to its selection, as a run shows it. Wanted of the default answer, "
        f"`{ANSWER}`: at most 1.0 point, work of at most 5 and a time of at most 6 full fine-tunings, whose time is "
        f"that of a unit of `{TUNED_FULL}` on the same data set."
    )
    return Table("What it cost, and what it promised", header, lines, [note])


def _cost_line(board: Board, name: str) -> Sequence[str]:
    cells = board.row(name)
    runs = [_full_runs(cell, board.row(TUNED_FULL).get(data)) for data, cell in cells.items()]
    known = [found for found in runs if found is not None]
    return [
        f"`{name}`",
        str(len(cells)),
        points(_mean_accuracy(cells.values())),
        f"{100 * fmean(cell.shown_val - cell.accuracy for cell in cells.values()):+.1f}",
        f"{fmean(cell.work or 0.0 for cell in cells.values()):.2f}",
        f"{fmean(known):.2f}" if known else "",
    ]


def _full_runs(cell: Cell, full: Cell | None) -> float | None:
    """Seconds of a cell in full fine-tunings of the same data set; None where they are unknown."""
    if full is None or not full.seconds or not full.work or cell.seconds is None:
        return None
    return cell.seconds * full.work / full.seconds


def _mean_accuracy(cells: Iterable[Cell]) -> float:
    return fmean(cell.accuracy for cell in cells)
