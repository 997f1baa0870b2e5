"""Which candidates are promoted to the next rung: a pure function of the scores of all that were trained as long."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from thawline.search.candidates import Candidate, Scored

PROMOTED = 1 / 3
"""Share of all candidates trained as long that is promoted."""
CLOSE = 1.0
"""Standard errors of a validation score that a cheap candidate may trail the best by and still be promoted."""


def promoted(
    batch: Sequence[Candidate],
    level: Sequence[Scored],
    validation_images: int,
    is_cheap: Callable[[Scored], bool],
) -> list[Candidate]:
    """The candidates of a batch that are promoted from the rung of `level`, the best first.

    `level` is everything that was trained as long, the best first. Besides the best share of it, those are promoted
    that are close to the best and cheap to finish, such as plans that train only a few late blocks.
    """
    places = {scored.candidate.address: place for place, scored in enumerate(level)}
    chosen = list(level[: math.ceil(PROMOTED * len(level))])
    chosen += filter(is_cheap, _close(level, validation_images))
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


def _close(level: Sequence[Scored], images: int) -> Iterator[Scored]:
    """Those that trail the best by at most `CLOSE` standard errors of its score."""
    high = level[0].score[0]
    # As if two more images had been seen, one of them right: a perfect score has an error, too.
    share = (high * images + 1) / (images + 2)
    reach = CLOSE * math.sqrt(share * (1 - share) / images)
    return (scored for scored in level if high - scored.score[0] <= reach)
