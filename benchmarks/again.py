"""Fit again: a model that was trained on one kind of images, on few images of another kind with the same classes.

    python -m benchmarks.again --shared ../shared                           every cell that is missing
    python -m benchmarks.again --shared ../shared --part 1/2                every second place, from the first
    python -m benchmarks.again --shared ../shared --places blur-100-0       some: shift, new images, seed
    python -m benchmarks.again --smoke                                      two places with few images, to see it work
    python -m benchmarks.again --page benchmarks/README.md                  write the tables between the file's markers

One JSON per cell goes to results/again/. Stop it whenever you like: the same command goes on where it was.

Protocol, written before anything was run
-----------------------------------------
Network: MobileNetV2 0.5 (ImageNet weights) at 96 px, fp32, one thread, 6 epochs, no augmentation, else the defaults.

Old models: `full`, one for each seed and source; its rate and batch norm are tuned for seed 0 (six trainings) and are
those of the other seeds, too.
  pacs-photo   the class folders, split by thawline with that seed.
  dtd10        of its training split; validation is drawn from that. Its validation split is kept for the new images, so
               that no new image trained the old model.

New images, drawn by class with the seed, a fifth of them for validation:
  sketch             100 and 300 of the training sketches of pacs-sketch, and 1,000 with seed 0 alone; test = its 1,000
                     test sketches.
  blur, noise, grey  100 and 300 of dtd10's validation split; test = its 400 test images. Each photo is altered:
                     Gaussian blur of radius 2 px; Gaussian noise of standard deviation 40 (of 255), from a generator
                     seeded by the file's name; gray levels. At most 160 px on the shorter side, written as PNG.

Rows: nothing; statistics alone; norms; stem; first blocks (two); last blocks (two); everything: all from the old model
with its head kept. Anew: `full` from ImageNet weights with a random head, and with a probe head. `auto` (3x) from the
old model. A named row has its rate and, where it matters, batch norm tuned on validation with six trainings, then a
training with a seed of its own; `auto` spends its budget instead.

Figures: accuracy on the new test images, scored once; accuracy on the old run's test images before (the old model) and
after; both once more for `keep_old`, for rows from the old model that train something. For `auto` with `keep_old` the
search is run anew, since it may then not use a probe.

Seeds: 0, 1, 2. Tables: means with 95 % t intervals over the seeds; of 1,000 sketches a single figure.
Cost, estimated before the first result: one place, blur-100-0, was run with its old model, its scores not looked at. It
took 155 s of processor time, about 118 s of them for the place. Trainings grow with the images, so that a place of 300
is put at 300 s and that of 1,000 at 950 s; with 12 places of 100, 12 of 300, that one and 200 s for old models: 1.7
core-hours.
Stopping rule: all cells of this grid, and no others. A training that fails is a cell that says why, and stays. No row,
set, size or seed is added, changed or left out after results were seen; what is changed later starts a new folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from benchmarks.commit import commit
from benchmarks.pages import percent_interval, write_between
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, DataConfig, Request, TrainConfig, TuningConfig
from thawline.data.cache import user_cache
from thawline.data.read import read_named
from thawline.data.sources import Item
from thawline.errors import RunError, ThawlineError
from thawline.recipes.recipe import Table
from thawline.records import FORMAT_VERSION, environment, write_json, write_text
from thawline.results import Environment, FitResults, Result, ScoredRow
from thawline.runs.again import OldModel, model_source, old_model
from thawline.runs.experiment import Experiment
from thawline.runs.files import read, read_results
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.strategies.context import Tuned
from thawline.studies.again import OldImages, kept_old
from thawline.studies.results import row_summary
from thawline.studies.rows import row_of
from thawline.studies.tuning import tune

RESULTS = Path(__file__).parent / "results" / "again"
BEGIN = "<!-- fit again: written by benchmarks.again -->"
END = "<!-- end of fit again -->"
COMMAND = "python -m benchmarks.again"
BACKBONE, PIXELS, EPOCHS, SEEDS = "mobilenetv2_050", 96, 6, (0, 1, 2)
AUTO = "auto:budget=3x"
VALIDATION = 0.2


def _blurred(image: Image.Image, name: str) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


def _noisy(image: Image.Image, name: str) -> Image.Image:
    generator = np.random.default_rng(int(sha256(name.encode()).hexdigest()[:8], 16))
    pixels = np.asarray(image, np.float64) + generator.normal(0, 40, (image.height, image.width, 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _grey(image: Image.Image, name: str) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


ALTERED: Mapping[str, Callable[[Image.Image, str], Image.Image]] = {"blur": _blurred, "noise": _noisy, "grey": _grey}


@dataclass(frozen=True)
class Place:
    """A shift of the images, and how many new ones there are."""

    shift: str
    count: int
    seed: int

    @property
    def source(self) -> str:
        """The data set of the old model."""
        return "pacs-photo" if self.shift == "sketch" else "dtd10"

    @property
    def name(self) -> str:
        """Name of its folders and files."""
        return f"{self.shift}-{self.count}-{self.seed}"


@dataclass(frozen=True)
class Method:
    """A row of the tables."""

    name: str
    spec: str
    anew: bool = False
    """Whether it starts from ImageNet weights instead of the old model."""
    keeps_old: bool = False
    """Whether it is scored with `keep_old`, too."""


METHODS = (
    Method("nothing", "unchanged"),
    Method("statistics alone", "norm_statistics"),
    Method("norms", "norm_only", keeps_old=True),
    Method("stem", "first_blocks:k=1", keeps_old=True),
    Method("first blocks", "first_blocks:k=2", keeps_old=True),
    Method("last blocks", "last_blocks:k=2", keeps_old=True),
    Method("everything", "full", keeps_old=True),
    Method("anew", "full:head_start=random", anew=True),
    Method("anew, probe head", "full:head_start=probe", anew=True),
    Method("auto", AUTO, keeps_old=True),
)
PLACES = (
    *(Place(shift, count, seed) for seed in SEEDS for shift in ("sketch", *ALTERED) for count in (100, 300)),
    Place("sketch", 1000, SEEDS[0]),
)


@dataclass(frozen=True)
class Settings:
    """Where everything is."""

    shared: Path
    runs: Path
    results: Path
    epochs: int = EPOCHS
    limit: int | None = None
    """Images of the old models, to see it work; None = all."""

    def request(self, data: Path, model: str, seed: int, *, keep_old: bool = False) -> Request:
        """A run on some images from some model."""
        return Request(
            verb="fit",
            data=str(data.resolve()),
            model=model,
            strategies=(AUTO,),  # not asked for: each method makes its own row
            train=TrainConfig(epochs=self.epochs, device="cpu", threads=1),
            images=DataConfig(image_size=PIXELS, augment="none", seed=seed),
            search=TuningConfig(seeds=1),
            cache=CacheConfig(memory_bytes=1 << 29, disk_bytes=2 << 30),
            explain=False,
            head="auto",
            keep_old=keep_old,
        )

    @property
    def pretrained(self) -> str:
        """The network with ImageNet weights."""
        return f"local-dir:{(self.shared / 'weights' / BACKBONE).resolve()}"


@dataclass(frozen=True, kw_only=True)
class Scores(Result):
    """One row of one place. Accuracies are 0 to 1."""

    accuracy: float
    """On the new test images."""
    val: float
    old_after: float
    """On the old run's test images."""
    old_share: float | None
    """Share of the old weights; None = without `keep_old`."""
    chosen: str
    learning_rate: float
    work: float
    """Tuning and final training, in full fine-tunings."""
    seconds: float
    images: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class CellResult(Result):
    """What a cell's file holds."""

    format_version: int = FORMAT_VERSION
    shift: str
    count: int
    """New images asked for, validation included."""
    seed: int
    method: str
    spec: str
    epochs: int
    old_before: float
    """Accuracy of the old model on its test images."""
    scores: Scores | None
    keep_old: Scores | None
    error: str | None
    """Why it could not be run."""
    commit: str
    environment: Environment


