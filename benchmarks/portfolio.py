"""The order in which `auto` tries its initial candidates: a greedy cover over the data sets of the proving ground.

    OMP_NUM_THREADS=1 python -m benchmarks.portfolio --shared ../shared

Trains every candidate of the grid on development split 0 of every data set (outputs in RUNS, resumable; about 12 units
of work a data set) and writes results/portfolio.md: the order, what it is worth at several budgets, and the same where
the order was learned without the data set that it is scored on. `search/baselines.py` holds the order.

What counts is the mean test accuracy of the pick (lowest scaled validation loss) and of the best mean output of three.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ground.cells import opened
from benchmarks.ground.sets import SETS
from benchmarks.ground.settings import Place, Settings
from thawline.plan import FineTunePlan, HeadStart, NormMode
from thawline.recipes.recipe import Table
from thawline.records import write_text
from thawline.search.ensembles import best_members
from thawline.training.mixing import to_logits
from thawline.training.temperature import scaled_log_loss

RESULTS = Path(__file__).parent / "results" / "portfolio.md"
MODES: Mapping[str, tuple[HeadStart, NormMode]] = {
    "probe, kept": ("probe", "eval"),
    "random, moving": ("random", "train"),
    "random, kept": ("random", "eval"),
    "probe, moving": ("probe", "train"),
}
GRID: Mapping[str, tuple[str, int | None, float]] = {
    "solved probe": ("probe, kept", 0, 0.0),
    **{f"all, {rate:g}, probe, kept": ("probe, kept", None, rate) for rate in (1e-4, 3e-4, 1e-3)},
    **{f"last {k}, {rate:g}, probe, kept": ("probe, kept", k, rate) for k in (2, 4) for rate in (3e-4, 1e-3)},
    "last 1, 0.001, probe, kept": ("probe, kept", 1, 1e-3),
    **{f"all, {rate:g}, random, moving": ("random, moving", None, rate) for rate in (1e-3, 3e-3)},
    **{f"last {k}, 0.001, random, moving": ("random, moving", k, 1e-3) for k in (2, 4)},
    "all, 0.0003, random, kept": ("random, kept", None, 3e-4),
    **{f"all, {rate:g}, probe, moving": ("probe, moving", None, rate) for rate in (3e-4, 1e-3)},
}
"""Mode, blocks below the head that train (None = all), and rate."""
BUDGETS = (1.2, 2.0, 3.0, 4.3, 6.0, 9.0)
"""Units of work for the trainings themselves; 5x leaves about 4.3 of them."""
SEED = 1000
MEMBERS = 3


@dataclass(frozen=True)
class Outputs:
    """A candidate on one data set."""

    val: np.ndarray
    """Class probabilities [n, C]."""
    test: np.ndarray
    val_labels: np.ndarray
    test_labels: np.ndarray
    work: float

    def loss(self, probabilities: np.ndarray) -> float:
        """Validation loss after temperature scaling."""
        return scaled_log_loss(to_logits(torch.from_numpy(probabilities)), torch.from_numpy(self.val_labels))[0]

    def accuracy(self, probabilities: np.ndarray) -> float:
        """Test accuracy."""
        return float((probabilities.argmax(axis=1) == self.test_labels).mean())


Pool = Mapping[str, Outputs]
"""The candidates of one data set by name."""


def main() -> None:
    """Train what is missing, then write and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/portfolio"), help="for outputs, manifests, run folders")
    options = parser.parse_args()
    settings = Settings(options.shared, options.runs, options.runs / "results")
    pools = {data: _pool(settings, Place("mobilenetv2_050", data, 0, SETS[data])) for data in SETS}
    text = "\n".join(table.to_markdown() for table in _tables(pools))
    write_text(RESULTS, text)
    print(text)


def _pool(settings: Settings, place: Place) -> Pool:
    """The outputs of every candidate, read where they are there, else trained."""
    folder = settings.runs / "outputs" / place.data
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in GRID if not (folder / f"{name}.npz").exists()]
    if missing:
        with opened(place, settings) as experiment:
            for name in missing:
                np.savez_compressed(folder / f"{name}.npz", **_trained(experiment, name))
    return {name: _read(folder / f"{name}.npz") for name in GRID}


