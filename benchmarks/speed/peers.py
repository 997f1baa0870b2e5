"""The peers are an extra: what to say where they are not installed. Standard library only."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PEERS = ("transformers", "accelerate", "fastai", "nvidia-ml-py")


@contextmanager
def needed(*packages: str) -> Iterator[None]:
    """End the process with one line if one of `packages` cannot be imported."""
    try:
        yield
    except ImportError as error:
        sys.exit(f"this cell needs {' and '.join(packages)} ({error}): pip install 'thawline[bench]'")


def versions() -> dict[str, str | None]:
    """Version of every peer; None = not installed."""
    return {name: _version(name) for name in PEERS}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
