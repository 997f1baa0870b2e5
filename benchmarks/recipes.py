"""The published studies at small size: a real network of 0.7 million weights at 96 px, on small real data.

    OMP_NUM_THREADS=1 python benchmarks/recipes.py --shared ../shared                 all of them
    OMP_NUM_THREADS=1 python benchmarks/recipes.py depth mobilenetv2-grid             some
    python benchmarks/recipes.py --tables                                            only write the tables again

One JSON per cell goes to results/recipes/STUDY/, the tables to results/recipes/STUDY.md. Stop it whenever you like: the
same command goes on where it was. All of it takes about 35 minutes on one free core. The runs behind the cells
(ledgers, predictions) are kept in --runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from thawline import api
from thawline.callback import Callback
from thawline.config import Request
from thawline.recipes.cells import Overrides, expand
from thawline.recipes.recipe import load_recipe
from thawline.recipes.runs import read_cells, run_cells
from thawline.recipes.tables import markdown
from thawline.records import TrainingRecord, write_text
from thawline.results import Comparison

RESULTS = Path(__file__).parent / "results" / "recipes"
MODEL = "mobilenetv2_050"
SHARES = tuple(f"depth:share={share}" for share in (0, 10, 25, 50, 75, 100))
REDUCED = "biotune:population=6,elites=2,generations=4,seeds=2,folds=2,top=3,encoding=biotune"
"""The paper's search at small size: 46 evaluations instead of 170."""
TINY = "population=4,elites=1,generations=2,seeds=1,top=2"
"""16 evaluations, for each share of the data."""
TABLE1 = tuple(REDUCED if spec == "biotune" else spec for spec in load_recipe("biotune-table1").run.strategies)
DATA_SHARES = tuple(f"biotune:folds={folds},{TINY}" for folds in (10, 5, 4, 2, 1))

SIZES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "biotune-table1": (
        {"data": "dtd10", "epochs": 6, "seeds": 1, "batch_size": 32, "strategies": TABLE1},
        {"data": "flowers5", "limit": 500, "epochs": 6, "seeds": 1, "batch_size": 32, "strategies": TABLE1},
    ),
    "biotune-data-share": ({"data": "dtd10", "epochs": 6, "seeds": 2, "batch_size": 32, "strategies": DATA_SHARES},),
    "depth": ({"data": "dtd10", "epochs": 8, "seeds": 2, "strategies": SHARES},),
    "partial-vs-full": (
        {"data": "dtd10", "epochs": 8, "seeds": 2},
        {"data": "flowers5", "limit": 1000, "epochs": 8, "seeds": 1},
    ),
    "mobilenetv2-grid": ({"data": "dtd10", "limit": 600, "epochs": 20, "seeds": 1},),
}
"""Study -> what is run of it; every part is one call with these overrides."""


def main() -> None:
    """Run what is not there yet, then write and print the tables."""
    options = _options()
    for name in options.studies or SIZES:
        recipe = load_recipe(name)
        started = time.monotonic()
        for size in () if options.tables else SIZES[name]:
            cells = expand(recipe, _overrides(size, options)).cells
            run_cells(recipe, cells, RESULTS / name, _execute, runs=options.runs / name)
        page = markdown(recipe, read_cells(recipe, RESULTS / name))
        write_text(RESULTS / f"{name}.md", page)
        print(page)
        print(f"[{name}: {(time.monotonic() - started) / 60:.1f} min]\n", flush=True)


class Plain(Callback):
    """One line per training."""

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """Say what was trained and how well it did on val."""
        found = "" if record.best is None else f"val {record.best.val_accuracy:.3f}, "
        if not stored:
            print(f"  {record.strategy} at {record.learning_rate:g}: {found}{record.seconds:.0f} s", flush=True)


def _execute(request: Request, folder: Path) -> Comparison:
    print(f"{folder.parent.name}/{folder.name}", flush=True)
    if (folder / "run.json").exists():
        return cast(Comparison, api.resume(folder, Plain()))
    return cast(Comparison, api.run(request, folder, Plain()))


def _overrides(size: Mapping[str, Any], options: argparse.Namespace) -> Overrides:
    given = {**size, "data": (str(options.shared / "data" / size["data"]),)}
    model = f"local-dir:{options.shared / 'weights' / MODEL}"
    return Overrides(models=(model,), image_size=96, threads=options.threads, device="cpu", **given)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help=f"of: {', '.join(SIZES)}; default: all")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="where the run folders are kept")
    parser.add_argument("--threads", type=int, default=1, help="changes rounding: cells of other threads are refused")
    parser.add_argument("--tables", action="store_true", help="run nothing, only write the tables from the cells")
    options = parser.parse_args()
    if unknown := [name for name in options.studies if name not in SIZES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    main()
