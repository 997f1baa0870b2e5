"""Where `auto` starts: every usual way, what trains least first."""

from __future__ import annotations

import pytest

from thawline.search.baselines import WAYS, starts


@pytest.mark.parametrize("blocks", [2, 3, 5, 9, 25])
def test_every_usual_way_is_there_and_what_trains_least_comes_first(blocks: int) -> None:
    found = starts(blocks, norms=True)
    trained = [sum(bins is not None for bins in one.phenotype) for one in found]
    assert trained == sorted(trained)
    assert trained[0] == 1
    assert trained[-1] == blocks
    ways = {one.way for one in found} - {""}
    assert ways == (set(WAYS) if blocks > 2 else {"linear_probe", "full"})
    assert len(set(found)) == len(found)


def test_a_usual_way_trains_everything_at_one_rate_with_norms_as_always() -> None:
    for start in starts(9, norms=True):
        if start.way:
            assert start.norm == "train"
            assert len({bins for bins in start.phenotype if bins is not None}) == 1
            frozen = sum(bins is None for bins in start.phenotype)
            assert start.strategy in ("linear_probe", "full", f"last_blocks:k={8 - frozen}")


def test_gentle_variants_keep_statistics_unless_that_is_left_out() -> None:
    assert {one.norm for one in starts(9, norms=True) if not one.way} == {"eval"}
    assert {one.norm for one in starts(9, norms=False)} == {"train"}
