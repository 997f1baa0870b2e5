"""Layouts: which numbers of an output belong to which place of the image."""

from __future__ import annotations

import torch
from torch import nn

from thawline.explanation.maps import Grid, Layouts, on_grid


def layouts(**attributes: object) -> Layouts:
    network = nn.Identity()
    for name, value in attributes.items():
        setattr(network, name, value)
    return Layouts(network)


def test_shapes_tell_the_layout() -> None:
    plain = layouts()
    assert plain.grid(torch.zeros(2, 8, 5, 5), 2) == Grid("channels_first", 5)
    assert plain.grid(torch.zeros(2, 5, 5, 8), 2) == Grid("channels_last", 5)
    assert plain.grid(torch.zeros(2, 9, 8), 2) == Grid("tokens", 3)
    assert layouts(num_prefix_tokens=1).grid(torch.zeros(2, 10, 8), 2) == Grid("tokens", 3, prefix=1)


def test_a_cube_is_channels_first_unless_the_network_says_otherwise() -> None:
    assert layouts().grid(torch.zeros(2, 4, 4, 4), 2) == Grid("channels_first", 4)
    assert layouts(output_fmt="NHWC").grid(torch.zeros(2, 4, 4, 4), 2) == Grid("channels_last", 4)


def test_what_has_no_places() -> None:
    plain = layouts()
    windows = torch.zeros(8, 49, 16)  # Swin's attention sees windows, not images, in the first dimension
    for output in (torch.zeros(2, 8), torch.zeros(2, 8, 5, 6), torch.zeros(2, 13, 8), windows, (torch.zeros(2, 9, 8),)):
        assert plain.grid(output, 2) is None


def test_every_layout_gives_the_same_map() -> None:
    maps = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    tokens = torch.cat([torch.full((2, 1, 3), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(on_grid(maps, Grid("channels_first", 4)), maps)
    assert torch.equal(on_grid(maps.permute(0, 2, 3, 1), Grid("channels_last", 4)), maps)
    assert torch.equal(on_grid(tokens, Grid("tokens", 4, prefix=1)), maps)


def test_pooled_features_keep_the_class_token() -> None:
    maps = torch.randn(2, 3, 4, 4)
    tokens = torch.cat([torch.full((2, 1, 3), 7.0), maps.flatten(2).transpose(1, 2)], dim=1)
    mean = maps.mean((2, 3))
    assert torch.equal(layouts().pooled(maps), mean)
    pooled = layouts(num_prefix_tokens=1).pooled(tokens)
    torch.testing.assert_close(pooled, torch.cat([torch.full((2, 3), 7.0), mean], dim=1))
    assert layouts().pooled(torch.ones(2, 6)).shape == (2, 6)
    assert layouts().pooled(torch.ones(2, 13, 6)).shape == (2, 6)
