"""Scales the probabilities of the saved model by a temperature that is fitted on validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from thawline import verdicts
from thawline.results import Calibration
from thawline.runs.experiment import Experiment
from thawline.studies.rows import TrainedRow
from thawline.training.evaluation import calibration_error
from thawline.training.mixing import to_logits
from thawline.training.temperature import fit_temperature


def calibration(experiment: Experiment, row: TrainedRow) -> Calibration | None:
    """The temperature of the lowest seed, and the calibration before and after; None with `calibrate` off.

    A refitted model takes the temperature of the model that was scored: it has seen the validation images.
    """
    if experiment.request.calibrate == "off":
        return None
    scored, labels = row.evaluations[0], experiment.data.val.labels
    fitted = fit_temperature(to_logits(torch.from_numpy(scored.val)), labels)
    is_used = fitted.helps or experiment.request.calibrate == "on"
    temperature = fitted.temperature if is_used else 1.0
    val, test = labels.numpy(), experiment.test
    tested = (scored.test, test.labels.numpy()) if test is not None and scored.test is not None else None
    found = Calibration(
        temperature=temperature,
        images=len(labels),
        gain=fitted.gain,
        gain_error=fitted.gain_error,
        val_before=calibration_error(scored.val.astype(np.float64), val),
        val_after=calibration_error(scaled(scored.val, temperature), val),
        test_before=calibration_error(tested[0].astype(np.float64), tested[1]) if tested else None,
        test_after=calibration_error(scaled(tested[0], temperature), tested[1]) if tested else None,
    )
    return replace(found, words=verdicts.calibrated(found, refitted=bool(row.refits)))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [n, C] whose logits are divided by the temperature, float64."""
    if temperature == 1:
        return probabilities.astype(np.float64)
    return np.asarray(torch.softmax(to_logits(torch.from_numpy(probabilities)).double() / temperature, dim=1).numpy())
