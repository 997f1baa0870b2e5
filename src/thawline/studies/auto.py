"""How `auto` is set up on one experiment: its rungs, its encoding, its budget; and its result."""

from __future__ import annotations

from collections.abc import Mapping

from thawline.errors import OptionError, PlanError
from thawline.formatting import figure
from thawline.plan import FineTunePlan, HeadStart, NormMode, rungs
from thawline.runs.experiment import Experiment
from thawline.search.baselines import again_candidates, baselines, initial_candidates
from thawline.search.budget import CandidateLimit, Limit, Priced, SearchBudget, TimeLimit, WorkLimit
from thawline.search.candidates import Scored, require_trained
from thawline.search.encoding import (
    AGAIN,
    MODES,
    MOVING,
    AgainEncoding,
    BioTuneEncoding,
    FreeEncoding,
    Invertible,
    Mode,
    Space,
)
from thawline.search.findings import halving_findings
from thawline.search.halving import Halving
from thawline.search.samplers import SAMPLERS
from thawline.search.trials import CandidateLedger
from thawline.strategies.auto import AutoConfig, Budget
from thawline.strategies.base import NORM_MODES, TUNED
from thawline.strategies.context import StrategyContext, Tuned
from thawline.studies.answers import distilling_work, mixing_work
from thawline.studies.biotune import candidate_ledger
from thawline.training.measure import VALIDATION_SHARE, step_cost
from thawline.training.trainer import NO_KEPT_HEAD

LEAST_SEARCH = 1.0
"""Full fine-tunings that a distilled answer must leave to the search."""
MOST_SEEDS = 3
"""Trainings of one plan at most, where the best cannot be told apart."""


def make_halving(
    experiment: Experiment, settings: AutoConfig, context: StrategyContext, trainings: Priced, name: str
) -> Halving:
    """The search, ready to run or to be resumed.

    Candidates train on the training split and are scored on the validation split; `name` is that of its ledger. Their
    first seed is that of the run: the winner is handed over as it was trained.
    """
    modes, blocks = _modes(experiment, settings), len(context.blocks)
    decoupled, again = settings.has("decoupling"), any(mode.head == "kept" for mode in modes)
    if not decoupled:
        encoding: Invertible = BioTuneEncoding(blocks)
    elif again:
        encoding = AgainEncoding(blocks, modes, head_must_train=not experiment.head_is_known)
    else:
        encoding = FreeEncoding(blocks, modes)
    first_tried = (
        again_candidates(blocks, modes, head_is_known=experiment.head_is_known)
        if again
        else initial_candidates(blocks, modes)
    )
    mode = None if len(modes) > 1 and decoupled else modes[0]
    space = Space(encoding, context.blocks, context.granularity, context.learning_rate, mode, "last")
    ledger = candidate_ledger(experiment, name, space)
    first = experiment.request.images.seed
    return Halving(
        space,
        encoding,
        SAMPLERS[settings.sampler](encoding, context.seed),
        first_tried if settings.has("baselines") else (),
        trainings,
        SearchBudget(space, trainings, _limit(experiment, settings, ledger)),
        ledger,
        range(first, first + (MOST_SEEDS if settings.has("extra_seeds") else 1)),
        parsimony=settings.has("parsimony"),
        on_best=lambda best: _keep_best(experiment, space, best),
    )


def tuned_by_halving(
    experiment: Experiment, halving: Halving, settings: AutoConfig, winner: Scored, spec: str
) -> Tuned:
    """The winner in the name of the baseline that makes its plan, or else of `spec`; see `leading_rate`.

    Raises `NonFiniteLossError` if even the winner diverged.
    """
    require_trained(winner)
    plan, initial = halving.space.plan(winner.candidate.genes), halving.initial_at.get(winner.candidate.address)
    named = initial.strategy if initial else ""
    return Tuned(
        named or spec,
        leading_rate(plan),
        plan,
        winner.score,
        halving.records,
        halving_findings(halving, settings, winner, experiment.trainable_percent(plan)),
        _baselines(halving),
    )


def rung_epochs(nominal: int, settings: AutoConfig) -> tuple[int, ...]:
    """Numbers of epochs after which candidates are compared, the nominal one last."""
    return rungs(nominal) if settings.has("rungs") else (nominal,)


def seconds_per_unit(experiment: Experiment) -> float:
    """Estimated seconds of a full fine-tuning on this machine, from a few real steps."""
    blocks = experiment.blocks("stage")
    plan = FineTunePlan.constant(blocks, {block.name: 1e-3 for block in blocks})
    images = len(experiment.data.train) + VALIDATION_SHARE * len(experiment.data.val)
    step = step_cost(experiment.trainer, plan, blocks)
    return experiment.request.train.epochs * images * step.seconds_per_image


