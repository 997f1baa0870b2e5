from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.config import Preprocessing
from thawline.data.augment import COLUMNS, RANGES, Augmenter, Kind, matrices, recolor, resample

IDENTITY = np.array([[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]])


def _draw(**values: float) -> np.ndarray:
    """One draw that is the identity but for the named columns."""
    draw = IDENTITY.copy()
    for name, value in values.items():
        draw[:, COLUMNS.index(name)] = value
    return draw


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)


def test_same_seed_same_pixels_and_another_seed_others(batch: Tensor) -> None:
    rows = np.arange(8)
    first, again, other = (Augmenter(8, views=4, seed=seed).apply(batch, rows, 1) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_image_is_changed_in_its_own_way() -> None:
    same = torch.rand(1, 3, 32, 32).expand(16, -1, -1, -1)
    out = Augmenter(16, views=0, seed=0).apply(same, np.arange(16), 0)
    assert len({image.numpy().tobytes() for image in out}) == 16


@pytest.mark.parametrize("kind", ["mild", "strong"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_do_not_depend_on_the_batch(channels_last: bool, kind: Kind) -> None:
    images = torch.rand(40, 3, 96, 96)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    augmenter = Augmenter(40, views=0, seed=0, kind=kind)
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


def test_mild_draws_stay_in_their_ranges_and_fill_them() -> None:
    mirror, angle, width, height, *shifts = Augmenter(20_000, views=0, seed=0).draws(0)[:, :6].T
    assert set(mirror) == {-1.0, 1.0}
    assert abs(mirror.mean()) < 0.03
    assert set(width) == set(height) == {1.0}
    for values, limit in [(angle, np.radians(10)), *((shift, 1 / 8) for shift in shifts)]:
        assert 0.99 * limit < np.abs(values).max() <= limit
        assert abs(values.mean()) < 0.02 * limit


@pytest.mark.parametrize(("kind", "still"), [("mild", "mild_no_flip"), ("strong", "strong_no_flip")])
def test_without_flips_all_else_is_drawn_alike_and_nothing_is_mirrored(kind: Kind, still: Kind) -> None:
    flipped, drawn = (Augmenter(5000, views=0, seed=0, kind=each).draws(3) for each in (kind, still))
    assert set(drawn[:, 0]) == {1.0}
    assert set(flipped[:, 0]) == {-1.0, 1.0}
    assert np.array_equal(flipped[:, 1:], drawn[:, 1:])


@pytest.mark.parametrize(("kind", "sides"), [("mild", 2), ("mild_no_flip", 1), ("strong", 2), ("strong_no_flip", 1)])
def test_the_bright_side_stays_where_it_is_without_flips(kind: Kind, sides: int) -> None:
    images = torch.linspace(0, 1, 32).expand(200, 3, 32, 32)
    out = Augmenter(200, views=0, seed=0, kind=kind).apply(images, np.arange(200), 0)
    is_right = out[..., 16:].mean((1, 2, 3)) > out[..., :16].mean((1, 2, 3))
    assert len(set(is_right.tolist())) == sides
    assert is_right.any()


def test_strong_crops_lie_inside_the_image() -> None:
    draws = Augmenter(20_000, views=0, seed=0, kind="strong").draws(0)
    _, _, width, height, shift_x, shift_y, *factors = draws.T
    assert 0.49 < (width * height).min() < 0.52
    assert (width * height).max() <= 1
    assert (np.abs(shift_x) + width / 2).max() <= 0.5 + 1e-9
    assert (np.abs(shift_y) + height / 2).max() <= 0.5 + 1e-9
    assert (width / height).max() <= RANGES["strong"].aspect + 1e-9
    for factor in factors:
        assert 0.8 <= factor.min() < 0.81
        assert 1.19 < factor.max() <= 1.2


def test_identity_leaves_the_input_as_it_is(batch: Tensor) -> None:
    out = resample(batch, matrices(np.repeat(IDENTITY, 8, axis=0)))
    assert torch.allclose(out, batch, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert resample(batch.contiguous(), matrices(np.repeat(IDENTITY, 8, axis=0))).is_contiguous()


def test_mirror_shift_and_rotation_are_what_they_say() -> None:
    image = torch.rand(1, 3, 16, 16)
    mirrored = resample(image, matrices(_draw(mirror=-1)))
    assert torch.allclose(mirrored, image.flip(3), atol=1e-5)
    shifted = resample(image, matrices(_draw(shift_x=2 / 16)))
    assert torch.allclose(shifted[..., :-2], image[..., 2:], atol=1e-5)
    assert torch.allclose(shifted[..., -2:], image[..., -2:].flip(3), atol=1e-5)  # the border is reflected
    turned = resample(image, matrices(_draw(angle=np.pi / 2)))
    assert torch.allclose(turned, image.rot90(1, (2, 3)), atol=1e-4) or torch.allclose(
        turned, image.rot90(-1, (2, 3)), atol=1e-4
    )


def test_bytes_come_back_as_floats_of_the_same_scale() -> None:
    image = torch.full((2, 3, 8, 8), 200, dtype=torch.uint8)
    out = Augmenter(2, views=0, seed=0).apply(image, np.arange(2), 0)
    assert out.dtype == torch.float32
    assert torch.allclose(out, torch.tensor(200.0))


def test_a_crop_is_enlarged() -> None:
    image = torch.rand(1, 3, 16, 16)
    cropped = resample(image, matrices(_draw(width=0.5, height=0.5, shift_x=0.25, shift_y=-0.25)))
    expected = F.interpolate(image[..., :8, 8:], size=16, mode="bilinear", align_corners=False)
    assert torch.allclose(cropped[..., 1:-2, 2:-1], expected[..., 1:-2, 2:-1], atol=1e-5)  # but for the crop's border


def test_colors_change_in_pixel_space_whatever_the_normalization(preprocessing: Preprocessing) -> None:
    pixels = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    factors = np.array([[1.2, 0.8, 1.1]]).repeat(4, axis=0)
    plain = recolor(pixels, factors, (0, 0, 0), (1, 1, 1))
    normalized = recolor((pixels - mean) / std, factors, preprocessing.mean, preprocessing.std)
    assert torch.allclose(normalized * std + mean, plain, atol=1e-5)
    assert plain.min() >= 0
    assert plain.max() <= 1


def test_single_color_changes_are_what_they_say() -> None:
    pixels = torch.rand(1, 3, 8, 8) / 2
    ones, zeros = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    assert torch.allclose(recolor(pixels, np.array([[1.0, 1.0, 1.0]]), zeros, ones), pixels, atol=1e-6)
    assert torch.allclose(recolor(pixels, np.array([[1.5, 1.0, 1.0]]), zeros, ones), pixels * 1.5, atol=1e-6)
    assert torch.allclose(recolor(pixels, np.array([[1.0, 0.0, 1.0]]), zeros, ones), torch.tensor(0.5), atol=1e-6)
    gray = recolor(pixels, np.array([[1.0, 1.0, 0.0]]), zeros, ones)
    assert torch.allclose(gray[:, 0], gray[:, 1], atol=1e-6)
