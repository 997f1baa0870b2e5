"""Numbers in words, the same in messages, tables and the report; and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 image`, `1,200 images`, `2 classes`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggestion for an unknown name, to append to a message; empty if no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def sentence(clause: str) -> str:
    """A clause with a capital letter and a full stop."""
    return f"{clause[:1].upper()}{clause[1:]}."


def shortened(names: Sequence[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def tally(counts: Mapping[str, int]) -> str:
    """`JPEG 1,200, PNG 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def extent(counts: Sequence[int]) -> str:
    """The lowest and the highest count: `40`, `3 to 1,200`."""
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def rate(value: float) -> str:
    """A learning rate as people write it: 1e-3, 3e-4, 7.5e-4."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Wall time in words, no finer than it is worth: `40 s`, `14 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def mebibytes(size: int) -> str:
    """Bytes as `1,234 MiB`."""
    return f"{size / 2**20:,.0f} MiB"


def file_size(size: int) -> str:
    """Bytes as `3.9 MB`, in powers of ten."""
    return f"{size / 1e6:,.1f} MB"


def figure(value: float | None, digits: int = 3, missing: str = "") -> str:
    """A figure of 0 to 1 with three decimals."""
    return missing if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, never -0; empty if there is none."""
    return "" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def interval(ends: Sequence[float]) -> str:
    """`0.633 to 0.718`."""
    low, high = ends
    return f"{low:.3f} to {high:.3f}"


def spread(mean: float, standard_error: float | None, digits: int = 3) -> str:
    """`0.905 ± 0.005`, or the mean alone where there is one seed."""
    return figure(mean, digits) + ("" if standard_error is None else f" ± {standard_error:.{digits}f}")


def percent(share: float, digits: int = 1) -> str:
    """A share of 0 to 1 as `12.5 %`."""
    return f"{100 * share:.{digits}f} %"


def row_label(strategy: str, network: str | None) -> str:
    """What tables call a row: the strategy, after the network that it trains where there are several."""
    return f"{network}: {strategy}" if network else strategy
