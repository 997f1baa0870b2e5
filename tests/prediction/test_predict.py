"""`predict` streams: batches, decoding beside computing, progress, little memory; and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform

import thawline
from tests.prediction.conftest import CLASSES, write_onnx
from thawline.callback import Callback
from thawline.cli import app
from thawline.config import Preprocessing
from thawline.data.transform import eval_transform
from thawline.errors import ModelError, RunFolderError
from thawline.prediction.opened import open_classifier
from thawline.prediction.stream import predict_each
from thawline.results import SkippedFile


class _Fake:
    """A classifier of the mean pixel that keeps the sizes of its batches."""

    folder = Path("fake")
    classes: Sequence[str] = ("dark", "bright")
    preprocessing = Preprocessing(16, "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        bright = pixels.reshape(len(pixels), -1).mean(1, dtype=np.float32) / 255
        return np.stack([1 - bright, bright], 1)


def test_answers_keep_the_order_of_the_paths_in_batches_of_readable_images(photos: Path) -> None:
    paths = sorted(map(str, photos.rglob("*.png")))
    (photos / "bad.png").write_text("no image")
    paths[3:3] = [str(photos / "bad.png"), str(photos / "gone.png")]
    fake = _Fake()
    lists = [*predict_each(fake, paths, top=1, batch_size=5)]
    assert fake.batches == [5, 5, 2]
    assert [len(answers) for answers in lists] == [7, 5, 2]
    answers = [answer for each in lists for answer in each]
    assert [answer.path for answer in answers] == paths
    skipped = [answer for answer in answers if isinstance(answer, SkippedFile)]
    assert [answer.reason for answer in skipped] == [
        "cannot be read as an image (not an image format that Pillow knows)",
        "cannot be opened (No such file or directory)",
    ]


def test_files_that_cannot_be_read_do_not_pile_up(photos: Path) -> None:
    (photos / "bad.png").write_text("no image")
    paths = [str(photos / "bad.png")] * 50
    assert [len(answers) for answers in predict_each(_Fake(), paths, top=1, batch_size=4)] == [16, 16, 16, 2]


def test_only_a_few_images_are_decoded_ahead(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten thousand paths, the first answers come before most files are opened."""
    opened: list[str] = []
    pixels = np.zeros((16, 16, 3), np.uint8)
    monkeypatch.setattr("thawline.data.survey.os.cpu_count", lambda: 2)

    def decoded(path: str, _: object) -> np.ndarray:
        opened.append(path)
        return pixels

    monkeypatch.setattr("thawline.prediction.stream._decoded", decoded)
    answers = predict_each(_Fake(), [f"{number}.png" for number in range(10_000)], top=1, batch_size=8)
    next(answers)
    answers.close()
    assert len(opened) < 200


