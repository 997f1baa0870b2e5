"""Thawline as it was before networks ran in forms of their own and freed memory was kept.

    GLIBC_TUNABLES=glibc.malloc.perturb=0 python -m benchmarks.speed.before fit photos --out run

runs a command that way. Everything else is as it is today, so that a comparison with this shows what these two bring.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

from thawline.model.fusion import Fusion


def unfused() -> None:
    """From here on, networks of this process run as they are."""
    Fusion.on = _as_it_is  # type: ignore[assignment, method-assign]


def _as_it_is(_: Fusion, stubs: Collection[str] = ()) -> AbstractContextManager[None]:
    return nullcontext()


def main() -> None:
    """The command line."""
    from thawline.cli.app import main as command

    unfused()
    command()


if __name__ == "__main__":
    main()
