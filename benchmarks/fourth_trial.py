"""The fourth trial of `auto`: the distilled answer against the average on a split on which nothing else was trained.

    python -m benchmarks.fourth_trial

The rule was registered in benchmarks/README.md before split 202 was trained. Writes results/fourth-trial.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from benchmarks import third_trial
from benchmarks.ground.board import Cell, cells_of, read_boards
from benchmarks.ground.schema import CellResult
from benchmarks.ground.trial import AVERAGE, DISTILLED
from benchmarks.third_trial import BACKBONES, LEAST, RESULTS, Differences, by_set
from thawline.records import write_text
from thawline.runs.files import read

TRIAL = 202
WORST = -1.0
"""Points of the mean of all splits that the distilled answer may be behind, on any data set."""


def main() -> None:
    """Write and print the page."""
    boards = [board for board in read_boards(RESULTS / "ground") if board.backbone in BACKBONES]
    found = third_trial.so_far(boards) | {TRIAL: differences(cells(RESULTS / "ground"))}
    text = third_trial.decision(found, decided).to_markdown()
    write_text(RESULTS / "fourth-trial.md", text)
    print(text)


def cells(folder: Path) -> list[tuple[str, Cell]]:
    """The cells of the trial's split with their networks; a board would need a row that was not run there."""
    files = (path for backbone in BACKBONES for path in sorted(folder.glob(f"{backbone}/*/{TRIAL}/*.json")))
    return [
        (result.backbone, cell) for result in (read(path, CellResult) for path in files) for cell in cells_of(result)
    ]


def differences(found: Iterable[tuple[str, Cell]]) -> Differences:
    """Distilled answer less the average."""
    rows = {(cell.method, backbone, cell.data): cell.accuracy for backbone, cell in found}
    return by_set(
        (data, accuracy - rows[AVERAGE, backbone, data])
        for (method, backbone, data), accuracy in rows.items()
        if method == DISTILLED and (AVERAGE, backbone, data) in rows
    )


def decided(trial: Differences, mean: Differences) -> str:
    """What follows by the rule of this trial."""
    ahead, behind = (sum(sign * value > 0 for value in mean.values()) for sign in (1, -1))
    lowest = min(mean, key=mean.__getitem__)
    held = [fmean(trial.values()) >= LEAST, ahead > behind, mean[lowest] >= WORST]
    facts = [
        f"at least {LEAST} points on split {TRIAL} alone: {'yes' if held[0] else 'no'}",
        f"data sets ahead and behind over the mean of the splits: {ahead} and {behind}",
        f"lowest of them: {lowest} {mean[lowest]:+.1f} (not below {WORST:g}: {'yes' if held[2] else 'no'})",
    ]
    return f"{'; '.join(facts)}. So the default answer is the {'distilled network' if all(held) else 'average'}."


if __name__ == "__main__":
    main()
