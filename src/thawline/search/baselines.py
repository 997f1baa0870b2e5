"""The initial candidates of `auto`: the baselines at their usual rates, and gentler variants of them.

Gentle variants keep batch-norm statistics and train the head faster than the blocks below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thawline.plan import NormMode
from thawline.search.encoding import BINS_PER_DECADE, Phenotype

HALF_DECADE = BINS_PER_DECADE // 2
GENTLE_SHALLOW = (-BINS_PER_DECADE, -2 * BINS_PER_DECADE)
"""Rates of one or two late blocks relative to the head's, in bins: a tenth and a hundredth."""
GENTLE_DEEP = (-2 * BINS_PER_DECADE,)
"""The same of more blocks: the more of them move, the less each may."""


@dataclass(frozen=True)
class InitialCandidate:
    """A plan of generation 0: a baseline, or a gentle variant of one."""

    strategy: str
    """The fixed strategy that makes this plan, with arguments; empty = none does."""
    phenotype: Phenotype
    norm: NormMode = "train"

    @property
    def baseline(self) -> str:
        """The strategy without its arguments; empty for a gentle variant."""
        return self.strategy.partition(":")[0]


BASELINES = ("linear_probe", "last_blocks", "full")
"""The fixed strategies that `auto` tries within its own budget, in ascending order of what they train."""


def initial_candidates(blocks: int, *, norms: bool) -> tuple[InitialCandidate, ...]:
    """All initial candidates for a network of so many blocks, the head included; those that train least come first.

    Rates are bins above the base rate (1e-3): half a decade is five of them.
    """
    depths = sorted({1, 2, blocks // 2, blocks - 1} & set(range(1, blocks)))
    found = [_last(blocks, 0, head) for head in (0, HALF_DECADE, 2 * HALF_DECADE)]
    for depth in depths:
        whole = depth == blocks - 1
        rates = (0, -HALF_DECADE) if whole or depth <= 2 else (0,)
        found += [_last(blocks, depth, rate) for rate in rates]
        found += _gentle(blocks, depth, GENTLE_SHALLOW if depth <= 2 else GENTLE_DEEP, norms=norms)
    return tuple(dict.fromkeys(found))


def baselines(blocks: int) -> dict[str, InitialCandidate]:
    """The baselines of a network of so many blocks by name, each with the rate that is tried first."""
    found: dict[str, InitialCandidate] = {}
    for initial in initial_candidates(blocks, norms=False):
        if initial.baseline:
            found.setdefault(initial.baseline, initial)
    return found


def _last(blocks: int, depth: int, rate: int) -> InitialCandidate:
    """A fixed strategy: everything that trains at one rate."""
    names = {0: "linear_probe:solver=sgd", blocks - 1: "full"}
    phenotype = _phenotype(blocks, depth, rate, 0)
    return InitialCandidate(names.get(depth, f"last_blocks:k={depth}"), phenotype)


def _gentle(blocks: int, depth: int, below: Sequence[int], *, norms: bool) -> Iterator[InitialCandidate]:
    """The head at 3e-3, the blocks behind it so many bins below that, norm layers as pretrained."""
    for bins in below:
        yield InitialCandidate("", _phenotype(blocks, depth, HALF_DECADE, bins), "eval" if norms else "train")


def _phenotype(blocks: int, depth: int, head: int, below: int) -> Phenotype:
    frozen: Sequence[int | None] = [None] * (blocks - 1 - depth)
    return (*frozen, *([head + below] * depth), head)
