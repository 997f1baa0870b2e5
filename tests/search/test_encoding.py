"""Genes to rates: the paper's equations, the decoupled encodings, and which genotypes are one plan."""

from __future__ import annotations

import numpy as np
import pytest

from thawline.plan import Block
from thawline.search.encoding import (
    FROM_PROBE,
    KEPT,
    MOVING,
    BioTuneEncoding,
    DepthEncoding,
    Encoding,
    FreeEncoding,
    Invertible,
    Space,
    SplitEncoding,
    block_rates,
    diversity,
    weight,
)

ENCODINGS: tuple[Encoding, ...] = (
    BioTuneEncoding(4),
    BioTuneEncoding(4, evolved_threshold=False),
    SplitEncoding(4),
    DepthEncoding(4),
    FreeEncoding(4),
    FreeEncoding(4, (MOVING,)),
)


def test_a_block_trains_strictly_above_the_threshold() -> None:
    """Eq. 4."""
    encoding = BioTuneEncoding(4)
    assert encoding.phenotype((0.4, 0.5, 0.51, 0.9, 0.5)) == (None, None, 0, 8)


def test_weights_span_two_decades() -> None:
    """Eq. 5: 10^(2(gene - 0.5))."""
    encoding = BioTuneEncoding(3)
    phenotype = encoding.phenotype((1.0, 0.5, 0.1, 0.05))
    assert phenotype == (10, 0, -8)
    assert [weight(bins or 0) for bins in phenotype] == pytest.approx([10, 1, 10**-0.8])
    assert block_rates(phenotype, 1e-3) == (0.01, 0.001, 0.000158489)


def test_the_head_always_trains_and_its_gene_is_a_rate_only() -> None:
    for genes in ((0.9, 0.9, 0.0, 0.8), (0.1, 0.1, 0.8, 0.8)):
        assert BioTuneEncoding(3).phenotype(genes)[-1] is not None
    rng = np.random.default_rng(0)
    for encoding in ENCODINGS:
        drawn = [tuple(rng.random(encoding.size).tolist()) for _ in range(100)]
        assert all(encoding.phenotype(genes)[-1] is not None for genes in drawn)


def test_weights_stay_within_the_published_range() -> None:
    rng = np.random.default_rng(0)
    encoding = BioTuneEncoding(4)
    found = {bins for _ in range(500) for bins in encoding.phenotype(encoding.draw(rng)) if bins is not None}
    assert (min(found), max(found)) == (-10, 10)


def test_nothing_above_the_threshold_is_drawn_again() -> None:
    encoding = BioTuneEncoding(2)
    assert not encoding.is_alive((0.3, 0.5, 0.5))
    assert encoding.is_alive((0.3, 0.6, 0.5))
    rng = np.random.default_rng(0)
    assert all(encoding.is_alive(encoding.draw(rng)) for _ in range(200))


def test_without_its_gene_the_threshold_is_fixed() -> None:
    encoding = BioTuneEncoding(3, evolved_threshold=False)
    assert encoding.size == 3
    assert encoding.phenotype((0.5, 0.6, 0.1)) == (None, 2, -8)


def test_split_freezes_without_high_rates() -> None:
    encoding = SplitEncoding(3)
    # base gene 0.6: -1.5 + 0.6 * 2.5 = 0; block gene 0.4 is the lowest that trains, at 10^-2
    assert encoding.size == 4
    assert encoding.phenotype((0.39, 0.4, 0.0, 0.6)) == (None, -20, 0)
    assert encoding.phenotype((1.0, 0.8, 0.5, 0.6)) == (10, 0, 10)
    assert encoding.phenotype((1.0, 0.8, 0.5, 0.2)) == (0, -10, 0)


def test_depth_covers_linear_probe_last_blocks_and_full() -> None:
    encoding = DepthEncoding(4)
    assert encoding.phenotype((1.0, 1.0, 0.6)) == (None, None, None, 0)
    assert encoding.phenotype((0.5, 1.0, 0.6)) == (None, None, 0, 0)
    assert encoding.phenotype((0.0, 1.0, 1.0)) == (10, 10, 10, 10)
    half = (0.5 - 0.3) / 0.7  # decay 0.5: -0.3 decades a block
    assert encoding.phenotype((0.0, half, 0.6)) == (-9, -6, -3, 0)


