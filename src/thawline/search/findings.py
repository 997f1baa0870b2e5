"""What a search found, for the report: its course, its candidates, its blocks."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from thawline import results
from thawline.plan import NormMode
from thawline.results import BaselineTrial, BlockWeight, Generation, SearchRecord
from thawline.search.baselines import baselines
from thawline.search.candidates import Scored, in_generation
from thawline.search.driver import Driver
from thawline.search.encoding import BINS_PER_DECADE, Space, diversity, weight
from thawline.search.halving import Halving
from thawline.search.promotion import at_rung
from thawline.search.ranking import fold_centered
from thawline.search.trials import result_of
from thawline.strategies.auto import AutoConfig
from thawline.strategies.base import NORM_WORDS
from thawline.strategies.biotune import EvolutionConfig

CANONICAL = FloatDistribution(-4.0, 2.0)
"""Decades of a block's weight; frozen counts as the lowest."""
SMALLEST_DIFFERENCE = 1e-9
"""Between scores: less is rounding."""


def evolution_findings(driver: Driver, winner: Scored) -> SearchRecord:
    """`search` of results.json after an evolutionary search."""
    space, history, evolution = driver.space, driver.history, driver.evolution
    populations = [evolution.population(history, number) for number in range(evolution.generations)]
    return SearchRecord(
        settings=_settings(evolution.settings, EvolutionConfig),
        base_rate=space.base_rate,
        genes=list(space.gene_names),
        blocks=block_weights(winner, space),
        trainable_percent=_trainable_percent(winner, space),
        data_share=1 / evolution.settings.folds,
        generations=[
            _generation(history, number, space, population, max(scored.score[0] for scored in population))
            for number, population in enumerate(populations)
        ],
        importance=block_importance(history, space),
        candidates=[_candidate(scored, space) for scored in driver.candidates],
        winner=list(winner.candidate.address),
        trainings=len(driver.records),
        work=sum(record.work for record in driver.records),
        digest=records_digest(driver.candidates),
    )


def halving_findings(halving: Halving, settings: AutoConfig, winner: Scored, trainable_percent: float) -> SearchRecord:
    """`search` of results.json after successive halving; `trainable_percent` is that of the winner's plan."""
    space, history, rungs = halving.space, tuple(halving.scored.values()), halving.trainings.rungs
    # All candidates reached the first rung: only there do all scores compare.
    first = at_rung(history, 0, rungs[0])
    early = {scored.candidate.address: scored.score[0] for scored in first}
    return SearchRecord(
        settings=_settings(settings, AutoConfig),
        rungs=list(rungs),
        base_rate=space.base_rate,
        genes=list(space.gene_names),
        blocks=block_weights(winner, space),
        norm=candidate_norm(winner, space),
        trainable_percent=trainable_percent,
        data_share=1.0,
        generations=_halving_generations(history, space),
        importance=block_importance(first, space),
        candidates=[
            replace(
                _candidate(scored, space),
                epochs=rungs[scored.candidate.rung],
                early_score=early[scored.candidate.address],
                head_start=space.plan(scored.candidate.genes).head_start,
                scaled_loss=_finite(-scored.merit[0]),
            )
            for scored in history
        ],
        winner=list(winner.candidate.address),
        best=list(halving.best.candidate.address),
        ways=_baselines(halving) if settings.has("baselines") else {},
        trainings=len(halving.records),
        work=halving.work,
        digest=records_digest(history),
    )


def block_weights(scored: Scored, space: Space) -> list[BlockWeight]:
    """Figure 2 of the paper: every block with its weight on the base rate, None = frozen."""
    phenotype = space.encoding.phenotype(scored.candidate.genes)
    return [
        BlockWeight(name=block.name, weight=None if bins is None else weight(bins))
        for block, bins in zip(space.network, phenotype, strict=True)
    ]


def candidate_norm(scored: Scored, space: Space) -> NormMode | None:
    """What batch norm does in a candidate's plan; None where no block that trains has any."""
    plan = space.plan(scored.candidate.genes)
    trained = (block for block in space.network if block.name in plan.trained)
    return plan.norm if any(name.endswith("running_mean") for block in trained for name in block.buffers) else None


def _trainable_percent(scored: Scored, space: Space) -> float:
    """Table II of the paper: share of the parameters that train. Its blocks train as a whole or not at all."""
    phenotype = space.encoding.phenotype(scored.candidate.genes)
    trained = sum(block.size for block, bins in zip(space.network, phenotype, strict=True) if bins is not None)
    return 100 * trained / sum(block.size for block in space.network)


