"""`auto` against other ways to spend the same work, on fresh splits.

    OMP_NUM_THREADS=1 python -m benchmarks.trial --shared ../shared      the published splits, 110 and up
    OMP_NUM_THREADS=1 python -m benchmarks.trial --development           splits 0 to 4, and the ablation
    python -m benchmarks.trial --data dtd10 --procedures auto-5x,paper   some
    python -m benchmarks.trial --data dtd10 --splits 115 116             other splits than those planned
    python -m benchmarks.trial --tables                                  only write the tables again

12 epochs, 96 px, no augmentation, AdamW; the score of a procedure on a split is the mean test accuracy of three final
trainings of its plan, of which its budget pays the first. One JSON per cell goes to results/trial/, the tables to
results/trial.md. Stop it whenever you like: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commit import commit
from benchmarks.trial.peers import tuned
from benchmarks.trial.procedures import ABLATION, PROCEDURES, PUBLISHED, Procedure, run
from benchmarks.trial.resplit import resplit
from benchmarks.trial.splits import planned
from benchmarks.trial.tables import page
from thawline.records import FORMAT_VERSION, environment, read_json, write_json, write_text

RESULTS = Path(__file__).parents[1] / "results" / "trial"
LIMITS = {"dtd10": None, "flowers5": 1200}


@dataclass(frozen=True)
class Cell:
    """One procedure on one split of one data set."""

    data: str
    split: int
    procedure: Procedure

    @property
    def name(self) -> str:
        """File name without ending."""
        return f"{self.data}-{self.split}-{self.procedure.name}"


def main() -> None:
    """Run what is not there yet, then write and print the tables."""
    options = _options()
    for cell in () if options.tables else _cells(options):
        path = RESULTS / f"{cell.name}.json"
        if not path.exists():
            _run(cell, options, path)
    tables = page([read_json(path) for path in sorted(RESULTS.glob("*.json"))])
    write_text(RESULTS.with_suffix(".md"), tables)
    print(tables)


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    """Split by split, so that what is there at any moment can be compared."""
    for data in options.data.split(","):
        names = options.procedures.split(",") if options.procedures else _usual(options.development, data)
        wanted = {name: options.splits or planned(PROCEDURES[name], data, options.development) for name in names}
        for split in sorted(set().union(*wanted.values())):
            yield from (Cell(data, split, PROCEDURES[name]) for name in names if split in wanted[name])


def _usual(development: bool, data: str) -> tuple[str, ...]:
    return (*PUBLISHED, *(ABLATION if development and data == "dtd10" else ()))


def _run(cell: Cell, options: argparse.Namespace, path: Path) -> None:
    manifest = resplit(options.shared / "data" / cell.data, cell.split, LIMITS[cell.data], options.runs)
    # Procedures that train alike share a run: what several of them train is trained once, and counted for each.
    folder = options.runs / f"{cell.data}-{cell.split}{cell.procedure.setting}"
    busy, started = os.getloadavg()[0], time.monotonic()
    weights = options.shared / "weights" / "mobilenetv2_050"
    if cell.procedure.spec == "peer":
        ours = read_json(RESULTS / f"{cell.data}-{cell.split}-auto-5x.json")
        shutil.rmtree(folder, ignore_errors=True)
        found = tuned(cell.procedure.name, manifest, weights.resolve(), cell.split, ours["seconds"], folder)
    else:
        found = run(cell.procedure, manifest, weights, cell.split, folder)
    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "data": cell.data,
        "split": cell.split,
        "procedure": cell.procedure.name,
        "spec": cell.procedure.spec,
        "commit": commit(),
        "environment": environment(device="cpu", threads=1, command="python -m benchmarks.trial"),
        "load_average": {"before": busy, "after": os.getloadavg()[0]},
        "minutes": round((time.monotonic() - started) / 60, 2),
        **found,
    }
    write_json(path, record)
    print(
        f"{cell.name}: test {found['test']['mean']:.3f}, val {found['val']:.3f}, work {found['work']:.2f}, "
        f"{record['minutes']:g} min: {found['chosen']}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/trial"), help="for manifests and run folders")
    parser.add_argument("--data", default="dtd10,flowers5", help="which data sets")
    parser.add_argument("--procedures", default="", help=f"some of {', '.join(PROCEDURES)}")
    parser.add_argument("--splits", type=int, nargs="+", help="instead of those planned; the tables keep them apart")
    parser.add_argument("--development", action="store_true", help="splits 0 to 4, and the ablation")
    parser.add_argument("--tables", action="store_true", help="run nothing, only write the tables from the cells")
    return parser.parse_args()


if __name__ == "__main__":
    main()
