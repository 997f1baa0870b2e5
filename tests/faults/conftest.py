from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.base import Base


@pytest.fixture(scope="session")
def base() -> Iterator[Base]:
    """Small finished runs, and copies of them killed in the middle; each is made when first asked for."""
    root = Path(tempfile.mkdtemp(prefix="thawline-faults-"))
    yield Base(root)
    shutil.rmtree(root, ignore_errors=True)