def main() -> None:
    """Run what is not there yet, or write the page."""
    options = _options()
    if options.page:
        write_between(options.page, BEGIN, END, page(options.results))
        return
    smoke = Path(tempfile.mkdtemp(prefix="again-smoke-")) if options.smoke else None
    settings = Settings(
        options.shared,
        smoke / "runs" if smoke else options.runs,
        smoke / "results" if smoke else options.results,
        *((2, 150) if smoke else ()),
    )
    places = [Place("blur", 60, 0), Place("sketch", 60, 0)] if smoke else list(PLACES)
    if options.places:
        places = [place for place in places if place.name in options.places.split(",")]
    number, parts = map(int, options.part.split("/"))
    for place in places[number - 1 :: parts]:
        run_place(place, settings)
    if smoke:
        print(page(settings.results))


def run_place(place: Place, settings: Settings) -> None:
    """All cells of a place that are not there yet."""
    missing = [method for method in METHODS if not _cell(place, method, settings).exists()]
    if not missing:
        return
    old = old_run(place, settings)
    data = new_images(place, settings)
    for anew in (False, True):
        methods = [method for method in missing if method.anew == anew]
        if not methods:
            continue
        model = settings.pretrained if anew else model_source(str(old))
        with opened(settings.runs / f"{place.name}-{'anew' if anew else 'old'}", settings, data, model, place) as run:
            for method in methods:
                _run_cell(run, place, method, settings, old, data)


