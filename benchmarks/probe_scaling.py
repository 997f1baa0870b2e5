"""How the features of a linear probe should be scaled before its L2 penalty: on the development splits only.

    OMP_NUM_THREADS=1 python -m benchmarks.probe_scaling --shared ../shared

Test accuracy of the solved probe on both development splits of the twelve sets of the proving ground, by the power of a
feature's standard deviation that divides it: 0 = features as they are, 1 = standardized. A table goes to
results/probe-scaling.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.ground.cells import opened
from benchmarks.ground.sets import SETS
from benchmarks.ground.settings import Place, Settings
from benchmarks.ground.splits import DEVELOPMENT
from thawline.recipes.recipe import Table
from thawline.records import write_text
from thawline.runs.experiment import Experiment
from thawline.training import probe

RESULTS = Path(__file__).parent / "results" / "probe-scaling.md"
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    """Solve every probe, then write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/probe-scaling"), help="for manifests and run folders")
    options = parser.parse_args()
    settings = Settings(options.shared, options.runs, options.runs / "results")
    found = {data: np.array([_split(settings, data, split) for split in DEVELOPMENT]) for data in SETS}
    lines = [[data, *_percent(values.mean(axis=0))] for data, values in found.items()]
    lines.append(["mean", *_percent(np.mean(list(found.values()), axis=(0, 1)))])
    title = "Solved probe: test accuracy in % by the power of the scaling, mean of two development splits"
    table = Table(title, ["set", *map(str, POWERS)], lines).to_markdown()
    write_text(RESULTS, table)
    print(table)


def _split(settings: Settings, data: str, split: int) -> list[float]:
    """Test accuracy for every power."""
    with opened(Place("mobilenetv2_050", data, split, SETS[data]), settings) as experiment:
        return list(_accuracies(experiment))


def _accuracies(experiment: Experiment) -> Iterator[float]:
    train, val, test, classes = experiment.data.train, experiment.data.val, experiment.test, len(experiment.classes)
    assert test is not None, "every split has test images"
    experiment.model.restore(0)
    features = experiment.trainer.features()
    seen, checked, tested = (features.of(split.rows) for split in (train, val, test))
    for power in POWERS:
        probe.SCALING = power
        solved = probe.solve_probe(
            seen, train.labels, checked, val.labels, classes, class_weights=None, balanced_validation=False
        )
        predicted = torch.addmm(solved.bias, tested, solved.weight.T).argmax(dim=1)
        yield float((predicted == test.labels).float().mean())


def _percent(values: np.ndarray) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]


if __name__ == "__main__":
    main()
