"""Which network, at which size: `fit` with several pairs against a search for every pair, at equal work.

    python -m benchmarks.networks --shared ../shared                        every cell that is missing
    python -m benchmarks.networks --shared ../shared --sets isic5,dtd10     some
    python -m benchmarks.networks --smoke                                   one set with few images, to see it work
    python -m benchmarks.networks --page benchmarks/README.md               write the tables between the file's markers

One JSON per cell goes to results/networks/. Stop it whenever you like: the same command goes on where it was, and a
second process with the same command takes other sets.

Protocol, written before anything was run
-----------------------------------------
Pairs: MobileNetV2 0.5, EfficientNet-Lite0 and EfficientNet-Lite2 (ImageNet weights), each at 64 and at 96 px.
Sets: isic5, dtd10, eurosat, gtsrb, flowers12, pacs-sketch. One split of each, the published one of benchmarks.ground
(number 200): at most 400 training, 250 validation and 1,000 test images.
Training: fp32, one thread, 5 epochs, no augmentation, else the defaults. The network of the choice and the six
searches have the same images, epochs, seed and defaults of `auto`.

The unit of work is a full fine-tuning of the costliest pair (Lite2 at 96 px). Seven cells a set:
  choice   `fit` with all six pairs: probes, comparison of networks and search within 2 units.
  a pair   `auto` on that pair alone, with as many of its own full fine-tunings as 2 units pay for.
Either is tuned within its budget, then trained with the final seed (not counted) and scored on test once.

Figures of a set:
  regret            highest test accuracy of the six searches, minus that of the choice. The highest of six test
                    accuracies is higher than that of the pair that is best in truth: this regret is too high rather
                    than too low.
  regret on val     the same against the search that has the highest validation accuracy, which one could have picked.
  largest           the regret of the costliest pair whose full fine-tuning the budget pays for, here always Lite2 at
                    96 px: "the largest that fits the budget".
  rank correlation  Spearman's, over the six pairs, of the solved probe's and of the nearest neighbors' validation
                    accuracy in stage 1 with the test accuracy of the search on that pair; beside it that of the FLOPs.
  stage 1           its work in units; on dtd10 at most 0.5 is wanted.
Over sets: means with 95 % t intervals. Wanted: a mean regret of at most 1.0 point, and lower than that of the largest.

Cost, estimated before the first result: one cell, the choice on isic5, was timed and its scores were not looked at.
It took 224 s beside other work (load average 7 on two cores), 180 s of them in trainings and probes. The cells of a set
have the same budget; small networks get less out of a processor, so a pair is put at 220 s, too: 26 minutes a set, 2.6
core-hours in all at most, less on a machine with nothing else to do. Epochs and budget were chosen to stay below three.
Stopping rule: all 42 cells of this grid, and no others. A cell whose training fails says why, and stays. No set, pair,
size, split or budget is added, changed or left out after results were seen; what is changed later starts a new folder.

Changed after all results had been seen (results/networks-changed/, the choice alone, on the same split, so that its
figures are not those of a method that had never seen these images). On gtsrb and isic5 the regret came from the search
and not from the choice: too little was left of the budget to train the candidate with moving statistics, which wins
there. Now the comparison trains one candidate of each pair and not two, the search pays only for the rest of what the
comparison had begun, and it keeps no budget for extra seeds before both norm modes have been tried.

    python -m benchmarks.networks --shared ../shared --arms choice --results benchmarks/results/networks-changed
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.commit import commit
from benchmarks.ground.cells import CACHE, strategy_figures
from benchmarks.ground.methods import Method
from benchmarks.ground.queue import claimed
from benchmarks.ground.schema import CellResult
from benchmarks.ground.splits import PUBLISHED, Sizes, write_manifest
from benchmarks.pages import percent_interval, write_between
from thawline.callback import Callback
from thawline.config import Candidates, DataConfig, Request, TrainConfig, TuningConfig
from thawline.recipes.recipe import Table
from thawline.records import environment, write_json
from thawline.results import NetworkChoice, Result
from thawline.runs.experiment import Experiment
from thawline.runs.files import MODELS, read
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.studies.networks import settle_network
from thawline.studies.pairs import short_name

RESULTS = Path(__file__).parent / "results" / "networks"
CHANGED = RESULTS.with_name("networks-changed")
"""Cells of the choice after a change that was made when results had been seen."""
BEGIN = "<!-- networks: written by benchmarks.networks -->"
END = "<!-- end of networks -->"
COMMAND = "python -m benchmarks.networks"
BACKBONES = ("mobilenetv2_050", "efficientnet_lite0", "efficientnet_lite2")
PIXELS = (64, 96)
SETS = ("isic5", "dtd10", "eurosat", "gtsrb", "flowers12", "pacs-sketch")
SPLIT = PUBLISHED[0]
EPOCHS = 5
BUDGET = 2.0
"""Full fine-tunings of the costliest pair."""
CHOICE = "choice"


@dataclass(frozen=True)
class Pair:
    """A network at an image size."""

    backbone: str
    pixels: int

    @property
    def name(self) -> str:
        """Its name in cells and tables, the same as in `fit`."""
        return f"{self.backbone} at {self.pixels} px"


PAIRS = tuple(Pair(backbone, pixels) for backbone in BACKBONES for pixels in PIXELS)
LARGEST = PAIRS[-1]


@dataclass(frozen=True)
class Settings:
    """Where everything is, and how large."""

    shared: Path
    runs: Path
    results: Path
    sizes: Sizes = field(default_factory=Sizes)
    epochs: int = EPOCHS
    pairs: Sequence[Pair] = PAIRS

    def cell(self, data: str, arm: str) -> Path:
        """The file of a cell."""
        return self.results / data / f"{arm.replace(' ', '-')}.json"

    def model(self, backbone: str) -> str:
        """A network with ImageNet weights."""
        return f"local-dir:{(self.shared / 'weights' / backbone).resolve()}"

    def request(self, data: str, spec: str, pair: Pair, candidates: Candidates | None = None) -> Request:
        """A search on one pair, or among candidates."""
        return Request(
            verb="fit",
            data=str(self.manifest(data).resolve()),
            model=self.model(pair.backbone),
            strategies=(spec,),
            train=TrainConfig(epochs=self.epochs, device="cpu", threads=1),
            images=DataConfig(image_size=pair.pixels, augment="none", seed=SPLIT),
            search=TuningConfig(seeds=1),
            cache=CACHE,
            explain=False,
            candidates=candidates,
        )

    def manifest(self, data: str) -> Path:
        """The table of the images that are drawn, which is written if it is not there."""
        path = self.runs / f"{data}.csv"
        if not path.exists():
            write_manifest(self.shared / "data" / data, SPLIT, self.sizes, path)
        return path


@dataclass(frozen=True, kw_only=True)
class FirstLook(Result):
    """What stage 1 found of a pair. Accuracies on validation, 0 to 1."""

    probe: float | None
    neighbors: float | None
    flops: int
    unit_share: float
    """A full fine-tuning of it, in units."""
    epochs: int
    """Epochs of its longest training in the comparison; 0 = never trained."""


@dataclass(frozen=True, kw_only=True)
class NetworkCell(CellResult):
    """What a cell's file holds; `work` counts full fine-tunings of its pair, `units` those of the costliest."""

    arm: str
    """`choice`, or the name of a pair."""
    network: str
    """Name of the pair that was used."""
    epochs: int
    units: float | None
    """All that was trained and probed, the final training included."""
    first_look: Mapping[str, FirstLook] | None = None
    """Stage 1 by pair; only cells of the choice have it."""
    work_of_probes: float | None = None
    """Stage 1 in units, of the choice alone."""


