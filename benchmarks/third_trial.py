"""The distilled answer of `auto` against the average on three splits, and whether it becomes the default.

    python -m benchmarks.third_trial

The rule was registered in benchmarks/README.md before split 201 was trained. Cells are those of the proving ground
(splits 200 and 201) and of the comparison of answers (development split 1). Writes results/third-trial.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.ground.board import read_boards
from benchmarks.ground.sets import SETS
from benchmarks.ground.statistics import OverSets
from benchmarks.ground.tables import over_sets
from benchmarks.ground.trial import AVERAGE, DISTILLED
from thawline.recipes.recipe import Table
from thawline.records import read_json, write_text

RESULTS = Path(__file__).parent / "results"
DEVELOPMENT, PUBLISHED, TRIAL = 1, 200, 201
LEAST = 0.5
"""Points by which the distilled answer must be ahead on the trial's own split."""


def main() -> None:
    """Write and print the page."""
    text = outcome(differences(RESULTS)).to_markdown()
    write_text(RESULTS / "third-trial.md", text)
    print(text)


def differences(results: Path) -> dict[int, dict[str, float]]:
    """Distilled less average in points by split and data set, where there are several networks their mean."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for split, data, difference in _cells(results):
        found[split][data].append(100 * difference)
    return {split: {data: fmean(values) for data, values in own.items()} for split, own in sorted(found.items())}


def _cells(results: Path) -> Iterator[tuple[int, str, float]]:
    for path in sorted((results / "answers").glob(f"*/*/{DEVELOPMENT}.json")):
        cell = read_json(path)
        yield DEVELOPMENT, cell["set"], cell["answers"]["distilled"]["test"] - cell["answers"]["average"]["test"]
    for board in read_boards(results / "ground"):
        if board.split in (PUBLISHED, TRIAL):
            for distilled, average in board.pairs(DISTILLED, AVERAGE):
                yield board.split, distilled.data, distilled.accuracy - average.accuracy


def outcome(found: Mapping[int, Mapping[str, float]]) -> Table:
    """The differences, their means over data sets, and the decision."""
    sets = [data for data in SETS if all(data in own for own in found.values())]
    columns = {f"split {split}": [own[data] for data in sets] for split, own in found.items()}
    columns["mean of the splits"] = [fmean(values) for values in zip(*columns.values(), strict=True)]
    lines = [[data, *(f"{values[at]:+.1f}" for values in columns.values())] for at, data in enumerate(sets)]
    over = [OverSets(values) for values in columns.values()]
    lines.append(["mean (95 % over data sets)", *map(over_sets, over)])
    return Table("Distilled answer less the average, points of test accuracy", ["", *columns], lines, [_decision(over)])


def _decision(over: Sequence[OverSets]) -> str:
    *_, trial, overall = over
    held = [trial.mean >= LEAST, overall.interval95 is not None and overall.interval95[0] > 0]
    facts = [
        f"at least {LEAST} points on split {TRIAL} alone: {'yes' if held[0] else 'no'}",
        f"interval of the mean of the splits above zero: {'yes' if held[1] else 'no'}",
    ]
    return f"{'; '.join(facts)}. So the default answer is the {'distilled network' if all(held) else 'average'}."


if __name__ == "__main__":
    main()
