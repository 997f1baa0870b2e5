"""Tables of what searches found: share of data against accuracy and cost, which blocks train, and how fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thawline.recipes.reading import by, failures, interval, scored, sizes, spread, title
from thawline.recipes.recipe import Table
from thawline.results import RecipeCell, ScoredCellRow, SearchRecord

FROZEN = "❄"


def data_share_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """Share of the training split per generation against accuracy and cost; then the plans that were found."""
    header = ["share, %", "test accuracy, %", "95 % interval", "trains, %", "trainings", "work", "seconds"]
    note = (
        "Share of the training split that a generation trains on. Work in full fine-tunings: the search and one final "
        "training. Seconds: all trainings. ± is the standard error over seeds; the 95 % interval is over test images."
    )
    for cell in cells:
        found = sorted(_searched(cell), key=lambda pair: pair[1].data_share)
        lines = [[f"{100 * search.data_share:g}", *_cost_line(row, search)] for row, search in found]
        failed = [f"{name} failed: {error}" for name, error in failures(cell).items()]
        yield Table(title(cell), header, lines, [note, *failed, *sizes([cell])])
        searches = {f"{100 * search.data_share:g} %": search for _, search in found}
        yield weights_table(f"{title(cell)}: plan by share of the data", searches)


def plan_tables(cells: Sequence[RecipeCell]) -> Iterable[Table]:
    """For every network and strategy that searches: how much it trains for each dataset, and its plans."""
    for model, group in by(cells, "model").items():
        found = {cell.setting.data: {row.strategy: search for row, search in _searched(cell)} for cell in group}
        for strategy in dict.fromkeys(name for searches in found.values() for name in searches):
            searches = {data: own[strategy] for data, own in found.items() if strategy in own}
            yield trained_table(f"{model}, {strategy}: parameters that train, %", searches)
            yield weights_table(f"{model}, {strategy}: plans", searches)


def trained_table(heading: str, searches: Mapping[str, SearchRecord]) -> Table:
    """Table II of the paper: share of the parameters that the winner trains, by dataset."""
    return Table(heading, list(searches), [[f"{search.trainable_percent:.2f}" for search in searches.values()]])


def weights_table(heading: str, searches: Mapping[str, SearchRecord]) -> Table:
    """Figure 2 of the paper: block x column, the weight on the base rate, or a snowflake."""
    names = dict.fromkeys(block.name for search in searches.values() for block in search.blocks)
    weights = [{block.name: block.weight for block in search.blocks} for search in searches.values()]
    lines = [[name, *(_weight(own.get(name)) for own in weights)] for name in names]
    return Table(heading, ["block", *searches], lines, [f"Weight on the base rate; {FROZEN} = frozen."])


def _searched(cell: RecipeCell) -> list[tuple[ScoredCellRow, SearchRecord]]:
    return [(row, row.search) for row in scored(cell) if row.search]


def _cost_line(row: ScoredCellRow, search: SearchRecord) -> list[str]:
    return [
        spread(row),
        interval(row),
        f"{search.trainable_percent:.2f}",
        f"{row.cost.trainings}",
        f"{row.cost.work:.1f}",
        f"{row.cost.seconds:.0f}",
    ]


def _weight(weight: float | None) -> str:
    return FROZEN if weight is None else f"{weight:.2g}"
