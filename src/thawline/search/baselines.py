"""The initial candidates of `auto`: the baselines in every mode, at rates that suit it.

The portfolio comes from the development splits of twelve data sets (benchmarks/README.md): near the pretraining data,
gentle rates from the probe with kept statistics win; far from it, moving statistics do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from thawline.search.encoding import BINS_PER_DECADE, KEPT, MOVING, Mode, Phenotype
from thawline.strategies.base import NORM_WORDS

HALF_DECADE = BINS_PER_DECADE // 2


@dataclass(frozen=True)
class InitialCandidate:
    """A plan of generation 0: a baseline, or a gentle variant of one."""

    strategy: str
    """The fixed strategy that makes this plan, with arguments; empty = none does."""
    phenotype: Phenotype
    mode: Mode = MOVING

    @property
    def baseline(self) -> str:
        """The strategy without its arguments; empty for a gentle variant."""
        return self.strategy.partition(":")[0]

    @property
    def family(self) -> str:
        """The baseline and its mode: other modes learn at another pace, and early scores favour the probe's head."""
        return f"{self.baseline}, {self.mode.norm}, {self.mode.head}" if self.baseline else ""


def initial_candidates(blocks: int, modes: Sequence[Mode]) -> tuple[InitialCandidate, ...]:
    """All initial candidates for a network of so many blocks, the head included; those that train least come first.

    Rates are bins above the base rate (1e-3): half a decade is five of them.
    """
    found = [candidate for mode in modes for candidate in _of_mode(blocks, mode)]
    return tuple(sorted(dict.fromkeys(found), key=lambda candidate: _trained(candidate.phenotype)))


def baselines(initial: Sequence[InitialCandidate]) -> dict[str, InitialCandidate]:
    """The baselines among some candidates by name, each as it is tried first."""
    found: dict[str, InitialCandidate] = {}
    for candidate in initial:
        if candidate.baseline:
            found.setdefault(candidate.baseline, candidate)
    return found


def _of_mode(blocks: int, mode: Mode) -> Iterator[InitialCandidate]:
    full, half = blocks - 1, blocks // 2
    tried: Sequence[tuple[int, int]]
    if mode.head == "probe":
        yield _last(blocks, 0, 0, mode)
        tried = ((1, 0), (2, -HALF_DECADE), (half, 0), (full, -HALF_DECADE), (full, -2 * HALF_DECADE), (full, 0))
    elif mode == KEPT:
        yield InitialCandidate("", _phenotype(blocks, full, HALF_DECADE, -2 * HALF_DECADE), mode)
        tried = ((full, -HALF_DECADE),)
    else:
        yield _last(blocks, 0, HALF_DECADE, mode)
        tried = ((2, 0), (half, 0), (full, 0), (full, HALF_DECADE))
    for depth, rate in tried:
        if 0 < depth < blocks:
            yield _last(blocks, depth, rate, mode)


def _last(blocks: int, depth: int, rate: int, mode: Mode) -> InitialCandidate:
    """A fixed strategy: the head and so many blocks before it at one rate."""
    if depth == 0:
        name, settings = "linear_probe", [] if mode.head == "probe" else ["solver=sgd"]
    else:
        name, settings = ("full", []) if depth == blocks - 1 else ("last_blocks", [f"k={depth}"])
        settings += [f"norm={NORM_WORDS[mode.norm]}", *([f"head_start={mode.head}"] if mode.head == "probe" else [])]
    return InitialCandidate(f"{name}:{','.join(settings)}".rstrip(":"), _phenotype(blocks, depth, rate, 0), mode)


def _phenotype(blocks: int, depth: int, head: int, below: int) -> Phenotype:
    frozen: Sequence[int | None] = [None] * (blocks - 1 - depth)
    return (*frozen, *([head + below] * depth), head)


def _trained(phenotype: Phenotype) -> int:
    """Number of blocks that train."""
    return sum(bins is not None for bins in phenotype)
