"""The portfolio of `auto`: every baseline, in the modes that the network has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from thawline.search.baselines import baselines, initial_candidates
from thawline.search.encoding import FROM_PROBE, KEPT, MODES, MOVING, FreeEncoding, Mode
from thawline.strategies.base import NORM_WORDS, variants


@pytest.mark.parametrize("modes", [MODES, (MOVING,), (MOVING, KEPT), (FROM_PROBE,), (MOVING, FROM_PROBE)])
@pytest.mark.parametrize("blocks", [2, 3, 5, 9, 25])
def test_every_baseline_is_there_once_in_the_modes_that_there_are(blocks: int, modes: Sequence[Mode]) -> None:
    found = initial_candidates(blocks, modes)
    assert set(baselines(found)) == {"linear_probe", "full", *(["last_blocks"] if blocks > 2 else [])}
    plans = [(initial.phenotype, initial.mode) for initial in found]
    assert len(set(plans)) == len(plans)
    assert {initial.mode for initial in found} == set(modes)
    assert {len(initial.phenotype) for initial in found} == {blocks}


def test_the_solved_probe_comes_first_and_everything_from_it_next() -> None:
    first, second, *_ = initial_candidates(9, MODES)
    assert (first.baseline, first.mode) == ("linear_probe", FROM_PROBE)
    assert (second.baseline, second.mode) == ("full", FROM_PROBE)


def test_a_baseline_is_the_strategy_whose_name_it_bears() -> None:
    for initial in initial_candidates(9, MODES):
        if not initial.baseline:
            continue
        (strategy,) = variants(initial.strategy)
        frozen = sum(bins is None for bins in initial.phenotype)
        assert len({bins for bins in initial.phenotype if bins is not None}) == 1
        if initial.baseline == "linear_probe":
            assert (frozen, "sgd" in strategy.spec) == (8, initial.mode == MOVING)
            continue
        assert frozen == (0 if initial.baseline == "full" else 8 - strategy.arguments["k"])
        assert (strategy.norm, strategy.head_start) == (NORM_WORDS[initial.mode.norm], initial.mode.head)


def test_every_candidate_is_in_reach_of_the_search() -> None:
    encoding = FreeEncoding(9)
    for initial in initial_candidates(9, MODES):
        genes = encoding.genes_of(initial.phenotype, initial.mode)
        assert encoding.phenotype(genes) == initial.phenotype
        assert encoding.mode(genes).head == initial.mode.head