def _read(path: Path) -> Outputs:
    with np.load(path) as stored:
        val, test, val_labels, test_labels = (stored[name] for name in ("val", "test", "val_labels", "test_labels"))
        return Outputs(val, test, val_labels, test_labels, float(stored["work"]))


def _trained(experiment: Any, name: str) -> dict[str, Any]:
    mode, depth, rate = GRID[name]
    head, norm = MODES[mode]
    blocks, data = experiment.blocks("stage"), experiment.data
    trained = blocks if depth is None else blocks[len(blocks) - 1 - depth :]
    rates = {} if name == "solved probe" else {block.name: rate for block in trained}
    plan = FineTunePlan.constant(blocks, rates, norm=norm, head_start=head, kept_epoch="last")
    done = experiment.trainer.train(plan, blocks, seed=SEED)
    outputs: list[Tensor] = [experiment.trainer.probabilities(split.rows) for split in (data.val, experiment.test)]
    return {
        "val": outputs[0].numpy(),
        "test": outputs[1].numpy(),
        "val_labels": data.val.labels.numpy(),
        "test_labels": experiment.test.labels.numpy(),
        "work": experiment.training_work(plan, len(done.epochs)),
    }


class Cover:
    """Greedy covers of some data sets."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.pools = pools
        self.answers = lru_cache(maxsize=None)(self._answers)

    def order(self, sets: Sequence[str]) -> list[str]:
        """All candidates, each the one that adds most to the mean of pick and ensemble over `sets`."""
        order: list[str] = []
        while len(order) < len(GRID):
            worth = {name: self._worth((*order, name), sets) for name in GRID if name not in order}
            order.append(max(worth, key=worth.__getitem__))
        return order

    def within(self, order: Sequence[str], budget: float, data: str) -> tuple[float, float]:
        """Pick and ensemble of those that a budget allows, in their order."""
        taken: list[str] = []
        for name in order:
            if self.pools[data][name].work <= budget:
                budget -= self.pools[data][name].work
                taken.append(name)
        return self.answers(frozenset(taken), data)

    def _worth(self, names: Sequence[str], sets: Sequence[str]) -> float:
        return fmean(value for data in sets for value in self.answers(frozenset(names), data))

    def _answers(self, names: frozenset[str], data: str) -> tuple[float, float]:
        """Test accuracy of the pick, and of the best mean output."""
        pool = {name: self.pools[data][name] for name in GRID if name in names}
        any_of = next(iter(pool.values()))
        outputs = {name: each.val for name, each in pool.items()}
        pick = min(outputs, key=lambda name: any_of.loss(outputs[name]))
        members = best_members(outputs, pick, any_of.loss, MEMBERS)
        mean = np.mean([pool[name].test for name in members], axis=0)
        return any_of.accuracy(pool[pick].test), any_of.accuracy(mean)


def _tables(pools: Mapping[str, Pool]) -> Iterator[Table]:
    cover, sets = Cover(pools), list(pools)
    order = cover.order(sets)
    without = {data: cover.order([other for other in sets if other != data]) for data in sets}
    lines = [
        [f"{budget:g}", *_means([cover.within(order, budget, data) for data in sets]),
         *_means([cover.within(without[data], budget, data) for data in sets])]
        for budget in BUDGETS
    ]  # fmt: skip
    header = ["units", "pick", "ensemble", "pick, set left out", "ensemble, set left out"]
    yield Table("Test accuracy in %, mean over data sets, of candidates trained in the order below", header, lines)
    firsts = [
        [str(place + 1), name, str(sum(name in own[: place + 1] for own in without.values()))]
        for place, name in enumerate(order)
    ]
    yield Table("The order", ["place", "candidate", f"as early in orders without a set, of {len(sets)}"], firsts)
    yield Table(
        "Each data set, its own trainings left out of the order, at 4.3 units",
        ["set", "pick", "ensemble", "first three"],
        [[data, *_means([cover.within(without[data], 4.3, data)]), "; ".join(without[data][:3])] for data in sets],
    )


def _means(pairs: Sequence[tuple[float, float]]) -> list[str]:
    return [f"{100 * fmean(column):.1f}" for column in zip(*pairs, strict=True)]


if __name__ == "__main__":
    main()
