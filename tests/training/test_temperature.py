"""The log-loss after temperature scaling, against a grid and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from thawline.errors import NonFiniteLossError
from thawline.training.temperature import LARGEST, fit_temperature, scaled_log_loss


def noisy(images: int, noise: float) -> tuple[Tensor, Tensor]:
    """Logits [n, 4] that point to the label, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 4
    return torch.eye(4)[labels] + noise * torch.randn(images, 4, generator=generator), labels


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_it_is_the_least_loss_over_all_temperatures_whatever_the_logits_scale(factor: float) -> None:
    logits, labels = noisy(2000, 1.0)
    loss, temperature = scaled_log_loss(factor * logits, labels)
    grid = [cross_entropy(logits.double() / t, labels).item() for t in np.geomspace(0.2, 5, 400)]
    assert loss == pytest.approx(min(grid), abs=1e-5)
    assert temperature / factor == pytest.approx(scaled_log_loss(logits, labels)[1], rel=1e-3)
    assert loss == pytest.approx(cross_entropy(factor * logits.double() / temperature, labels).item())


def test_weights_of_images_count_like_copies() -> None:
    logits, labels = noisy(200, 1.0)
    twice = torch.cat([logits, logits[:50]]), torch.cat([labels, labels[:50]])
    weights = torch.ones(200)
    weights[:50] = 2
    loss, temperature = scaled_log_loss(logits, labels, weights)
    assert (loss, temperature) == pytest.approx(scaled_log_loss(*twice), rel=3e-3)
    assert loss == pytest.approx(scaled_log_loss(logits, labels, 7 * weights)[0])


def test_equal_logits_leave_the_temperature_at_1() -> None:
    loss, temperature = scaled_log_loss(torch.full((5, 3), 2.0), torch.tensor([0, 1, 2, 0, 0]))
    assert (loss, temperature) == pytest.approx((np.log(3), 1.0))


@pytest.mark.parametrize("images", [1, 40])
def test_certainty_is_limited_by_the_number_of_images(images: int) -> None:
    labels = torch.arange(images) % 4
    loss, temperature = scaled_log_loss(torch.eye(4)[labels], labels)
    assert 1 / LARGEST < temperature < LARGEST
    assert np.exp(-loss) == pytest.approx((images + 1 / 4) / (images + 1), abs=1e-4)


def test_a_wrong_single_image_gives_a_finite_loss() -> None:
    loss, temperature = scaled_log_loss(torch.tensor([[50.0, 0.0]]), torch.tensor([1]))
    assert loss == pytest.approx(np.log(1 + np.exp(50 / temperature)))
    assert temperature == pytest.approx(LARGEST, rel=1e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_logits_are_refused(value: float) -> None:
    with pytest.raises(NonFiniteLossError, match="logits contain NaN or infinite"):
        scaled_log_loss(torch.tensor([[value, 0.0]]), torch.tensor([0]))


def test_a_temperature_that_helps_is_found_and_one_that_does_not_is_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(400, 5, generator=generator) * 2
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator)[:, 0]
    fitted = fit_temperature(honest * 3, labels)
    assert fitted.helps
    assert fitted.temperature == pytest.approx(3, rel=0.15)
    assert fitted.gain > 0.1
    assert not fit_temperature(honest, labels).helps


def test_a_few_images_say_nothing_about_a_temperature() -> None:
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]]).repeat(9, 1)
    fitted = fit_temperature(logits, torch.arange(18) % 2)
    assert fitted.temperature > 1
    assert fitted.gain_error is None
    assert not fitted.helps
