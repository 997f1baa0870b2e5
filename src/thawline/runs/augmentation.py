"""Which augmentation a run trains with: what was asked for, or what the mirror test says of the images."""

from __future__ import annotations

from dataclasses import replace

from thawline import verdicts
from thawline.config import BASE_RATE, Request
from thawline.data.augment import Kind, augmenter
from thawline.errors import ModelError, NonFiniteLossError, TooLittleMemoryError
from thawline.plan import FineTunePlan
from thawline.results import AugmentationChoice, MirrorTest
from thawline.runs.experiment import Experiment
from thawline.training.mirror import mirror_test

FLIPS: Kind = "mild"
NO_FLIPS: Kind = "mild_no_flip"


def settled(experiment: Experiment) -> Experiment:
    """The experiment with an augmentation in place of `auto`, the same for all its trainings and when it is resumed.

    It is measured without the test split, kept in the ledger before the request is, and said once.
    """
    ledger, folder = experiment.ledger, experiment.folder
    if (choice := ledger.augmentation) is None:
        choice = _choose(experiment.searching)
        ledger.keep_augmentation(choice)
        experiment.callback.note(choice.words)
    kind = NO_FLIPS if choice.augment == NO_FLIPS else FLIPS
    request = replace(experiment.request, images=replace(experiment.request.images, augment=kind))
    folder.store(request)
    ledger.bind_request(request.to_dict())
    sample = experiment.sample and _augmented(experiment.sample, request)
    return replace(_augmented(experiment, request), sample=sample)


def _augmented(experiment: Experiment, request: Request) -> Experiment:
    views = augmenter(request.images, len(experiment.data.pixels), experiment.model.preprocessing)
    return replace(experiment, request=request, data=replace(experiment.data, augmenter=views))


def _choose(experiment: Experiment) -> AugmentationChoice:
    """Flips, unless the mirror test finds that they make other classes of the images."""
    found = _measured(experiment)
    if isinstance(found, str):
        return AugmentationChoice(augment=FLIPS, words=verdicts.not_mirrored(found), work=0)
    kind = NO_FLIPS if verdicts.is_worse_mirrored(found) else FLIPS
    work = work_of(found, experiment)
    return AugmentationChoice(augment=kind, words=verdicts.mirrored(found), work=work, mirror_test=found)


def work_of(found: MirrorTest, experiment: Experiment) -> float:
    """Units of work of the test's forward passes through the whole network."""
    blocks = experiment.blocks("stage")
    everything = FineTunePlan.constant(blocks, {block.name: BASE_RATE for block in blocks})
    return experiment.training_work(everything, 0, further_passes=found.passes)


def _measured(experiment: Experiment) -> MirrorTest | str:
    """The figures, or why there are none."""
    request = experiment.request
    try:
        found = mirror_test(experiment.model, experiment.data, request.train, request.images.seed)
    except (ModelError, NonFiniteLossError, TooLittleMemoryError) as error:
        return f"the linear probe failed ({str(error).rstrip('.')})"
    return found or f"the head of {experiment.model.architecture} is not a single linear layer"
