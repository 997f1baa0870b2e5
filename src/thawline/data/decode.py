"""Decodes a file's bytes to an RGB image; training and prediction share this decoder."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from thawline.config import BIT_DEPTHS, FULL_DEPTH
from thawline.data.deep import load_samples, samples
from thawline.errors import DataError
from thawline.reading import read_regular

DECODER_VERSION = 2
"""Incremented whenever the decoded pixels of any file change; cached pixels of other versions are not used."""

LARGEST = 89_478_485
"""Largest image accepted, in pixels (Pillow's own warning limit): a small file may decompress to more than the RAM."""

OUT_OF_MEMORY = "needs more memory than is available"

DECODING_RULE = (
    "Pillow decodes the first frame; the EXIF orientation is applied; ICC profiles are ignored. Transparency is "
    "composited over white. Grayscale, palette, CMYK, YCbCr and HSV images become RGB by Pillow's conversion. 16-bit "
    "grayscale is divided by 257 (0 to 65535 becomes 0 to 255) and 16-bit color keeps its upper 8 bits, or both are "
    "scaled so that their `bit_depth`, where they hold fewer bits, becomes 0 to 255; 32-bit integer and floating-point "
    "grayscale is stretched from the smallest to the largest finite value of the image to 0 to 255, NaN and infinities "
    f"become 0. Images of more than {LARGEST} pixels are refused."
)

# Formats that Pillow recognizes but cannot decode, or passes to an external program such as Ghostscript.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# What Pillow raises on corrupt files: each plugin has its own parser, so besides OSError any parsing error can occur.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    common = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
    return common + tuple(name for name in sorted(Image.OPEN) if name not in {*common, *_NOT_DECODED})


@cache
def readable_endings() -> frozenset[str]:
    """File extensions that can be decoded here, in lower case with the dot: `.jpg`, `.png`, ..."""
    formats = {*_formats(), "MPO"}  # MPO is read by the JPEG reader and has no entry of its own
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


class UnreadableError(DataError):
    """The source is not a readable image. The message is only the reason; the caller adds the file's name."""


def decode(source: Path | bytes | Image.Image, bit_depth: int = FULL_DEPTH) -> Image.Image:
    """Decode to a loaded RGB image according to `DECODING_RULE`; `bit_depth` as in `to_rgb`. Thread-safe.

    Raises `DataError`, naming the file, if the source is missing, truncated, too large or not an image.
    """
    with quiet():
        try:
            return to_rgb(load(source), bit_depth)
        except (UnreadableError, MemoryError) as error:
            reason = OUT_OF_MEMORY if isinstance(error, MemoryError) else error
            where = repr(str(source)) if isinstance(source, Path) else "the image"
            raise DataError(f"{where} {reason}; replace or remove it.") from error


def load(source: Path | bytes | Image.Image) -> Image.Image:
    """Load the first frame as stored: its original mode, not rotated. Raises `UnreadableError`, or `MemoryError`.

    This and the next three functions are the steps of `decode`; call them within `quiet`.
    """
    try:
        if isinstance(source, Image.Image):
            _check_size(source)
            source.load()
            return source
        content = read_regular(source) if isinstance(source, Path) else source
        image = _open(content)
        _check_size(image)
        load_samples(image, content)
    except UnreadableError:
        raise
    except _BROKEN as error:
        raise UnreadableError(f"cannot be read as an image ({_reason(error)})") from error
    return image


def to_rgb(image: Image.Image, bit_depth: int = FULL_DEPTH) -> Image.Image:
    """Rotate, scale and convert a loaded image according to `DECODING_RULE`.

    `bit_depth`: bits that 16-bit samples really have. Raises `UnreadableError`, also for larger ones.
    """
    if bit_depth < FULL_DEPTH and (peak := largest_sample(image)) >> bit_depth:
        raise UnreadableError(f"has 16-bit values up to {peak}, more than {bit_depth} bits hold (`bit_depth`)")
    try:
        return _upright(_convert(image, bit_depth), orientation(image))
    except _BROKEN as error:
        raise UnreadableError(f"has mode {image.mode}, which cannot be converted to RGB ({_reason(error)})") from error


def largest_sample(image: Image.Image) -> int:
    """The largest sample, alpha apart, of a loaded image with samples of 16 bits; 0 for every other."""
    values = samples(image)
    return int(values.max()) if values is not None and values.dtype.itemsize == 2 else 0


def bit_depth_of(peak: int) -> int:
    """The smallest usual number of bits that holds samples up to `peak`; without any, all of them."""
    return next((depth for depth in BIT_DEPTHS if 0 < peak < 1 << depth), FULL_DEPTH)


def orientation(image: Image.Image) -> int:
    """EXIF orientation of a loaded image, 1 to 8; 1 = upright, also when the EXIF data is corrupt."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except _BROKEN:
        return 1
    return int(value) if value in _UPRIGHT else 1


def frames(image: Image.Image) -> int:
    """Number of frames in the file; only the first is used."""
    try:
        return int(getattr(image, "n_frames", 1))
    except _BROKEN:
        return 1


def _open(content: bytes) -> ImageFile:
    if not content:
        raise ValueError("the file is empty")
    return Image.open(io.BytesIO(content), formats=_formats())


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > LARGEST:
        raise UnreadableError(f"is too large ({image.width} x {image.height}; the limit is {LARGEST} pixels)")


def _convert(image: Image.Image, bit_depth: int) -> Image.Image:
    values = samples(image)
    if values is not None and values.dtype.itemsize == 2 and (image.mode.startswith("I") or bit_depth < FULL_DEPTH):
        return _with_alpha_of(image, Image.fromarray(_from_16_bit(values, bit_depth)))
    if image.mode == "I" and image.format == "PPM":  # Pillow has scaled it to 16 bits
        return Image.fromarray(_from_16_bit(np.asarray(image), FULL_DEPTH)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image) if values is None else values)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _with_alpha_of(image: Image.Image, scaled: Image.Image) -> Image.Image:
    rgb = scaled.convert("RGB")
    if image.mode != "RGBA":
        return rgb
    rgb.putalpha(image.getchannel("A"))
    return _over_white(rgb)


def _from_16_bit(values: np.ndarray, bit_depth: int) -> np.ndarray:
    """Scale integers in 0 to 2**bit_depth - 1 to uint8, rounded."""
    largest = (1 << bit_depth) - 1
    scaled: np.ndarray = np.clip((values.astype(np.int64) * 255 + largest // 2) // largest, 0, 255)
    return scaled.astype(np.uint8)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Stretch [H, W] numbers from their smallest to their largest finite value to uint8; 0 if all are equal."""
    finite = np.isfinite(values)
    known = values[finite].astype(np.float64)
    if known.size == 0 or known.min() == known.max():
        return np.zeros(values.shape, np.uint8)
    low, high = known.min(), known.max()
    scaled: np.ndarray = np.rint((np.where(finite, values, low).astype(np.float64) - low) / (high - low) * 255)
    return scaled.astype(np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow has no direct conversion from premultiplied gray
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _upright(image: Image.Image, turned: int) -> Image.Image:
    return image if turned == 1 else image.transpose(_UPRIGHT[turned])


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image format that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings (corrupt EXIF data, large images) in all threads.

    `warnings.catch_warnings` is not safe when threads enter and leave it in any order, so the first thread to enter
    sets the filter and the last to leave restores it.
    """
    global _quiet_depth, _quiet_filters
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
                _quiet_filters = None
