"""What the ensemble of a search costs in use, measured at the end of `fit`: milliseconds an image."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from thawline.errors import TooLittleMemoryError
from thawline.memory import within_memory
from thawline.model.ensemble import Ensemble
from thawline.model.latency import milliseconds_per_image
from thawline.results import Latency
from thawline.runs.experiment import Experiment
from thawline.studies.rows import TrainedRow, pick_row

BATCHES = (32, 1)
SECONDS = 0.5
"""For each of the four measurements, about."""


def latencies(experiment: Experiment, row: TrainedRow, baselines: Sequence[TrainedRow]) -> list[Latency] | None:
    """What the ensemble and one network take, in batches of 32 and one by one; None if there is no ensemble.

    The one network is the saved one, or the pick where the ensemble is saved. None also where such a batch does not fit
    into memory: the trained models matter more.
    """
    scored = [each for each in (row, *baselines) if each.error is None]
    together = next((each for each in scored if each.plan.is_ensemble), None)
    alone = row if together is not row else pick_row(row, scored)
    if together is None or alone is None:
        return None
    try:
        ensemble = _ensemble(experiment, together)
    except (RuntimeError, TypeError):  # a network of one's own that cannot be copied
        return None
    network = experiment.network_of(alone.finals[0]).module.eval()
    size = experiment.model.preprocessing.image_size
    try:
        with within_memory("inference times are left out"):
            return [
                Latency(
                    batch_size=batch,
                    ensemble=milliseconds_per_image(ensemble, batch, size, SECONDS),
                    single=milliseconds_per_image(network, batch, size, SECONDS),
                )
                for batch in BATCHES
            ]
    except TooLittleMemoryError as error:
        experiment.callback.note(f"Inference in batches of {BATCHES[0]}: {error}")
        return None


def _ensemble(experiment: Experiment, row: TrainedRow) -> nn.Module:
    """The networks of the lowest seed, each a copy of the experiment's one network with its weights."""
    parts = experiment.ingredients(row.finals[0])
    members = [copy.deepcopy(experiment.network_of(part).module) for part in parts]
    return Ensemble(members, row.plan.shares, experiment.model.preprocessing.image_size)
