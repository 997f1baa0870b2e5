"""Rates as colours: ordered, readable, the same in every report."""

from __future__ import annotations

import pytest

from thawline.report import colours

RATES = [10 ** (exponent / 4) for exponent in range(-24, 0)]


def test_faster_is_darker() -> None:
    contrasts = [colours.contrast(colours.fill(rate), "#ffffff") for rate in RATES]
    assert contrasts == sorted(contrasts)
    assert contrasts[-1] > 5 * contrasts[0]


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_can_be_read_on_its_colour(rate: float) -> None:
    fill = colours.fill(rate)
    assert colours.contrast(colours.ink(fill), fill) >= 4.5


def test_rates_beyond_the_scale_have_the_colour_of_its_end() -> None:
    assert colours.fill(0.0) == colours.fill(1e-9) == colours.fill(1e-5)
    assert colours.fill(10.0) == colours.fill(1e-1)


def test_contrast_of_black_and_white() -> None:
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#777777") == pytest.approx(1)