def main() -> None:
    """Run what is not there yet, or write the page."""
    options = _options()
    if options.page:
        write_between(options.page, BEGIN, END, page(options.results))
        return
    names = options.sets.split(",") if options.sets else list(SETS)
    settings = Settings(options.shared, options.runs, options.results)
    if options.smoke:
        place = Path(tempfile.mkdtemp(prefix="networks-smoke-"))
        pairs = [Pair("mobilenetv2_050", 64), Pair("efficientnet_lite0", 64)]
        settings = Settings(options.shared, place / "runs", place / "results", Sizes(40, 20, 40, 1), 2, pairs)
        names = ["isic5"]
    for name in names:
        with claimed(settings.runs / f"{name}.lock") as ours:
            if ours:
                run_set(name, settings, options.arms.split(",") if options.arms else None)
    if options.smoke:
        print(page(settings.results))


def run_set(data: str, settings: Settings, arms: Sequence[str] | None = None) -> None:
    """All cells of a set that are not there yet, the choice first: it measures what a pair's full fine-tuning costs."""
    for arm in (CHOICE, *(pair.name for pair in settings.pairs)):
        path = settings.cell(data, arm)
        if path.exists() or (arms is not None and arm not in arms):
            continue
        print(f"{data}: {arm}", flush=True)
        cell = choice_cell(data, settings) if arm == CHOICE else pair_cell(data, arm, settings)
        write_json(path, cell)
        print(
            f"{data}: {arm}: {cell.test_accuracy}, {cell.seconds and round(cell.seconds)} s, {cell.error}", flush=True
        )


