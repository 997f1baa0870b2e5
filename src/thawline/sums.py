"""SHA256SUMS: the digests of a folder's files, which `sha256sum -c SHA256SUMS` compares without thawline, too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from thawline.errors import InputError, ModelError
from thawline.reading import digest_of, read_regular

SUMS_FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_LARGEST = 1 << 24
"""Bytes; a file of thousands of lines has no more."""
WAYS_OUT = f"restore the folder, or delete {SUMS_FILE} if you changed it on purpose."


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the digests of these files of `folder`."""
    text = sums_text({name: digest_of(folder / name) for name in names})
    (folder / SUMS_FILE).write_text(text, encoding="utf-8", newline="")


def sums_text(sums: Mapping[str, str]) -> str:
    """What SHA256SUMS contains, from digests by file name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def check_sums(folder: Path, needed: Iterable[str] = ()) -> None:
    """Compare the files of `folder` with their digests; a folder without SHA256SUMS has nothing to compare.

    Raises `ModelError` if a file is missing or differs, or if the digests are damaged or leave out a `needed` file.
    """
    path = folder / SUMS_FILE
    if not path.exists():
        return
    sums = read_sums(folder, ModelError)
    if absent := [name for name in needed if name not in sums]:
        raise ModelError(f"{path} is damaged: it has no line for {absent[0]}; {WAYS_OUT}")
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing, but {SUMS_FILE} names it; {WAYS_OUT}")
        if digest_of(folder / name) != expected:
            raise ModelError(f"{folder / name} is damaged or was changed: {SUMS_FILE} has another digest; {WAYS_OUT}")


def read_sums(folder: Path, refusal: type[InputError]) -> Mapping[str, str]:
    """SHA-256 by file name, only of files of the folder itself; raises `refusal` if SHA256SUMS is damaged."""
    path = folder / SUMS_FILE
    try:
        text = read_regular(path, _LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(f"{path} cannot be read ({error}); {WAYS_OUT}") from error
    sums = _parsed(text)
    if sums is None:
        raise refusal(f"{path} is damaged: it is not a list of digests and file names; {WAYS_OUT}")
    return sums


@lru_cache(maxsize=4)
def _parsed(text: str) -> Mapping[str, str] | None:
    """Digests by name; None if the text is not a list of them. A report asks once for every picture."""
    found = [match.groups() for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    sums = {name: digest for digest, name in found}
    is_list = len(sums) == len(text.splitlines()) and all(Path(name).name == name for name in sums)
    return sums if is_list else None
