"""Rules for every test: no network, fixed seeds, no waiting, one place for the shared images and weights."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytest_socket import disable_socket, enable_socket

SHARED = Path(__file__).resolve().parents[2] / "shared"
MEMORY = Path("/dev/shm")
"""Where Linux has a file system in memory."""


def pytest_configure() -> None:
    """Have temporary files in memory if there is room: runs write many small ones, and wait for a disk each time.

    A `TMPDIR` of one's own, or `--basetemp`, has them elsewhere.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**31:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("network"):
        enable_socket()
    else:
        disable_socket(allow_unix_socket=True)


def pytest_collection_finish() -> None:
    """Leave what lives to the end, half a million objects of torch, timm and the tests, out of all collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting() -> Iterator[None]:
    """Take fewer timings, and wait for no disk: what is on it after a power cut, no test can see.

    That files are synced at all, and when, is tested where `os.fsync` is replaced by something that looks.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr("thawline.studies.latency.SECONDS", 0.0)
        patch.setattr("thawline.training.measure.STEPS", 1)
        # What is timed on a busy machine may differ from run to run, and with it every digest.
        patch.setattr("thawline.training.device.faster_precision", lambda *_: "fp32")
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
