"""Ways to damage the content of a file: bytes of any kind, and JSON, CSV and tensors that stay what they are."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

Mutation = Callable[[bytes, random.Random], bytes]

STRANGE: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2, 5, 10**30, -(10**400), 0.0, -0.5, 1e-320, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "0",
        "nan",
        "../../etc/passwd",
        "=1+1",
        "\x1b[31mred\x1b[0m",
        "a\nb",
        "\ud800",
        "é",
        "e\u0301",
        "y" * 5000,
    ),
    *([], [[]], [None], {}, {"": {}}, [[[[[[]]]]]]),
)
"""Values that are valid JSON and seldom expected."""

WRITTEN: Sequence[str] = (
    *("9" * 400, "9" * 5000, "-" + "9" * 400, "1e999", "-1e999", "1e-999", "0." + "0" * 400 + "1", "inf", "-Infinity"),
    *("nan", "NaN", "1_0", " 1_0 ", "\u0663", "\uff11\uff12", "\u00bd", "\u22121", "0x10", "0b1", "1e", ".", "-", "+1"),
    *(
        "-0",
        "-0.0",
        "00",
        "1,000",
        "1 000",
        "2147483648",
        "4294967296",
        "9223372036854775808",
        "1e308",
        "5e-324",
        "",
        "true",
    ),
)
"""Numbers as nobody writes them, and what is none."""
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?")


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cut off anywhere."""
    return content[: rng.randrange(len(content))] if content else content


def empty(content: bytes, rng: random.Random) -> bytes:
    """Nothing left."""
    return b""


def zero_payload(content: bytes, rng: random.Random) -> bytes:
    """Header kept, the rest zeros, as a file system leaves it after a power cut."""
    start = min(len(content), _header(content))
    return content[:start] + bytes(len(content) - start)


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    """One bit, anywhere."""
    if not content:
        return content
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_payload(content: bytes, rng: random.Random) -> bytes:
    """One bit behind the header."""
    start = _header(content)
    return content[:start] + flip_bit(content[start:], rng)


