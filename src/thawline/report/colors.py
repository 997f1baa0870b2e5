"""Learning rates as colors: pale is slow, dark is fast; lightness alone carries it, for every eye and for paper."""

from __future__ import annotations

import math

SLOWEST, FASTEST = -5.0, -1.0
"""Decades at the ends of the scale; rates beyond it get the end's color."""
_STOPS = ("#fff1c2", "#fdd274", "#f7a037", "#dc6518", "#a3370b", "#641a06")
_DARK_INK, _LIGHT_INK = "#1a1206", "#ffffff"


def fill(learning_rate: float, slowest: float = SLOWEST, fastest: float = FASTEST) -> str:
    """Color of a learning rate, the same in every report; of other values, with the decades where their scale ends."""
    decades = math.log10(learning_rate) if learning_rate > 0 else slowest
    place = min(max((decades - slowest) / (fastest - slowest), 0.0), 1.0) * (len(_STOPS) - 1)
    lower = min(int(place), len(_STOPS) - 2)
    pair = zip(_channels(_STOPS[lower]), _channels(_STOPS[lower + 1]), strict=True)
    mixed = (round(a + (b - a) * (place - lower)) for a, b in pair)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ink(background: str) -> str:
    """The color of text on `background`: whichever of dark and light is easier to read."""
    return max((_DARK_INK, _LIGHT_INK), key=lambda color: contrast(color, background))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two `#rrggbb` colors, 1 to 21 (WCAG 2.2, 1.4.3)."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
