"""Which candidates are promoted to the next rung: a pure function of the scores of all that were trained as long."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from thawline.search.candidates import Address, Candidate, Scored

PROMOTED = 1 / 3
"""Share of all candidates trained as long that is promoted."""
CLOSE = 1.0
"""Standard errors of a validation score that a cheap candidate may trail the best by and still be promoted."""
HOPELESS = 4.0
"""The same for the best variant of each baseline after the first rung: beyond that, more epochs will not help."""


def promoted(
    batch: Sequence[Candidate],
    level: Sequence[Scored],
    baselines: Mapping[Address, str],
    validation_images: int,
    is_cheap: Callable[[Scored], bool],
) -> list[Candidate]:
    """The candidates of a batch that are promoted from the rung of `level`, the best first.

    `level` is everything that was trained as long, the best first. Besides the best share of it, two kinds of
    candidates are promoted: the best variant of every baseline (`baselines`: address -> its name), so that the result
    is never worse than they are; and those that are close to the best and cheap to finish, such as plans that train
    only a few late blocks.
    """
    places = {scored.candidate.address: place for place, scored in enumerate(level)}
    chosen = list(level[: math.ceil(PROMOTED * len(level))])
    # Plans that move much learn late: after the first few epochs they are judged among themselves only.
    first = all(candidate.rung == 0 for candidate in batch)
    best = _best_variants(level, baselines)
    chosen += best if first else _within(best, level, validation_images, HOPELESS)
    chosen += filter(is_cheap, _within(level, level, validation_images, CLOSE))
    addresses = {scored.candidate.address for scored in chosen if scored.trainings[0].best is not None}
    ordered = sorted(
        (candidate for candidate in batch if candidate.address in addresses), key=lambda each: places[each.address]
    )
    return [replace(candidate, rung=candidate.rung + 1) for candidate in ordered]


def at_rung(scored_so_far: Iterable[Scored], rung: int, epochs: int) -> list[Scored]:
    """All candidates that reached a rung, as they were after its last epoch, the best first."""
    found = (_up_to(scored, epochs) for scored in scored_so_far if scored.candidate.rung >= rung)
    return sorted(found, key=lambda scored: scored.merit, reverse=True)


def _up_to(scored: Scored, epochs: int) -> Scored:
    record = scored.trainings[0]
    seen = record.epochs[:epochs]
    if record.error and len(seen) < epochs:
        return replace(scored, trainings=(record,))
    # A training that failed later had a score at this rung.
    return replace(scored, trainings=(replace(record, epochs=seen, best_epoch=len(seen) - 1, error=None),))


def _best_variants(level: Sequence[Scored], baselines: Mapping[Address, str]) -> list[Scored]:
    """The best variant of every baseline."""
    best: dict[str, Scored] = {}
    for scored in level:
        if baseline := baselines.get(scored.candidate.address):
            best.setdefault(baseline, scored)
    return list(best.values())


def _within(some: Iterable[Scored], level: Sequence[Scored], images: int, errors: float) -> Iterator[Scored]:
    """Those that trail the best by at most `errors` standard errors of its score."""
    high = level[0].score[0]
    # As if two more images had been seen, one of them right: a perfect score has an error, too.
    share = (high * images + 1) / (images + 2)
    reach = errors * math.sqrt(share * (1 - share) / images)
    return (scored for scored in some if high - scored.score[0] <= reach)
