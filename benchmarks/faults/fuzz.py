"""Family `fuzz`: the readers of plans, tables, recipes, ledgers, records and images, on mutated input."""

from __future__ import annotations

import functools
import io
import json
import random
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults import mutate
from benchmarks.faults.base import Base
from benchmarks.faults.outcomes import GOOD, Trial, Verdict
from thawline.config import Request
from thawline.data.decode import decode
from thawline.data.manifest import read_manifest
from thawline.errors import ThawlineError
from thawline.export.own_folder import read_own_folder
from thawline.export.timm_folder import read_timm_folder
from thawline.plan import FineTunePlan
from thawline.recipes.recipe import parse_recipe
from thawline.results import Comparison, FitResults, RunRecord
from thawline.runs.files import prediction_classes, read, read_predictions, read_splits
from thawline.runs.ledger import Ledger

INPUT_SECONDS = 5
"""For one input."""
_IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")
_MANIFEST = "path,label,split,group\n" + "".join(
    f"{n}.png,{'ab'[n % 2]},{('train', 'val')[n % 2]},g{n}\n" for n in range(8)
)


@dataclass(frozen=True)
class Reader:
    """One of our readers, and inputs that it takes."""

    name: str
    """Name of the file that it reads."""
    examples: Callable[[Base], list[bytes]]
    read: Callable[[Path], object]


class TooSlowError(Exception):
    """One input took too long."""


def _of_run(kind: str, file: str) -> Callable[[Base], list[bytes]]:
    return lambda base: [path.read_bytes() for path in sorted((base.state(kind) / "run").glob(file))]


def _recipes(_: Base) -> list[bytes]:
    folder = files("thawline") / "recipes"
    return [entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".toml")]


def _pictures(_: Base) -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    return [_picture(Image.fromarray(pixels), kind) for kind in _IMAGE_FORMATS]


def _picture(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def _own_model(_: Base) -> list[bytes]:
    preprocessing = {
        "image_size": 32,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    about = {"format_version": 1, "source": "net.py:make", "label_names": ["a", "b"], "preprocessing": preprocessing}
    return [json.dumps(about).encode()]


def _text(path: Path) -> str:
    """Text that a caller hands over has been decoded already."""
    return path.read_bytes().decode("utf-8", "replace")


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("plan.json", _of_run("probe", "plan.json"), lambda path: FineTunePlan.from_json(_text(path))),
        Reader("manifest.csv", lambda _: [_MANIFEST.encode()], read_manifest),
        Reader("recipe.toml", _recipes, lambda path: parse_recipe(_text(path), "recipe.toml")),
        Reader("ledger.journal", _of_run("probe", "ledger.journal"), lambda path: Ledger(path).records),
        Reader("run.json", _of_run("probe", "run.json"), lambda path: Request.from_dict(read(path, RunRecord).request)),
        Reader("results.json", _of_run("probe", "results.json"), lambda path: read(path, FitResults)),
        Reader("comparison.json", _of_run("compare", "comparison.json"), lambda path: read(path, Comparison)),
        Reader("config.json", _of_run("probe", "model/config.json"), lambda path: read_timm_folder(path.parent)),
        Reader("own_model.json", _own_model, lambda path: read_own_folder(path.parent)),
        Reader("splits.csv", _of_run("probe", "splits.csv"), read_splits),
        Reader(
            "predictions.csv",
            _of_run("probe", "predictions.csv"),
            lambda path: (prediction_classes(path), list(read_predictions(path))),
        ),
        Reader("image.png", _pictures, decode),
    )
}


@functools.cache
def _examples(base: Base, name: str) -> list[bytes]:
    return READERS[name].examples(base)


def draw(base: Base, number: int, seed: int) -> Trial:
    """The trial of that number."""
    name = f"fuzz-{seed}-{number}"
    rng = random.Random(name)
    reader = READERS[list(READERS)[number % len(READERS)]]
    content = rng.choice(_examples(base, reader.name))
    kinds = [rng.choice(mutate.mutations_for(reader.name)) for _ in range(rng.choice((1, 1, 1, 2, 5)))]

    def attempt(scratch: Path) -> Verdict:
        changed = content
        for kind in kinds:
            changed = kind(changed, rng)
        path = scratch / reader.name
        path.write_bytes(changed)
        return _tried(reader, path)

    return Trial(name, reader.name, f"{reader.name}: {', '.join(kind.__name__ for kind in kinds)}", attempt, GOOD)


def _tried(reader: Reader, path: Path) -> Verdict:
    """Accepted, or refused in one line of ours; anything else is a fault."""
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, INPUT_SECONDS)
    try:
        reader.read(path)
    except ThawlineError as error:
        lines = len(str(error).splitlines())
        return Verdict("one_line", str(error)[:300]) if lines == 1 else Verdict("traceback", f"{lines} lines: {error}")
    except TooSlowError:
        return Verdict("hang", f"more than {INPUT_SECONDS} s")
    except BaseException as error:  # noqa: BLE001  # the point: whatever else it raises is a fault
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict("traceback", f"{error!r:.200} ({Path(where.filename).name}:{where.lineno})")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Verdict("held")


def _too_slow(*_: object) -> None:
    raise TooSlowError
