"""Exports a saved model for other runtimes, and verifies it: opened by them in a fresh process, on image files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from thawline.callback import Callback
from thawline.config import ExportOptions
from thawline.data.decode import DECODING_RULE
from thawline.data.sources import find_images
from thawline.data.survey import survey
from thawline.data.transform import eval_transform
from thawline.errors import DataError, OptionError, RunError, RunFolderError, written_to
from thawline.exports import reopen
from thawline.exports.escaping import one_line
from thawline.exports.example import EXAMPLE_FILE, SETTINGS_FILE, example
from thawline.exports.graph import FromPixels
from thawline.exports.programs import MODEL_FILES, ONNX_FILE, OPSET, require_extra, write_program
from thawline.exports.quantize import CALIBRATION_IMAGES, predicted, quantize
from thawline.exports.writing import EXPORT_FILE, LABELS_FILE, plain_json, whole_folder
from thawline.formatting import counted, figure
from thawline.model.trust import Trust
from thawline.reading import is_there
from thawline.records import FORMAT_VERSION, json_bytes
from thawline.results import ExportResult, FitResults, Int8
from thawline.runs.classifier import Classifier
from thawline.runs.files import RESULTS, SPLITS, read
from thawline.runs.listed import Listed, listed
from thawline.runs.sealed import is_expected
from thawline.sums import SUMS_FILE

TOLERANCE = 1e-4
"""Largest difference of a probability between an fp32 export and `predict`."""
BATCHES = (1, 3, 8)
LEAST_FILES = 8
BATCH = 16
"""Images at a time where int8 is calibrated and scored."""


def export(
    folder: Path, out: Path, options: ExportOptions, *, images: Sequence[Path], trust: Trust, callback: Callback
) -> ExportResult:
    """Write `out` whole or not at all; see `api.export`."""
    require_extra(options.to)
    _refuse_others(out)
    classifier = Classifier(folder, trust)
    own = _of_the_run(folder)
    if options.int8:
        _require_images(own)
    files, expected = _to_verify(classifier, images, own)
    settings = _settings(classifier)
    texts = {
        SETTINGS_FILE: plain_json(SETTINGS_FILE, settings),
        EXAMPLE_FILE: example(options.to, classifier.preprocessing),
        LABELS_FILE: "".join(f"{one_line(name)}\n" for name in classifier.classes),
    }
    models = MODEL_FILES[options.to]
    with (
        written_to(out),
        _no_new_parent(out),
        whole_folder(out, texts, (*models, EXPORT_FILE), mark=EXPORT_FILE) as partial,
    ):
        callback.note(f"Writing {out}: {classifier.folder} as {options.to}.")
        network = FromPixels(classifier.network, classifier.preprocessing, classifier.temperature)
        metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
        write_program(options.to, partial, network, classifier.preprocessing.image_size, metadata)
        callback.note(f"Verifying the export on {counted(len(files), 'image file')} in a fresh process.")
        found = _reopened(partial, files)
        _require_same(found, expected, files, classifier, out)
        int8 = None
        if options.int8:
            callback.note("Quantizing to int8, calibrated on training images, and scoring on validation images.")
            int8 = _quantized(partial, classifier, own, found)
            found = _reopened(partial, files)
            _require_accurate(int8, found, options.max_loss)
        result = ExportResult(
            format_version=FORMAT_VERSION,
            format=options.to,
            precision="int8" if int8 else "fp32",
            model=str(classifier.folder),
            folder=str(out),
            files={name: (partial / name).stat().st_size for name in models},
            images=len(files),
            batches=BATCHES,
            largest_difference=float(np.abs(found.probabilities - expected).max()),
            agreeing=int((found.probabilities.argmax(axis=1) == expected.argmax(axis=1)).sum()),
            milliseconds=found.milliseconds,
            temperature=classifier.temperature,
            packages=found.packages,
            opset=OPSET if options.to == "onnx" else None,
            int8=int8,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (partial / EXPORT_FILE).write_bytes(json_bytes(result))
    return result


def _refuse_others(out: Path) -> None:
    """Raise `RunFolderError` if an earlier export, which would be replaced, holds files that no export writes."""
    ours = {SETTINGS_FILE, EXAMPLE_FILE, LABELS_FILE, EXPORT_FILE, SUMS_FILE, "__pycache__"}
    ours.update(*MODEL_FILES.values())
    names = {path.name for path in out.iterdir()} if (out / EXPORT_FILE).is_file() else set()
    if others := sorted(names - ours):
        raise RunFolderError(f"{out / others[0]} was not written by an export; move it away, or choose another `out`.")


@contextmanager
def _no_new_parent(out: Path) -> Iterator[None]:
    """Remove the folder around `out` again, if it was made for an export that failed."""
    was_there = out.parent.exists()
    try:
        yield
    except BaseException:
        if not was_there:
            with suppress(OSError):
                out.parent.rmdir()
        raise


def _settings(classifier: Classifier) -> dict[str, object]:
    """preprocessing.json, and the metadata of the model's file: all that is needed beside the graph."""
    return {
        "format_version": FORMAT_VERSION,
        "input": "images: uint8 [N, image_size, image_size, 3], RGB, 0 to 255; the graph normalizes them",
        "output": "probabilities: float32 [N, classes], after the temperature and the softmax",
        **asdict(classifier.preprocessing),
        "temperature": classifier.temperature,
        "labels": list(classifier.classes),
        "decoding": DECODING_RULE,
    }


