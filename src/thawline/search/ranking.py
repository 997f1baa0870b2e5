"""Which phenotypes did best over all generations, although each was scored on some folds only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thawline.search.candidates import Scored
from thawline.search.encoding import Encoding, Phenotype

SHRINKAGE = 1.0
"""Weight of the assumption that a phenotype is average, in scores: one lucky score counts half."""


def rank(history: Sequence[Scored], encoding: Encoding) -> tuple[Scored, ...]:
    """One candidate per phenotype, its latest, the best phenotype first.

    A score is taken as the sum of how easy its fold is and how good its phenotype is. Both are fitted together, so that
    a fold on which only good candidates were scored is not taken for an easy one; elites, scored on several folds, tie
    the folds together. Ties go to the lower loss.
    """
    latest = {encoding.phenotype(scored.candidate.genes): scored for scored in history}
    merits = fold_centered(
        [
            (encoding.phenotype(scored.candidate.genes), scored.candidate.fold, scored.score[0])
            for scored in _distinct(history, encoding)
        ]
    )
    order = sorted(latest, key=lambda each: (round(merits[each], 12), latest[each].score[1]), reverse=True)
    return tuple(latest[phenotype] for phenotype in order)


def fold_centered(scores: Sequence[tuple[Phenotype, int | None, float]]) -> dict[Phenotype, float]:
    """How much better than average each phenotype is, in units of the score: ridge regression on phenotype and fold.

    With one fold this is the phenotype's mean minus the mean of all, shrunk by n / (n + `SHRINKAGE`).
    """
    phenotypes = list(dict.fromkeys(phenotype for phenotype, _, _ in scores))
    folds = list(dict.fromkeys(fold for _, fold, _ in scores))
    design = np.zeros((len(scores), len(phenotypes) + len(folds)))
    for row, (phenotype, fold, _) in enumerate(scores):
        design[row, phenotypes.index(phenotype)] = 1
        design[row, len(phenotypes) + folds.index(fold)] = 1
    penalty = np.diag([SHRINKAGE] * len(phenotypes) + [0.0] * len(folds))
    values = np.array([score for _, _, score in scores])
    fitted = np.linalg.solve(design.T @ design + penalty, design.T @ values)
    return dict(zip(phenotypes, fitted[: len(phenotypes)].tolist(), strict=True))


def _distinct(history: Sequence[Scored], encoding: Encoding) -> tuple[Scored, ...]:
    """Without repetitions: a phenotype that comes back on the same fold was not trained again."""
    found = {(encoding.phenotype(scored.candidate.genes), scored.candidate.fold): scored for scored in history}
    return tuple(found.values())
