"""Tables of a board: accuracies, statistics over data sets, shares of trained parameters, pairs of methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from benchmarks.ground.board import PROBE, REFERENCE, TUNED_FULL, Board, Cell, parsed
from benchmarks.ground.statistics import OverSets, Ranking, paired_interval, verdict
from thawline.formatting import counted, figure
from thawline.recipes.recipe import Table
from thawline.strategies.auto import AutoConfig
from thawline.training.significance import holm

AUTO = "auto"
LIBRARIES = ("fastai", "hf", "timm")
OLD_UNTUNED = "full:norm=moving at 0.001"
ANSWER = f"{AUTO}:answer={AutoConfig().answer}"
"""The default answer of `auto`, in its trial."""
IN_SHORT = {
    ANSWER: "**`auto`, the default**: one network",
    f"{AUTO}:answer=ensemble": "**`auto --answer ensemble`**: up to three",
    TUNED_FULL: "everything; rate, batch norm and head start tuned",
    "layer_decay:head_start=tuned": "everything, slower toward the input; likewise tuned",
    "last_blocks:head_start=tuned": "the last 1, 2 or 3 blocks; likewise tuned",
    PROBE: "the head alone: linear probe, solved",
    OLD_UNTUNED: "everything at 1e-3, batch statistics, untuned",
    REFERENCE: "everything; rate and batch norm tuned",
    "biotune": "BioTune, the published search made small",
    AUTO: "`auto` before its trial",
    "fastai": "fastai `fine_tune`, rate tuned, equal time",
    "hf": "Hugging Face `Trainer`, rate tuned, equal time",
    "timm": "timm's recipe, rate tuned, equal time",
}
"""Methods in README's table, and what they are called there."""


VERSUS = ("p", "wins/ties/losses")
VERSUS_NOTE = (
    "Minus: mean difference in points over the data sets that both have, with its 95 % interval over data sets "
    "(Student's t). p: sign test over data sets, Holm-corrected for the rows of the table. Wins/ties/losses: data sets "
    "on which the paired 95 % interval over test images lies above zero, contains it, or lies below."
)


def ranking(board: Board) -> Ranking:
    """Mean ranks of the methods that have a cell on every data set."""
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
    reference = board.reference
    ranks, against = ranking(board).ranks, versus(board, reference)
    lines = [
        [
            f"`{label(name, board)}`",
            _count(board, name),
            _mean_accuracy(board, name),
            f"{ranks[name]:.1f}" if name in ranks else "",
            *against[name],
            _mean((cell.work for cell in board.rows[name].values()), 2),
            _mean((cell.seconds for cell in board.rows[name].values()), 0),
        ]
        for name in board.methods
    ]
    header = ["method", "sets", "mean", "rank", f"minus `{reference}`", *VERSUS, "work", "seconds"]
    note = (
        f"Mean and rank: for the {counted(len(board.complete), 'method')} with all "
        f"{counted(len(board.sets), 'data set')}; rank 1 is best. {VERSUS_NOTE} Work: tuning and final training, in "
        "full fine-tunings; seconds: wall time of the same; both are means over data sets. A training of another "
        "library counts as one unit. A data set on which a method failed is in none of its figures."
    )
    return Table(f"Against `{reference}`, tuned with the norm mode among what is tuned", header, lines, [note])


def versus_table(board: Board, reference: str) -> Table:
    """Every method against another one."""
    against = versus(board, reference)
    lines = [[f"`{label(name, board)}`", _count(board, name), *against[name]] for name in board.methods]
    header = ["method", "sets", f"minus `{reference}`", *VERSUS]
    return Table(f"Against `{reference}`", header, [line for line in lines if line[2]], [VERSUS_NOTE])


def versus(board: Board, reference: str) -> dict[str, list[str]]:
    """Difference, p-value and wins against the reference by method; empty words where there is nothing to compare."""
    pairs = {name: board.pairs(name, reference) for name in board.methods if name != reference}
    found = {name: over(own) for name, own in pairs.items() if own}
    adjusted = holm([differences.sign_p for differences in found.values()])
    words = {
        name: [over_sets(differences), f"{p:.2g}", wins(pairs[name])]
        for (name, differences), p in zip(found.items(), adjusted, strict=True)
    }
    return {name: words.get(name, ["", "", ""]) for name in board.methods}


def readme_table(board: Board) -> Table:
    """The rows that a first look needs, against the default answer of `auto`, or as it was before its trial."""
    reference = ANSWER if board.row(ANSWER) else AUTO
    against = versus(board, reference)
    found = {parsed(name)[0] if name.startswith("biotune") else name: name for name in board.methods}
    lines = [
        [
            words,
            _count(board, found[short]),
            _mean_accuracy(board, found[short]),
            *(against[found[short]][at] for at in (0, 2)),
            _mean((cell.work for cell in board.rows[found[short]].values()), 1),
        ]
        for short, words in IN_SHORT.items()
        if short in found
    ]
    header = ["", "data sets", "test accuracy, %", "minus `auto`", "wins/ties/losses", "work"]
    return Table(f"{board.backbone} on {counted(len(board.sets), 'data set')}", header, lines)


def _count(board: Board, method: str) -> str:
    failed = sum(name == method and data in board.sets for name, data in board.failures)
    return f"{len(board.rows[method])}" + (f", {failed} failed" if failed else "")


def _mean_accuracy(board: Board, method: str) -> str:
    """Over all data sets of the board; empty if the method lacks one, as the others may be easier or harder."""
    row = board.rows[method]
    return points(fmean(cell.accuracy for cell in row.values())) if len(row) == len(board.sets) else ""


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


def paired(first: Cell, second: Cell) -> str:
    """Difference of two cells of a data set in points, with its 95 % interval over test images if it is known."""
    if first is second:
        return "0"
    shown = f"{100 * (first.accuracy - second.accuracy):+.1f}"
    if first.right is None or second.right is None:
        return shown
    low, high = paired_interval(first.right, second.right)
    return f"{shown} ({100 * low:+.1f} to {100 * high:+.1f})"


def over(pairs: Sequence[tuple[Cell, Cell]]) -> OverSets:
    """First minus second of each pair, in points."""
    return OverSets([100 * (first.accuracy - second.accuracy) for first, second in pairs])


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


def _mean(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return figure(fmean(known), digits) if known else ""
