"""What `auto` hands over, from the trainings it has paid for.

The pick, an average of weights, an ensemble, or one network that was trained once more on the mean output of the best.

Losses here are validation losses after temperature scaling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thawline.plan import FineTunePlan, Ingredient, Mixed, Mixture
from thawline.records import TrainingRecord, distinct
from thawline.runs.experiment import Experiment
from thawline.search.candidates import Scored
from thawline.search.ensembles import best_members
from thawline.search.halving import Halving
from thawline.search.optimism import optimism
from thawline.strategies.auto import Answer
from thawline.strategies.context import Tuned

MEMBERS = 3
"""Trainings of a mixture at most: further ones add little."""


@dataclass(frozen=True)
class Trained:
    """A training that ran to its end, or a mixture of several."""

    plan: FineTunePlan
    record: TrainingRecord

    @property
    def loss(self) -> float:
        """Validation loss after temperature scaling; infinite if the training failed."""
        loss = self.record.best.val_scaled_loss if self.record.best else None
        return math.inf if loss is None else loss


@dataclass(frozen=True)
class Finished(Trained):
    """A training of a candidate."""

    output: np.ndarray
    """Class probabilities [n, C] of the validation images."""


def handed_over(experiment: Experiment, pick: Tuned, halving: Halving, winner: Scored, answer: Answer) -> Tuned:
    """The answer that was asked for, with the pick and the ensemble as rows beside it.

    No plan has two rows: a pick is often a baseline, and an ensemble may be the pick alone.
    """
    finished = _finished(experiment, halving, winner)
    if not finished:  # the budget was too small for a whole training
        return pick
    luck = _luck(experiment, finished)
    answers = {"pick": pick, "ensemble": _ensemble(experiment, pick, finished)}
    if answer == "average":
        answers["average"] = _average(experiment, pick, finished)
    if answer == "distilled":
        answers["distilled"] = _distilled(experiment, pick, finished)
    chosen = answers.pop(answer)
    beside: dict[str, Tuned] = {}
    for name, found in answers.items():
        if all(found.plan != row.plan for row in (chosen, *pick.baselines.values(), *beside.values())):
            beside[name] = found
    records = distinct((*pick.records, *chosen.records))
    search = pick.search and replace(pick.search, optimism=luck)
    return replace(chosen, records=records, search=search, baselines={**beside, **pick.baselines}, pick=pick)


def mixing_work(experiment: Experiment) -> float:
    """Units of work to validate all averages and the ensemble, at most."""
    averages = MEMBERS - 1
    passes = (averages + MEMBERS) * len(experiment.data.val)
    blocks = experiment.blocks("stage")
    everything = FineTunePlan.constant(blocks, {block.name: 1.0 for block in blocks})
    return experiment.training_work(everything, 0, further_passes=passes)


def distilling_work(experiment: Experiment) -> float:
    """Units of work of a further training on the mean output of `MEMBERS` networks, at most."""
    blocks = experiment.blocks("stage")
    plan = FineTunePlan.constant(blocks, {block.name: 1.0 for block in blocks})
    epochs, views = experiment.request.train.epochs, experiment.trainer.images.views
    passes = MEMBERS * min(views or epochs, epochs) * len(experiment.data.train)
    return experiment.training_work(plan, epochs, further_passes=passes)


def _finished(experiment: Experiment, halving: Halving, winner: Scored) -> list[Finished]:
    """The trainings whose weights are kept; the first is the pick's own. One of a plan that trains nothing."""
    found: list[Finished] = []
    for scored in (winner, *(scored for scored in halving.selectable if scored is not winner)):
        plan = halving.space.plan(scored.candidate.genes)
        records = scored.trainings[: 1 if plan.is_untrained else None]
        found += [
            Finished(plan, record, experiment.validation_probabilities(record))
            for record in records
            if record.checkpoint
        ]
    return found


def _luck(experiment: Experiment, finished: Sequence[Finished]) -> float:
    """How much better the pick looks on validation than it is, because it was selected there.

    Candidates that were given up early are left out, and so is the luck of getting further than they did.
    """
    candidates = [each for each in finished if each.record.seed == finished[0].record.seed]
    losses = np.stack([experiment.image_losses(each.output) for each in candidates])
    right = np.stack([each.output.argmax(axis=1) for each in candidates]) == experiment.data.val.labels.numpy()
    return optimism(losses, right, 0)


