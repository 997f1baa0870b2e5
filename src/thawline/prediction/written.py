"""Predictions in a file that grows: appended to as they come, taken up again where an earlier command was stopped.

CSV has a line per image and rank (path, rank, class, probability, error), JSON Lines an object per image. What a kill
left incomplete at the end is cut off before anything is appended, and its image is predicted again.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import Literal

from thawline.errors import OptionError, RunError, ThawlineError, remedy
from thawline.reading import parse_json
from thawline.records import encoded
from thawline.results import Likelihood, Prediction, SkippedFile, plain
from thawline.spreadsheet import csv_text, from_cell

Form = Literal["csv", "jsonl"]
Answer = Prediction | SkippedFile
COLUMNS = ("path", "rank", "class", "probability", "error")
_OPENING = b'{"path": '
_HEADER = csv_text(COLUMNS, ()).encode()
_WAY_OUT = "give another file, or move this one away"


@dataclass
class Found:
    """What a file held when it was opened."""

    paths: set[str] = field(default_factory=set)
    """Images that are in it, by the text of their paths."""
    first: Prediction | None = None
    """The first image of it that could be read."""
    end: int = 0
    """Bytes up to the end of the last image that is complete."""


def as_csv(answers: Iterable[Answer]) -> str:
    """Lines of a table without its header: one per rank of an image, or one with the reason why it was skipped."""
    rows = (row for answer in answers for row in _rows(answer))
    text = csv_text((), rows)
    return text[text.index("\n") + 1 :]


def as_jsonl(answers: Iterable[Answer]) -> str:
    """A JSON object per line."""
    objects = (
        {"path": answer.path, "error": answer.reason} if isinstance(answer, SkippedFile) else plain(answer)
        for answer in answers
    )
    return "".join(f"{json.dumps(each, ensure_ascii=False, allow_nan=False)}\n" for each in objects)


def header(form: Form) -> bytes:
    """What a new file starts with."""
    return _HEADER if form == "csv" else b""


@contextmanager
def opened(path: Path) -> Iterator[BufferedRandom]:
    """A file for reading and appending, made if it is missing, that no other process of ours may open meanwhile."""
    if path.exists() and not path.is_file():
        raise OptionError(f"{path} is not a file; {_WAY_OUT}.")
    if not path.parent.is_dir():
        raise OptionError(f"{path} cannot be written: {path.parent} is not a folder; make it first.")
    with _said(path, OptionError):
        stream = path.open("a+b")
    with _said(path, RunError), stream:
        _lock(stream, path)
        yield stream


@contextmanager
def _said(path: Path, kind: type[ThawlineError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(path), path):
            raise
        raise kind(f"{path} cannot be written ({error.strerror or error}); {remedy(error)}.") from error


def _lock(stream: BufferedRandom, path: Path) -> None:
    """Keep others out until the file is closed; the system forgets the lock of a process that was killed."""
    with suppress(ImportError):  # Windows has no such locks, and there two commands must not write to one file
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OptionError(f"{path} is being written by another command; wait for it, or {_WAY_OUT}.") from None


def take_up(stream: BufferedRandom, path: Path, form: Form, ranks: int) -> Found:
    """Read what is there; the file stays as it is.

    `ranks`: classes per image. Raises `OptionError` if it is anything but such predictions.
    """
    stream.seek(0)
    return _from_csv(stream, path, ranks) if form == "csv" else _from_jsonl(stream, path, ranks)


def cut_off(stream: BufferedRandom, form: Form, found: Found) -> None:
    """Cut off what a kill left at the end, and begin a new file."""
    stream.truncate(found.end)
    if not found.end:
        stream.write(header(form))
        stream.flush()


def _from_jsonl(stream: BufferedRandom, path: Path, ranks: int) -> Found:
    found = Found()
    for number, line in enumerate(stream, start=1):
        begun = line.rstrip(b"\0")[: len(_OPENING)]  # zeros are what a power failure leaves
        if not _OPENING.startswith(begun):
            raise _foreign(path, number, form="jsonl")
        if not line.endswith(b"\n") and not _is_json(line):
            break  # torn
        try:
            answer = _answer(parse_json(line))
        except (ValueError, KeyError, TypeError):
            raise _foreign(path, number, form="jsonl") from None
        if not line.endswith(b"\n"):
            break  # torn just before the line's end
        _take(found, answer, path, number, ranks)
        found.end += len(line)
    return found


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _answer(value: object) -> Answer:
    """What `as_jsonl` has written; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    if not isinstance(value, dict) or not isinstance(value["path"], str):
        raise TypeError("not a prediction")
    if "error" in value:
        return SkippedFile(path=value["path"], reason=str(value["error"]))
    top = [Likelihood(label=str(each["class"]), probability=float(each["probability"])) for each in value["top"]]
    return Prediction(path=value["path"], top=top)


