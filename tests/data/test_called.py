"""What data are called on screen and in a report."""

from __future__ import annotations

import pytest

from thawline.data.named import called


@pytest.mark.parametrize(
    ("data", "name"),
    [("/home/me/photos", "photos"), ("/home/me/photos/m.csv", "m.csv"), ("hf:cifar10", "hf:cifar10")],
)
def test_a_table_is_called_by_its_file_and_a_dataset_by_its_name(data: str, name: str) -> None:
    assert called(data) == name