def _run_cell(experiment: Experiment, place: Place, method: Method, settings: Settings, old: Path, data: Path) -> None:
    print(f"{place.name}: {method.name}", flush=True)
    found: Scores | None = None
    kept: Scores | None = None
    error: str | None = None
    try:
        found = scored(experiment, method.spec, old)
        if method.keeps_old and method.spec.startswith("auto"):
            model = model_source(str(old))
            with opened(settings.runs / f"{place.name}-keep", settings, data, model, place, keep_old=True) as other:
                kept = scored(other, method.spec, old, keep_old=True)
        elif method.keeps_old:
            kept = scored(experiment, method.spec, old, keep_old=True)
    except ThawlineError as problem:  # stays as it is: the page says so
        error = str(problem)
    before = read_results(old)
    assert isinstance(before, FitResults)
    assert before.test is not None
    cell = CellResult(
        shift=place.shift,
        count=place.count,
        seed=place.seed,
        method=method.name,
        spec=method.spec,
        epochs=settings.epochs,
        old_before=before.test.accuracy.mean,
        scores=found,
        keep_old=kept,
        error=error,
        commit=commit(),
        environment=environment(device="cpu", threads=1, command=COMMAND),
    )
    write_json(_cell(place, method, settings), cell)


def scored(experiment: Experiment, spec: str, old: Path, *, keep_old: bool = False) -> Scores:
    """Tune, train, score. Test images are scored once for each plan. Raises `RunError` if training failed."""
    tuned: Tuned = tune(experiment, spec)
    share = None
    if keep_old:
        tuned, chosen = kept_old(experiment, tuned)
        share = chosen.old_share
    row = row_of(experiment, spec, tuned)
    summary = row_summary(experiment, row, None)
    if not isinstance(summary, ScoredRow) or summary.test is None:
        raise RunError(row.error or "no test images")
    data = experiment.data
    return Scores(
        accuracy=summary.test.accuracy.mean,
        val=summary.val.accuracy.mean,
        old_after=OldImages.of(experiment, _as_old(experiment, old), "test").accuracy(row.finals[0]),
        old_share=share,
        chosen=tuned.strategy,
        learning_rate=tuned.learning_rate,
        work=summary.cost.work,
        seconds=summary.cost.seconds,
        images={"train": len(data.train), "val": len(data.val), "test": len(experiment.test or ())},
    )