def _from_csv(stream: BufferedRandom, path: Path, ranks: int) -> Found:
    found, counter = Found(), _Counter(stream)
    if not (first := stream.readline()):
        return found
    if first != _HEADER:
        if not _HEADER.startswith(first):
            raise _foreign(path, 1, form="csv")
        return found  # torn in the header
    found.end = counter.read = len(first)
    top: list[Likelihood] = []
    rows = csv.reader(counter, strict=True)
    number = 1
    try:
        for cells in rows:
            number = 1 + rows.line_num
            if counter.torn:
                break
            name, rank, label, probability, error = map(from_cell, cells)
            if error:
                answer: Answer = SkippedFile(path=name, reason=error)
            else:
                top.append(Likelihood(label=label, probability=float(probability)))
                if int(rank) != len(top) or len(top) > ranks:
                    raise _other_top(path, number)
                if len(top) < ranks:
                    continue
                answer = Prediction(path=name, top=top)
            _take(found, answer, path, number, ranks)
            found.end, top = counter.read, []
    except OptionError:
        raise
    except (ValueError, csv.Error) as error:
        # A kill inside a quoted cell leaves an open quote at the end; a whole line of anything else is not ours.
        in_quotes = isinstance(error, csv.Error) and not stream.read(1)
        if not in_quotes and not counter.torn:
            raise _foreign(path, number, form="csv") from None
    return found


@dataclass
class _Counter:
    """The lines of a stream as text, and how many bytes they were."""

    stream: BufferedRandom
    read: int = 0
    torn: bool = False
    """The last line has no end."""

    def __iter__(self) -> Iterator[str]:
        for line in self.stream:
            self.read += len(line)
            self.torn = not line.endswith(b"\n")
            yield line.decode("utf-8", "surrogateescape")


def _take(found: Found, answer: Answer, path: Path, line: int, ranks: int) -> None:
    if isinstance(answer, Prediction):
        if len(answer.top) != ranks:
            raise _other_top(path, line)
        found.first = found.first or answer
    found.paths.add(answer.path)


def _rows(answer: Answer) -> Iterator[Sequence[object]]:
    if isinstance(answer, SkippedFile):
        yield answer.path, "", "", "", answer.reason
        return
    for rank, guess in enumerate(answer.top, start=1):
        yield answer.path, rank, guess.label, f"{guess.probability:.6f}", ""


def _foreign(path: Path, line: int, *, form: Form) -> OptionError:
    kind = {"csv": "CSV", "jsonl": "JSON Lines"}[form]
    return OptionError(f"{path}, line {line}, is not a prediction as `predict` writes them in {kind}; {_WAY_OUT}.")


def _other_top(path: Path, line: int) -> OptionError:
    return OptionError(f"{path}, line {line}, is of predictions with another `top`; repeat it, or {_WAY_OUT}.")


WRITERS: dict[Form, Callable[[Iterable[Answer]], str]] = {"csv": as_csv, "jsonl": as_jsonl}


def append(stream: BufferedRandom, form: Form, answers: Iterable[Answer]) -> None:
    """Add predictions, all lines of them at once, so that a kill tears one image at most."""
    stream.write(encoded(WRITERS[form](answers)))
    stream.flush()


def sync(stream: BufferedRandom) -> None:
    """Have it on the disk."""
    stream.flush()
    with suppress(OSError, io.UnsupportedOperation):
        os.fsync(stream.fileno())
