from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from tests.model.tiny import ThreeLayers
from thawline.errors import ModelError
from thawline.model.head import HeadFactory, head_modules, head_tensors, named_tensors

GOLDEN = json.loads((Path(__file__).parent / "golden_blocks.json").read_text(encoding="utf-8"))


def create(name: str, num_classes: int = 4) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=num_classes)
    return model


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("test_resnet", ["fc"]),
        ("test_vit", ["head"]),
        ("test_convnext", ["head.fc"]),
        ("levit_128s", ["head", "head_dist"]),
    ],
)
def test_head_is_the_classifier_alone(name: str, heads: list[str]) -> None:
    assert list(head_modules(create(name))) == heads


def test_a_network_that_is_not_timms_has_its_last_layer_as_head() -> None:
    assert list(head_modules(ThreeLayers())) == ["fc"]


def test_no_classifier_is_an_error() -> None:
    with pytest.raises(ModelError, match="has no classifier"):
        head_modules(create("test_resnet", num_classes=0))
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        head_modules(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "levit_128s", "repvit_m1"])
def test_drawn_heads_fit_and_follow_the_seed_alone(name: str) -> None:
    model = create(name)
    factory = HeadFactory(model, lambda: create(name))
    before = {key: id(tensor) for key, tensor in named_tensors(model)}
    torch.manual_seed(1)
    first = factory.draw(7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = factory.draw(7), factory.draw(8)
    assert torch.equal(torch.get_rng_state(), state)
    assert {key: id(tensor) for key, tensor in named_tensors(model)} == before
    shapes = {key: tensor.shape for key, tensor in named_tensors(model)}
    assert set(first) == head_tensors(model)
    assert all(tensor.shape == shapes[key] for key, tensor in first.items())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.slow
@pytest.mark.parametrize("name", [found["model"] for found in GOLDEN["families"].values()])
def test_every_familys_head_can_be_drawn(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
    drawn = HeadFactory(model, lambda: create(name)).draw(0)
    shapes = {key: tensor.shape for key, tensor in named_tensors(model) if key in head_tensors(model)}
    assert {key: tensor.shape for key, tensor in drawn.items()} == shapes
    assert all(tensor.device.type == "cpu" for tensor in drawn.values())
