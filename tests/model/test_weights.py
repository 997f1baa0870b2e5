from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from thawline.errors import ModelError
from thawline.model.load import load_model
from thawline.model.weights import read_weights

State = dict[str, Tensor]


def saved(path: Path, name: str = "test_resnet", change: Callable[[State], None] | None = None) -> Path:
    state = dict(timm.create_model(name, num_classes=7).state_dict())
    if change is not None:
        change(state)
    save_file(state, path / "weights.safetensors")
    return path / "weights.safetensors"


def refusal(path: Path, model: str = "test_resnet") -> str:
    with pytest.raises(ModelError) as caught:
        load_model(model, 3, weights=str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_with_another_head_fits(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model = load_model("test_resnet", 3, weights=str(path))
    state = read_weights(path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.pristine().items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrapper_prefixes_and_containers_are_opened(tmp_path: Path, prefix: str) -> None:
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": {f"{prefix}{name}": tensor for name, tensor in state.items()}, "epoch": 3}, path)
    model = load_model("test_resnet", 3, weights=str(path))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.pristine().items())


def test_a_file_without_head_fits(tmp_path: Path) -> None:
    def behead(state: State) -> None:
        del state["fc.weight"], state["fc.bias"]

    load_model("test_resnet", 3, weights=str(saved(tmp_path, change=behead)))


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    def drop(state: State) -> None:
        for name in [name for name in state if name.startswith("layer4")]:
            del state[name]

    message = refusal(saved(tmp_path, change=drop))
    assert "missing: layer4.0.conv1.weight" in message
    assert "more" in message


def test_tensors_of_another_shape_are_named(tmp_path: Path) -> None:
    def cut(state: State) -> None:
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:1].clone()

    assert "wrong shape: layer1.0.conv1.weight)" in refusal(saved(tmp_path, change=cut))


def test_a_deeper_network_does_not_pass_for_a_shallower_one(tmp_path: Path) -> None:
    path = saved(tmp_path, "resnet34")
    assert "unknown: layer1.2." in refusal(path, "resnet18")


def test_another_architecture_has_nothing_in_common(tmp_path: Path) -> None:
    assert "no tensor in common" in refusal(saved(tmp_path, "test_vit"))


def test_another_image_size_of_a_transformer_is_resized_not_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "test_vit")
    assert load_model("test_vit", 3, weights=str(path), image_size=96).preprocessing.image_size == 96


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    for path in (saved(tmp_path), tmp_path / "weights.pth"):
        if path.suffix == ".pth":
            torch.save(timm.create_model("test_resnet").state_dict(), path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        assert "cannot be read as weights" in refusal(path)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(timm.create_model("test_resnet"), path)
    message = refusal(path)
    assert "more than tensors" in message
    assert "weights_only=False" not in message


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_files_without_a_dictionary_of_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    assert "cannot be read as weights" in refusal(tmp_path / "model.pt")


def test_timms_own_loader_is_back_in_place_afterwards(tmp_path: Path) -> None:
    from timm.models import _builder

    original = _builder.load_pretrained
    load_model("test_resnet", 3, weights=str(saved(tmp_path)))
    refusal(saved(tmp_path, "test_vit"))
    assert _builder.load_pretrained is original