def overwrite(content: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced by noise."""
    start = rng.randrange(len(content) + 1)
    noise = rng.randbytes(rng.randint(1, 64))
    return content[:start] + noise + content[start + len(noise) :]


def append(content: bytes, rng: random.Random) -> bytes:
    """Noise at the end."""
    return content + rng.randbytes(rng.randint(1, 64))


def foreign(content: bytes, rng: random.Random) -> bytes:
    """Another type of file altogether."""
    return rng.choice(
        (
            b"\x89PNG\r\n\x1a\n" + rng.randbytes(64),
            b"PK\x03\x04" + rng.randbytes(64),
            b"\x80\x04cos\nsystem\n(S'true'\ntR.",
            b"<html><body>404</body></html>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b"\xff\xfe{\x00}\x00",
            _saved(np.save, np.zeros((2, 2))),
            save({"x": torch.zeros(2)}),
            b"[]",
            b"null",
            b"{}",
            b"[" * 100_000,
        )
    )


def roll(content: bytes, rng: random.Random) -> bytes:
    """Payload shifted, so that every row is another's."""
    start = _header(content)
    payload = content[start:]
    shift = rng.randrange(1, len(payload)) if len(payload) > 1 else 0
    return content[:start] + payload[shift:] + payload[:shift]


def json_value(content: bytes, rng: random.Random) -> bytes:
    """One value of the document becomes another, of whatever type."""
    return _json_edited(content, rng, lambda old: rng.choice(STRANGE))


def json_nudge(content: bytes, rng: random.Random) -> bytes:
    """One number, text or flag becomes another of its type, so that the schema still fits."""
    return _json_edited(content, rng, lambda old: _nudged(old, rng), leaves=True)


def json_key(content: bytes, rng: random.Random) -> bytes:
    """One key is lost, or gets another name."""

    def lose(parent: Any, key: Any) -> None:
        value = parent.pop(key)
        if isinstance(parent, dict) and rng.random() < 0.5:
            parent[rng.choice(("unknown", "", f"{key}_"))] = value

    return _on_a_place(content, rng, lose)


def line_lost(content: bytes, rng: random.Random) -> bytes:
    """One line is gone."""
    lines = content.splitlines(keepends=True)
    if lines:
        del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def line_twice(content: bytes, rng: random.Random) -> bytes:
    """One line stands there twice."""
    lines = content.splitlines(keepends=True)
    if lines:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"".join(lines)


def lines_swapped(content: bytes, rng: random.Random) -> bytes:
    """Two lines change places."""
    lines = content.splitlines(keepends=True)
    if len(lines) > 1:
        first, second = rng.sample(range(len(lines)), 2)
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def json_line(content: bytes, rng: random.Random) -> bytes:
    """One line of a journal stays JSON, with another value in it."""
    return _on_a_line(content, rng, rng.choice((json_value, json_nudge, json_key)))


def csv_cell(content: bytes, rng: random.Random) -> bytes:
    """One cell of a table becomes something else."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline="")))
    except csv.Error:  # a field beyond the limit
        return flip_bit(content, rng)
    filled = [row for row in rows if row]
    if filled:
        row = rng.choice(filled)
        row[rng.randrange(len(row))] = str(rng.choice((*STRANGE, 0.25, "blue", "train", "val", "test")))
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode("utf-8", "replace")


def other_type(content: bytes, rng: random.Random) -> bytes:
    """An array of another dtype."""
    kind = rng.choice((torch.int32, torch.bool, torch.float64, torch.float16, torch.int64))
    return _tensor_edited(content, rng, lambda tensor: tensor.to(kind))


def other_shape(content: bytes, rng: random.Random) -> bytes:
    """An array of another shape."""

    def reshaped(tensor: torch.Tensor) -> torch.Tensor:
        return rng.choice((tensor[:-1], tensor[None], tensor[..., None], torch.cat([tensor, tensor]))).contiguous()

    return _tensor_edited(content, rng, lambda tensor: reshaped(tensor) if tensor.ndim else tensor[None])


def not_a_number(content: bytes, rng: random.Random) -> bytes:
    """NaN or infinity in an array."""
    value = rng.choice((float("nan"), float("inf"), -float("inf")))

    def poisoned(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.flatten()[rng.randrange(max(1, changed.numel()))] = value
        return changed

    return _tensor_edited(content, rng, lambda tensor: poisoned(tensor) if tensor.is_floating_point() else tensor)


def tensor_lost(content: bytes, rng: random.Random) -> bytes:
    """One tensor is missing, or has another name."""
    tensors = _tensors(content)
    if not tensors:
        return foreign(content, rng)
    lost = tensors.pop(rng.choice(sorted(tensors)))
    return save(tensors if rng.random() < 0.5 else {**tensors, "stranger": lost})


def number(content: bytes, rng: random.Random) -> bytes:
    """One number becomes another way to write one, or what only looks like it."""
    found = list(_NUMBER.finditer(content))
    if not found:
        return flip_bit(content, rng)
    place = rng.choice(found)
    written = rng.choice((*WRITTEN, str(rng.randrange(-(10**6), 10**6)), repr(rng.uniform(-10, 10))))
    return content[: place.start()] + written.encode() + content[place.end() :]


BYTES: Sequence[Mutation] = (truncate, empty, zero_payload, flip_bit, flip_payload, overwrite, append, foreign)
JSON: Sequence[Mutation] = (json_value, json_nudge, json_key)
LINES: Sequence[Mutation] = (line_lost, line_twice, lines_swapped)
TENSORS: Sequence[Mutation] = (other_type, other_shape, roll)


def mutations_for(name: str) -> Sequence[Mutation]:
    """What can be done to a file of that name."""
    ending = name.rpartition(".")[2]
    own: dict[str, Sequence[Mutation]] = {
        "json": (*JSON, number),
        "journal": (*LINES, json_line, number),
        "csv": (*LINES, csv_cell, number),
        "toml": (*LINES, number),
        "options": (*LINES, number, number),
        "npy": TENSORS,
        "safetensors": (*TENSORS, not_a_number, tensor_lost),
        "txt": LINES,
    }
    return (*BYTES, *own.get(ending, ()))


def _header(content: bytes) -> int:
    """Bytes before the payload of an array file; 0 of any other."""
    if content[:6] == b"\x93NUMPY":
        return 10 + int.from_bytes(content[8:10], "little")
    length = int.from_bytes(content[:8], "little")
    return 8 + length if content[8:9] == b"{" and length < len(content) else 0


def _saved(write: Callable[..., object], *values: object) -> bytes:
    stream = io.BytesIO()
    write(stream, *values)
    return stream.getvalue()


def _nudged(old: Any, rng: random.Random) -> Any:
    """A value of the same type that could have been meant."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return old + rng.choice((-1, 1, 10))
    if isinstance(old, float):
        return old * rng.choice((0.9, 1.1)) + rng.choice((0.0, 0.01))
    if isinstance(old, str) and old:
        position = rng.randrange(len(old))
        return old[:position] + rng.choice("0123456789abcdefxyz") + old[position + 1 :]
    return old


def _json_edited(content: bytes, rng: random.Random, change: Callable[[Any], Any], *, leaves: bool = False) -> bytes:
    def put(parent: Any, key: Any) -> None:
        parent[key] = change(parent[key])

    return _on_a_place(content, rng, put, leaves=leaves)


def _on_a_place(content: bytes, rng: random.Random, edit: Callable[[Any, Any], None], *, leaves: bool = False) -> bytes:
    """Edit one place of a JSON document in its parent; what is no JSON is damaged as bytes."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return flip_bit(content, rng)
    places = [place for place in _places(document) if not (leaves and isinstance(place[0][place[1]], dict | list))]
    if places:
        edit(*rng.choice(places))
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every parent and key of a document."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [place for key, inner in pairs for place in ((value, key), *_places(inner))]


def _on_a_line(content: bytes, rng: random.Random, change: Mutation) -> bytes:
    lines = content.splitlines()
    if lines:
        position = rng.randrange(len(lines))
        lines[position] = change(lines[position], rng)
    return b"\n".join(lines) + b"\n"


def _tensors(content: bytes) -> dict[str, torch.Tensor]:
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError):
        return {}


def _tensor_edited(content: bytes, rng: random.Random, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """One tensor of a safetensors file, or the array of a .npy file, is another."""
    if content[:6] == b"\x93NUMPY":
        try:
            array = np.load(io.BytesIO(content))
        except (ValueError, EOFError):
            return foreign(content, rng)
        return _saved(np.save, change(torch.from_numpy(array)).numpy())
    tensors = _tensors(content)
    if not tensors:
        return foreign(content, rng)
    name = rng.choice(sorted(tensors))
    tensors[name] = change(tensors[name])
    return save(tensors)
