"""Where the time of a training step goes, by kind of operator, and how near it comes to the machine's matrix rate.

    OMP_NUM_THREADS=1 python -m benchmarks.step_profile
    OMP_NUM_THREADS=1 python -m benchmarks.step_profile --tables

Six networks with random weights in fp32 and bf16: full fine-tuning in batches of 32 at 128 px (224 where the network
takes nothing else), one thread. Each network and precision is a process of its own: epochs of `STEPS` steps without the
profiler, products of matrices between them, then one epoch under the profiler, of which only the shares are used. CPU
time is counted, so that other work on the machine changes little. One JSON each in results/profile-INSTRUCTIONS/; the
tables stand in benchmarks/README.md between two markers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.commit import commit
from benchmarks.pages import write_between
from benchmarks.speed import instructions, matrix, ours
from benchmarks.speed.commands import environment_of
from benchmarks.speed.settings import BATCH, PRECISIONS, ROOT, Network, Settings
from thawline.records import environment, read_json, write_json
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import Trainer

SIZES = {
    "mobilenetv2_050": 128,
    "efficientnet_lite0": 128,
    "resnet50": 128,
    "densenet121": 128,
    "vit_tiny_patch16_224": 224,
    "convnext_atto": 128,
}
EPOCHS, STEPS, CLASSES = 5, 3, 10
"""Epochs timed, steps in each, classes of the random labels."""
PRODUCT, DEPTHWISE, OPTIMIZER, DATA = "convolution, linear, attention", "depthwise convolution", "optimizer", "data"
OTHER, PYTHON = "other operators", "Python"
COPY = "cast or copy"
BY_NAME = {
    OPTIMIZER: ("optimizer.",),
    "norm": ("batchnorm", "layernorm"),
    "activation": ("relu", "hardtanh", "gelu", "silu", "hardswish"),
    PRODUCT: ("aten::conv", "convolution", "aten::mm", "addmm", "aten::bmm", "mmbackward", "linear", "attention"),
    COPY: ("aten::to", "aten::copy", "tocopybackward", "copybackwards", "aten::contiguous"),
}
"""Parts of operators' names, small letters without underscores, by kind."""
WEIGHTS = {"aten::convolution": 1, "aten::convolutionbackward": 2}
"""Which input holds the weights."""
KINDS = (PRODUCT, DEPTHWISE, "norm", "activation", OPTIMIZER, DATA, COPY, OTHER, PYTHON)
BEGIN, END = "<!-- profile: written by benchmarks.step_profile -->", "<!-- end of profile -->"


def main() -> None:
    """Measure what is not there yet, then write the tables."""
    options = _options()
    if options.cell:
        name, precision = options.cell
        write_json(options.out, measure(name, precision, options.settings))
        return
    results = ROOT / "benchmarks" / "results" / f"profile-{instructions.short_name()}"
    for name in () if options.tables else SIZES:
        for precision in PRECISIONS:
            file = results / f"{name}-{precision}.json"
            if not file.exists():
                print(file.stem, flush=True)
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.step_profile",
                    "--cell",
                    name,
                    precision,
                    "--out",
                    str(file),
                ]
                variables = environment_of(options.settings, options.settings.runs)
                subprocess.run(command, cwd=ROOT, env=variables, check=True)
    folders = sorted((ROOT / "benchmarks" / "results").glob("profile-*/"))
    page = "\n\n".join(map(tables, folders))
    write_between(ROOT / "benchmarks" / "README.md", BEGIN, END, f"{page}\n")
    print(page)


def measure(name: str, precision: str, settings: Settings) -> dict[str, Any]:
    """Images per second, matrix rate and the share of each kind."""
    load = os.getloadavg()[0]
    training = _Training(name, precision, settings)
    product = matrix.product(settings, precision=precision, clock=time.process_time)
    rates, limits = [], []
    for _ in range(EPOCHS):
        rates.append(BATCH * STEPS / training.seconds())
        limits.append(product())
    rate, limit = statistics.median(rates), statistics.median(limits)
    operations = matrix.operations_of(training.model)
    about = environment(device="cpu", threads=settings.threads, command="python -m benchmarks.step_profile")
    return {
        "network": name,
        "image_size": SIZES[name],
        "precision": precision,
        "commit": commit(),
        "environment": about.to_dict(),
        "instructions": instructions.in_use(),
        "load_average": {"before": load, "after": os.getloadavg()[0]},
        "batch": BATCH,
        "gflop_per_image": operations,
        "images_per_second": rates,
        "matrix_gflops": limits,
        "share_of_matrix_rate": rate * operations / limit,
        "shares": training.shares(),
    }


