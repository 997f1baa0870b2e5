"""The initial candidates of `auto`: a portfolio of baselines, in the order in which they are tried.

The order is a greedy cover: each entry adds most to what is handed over, given those before it, on average over the
development splits of twelve data sets (`benchmarks/portfolio.py`). Leaving one data set out changes little. The solved
probe comes first all the same, as it costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from thawline.search.encoding import AGAIN, BINS_PER_DECADE, FROM_PROBE, KEPT, MOVING, Mode, Phenotype
from thawline.strategies.base import NORM_WORDS

HALF_DECADE = BINS_PER_DECADE // 2


@dataclass(frozen=True)
class InitialCandidate:
    """A plan of generation 0."""

    strategy: str
    """The fixed strategy that makes this plan, with arguments."""
    phenotype: Phenotype
    mode: Mode = MOVING

    @property
    def baseline(self) -> str:
        """The strategy without its arguments."""
        return self.strategy.partition(":")[0]


class Entry(NamedTuple):
    """An entry of the portfolio."""

    depth: Literal["none", "last", "two", "half", "all"]
    """Which blocks train below the head, counted from it."""
    rate: int
    """Bins above the base rate (1e-3): half a decade is five of them."""
    mode: Mode


PORTFOLIO = (
    Entry("none", 0, FROM_PROBE),
    Entry("all", -HALF_DECADE, FROM_PROBE),
    Entry("all", HALF_DECADE, MOVING),
    Entry("all", 0, FROM_PROBE),
    Entry("all", -HALF_DECADE, KEPT),
    Entry("all", 0, MOVING),
    Entry("two", 0, MOVING),
    Entry("two", 0, FROM_PROBE),
    Entry("last", 0, FROM_PROBE),
    Entry("half", 0, MOVING),
    Entry("half", -HALF_DECADE, FROM_PROBE),
    # For networks that have fewer modes, whose rates the data sets do not tell.
    Entry("all", -HALF_DECADE, MOVING),
    Entry("none", HALF_DECADE, MOVING),
)


def initial_candidates(blocks: int, modes: Sequence[Mode]) -> tuple[InitialCandidate, ...]:
    """The portfolio for a network of so many blocks, the head included, in some modes."""
    depths = {"none": 0, "last": 1, "two": 2, "half": blocks // 2, "all": blocks - 1}
    fitting = (entry for entry in PORTFOLIO if entry.mode in modes and _fits(depths[entry.depth], entry, blocks))
    found = (_last(blocks, depths[entry.depth], entry.rate, entry.mode) for entry in fitting)
    return tuple(dict.fromkeys(found))


def again_candidates(blocks: int, modes: Sequence[Mode], *, head_is_known: bool) -> tuple[InitialCandidate, ...]:
    """The initial candidates where a head is kept: what surgical fine-tuning found (Lee et al. 2023), each from there.

    Which blocks to tune depends on what shifted: the first ones for changed inputs, the last ones for changed labels.
    The cheap ones come first; their order is not measured. `blocks` counts the head, which stays as it is with the
    first blocks, if it is known whole.
    """
    still, moving, norms, recomputed, probe = AGAIN
    below, nothing, head = blocks - 1, [None] * blocks, None if head_is_known else 0
    everything: Phenotype = (-HALF_DECADE,) * blocks
    known = [
        InitialCandidate("unchanged", tuple(nothing), still),
        InitialCandidate("norm_statistics", tuple(nothing), recomputed),
        InitialCandidate("linear_probe", (*nothing[1:], 0), probe),
        InitialCandidate("last_blocks:k=1,norm=kept", (*nothing[2:], 0, 0), still),
        InitialCandidate("full:norm=kept", everything, still),
        InitialCandidate("norm_only:norm=moving", (0,) * blocks, norms),
        InitialCandidate("full:norm=moving", everything, moving),
        InitialCandidate("first_blocks:k=1,norm=kept", (0, *nothing[2:], head), still),
        InitialCandidate("first_blocks:k=2,norm=kept", (0, 0, *nothing[3:], head), still),
    ]
    shared = [each for each in known if each.mode in modes and (below > 2 or each.baseline not in _PARTIAL)]
    return tuple(
        replace(each, strategy=_from_kept(each.strategy)) if each.mode.head == "kept" else each for each in shared
    )


_PARTIAL = ("last_blocks", "first_blocks")


def _from_kept(strategy: str) -> str:
    """The strategy with the start spelled out, but where it is the only one."""
    name, _, arguments = strategy.partition(":")
    return f"{name}:{arguments},head_start=kept" if arguments else name


def baselines(initial: Sequence[InitialCandidate]) -> dict[str, InitialCandidate]:
    """The baselines among some candidates by name, each as it is tried first."""
    found: dict[str, InitialCandidate] = {}
    for candidate in initial:
        found.setdefault(candidate.baseline, candidate)
    return found


def _fits(depth: int, entry: Entry, blocks: int) -> bool:
    """Whether the network has so many blocks, and more to freeze than nothing where not all train."""
    return entry.depth in ("none", "all") or 0 < depth < blocks - 1


def _last(blocks: int, depth: int, rate: int, mode: Mode) -> InitialCandidate:
    """A fixed strategy: the head and so many blocks before it at one rate."""
    if depth == 0:
        name, settings = "linear_probe", [] if mode.head == "probe" else ["solver=sgd"]
    else:
        name, settings = ("full", []) if depth == blocks - 1 else ("last_blocks", [f"k={depth}"])
        settings += [f"norm={NORM_WORDS[mode.norm]}", *([f"head_start={mode.head}"] if mode.head == "probe" else [])]
    frozen: Sequence[int | None] = [None] * (blocks - 1 - depth)
    phenotype = (*frozen, *([rate] * (depth + 1)))
    return InitialCandidate(f"{name}:{','.join(settings)}".rstrip(":"), phenotype, mode)
