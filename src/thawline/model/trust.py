"""What the user allows to run: Python that a folder names runs only if they say so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thawline.errors import ModelError, OptionError
from thawline.model.own import is_own


@dataclass(frozen=True)
class Trust:
    """The user's consent to run the code of a network of somebody's own."""

    any_code: bool = False
    """Run what the folder names."""
    code: str | None = None
    """Run this `file.py:factory` in its place, which the user named."""


ASK = Trust()
"""Nothing is allowed yet."""
TRUSTED = Trust(any_code=True)
"""The user named the code in this very command, or has been asked."""


def code_to_run(source: str, named_by: Path, trust: Trust) -> str:
    """The model's name, or the code that the user named in its place; `named_by` is the file that has the name.

    Raises `ModelError` that says which code would run, unless the user allows it or the name is of no code.
    """
    if trust.code is not None:
        return _named(source, named_by, trust.code)
    if is_own(source) and not trust.any_code:
        place, _, factory = source.rpartition(":")
        raise ModelError(
            f"{named_by} names Python code that would run on this machine: function {factory!r} of {place!r}. Read it "
            "first; then pass `trust_code=True` to run it, or `code='file.py:factory'` to name the file to run."
        )
    return source


def _named(source: str, named_by: Path, code: str) -> str:
    if not is_own(source):
        raise OptionError(f"`code` is only for custom networks, but {named_by} names none; leave it out.")
    if not is_own(code):
        raise OptionError(f"`code` must be file.py:factory, got {code!r}.")
    place, _, factory = code.rpartition(":")
    if not place.endswith(".py"):
        return code
    return source if _resolved(code) == _resolved(source) else f"{Path(place).expanduser().absolute()}:{factory}"


def _resolved(source: str) -> str:
    place, _, factory = source.rpartition(":")
    return f"{Path(place).expanduser().resolve()}:{factory}"
