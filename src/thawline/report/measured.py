"""What a search of `auto` found out about the images, in words: the first lines of its section in the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from thawline.formatting import figure
from thawline.results import Candidate, ScoredRow, SearchRecord

CLOSE = 0.05
"""Share of the lower loss by which two losses must differ for one to be called better."""
BATCH_NORM = {
    "kept": ("with the statistics of the pretrained network", "the pretrained statistics fit these images"),
    "moving": ("with those of each batch", "these images need statistics of their own"),
}
HEAD_START = {
    "probe": ("whose head starts from the linear probe", "the probe is the better start"),
    "random": ("whose head starts from random weights", "a random start is better"),
}
"""In both tables, for each mode: which plans use it, and what follows if the best of them wins."""


def measured_notes(search: SearchRecord, rows: Iterable[ScoredRow]) -> list[str]:
    """What the features can do without fine-tuning, then batch norm and head start where both modes were trained.

    `rows` are those of the run. Empty for searches that do not compare losses after temperature scaling.
    """
    longest = max((each.epochs or 0 for each in search.tried), default=0)
    tuned = [each for each in search.tried if each.scaled_loss is not None and each.epochs == longest]
    kept = {mode: [each for each in tuned if each.batch_norm == mode] for mode in BATCH_NORM}
    started = {mode: [each for each in tuned if each.head_start == mode] for mode in HEAD_START}
    return [
        *_without_training(rows),
        *_contrast("Batch norm", BATCH_NORM, kept),
        *_contrast("Head", HEAD_START, started),
    ]


def _without_training(rows: Iterable[ScoredRow]) -> list[str]:
    return [
        f"The linear probe (the head alone, solved on the pretrained features) has an accuracy of "
        f"{figure(row.val.accuracy.mean)} on validation, the nearest neighbors in these features "
        f"{figure(row.nearest_neighbors['val'])}."
        for row in rows
        if row.nearest_neighbors and row.nearest_neighbors.get("val") is not None
    ][:1]


def _contrast(
    subject: str, words: Mapping[str, tuple[str, str]], tried: Mapping[str, Sequence[Candidate]]
) -> list[str]:
    """The best plan of each mode, and what follows; nothing where a mode was not tried to the end."""
    if not all(tried.values()):
        return []
    best = {mode: min(candidates, key=_loss) for mode, candidates in tried.items()}
    first, second = (
        f"{words[mode][0]} has {figure(plan.score)} (log-loss {figure(_loss(plan))})" for mode, plan in best.items()
    )
    low, high = sorted(best, key=lambda mode: _loss(best[mode]))
    clear = _loss(best[high]) - _loss(best[low]) > CLOSE * _loss(best[low])
    so = f"so {words[low][1]}" if clear else "which is a negligible difference"
    return [f"{subject}: on validation the best plan {first}, the best {second}, {so}."]


def _loss(candidate: Candidate) -> float:
    return float("inf") if candidate.scaled_loss is None else candidate.scaled_loss
