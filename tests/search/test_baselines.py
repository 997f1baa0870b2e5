"""The initial candidates of `auto`: every baseline, what trains least first."""

from __future__ import annotations

import pytest

from thawline.search.baselines import BASELINES, initial_candidates


@pytest.mark.parametrize("blocks", [2, 3, 5, 9, 25])
def test_every_baseline_is_there_and_what_trains_least_comes_first(blocks: int) -> None:
    found = initial_candidates(blocks, norms=True)
    trained = [sum(bins is not None for bins in initial.phenotype) for initial in found]
    assert trained == sorted(trained)
    assert trained[0] == 1
    assert trained[-1] == blocks
    names = {initial.baseline for initial in found} - {""}
    assert names == (set(BASELINES) if blocks > 2 else {"linear_probe", "full"})
    assert len(set(found)) == len(found)


def test_a_baseline_trains_everything_at_one_rate_with_norms_as_always() -> None:
    for initial in initial_candidates(9, norms=True):
        if initial.baseline:
            assert initial.norm == "train"
            assert len({bins for bins in initial.phenotype if bins is not None}) == 1
            frozen = sum(bins is None for bins in initial.phenotype)
            assert initial.strategy in ("linear_probe:solver=sgd", "full", f"last_blocks:k={8 - frozen}")


def test_gentle_variants_keep_statistics_unless_that_is_left_out() -> None:
    assert {initial.norm for initial in initial_candidates(9, norms=True) if not initial.baseline} == {"eval"}
    assert {initial.norm for initial in initial_candidates(9, norms=False)} == {"train"}