def choice_cell(data: str, settings: Settings) -> NetworkCell:
    """`fit` with all pairs."""
    candidates = Candidates(
        tuple(dict.fromkeys(settings.model(pair.backbone) for pair in settings.pairs)),
        tuple(dict.fromkeys(pair.pixels for pair in settings.pairs)),
    )
    request = settings.request(data, f"auto:budget={BUDGET}x", settings.pairs[0], candidates)
    load = os.getloadavg()[0]
    with _opened(settings.runs / data / CHOICE, request) as folder:
        settle_network(folder, Callback())
        choice = read(folder.file(MODELS), NetworkChoice)
        experiment = open_experiment(folder, Callback()).experiment
        return _cell(experiment, data, CHOICE, choice.strategy, settings, load, choice)


def pair_cell(data: str, arm: str, settings: Settings) -> NetworkCell:
    """`auto` on one pair, with the budget of the choice."""
    (pair,) = (each for each in settings.pairs if each.name == arm)
    choice = read(settings.cell(data, CHOICE), NetworkCell)
    share = (choice.first_look or {})[arm].unit_share
    spec = f"auto:budget={max(1.0, BUDGET / share):.2f}x"
    load = os.getloadavg()[0]
    with _opened(settings.runs / data / arm.replace(" ", "-"), settings.request(data, spec, pair)) as folder:
        experiment = open_experiment(folder, Callback()).experiment
        return _cell(experiment, data, arm, spec, settings, load, share=share)


@contextmanager
def _opened(folder: Path, request: Request) -> Iterator[RunFolder]:
    facts = environment(device="cpu", threads=1, command=COMMAND)
    begun = (folder / "run.json").exists()
    with RunFolder.open(folder) if begun else RunFolder.create(folder, request, facts) as run:
        yield run


