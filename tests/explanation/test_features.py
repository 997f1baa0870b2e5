"""Features at the ends of blocks: the right tensors, of all images, in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.model.tiny import ThreeLayers
from thawline.explanation.features import block_ends, inputs_of, pooled_features
from thawline.model.blocks import partition
from thawline.testing import IMAGE_SIZE, tiny_model


def test_ends_and_features_by_hand() -> None:
    network = ThreeLayers().eval()
    blocks = partition(network, "layer", 12)
    images = torch.randn(5, 3, 12, 12)
    ends = block_ends(network, blocks, images)
    assert list(ends) == [block.name for block in blocks if not block.is_head]
    found = pooled_features(network, ends, torch.split(images, 2))
    with torch.no_grad():
        expected = network.two(network.pool(network.one(images))).mean((2, 3))
    first, second = found.values()
    np.testing.assert_allclose(second, expected.numpy(), atol=1e-6)
    assert first.shape == (5, 4)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("test_resnet", "bn1", "layer4"), ("test_efficientnet", "blocks.0", "bn2"), ("test_vit", "patch_embed", "norm")],
)
def test_every_block_but_the_head_has_an_end(name: str, first: str, last: str) -> None:
    network = tiny_model(name).module.eval()
    blocks = partition(network, "stage", IMAGE_SIZE)
    images = torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)
    ends = block_ends(network, blocks, images)
    assert list(ends) == [block.name for block in blocks[:-1]]
    assert next(iter(ends.values())) == first
    assert [*ends.values()][-1] == last
    features = pooled_features(network, ends, [images])
    assert all(rows.shape[0] == 3 and rows.ndim == 2 and np.isfinite(rows).all() for rows in features.values())


def test_what_enters_the_head() -> None:
    network = ThreeLayers().eval()
    images = torch.randn(5, 3, 12, 12)
    found = inputs_of(network, "fc", torch.split(images, 2))
    assert found is not None
    with torch.no_grad():
        np.testing.assert_allclose(network.fc(torch.from_numpy(found)).numpy(), network(images).numpy(), atol=1e-6)
    assert inputs_of(network, "two.conv", torch.split(images, 2)) is None
