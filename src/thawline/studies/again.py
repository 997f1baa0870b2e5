"""What fitting a model again does to its old images: measured, and traded against the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from thawline import verdicts
from thawline.data.cache import user_cache
from thawline.data.pixels import build_pixels, normalize
from thawline.errors import OptionError
from thawline.plan import FineTunePlan, Mixture
from thawline.records import TrainingRecord, distinct
from thawline.results import Forgetting, KeepOld, TriedShare
from thawline.runs.again import OldModel, old_model
from thawline.runs.classifier import Classifier
from thawline.runs.experiment import Experiment
from thawline.runs.listed import Listed
from thawline.runs.model_folder import MODEL_FOLDER
from thawline.strategies.auto import AutoConfig
from thawline.strategies.base import TUNED
from thawline.strategies.context import Tuned
from thawline.strategies.wise_ft import SHARES
from thawline.studies.tuning import Unscored, asked_for
from thawline.training.significance import compare

BATCH = 64


def forgetting(experiment: Experiment) -> Forgetting | None:
    """Score the old model and the saved one on the old run's test images; None where there are none.

    The saved model must be in the run folder. Images of classes that either model does not know are left out.
    """
    old = old_model(experiment.request)
    if old is None or old.run is None:
        return None
    rows = _known(experiment, old, "test")
    there = [row for row in rows if row.path.is_file()]
    if not there:
        name = old.name
        why = f"the test images of {name} no longer exist" if rows else f"{name} has no test images of these classes"
        experiment.callback.note(f"What was forgotten could not be measured: {why}.")
        return None
    before, after = (_right(folder, there) for folder in (old.folder, experiment.folder.file(MODEL_FOLDER)))
    read = np.isfinite(before) & np.isfinite(after)
    before, after, missing = before[read], after[read], len(rows) - int(read.sum())
    ends = compare(after, before).interval95
    scores = float(before.mean()), float(after.mean())
    words = verdicts.forgotten(*scores, ends, len(before), missing)
    return Forgetting(
        images=len(before), missing=missing, before=scores[0], after=scores[1], interval95=ends, words=words
    )


def require_old_images(experiment: Experiment, spec: str) -> None:
    """Raise `OptionError` unless `keep_old` can be had: with the old validation images and a strategy that fits."""
    old, strategy = old_model(experiment.request), asked_for(experiment, spec)[0]
    if old is None or old.run is None or not experiment.keeps_head:
        raise OptionError("`keep_old` needs a `model` that is the folder of a finished fit, and a head that is kept.")
    if not any(row.path.is_file() for row in _known(experiment, old, "val")):
        raise OptionError(f"`keep_old`: the validation images of {old.name} cannot be found; leave `keep_old` out.")
    if isinstance(strategy, AutoConfig) and strategy.answer in ("ensemble", "distilled"):
        raise OptionError(f"`keep_old` averages weights with the old ones; leave out `answer='{strategy.answer}'`.")
    if strategy.searches:
        starts = strategy.head_start in (TUNED, "kept")
    else:
        plan = strategy.plan(Unscored(experiment, strategy, 1.0))
        starts = plan.head_start == "kept" and not plan.interpolation
    if not starts:
        raise OptionError(
            f"`keep_old`: {spec} does not fine-tune the old model into a single network; use another strategy."
        )


def kept_old(experiment: Experiment, tuned: Tuned) -> tuple[Tuned, KeepOld]:
    """The plan with the share of old weights that is best on both validation splits together, and how it was chosen.

    WiSE-FT (Wortsman et al. 2022) from the old model; of equals the smallest share.
    """
    old = old_model(experiment.request)
    if old is None:
        raise OptionError("`keep_old` needs a `model` that is the folder of a finished fit.")
    images = OldImages.of(experiment, old, "val")
    tried: list[tuple[TriedShare, FineTunePlan]] = []
    records: list[TrainingRecord] = []
    for share in SHARES:
        plan = _with_share(tuned.plan, share)
        record = experiment.train(
            plan,
            strategy=tuned.strategy,
            learning_rate=tuned.learning_rate,
            seed=experiment.request.images.seed,
            purpose="tuning" if share else "final",
        )
        if record.best is None or record.best.val_accuracy is None:  # failed: it is reported with the final ones
            break
        records.append(record)
        shared = TriedShare(old_share=share, val=record.best.val_accuracy, old_val=images.accuracy(record))
        tried.append((shared, plan))
    if not tried:
        nothing = TriedShare(old_share=0.0, val=0.0, old_val=0.0)
        return tuned, KeepOld(old_share=0.0, tried=[], old_images=0, words=verdicts.kept_old(nothing, nothing))
    chosen, plan = max(tried, key=lambda each: each[0].val + each[0].old_val)
    facts = KeepOld(
        old_share=chosen.old_share,
        tried=[each for each, _ in tried],
        old_images=len(images.labels),
        words=verdicts.kept_old(chosen, tried[0][0]),
    )
    return replace(tuned, plan=plan, records=distinct((*tuned.records, *records))), facts


def _with_share(plan: FineTunePlan, share: float) -> FineTunePlan:
    """The plan with a share of the weights before training, besides what it averages already."""
    if not share:
        return plan
    mixture = plan.mixture or Mixture("weights", ())
    return replace(plan, mixture=replace(mixture, start_share=share))


def _known(experiment: Experiment, old: OldModel, split: str) -> list[Listed]:
    """Images of a split of the old run whose classes both models know."""
    shared = set(experiment.classes) & set(old.about.label_names or ())
    return [row for row in old.images(split) if row.label in shared]


def _right(folder: Path, rows: Sequence[Listed]) -> np.ndarray:
    """Which images the model of a folder classifies correctly, [n] float64; NaN where one cannot be read."""
    classifier = Classifier(folder)
    probabilities, positions, _ = classifier.probabilities([row.path for row in rows])
    right = np.full(len(rows), np.nan)
    for position, values in zip(positions, probabilities, strict=True):
        right[position] = classifier.classes[int(values.argmax())] == rows[position].label
    return right


@dataclass(frozen=True)
class OldImages:
    """Images of the old run, of classes that both models know, decoded for the new network."""

    pixels: np.ndarray
    """[n, S, S, 3] uint8."""
    labels: torch.Tensor
    """[n], positions in the new classes."""
    experiment: Experiment

    @classmethod
    def of(cls, experiment: Experiment, old: OldModel, split: str) -> OldImages:
        """The images of a split that are still there and can be read."""
        rows = [row for row in _known(experiment, old, split) if row.path.is_file()]
        store = build_pixels(
            [row.path for row in rows],
            experiment.model.preprocessing,
            cache=user_cache() / "pixels",
            threads=experiment.request.train.threads,
            on_bad="skip",
        )
        good = [number for number, facts in enumerate(store.facts) if not facts.error]
        if not good:
            raise OptionError(f"`keep_old`: no {split} image of {old.name} can be read; leave `keep_old` out.")
        labels = [experiment.classes.index(rows[number].label) for number in good]
        return cls(np.asarray(store.array)[good], torch.tensor(labels), experiment)

    @torch.no_grad()
    def accuracy(self, record: TrainingRecord) -> float:
        """Share of the images that the network with the weights of a training classifies correctly."""
        network, device = self.experiment.network_of(record).module.eval(), self.experiment.trainer.device
        found: list[torch.Tensor] = []
        for start in range(0, len(self.labels), BATCH):
            pixels = np.ascontiguousarray(self.pixels[start : start + BATCH])
            batch = normalize(torch.from_numpy(pixels), self.experiment.model.preprocessing)
            found.append(network(batch.to(device)).argmax(dim=1).cpu())
        return float((torch.cat(found) == self.labels).double().mean())
