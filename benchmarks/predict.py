"""`predict` at scale: memory for many paths, a kill in the middle, and images per second against timm's own loader.

    OMP_NUM_THREADS=1 python -m benchmarks.predict --shared ../shared memory
    OMP_NUM_THREADS=1 python -m benchmarks.predict --shared ../shared speed

`memory`: 1,000 and 100,000 paths, then the latter killed half-way and repeated. `speed`: beside plain timm with a
DataLoader. One thread computes, because the machine is shared: where others take a core of it, OpenMP threads wait for
each other most of the time.

Paths are symbolic links to the images of one set, named in a list. MobileNetV2 x0.5 with a random head of ten classes:
what is measured does not depend on what it answers. Results go to results/predict/PART.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch

from benchmarks.commit import commit
from thawline.config import PredictOptions
from thawline.exports.timm_folder import save_timm_folder
from thawline.model.load import load_model
from thawline.prediction import written
from thawline.prediction.opened import open_classifier
from thawline.prediction.predict import open_predict
from thawline.records import environment, write_json

RESULTS = Path(__file__).parent / "results" / "predict"
CLASSES = tuple(f"class {number}" for number in range(10))
FEW, MANY = 1_000, 100_000
REPEATS = 7


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("memory", "speed"))
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and weights/")
    parser.add_argument("--runs", type=Path, default=Path("runs/predict"), help="for links, models and predictions")
    parser.add_argument("--many", type=int, default=MANY, help="paths of the long list")
    options = parser.parse_args()
    at = commit()  # before files change
    found = (
        memory(options.shared, options.runs, options.many)
        if options.part == "memory"
        else speed(options.shared, options.runs)
    )
    about = environment(device="cpu", threads=torch.get_num_threads())
    write_json(RESULTS / f"{options.part}.json", {"commit": at, "environment": about.to_dict(), **found})
    print(found)


def model(shared: Path, runs: Path, image_size: int) -> Path:
    """A timm folder of MobileNetV2 x0.5 at a size."""
    folder = runs / f"mobilenetv2_050-{image_size}"
    loaded = load_model(f"local-dir:{shared / 'weights' / 'mobilenetv2_050'}", len(CLASSES), image_size=image_size)
    save_timm_folder(
        folder,
        loaded.module,
        architecture=loaded.architecture,
        label_names=CLASSES,
        preprocessing=loaded.preprocessing,
        model_args=loaded.model_args,
        pretrained_cfg=loaded.pretrained_cfg,
        thawline={},
        card="",
    )
    return folder


def links(source: Path, folder: Path, count: int) -> Path:
    """A list of `count` symbolic links to the images in `source`, each with a name of its own."""
    images = sorted(path.resolve() for path in source.rglob("*") if path.suffix in (".jpg", ".png"))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        link = folder / f"{number:06}{images[number % len(images)].suffix}"
        if not link.is_symlink():
            link.symlink_to(images[number % len(images)])
    listed = folder.parent / f"{count}.txt"
    names = sorted(path.name for path in folder.iterdir())[:count]
    listed.write_text("".join(f"{folder.name}/{name}\n" for name in names), encoding="utf-8")
    return listed


def memory(shared: Path, runs: Path, many: int) -> dict[str, object]:
    """Peak memory of whole commands, and what a kill half-way leaves."""
    folder = model(shared, runs, 64)
    found: dict[str, object] = {"load_before": os.getloadavg()}
    for count in (FEW, many):
        listed = links(shared / "data" / "eurosat", runs / "links", count)
        file = runs / f"{count}.csv"
        file.unlink(missing_ok=True)
        found[f"{count}"] = _run(folder, listed, file) | {"images": len(_images(file))}
    file = runs / "killed.csv"
    file.unlink(missing_ok=True)
    killed = _run(folder, listed, file, kill_at=many * 150)
    half = len(_images(file))
    again = _run(folder, listed, file)
    same = file.read_bytes() == (runs / f"{many}.csv").read_bytes()
    counts = _images(file)
    found["killed"] = killed | {"images": half}
    found["repeated"] = again | {"images": len(counts), "each_once": set(counts.values()) == {1}, "same_file": same}
    return found | {"load_after": os.getloadavg()}


def _run(folder: Path, listed: Path, file: Path, kill_at: int | None = None) -> dict[str, object]:
    """Run the command, killed when its file has so many bytes; wall time and the peak memory of the process."""
    command = [sys.executable, "-m", "thawline", "predict", str(folder), str(listed), "--csv", str(file)]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while kill_at is not None and not (file.exists() and file.stat().st_size > kill_at):
        time.sleep(0.1)
    if kill_at is not None:
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    return {"exit": status, "seconds": time.monotonic() - start, "peak_kib": usage.ru_maxrss}


def _images(file: Path) -> dict[str, int]:
    """How often each image is in a file, read without our own reader."""
    with file.open(newline="", encoding="utf-8") as stream:
        found: dict[str, int] = {}
        for row in csv.DictReader(stream):
            if row["rank"] == "1" or row["error"]:
                found[row["path"]] = found.get(row["path"], 0) + 1
        return found


def speed(shared: Path, runs: Path) -> dict[str, object]:
    """Images a second of both, in turn; opening the model and finding the files are not counted."""
    found: dict[str, object] = {"load_before": os.getloadavg()}
    cases = {"eurosat, 64 px": ("eurosat", 64, 2_500), "dtd10, 224 px": ("dtd10", 224, 1_200)}
    for name, (data, size, count) in cases.items():
        folder = model(shared, runs, size)
        source = shared / "data" / data
        ways: dict[str, Callable[[], float]] = {
            "thawline": lambda folder=folder, source=source: csv_seconds(folder, source, runs),  # type: ignore[misc]
            **{
                f"timm, {workers} workers": lambda folder=folder, source=source, workers=workers: _timm(  # type: ignore[misc]
                    folder, source, runs, workers
                )
                for workers in (1, 2)
            },
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(REPEATS):
            for way, measure in ways.items():
                rates[way].append(count / measure())
        found[name] = {
            "images": count,
            **{
                way: {"median": statistics.median(each), "low": min(each), "high": max(each), "n": len(each)}
                for way, each in rates.items()
            },
        }
    return found | {"load_after": os.getloadavg()}


def csv_seconds(folder: Path, source: Path, runs: Path) -> float:
    """Seconds of `predict --csv` once the model is open and the images are found."""
    call = open_predict(open_classifier(folder), source, PredictOptions())
    file = runs / "speed.csv"
    file.unlink(missing_ok=True)
    with written.opened(file) as stream:
        written.take_up(stream, file, "csv", call.ranks)
        start = time.perf_counter()
        for answers in call.answers():
            written.append(stream, "csv", answers)
        return time.perf_counter() - start


def _timm(folder: Path, source: Path, runs: Path, workers: int) -> float:
    """What a user of timm writes: a loader with worker processes, and a table."""
    timm_data: Any = timm.data
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    settings = timm_data.resolve_model_data_config(network)
    dataset = timm_data.ImageDataset(str(source))
    loader = timm_data.create_loader(
        dataset,
        settings["input_size"],
        batch_size=64,
        is_training=False,
        use_prefetcher=False,
        interpolation=settings["interpolation"],
        mean=settings["mean"],
        std=settings["std"],
        crop_pct=settings["crop_pct"],
        num_workers=workers,
        pin_memory=False,
        persistent_workers=False,
    )
    names = dataset.filenames(absolute=True)
    with (runs / "speed-timm.csv").open("w", newline="", encoding="utf-8") as stream, torch.inference_mode():
        table = csv.writer(stream)
        start = time.perf_counter()
        done = 0
        for images, _ in loader:
            likeliest = network(images).softmax(dim=1).topk(5)
            for values, indices in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True):
                for rank, (value, index) in enumerate(zip(values, indices, strict=True), start=1):
                    table.writerow((names[done], rank, CLASSES[index], f"{value:.6f}", ""))
                done += 1
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