def test_probes_may_touch_what_trains_and_what_speaks_for_all() -> None:
    assert BioTuneEncoding(4).explorable((0.4, 0.6, 0.1, 0.2, 0.5)) == (1, 3, 4)
    assert SplitEncoding(3).explorable((0.1, 0.9, 0.0, 0.0)) == (1, 2, 3)
    assert DepthEncoding(3).explorable((0.5, 0.5, 0.5)) == (0, 1, 2)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_genotype_is_a_plan(encoding: Encoding) -> None:
    blocks = tuple(Block(f"b{n}", (), (), (), 1, 1, (), is_head=n == 3) for n in range(4))
    space = Space(encoding, blocks, "stage", 1e-3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        genes = tuple(rng.random(encoding.size).tolist())
        space.plan(genes).check(blocks)
    assert len(space.gene_names) == encoding.size


def test_genotypes_with_one_phenotype_are_one_plan() -> None:
    blocks = tuple(Block(f"b{n}", (), (), (), 1, 1, (), is_head=n == 2) for n in range(3))
    space = Space(BioTuneEncoding(3), blocks, "stage", 3e-4)
    assert space.plan((0.1, 0.7, 0.6, 0.5)) == space.plan((0.3, 0.701, 0.599, 0.4))
    assert space.plan((0.1, 0.7, 0.6, 0.5)) != space.plan((0.1, 0.76, 0.6, 0.5))


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    assert diversity([(0, 0), (0, 0)]) == 0
    assert diversity([(None, 0), (0, 5)]) == pytest.approx((1 + 0.5) / 2)
    assert diversity([(0, 0), (0, 0), (None, None)]) == pytest.approx(2 / 3)
    assert diversity([(0,)]) is None


def test_free_freezes_any_block_at_any_rate() -> None:
    encoding = FreeEncoding(3)
    # head gene 0.4: -1 + 0.4 * 2.5 = 0; block gene 0.4 is the lowest that trains, at a thousandth of the head's rate
    assert encoding.phenotype((0.39, 0.4, 0.4, 0.0)) == (None, -30, 0)
    assert encoding.phenotype((1.0, 0.8, 1.0, 0.0)) == (15, 5, 15)
    assert [encoding.mode((0.4, 0.4, 0.4, gene)) for gene in (0.0, 0.33, 0.34, 0.66, 0.67, 1.0)] == [
        MOVING, MOVING, KEPT, KEPT, FROM_PROBE, FROM_PROBE
    ]  # fmt: skip
    assert encoding.explorable((0.1, 0.9, 0.0, 0.0)) == (1, 2, 3)
    assert encoding.mode((0.1, 0.1, 0.4, 0.5)) == MOVING, "norms of frozen blocks never move"
    single = FreeEncoding(3, (KEPT,))
    assert (single.size, single.mode((1.0, 1.0, 1.0))) == (3, KEPT)


def test_a_head_alone_that_starts_from_the_probe_is_the_probe_at_any_rate() -> None:
    encoding = FreeEncoding(3)
    blocks = tuple(Block(f"b{n}", (), (), (), 1, 1, (), is_head=n == 2) for n in range(3))
    space = Space(encoding, blocks, "stage", 1e-3)
    alike = [(0.1, 0.2, rate, 0.9) for rate in (0.0, 0.4, 1.0)]
    assert {encoding.phenotype(genes) for genes in alike} == {(None, None, 0)}
    assert all(space.plan(genes).is_solved for genes in alike)
    assert not space.plan((0.1, 0.5, 0.4, 0.9)).is_solved
    assert space.plan((0.1, 0.5, 0.4, 0.9)).head_start == "probe"


@pytest.mark.parametrize("encoding", [encoding for encoding in ENCODINGS if isinstance(encoding, Invertible)])
def test_every_plan_in_reach_has_a_genotype(encoding: Invertible) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        genes = encoding.draw(rng)
        plan = encoding.phenotype(genes), encoding.mode(genes)
        back = encoding.genes_of(*plan)
        assert all(0 <= gene <= 1 for gene in back)
        if encoding != BioTuneEncoding(4, evolved_threshold=False):  # there, what trains lies above the fixed threshold
            assert (encoding.phenotype(back), encoding.mode(back)) == plan
        assert encoding.genes_of(encoding.phenotype(back), encoding.mode(back)) == pytest.approx(back)


def test_what_norm_layers_do_reaches_the_plan() -> None:
    blocks = tuple(Block(f"b{n}", (), (), (), 1, 1, (), is_head=n == 2) for n in range(3))
    encoding = FreeEncoding(3)
    space = Space(encoding, blocks, "stage", 1e-3)
    plan = space.plan(encoding.genes_of((None, -10, 5), KEPT))
    assert plan.norm == "eval"
    assert list(plan.phases[0].learning_rates.values()) == [None, 1e-4, pytest.approx(3.16228e-3)]
