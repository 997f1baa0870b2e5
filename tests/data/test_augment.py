from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from thawline.data.augment import LARGEST_ANGLE, LARGEST_SHIFT, Augmenter, matrices, resample

IDENTITY = np.array([[1.0, 0.0, 0.0, 0.0]])


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)


def test_same_seed_same_pixels_and_another_seed_others(batch: Tensor) -> None:
    rows = np.arange(8)
    one, again, other = (Augmenter(8, views=4, seed=seed).apply(batch, rows, 1) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_every_image_is_changed_in_its_own_way() -> None:
    same = torch.rand(1, 3, 32, 32).expand(16, -1, -1, -1)
    out = Augmenter(16, views=0, seed=0).apply(same, np.arange(16), 0)
    assert len({image.numpy().tobytes() for image in out}) == 16


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_do_not_depend_on_the_batch(channels_last: bool) -> None:
    images = torch.rand(40, 3, 96, 96)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    augmenter = Augmenter(40, views=0, seed=0)
    whole = augmenter.apply(images, np.arange(40), 2)
    for rows in (np.array([7]), np.array([39, 7, 0]), np.arange(40)[::-1].copy(), np.arange(33)):
        assert torch.equal(augmenter.apply(images[rows], rows, 2), whole[rows])


def test_views_repeat_and_differ(batch: Tensor) -> None:
    augmenter = Augmenter(8, views=3, seed=0)
    assert [augmenter.view_at(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [Augmenter(8, views=0, seed=0).view_at(epoch) for epoch in range(3)] == [0, 1, 2]
    first = [augmenter.apply(batch, np.arange(8), view) for view in range(3)]
    assert torch.equal(augmenter.apply(batch, np.arange(8), 0), first[0])
    assert not torch.equal(first[0], first[1])


def test_draws_stay_in_their_ranges_and_fill_them() -> None:
    mirror, angle, *shifts = Augmenter(20_000, views=0, seed=0).draws(0).T
    assert set(mirror) == {-1.0, 1.0}
    assert abs(mirror.mean()) < 0.03
    for values, limit in [(angle, np.radians(LARGEST_ANGLE)), *((shift, LARGEST_SHIFT) for shift in shifts)]:
        assert 0.99 * limit < np.abs(values).max() <= limit
        assert abs(values.mean()) < 0.02 * limit


def test_identity_leaves_the_input_as_it_is(batch: Tensor) -> None:
    out = resample(batch, matrices(np.repeat(IDENTITY, 8, axis=0)))
    assert torch.allclose(out, batch, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert resample(batch.contiguous(), matrices(np.repeat(IDENTITY, 8, axis=0))).is_contiguous()


def test_mirror_shift_and_rotation_are_what_they_say() -> None:
    image = torch.rand(1, 3, 16, 16)
    mirrored = resample(image, matrices(np.array([[-1.0, 0.0, 0.0, 0.0]])))
    assert torch.allclose(mirrored, image.flip(3), atol=1e-5)
    shifted = resample(image, matrices(np.array([[1.0, 0.0, 2 / 16, 0.0]])))
    assert torch.allclose(shifted[..., :-2], image[..., 2:], atol=1e-5)
    assert torch.allclose(shifted[..., -2:], image[..., -2:].flip(3), atol=1e-5)  # the border is reflected
    turned = resample(image, matrices(np.array([[1.0, np.pi / 2, 0.0, 0.0]])))
    assert torch.allclose(turned, image.rot90(1, (2, 3)), atol=1e-4) or torch.allclose(
        turned, image.rot90(-1, (2, 3)), atol=1e-4
    )


def test_bytes_come_back_as_floats_of_the_same_scale() -> None:
    image = torch.full((2, 3, 8, 8), 200, dtype=torch.uint8)
    out = Augmenter(2, views=0, seed=0).apply(image, np.arange(2), 0)
    assert out.dtype == torch.float32
    assert torch.allclose(out, torch.tensor(200.0))