class _Progress(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def predicting(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def test_progress_counts_what_the_file_had_as_done(folder: Path, photos: Path) -> None:
    thawline.predict_to(folder, photos / "0", photos.parent / "found.csv")
    progress = _Progress()
    thawline.predict_to(folder, photos, photos.parent / "found.csv", callback=progress)
    assert (progress.seen[0], progress.seen[-1]) == ((6, 12), (12, 12))


def test_batches_of_any_size_give_the_same_answers(folder: Path, photos: Path) -> None:
    whole = thawline.predict(folder, photos)
    parts = thawline.predict(folder, photos, batch_size=5)
    for image, again in zip(whole.predictions, parts.predictions, strict=True):
        assert [guess.label for guess in image.top] == [guess.label for guess in again.top]
        expected = [guess.probability for guess in again.top]
        assert [guess.probability for guess in image.top] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_transform_is_that_of_timm_for_every_shape(interpolation: str, crop_mode: str) -> None:
    for crop_pct in (0.7, 0.875, 1.0, 1.3):
        preprocessing = Preprocessing(24, interpolation, crop_pct, crop_mode, (0.485, 0.456, 0.406), (0.2,) * 3)
        timms = create_transform(
            input_size=(3, 24, 24),
            interpolation=interpolation,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            mean=preprocessing.mean,
            normalize=False,
        )
        for seed, size in enumerate([(31, 24), (24, 37), (24, 24), (25, 27), (5, 3), (60, 23), (27, 80)]):
            pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
            image = Image.fromarray(pixels)
            ours = np.asarray(eval_transform(preprocessing)(image))
            assert np.array_equal(ours, timms(image).permute(1, 2, 0).numpy()), (size, crop_pct)


def test_a_very_narrow_image_keeps_a_pixel_of_its_shorter_side() -> None:
    border = Preprocessing(16, "bicubic", 1.0, "border", (0.5,) * 3, (0.5,) * 3)
    assert eval_transform(border)(Image.new("RGB", (1, 900))).size == (16, 16)


def run(arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["thawline", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        app.main()
    return int(end.value.code or 0)


@pytest.mark.thorough
def test_the_command_prints_tables_and_writes_files(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bad.png").write_text("no image")
    file = photos.parent / "found.csv"
    assert run(["predict", folder, photos, "--top", "1", "--csv", "-"], monkeypatch) == 0
    printed = capsys.readouterr().out
    assert run(["predict", folder, photos, "--top", "1", "--csv", file], monkeypatch) == 0
    assert (
        capsys.readouterr().out == f"12 predictions added to {file}; 1 could not be read (the file has the reasons).\n"
    )
    assert file.read_bytes().decode().splitlines() == printed.splitlines()
    assert run(["predict", folder, photos, "--top", "1", "--csv", file], monkeypatch) == 0
    assert capsys.readouterr().out == f"0 predictions added to {file}; 13 images were already in it.\n"
    assert run(["predict", folder, photos, "--jsonl", "-", "--batch-size", "3"], monkeypatch) == 0
    assert len([*map(json.loads, capsys.readouterr().out.splitlines())]) == 13
    assert run(["predict", folder, photos], monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13
    assert lines[-1].startswith(f"unreadable: {photos / 'bad.png'}: ")


def test_bad_options_are_one_line(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", folder, photos, "--csv", "-", "--jsonl", "-"], monkeypatch) == 2
    assert capsys.readouterr().err == "thawline: --csv and --jsonl cannot both be given; leave one of them out.\n"
    assert run(["predict", folder, photos, "--csv", "-", "--json"], monkeypatch) == 2
    assert capsys.readouterr().err.startswith("thawline: --json cannot be combined with - for --csv or --jsonl")
    assert run(["predict", folder, photos, "--batch-size", "0"], monkeypatch) == 2
    assert "--batch-size" in capsys.readouterr().err


def test_a_path_with_a_null_character_is_one_of_the_unreadable(folder: Path, photos: Path) -> None:
    listed = photos.parent / "some.txt"
    listed.write_bytes(b"photos/0/00.png\nphotos/0/0\x000.png\n")
    found = thawline.predict(folder, listed)
    assert len(found.predictions) == 1
    assert [file.reason for file in found.unreadable] == ["cannot be opened (its name has a null character)"]


def test_an_export_is_not_taken_for_a_damaged_model(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text("{}")
    (tmp_path / "export" / "SHA256SUMS").write_text("")
    with pytest.raises(RunFolderError, match=r"export is an export: pass the run"):
        thawline.predict(tmp_path / "export", photos)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="onnxruntime is absent: it is in the `onnx` extra")
    return write_onnx(tmp_path / "onnx" / "model.onnx")


def colors(root: Path) -> Path:
    for name, color in {"a": (250, 0, 0), "b": (0, 250, 0), "c": (0, 0, 250), "d": (250, 250, 250)}.items():
        (root / "colors").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), color).save(root / "colors" / f"{name}.png")
    return root / "colors"


def test_an_onnx_file_classifies(onnx_file: Path, tmp_path: Path) -> None:
    found = thawline.predict(onnx_file, colors(tmp_path), top=1, batch_size=3)
    assert found.model == str(onnx_file)
    assert [(Path(image.path).stem, image.top[0].label) for image in found.predictions] == [
        (name, name) for name in CLASSES
    ]
    red = found.predictions[0].top[0].probability
    logits = np.array([9, 0, 0, 4]) * 250 / 255
    assert red == pytest.approx(float(np.exp(logits[0]) / np.exp(logits).sum()), abs=1e-5)


@pytest.mark.thorough
def test_an_onnx_file_is_run_without_torch(onnx_file: Path, tmp_path: Path) -> None:
    script = (
        "import sys, runpy\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in {'torch', 'torchvision', 'timm'}: raise AssertionError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import thawline\n"
        f"done = thawline.predict_to({str(onnx_file)!r}, {str(tmp_path / 'colors')!r}, {str(tmp_path / 'a.csv')!r})\n"
        "assert done.predicted == 4\n"
        "import os\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        f"sys.argv = ['thawline', 'predict', {str(onnx_file)!r}, {str(tmp_path / 'colors')!r}, '--csv', '-']\n"
        "runpy.run_module('thawline', run_name='__main__')\n"
    )
    colors(tmp_path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 4 * 4


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"labels": None}, "has no labels in its metadata"),
        ({"labels": "[1]"}, "labels in its metadata must be a list of class names"),
        ({"labels": "[oops"}, "labels in its metadata is not JSON"),
        ({"crop_pct": None}, "has no crop_pct in its metadata"),
        ({"mean": [0.5]}, "the preprocessing in its metadata cannot be used .mean and std must have 3 values"),
        ({"interpolation": "magic"}, "the preprocessing in its metadata cannot be used .*interpolation"),
        ({"image_size": "[]"}, "the preprocessing in its metadata cannot be used"),
        ({"image_size": "24.5"}, r"cannot be used \(image_size must be a whole number .* got 24.5\)"),
        ({"bit_depth": "8.0"}, "cannot be used .bit_depth must be one of"),
        ({"labels": ["a", "b", "c", "a"]}, "has a class name more than once"),
        ({"labels": ["a", "b"]}, r"gives \(1, 4\) for 1 images"),
    ],
)
def test_a_foreign_onnx_file_is_one_line(onnx_file: Path, photos: Path, metadata: dict[str, object], said: str) -> None:
    write_onnx(onnx_file, metadata)
    with pytest.raises(ModelError, match=said):
        thawline.predict(onnx_file, photos / "0" / "00.png")


def test_an_onnx_file_for_one_image_at_a_time_is_one_line(onnx_file: Path, photos: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is absent: it is in the `dev` extra")
    model = onnx.load(onnx_file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, onnx_file)
    with pytest.raises(ModelError, match=r"cannot classify \(12, .* pixels"):
        thawline.predict(onnx_file, photos)


def test_a_damaged_or_missing_onnx_file_is_one_line(onnx_file: Path, photos: Path) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot be opened by ONNX Runtime"):
        thawline.predict(onnx_file, photos)
    with pytest.raises(ModelError, match=r"gone\.onnx does not exist"):
        open_classifier(onnx_file.with_name("gone.onnx"))
