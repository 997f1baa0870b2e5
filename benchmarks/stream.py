"""Peak memory of a streamed run against the number of images, projected to a million.

    OMP_NUM_THREADS=1 python benchmarks/stream.py
    OMP_NUM_THREADS=1 python benchmarks/stream.py --images 1000 3000 --out /tmp/stream.json

Makes that many images of 32 x 32 pixels in ten classes in a temporary folder, fits a tiny network to them with
`--stream` in a process of its own (one epoch, a sample of 1,000 images, caches of a tenth of the pixels of 100,000
images), and takes the peak of its memory from Linux. Stops before a size whose run, in proportion to the last, would
pass the limit of time. Figures go to results/stream.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thawline.records import FORMAT_VERSION, environment, write_json

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
    found: list[dict[str, Any]] = []
    for count in options.images:
        if found and found[-1]["seconds"] * count / found[-1]["images"] > options.limit:
            print(f"{count:,} images would take longer than {options.limit} s; left out", flush=True)
            break
        with tempfile.TemporaryDirectory(prefix="thawline-stream-") as folder:
            found.append(measured(Path(folder), count, options.threads, options.limit))
        print(f"{count:,} images: {found[-1]['peak_mib']:,.0f} MiB at most, {found[-1]['seconds']:.0f} s", flush=True)
    slope, rest = projected([row["images"] for row in found], [row["peak_mib"] for row in found])
    record = {
        "format_version": FORMAT_VERSION,
        "command": "python benchmarks/stream.py",
        "environment": environment(device="cpu", threads=options.threads, command="python benchmarks/stream.py"),
        "side": SIDE,
        "cache_bytes": 2 * CACHE,
        "runs": found,
        "kib_per_image": slope * 1024,
        "mib_without_images": rest,
        "mib_at_a_million": rest + slope * MILLION,
        "pixels_mib_at_a_million": MILLION * SIDE * SIDE * 3 / 2**20,
    }
    write_json(options.out, record)
    print(f"{slope * 1024:.2f} KiB an image; at a million images {record['mib_at_a_million']:,.0f} MiB (projected)")
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


def projected(images: Sequence[int], peaks: Sequence[float]) -> tuple[float, float]:
    """Least squares: MiB per image, and MiB without images."""
    slope, rest = np.polyfit(images, peaks, 1) if len(images) > 1 else (0.0, peaks[0])
    return float(slope), float(rest)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1200.0, help="Seconds that a run may take.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