def _cell(
    experiment: Experiment,
    data: str,
    arm: str,
    spec: str,
    settings: Settings,
    load: float,
    choice: NetworkChoice | None = None,
    *,
    share: float = 1.0,
) -> NetworkCell:
    """Search, train with the final seed and score; `share` = a full fine-tuning of the pair in units."""
    figures = strategy_figures(experiment, Method(spec, "searches"))
    share = 1 / choice.unit_ratio if choice else share
    others = choice.work_of_others if choice else 0.0
    request = experiment.request
    backbone, pixels = short_name(request.model), experiment.model.preprocessing.image_size
    return NetworkCell(
        arm=arm,
        network=Pair(backbone, pixels).name,
        backbone=backbone,
        set=data,
        split=SPLIT,
        method="auto",
        spec=spec,
        group="searches",
        image_size=pixels,
        images={
            "train": len(experiment.data.train),
            "val": len(experiment.data.val),
            "test": len(experiment.test or ()),
        },
        classes=len(experiment.classes),
        epochs=settings.epochs,
        units=None if figures.get("work") is None else figures["work"] * share + others,
        first_look=first_look(choice) if choice else None,
        work_of_probes=choice.work_of_probes if choice else None,
        commit=commit(),
        environment=environment(device="cpu", threads=1, command=COMMAND),
        load_at_start=load,
        **figures,
    )


def first_look(choice: NetworkChoice) -> dict[str, FirstLook]:
    """What was known of every pair before a search."""
    return {
        trial.name: FirstLook(
            probe=trial.probe.accuracy if trial.probe else None,
            neighbors=trial.neighbors.accuracy if trial.neighbors else None,
            flops=trial.facts.flops,
            unit_share=float(trial.unit_share or 0.0),
            epochs=trial.epochs or 0,
        )
        for trial in choice.trials
        if trial.facts
    }


@dataclass(frozen=True)
class Finished:
    """A set whose cells are all there and could be trained."""

    data: str
    choice: NetworkCell
    pairs: Mapping[str, NetworkCell]
    changed: NetworkCell | None = None
    """The choice of a later version."""

    @property
    def best(self) -> float:
        """Highest test accuracy of the searches."""
        return max(map(_test, self.pairs.values()))

    @property
    def best_on_val(self) -> float:
        """Test accuracy of the search that is best on validation."""
        return _test(max(self.pairs.values(), key=lambda cell: (cell.val_accuracy or 0.0, -(cell.val_loss or 0.0))))

    def regret(self, cell: NetworkCell) -> float:
        """How far a cell is below the best search."""
        return self.best - _test(cell)

    def correlation(self, look: Callable[[FirstLook], float | None]) -> float | None:
        """Spearman's correlation of a figure of stage 1 with the test accuracies; None if it is not known of all."""
        known = [(look(found), _test(self.pairs[name])) for name, found in (self.choice.first_look or {}).items()]
        first, last = [value for value, _ in known if value is not None], [accuracy for _, accuracy in known]
        if len(first) < len(known) or len({*first}) < 2 or len({*last}) < 2:
            return None
        return float(spearmanr(first, last).statistic)


def _test(cell: NetworkCell) -> float:
    assert cell.test_accuracy is not None
    return cell.test_accuracy


LOOKS: Mapping[str, Callable[[FirstLook], float | None]] = {
    "solved probe": lambda found: found.probe,
    "nearest neighbors": lambda found: found.neighbors,
    "FLOPs": lambda found: float(found.flops),
}


def page(results: Path) -> str:
    """The tables of the sets whose cells are all there, in markdown."""
    cells = [read(path, NetworkCell) for path in sorted(results.glob("*/*.json"))]
    if not cells:
        return "No cell has been run yet.\n"
    sets = finished(cells)
    commits = ", ".join(sorted({cell.commit for cell in cells}))
    head = (
        f"{len(cells)} cells, {len(sets)} sets with all of theirs; commit {commits}; "
        f"{cells[0].epochs} epochs, budget {BUDGET:g} full fine-tunings of the costliest pair.\n"
    )
    failed = [f"- {cell.set}, {cell.arm}: {cell.error}" for cell in cells if cell.error]
    tables = (
        [table.to_markdown() for table in (accuracy_table(sets), regret_table(sets), rank_table(sets))] if sets else []
    )
    return "\n".join([head, *tables, *(["Failed:", "", *failed, ""] if failed else [])])


