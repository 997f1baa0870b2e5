"""Tables of a board: accuracies, statistics over data sets, shares of trained parameters, pairs of methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from benchmarks.ground.board import PROBE, REFERENCE, Board, Cell, parsed
from benchmarks.ground.statistics import OverSets, Ranking, paired_interval, verdict
from thawline.formatting import counted, figure
from thawline.recipes.recipe import Table
from thawline.training.significance import holm

TRAINED_PROBE = "linear_probe:solver=sgd"
OLD_DEFAULT = "full:norm=moving"
UNTUNED, OLD_UNTUNED = "full at 0.001", "full:norm=moving at 0.001"


def ranking(board: Board) -> Ranking:
    """Of the methods that are complete."""
    return Ranking({name: [board.rows[name][data].accuracy for data in board.sets] for name in board.complete})


def accuracy_table(board: Board) -> Table:
    """Table I of the BioTune paper in kind: methods x data sets, test accuracy in %."""
    best = {
        data: max(board.rows[name][data].accuracy for name in board.methods if data in board.rows[name])
        for data in board.sets
    }
    lines = [
        [f"`{label(name, board)}`", *(_accuracy(board, name, data, best[data]) for data in board.sets)]
        for name in board.methods
    ]
    return Table("Test accuracy, %", ["method", *board.sets], lines, ["Bold: the highest of the data set."])


def _accuracy(board: Board, method: str, data: str, best: float) -> str:
    cell = board.rows[method].get(data)
    if cell is None:
        return "failed" if (method, data) in board.failures else ""
    return f"**{points(cell.accuracy)}**" if cell.accuracy == best else points(cell.accuracy)


def summary_table(board: Board) -> Table:
    """Every method against full fine-tuning, with the data set as the unit."""
    ranks = ranking(board).ranks
    others = [name for name in board.methods if name != REFERENCE and board.pairs(name, REFERENCE)]
    differences = {name: OverSets(_differences(board, name, REFERENCE)) for name in others}
    adjusted = dict(zip(others, holm([found.sign_p for found in differences.values()]), strict=True))
    lines = [
        [
            f"`{label(name, board)}`",
            f"{len(board.rows[name])}",
            points(fmean(cell.accuracy for cell in board.rows[name].values())) if name in ranks else "",
            f"{ranks[name]:.1f}" if name in ranks else "",
            over_sets(differences[name]) if name in differences else "",
            f"{adjusted[name]:.2g}" if name in adjusted else "",
            wins(board.pairs(name, REFERENCE)) if name != REFERENCE else "",
            _mean((cell.work for cell in board.rows[name].values()), 2),
            _mean((cell.seconds for cell in board.rows[name].values()), 0),
        ]
        for name in board.methods
    ]
    header = ["method", "sets", "mean", "rank", "minus full, points", "p", "wins/ties/losses", "work", "seconds"]
    return Table(f"Against `{REFERENCE}`, tuned with the norm mode among what is tuned", header, lines, _notes(board))


def _notes(board: Board) -> list[str]:
    return [
        f"Mean and rank: for the {counted(len(board.complete), 'method')} with all "
        f"{counted(len(board.sets), 'data set')}; rank 1 is best. Minus full: mean difference over the data sets that "
        "both have, with its 95 % interval over data sets (Student's t). p: sign test over data sets, Holm-corrected "
        "for the rows of this table. Wins/ties/losses: data sets on which the paired 95 % interval over test images "
        "lies above zero, contains it, or lies below. Work: tuning and final training, in full fine-tunings; seconds: "
        "wall time of the same; both are means over data sets. A training of another library counts as one unit."
    ]


def share_table(board: Board) -> Table:
    """Table II of the BioTune paper in kind: share of the parameters that train, for the methods that freeze blocks."""
    methods = [name for name in board.methods if any(_freezes(cell) for cell in board.rows[name].values())]
    lines = [
        [f"`{label(name, board)}`", *(_share(board.rows[name].get(data)) for data in board.sets)] for name in methods
    ]
    note = f"Methods that freeze a block on at least one data set. The share of `{PROBE}` is that of the head."
    return Table("Parameters that train, %", ["method", *board.sets], lines, [note])


def _freezes(cell: Cell) -> bool:
    return None in cell.learning_rates.values()


def _share(cell: Cell | None) -> str:
    return "" if cell is None or cell.trainable_share is None else points(cell.trainable_share)


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
    differences = OverSets([100 * (first.accuracy - second.accuracy) for first, second in pairs])
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


def paired(first: Cell, second: Cell) -> str:
    """Difference of two cells of a data set in points, with its 95 % interval over test images if it is known."""
    if first is second:
        return "0"
    shown = f"{100 * (first.accuracy - second.accuracy):+.1f}"
    if first.right is None or second.right is None:
        return shown
    low, high = paired_interval(first.right, second.right)
    return f"{shown} ({100 * low:+.1f} to {100 * high:+.1f})"


def over_sets(found: OverSets) -> str:
    """Mean difference with its interval, both already in points."""
    if found.interval95 is None:
        return f"{found.mean:+.1f}"
    low, high = found.interval95
    return f"{found.mean:+.1f} ({low:+.1f} to {high:+.1f})"


def wins(pairs: Sequence[tuple[Cell, Cell]]) -> str:
    """Wins, ties and losses of the first; empty where images are not known one by one."""
    found = [verdict(a.right, b.right) for a, b in pairs if a.right is not None and b.right is not None]
    return "/".join(str(found.count(outcome)) for outcome in (1, 0, -1)) if found else ""


def label(method: str, board: Board) -> str:
    """A method's name without its arguments, if no other row of the board has that name; else all of it."""
    name, _ = parsed(method)
    return method if sum(parsed(other)[0] == name for other in board.methods) > 1 else name


def points(share: float) -> str:
    """An accuracy or share of 0 to 1 in %, without the sign."""
    return f"{100 * share:.1f}"


def _differences(board: Board, first: str, second: str) -> list[float]:
    """First minus second in points, one for each data set that both have."""
    return [100 * (a.accuracy - b.accuracy) for a, b in board.pairs(first, second)]


def _mean(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return figure(fmean(known), digits) if known else ""