def _modes(experiment: Experiment, settings: AutoConfig) -> tuple[Mode, ...]:
    """The modes of the search: those of `MODES` that the network has and the settings leave open; never empty."""
    probes = experiment.head_is_linear and settings.has("probe_start") and settings.has("decoupling")
    norms = experiment.has_statistics and settings.has("norms") and settings.has("decoupling")
    fixed = NORM_MODES.get(settings.norm) if experiment.has_statistics else None
    if experiment.keeps_head and settings.head_start in (TUNED, "kept"):
        apart = settings.has("decoupling")
        return _again_modes(experiment, settings, fixed) if apart else (Mode(fixed or "train", "kept"),)
    found = [
        mode
        for mode in MODES
        if (fixed or mode.norm) == mode.norm
        and (settings.head_start in (TUNED, mode.head))
        and (probes or mode.head == "random")
        and (norms or mode == MOVING or (mode.head == "probe" and not experiment.has_statistics))
    ]
    # What was asked for in so many words, though the search would not propose it.
    head: HeadStart = "random" if settings.head_start == TUNED else settings.head_start
    if head == "kept" and not experiment.keeps_head:
        raise PlanError(NO_KEPT_HEAD)
    return tuple(found) or (Mode(fixed or "train", head),)


def _again_modes(experiment: Experiment, settings: AutoConfig, fixed: NormMode | None) -> tuple[Mode, ...]:
    """The modes of `AGAIN` that the network has and the settings leave open; never empty.

    Whoever keeps the old skill needs a start that is the old model.
    """
    norms = experiment.has_statistics and settings.has("norms")
    probe = settings.has("probe_start") and settings.head_start == TUNED and not experiment.request.keep_old
    found = [
        mode
        for mode in AGAIN
        if (fixed or mode.norm) == mode.norm
        and (norms or (mode.statistics == "stored" and (mode.norm == "eval" or mode.parts != "all")))
        and (probe or mode.head == "kept")
    ]
    return tuple(found)


def _limit(experiment: Experiment, settings: AutoConfig, ledger: CandidateLedger) -> Limit:
    """What the search may spend: the budget without what its answer takes afterwards.

    Raises `OptionError` if that leaves no room for a search.
    """
    budget = Budget.parse(settings.budget)
    if budget.unit == "candidates":
        return CandidateLimit(int(budget.amount))
    kept = _kept_work(experiment, settings)
    if budget.unit == "work":
        _require_room(settings, budget.amount - kept, kept)
        return WorkLimit(budget.amount - kept)
    experiment.by_the_clock()
    pace = ledger.settled("seconds_per_unit", lambda: seconds_per_unit(experiment))
    _require_room(settings, budget.amount / pace - kept, kept)
    return TimeLimit(budget.amount - kept * pace, pace, ledger.clockings)


def least_work(experiment: Experiment, settings: AutoConfig) -> float:
    """Units of work below which a budget is refused."""
    return LEAST_SEARCH + _kept_work(experiment, settings) if settings.answer == "distilled" else 0.0


def _kept_work(experiment: Experiment, settings: AutoConfig) -> float:
    """Units of work that the answer takes after the search, at most."""
    kept = 0.0 if settings.answer == "pick" else mixing_work(experiment)
    return kept + distilling_work(experiment) if settings.answer == "distilled" else kept


def _require_room(settings: AutoConfig, left: float, kept: float) -> None:
    """The further training of a distilled answer must leave `LEAST_SEARCH`."""
    if settings.answer == "distilled" and left < LEAST_SEARCH:
        raise OptionError(
            f"`budget`: {settings.budget} is too small for `answer` distilled, whose last training takes up to "
            f"{figure(kept, 1)} full fine-tunings and must leave at least {figure(LEAST_SEARCH, 0)} for the search; "
            "raise the budget, or use another answer."
        )


def _keep_best(experiment: Experiment, space: Space, best: Scored) -> None:
    """Keep the best plan so far where `fit` puts its result; a comparison has no single one."""
    if experiment.request.verb == "fit":
        experiment.keep_plan(space.plan(best.candidate.genes))


def leading_rate(plan: FineTunePlan) -> float:
    """The learning rate of the head, or if that is kept as it is, the highest; 0 if nothing trains."""
    rates = [plan.highest_rate(name) or 0.0 for name in plan.blocks]
    return rates[-1] or max(rates)


def _baselines(halving: Halving) -> Mapping[str, Tuned]:
    """The best variant of each baseline; at its first rate where the budget was too small to try it."""
    found: dict[str, Tuned] = {}
    for name, initial in baselines(halving.initial).items():
        plan = halving.space.plan(halving.encoding.genes_of(initial.phenotype, initial.mode))
        found[name] = Tuned(initial.strategy, leading_rate(plan), plan, (0.0, 0.0))
    for initial, scored in halving.baselines():
        plan, records = halving.space.plan(scored.candidate.genes), halving.records_of(initial.baseline)
        found[initial.baseline] = Tuned(initial.strategy, leading_rate(plan), plan, scored.score, records)
    return found
