"""What a search of `auto` found, as plain records for the report: the same shape as those of an evolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from thawline.search.baselines import usual_ways
from thawline.search.candidates import Scored, in_generation
from thawline.search.encoding import Space, diversity
from thawline.search.findings import (
    block_importance,
    block_weights,
    candidate_record,
    records_digest,
    trainable_percent,
)
from thawline.search.halving import Halved
from thawline.search.promotion import at_rung
from thawline.strategies.auto import AutoConfig


def auto_findings(halved: Halved, space: Space, settings: AutoConfig, rungs: Sequence[int]) -> dict[str, Any]:
    """`search` of results.json; JSON types only."""
    # All candidates reached the first rung: only there do all scores compare.
    first = at_rung(halved.history, 0, rungs[0])
    early = {scored.candidate.address: scored.score[0] for scored in first}
    numbers = sorted({scored.candidate.generation for scored in halved.history})
    return {
        "settings": {field.name: asdict(settings)[field.name] for field in fields(AutoConfig)},
        "rungs": list(rungs),
        "base_rate": space.base_rate,
        "genes": list(space.gene_names),
        "blocks": block_weights(halved.winner, space),
        "norm": space.encoding.norm(halved.winner.candidate.genes),
        "trainable_percent": trainable_percent(halved.winner, space),
        "data_share": 1.0,
        "generations": [_generation(halved.history, number, space) for number in numbers],
        "importance": block_importance(first, space),
        "candidates": [
            {
                **candidate_record(scored),
                "weights": [one["weight"] for one in block_weights(scored, space)],
                "epochs": rungs[scored.candidate.rung],
                "early_score": early[scored.candidate.address],
            }
            for scored in halved.history
        ],
        "winner": list(halved.winner.candidate.address),
        "best": list(halved.best.candidate.address),
        "ways": _ways(halved, space, rungs) if settings.has("starts") else {},
        "trainings": len(halved.trainings),
        "work": halved.work,
        "digest": records_digest(halved.history),
    }


def _ways(halved: Halved, space: Space, rungs: Sequence[int]) -> dict[str, Any]:
    """How the best of each fixed strategy did; None for what the budget had no room for."""
    return dict.fromkeys(usual_ways(len(space.network))) | {
        start.way: {"strategy": start.strategy, "score": scored.score[0], "epochs": rungs[scored.candidate.rung]}
        for start, scored in halved.ways
    }


def _generation(history: Sequence[Scored], number: int, space: Space) -> dict[str, Any]:
    """The best of all trained to the end so far, and how the generation did as far as each of it went."""
    batch = in_generation(history, number)
    so_far = [scored for scored in history if scored.candidate.generation <= number]
    furthest = max(scored.candidate.rung for scored in so_far)
    scores = [scored.score[0] for scored in batch]
    return {
        "generation": number,
        "fold": None,
        "best": max(scored.score[0] for scored in so_far if scored.candidate.rung == furthest),
        "mean": float(np.mean(scores)),
        "quartiles": np.quantile(scores, (0.25, 0.5, 0.75)).tolist(),
        "diversity": diversity([space.encoding.phenotype(scored.candidate.genes) for scored in batch]),
        "evaluations": len(batch),
    }
