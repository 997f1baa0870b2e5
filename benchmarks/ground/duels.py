"""Pairs of methods, data set by data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.ground.board import PROBE, REFERENCE, Board, Cell
from benchmarks.ground.tables import OLD_UNTUNED, over, over_sets, paired, points, wins
from thawline.formatting import counted, figure
from thawline.recipes.recipe import Table

TRAINED_PROBE = "linear_probe:solver=sgd"
OLD_DEFAULT = "full:norm=moving"
UNTUNED = "full at 0.001"


def duel_tables(board: Board) -> Iterator[Table]:
    """Pairs of methods that the ground was asked about, where it has both."""
    titles = {
        (PROBE, TRAINED_PROBE): "The solved probe against the trained one",
        (REFERENCE, OLD_DEFAULT): "`full` with the norm mode tuned against moving statistics, six trainings each",
        (UNTUNED, OLD_UNTUNED): "The same at the default rate",
    }
    for (first, second), title in titles.items():
        if pairs := board.pairs(first, second):
            yield duel_table(title, pairs)


def duel_table(title: str, pairs: Sequence[tuple[Cell, Cell]]) -> Table:
    """Two methods on the data sets that both have."""
    names = [f"`{cell.method}`" for cell in pairs[0]]
    header = ["data set", *names, "difference, points", "work", "seconds", "the first chose"]
    lines = [_duel_line(first, second) for first, second in pairs]
    differences = over(pairs)
    note = (
        f"{names[0]} minus {names[1]} on {counted(len(pairs), 'data set')}, with the paired 95 % intervals over test "
        f"images. Mean {over_sets(differences)} points, with the interval over data sets; higher on "
        f"{differences.higher}, lower on {differences.lower} (sign test, p = {differences.sign_p:.2g}); "
        f"wins/ties/losses by the intervals over images: {wins(pairs)}."
    )
    return Table(title, header, lines, [note])


def _duel_line(first: Cell, second: Cell) -> list[str]:
    return [
        first.data,
        points(first.accuracy),
        points(second.accuracy),
        paired(first, second),
        f"{figure(first.work, 2)} / {figure(second.work, 2)}",
        f"{figure(first.seconds, 0)} / {figure(second.seconds, 0)}",
        f"`{first.chosen}`",
    ]
