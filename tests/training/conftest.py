"""A small network with random weights, shared by the tests of a file."""

from __future__ import annotations

import pytest

from thawline.model.blocks import partition
from thawline.model.load import LoadedModel, load_model
from thawline.plan import Block

SIZE = 32
"""Side of its input, in pixels."""


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("test_efficientnet", 2, weights="random", image_size=SIZE)


@pytest.fixture(scope="module")
def blocks(model: LoadedModel) -> tuple[Block, ...]:
    return partition(model.module, "stage", SIZE)
