"""What `auto` costs as the data grows, as the blocks become more, and on other networks.

    OMP_NUM_THREADS=1 python -m benchmarks.auto_cost --shared ../shared [cells]
    python -m benchmarks.auto_cost --tables

Six epochs at 96 px, no augmentation, one seed; weights of resnet50 and vit_tiny_patch16_224 are random, which says
nothing about accuracy and everything about cost. Beside each search, one full fine-tuning over all its epochs in the
same process. One JSON per cell goes to results/auto-cost/, the table to results/auto-cost.md; the same command goes on
where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thawline.callback import Callback
from thawline.config import DataConfig, Request, TrainConfig, TuningConfig
from thawline.plan import Granularity
from thawline.records import FORMAT_VERSION, environment, read_json, write_json, write_text
from thawline.runs.experiment import Experiment
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.strategies.base import variants
from thawline.studies.rows import make_row
from thawline.studies.tuning import Context

RESULTS = Path(__file__).parent / "results" / "auto-cost"
EPOCHS = 6


@dataclass(frozen=True)
class Cell:
    """One search."""

    data: str
    limit: int | None
    model: str = "mobilenetv2_050"
    granularity: Granularity = "stage"
    random: bool = False


CELLS: Mapping[str, Cell] = {
    "images-250": Cell("flowers5", 250),
    "images-1000": Cell("flowers5", 1000),
    "images-4000": Cell("flowers5", 4000),
    "stage": Cell("dtd10", None),
    "group": Cell("dtd10", None, granularity="group"),
    "vit-tiny": Cell("flowers5", 250, model="vit_tiny_patch16_224", random=True),
    "resnet50": Cell("flowers5", 250, model="resnet50", random=True),
}


def main() -> None:
    """Run what is not there yet, then write and print the table."""
    options = _options()
    for name in () if options.tables else options.cells or CELLS:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            write_json(path, _measure(name, options))
            print(name, flush=True)
    table = "\n".join(
        _table([(name, read_json(path)) for name in CELLS if (path := RESULTS / f"{name}.json").exists()])
    )
    write_text(RESULTS.with_suffix(".md"), table + "\n")
    print(table)


def _measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    cell, folder = CELLS[name], options.runs / name
    shutil.rmtree(folder, ignore_errors=True)
    weights = options.shared.resolve() / "weights" / cell.model
    request = Request(
        verb="compare",
        data=str(options.shared.resolve() / "data" / cell.data),
        model=cell.model if cell.random else f"local-dir:{weights}",
        weights="random" if cell.random else None,
        strategies=("auto",),
        granularity=cell.granularity,
        train=TrainConfig(epochs=EPOCHS, patience=0, device="cpu", threads=1),
        images=DataConfig(image_size=96, augment="none", limit=cell.limit),
        search=TuningConfig(),
    )
    busy = os.getloadavg()[0]
    with RunFolder.create(folder, request, environment(device="cpu", threads=1)) as opened:
        experiment = open_experiment(opened, Callback()).experiment
        full = _seconds_of_full(experiment)
        row = make_row(experiment, "auto")
        if row.tuned is None or row.tuned.search is None:
            raise SystemExit(f"{name}: {row.error}")
        records = {record.key: record for record in (*row.tuned.records, *row.finals[:1])}.values()
        return {
            "format_version": FORMAT_VERSION,
            "cell": name,
            "images": len(experiment.data.train),
            "blocks": len(experiment.blocks(cell.granularity)),
            "candidates": len(row.tuned.search["candidates"]),
            "work": row.tuned.search["work"] + row.finals[0].work,
            "seconds": sum(record.seconds for record in records),
            "full_seconds": full,
            "environment": environment(device="cpu", threads=1, command="python -m benchmarks.auto_cost"),
            "load_average": {"before": busy, "after": os.getloadavg()[0]},
        }


def _seconds_of_full(experiment: Experiment) -> float:
    strategy = variants("full")[0]
    plan = strategy.propose(Context(experiment, strategy, 1e-3))
    # A seed of its own: what is timed here must not stand for a training of the search or of its answer.
    seed = experiment.tuning_seed - 1
    return experiment.train(plan, strategy="full", learning_rate=1e-3, seed=seed, purpose="tuning").seconds


def _table(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    lines = [
        "| cell | train images | blocks | candidates | work | time, in full fine-tunings | seconds per image of work |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cell in cells:
        per_image = cell["seconds"] / cell["work"] / cell["images"]
        lines.append(
            f"| {name} | {cell['images']:,} | {cell['blocks']} | {cell['candidates']} | {cell['work']:.2f} "
            f"| {cell['seconds'] / cell['full_seconds']:.1f} | {per_image:.3f} |"
        )
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"some of {', '.join(CELLS)}; default: all")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/auto-cost"), help="where the run folders are kept")
    parser.add_argument("--tables", action="store_true", help="run nothing, only write the table again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
