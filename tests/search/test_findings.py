"""What a search says of its candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.search.fakes import scored
from thawline.plan import Block, NormMode
from thawline.search.encoding import MOVING, FreeEncoding, Mode, Phenotype, Space
from thawline.search.findings import block_importance, candidate_norm

BLOCKS = tuple(Block(name, (), (), (), 1, 1, (), name == "head") for name in ("stem", "body", "head"))


def test_a_block_that_never_varied_is_not_important() -> None:
    encoding = FreeEncoding(3, (MOVING,))
    depths = [(None, None, 0) if slot < 20 else (None, 0, 0) for slot in range(40)]
    tried = [scored(slot, slot / 40, genes=encoding.genes_of(depth, MOVING)) for slot, depth in enumerate(depths)]
    importance = block_importance(tried, Space(encoding, BLOCKS, "stage", 1e-3))
    assert (importance["stem"], importance["head"]) == (0, 0)
    assert importance["body"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("depth", "gene", "fixed", "found"),
    [
        ((None, 0, 0), "train", None, "train"),
        ((None, 0, 0), "eval", None, "eval"),
        ((None, 0, 0), "train", "eval", "eval"),
        ((0, None, 0), "eval", None, None),
        ((None, None, 0), "eval", None, None),
    ],
)
def test_the_norm_mode_of_a_candidate_is_that_of_its_plan_where_batch_norm_trains(
    depth: Phenotype, gene: NormMode, fixed: NormMode | None, found: NormMode | None
) -> None:
    """Only the body has batch norm."""
    encoding = FreeEncoding(3)
    network = (BLOCKS[0], replace(BLOCKS[1], buffers=("bn.running_mean", "bn.running_var")), BLOCKS[2])
    space = Space(encoding, network, "stage", 1e-3, fixed and Mode(fixed))
    assert candidate_norm(scored(0, 0.5, genes=encoding.genes_of(depth, Mode(gene))), space) == found
