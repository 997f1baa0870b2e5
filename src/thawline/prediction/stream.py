"""Images as they come: decoded by threads beside the network, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from thawline.config import Preprocessing
from thawline.data.decode import OUT_OF_MEMORY, UnreadableError, load, quiet, to_rgb
from thawline.data.survey import in_order
from thawline.data.transform import Transform, eval_transform
from thawline.data.walk import as_text
from thawline.prediction.opened import PixelClassifier
from thawline.reading import read_regular
from thawline.results import Likelihood, Prediction, SkippedFile

BATCH = 64
BATCH_PIXELS = 64 * 512**2
"""Networks of larger images get fewer of them at a time."""

Decode = Callable[[bytes], np.ndarray]
Answer = Prediction | SkippedFile


@dataclass(frozen=True)
class Ranking:
    """What is said of an image: its likeliest classes."""

    classes: Sequence[str]
    top: int

    def of(self, path: str, probabilities: np.ndarray) -> Prediction:
        """The `top` likeliest of probabilities [C]."""
        order = np.argsort(-probabilities, kind="stable")[: self.top]
        top = [Likelihood(label=self.classes[index], probability=float(probabilities[index])) for index in order]
        return Prediction(path=path, top=top)


def predict_each(
    classifier: PixelClassifier, paths: Sequence[str], *, top: int, batch_size: int | None = None
) -> Generator[list[Answer]]:
    """The answers for every image in the order of `paths`, a list at a time; unreadable files have a reason instead.

    `batch_size`: images that the network gets at once; None = `usual_batch` of them. A few images per thread are
    decoded ahead, while the network computes.
    """
    at_once = batch_size or usual_batch(classifier.preprocessing)
    ranking = Ranking(classifier.classes, top)
    decode = decoder(classifier.preprocessing)
    waiting: list[np.ndarray | SkippedFile] = []
    names: list[str] = []
    readable = 0
    with quiet():
        for path, found in in_order(lambda path: (path, _decoded(path, decode)), paths, threads=0):
            names.append(as_text(path))
            waiting.append(found if isinstance(found, np.ndarray) else SkippedFile(path=names[-1], reason=found))
            readable += isinstance(found, np.ndarray)
            if readable == at_once or len(waiting) >= 4 * at_once:
                yield _answers(classifier, ranking, names, waiting)
                waiting, names, readable = [], [], 0
    if waiting:
        yield _answers(classifier, ranking, names, waiting)


def usual_batch(preprocessing: Preprocessing) -> int:
    """Images that the network gets at once: `BATCH`, or fewer large ones."""
    return max(1, min(BATCH, BATCH_PIXELS // preprocessing.image_size**2))


def decoder(preprocessing: Preprocessing) -> Decode:
    """From the bytes of a file to pixels [S, S, 3] uint8, within `quiet`; raises `UnreadableError` with the reason."""
    transform, depth = eval_transform(preprocessing), preprocessing.bit_depth
    return lambda content: _pixels(to_rgb(load(content), depth), transform)


def _pixels(image: Image.Image, transform: Transform) -> np.ndarray:
    small = transform(image)
    return np.frombuffer(small.tobytes(), np.uint8).reshape(small.height, small.width, 3)


def _decoded(path: str, decode: Decode) -> np.ndarray | str:
    """Pixels, or why there are none."""
    try:
        return decode(read_regular(Path(path)))
    except UnreadableError as error:
        return str(error)
    except MemoryError:
        return OUT_OF_MEMORY
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def _answers(
    classifier: PixelClassifier,
    ranking: Ranking,
    names: Sequence[str],
    found: Sequence[np.ndarray | SkippedFile],
) -> list[Answer]:
    readable = [pixels for pixels in found if isinstance(pixels, np.ndarray)]
    rows = iter(classifier.of_pixels(np.stack(readable)) if readable else ())
    return [
        each if isinstance(each, SkippedFile) else ranking.of(name, next(rows))
        for name, each in zip(names, found, strict=True)
    ]