def _as_old(experiment: Experiment, old: Path) -> OldModel:
    """The old model, also for runs that start from ImageNet weights."""
    found = old_model(replace(experiment.request, model=model_source(str(old)), weights=None))
    assert found is not None
    return found


@contextmanager
def opened(
    folder: Path, settings: Settings, data: Path, model: str, place: Place, *, keep_old: bool = False
) -> Iterator[Experiment]:
    """The experiment that methods at a place share."""
    request = settings.request(data, model, place.seed, keep_old=keep_old)
    facts = environment(device="cpu", threads=1, command=COMMAND)
    begun = (folder / "run.json").exists()
    with RunFolder.open(folder) if begun else RunFolder.create(folder, request, facts) as run:
        yield open_experiment(run, Callback()).experiment


def old_run(place: Place, settings: Settings) -> Path:
    """The finished run of the old model, trained if need be."""
    folder = settings.runs / f"old-{place.source}-{place.seed}"
    if (folder / "results.json").exists():
        return folder
    print(f"old model: {folder.name}", flush=True)
    if (folder / "run.json").exists():
        api.resume(folder)
        return folder
    data = settings.shared / "data" / place.source
    if place.source == "dtd10":
        data = settings.runs / "old-dtd10.csv"
        items = [item for item in _items(settings, "dtd10") if item.split != "val"]
        _write_manifest(data, [(item.path, item.label, str(item.split)) for item in items])
    found = _tuned(place.source, data, settings)
    request = settings.request(data, settings.pretrained, place.seed)
    request = replace(request, images=replace(request.images, limit=settings.limit))
    search = replace(request.search, learning_rate=found.learning_rate)
    api.run(replace(request, strategies=(found.strategy,), search=search), folder)
    return folder


def _tuned(source: str, data: Path, settings: Settings) -> Tuned:
    """Rate and batch norm of the old models of a source, tuned for the first seed."""
    request = settings.request(data, settings.pretrained, SEEDS[0])
    request = replace(request, images=replace(request.images, limit=settings.limit))
    tuning = settings.runs / f"tune-{source}"
    facts = environment(device="cpu", threads=1, command=COMMAND)
    begun = (tuning / "run.json").exists()
    with RunFolder.open(tuning) if begun else RunFolder.create(tuning, request, facts) as run:
        return tune(open_experiment(run, Callback()).experiment, "full")


def new_images(place: Place, settings: Settings) -> Path:
    """The manifest of the new images of a place, which are altered if need be."""
    path = settings.runs / f"{place.name}.csv"
    items = _items(settings, "pacs-sketch" if place.shift == "sketch" else "dtd10")
    pool = [item for item in items if item.split == ("train" if place.shift == "sketch" else "val")]
    train, val = _drawn(pool, place)
    test = [item for item in items if item.split == "test"][:: 1 if settings.limit is None else 5]
    named = [(train, "train"), (val, "val"), (test, "test")]
    _write_manifest(
        path, [(_altered(item, place, settings), item.label, split) for some, split in named for item in some]
    )
    return path


def _drawn(pool: Sequence[Item], place: Place) -> tuple[list[Item], list[Item]]:
    """Train and val: as many images as there are to be, by class in proportion; equal for equal places."""
    generator = np.random.default_rng(place.seed)
    by_label: dict[str, list[Item]] = defaultdict(list)
    for item in pool:
        by_label[item.label].append(item)
    train: list[Item] = []
    val: list[Item] = []
    for label in sorted(by_label):
        own = [by_label[label][at] for at in generator.permutation(len(by_label[label]))]
        own = own[: max(2, round(place.count * len(own) / len(pool)))]
        held = max(1, round(VALIDATION * len(own)))
        train, val = [*train, *own[held:]], [*val, *own[:held]]
    return train, val


