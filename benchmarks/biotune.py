"""BioTune's reduced protocol beside the usual ways, and its parts left out one by option, on small real data.

    OMP_NUM_THREADS=1 python -m benchmarks.biotune --shared ../shared                 all cells of one search seed
    OMP_NUM_THREADS=1 python -m benchmarks.biotune --search-seeds 2                   the ablation with a second one
    python -m benchmarks.biotune --tables                                             only write the tables again

12 epochs, patience 3, Adam at 1e-3, 96 px, no augmentation; searches of population 6, elites 2, generations 4, 2 seeds,
2 folds, top 3; 3 final seeds. One JSON per cell goes to results/biotune/, the tables to results/biotune.md. Stop it
whenever you like: the same command goes on where it was. The expected minutes of every cell are printed first.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from benchmarks.biotune_tables import page
from thawline import api
from thawline.callback import Callback
from thawline.config import DataConfig, Request, TrainConfig, TuningConfig
from thawline.recipes.runs import figures_of
from thawline.records import FORMAT_VERSION, TrainingRecord, fingerprint, read_json, write_json, write_text
from thawline.results import Comparison
from thawline.runs.files import PREDICTIONS
from thawline.strategies.biotune import EvolutionConfig

RESULTS = Path(__file__).parent / "results" / "biotune"
MODEL = "mobilenetv2_050"
PROTOCOL = EvolutionConfig(population=6, elites=2, generations=4, seeds=2, folds=2, top=3)
SMOKE = EvolutionConfig(population=3, elites=1, generations=1, seeds=2, folds=2, top=1)
TUNED = ("full", "linear_probe", "last_blocks")
PARTS: Mapping[str, Mapping[str, Any]] = {
    "without-threshold": {"without": "threshold"},
    "without-exploitation": {"without": "exploitation"},
    "without-momentum": {"without": "momentum"},
    "without-adoption": {"without": "adoption"},
    "without-rotation": {"without": "rotation"},
    "one-seed": {"seeds": 1},
}
IMAGES = {"dtd10": (None, 400, 400), "flowers5": (1200, 720, 240)}
"""Limit; images that train and that validate, for the estimate."""
MILLISECONDS = 0.57
"""One image through the network once, forward, on one free core; a training step is three of these."""
EARLY = 0.7
"""Share of the epochs that are run before patience ends a training, about."""
TUNED_STEPS = 9 * (1 + 0.1 + 0.7)
"""The three tuned rows in full fine-tunings: six trainings for the rate, three final ones."""


@dataclass(frozen=True)
class Cell:
    """One data set and search seed, with the row or rows that it adds to their comparison."""

    data: str
    seed: int
    part: str
    """One of `PARTS`; empty = the whole search."""
    search: EvolutionConfig
    rows: tuple[str, ...]

    @property
    def name(self) -> str:
        """File name without ending."""
        return "-".join(filter(None, (self.data, f"seed{self.seed}" if self.seed else "", self.part)))

    @property
    def minutes(self) -> float:
        """Expected on one free core."""
        _, train, val = IMAGES[self.data]
        search, full = self.search, 12 * (3 * train + val)
        part = 12 * (3 * train / search.folds + val)
        passes = search.evaluations * search.seeds * part + (search.top * search.seeds + 3) * full
        passes += TUNED_STEPS * full if len(self.rows) > 1 else 0
        return EARLY * passes * MILLISECONDS / 60_000


class Plain(Callback):
    """One line per training."""

    def forecast(self, seconds: float, units: float, trainings: int, memory_bytes: int) -> None:
        """Print the upper bound on time and trainings."""
        print(f"  at most {seconds / 60:.0f} min, {trainings} trainings, all rows of the comparison", flush=True)

    def training_done(self, record: TrainingRecord, *, stored: bool) -> None:
        """How well it did on val."""
        if not stored:
            found = record.error or f"val {record.score[0]:.3f}, {record.seconds:.0f} s"
            name = record.strategy.partition(":")[0]
            print(f"  {name}, {record.purpose} {record.generation}.{record.slot}: {found}", flush=True)


def main() -> None:
    """Run what is not there yet, then write and print the tables."""
    options = _options()
    cells = tuple(_cells(options))
    results = options.runs / "smoke" if options.smoke else RESULTS
    left = [] if options.tables else [cell for cell in cells if not _is_done(cell, options, results)]
    if not options.smoke:
        print(*(f"{cell.name}: about {cell.minutes:.0f} min" for cell in left), sep="\n")
        print(f"together about {sum(cell.minutes for cell in left):.0f} min on one free core", flush=True)
    for cell in left:
        _run(cell, options, results)
    paths = (results / f"{cell.name}.json" for cell in cells)
    tables = page([read_json(path) for path in paths if path.exists()])
    write_text(results.with_suffix(".md"), tables)
    print(tables)


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    """The cells in order of importance: the protocol on dtd10, its parts, the other data set, further search seeds."""
    search = SMOKE if options.smoke else PROTOCOL
    changed = {name: replace(search, **change) for name, change in PARTS.items()}
    for seed in range(options.search_seeds):
        beside = TUNED if seed == 0 else ()
        yield Cell("dtd10", seed, "", search, (*beside, spec(search)))
        for part, own in changed.items():
            yield Cell("dtd10", seed, part, own, (spec(own),))
        if seed == 0:
            yield Cell("flowers5", seed, "", search, (*beside, spec(search)))


def spec(search: EvolutionConfig) -> str:
    """The search as an argument of the command line."""
    values = (f"{option.name}={getattr(search, option.name)}" for option in fields(search))
    return f"biotune:{','.join(values)}"


def _is_done(cell: Cell, options: argparse.Namespace, results: Path) -> bool:
    path = results / f"{cell.name}.json"
    if path.exists() and read_json(path)["key"] != _key(cell, options):
        sys.exit(f"{path} was run with other settings; remove it.")
    return path.exists()


def _run(cell: Cell, options: argparse.Namespace, results: Path) -> None:
    """Cells of one data set and search seed share a run, so that what they have in common is trained once."""
    request = _request(cell, options)
    folder = options.runs / f"{cell.data}-seed{cell.seed}-{_settings(request)[:8]}"
    print(f"{cell.name} in {folder}", flush=True)
    busy, started = os.getloadavg()[0], time.monotonic()
    begun = (folder / "run.json").exists()
    comparison = api.resume(folder, Plain(), add=cell.rows) if begun else api.run(request, folder, Plain())
    stored = figures_of(cast(Comparison, comparison), folder / PREDICTIONS)
    record = {
        "format_version": FORMAT_VERSION,
        "cell": cell.name,
        "setting": {"model": MODEL, "data": cell.data},
        "part": cell.part,
        "search_seed": cell.seed,
        "key": _key(cell, options),
        "command": "python -m benchmarks.biotune",
        # What else ran: this machine's load before and after, 1 = one core busy.
        "load_average": {"before": busy, "after": os.getloadavg()[0]},
        "minutes": round((time.monotonic() - started) / 60, 2),
        **stored.to_dict(),
        "rows": [row for row in stored.rows if row.strategy in cell.rows],
    }
    write_json(results / f"{cell.name}.json", record)


def _request(cell: Cell, options: argparse.Namespace) -> Request:
    limit, side, epochs = (60, 32, 1) if options.smoke else (IMAGES[cell.data][0], 96, 12)
    return Request(
        verb="compare",
        data=str(options.shared / "data" / cell.data),
        model=f"local-dir:{options.shared / 'weights' / MODEL}",
        strategies=cell.rows,
        train=TrainConfig(epochs=epochs, patience=3, optimizer="adam", device="cpu", threads=options.threads),
        images=DataConfig(image_size=side, augment="none", limit=limit, seed=cell.seed),
        search=TuningConfig(seeds=3),
    )


def _key(cell: Cell, options: argparse.Namespace) -> str:
    return fingerprint(_settings(_request(cell, options)), cell.rows)


def _settings(request: Request) -> str:
    """Fingerprint of all but the rows and the place of the files."""
    return fingerprint({**asdict(request), "data": None, "model": None, "strategies": None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/biotune"), help="where the run folders are kept")
    parser.add_argument("--threads", type=int, default=1, help="changes rounding: cells of other threads are refused")
    parser.add_argument("--search-seeds", type=int, default=1, help="searches of each part of the ablation")
    parser.add_argument("--tables", action="store_true", help="run nothing, only write the tables from the cells")
    parser.add_argument("--smoke", action="store_true", help="everything at a size that says nothing; keeps no figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