def _of_the_run(folder: Path) -> Sequence[Listed]:
    """The training and validation images of a run, validation first; empty if the folder is not a `fit` run.

    Test images are left alone: nothing here may depend on them.
    """
    if not all(is_expected(folder / name) for name in (RESULTS["fit"], SPLITS)):
        return ()
    rows = listed(folder, Path(read(folder / RESULTS["fit"], FitResults).data.root))
    return sorted((row for row in rows if row.split in ("val", "train")), key=lambda row: row.split != "val")


def _require_images(own: Sequence[Listed]) -> None:
    """Raise an error unless the images that int8 is calibrated and scored with are there, before minutes are spent."""
    if {row.split for row in own} != {"train", "val"}:
        raise OptionError("`int8` needs training and validation images; pass the run folder of a finished fit.")
    if gone := [row.path for row in own if not is_there(row.path)]:
        raise DataError(
            f"`int8` needs the images of the run, but {len(gone)} of {len(own)} are missing ({str(gone[0])!r}); "
            "restore them."
        )


def _to_verify(classifier: Classifier, named: Sequence[Path], own: Sequence[Listed]) -> tuple[list[Path], np.ndarray]:
    """Files to verify with, spread evenly, and their probabilities [n, C] by the saved model in PyTorch."""
    val = [row.path for row in own if row.split == "val"]
    paths = find_images(named)[0] if named else val if len(val) >= LEAST_FILES else [row.path for row in own]
    wanted = min(sum(BATCHES), len(paths))
    chosen = [paths[number * len(paths) // wanted] for number in range(wanted)]
    probabilities, positions, _ = classifier.probabilities(chosen)
    if len(positions) < LEAST_FILES:
        there = "" if named or own else f"{classifier.folder} does not belong to a run, so "
        raise DataError(
            f"{there}`images` must name at least {LEAST_FILES} image files to verify the export with; "
            f"{len(positions)} can be read."
        )
    return [chosen[position] for position in positions], probabilities


@dataclass(frozen=True)
class _Found:
    """What the fresh process found."""

    probabilities: np.ndarray
    """[n, C], in the order of the files."""
    pixels: Sequence[int]
    """Sums of the pixels of every file."""
    milliseconds: Mapping[str, float]
    packages: Mapping[str, str]


def _reopened(folder: Path, files: Sequence[Path]) -> _Found:
    """Classify the files in a fresh process, by the script in the folder; raises `RunError` if it fails."""
    batches = list(_batches(files))
    with tempfile.TemporaryDirectory() as elsewhere:  # so that nothing is imported from the current folder
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", str(Path(reopen.__file__).resolve()), str(folder.resolve())],
            input=json.dumps([[str(path.resolve()) for path in batch] for batch in batches]),
            capture_output=True,
            text=True,
            cwd=elsewhere,
        )
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit {done.returncode}")
        raise RunError(f"the exported model cannot be opened by its runtime ({last.strip()}); nothing was written.")
    answer = json.loads(done.stdout.splitlines()[-1])
    by_file = {
        path: (row, pixels)
        for batch, rows, sums in zip(batches, answer["probabilities"], answer["pixels"], strict=True)
        for path, row, pixels in zip(batch, rows, sums, strict=True)
    }
    rows = np.array([by_file[path][0] for path in files], np.float64)
    return _Found(rows, [by_file[path][1] for path in files], answer["milliseconds"], answer["packages"])


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Batches of every size that together have all files; with few files, some are in several."""
    start = 0
    for size in BATCHES:
        begin = min(start, len(files) - size)
        yield files[begin : begin + size]
        start += size


def _require_same(
    found: _Found, expected: np.ndarray, files: Sequence[Path], classifier: Classifier, out: Path
) -> None:
    """Raise `RunError` if any probability differs by more than `TOLERANCE`, naming the file and the likely cause."""
    differences = np.abs(found.probabilities - expected).max(axis=1)
    worst = int(differences.argmax())
    if differences[worst] <= TOLERANCE:
        return
    own = next(_pixels([files[worst]], classifier, 1))
    why = "the runtime gives different results"
    if int(own.sum(dtype=int)) != found.pixels[worst]:
        why = f"{EXAMPLE_FILE} does not decode this kind of file as in training; convert it to 8-bit RGB"
    raise RunError(
        f"{str(files[worst])!r} has a probability {differences[worst]:.1e} off that of PyTorch (at most "
        f"{TOLERANCE:g}): {why}. {out} was not written."
    )


def _pixels(paths: Sequence[Path], classifier: Classifier, at_once: int = BATCH) -> Iterator[np.ndarray]:
    """Batches [B, S, S, 3] uint8 of the readable images."""
    preprocessing, rows = classifier.preprocessing, []
    shape = (preprocessing.image_size, preprocessing.image_size, 3)
    transform, depth = eval_transform(preprocessing), preprocessing.bit_depth
    for image in survey(paths, threads=0, transform=transform, bit_depth=depth):
        if image.pixels is not None:
            rows.append(np.frombuffer(image.pixels, np.uint8).reshape(shape))
        if len(rows) == at_once:
            yield np.stack(rows)
            rows = []
    if rows:
        yield np.stack(rows)


def _quantized(partial: Path, classifier: Classifier, own: Sequence[Listed], fp32: _Found) -> Int8:
    """Put an int8 file in the place of the fp32 one; returns what it loses on validation."""
    train, val = ([row for row in own if row.split == split] for split in ("train", "val"))
    path, full = partial / ONNX_FILE, partial / "fp32.onnx"
    path.rename(full)
    some = train[:: -(-len(train) // CALIBRATION_IMAGES)]
    quantize(full, path, _pixels([row.path for row in some], classifier))
    labels = np.array([classifier.classes.index(row.label) for row in val])
    guesses = [predicted(each, _pixels([row.path for row in val], classifier)) for each in (path, full)]
    if len(guesses[0]) != len(labels):
        raise DataError(f"{len(labels) - len(guesses[0])} validation images of the run can no longer be read.")
    right, right_fp32 = (int((guess == labels).sum()) for guess in guesses)
    found = Int8(
        calibration_images=len(some),
        images=len(val),
        accuracy=right / len(val),
        accuracy_fp32=right_fp32 / len(val),
        loss_points=100 * (right_fp32 - right) / len(val),
        bytes_fp32=full.stat().st_size,
        milliseconds_fp32=fp32.milliseconds,
    )
    full.unlink()
    return found


def _require_accurate(int8: Int8, found: _Found, max_loss: float) -> None:
    """Raise `RunError` with the figures if int8 loses more than it may."""
    if int8.loss_points <= max_loss:
        return
    speeds = ", ".join(
        f"{int8.milliseconds_fp32[batch] / taken:.2f}x as fast in batches of {batch}"
        for batch, taken in found.milliseconds.items()
    )
    raise RunError(
        f"int8 loses {int8.loss_points:.2f} percentage points on {counted(int8.images, 'validation image')} "
        f"({figure(int8.accuracy)} instead of {figure(int8.accuracy_fp32)}), more than the {max_loss:g} of `max_loss`; "
        f"it is {speeds}. Nothing was written: leave out `int8`, or allow a larger loss."
    )