def _altered(item: Item, place: Place, settings: Settings) -> Path:
    """The path of the image as the new model sees it, written if it is not there."""
    if place.shift == "sketch":
        return item.path
    path = settings.runs.resolve() / "images" / place.shift / item.label / f"{item.path.stem}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(item.path) as image:
            altered = ALTERED[place.shift](ImageOps.exif_transpose(image).convert("RGB"), item.path.name)
        part = path.with_suffix(f".{place.name}.part")
        altered.save(part, format="PNG")
        part.replace(path)
    return path


def _items(settings: Settings, data: str) -> Sequence[Item]:
    return read_named(str((settings.shared / "data" / data).resolve()), user_cache() / "data").items


def _write_manifest(path: Path, rows: Sequence[tuple[Path, str, str]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "split"])
    table.writerows([str(found.resolve()), label, split] for found, label, split in rows)
    write_text(path, text.getvalue())


def _cell(place: Place, method: Method, settings: Settings) -> Path:
    return settings.results / f"{place.name}-{method.name.replace(',', '').replace(' ', '-')}.json"


def page(results: Path) -> str:
    """The tables of the cells that are there, in markdown."""
    cells = [read(path, CellResult) for path in sorted(results.glob("*.json"))]
    if not cells:
        return "No cell has been run yet.\n"
    found = [(cell, cell.scores) for cell in cells if cell.scores]
    kept = [(cell, cell.keep_old) for cell in cells if cell.keep_old]
    there = {(cell.shift, cell.count) for cell in cells}
    places = [place for place in dict.fromkeys((each.shift, each.count) for each in PLACES) if place in there]
    places += sorted(there - set(places))
    before = {(cell.shift, cell.count, cell.seed): cell.old_before for cell in cells}
    old = [[value for key, value in before.items() if key[:2] == place] for place in places]
    tables = [
        _table("Accuracy on new test images", places, [(cell, each.accuracy) for cell, each in found]),
        _table("Accuracy on old test images", places, [(cell, each.old_after) for cell, each in found], old),
        _table("`keep_old`: new test images", places, [(cell, each.accuracy) for cell, each in kept]),
        _table("`keep_old`: old test images", places, [(cell, each.old_after) for cell, each in kept], old),
        _table("Work, in full fine-tunings", places, [(cell, each.work / 100) for cell, each in found]),
    ]
    failed = [
        f"- {each.shift} {each.count}, seed {each.seed}, {each.method}: {each.error}" for each in cells if each.error
    ]
    number, commits = len(PLACES) * len(METHODS), ", ".join(sorted({cell.commit for cell in cells}))
    head = (
        f"{len(cells)} of {number} cells, commit {commits}; accuracies in percent with 95 % t intervals over seeds.\n"
    )
    parts = [head, *(table.to_markdown() for table in tables)]
    return "\n".join([*parts, "Failed:", "", *failed, ""] if failed else parts)


def _table(
    title: str,
    places: Sequence[tuple[str, int]],
    values: Sequence[tuple[CellResult, float]],
    old: Sequence[Sequence[float]] | None = None,
) -> Table:
    """Means over seeds; a row for each method, a column for each shift and number of images."""
    rows = [["the old model", *map(_interval, old)]] if old else []
    for method in METHODS:
        own = [(cell, value) for cell, value in values if cell.method == method.name]
        figures = [[value for cell, value in own if (cell.shift, cell.count) == place] for place in places]
        rows += [[method.name, *map(_interval, figures)]] if own else []
    return Table(title, ("row", *(f"{shift} {count}" for shift, count in places)), rows)


def _interval(found: Sequence[float]) -> str:
    return percent_interval(found, len(SEEDS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--part", default="1/1", help="1/2 = every second place, from the first")
    parser.add_argument("--places", default="", help="some, such as blur-100-0,sketch-300-2")
    parser.add_argument("--runs", type=Path, default=Path("runs/again"), help="for run folders and altered images")
    parser.add_argument("--results", type=Path, default=RESULTS, help="for the cells")
    parser.add_argument("--page", type=Path, help="write the tables into this file, and run nothing")
    parser.add_argument("--smoke", action="store_true", help="two epochs with few images, in a temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