def finished(cells: Sequence[NetworkCell]) -> list[Finished]:
    """The sets whose cells are all there: the choice, and every pair that it knew."""
    found: list[Finished] = []
    for data in dict.fromkeys(cell.set for cell in cells):
        own = {cell.arm: cell for cell in cells if cell.set == data and cell.test_accuracy is not None}
        choice = own.pop(CHOICE, None)
        if choice is not None and choice.first_look and {*choice.first_look} == {*own}:
            path = CHANGED / data / f"{CHOICE}.json"
            found.append(Finished(data, choice, own, read(path, NetworkCell) if path.exists() else None))
    return found


def accuracy_table(sets: Sequence[Finished]) -> Table:
    """Test accuracies of all searches and of the choice; a row for each set."""
    names = list(sets[0].pairs)
    lines = [
        [
            each.data,
            *(f"{100 * _test(each.pairs[name]):.1f}" if name in each.pairs else "" for name in names),
            f"{100 * _test(each.choice):.1f} ({each.choice.network})",
            f"{each.choice.units or 0:.2f}",
            f"{each.choice.work_of_probes or 0:.2f}",
        ]
        for each in sets
    ]
    columns = ("set", *names, "several pairs", "its work", "stage 1")
    return Table("Test accuracy in %; work in full fine-tunings of the costliest pair", columns, lines)


def regret_table(sets: Sequence[Finished]) -> Table:
    """Points below the best search of each set."""
    rules: Mapping[str, Callable[[Finished], float]] = {
        "several pairs": lambda each: each.regret(each.choice),
        "several pairs, against the best on validation": lambda each: each.best_on_val - _test(each.choice),
        **({"several pairs, as changed": _regret_as_changed} if all(each.changed for each in sets) else {}),
        "the largest": lambda each: each.regret(each.pairs[largest(each)]),
        "the best probe": lambda each: each.regret(each.pairs[best_probe(each)]),
    }
    lines = [
        [
            name,
            *(f"{100 * rule(each):.1f}" for each in sets),
            percent_interval([rule(each) for each in sets], len(sets)),
        ]
        for name, rule in rules.items()
    ]
    notes = [
        "Against the highest of the searches on test unless the row says otherwise; mean with its 95 % t interval."
    ]
    return Table("Regret in points", ("rule", *(each.data for each in sets), "mean"), lines, notes)


def _regret_as_changed(found: Finished) -> float:
    assert found.changed is not None
    return found.regret(found.changed)


def largest(found: Finished) -> str:
    """The pair whose full fine-tuning costs most."""
    looks = found.choice.first_look or {}
    return max(looks, key=lambda name: looks[name].unit_share)


def best_probe(found: Finished) -> str:
    """The pair with the most accurate solved probe, the cheapest of equals."""
    looks = found.choice.first_look or {}
    return max(looks, key=lambda name: (looks[name].probe or 0.0, -looks[name].flops))


def rank_table(sets: Sequence[Finished]) -> Table:
    """How well stage 1 orders the pairs as the searches do."""
    lines = []
    for name, look in LOOKS.items():
        found = [each.correlation(look) for each in sets]
        known = [value for value in found if value is not None]
        mean = f"{np.mean(known):+.2f}" if known else ""
        lines.append([name, *("" if value is None else f"{value:+.2f}" for value in found), mean])
    title = "Spearman's rank correlation of stage 1 with test accuracies, over the pairs"
    return Table(title, ("figure", *(each.data for each in sets), "mean"), lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--sets", default="", help=f"some of {', '.join(SETS)}")
    parser.add_argument("--arms", default="", help="some cells: choice, or names such as 'mobilenetv2_050 at 64 px'")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"), help="for manifests, run folders and locks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="for the cells")
    parser.add_argument("--page", type=Path, help="write the tables into this file, and run nothing")
    parser.add_argument("--smoke", action="store_true", help="two pairs, 40 images, 2 epochs, in a temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
