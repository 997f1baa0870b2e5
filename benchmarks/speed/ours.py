"""Trainings by thawline's own trainer, with the time at the end of every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.speed.images import Images
from benchmarks.speed.settings import BATCH, RATE, Network, Settings
from thawline.config import TrainConfig
from thawline.data.pixels import build_pixels
from thawline.model.blocks import partition
from thawline.model.load import LoadedModel, load_model
from thawline.plan import Block, FineTunePlan
from thawline.strategies.base import variants
from thawline.testing import PlainContext
from thawline.training.device import resolve
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import TrainedModel, Trainer

VAL_IMAGES = 2
"""Validation images of the trainings whose steps alone are timed; the trainer cannot do without any."""
EPOCHS_TIMED = 2


@dataclass(frozen=True)
class Timed:
    """A training and its clock."""

    trained: TrainedModel
    seconds: float
    """Seconds from the call to the return."""
    epochs: tuple[float, ...]
    """Seconds of each epoch, validation included; the first has what comes before it, too."""

    @property
    def later(self) -> tuple[float, ...]:
        """The epochs after the first."""
        return self.epochs[1:]


def build(network: Network, classes: int, image_size: int) -> LoadedModel:
    """A timm network with a new head; the peers train its `module`."""
    weights = None if network.weights else "random"
    return load_model(network.source, classes, weights=weights, image_size=image_size)


def decode(images: Images, model: LoadedModel, settings: Settings) -> np.ndarray:
    """Pixels from the store, [N, S, S, 3] uint8."""
    cache = settings.runs / "cache" / "pixels"
    return build_pixels(images.paths, model.preprocessing, cache=cache, threads=settings.threads).array


def split(images: Images, pixels: np.ndarray, train: int) -> TrainingData:
    """The first `train` images to train on, the others to validate with."""
    rows, labels = np.arange(len(images.paths)), torch.tensor(images.targets)
    return TrainingData(pixels, LabelledRows(rows[:train], labels[:train]), LabelledRows(rows[train:], labels[train:]))


def configured(settings: Settings, model: LoadedModel, precision: str = "auto", **given: Any) -> TrainConfig:
    """The defaults but for what is given, without early stopping, settled for this machine."""
    config = TrainConfig(
        batch_size=BATCH,
        patience=0,
        precision=precision,  # type: ignore[arg-type]
        device=settings.device,
        threads=settings.threads,
        **given,
    )
    return resolve(config, model.module, model.preprocessing.image_size, print)


def planned(spec: str, model: LoadedModel, epochs: int) -> tuple[FineTunePlan, tuple[Block, ...]]:
    """A strategy's plan at the default rate, and the blocks it is about."""
    blocks = partition(model.module, "stage", model.preprocessing.image_size)
    return variants(spec)[0].propose(PlainContext(blocks, learning_rate=RATE, epochs=epochs)), blocks


def timed(trainer: Trainer, plan: FineTunePlan, blocks: tuple[Block, ...], seed: int = 0) -> Timed:
    """One training. Each epoch ends with a validation that reads its loss, so the device has finished by then."""
    stamps = [time.perf_counter()]
    trained = trainer.train(plan, blocks, seed=seed, on_epoch=lambda _: stamps.append(time.perf_counter()))
    return Timed(trained, time.perf_counter() - stamps[0], tuple(np.diff(stamps).tolist()))


def full_fine_tuning(settings: Settings, *, name: str, steps: int, precision: str) -> Callable[[], float]:
    """Images per second over `steps` steps, after half as many to warm up.

    Counted against us: a validation of two images and a copy of the best weights in every epoch of steps / 2.
    """
    per_epoch = BATCH * max(1, steps // EPOCHS_TIMED)
    images = Images.of_steps(settings)
    some = images.repeated(per_epoch + VAL_IMAGES)
    model = build(settings.named(name), images.classes, settings.image_size)
    pixels = decode(images, model, settings)
    rows, labels = np.resize(np.arange(len(images.paths)), len(some.paths)), torch.tensor(some.targets)
    data = TrainingData(
        pixels,
        LabelledRows(rows[:per_epoch], labels[:per_epoch]),
        LabelledRows(rows[per_epoch:], labels[per_epoch:]),
    )
    config = configured(settings, model, precision, epochs=1 + EPOCHS_TIMED)
    plan, blocks = planned("full", model, config.epochs)
    trainer = Trainer(model, data, config)

    def measure() -> float:
        return per_epoch * EPOCHS_TIMED / sum(timed(trainer, plan, blocks).later)

    return measure
