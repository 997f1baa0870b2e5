"""`predict` against plain timm: equal on ordinary files, right where plain timm is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from tests.small_runs import save_model
from thawline import api
from thawline.errors import DataError, RunFolderError, TooLittleMemoryError
from thawline.model.load import load_model
from thawline.runs import classifier as serving
from thawline.runs.classifier import Classifier

SIZE = 64
CLASSES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timm folder of a small network whose answers depend on where things are in the image."""
    path = tmp_path_factory.mktemp("model") / "timm"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a few draws hardly tell one image from another
        model = load_model("test_vit", len(CLASSES), weights="random", image_size=SIZE)
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.mul_(3)
            model.module.get_parameter("head.weight").normal_(std=0.2)
    save_model(path, model, CLASSES)
    return path


def example() -> Image.Image:
    """Bright above, dark below, with a red left side: every turn shows."""
    rows = np.linspace(250, 5, 80).astype(np.uint8)
    pixels = np.repeat(np.repeat(rows[:, None, None], 100, 1), 3, 2).copy()
    pixels[:, :30, 0] = 255
    return Image.fromarray(pixels)


def ours(folder: Path, path: Path) -> dict[str, float]:
    (image,) = api.predict(folder, [path], top=len(CLASSES)).predictions
    return {guess.label: guess.probability for guess in image.top}


