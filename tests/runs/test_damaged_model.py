"""A saved model is proved by its digests, and any model folder by what it holds: else one line, and no answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.small_runs import save_model
from thawline import api
from thawline.errors import InputError, ModelError
from thawline.model.load import load_model
from thawline.model.weights import fill
from thawline.sums import SUMS_FILE, check_sums, write_sums

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    model = load_model("test_resnet", 2, weights="random", image_size=64)
    save_model(path, model, ("cat", "dog"))
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(saved, tmp_path / "model")
    return tmp_path / "model"


def predict(folder: Path) -> object:
    image = folder.parent / "image.png"
    Image.new("RGB", (64, 64), "red").save(image)
    return api.predict(folder, image)


def refusal(folder: Path, use: Callable[[Path], object] = predict) -> str:
    with pytest.raises(InputError) as caught:
        use(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "labels.txt", SUMS_FILE])
def test_one_flipped_bit_is_found(folder: Path, name: str) -> None:
    flip(folder / name)
    assert f"delete {SUMS_FILE} if you changed it on purpose" in refusal(folder)


def test_a_folder_that_fit_starts_from_is_proved_too(folder: Path) -> None:
    flip(folder / "model.safetensors")
    assert "is damaged or was changed" in refusal(folder, lambda path: load_model(f"local-dir:{path}", 2))
    assert "is damaged or was changed" in refusal(folder, lambda path: load_model("test_resnet", 2, weights=str(path)))


def test_folders_without_digests_and_edited_cards_open(folder: Path) -> None:
    (folder / "README.md").write_text("Our model.")
    predict(folder)
    (folder / SUMS_FILE).unlink()
    flip(folder / "labels.txt")
    predict(folder)


@pytest.mark.parametrize("text", ["", "nonsense\n", f"{'0' * 64}  ../outside\n", f"{'0' * 64}  config.json\n"])
def test_digests_that_cannot_be_used_are_refused(folder: Path, text: str) -> None:
    (folder / SUMS_FILE).write_text(text)
    assert SUMS_FILE in refusal(folder)


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    write_sums(tmp_path, ["a.txt"])
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (tmp_path / SUMS_FILE).read_text() == f"{digest}  a.txt\n"
    check_sums(tmp_path, ["a.txt"])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ModelError, match="is missing"):
        check_sums(tmp_path)


def config(**values: Any) -> Change:
    """Other values in config.json, or in its `pretrained_cfg` where it has them."""

    def change(folder: Path) -> None:
        stored = json.loads((folder / "config.json").read_text())
        for name, value in values.items():
            (stored["pretrained_cfg"] if name in stored["pretrained_cfg"] else stored)[name] = value
        (folder / "config.json").write_text(json.dumps(stored))

    return change


def tensors(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        state[name] = make(state[name]).contiguous()
        save_file(state, folder / "model.safetensors")

    return change


FOR_BOTH: dict[str, tuple[Change, str]] = {
    "nan": (
        tensors("conv1.0.weight", lambda weight: weight * float("nan")),
        "infinite values in conv1.0.weight",
    ),
    "overflow": (tensors("conv1.0.weight", lambda weight: weight.double() * 1e300), "NaN or infinite"),
    "integers": (tensors("conv1.0.weight", lambda weight: weight.int()), "wrong type: conv1.0.weight"),
    "truths": (tensors("bn1.running_var", lambda weight: weight.bool()), "wrong type: bn1.running_var"),
    "shape": (tensors("conv1.0.weight", lambda weight: weight[:1]), "wrong shape: conv1.0.weight"),
    "counter": (tensors("bn1.num_batches_tracked", lambda count: count.float()), "wrong type: bn1.num_batches"),
    "mean": (config(mean=[float("nan")] * 3), "NaN is not a number"),
    "mean of bytes": (config(mean=[124, 116, 104]), "mean must be 3 values"),
    "std": (config(std=[0.2, 0, 0.2]), "std must be 3 values"),
    "crop_pct": (config(crop_pct=50), "crop_pct must be between"),
    "crop_mode": (config(crop_mode="spiral"), "crop_mode must be one of center, squash, border"),
    "interpolation": (config(interpolation="psychic"), "interpolation must be one of"),
    "architecture": (config(architecture="resnet_of_nowhere"), "resnet_of_nowhere"),
    "other weights": (config(model_args={"checkpoint_path": "x.pth"}), "must not hold 'checkpoint_path'"),
    "unknown argument": (config(model_args={"wings": 2}), "unexpected keyword argument 'wings'"),
    "classifier": (config(classifier="conv1.0"), "classifier of test_resnet is fc"),
}


@pytest.mark.parametrize("case", FOR_BOTH)
def test_predict_and_fit_refuse_the_same(folder: Path, case: str) -> None:
    change, words = FOR_BOTH[case]
    (folder / SUMS_FILE).unlink()
    change(folder)
    assert words in refusal(folder)
    assert words in refusal(folder, lambda path: load_model(f"local-dir:{path}", 3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (tensors("fc.weight", lambda weight: weight[:1]), "wrong shape: fc.weight"),
        (tensors("fc.bias", lambda weight: weight.int()), "wrong type: fc.bias"),
        (config(label_names=["cat", "cat"]), "'cat' more than once"),
        (config(label_names=["cat"]), "list of 2 names"),
        (config(model_args={"global_pool": ""}), "cannot run on images of 64 x 64 pixels"),
        (tensors("bn1.running_var", lambda weight: weight - 9), "gives NaN or infinite values"),
    ],
)
def test_predict_refuses_what_a_new_classifier_would_replace(folder: Path, change: Change, words: str) -> None:
    (folder / SUMS_FILE).unlink()
    change(folder)
    assert words in refusal(folder)


def test_infinite_values_of_a_mask_are_its_own() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    network.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fill(network, state, Path("weights"), allow_extra=False, classifier=True)
    with pytest.raises(ModelError, match="infinite values in mask"):
        fill(network, {**state, "mask": state["mask"].flip(0)}, Path("weights"), allow_extra=False, classifier=True)
