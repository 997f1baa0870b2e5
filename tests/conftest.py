"""Rules for every test: no network, fixed seeds, one place for the shared images and weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytest_socket import disable_socket, enable_socket

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("network"):
        enable_socket()
    else:
        disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """Files outlive a killed process without `fsync`, too; waiting for the disk took up to half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    # Tiny networks gain nothing from a second thread and lose much where the tests share the machine.
    torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """The folder with real images and weights; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: it holds the real images and weights")
    return SHARED