def plain_timm(folder: Path, image: Image.Image) -> dict[str, float]:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    timm_data: Any = timm.data
    transform = timm_data.create_transform(**timm_data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        probabilities = model(transform(image.convert("RGB")).unsqueeze(0)).softmax(dim=1)[0]
    return dict(zip(CLASSES, probabilities.tolist(), strict=True))


def differ(first: dict[str, float], second: dict[str, float]) -> float:
    return max(abs(first[name] - second[name]) for name in CLASSES)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_ordinary_files_agree(folder: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"ordinary.{ending}"
    example().save(path)
    assert differ(ours(folder, path), plain_timm(folder, Image.open(path))) < 1e-4


def test_gray_files_agree(folder: Path, tmp_path: Path) -> None:
    example().convert("L").save(tmp_path / "gray.png")
    assert differ(ours(folder, tmp_path / "gray.png"), plain_timm(folder, Image.open(tmp_path / "gray.png"))) < 1e-4


def test_a_rotated_photo_is_turned_upright_here_and_not_in_plain_timm(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "phone.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    example().save(path, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path))
    assert differ(ours(folder, path), plain_timm(folder, upright)) < 1e-4
    assert differ(ours(folder, path), plain_timm(folder, Image.open(path))) > 0.01


def test_16_bits_are_scaled_here_and_clipped_in_plain_timm(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    gray = np.asarray(example().convert("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(path)
    assert differ(ours(folder, path), plain_timm(folder, Image.fromarray(gray))) < 1e-4
    assert differ(ours(folder, path), plain_timm(folder, Image.open(path))) > 0.01


def test_files_that_cannot_be_read_are_listed_with_the_reason(folder: Path, tmp_path: Path) -> None:
    example().save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("not an image")
    (tmp_path / "notes.txt").write_text("not an image")
    predicted = api.predict(folder, [tmp_path], top=1)
    assert [Path(image.path).name for image in predicted.predictions] == ["good.png"]
    assert [Path(file.path).name for file in predicted.unreadable] == ["bad.jpg"]
    assert [Path(file.path).name for file in predicted.ignored] == ["notes.txt"]
    assert all(file.reason for file in [*predicted.unreadable, *predicted.ignored])


def test_predictions_as_json_name_the_class_as_before(folder: Path, tmp_path: Path) -> None:
    example().save(tmp_path / "good.png")
    (image,) = api.predict(folder, [tmp_path], top=1).to_dict()["predictions"]
    assert set(image) == {"path", "top"}
    assert set(image["top"][0]) == {"class", "probability"}


def labelled(root: Path) -> Path:
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(2):
            example().rotate(90 * number).save(root / name / f"{number}.png")
    return root


def test_every_evaluation_is_added_to_the_log(folder: Path, tmp_path: Path) -> None:
    model, data = tmp_path / "model", labelled(tmp_path / "data")
    shutil.copytree(folder, model)
    scores = [api.evaluate(model, str(data)) for _ in range(2)]
    stored = json.loads((model / "evaluations.json").read_text())
    assert stored == {"format_version": 1, "evaluations": [score.to_dict() for score in scores]}
    assert (scores[0].split, scores[0].images, scores[0].seen) == ("all", 8, {})
    assert scores[0].accuracy == sum(scores[0].confusion_matrix[i][i] for i in range(4)) / 8


def test_a_folder_without_digests_stays_usable(folder: Path, tmp_path: Path) -> None:
    model, data = tmp_path / "model", labelled(tmp_path / "data")
    shutil.copytree(folder, model)
    (model / "SHA256SUMS").unlink()  # as every folder that another program saved
    first, second = (api.evaluate(model, data).accuracy for _ in range(2))
    assert first == second
    assert not (model / "SHA256SUMS").exists()
    assert len(json.loads((model / "evaluations.json").read_text())["evaluations"]) == 2


def test_a_damaged_log_is_one_line_that_names_the_file_and_the_key(folder: Path, tmp_path: Path) -> None:
    model, data = tmp_path / "model", labelled(tmp_path / "data")
    shutil.copytree(folder, model)
    (model / "evaluations.json").write_text('{"format_version": 1, "evaluations": [{"data": 5}]}')
    with pytest.raises(RunFolderError, match=r"evaluations\.json .*evaluations\[0\].*data"):
        api.evaluate(model, str(data))


@pytest.fixture
def scored(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("keep", ["a/*", "a/0.png"])
def test_one_class_or_one_image_can_be_scored(scored: Path, tmp_path: Path, keep: str) -> None:
    data = labelled(tmp_path / "all")
    for path in data.glob(keep):
        (tmp_path / "some" / "test" / "a").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "some" / "test" / "a" / path.name)
    scores = api.evaluate(scored, tmp_path / "some")
    assert (scores.split, scores.images) == ("test", 2 if keep == "a/*" else 1)
    assert [row.images for row in scores.per_class] == [scores.images, 0, 0, 0]
    assert scores.notes == ["no images of classes 'b', 'c', 'd': averages are over the other classes"]


def test_a_table_of_one_label_can_be_scored_and_its_notes_are_said(scored: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "all")
    (data / "images.csv").write_text("path,label,split,site\na/0.png,a,,x\na/1.png,a,test,y\n")
    scores = api.evaluate(scored, data / "images.csv")
    assert (scores.split, scores.images) == ("test", 1)
    assert scores.notes[0] == "columns not used: 'site'"


def test_a_class_folder_without_usable_images_is_said(scored: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "all")
    for path in (data / "b").iterdir():
        path.rename(path.with_suffix(".heic2"))
    assert any(note.startswith("'b' (2 not a supported") for note in api.evaluate(scored, data).notes)


def test_unknown_classes_are_one_line(scored: Path, tmp_path: Path) -> None:
    data = labelled(tmp_path / "all")
    (data / "a").rename(data / "eel")
    with pytest.raises(DataError, match=r"does not know the class 'eel'; it knows 'a', 'b', 'c', 'd'\. Class folders"):
        api.evaluate(scored, data)


def test_too_little_memory_for_a_batch_halves_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(labelled(tmp_path / "data").rglob("*.png"))
    classifier = Classifier(folder)
    whole, seen = classifier.probabilities(paths)[0], []

    def small(network: nn.Module, most: int) -> Callable[[Tensor], Tensor]:
        def forward(images: Tensor) -> Tensor:
            if len(images) > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes.")
            seen.append(len(images))
            return network(images)  # type: ignore[no-any-return]

        return forward

    network = classifier.network
    monkeypatch.setattr(classifier, "network", small(network, 3))
    assert np.abs(classifier.probabilities(paths)[0] - whole).max() < 1e-5
    assert seen == [2, 2, 2, 2]
    monkeypatch.setattr(classifier, "network", small(network, 0))
    monkeypatch.setattr("thawline.runs.classifier.Classifier", lambda *_: classifier)
    with pytest.raises(
        TooLittleMemoryError, match=r"^out of memory \(0.0 GiB at once\); free some memory, or use"
    ) as caught:
        api.predict(folder, paths)
    assert "\n" not in str(caught.value)


def test_large_images_come_in_smaller_batches(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(labelled(tmp_path / "data").rglob("*.png"))
    monkeypatch.setattr(serving, "BATCH_PIXELS", 3 * SIZE**2)
    sizes = [len(rows) for _, rows in Classifier(folder)._batches(paths, [])]
    assert sizes == [3, 3, 2]


def test_several_threads_get_what_one_gets(tmp_path: Path) -> None:
    """The network has other `forward` methods while it predicts, which threads must not take from each other."""
    path = tmp_path / "timm"
    save_model(path, load_model("test_efficientnet", len(CLASSES), weights="random", image_size=SIZE), CLASSES)
    classifier = Classifier(path)
    batches = [np.random.default_rng(seed).integers(0, 255, (2, SIZE, SIZE, 3), np.uint8) for seed in range(16)]
    alone = [classifier.of_pixels(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(classifier.of_pixels, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