def block_importance(history: Sequence[Scored], space: Space) -> dict[str, float]:
    """How much each block's weight sets the best candidates apart (PED-ANOVA, Watanabe et al. 2023); sums to 1.

    From canonical weights, so that genes without effect count for nothing, and scores centered on their folds. Empty
    where the candidates are too much alike.
    """
    phenotypes = [space.encoding.phenotype(scored.candidate.genes) for scored in history]
    merits = fold_centered(
        [
            (phenotype, scored.candidate.fold, scored.score[0])
            for phenotype, scored in zip(phenotypes, history, strict=True)
        ]
    )
    if np.ptp(list(merits.values())) < SMALLEST_DIFFERENCE:
        return {}
    # What never varied sets nothing apart, and the evaluator would give it a share.
    varied = [at for at in range(len(space.network)) if len({phenotype[at] for phenotype in phenotypes}) > 1]
    study = optuna.create_study(direction="maximize")
    for phenotype, merit in merits.items():
        params = {
            space.network[at].name: CANONICAL.low if (bins := phenotype[at]) is None else bins / BINS_PER_DECADE
            for at in varied
        }
        study.add_trial(create_trial(params=params, distributions=dict.fromkeys(params, CANONICAL), value=merit))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Target and region quantiles")
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except UserWarning:  # too many ties to say which candidates are the best
        return {}
    return {block.name: float(found.get(block.name, 0.0)) for block in space.network}


def records_digest(candidates: Sequence[Scored]) -> str:
    """SHA-256 over what the seed decides of every candidate: two searches are equal when these are."""
    ordered = sorted(candidates, key=lambda scored: scored.candidate.address)
    rows = [[candidate_record(scored).to_dict(), result_of(scored)["per_epoch"]] for scored in ordered]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def candidate_record(
    scored: Scored,
    weights: Sequence[float | None] | None = None,
    batch_norm: str | None = None,
) -> results.Candidate:
    """A candidate and its score; the optional fields are left out where they are None."""
    candidate = scored.candidate
    return results.Candidate(
        generation=candidate.generation,
        slot=candidate.slot,
        operator=candidate.operator,
        parents=[list(address) for address in candidate.parents],
        genes=list(candidate.genes),
        fold=candidate.fold,
        rung=candidate.rung,
        score=scored.score[0],
        per_seed=list(scored.per_seed),
        work=sum(record.work for record in scored.trainings),
        weights=weights,
        batch_norm=batch_norm,
    )


def _candidate(scored: Scored, space: Space) -> results.Candidate:
    weights = [block.weight for block in block_weights(scored, space)]
    mode = candidate_norm(scored, space)
    return candidate_record(scored, weights, mode and NORM_WORDS[mode])


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _settings(settings: AutoConfig | EvolutionConfig, kind: type[AutoConfig | EvolutionConfig]) -> dict[str, object]:
    """The fields of the settings alone: a strategy may be its own settings."""
    return {field.name: getattr(settings, field.name) for field in fields(kind)}


def _baselines(halving: Halving) -> dict[str, BaselineTrial | None]:
    """The best trial of each baseline; None where the budget allowed none."""
    rungs = halving.trainings.rungs
    tried: dict[str, BaselineTrial | None] = {
        initial.baseline: BaselineTrial(
            strategy=initial.strategy, score=scored.score[0], epochs=rungs[scored.candidate.rung]
        )
        for initial, scored in halving.baselines()
    }
    return dict.fromkeys(baselines(halving.initial)) | tried


def _halving_generations(history: Sequence[Scored], space: Space) -> list[Generation]:
    """How each generation did; its best is that of everything trained to the end so far."""
    found = []
    for number in sorted({scored.candidate.generation for scored in history}):
        so_far = [scored for scored in history if scored.candidate.generation <= number]
        furthest = max(scored.candidate.rung for scored in so_far)
        best = max(scored.score[0] for scored in so_far if scored.candidate.rung == furthest)
        found.append(_generation(history, number, space, in_generation(history, number), best))
    return found


def _generation(
    history: Sequence[Scored], number: int, space: Space, population: Sequence[Scored], best: float
) -> Generation:
    """Scores and diversity of the `population` that a generation leaves."""
    batch = in_generation(history, number)
    scores = [scored.score[0] for scored in population]
    return Generation(
        generation=number,
        fold=batch[0].candidate.fold,
        best=best,
        mean=float(np.mean(scores)),
        quartiles=np.quantile(scores, (0.25, 0.5, 0.75)).tolist(),
        diversity=diversity([space.encoding.phenotype(scored.candidate.genes) for scored in population]),
        evaluations=len(batch),
    )
