"""Peak memory of a streamed run against the number of images.

    OMP_NUM_THREADS=1 python benchmarks/stream.py
    OMP_NUM_THREADS=1 python benchmarks/stream.py --images 1000 3000 --out /tmp/stream.json

Makes that many images of 32 x 32 pixels in ten classes in a temporary folder, fits a tiny network to them with
`--stream` in a process of its own (one epoch, a sample of 1,000 images, caches of a tenth of the pixels of 100,000
images), and takes the peak of its memory from Linux. Stops before a size whose run, in proportion to the last, would
pass the limit of time. Then, without any file, everything that a run keeps of each image is made for 100,000 and for a
million: paths, facts, checks, splits, orders, augmentation. Figures go to results/stream.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from thawline.config import DataConfig
from thawline.data.augment import Augmenter
from thawline.data.check import check
from thawline.data.sources import Item, image_set
from thawline.data.splits import draw_splits, nested_subset
from thawline.data.survey import Facts
from thawline.records import FORMAT_VERSION, environment, fingerprint, write_json
from thawline.runs.files import write, write_splits
from thawline.runs.setup import split_lines
from thawline.training.balance import draw_order_in_shards

RESULTS = Path(__file__).parent / "results" / "stream.json"
SIDE, CLASSES, MILLION = 32, 10, 1_000_000
CACHE = 100_000 * SIDE * SIDE * 3 // 10 // 2
"""Bytes in memory and as many on disk: together a tenth of the pixels of 100,000 images."""
NETWORK = """
from torch import nn


def tiny(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 2, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
OPTIONS = (
    *("--strategy", "full", "--learning-rate", "0.001", "--image-size", f"{SIDE}"),
    *("--epochs", "1", "--augment", "mild", "--stream", "--search-images", "1000", "--device", "cpu", "--no-explain"),
    *("--cache-memory", f"{CACHE}", "--cache-disk", f"{CACHE}"),
)


def main() -> int:
    """Measure, project, write the JSON."""
    options = _options()
    if options.keep is not None:
        print(json.dumps(keep(options.keep)))
        return 0
    found: list[dict[str, Any]] = []
    for count in options.images:
        if found and found[-1]["seconds"] * count / found[-1]["images"] > options.limit:
            print(f"{count:,} images would take longer than {options.limit} s; left out", flush=True)
            break
        with tempfile.TemporaryDirectory(prefix="thawline-stream-") as folder:
            found.append(measured(Path(folder), count, options.threads, options.limit))
        print(f"{count:,} images: {found[-1]['peak_mib']:,.0f} MiB at most, {found[-1]['seconds']:.0f} s", flush=True)
    kept = [_kept_of(count, options.limit) for count in options.kept]
    for row in kept:
        print(
            f"kept of {row['images']:,} images: {row['kept_mib']:,.0f} MiB, {row['peak_mib']:,.0f} at most", flush=True
        )
    record = {
        "format_version": FORMAT_VERSION,
        "command": "python benchmarks/stream.py",
        "environment": environment(device="cpu", threads=options.threads, command="python benchmarks/stream.py"),
        "side": SIDE,
        "cache_bytes": 2 * CACHE,
        "runs": found,
        "kept": kept,
        "pixels_mib_at_a_million": MILLION * SIDE * SIDE * 3 / 2**20,
    }
    write_json(options.out, record)
    return 0


def measured(folder: Path, count: int, threads: int, limit: float) -> dict[str, Any]:
    """Peak memory in MiB and wall time in seconds of one streamed run on `count` new images."""
    make_images(folder / "images", count)
    (folder / "tiny.py").write_text(NETWORK)
    model = f"{folder / 'tiny.py'}:tiny"
    command = [sys.executable, "-m", "thawline", "fit", str(folder / "images"), "--out", str(folder / "run")]
    command += ["--model", model, "--threads", str(threads), *OPTIONS]
    began = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        environment = {**os.environ, "THAWLINE_CACHE": str(folder / "cache")}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_kib(process.pid))
            if time.monotonic() - began > limit:
                process.kill()
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the run on {count:,} images failed:\n{(folder / 'output.txt').read_text()[-2000:]}")
    return {"images": count, "peak_mib": peak / 1024, "seconds": time.monotonic() - began}


def peak_kib(pid: int) -> int:
    """Peak memory of a process without its children, in KiB; 0 once it has ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0


def make_images(root: Path, count: int) -> None:
    """So many noisy squares of ten brightnesses, all different files."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"{label}").mkdir(parents=True)
    for number in range(count):
        pixels = generator.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8) + np.uint8(20 * (number % CLASSES))
        Image.fromarray(pixels).save(root / f"{number % CLASSES}" / f"{number:07}.jpg")


def _kept_of(count: int, limit: float) -> dict[str, Any]:
    """`keep` in a process of its own; nothing but the number of images if that takes too long."""
    command = [sys.executable, __file__, "--keep", str(count)]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit).stdout
    except subprocess.TimeoutExpired:
        return {"images": count, "kept_mib": math.nan, "peak_mib": math.nan}
    return dict(json.loads(output))


def keep(count: int) -> dict[str, Any]:
    """MiB that a run keeps of so many images besides their pixels, and that making it takes at most, both added."""
    before, _ = memory()
    root = Path("/photos")
    images = image_set(root, [Item(root / f"{n % CLASSES}" / f"{n:07}.jpg", f"{n % CLASSES}") for n in range(count)])
    facts = [_fact(number) for number in range(count)]
    found = check(images, facts=facts)
    splits = draw_splits(images, found.hashes, DataConfig(), skip=found.unreadable)
    paths = tuple(images.name(item) for item in images.items)
    key = fingerprint(paths, images.targets, images.classes, splits.assignment)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "check.json"), found.result())
        write_splits(Path(folder, "splits.csv"), split_lines(images, splits))
    labels = torch.tensor(images.targets)[splits.indices("train")]
    orders = nested_subset(labels.numpy(), 10_000, 0), draw_order_in_shards(labels, "none", 0, 0)
    augmenter = Augmenter(count, views=4, seed=0)
    augmenter.draws(0)
    after, peak = memory()
    del images, facts, found, splits, paths, key, labels, orders, augmenter  # all of it was needed until here
    return {"images": count, "kept_mib": after - before, "peak_mib": peak - before}


def _fact(number: int) -> Facts:
    name = str(number).encode()
    look = md5(name, usedforsecurity=False).hexdigest()
    return Facts(sha256(name).hexdigest(), None, "JPEG", "RGB", 320 + number % 100, 400, difference_hash=look)


def memory() -> tuple[float, float]:
    """Memory of this process, now and at most, in MiB."""
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    found = {words[0]: int(words[1]) / 1024 for words in lines if words[0] in ("VmRSS:", "VmHWM:")}
    return found["VmRSS:"], found["VmHWM:"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--kept", type=int, nargs="*", default=[100_000, MILLION])
    parser.add_argument("--keep", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1200.0, help="Seconds that a run may take.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
