from __future__ import annotations

import pytest

from thawline.config import parse_bytes
from thawline.errors import OptionError


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500", 500), ("2K", 2048), ("1.5g", 3 << 29), ("4 GiB", 4 << 30), ("1TB", 1 << 40)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes("cache_memory", text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1P", "1e9"])
def test_a_size_that_is_none_is_one_clear_line(text: str) -> None:
    with pytest.raises(OptionError, match="`cache_disk` must be a number of bytes"):
        parse_bytes("cache_disk", text)
