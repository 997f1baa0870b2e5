"""Who goes on to the next rung. Pure: it follows from the scores of all that were trained as long."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from thawline.search.candidates import Address, Candidate, Scored

PROMOTED = 1 / 3
"""Of all that were trained as long, this share goes on."""
CLOSE = 1.0
"""Standard errors of a validation score that a cheap candidate may trail the best by and still go on."""
HOPELESS = 4.0
"""The same for the best variant of each usual way after the first rung: more epochs will not save it then."""


def promoted(
    batch: Sequence[Candidate],
    level: Sequence[Scored],
    ways: Mapping[Address, str],
    validation_images: int,
    is_cheap: Callable[[Scored], bool],
) -> list[Candidate]:
    """Those of a batch that go on from the rung where `level` is, the best first.

    `level` is everything that was trained as long, the best first. Besides the best share of it go: the best variant of
    every usual way (`ways`: address -> its name), so that the answer is never worse than they are; and what is close
    and cheap to finish, as training only a few late blocks is.
    """
    places = {scored.candidate.address: place for place, scored in enumerate(level)}
    chosen = list(level[: math.ceil(PROMOTED * len(level))])
    # Plans that move much learn late: after the first few epochs they are judged among themselves only.
    first = all(candidate.rung == 0 for candidate in batch)
    chosen += _ways(level, ways) if first else _within(_ways(level, ways), level, validation_images, HOPELESS)
    chosen += filter(is_cheap, _within(level, level, validation_images, CLOSE))
    going = {scored.candidate.address for scored in chosen if scored.trainings[0].best is not None}
    ordered = sorted((one for one in batch if one.address in going), key=lambda one: places[one.address])
    return [replace(candidate, rung=candidate.rung + 1) for candidate in ordered]


def at_rung(standing: Iterable[Scored], rung: int, epochs: int) -> list[Scored]:
    """All that reached a rung with what they scored in the epochs up to there, the best first."""
    found = (_up_to(scored, epochs) for scored in standing if scored.candidate.rung >= rung)
    return sorted(found, key=lambda scored: scored.score, reverse=True)


def _up_to(scored: Scored, epochs: int) -> Scored:
    record = scored.trainings[0]
    seen = record.epochs[:epochs]
    if record.error and len(seen) < epochs:
        return replace(scored, trainings=(record,))
    # Whoever failed later had a score here.
    best = max(range(len(seen)), key=lambda epoch: seen[epoch].score)
    return replace(scored, trainings=(replace(record, epochs=seen, best_epoch=best, error=None),))


def _ways(level: Sequence[Scored], ways: Mapping[Address, str]) -> list[Scored]:
    """The best variant of every usual way."""
    best: dict[str, Scored] = {}
    for scored in level:
        if way := ways.get(scored.candidate.address):
            best.setdefault(way, scored)
    return list(best.values())


def _within(some: Iterable[Scored], level: Sequence[Scored], images: int, errors: float) -> Iterator[Scored]:
    """Those that trail the best by at most so many standard errors of its score."""
    high = level[0].score[0]
    # As if two more images had been seen, one of them right: a perfect score has an error, too.
    share = (high * images + 1) / (images + 2)
    reach = errors * math.sqrt(share * (1 - share) / images)
    return (scored for scored in some if high - scored.score[0] <= reach)
