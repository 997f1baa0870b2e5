"""How fast `check` and the pixel store go through tiny images, in images/s against Pillow alone on one core.

    python benchmarks/pixel_store.py --images 10000 --side 64 --repeats 7 --out pixel_store.json

Every repetition runs all ways once, one after the other and from another start each time, on the same files and pinned
to the same core. `survey` is the part of `check` that reads and decodes (SHA-256, EXIF, difference hash); `check` also
lists and sorts the files, writes its memory and looks for copies. Tiny images are the hardest case: whatever is done
per file weighs most. The growth of our ways' memory is measured in new processes, for a tenth of the images and for
all. Ratios above 1 mean that ours is faster.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import PIL
import timm
import torch
from PIL import Image, features
from timm.data.transforms_factory import create_transform

import thawline
from thawline.config import Preprocessing
from thawline.data.check import check
from thawline.data.facts_cache import survey_again
from thawline.data.pixels import build_pixels
from thawline.data.sources import read_images
from thawline.data.survey import survey

CLASSES = 10
WAYS = {"survey": "pillow decode", "check": "pillow decode", "build_pixels": "pillow and timm"}
"""Ours, and what each is compared with."""


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = _options()
    if options.memory_of:
        _measure_memory(options)
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="pixel_store-") as name:
        folder = Path(name)
        make_images(folder / "images", options)
        runs = measure(folder, options)
        memory = {way: _memory(folder, way, options) for way in WAYS} if sys.platform == "linux" else None
    result = {**_about(options), "ways": summary(runs, options.images), "memory_growth_mib": memory}
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def make_images(root: Path, options: argparse.Namespace) -> None:
    """Smooth random pictures with some noise, all different, in `root`/{class}/{number}."""
    random = np.random.default_rng(0)
    side = options.side
    for number in range(options.images):
        folder = root / f"class{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:06}.{options.format}", quality=90)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """Seconds of wall time and of processor time of every repetition, after one that is not counted."""
    ways = _ways(folder, options)
    names = list(ways)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repetition in range(-1, options.repeats):
        start = repetition % len(names)
        for name in names[start:] + names[:start]:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            gc.collect()  # what one way leaves behind is not swept up in another's time
            wall, processor = time.perf_counter(), time.process_time()
            done = ways[name]()
            took = time.perf_counter() - wall, time.process_time() - processor
            if done != options.images:
                raise SystemExit(f"{name} went through {done} of {options.images} images.")
            if repetition >= 0:
                runs[name].append(took)
    return runs


def summary(runs: dict[str, list[tuple[float, float]]], images: int) -> dict[str, Any]:
    """Images/s of every way, and of ours the ratio to Pillow's, taken within each repetition."""
    ways: dict[str, Any] = {}
    for name, pairs in runs.items():
        ways[name] = {
            "images_per_second": _spread([images / wall for wall, _ in pairs]),
            "images_per_processor_second": _spread([images / processor for _, processor in pairs]),
        }
    for ours, theirs in WAYS.items():
        both = list(zip(runs[ours], runs[theirs], strict=True))
        ways[ours]["against"] = theirs
        ways[ours]["ratio"] = _spread([other[0] / own[0] for own, other in both])
        ways[ours]["ratio_of_processor_time"] = _spread([other[1] / own[1] for own, other in both])
    return ways


def _ways(folder: Path, options: argparse.Namespace) -> dict[str, Callable[[], int]]:
    """Each finds the files itself and returns how many images it went through."""
    images, cache, preprocessing = folder / "images", folder / "cache", _preprocessing(options)
    transform = create_transform(
        input_size=(3, options.store_side, options.store_side),
        is_training=False,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        normalize=False,
    )

    def pillow_decode() -> int:
        count = 0
        for path in sorted(images.rglob(f"*.{options.format}")):
            with Image.open(path) as image:
                image.convert("RGB")
            count += 1
        return count

    def pillow_and_timm() -> int:
        count = 0
        for path in sorted(images.rglob(f"*.{options.format}")):
            with Image.open(path) as image:
                transform(image.convert("RGB"))
            count += 1
        return count

    def our_survey() -> int:
        paths = sorted(images.rglob(f"*.{options.format}"))
        return sum(image.facts.error is None for image in survey(paths, threads=1))

    def our_check() -> int:
        found = read_images(images)
        facts = survey_again(found.paths, root=found.root, cache=cache, threads=1)
        return sum(check(found, facts=facts).class_counts.values())

    def our_store() -> int:
        return len(build_pixels(read_images(images).paths, preprocessing, cache=cache, threads=1).array)

    return {
        "pillow decode": pillow_decode,
        "survey": our_survey,
        "check": our_check,
        "pillow and timm": pillow_and_timm,
        "build_pixels": our_store,
    }


def _preprocessing(options: argparse.Namespace) -> Preprocessing:
    grey = (0.5, 0.5, 0.5)
    return Preprocessing(options.store_side, "bicubic", options.crop_pct, "center", grey, grey)


def _memory(folder: Path, way: str, options: argparse.Namespace) -> dict[str, float]:
    """Growth of the resident memory in MiB, by number of images, each in a new process."""
    peaks = {}
    for images in (options.images // 10, options.images):
        shutil.rmtree(folder / "some", ignore_errors=True)
        for path in sorted((folder / "images").rglob(f"*.{options.format}"), key=lambda path: path.name)[:images]:
            target = folder / "some" / "images" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
        arguments = [sys.executable, __file__, *sys.argv[1:], "--memory-of", way, str(folder / "some")]
        run = subprocess.run(arguments, check=True, capture_output=True, text=True)
        peaks[str(images)] = float(run.stdout)
    return peaks


def _measure_memory(options: argparse.Namespace) -> None:
    """Print by how many MiB one run raises the resident memory at most; libraries and their start are not counted."""
    way, folder = options.memory_of
    run = _ways(Path(folder), options)[way]
    before = _status("VmRSS")
    run()
    print(round(_status("VmHWM") - before, 1))


def _status(field: str) -> float:
    """MiB of this process, from Linux; getrusage would count the parent's peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(median(values), 3),
        "smallest": round(min(values), 3),
        "largest": round(max(values), 3),
        "n": len(values),
    }


def _about(options: argparse.Namespace) -> dict[str, Any]:
    arguments = [Path(path).name if os.sep in path else path for path in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/pixel_store.py", *arguments]),
        "images": options.images,
        "side": options.side,
        "format": options.format,
        "store_side": options.store_side,
        "crop_pct": options.crop_pct,
        "repeats": options.repeats,
        "processor": _processor(),
        "cores_used": 1,
        "cores": os.cpu_count(),
        "load_average_at_end": [round(load, 1) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": {
            "thawline": thawline.__version__,
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "libjpeg-turbo": features.version("libjpeg_turbo"),
            "zlib": features.version("zlib"),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=64, help="pixels of the images' sides")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg")
    parser.add_argument("--store-side", type=int, default=64, help="pixels of the network's input")
    parser.add_argument("--crop-pct", type=float, default=0.875)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)  # a way and a folder: the child process's part
    return parser.parse_args()


if __name__ == "__main__":
    main()