def _average(experiment: Experiment, pick: Tuned, finished: Sequence[Trained]) -> Tuned:
    """The better average of the best two and three trainings from one start, unless its loss is above the pick's.

    Model soups (Wortsman et al. 2022): from one start, trainings end in one basin. From random heads they do not.
    """
    alike = _from_one_start(finished)
    members = [alike[:count] for count in range(2, min(MEMBERS, len(alike)) + 1)]
    averages = [_mixed(experiment, pick, "weights", some) for some in members]
    tried = [average.record for average in averages]
    best = min(averages, key=lambda average: average.loss, default=None)
    if best is None or _trails(best, finished[0]):
        return replace(pick, records=(*pick.records, *tried))
    return _tuned(pick, best, tried)


def _distilled(experiment: Experiment, pick: Tuned, finished: Sequence[Trained]) -> Tuned:
    """The best candidate that was trained, once more from its own weights on the mean output of the best three.

    It is always among the three, as in born-again networks (Furlanello et al. 2018), which start anew. If its loss is
    above the pick's, or if there is only one training, the average or the pick takes its place.
    """
    student = next(iter(_best_first(each for each in finished if not each.plan.is_untrained)), None)
    if student is None or len(finished) == 1:
        return _average(experiment, pick, finished)
    others = sorted((each for each in finished if each is not student), key=_order)
    distilled = _mixed(experiment, pick, "distilled", [student, *others[: MEMBERS - 1]])
    if _trails(distilled, finished[0]):
        instead = _average(experiment, pick, finished)
        return replace(instead, records=distinct((*instead.records, distilled.record)))
    return _tuned(replace(pick, learning_rate=student.record.learning_rate), distilled, [distilled.record])


def _trails(some: Trained, other: Trained) -> bool:
    return some.loss > other.loss


def _from_one_start(finished: Sequence[Trained]) -> list[Trained]:
    """Those that start from one probe or one kept head in one norm mode, those of the best of them.

    See `_best_first`.
    """
    started = _best_first(each for each in finished if each.plan.head_start != "random")
    return [each for each in started if _start(each.plan) == _start(started[0].plan)]


def _start(plan: FineTunePlan) -> tuple[str, ...]:
    return plan.norm, plan.head_start, plan.statistics


def _best_first(finished: Iterable[Trained]) -> list[Trained]:
    """The lowest loss first, but before it the best training with the run's own seed, from which seeds are counted."""
    ordered = sorted(finished, key=_order)
    own = min((each.record.seed for each in ordered), default=0)
    return sorted(ordered, key=lambda each: each is not next(first for first in ordered if first.record.seed == own))


def _order(trained: Trained) -> tuple[float, str]:
    return trained.loss, trained.record.key


def _ensemble(experiment: Experiment, pick: Tuned, finished: Sequence[Finished]) -> Tuned:
    """The best mean output of the pick and up to `MEMBERS` - 1 others; the pick alone if no mean has a lower loss."""
    found = {trained.record.key: trained for trained in finished}
    outputs = {key: trained.output for key, trained in found.items()}
    names = best_members(outputs, next(iter(found)), experiment.scaled_loss, MEMBERS)
    members = [found[name] for name in names]
    if len(members) == 1:
        return _tuned(pick, members[0], [members[0].record])
    mean = _mixed(experiment, pick, "outputs", members)
    return _tuned(pick, mean, [*(member.record for member in members), mean.record])


def _mixed(experiment: Experiment, pick: Tuned, of: Mixed, members: Sequence[Trained]) -> Trained:
    """The mixture of some trainings, put together or trained, and validated."""
    first, *others = members
    ingredients = tuple(Ingredient(other.plan, other.record.seed - first.record.seed) for other in others)
    plan = replace(first.plan, mixture=Mixture(of, ingredients))
    rate, seed = pick.learning_rate, first.record.seed
    record = experiment.train(plan, strategy=pick.strategy, learning_rate=rate, seed=seed, purpose="tuning")
    return Trained(plan, record)


def _tuned(pick: Tuned, best: Trained, records: Sequence[TrainingRecord]) -> Tuned:
    return replace(pick, plan=best.plan, score=best.record.score, records=tuple(records))