class _Training:
    """Full fine-tuning by thawline's trainer, an epoch at a time."""

    def __init__(self, name: str, precision: str, settings: Settings) -> None:
        self.model = ours.build(Network(name), CLASSES, SIZES[name])
        images, size = BATCH * STEPS, SIZES[name]
        pixels = np.random.default_rng(0).integers(0, 256, (images + ours.VAL_IMAGES, size, size, 3), dtype=np.uint8)
        labels = torch.arange(len(pixels)) % CLASSES
        rows = np.arange(len(pixels))
        data = TrainingData(
            pixels, LabelledRows(rows[:images], labels[:images]), LabelledRows(rows[images:], labels[images:])
        )
        config = ours.configured(settings, self.model, precision, epochs=2)
        self._plan, self._blocks = ours.planned("full", self.model, config.epochs)
        self._trainer = Trainer(self.model, data, config)

    def seconds(self) -> float:
        """CPU time of an epoch after the first, with its validation of two images."""
        stamps: list[float] = []
        self._train(lambda: stamps.append(time.process_time()))
        return stamps[1] - stamps[0]

    def shares(self) -> dict[str, float]:
        """The share of each kind in such an epoch under the profiler, whose own time counts as Python's."""
        profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
        batch = self._trainer.images.batch

        def recorded(rows: np.ndarray, view: int | None) -> Tensor:
            with record_function(DATA):
                return batch(rows, view)

        self._trainer.images.batch = recorded  # type: ignore[method-assign]
        stamps: list[float] = []

        def on_epoch() -> None:
            profiler.stop() if stamps else profiler.start()
            stamps.append(time.perf_counter())

        self._train(on_epoch)
        found = dict.fromkeys(KINDS, 0.0)
        for event in profiler.events() or ():  # type: ignore[no-untyped-call]
            found[_kind(event)] += event.self_cpu_time_total / 1e6
        found[PYTHON] = max(0.0, stamps[1] - stamps[0] - sum(found.values()))
        return {kind: seconds / sum(found.values()) for kind, seconds in found.items()}

    def _train(self, on_epoch: Callable[[], None]) -> None:
        self._trainer.train(self._plan, self._blocks, seed=0, on_epoch=lambda _: on_epoch())


def _kind(event: FunctionEvent | None) -> str:
    """The kind of the outermost operator around this one that has one: a copy within a convolution is part of it."""
    found = OTHER
    shapes: Sequence[int] = ()
    while event is not None:
        name = event.name.lower().replace("_", "")
        kind = (
            DATA if name == DATA else next((k for k, parts in BY_NAME.items() if any(p in name for p in parts)), None)
        )
        if kind is not None and (kind != COPY or found == OTHER):
            found = kind
        if name in WEIGHTS and len(cast("Sequence[object]", event.input_shapes)) > WEIGHTS[name]:
            shapes = cast("Sequence[Sequence[int]]", event.input_shapes)[WEIGHTS[name]]
        event = event.cpu_parent
    # [C, 1, k, k]: each channel by itself.
    return DEPTHWISE if found == PRODUCT and len(shapes) == 4 and shapes[1] == 1 < shapes[0] else found


def tables(folder: Path) -> str:
    """Speeds, then shares."""
    cells = [
        read_json(file) for name in SIZES for file in (folder / f"{name}-{p}.json" for p in PRECISIONS) if file.exists()
    ]
    if not cells:
        return ""
    about, load = cells[0]["environment"], [cell["load_average"] for cell in cells]
    busiest = max(each[when] for each in load for when in ("before", "after"))
    named = ", ".join(f"{library} {name}" for library, name in cells[0]["instructions"].items())
    lines = [
        f"**{folder.name.partition('-')[2]}** ({named}): {about['processor']}, one thread, torch "
        f"{about['packages']['torch']}, timm {about['packages']['timm']}, commit {cells[0]['commit']}, load up to "
        f"{busiest:.1f}; medians of {EPOCHS} (lowest to highest), by CPU time.",
        "",
        "| network | precision | images/s | matrix rate, GFLOP/s | share of it | " + " | ".join(KINDS) + " |",
        "|---|---|---|---|---|" + "---|" * len(KINDS),
    ]
    for cell in cells:
        shares = " | ".join(f"{cell['shares'][kind]:.0%}" for kind in KINDS)
        figures = (
            _spread(cell["images_per_second"]),
            _spread(cell["matrix_gflops"]),
            f"{cell['share_of_matrix_rate']:.1%}",
        )
        lines.append(
            f"| {cell['network']}, {cell['image_size']} px | {cell['precision']} | {' | '.join(figures)} | {shares} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "profile", help="for caches")
    parser.add_argument("--tables", action="store_true", help="measure nothing, only write the tables again")
    parser.add_argument("--cell", nargs=2, metavar=("NETWORK", "PRECISION"), help="measure this one, in this process")
    parser.add_argument("--out", type=Path, help="where its JSON goes")
    options = parser.parse_args()
    options.settings = Settings(shared=ROOT, runs=options.runs.resolve())
    return options


if __name__ == "__main__":
    main()
