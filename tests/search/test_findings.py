"""What a search says of its candidates."""

from __future__ import annotations

import pytest

from tests.search.fakes import scored
from thawline.plan import Block
from thawline.search.encoding import FreeEncoding, Space
from thawline.search.findings import block_importance

BLOCKS = tuple(Block(name, (), (), (), 1, 1, (), name == "head") for name in ("stem", "body", "head"))


def test_a_block_that_never_varied_is_not_important() -> None:
    encoding = FreeEncoding(3, norms=False)
    depths = [(None, None, 0) if slot < 20 else (None, 0, 0) for slot in range(40)]
    tried = [scored(slot, slot / 40, genes=encoding.genes_of(depth, "train")) for slot, depth in enumerate(depths)]
    importance = block_importance(tried, Space(encoding, BLOCKS, "stage", 1e-3))
    assert (importance["stem"], importance["head"]) == (0, 0)
    assert importance["body"] == pytest.approx(1)
