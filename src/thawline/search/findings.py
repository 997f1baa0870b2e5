"""What a search found, as plain records for the report: its course, its candidates, its blocks."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from thawline.search.candidates import Scored, in_generation
from thawline.search.driver import Search
from thawline.search.encoding import BINS_PER_DECADE, Space, diversity, weight
from thawline.search.evolution import Evolution
from thawline.search.ranking import fold_centred
from thawline.search.trials import result_of
from thawline.strategies.biotune import EvolutionConfig

CANONICAL = FloatDistribution(-4.0, 2.0)
"""Decades of a block's weight; frozen counts as the lowest."""
SMALLEST_DIFFERENCE = 1e-9
"""Between scores: less is rounding."""


def findings(search: Search, space: Space, evolution: Evolution) -> dict[str, Any]:
    """`search` of results.json; JSON types only."""
    return {
        "settings": _settings(evolution.settings),
        "base_rate": space.base_rate,
        "genes": list(space.gene_names),
        "blocks": block_weights(search.winner, space),
        "trainable_percent": trainable_percent(search.winner, space),
        "data_share": 1 / evolution.settings.folds,
        "generations": [
            _generation(search.history, number, space, evolution) for number in range(evolution.generations)
        ],
        "importance": block_importance(search.history, space),
        "candidates": [
            {**candidate_record(scored), "weights": [one["weight"] for one in block_weights(scored, space)]}
            for scored in (*search.history, *search.retrained)
        ],
        "winner": list(search.winner.candidate.address),
        "trainings": len(search.trainings),
        "work": sum(record.work for record in search.trainings),
        "digest": records_digest((*search.history, *search.retrained)),
    }


def block_weights(scored: Scored, space: Space) -> list[dict[str, Any]]:
    """Figure 2 of the paper: every block with its weight on the base rate, None = frozen."""
    phenotype = space.encoding.phenotype(scored.candidate.genes)
    return [
        {"name": block.name, "weight": None if bins is None else weight(bins)}
        for block, bins in zip(space.network, phenotype, strict=True)
    ]


def trainable_percent(scored: Scored, space: Space) -> float:
    """Table II of the paper: share of the parameters that train."""
    phenotype = space.encoding.phenotype(scored.candidate.genes)
    trained = sum(block.size for block, bins in zip(space.network, phenotype, strict=True) if bins is not None)
    return 100 * trained / sum(block.size for block in space.network)


def block_importance(history: Sequence[Scored], space: Space) -> dict[str, float]:
    """How much each block's weight sets the best candidates apart (PED-ANOVA, Watanabe et al. 2023); sums to 1.

    From canonical weights, so that genes without effect count for nothing, and scores centred on their folds. Empty
    where the candidates are too much alike.
    """
    phenotypes = [space.encoding.phenotype(scored.candidate.genes) for scored in history]
    merits = fold_centred(
        [(one, scored.candidate.fold, scored.score[0]) for one, scored in zip(phenotypes, history, strict=True)]
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
    rows = [[candidate_record(one), result_of(one)["per_epoch"]] for one in candidates]
    return hashlib.sha256(json.dumps(sorted(rows, key=_address), sort_keys=True).encode()).hexdigest()


def _address(row: list[Any]) -> tuple[int, int]:
    return row[0]["generation"], row[0]["slot"]


def _settings(settings: EvolutionConfig) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(EvolutionConfig)}


def _generation(history: Sequence[Scored], number: int, space: Space, evolution: Evolution) -> dict[str, Any]:
    """Convergence and diversity of the population that a generation leaves."""
    batch, population = in_generation(history, number), evolution.population(history, number)
    scores = [scored.score[0] for scored in population]
    phenotypes = [space.encoding.phenotype(scored.candidate.genes) for scored in population]
    return {
        "generation": number,
        "fold": batch[0].candidate.fold,
        "best": max(scores),
        "mean": float(np.mean(scores)),
        "quartiles": np.quantile(scores, (0.25, 0.5, 0.75)).tolist(),
        "diversity": diversity(phenotypes),
        "evaluations": len(batch),
    }


def candidate_record(scored: Scored) -> dict[str, Any]:
    """A candidate and how it did, as JSON types."""
    candidate = scored.candidate
    return {
        "generation": candidate.generation,
        "slot": candidate.slot,
        "operator": candidate.operator,
        "parents": [list(address) for address in candidate.parents],
        "genes": list(candidate.genes),
        "fold": candidate.fold,
        "rung": candidate.rung,
        "score": scored.score[0],
        "per_seed": list(scored.per_seed),
        "work": sum(record.work for record in scored.trainings),
    }
