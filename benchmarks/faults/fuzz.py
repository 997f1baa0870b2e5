"""Family `fuzz`: the readers of options, plans, tables, recipes, ledgers, records and images, on mutated input."""

from __future__ import annotations

import dataclasses
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
from typing import cast

import numpy as np
from PIL import Image

from benchmarks.faults import mutate, pictures
from benchmarks.faults.base import Base
from benchmarks.faults.outcomes import GOOD, Trial, Verdict
from thawline.config import FitOptions, Preprocessing, Request, read_option
from thawline.data.decode import decode
from thawline.data.sources import read_images
from thawline.data.survey import examine
from thawline.data.transform import eval_transform
from thawline.errors import ThawlineError
from thawline.exports.own_folder import read_own_folder
from thawline.exports.timm_folder import read_timm_folder
from thawline.plan import FineTunePlan
from thawline.ranges import Kind, kinds
from thawline.recipes.recipe import parse_recipe
from thawline.results import Comparison, FitResults, RunRecord
from thawline.runs.files import prediction_classes, read, read_predictions, read_splits
from thawline.runs.ledger import Ledger
from thawline.strategies import OWN_STRATEGIES
from thawline.strategies.auto import with_budget
from thawline.strategies.base import split_specs, strategy_class, variants

INPUT_SECONDS = 5
"""Seconds for one input."""
_IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")
_MANIFEST = "path,label,split,group\n" + "".join(
    f"{n}.png,{'ab'[n % 2]},{('train', 'val')[n // 2 % 2]},g{n}\n" for n in range(8)
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
    deep = np.random.default_rng(0).integers(0, 4095, (24, 24, 4), dtype=np.uint16)
    return [
        *(_picture(Image.fromarray(pixels), kind) for kind in _IMAGE_FORMATS),
        *(_picture(Image.fromarray(deep[..., 0]), kind) for kind in ("PNG", "TIFF", "JPEG2000")),
        *(_picture(Image.fromarray(deep[..., 0].astype(kind)), "TIFF") for kind in (np.float32, np.int32)),
        *(
            pictures.png(deep, 6),
            pictures.png(deep[..., :2], 4),
            pictures.pnm(deep[..., :3]),
            pictures.pnm(deep[..., 0]),
        ),
        *(
            pictures.tiff(deep[..., :3], planar=planar, deflate=deflate)
            for planar in (False, True)
            for deflate in (False, True)
        ),
        pictures.tiff(deep.astype(np.uint32)[..., 0]),
    ]


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


def _options(_: Base) -> list[bytes]:
    """Every option that is a number, a size or a strategy, as people give them."""
    numbers = [f"{name}={_plausible(kind)}" for name, kind in kinds(FitOptions).items() if _is_number(kind)]
    others = ("cache_memory=500M", "cache_disk=1.5G", "budget=30m", "budget=40candidates", "preset=paper")
    arguments = [
        f"strategy={name}:{field.name}={field.default}"
        for name in OWN_STRATEGIES
        for field in dataclasses.fields(strategy_class(name))
    ]
    return [line.encode() for line in (*numbers, *others, *arguments, "strategy=auto:budget=5x,sampler=tpe")]


def _is_number(kind: Kind) -> bool:
    return kind.types[0] in (int, float)


def _plausible(kind: Kind) -> str:
    return "0.5" if float in kind.types else "12"


def _read_options(path: Path) -> object:
    """Read the numbers and check everything, like the command line."""
    given: dict[str, object] = {}
    for line in _text(path).splitlines():
        name, _, text = line.partition("=")
        numeric = name in kinds(FitOptions) and _is_number(kinds(FitOptions)[name])
        given[name] = read_option(FitOptions, name, text) if numeric else text
    strategy = with_budget(str(given.get("strategy", "auto")), cast("str | None", given.get("budget")))
    for spec in split_specs(strategy):
        variants(spec)
    return Request.from_options("fit", "photos", (strategy,), given)


def _read_manifest(path: Path) -> object:
    """Read a table of images for scoring, then for training."""
    return read_images(path, known=("a", "b")), read_images(path)


def _look_at(path: Path) -> object:
    """Decode a picture like `check`, like a training at 12 bits, and by itself."""
    for depth in (16, 12):
        examine(path, eval_transform(Preprocessing(32, "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)), depth)
    return decode(path)


def _text(path: Path) -> str:
    """Text that a caller hands over has been decoded already."""
    return path.read_bytes().decode("utf-8", "replace")


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("plan.json", _of_run("probe", "plan.json"), lambda path: FineTunePlan.from_json(_text(path))),
        Reader("manifest.csv", lambda _: [_MANIFEST.encode()], _read_manifest),
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
        Reader("image.png", _pictures, _look_at),
        Reader("fit.options", _options, _read_options),
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
