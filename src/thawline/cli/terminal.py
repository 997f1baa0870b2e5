"""The standard streams: they take any text, send none of its control characters, and never end the work."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console

from thawline.errors import cause
from thawline.report.consoles import PlainConsole
from thawline.results import plain
from thawline.visible import visible_json, visible_lines

UNBOUNDED = 100_000
"""Columns where the output is not a terminal: whoever reads a file or a pipe wraps lines as they like."""
_IN_ASCII = {"❄": "*", "±": "+-", "×": "x", "–": "-", "…": "..."}
"""Our own signs where the encoding lacks them; other characters are written as Python escapes them."""


class Stream(io.TextIOBase):
    """A standard stream that takes everything; once it is closed, full or read by nobody, text is dropped."""

    def __init__(self, raw: TextIO | Stream | None) -> None:
        self.raw = raw
        self.lost: OSError | None = None
        """Why text was dropped."""
        self._told = False
        if raw is None:
            self._lose(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        elif isinstance(raw, io.TextIOWrapper):
            with self._losing():
                raw.reconfigure(errors="thawline")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream, as Rich asks for it."""
        return getattr(self.raw, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text, or drop it if it cannot be written."""
        if self.raw is not None and self.lost is None:
            with self._losing():
                self.raw.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        if self.raw is not None and self.lost is None:
            with self._losing():
                self.raw.flush()

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return self.raw is not None and not self.raw.closed and self.raw.isatty()

    def fileno(self) -> int:
        """The file descriptor; `OSError` if there is none."""
        if self.raw is None:
            raise io.UnsupportedOperation("fileno")
        return self.raw.fileno()

    def tell_loss(self, *, kept: str = "") -> str:
        """Why text was dropped, in words, unless it was told; empty if nothing was.

        A reader who left has read enough, which is worth a word only where the rest is `kept`.
        """
        self.flush()
        if self.lost is None or self._told or (not kept and _reader_left(self.lost)):
            return ""
        self._told = True
        return f"standard output ended early ({cause(self.lost)})" + (f"; {kept}" if kept else "") + "."

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._lose(error)
        except ValueError as error:  # closed in Python
            self._lose(OSError(errno.EBADF, str(error)))

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # What is still buffered goes nowhere; else Python would complain when it ends.
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())
            if self.raw is not None:
                self.raw.flush()


class Screen(Stream):
    """A stream whose text is shown: what it hides, control characters above all, is made visible."""

    def __init__(self, unescaped: Stream) -> None:
        super().__init__(unescaped)
        self.unescaped = unescaped
        """The same stream for those who escape by themselves."""

    def tell_loss(self, *, kept: str = "") -> str:
        """The same of the stream below."""
        return self.unescaped.tell_loss(kept=kept)

    def write(self, text: str) -> int:
        """Write the text with its hidden characters as Python escapes them."""
        return super().write(visible_lines(text))


def console(stream: TextIO) -> Console:
    """A console on one of the standard streams."""
    file = _unescaped(stream)
    width, height = (None, None) if file.isatty() else (UNBOUNDED, 25)
    # With a height besides, Rich asks neither the environment nor the kind of the terminal for the size.
    return PlainConsole(file=file, width=width, height=height, markup=False, highlight=False, emoji=False)


def for_programs(stream: TextIO) -> TextIO:
    """The stream for a table that another program reads, with names to the letter; on a terminal they are escaped."""
    return stream if stream.isatty() else _unescaped(stream)


def _unescaped(stream: TextIO) -> TextIO:
    return cast(TextIO, stream.unescaped) if isinstance(stream, Screen) else stream


def json_text(value: object, encoding: str | None) -> str:
    """Indented JSON that a terminal shows as it is, in ASCII where the encoding lacks a character."""
    data = plain(value)
    text = visible_json(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data, indent=2, allow_nan=False)
    return f"{text}\n"


@contextmanager
def standard_streams() -> Iterator[Screen]:
    """Put streams that take everything in the place of the standard ones; gives that of standard output."""
    codecs.register_error("thawline", _in_ascii)
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr, warnings.formatwarning
    warnings.formatwarning = lambda *words: visible_lines(before[2](*words))  # a live bar shows what it is given
    output = Screen(Stream(sys.stdout))
    sys.stdout, sys.stderr = output, Screen(Stream(sys.stderr))
    try:
        yield output
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr, warnings.formatwarning = before


def _reader_left(error: OSError) -> bool:
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Error handler of encodings."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    escaped = (_IN_ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(escaped), error.end


def _occupy_closed_descriptors() -> None:
    """A file that is opened later must not become standard output, into which libraries may write."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
