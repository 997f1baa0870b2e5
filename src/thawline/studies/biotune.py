"""How an evolutionary search is set up on one experiment: its folds, its seeds; and its result."""

from __future__ import annotations

from collections.abc import Sequence

from thawline.data.splits import stratified_folds
from thawline.records import environment, fingerprint
from thawline.runs.experiment import Experiment, Part
from thawline.search.candidates import Scored, Trainings, require_trained
from thawline.search.driver import Driver
from thawline.search.encoding import Mode, Space
from thawline.search.evolution import Evolution, make_encoding
from thawline.search.findings import evolution_findings
from thawline.search.trials import CandidateLedger
from thawline.strategies.base import NORM_MODES
from thawline.strategies.biotune import EvolutionConfig
from thawline.strategies.context import StrategyContext, Tuned
from thawline.training.images import LabelledRows

FRESH_SEED_OFFSET = 2_000_000
"""The top candidates are compared with seeds that neither the search nor the final figures use."""


def make_driver(
    experiment: Experiment, settings: EvolutionConfig, context: StrategyContext, trainings: Trainings, name: str
) -> Driver:
    """The search, ready to run or to be resumed.

    Candidates train on folds of the training split and are scored on the whole validation split; `name` is that of its
    ledger.
    """
    encoding = make_encoding(settings, len(context.blocks))
    mode = Mode(NORM_MODES[settings.norm], settings.head_start)
    space = Space(encoding, context.blocks, context.granularity, context.learning_rate, mode)
    evolution = Evolution(settings, encoding, context.seed)
    return Driver(evolution, space, trainings, candidate_ledger(experiment, name, space))


def tuned_by_evolution(driver: Driver, winner: Scored, spec: str) -> Tuned:
    """The winner in the name of `spec`. Raises `NonFiniteLossError` if even the winner diverged."""
    require_trained(winner)
    plan = driver.space.plan(winner.candidate.genes)
    findings = evolution_findings(driver, winner)
    return Tuned(spec, driver.space.base_rate, plan, winner.score, driver.records, findings)


def search_seeds(experiment: Experiment, settings: EvolutionConfig) -> Sequence[int]:
    """Seeds of the trainings of every candidate."""
    return range(experiment.tuning_seed, experiment.tuning_seed + settings.seeds)


def fresh_seeds(experiment: Experiment, settings: EvolutionConfig) -> Sequence[int]:
    """Seeds of the top candidates on the full training split."""
    first = experiment.request.images.seed + FRESH_SEED_OFFSET
    return range(first, first + settings.seeds)


def training_parts(experiment: Experiment, folds: int) -> tuple[Part | None, ...]:
    """The training split in stratified folds; a single fold is all of it.

    Groups need no care here: nothing is scored on the other folds.
    """
    if folds == 1:
        return (None,)
    train = experiment.data.train
    positions = stratified_folds(train.labels.numpy(), folds, experiment.request.images.seed)
    pieces = [LabelledRows(train.rows[fold], train.labels[fold]) for fold in positions]
    return tuple(Part(piece, fingerprint(piece.rows.tolist())) for piece in pieces)


def candidate_ledger(experiment: Experiment, name: str, space: Space) -> CandidateLedger:
    """The ledger of a search's candidates, each of them with versions and the fingerprint of the data."""
    train = experiment.request.train
    packages = environment(device=train.device, threads=train.threads)["packages"]
    facts = {"packages": packages, "data_fingerprint": experiment.data_fingerprint}
    return CandidateLedger(experiment.ledger.storage, f"thawline-search:{name}", space, facts)
