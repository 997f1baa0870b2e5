"""Rates as colors: ordered, readable, the same in every report."""

from __future__ import annotations

import pytest

from thawline.report import colors

RATES = [10 ** (exponent / 4) for exponent in range(-24, 0)]


def test_faster_is_darker() -> None:
    contrasts = [colors.contrast(colors.fill(rate), "#ffffff") for rate in RATES]
    assert contrasts == sorted(contrasts)
    assert contrasts[-1] > 5 * contrasts[0]


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_can_be_read_on_its_color(rate: float) -> None:
    fill = colors.fill(rate)
    assert colors.contrast(colors.ink(fill), fill) >= 4.5


def test_rates_beyond_the_scale_have_the_color_of_its_end() -> None:
    assert colors.fill(0.0) == colors.fill(1e-9) == colors.fill(1e-5)
    assert colors.fill(10.0) == colors.fill(1e-1)


def test_contrast_of_black_and_white() -> None:
    assert colors.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colors.contrast("#777777", "#777777") == pytest.approx(1)
