"""Turn a request into an experiment: read the images, check and split them, decode them once, load the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import cast

import numpy as np
import torch

from thawline import verdicts
from thawline.callback import Callback
from thawline.config import FULL_DEPTH, BitDepth, Preprocessing, Request
from thawline.data.augment import augmenter
from thawline.data.cache import user_cache
from thawline.data.check import Check, check
from thawline.data.groups import with_groups
from thawline.data.named import called
from thawline.data.pixels import PixelStore, build_pixels, found_bit_depth
from thawline.data.read import read_named
from thawline.data.sources import ImageSet
from thawline.data.splits import Splits, draw_splits, limit_images, nested_subset
from thawline.data.stream import PixelStream, open_stream
from thawline.formatting import counted
from thawline.model.load import LoadedModel, load_model
from thawline.records import FORMAT_VERSION, environment, fingerprint
from thawline.results import DataFacts, ModelFacts, RunFacts
from thawline.runs.again import fit_again, old_model, seen_before, with_seen
from thawline.runs.augmentation import settled
from thawline.runs.experiment import Experiment
from thawline.runs.files import CHECK, LEDGER, SPLITS, SplitLine, write, write_splits
from thawline.runs.folder import RunFolder
from thawline.runs.jobs import Jobs
from thawline.runs.ledger import Ledger
from thawline.runs.processes import Processes
from thawline.runs.remote import PixelFile, Setting
from thawline.runs.workforce import Workers
from thawline.training.device import resolve
from thawline.training.images import LabelledRows, TrainingData
from thawline.verdicts import start_warning
from thawline.workers.machine import Machine


@dataclass(frozen=True)
class Opened:
    """An experiment and the facts about it that every result file repeats."""

    experiment: Experiment
    facts: RunFacts
    paths: tuple[str, ...]
    """Paths of all images, relative to the data folder, in the order of the pixel rows."""


def open_experiment(
    folder: RunFolder,
    callback: Callback,
    workers: Workers | None = None,
    begun: Jobs | None = None,
    processes: Processes | None = None,
) -> Opened:
    """Everything up to the first training. Raises `InputError`s for data, model or options that cannot be used.

    `workers` train what they can; None = this process alone does. `begun`: as in `Experiment.hand_out`. `processes`
    take part in final trainings.
    """
    request = folder.request()
    images = _read(request)
    model = load_model(
        request.model, len(images.classes), weights=request.weights, image_size=request.images.image_size
    )
    again = fit_again(request, model, images.classes)
    if request.images.crop_pct is not None:
        model.preprocessing = replace(model.preprocessing, crop_pct=request.images.crop_pct)
    # Stored before the first training: a resumed run must not settle `auto` anew on a machine that has changed.
    train = resolve(request.train, model.module, model.preprocessing.image_size, callback.note)
    request = replace(request, train=train)
    folder.store(request)
    pixels, depth = _decode(request, images, model.preprocessing, callback)
    if depth != model.preprocessing.bit_depth:
        model.preprocessing = replace(model.preprocessing, bit_depth=depth)
        request = replace(request, images=replace(request.images, bit_depth=cast(BitDepth, str(depth))))
        folder.store(request)
    found = check(images, facts=pixels.facts)
    splits = draw_splits(images, found.hashes, request.images, skip=found.unreadable)
    splits = replace(splits, notes=(*splits.notes, *found.near_duplicates_across(splits.assignment)))
    paths = tuple(images.name(item) for item in images.items)
    data_fingerprint = fingerprint(pixels.key, paths, images.targets, images.classes, splits.assignment)
    ledger = _bound_ledger(folder, request, model, data_fingerprint, pixels)
    if again is not None:
        known = seen_before(old_model(request), images.paths, found.hashes)
        again = with_seen(again, known, splits.assignment)
    _report(folder, request, images, found, splits, callback)
    for note in filter(None, (again.words, verdicts.seen_before(again)) if again else ()):
        callback.note(note)
    for note in filter(None, (start_warning(request.to_dict()) if model.is_timm else None, *model.notes)):
        callback.note(note)
    data = _training_data(request, images, splits, pixels, model.preprocessing)
    sample = _sample(request, images, data, pixels, callback) if isinstance(pixels, PixelStream) else None
    if sample is not None:
        ledger.bind_pixels(sample.store.sha256)
        splits = replace(splits, notes=(*splits.notes, sample.words))
        callback.note(sample.words)
        data = replace(data, probed=sample.train)
    experiment = Experiment(
        request,
        model,
        data,
        folder,
        _labelled(images, splits, "test") if splits.has_test else None,
        images.classes,
        data_fingerprint,
        ledger,
        callback,
        processes.shared if processes else None,
    )
    if sample is not None:
        own = replace(experiment, data=sample.data, test=None, data_fingerprint=sample.fingerprint, shared=None)
        experiment = replace(experiment, sample=own)
    if request.images.augment == "auto":
        experiment = settled(experiment)
    if workers is not None:  # of a streamed run they have the sample alone
        store = pixels if sample is None else sample.store
        assert isinstance(store, PixelStore)
        experiment.searching.hand_out(workers, _setting(experiment.searching, store, workers), begun)
    return Opened(experiment, replace(_facts(experiment, images, splits), again=again), paths)


def _setting(experiment: Experiment, pixels: PixelStore, workers: Workers) -> Setting:
    """What workers need to know."""
    model, data = experiment.model, experiment.data
    return Setting(
        experiment.request,
        len(experiment.classes),
        model.preprocessing,
        model.weights_fingerprint,
        model.kept_head,
        PixelFile(pixels.file, pixels.array.shape, pixels.sha256),
        data.train,
        data.val,
        Machine.here(experiment.request.train.device),
        workers.mixed_machines,
    )


def _bound_ledger(
    folder: RunFolder, request: Request, model: LoadedModel, data_fingerprint: str, pixels: PixelStore | PixelStream
) -> Ledger:
    """The ledger, if all that decides about its trainings is what it was when the run began; else `RunFolderError`."""
    ledger = Ledger(folder.file(LEDGER))
    if request.images.augment != "auto":  # which is bound as soon as it is settled
        ledger.bind_request(request.to_dict())
    ledger.bind_code(model.changed_files(ledger.own_files), model.own_files)
    kept = [model.kept_head.fingerprint] if model.kept_head else []
    ledger.bind(fingerprint(data_fingerprint, model.weights_fingerprint, asdict(request.train), *kept))
    if isinstance(pixels, PixelStore):
        ledger.bind_pixels(pixels.sha256)
    return ledger


def _decode(
    request: Request, images: ImageSet, preprocessing: Preprocessing, callback: Callback
) -> tuple[PixelStore | PixelStream, int]:
    """The pixels, and the bit depth that they were decoded at; `auto` looks at all images once before."""
    make: Callable[..., PixelStore | PixelStream] = open_stream if request.images.stream else build_pixels

    def build(depth: int) -> PixelStore | PixelStream:
        return make(
            images.paths,
            replace(preprocessing, bit_depth=depth),
            cache=user_cache() / ("streams" if request.images.stream else "pixels"),
            threads=request.train.threads,
            progress=callback.decoding,
            on_bad=request.images.on_bad,
            note=callback.note,
        )

    wanted = request.images.bit_depth
    pixels = build(FULL_DEPTH if wanted == "auto" else int(wanted))
    depth = found_bit_depth(pixels.facts) if wanted == "auto" else int(wanted)
    return (build(depth), depth) if wanted == "auto" and depth < FULL_DEPTH else (pixels, depth)


def _read(request: Request) -> ImageSet:
    """The images that the request is about, with their groups."""
    options = request.images
    images = limit_images(
        read_named(request.data, user_cache() / "data", on_bad=options.on_bad), options.limit, options.seed
    )
    return images if options.group_pattern is None else with_groups(images, options.group_pattern)


def _report(
    folder: RunFolder, request: Request, images: ImageSet, found: Check, splits: Splits, callback: Callback
) -> None:
    """check.json and splits.csv, and what the user should know before anything is trained."""
    write(folder.file(CHECK), found.result())
    write_splits(folder.file(SPLITS), split_lines(images, splits))
    sizes = {name: len(splits.indices(name)) for name in ("train", "val", "test")}
    callback.note(
        f"{called(request.data)}: {len(images.items):,} images in {len(images.classes)} classes; "
        f"{sizes['train']:,} train, {sizes['val']:,} val, {sizes['test']:,} test."
    )
    if not splits.has_test:
        callback.note("No test split: no test scores will be reported (`test_share=0.2` holds out part of train).")
    if (batch_size := request.train.batch_size) > sizes["train"]:
        callback.note(
            f"`batch_size` {batch_size:,} is more than the {counted(sizes['train'], 'training image')}: every step "
            "uses all of them."
        )
    for note in (*found.warnings, *splits.notes):
        callback.note(note)


def split_lines(images: ImageSet, splits: Splits) -> list[SplitLine]:
    """Rows of splits.csv: every image with its label and split."""
    pairs = zip(images.items, splits.assignment, strict=True)
    return [SplitLine(images.name(item), item.label, split or "") for item, split in pairs]


def _training_data(
    request: Request, images: ImageSet, splits: Splits, pixels: PixelStore | PixelStream, preprocessing: Preprocessing
) -> TrainingData:
    return TrainingData(
        pixels if isinstance(pixels, PixelStream) else pixels.array,
        _labelled(images, splits, "train"),
        _labelled(images, splits, "val"),
        augmenter(request.images, len(images.items), preprocessing),
    )


@dataclass(frozen=True)
class _Sample:
    """The images that the search of a streamed run has."""

    data: TrainingData
    store: PixelStore
    train: LabelledRows
    """Its training images among all."""
    fingerprint: str
    words: str


def _sample(request: Request, images: ImageSet, data: TrainingData, stream: PixelStream, callback: Callback) -> _Sample:
    """A stratified subset of train and val with their pixels in the cache."""
    rows = np.concatenate([data.train.rows, data.val.rows])
    labels = torch.cat([data.train.labels, data.val.labels])
    of_val = np.arange(len(rows)) >= len(data.train)
    strata = 2 * labels.numpy() + of_val
    chosen = nested_subset(strata, request.images.search_images, request.images.seed)
    of_val, labels = of_val[chosen], labels[chosen]
    store = build_pixels(
        [stream.paths[row] for row in rows[chosen]],
        stream.preprocessing,
        cache=user_cache() / "pixels",
        threads=request.train.threads,
        progress=callback.decoding,
        hashes=[stream.facts[row].sha256 for row in rows[chosen]],
        note=callback.note,
    )
    train, val = (LabelledRows(np.flatnonzero(part), labels[part]) for part in (~of_val, of_val))
    words = (
        f"Images are streamed: search and tuning used {len(train):,} training and {len(val):,} validation images "
        "(`search_images`), and training scores are computed on these training images."
    )
    views = augmenter(request.images, len(chosen), stream.preprocessing)
    names = [images.name(images.items[row]) for row in rows[chosen]]
    return _Sample(
        TrainingData(store.array, train, val, views),
        store,
        LabelledRows(rows[chosen][~of_val], labels[~of_val]),
        fingerprint(store.key, names, labels.tolist(), of_val.tolist(), images.classes),
        words,
    )


def _labelled(images: ImageSet, splits: Splits, name: str) -> LabelledRows:
    rows = splits.indices(name)
    return LabelledRows(rows, torch.tensor(images.targets, dtype=torch.int64)[rows])


def _facts(experiment: Experiment, images: ImageSet, splits: Splits) -> RunFacts:
    request = experiment.request
    counts = {"train": len(experiment.data.train), "val": len(experiment.data.val), "test": len(experiment.test or ())}
    return RunFacts(
        format_version=FORMAT_VERSION,
        environment=environment(device=request.train.device, threads=request.train.threads),
        pretrained=ModelFacts(
            source=request.model,
            architecture=experiment.model.architecture,
            weights_fingerprint=experiment.model.weights_fingerprint,
            own_files=experiment.model.own_files or None,
        ),
        seed=request.images.seed,
        seeds=request.search.seeds,
        request=request.to_dict(),
        data=DataFacts(
            root=str(images.root),
            fingerprint=experiment.data_fingerprint,
            classes=list(images.classes),
            images=counts,
            notes=list(splits.notes),
        ),
        augmentation=experiment.ledger.augmentation,
    )
