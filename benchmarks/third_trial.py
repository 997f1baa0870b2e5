"""The third trial of `auto`: the distilled answer against the average on three splits, and all answers on the last.

    python -m benchmarks.third_trial

The rule was registered in benchmarks/README.md before split 201 was trained. Cells are those of the proving ground
(splits 200 and 201) and of the comparison of answers (development split 1). Writes results/third-trial.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.ground.board import TUNED_FULL, Board, read_boards
from benchmarks.ground.sets import SETS
from benchmarks.ground.statistics import OverSets
from benchmarks.ground.tables import over_sets
from benchmarks.ground.trial import AVERAGE, DISTILLED, HEAD_FIRST, WANTED, WANTED_OF_FULL, Claim
from thawline.recipes.recipe import Table
from thawline.records import read_json, write_text

RESULTS = Path(__file__).parent / "results"
DEVELOPMENT, PUBLISHED, TRIAL = 1, 200, 201
BACKBONES = ("mobilenetv2_050", "efficientnet_lite0")
"""Those that were registered; the proving ground has others."""
LEAST = 0.5
"""Points by which the distilled answer must be ahead on the trial's own split."""
WORST = -2.0
"""Points below the best fixed way at most, on any data set."""

Differences = Mapping[str, float]
"""Points of test accuracy by data set; where a set was run with several networks, their mean."""


def main() -> None:
    """Write and print the page."""
    boards = [board for board in read_boards(RESULTS / "ground") if board.backbone in BACKBONES]
    text = "\n".join(table.to_markdown() for table in (decision(so_far(boards), decided), claims(boards)))
    write_text(RESULTS / "third-trial.md", text)
    print(text)


def so_far(boards: Sequence[Board]) -> dict[int, Differences]:
    """Distilled answer less the average on every split up to that of this trial."""
    return {DEVELOPMENT: development(RESULTS / "answers")} | {
        split: differences(boards, split, DISTILLED, AVERAGE) for split in (PUBLISHED, TRIAL)
    }


def development(cells: Path) -> Differences:
    """Distilled answer less the average on the development split."""
    return by_set(
        (cell["set"], cell["answers"]["distilled"]["test"] - cell["answers"]["average"]["test"])
        for cell in map(read_json, sorted(cells.glob(f"*/*/{DEVELOPMENT}.json")))
    )


def differences(boards: Iterable[Board], split: int, first: str, second: str) -> Differences:
    """The first row less the second on a split of the proving ground."""
    return by_set(
        (cell.data, cell.accuracy - reference.accuracy)
        for board in boards
        if board.split == split
        for cell, reference in board.pairs(first, second)
    )


def by_set(shares: Iterable[tuple[str, float]]) -> Differences:
    """Differences in points from data sets and differences in accuracy as fractions; several of a set are averaged."""
    found: dict[str, list[float]] = defaultdict(list)
    for data, difference in shares:
        found[data].append(100 * difference)
    return {data: fmean(found[data]) for data in sorted(found, key=list(SETS).index)}


def decision(found: Mapping[int, Differences], says: Callable[[Differences, Differences], str]) -> Table:
    """Distilled less average by split, and the means over data sets.

    `says` makes the note from the differences on the last split and from their means over all splits.
    """
    sets = [data for data in SETS if all(data in own for own in found.values())]
    mean = {data: fmean(own[data] for own in found.values()) for data in sets}
    columns = {f"split {split}": own for split, own in found.items()} | {"mean of the splits": mean}
    lines = [[data, *(f"{own[data]:+.1f}" for own in columns.values())] for data in sets]
    lines.append(["mean (95 % over data sets)", *(over_sets(_over(own, sets)) for own in columns.values())])
    trial = {data: found[max(found)][data] for data in sets}
    return Table(
        "Distilled answer less the average, points of test accuracy", ["", *columns], lines, [says(trial, mean)]
    )


def _over(own: Differences, sets: Iterable[str]) -> OverSets:
    return OverSets([own[data] for data in sets])


def decided(trial: Differences, mean: Differences) -> str:
    """What follows by the rule of the third trial."""
    held = [_over(trial, trial).mean >= LEAST, _over(mean, mean).above_zero]
    facts = [
        f"at least {LEAST} points on split {TRIAL} alone: {'yes' if held[0] else 'no'}",
        f"interval of the mean of the splits above zero: {'yes' if held[1] else 'no'}",
    ]
    return f"{'; '.join(facts)}. So the default answer is the {'distilled network' if all(held) else 'average'}."


def claims(boards: Sequence[Board]) -> Table:
    """Every answer against the two fixed ways on the trial's split."""
    against_fixed = [Claim(answer, HEAD_FIRST, least, True) for answer, least in WANTED.items()]
    against_full = [Claim(answer, TUNED_FULL, WANTED_OF_FULL, True) for answer in WANTED]
    lines = [
        _line(claim, differences(boards, TRIAL, claim.first, claim.second)) for claim in (*against_fixed, *against_full)
    ]
    header = ["difference", "points (95 % over data sets)", "worst set", "higher/lower", "wanted, interval above 0", ""]
    note = (
        f"Split {TRIAL}; a data set that was run with two networks counts once, by the mean of both. Of the best fixed "
        f"way it was also wanted that no set is below {WORST:g}."
    )
    return Table("What is claimed of the answers", header, lines, [note])


def _line(claim: Claim, found: Differences) -> Sequence[str]:
    over = OverSets(list(found.values()))
    worst = min(found, key=found.__getitem__)
    held = {"mean": over.mean >= claim.least, "interval": over.above_zero}
    if claim.second == HEAD_FIRST:
        held["worst set"] = found[worst] >= WORST
    missed = ", ".join(name for name, yes in held.items() if not yes)
    return [
        f"`{claim.first}` - `{claim.second}`",
        over_sets(over),
        f"{worst} {found[worst]:+.1f}",
        f"{over.higher}/{over.lower}",
        f"at least {claim.least:g}",
        f"missed: {missed}" if missed else "met",
    ]


if __name__ == "__main__":
    main()
