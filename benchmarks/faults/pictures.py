"""Image files with samples of more than 8 bits, which Pillow reads and does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np


def png(samples: np.ndarray, color_type: int) -> bytes:
    """A PNG of 16-bit samples."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def tiff(
    samples: np.ndarray, *, order: str = "<", planar: bool = False, deflate: bool = False, extra: int | None = None
) -> bytes:
    """A TIFF of unsigned samples [H, W] or [H, W, C]; `extra` = what the fourth channel is (0 unknown, 2 alpha)."""
    height, width, channels = (*samples.shape, 1)[:3]
    planes = [samples[..., number] for number in range(channels)] if planar else [samples]
    strips = [np.ascontiguousarray(plane).astype(samples.dtype.newbyteorder(order)).tobytes() for plane in planes]  # type: ignore[arg-type]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    tags: list[tuple[int, str, Sequence[int]]] = [
        *((256, "H", [width]), (257, "H", [height]), (258, "H", [8 * samples.itemsize] * channels)),
        *((259, "H", [8 if deflate else 1]), (262, "H", [2 if channels > 1 else 1]), (273, "I", [0] * len(strips))),
        *((277, "H", [channels]), (278, "H", [height]), (279, "I", [len(strip) for strip in strips])),
        *((284, "H", [2 if planar else 1]), *([(338, "H", [extra])] if extra is not None else [])),
        (339, "H", [1] * channels),
    ]  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    entries, outside = b"", b""
    start = behind + sum(size for _, kind, values in tags if (size := struct.calcsize(kind) * len(values)) > 4)
    for tag, kind, values in tags:
        given = [start + sum(map(len, strips[:n])) for n in range(len(strips))] if tag == 273 else values
        packed = struct.pack(f"{order}{len(given)}{kind}", *given)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", behind + len(outside))
        outside += packed if len(packed) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(given)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + b"\0\0\0\0" + outside + b"".join(strips)


def pnm(samples: np.ndarray, largest: int = 65535) -> bytes:
    """A PGM or PPM of 16-bit samples [H, W] or [H, W, 3]; `largest` = the range that it states."""
    kind, (height, width) = "P6" if samples.ndim == 3 else "P5", samples.shape[:2]
    return f"{kind}\n{width} {height}\n{largest}\n".encode() + samples.astype(">u2").tobytes()
