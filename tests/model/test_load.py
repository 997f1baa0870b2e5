from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from thawline.errors import ModelError
from thawline.model.head import head_tensors, named_tensors
from thawline.model.load import LoadedModel, build_on_meta, load_model


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "weights" / "mobilenetv2_050"


def snapshot(model: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named_tensors(model.module)}


def assert_same(tensors: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert tensors.keys() == other.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], other[name])] == []


def test_a_folder_gives_timms_network_and_settings(folder: Path) -> None:
    model = load_model(f"local-dir:{folder}", 10, image_size=160)
    reference: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=10)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        network: Any = model.module.eval()
        features = network.forward_features(images)
        assert torch.equal(features, reference.eval().forward_features(images))
    assert model.architecture == "mobilenetv2_050"
    assert model.model_args == {"pad_type": "same"}
    assert model.preprocessing.image_size == 160
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert str(folder) not in str(model.pretrained_cfg)
    assert model.module(images).shape == (2, 10)


def test_loading_leaves_the_global_generator_alone_and_follows_the_seed() -> None:
    state = torch.get_rng_state()
    model, same = (load_model("test_vit", 3, weights="random", seed=5) for _ in range(2))
    other = load_model("test_vit", 3, weights="random", seed=6)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(snapshot(model), snapshot(same))
    assert model.weights_fingerprint == same.weights_fingerprint != other.weights_fingerprint


def test_fingerprint_is_of_the_pretrained_tensors_only(folder: Path) -> None:
    model = load_model(f"local-dir:{folder}", 10, seed=1)
    other = load_model(f"local-dir:{folder}", 3, seed=2)
    assert model.weights_fingerprint == other.weights_fingerprint
    assert model.weights_fingerprint != load_model("mobilenetv2_050", 10, weights="random").weights_fingerprint


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "swin_tiny_patch4_window7_224"]
)
def test_restore_brings_everything_back_in_place(name: str) -> None:
    model = load_model(name, 3, weights="random", seed=1)
    model.module.to(memory_format=torch.channels_last)
    before, objects = snapshot(model), {name: id(tensor) for name, tensor in named_tensors(model.module)}
    strides = {name: tensor.stride() for name, tensor in named_tensors(model.module)}
    modules = [id(module) for module in model.module.modules()]
    with torch.no_grad():
        for _, tensor in named_tensors(model.module):
            tensor.add_(1)
    state = torch.get_rng_state()
    model.restore(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(snapshot(model), before)
    assert {name: id(tensor) for name, tensor in named_tensors(model.module)} == objects
    assert {name: tensor.stride() for name, tensor in named_tensors(model.module)} == strides
    assert [id(module) for module in model.module.modules()] == modules


def test_another_seed_draws_another_head_and_nothing_else() -> None:
    model = load_model("test_resnet", 3, weights="random", seed=1)
    before = snapshot(model)
    model.restore(2)
    after = snapshot(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"} == head_tensors(model.module)
    assert set(model.pristine()) == before.keys() - changed
    assert all(torch.equal(tensor, after[name]) for name, tensor in model.pristine().items())


def test_a_fine_tuned_folder_loses_its_old_head_even_with_as_many_classes(tmp_path: Path) -> None:
    tuned = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(tuned, str(tmp_path), safe_serialization=True)
    model = load_model(f"local-dir:{tmp_path}", 3, seed=1)
    state = tuned.state_dict()
    assert torch.equal(model.module.get_parameter("conv1.0.weight"), state["conv1.0.weight"])
    assert not torch.equal(model.module.get_parameter("fc.weight"), state["fc.weight"])


def test_a_vision_transformer_takes_another_size_and_says_so_in_its_arguments() -> None:
    model = load_model("test_vit", 3, weights="random", image_size=96)
    assert model.preprocessing.image_size == 96
    assert model.model_args["img_size"] == 96
    assert model.module(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_position_tables_are_resized_by_the_familys_own_filter(tmp_path: Path) -> None:
    saved: Any = timm.create_model("test_vit", num_classes=7)
    save_for_hf(saved, str(tmp_path), safe_serialization=True)
    model = load_model(f"local-dir:{tmp_path}", 3, image_size=96)
    assert model.module.get_parameter("pos_embed").shape != saved.pos_embed.shape
    assert torch.equal(model.module.get_parameter("patch_embed.proj.weight"), saved.patch_embed.proj.weight)


def test_the_size_is_the_training_size_not_the_test_size() -> None:
    structure = build_on_meta("resnet50.a1_in1k", 10)
    assert structure.pretrained_cfg["test_input_size"] == (3, 288, 288)
    assert structure.preprocessing.image_size == 224
    assert structure.preprocessing.crop_pct == 0.95


def test_structure_takes_no_memory_and_no_weights() -> None:
    structure = build_on_meta("vit_huge_patch14_224", 10)
    assert all(parameter.device.type == "meta" for parameter in structure.module.parameters())


@pytest.mark.parametrize("num_classes", [0, 1, -3])
def test_fewer_than_two_classes_are_refused(num_classes: int) -> None:
    with pytest.raises(ModelError, match="at least 2 classes"):
        load_model("test_resnet", num_classes, weights="random")


def test_an_impossible_size_names_the_option() -> None:
    with pytest.raises(ModelError, match="`image_size`"):
        load_model("nest_tiny", 3, weights="random", image_size=50)


def test_an_encoder_without_classifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.create_model", functools.partial(timm.create_model, depth=1))  # quick to build
    with pytest.raises(ModelError, match="has no classifier"):
        load_model("gemma4_vit_167m_enc", 3, weights="random")
