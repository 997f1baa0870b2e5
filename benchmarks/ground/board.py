"""The cells of the proving ground as the tables and pictures use them: one board for each backbone and split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ground.methods import METHODS
from benchmarks.ground.schema import CellResult
from benchmarks.ground.sets import SETS
from thawline.formatting import counted
from thawline.records import unpack_bits
from thawline.results import Environment
from thawline.runs.files import read

REFERENCE, PROBE, NEIGHBOURS = "full", "linear_probe", "kNN"
TUNED_FULL = "full:head_start=tuned"
"""The reference of boards that lack the first, as they hold the rows of a trial and no others."""
STUDY = "study"
"""The group of methods that have a table of their own and no row in the others."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A method that was scored on the test images of a data set. Accuracies and shares are 0 to 1."""

    method: str
    spec: str
    """Strategy with the arguments that the method settles; for peers, the name of the library."""
    data: str
    group: str
    accuracy: float
    """On test."""
    val_accuracy: float
    val_loss: float = float("inf")
    """In nats; infinite if unknown."""
    right: NDArray[np.float64] | None = None
    """Which test images were right, [n], 0 or 1; None for nearest neighbors, of whom only accuracies are kept."""
    work: float | None = None
    """Cost of tuning and final training, in full fine-tunings; None for nearest neighbors, which are free."""
    seconds: float | None = None
    chosen: str = ""
    """Strategy with all arguments settled."""
    norm: str | None = None
    """moving, kept; None where nothing with running statistics trains."""
    head_start: str = "random"
    learning_rate: float | None = None
    """Base rate; None where no rate was needed."""
    learning_rates: Mapping[str, float | None] = field(default_factory=dict)
    """Highest rate of each block from the input to the head; None = frozen."""
    trainable_share: float | None = None
    optimism: float = 0.0
    """What the validation accuracy owes to its selection, as the search estimates it."""

    @property
    def shown_val(self) -> float:
        """Validation accuracy as a run shows it."""
        return self.val_accuracy - self.optimism


@dataclass(frozen=True)
class Board:
    """The cells of one backbone on one split of each data set that the reference was scored on; some may be missing."""

    backbone: str
    split: int
    rows: Mapping[str, Mapping[str, Cell]]
    """Cells by method and data set, methods in the order in which they run."""
    failures: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why a method could not be trained, by method and data set."""
    commits: Sequence[str] = ()
    machines: Sequence[str] = ()
    """Hardware and versions, a sentence each."""

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return reference_of(self.rows)

    @property
    def sets(self) -> list[str]:
        """Data sets of the board, in the order in which they run."""
        scored = self.row(self.reference)
        return [name for name in SETS if name in scored] + sorted(set(scored) - set(SETS))

    @property
    def methods(self) -> list[str]:
        """Methods with a row in the tables."""
        return [name for name, row in self.rows.items() if not all(cell.group == STUDY for cell in row.values())]

    @property
    def complete(self) -> list[str]:
        """Methods with a row in the tables and a cell on every data set of the board."""
        return [name for name in self.methods if all(data in self.rows[name] for data in self.sets)]

    def row(self, method: str) -> Mapping[str, Cell]:
        """A method's cells by data set; empty if there is none."""
        return self.rows.get(method, {})

    def pairs(self, first: str, second: str) -> list[tuple[Cell, Cell]]:
        """Cells of the data sets that two methods share."""
        left, right = self.row(first), self.row(second)
        return [(left[data], right[data]) for data in self.sets if data in left and data in right]


def read_boards(folder: Path) -> list[Board]:
    """The boards whose cells lie in `folder`/BACKBONE/SET/SPLIT/; `RunFolderError` for a file that is damaged.

    Those of most data sets come first. A board without any cell of the reference is left out.
    """
    results: dict[tuple[str, int], list[CellResult]] = defaultdict(list)
    for path in sorted(folder.glob("*/*/*/*.json")):
        result = read(path, CellResult)
        results[result.backbone, result.split].append(result)
    boards = [board_of(found) for _, found in sorted(results.items())]
    return sorted((board for board in boards if board.sets), key=lambda board: -len(board.sets))


def board_of(results: Sequence[CellResult]) -> Board:
    """The board of cells that share backbone and split; a data set waits until the reference has been there."""
    cells = [cell for result in results for cell in cells_of(result)]
    reference = reference_of({cell.method for cell in cells})
    sets = {cell.data for cell in cells if cell.method == reference}
    cells = [cell for cell in cells if cell.data in sets]
    rows = {
        method: {cell.data: cell for cell in cells if cell.method == method}
        for method in in_order({cell.method for cell in cells})
    }
    return Board(
        results[0].backbone,
        results[0].split,
        rows,
        {(result.method, result.set): result.error for result in results if result.error},
        sorted({result.commit for result in results}),
        sorted({machine(result.environment) for result in results}),
    )


def reference_of(methods: Collection[str]) -> str:
    """The method of these that the others are compared with."""
    return TUNED_FULL if TUNED_FULL in methods and REFERENCE not in methods else REFERENCE


def machine(facts: Environment) -> str:
    """Hardware and versions in a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in facts.packages.items() if version)
    where = f"{facts.processor}, {facts.device}, {counted(facts.threads, 'thread')}, {facts.platform.partition('-')[0]}"
    return f"{where}; Python {facts.python}, {packages}."


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods in the order in which they run, nearest neighbors after the probe; unknown ones last, by name."""
    known = [method.name for method in METHODS]
    known.insert(known.index(PROBE) + 1, NEIGHBOURS)
    return sorted(methods, key=lambda name: (known.index(name) if name in known else len(known), name))


def cells_of(result: CellResult) -> list[Cell]:
    """The cell, and that of the nearest neighbors if the file holds their accuracies; none if the method failed."""
    if result.test_accuracy is None or result.val_accuracy is None or result.right is None:
        return []
    cell = Cell(
        method=result.method,
        spec=result.spec,
        data=result.set,
        group=result.group,
        accuracy=result.test_accuracy,
        val_accuracy=result.val_accuracy,
        val_loss=float("inf") if result.val_loss is None else result.val_loss,
        right=np.array(unpack_bits(result.right, result.images["test"]), dtype=np.float64),
        work=result.work,
        seconds=result.seconds,
        chosen=result.chosen or result.spec,
        norm=result.norm,
        head_start=result.head_start or "random",
        learning_rate=result.learning_rate,
        learning_rates=result.learning_rates or {},
        trainable_share=result.trainable_share,
        optimism=_optimism(result),
    )
    return [cell, *_neighbors(result)] if result.method == PROBE else [cell]


def _optimism(result: CellResult) -> float:
    found = (result.search or {}).get("optimism")
    return found if isinstance(found, float) else 0.0


def _neighbors(result: CellResult) -> list[Cell]:
    found = result.knn or {}
    test, val = found.get("test"), found.get("val")
    if test is None or val is None:
        return []
    return [
        Cell(
            method=NEIGHBOURS,
            spec=NEIGHBOURS,
            data=result.set,
            group=result.group,
            accuracy=test,
            val_accuracy=val,
        )
    ]


def parsed(spec: str) -> tuple[str, dict[str, str]]:
    """Name and arguments of `last_blocks:k=1,norm=kept`."""
    name, _, arguments = spec.partition(":")
    return name, dict(pair.split("=", 1) for pair in arguments.split(",") if pair)
