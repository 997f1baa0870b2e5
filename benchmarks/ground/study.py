"""Head start x norm mode at several depths: what each does with the other as it is."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from benchmarks.ground.board import STUDY, Board, parsed
from benchmarks.ground.methods import STUDY_RATES
from benchmarks.ground.statistics import OverSets
from benchmarks.ground.tables import over_sets, points
from thawline.formatting import counted
from thawline.recipes.recipe import Table

Corner = tuple[str, str]
"""Head start and norm mode."""
CORNERS: tuple[Corner, ...] = tuple(itertools.product(("random", "probe"), ("moving", "kept")))
Square = Mapping[Corner, float]
"""Test accuracy in points at each corner."""
DEPTHS = ("1", "2", "4", "all")


def squares(board: Board) -> dict[tuple[str, str], Square]:
    """The squares that have all corners, by data set and depth (blocks below the head that train)."""
    found: dict[tuple[str, str], dict[Corner, float]] = {}
    for row in board.rows.values():
        for data, cell in row.items():
            if cell.group == STUDY:
                depth, corner = place(cell.spec)
                found.setdefault((data, depth), {})[corner] = 100 * cell.accuracy
    return {key: found[key] for key in itertools.product(board.sets, DEPTHS) if len(found.get(key, ())) == len(CORNERS)}


def place(spec: str) -> tuple[str, Corner]:
    """Depth and corner of a method of the study."""
    _, arguments = parsed(spec)
    return arguments.get("k", "all"), (arguments["head_start"], arguments["norm"])


def study_table(board: Board) -> Table | None:
    """Head start x norm mode by data set and depth, means over data sets, and what they say; None without cells."""
    found = squares(board)
    if not found:
        return None
    header = ["data set", "blocks", *(f"{start}, {norm}" for start, norm in CORNERS)]
    lines = [[data, depth, *_line(square)] for (data, depth), square in found.items()]
    means = {depth: _mean_square([square for (_, own), square in found.items() if own == depth]) for depth in DEPTHS}
    counts = Counter(depth for _, depth in found)
    lines += [[f"mean of {counts[depth]}", depth, *_line(square)] for depth, square in means.items() if square]
    note = (
        "Columns: what the head starts from, and the statistics of batch norm in the blocks that train. Blocks: those "
        "below the head that train, counted from the head. "
        f"{len(STUDY_RATES)} rates are tried in each cell; bold is the highest."
    )
    return Table("Head start x norm mode, test accuracy, %", header, lines, [note, sentence(found), by_data_set(found)])


def _line(square: Square) -> Iterator[str]:
    best = max(square.values())
    for corner in CORNERS:
        shown = points(square[corner] / 100)
        yield f"**{shown}**" if square[corner] == best else shown


def _mean_square(found: Sequence[Square]) -> Square | None:
    return {corner: fmean(square[corner] for square in found) for corner in CORNERS} if found else None


def sentence(found: Mapping[tuple[str, str], Square]) -> str:
    """What the squares say: both effects, each with the other as it is, and how often each corner is highest."""
    sets = dict.fromkeys(data for data, _ in found)
    kept = [over_sets(_mean_of(found, (start, "kept"), (start, "moving"))) for start in ("random", "probe")]
    probe = [over_sets(_mean_of(found, ("probe", norm), ("random", norm))) for norm in ("moving", "kept")]
    best = Counter(max(CORNERS, key=square.__getitem__) for square in found.values())
    highest = ", ".join(f"{start} head and {norm} statistics in {count}" for (start, norm), count in best.most_common())
    return (
        f"Over {counted(len(sets), 'data set')}, a data set's depths averaged first, kept statistics change the "
        f"accuracy by {kept[0]} points from a random head and by {kept[1]} from the probe's; the probe's head changes "
        f"it by {probe[0]} with moving statistics and by {probe[1]} with kept ones (95 % intervals over data sets). "
        f"Highest of the four, by row: {highest} of {len(found)}."
    )


def by_data_set(found: Mapping[tuple[str, str], Square]) -> str:
    """The effect of kept statistics on each data set from both heads, as means over its depths."""
    effects = [_effects(found, (start, "kept"), (start, "moving")) for start in ("random", "probe")]
    words = ", ".join(f"{data} {effects[0][data]:+.1f} and {effects[1][data]:+.1f}" for data in effects[0])
    return f"Kept minus moving statistics by data set, from a random head and from the probe's, in points: {words}."


def _mean_of(found: Mapping[tuple[str, str], Square], high: Corner, low: Corner) -> OverSets:
    return OverSets(list(_effects(found, high, low).values()))


def _effects(found: Mapping[tuple[str, str], Square], high: Corner, low: Corner) -> dict[str, float]:
    """`high` minus `low` of each data set, mean over its depths, in points."""
    differences: dict[str, list[float]] = defaultdict(list)
    for (data, _), square in found.items():
        differences[data].append(square[high] - square[low])
    return {data: fmean(own) for data, own in differences.items()}
