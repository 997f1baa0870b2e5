"""Layers of the user's own network without pretrained weights: they train with the head, or it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thawline.model.blocks import partition
from thawline.model.head import head_modules
from thawline.model.load import LoadedModel, load_model

NET = """
import torch
from torch import nn
def body():
    first, second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 8, 3, bias=False)
    net = nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), second, nn.BatchNorm2d(8))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # what a file of pretrained weights would give
        for module in net:
            if hasattr(module, "weight"):
                nn.init.normal_(module.weight)
    return net
def build(n):
    return nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), HEAD)
"""


def load(folder: Path, code: str, head: str = "nn.Linear(8, n)") -> LoadedModel:
    (folder / "net.py").write_text(code.replace("HEAD", head))
    return load_model(f"{folder / 'net.py'}:build", 3, image_size=16, seed=1)


@pytest.mark.parametrize(
    ("head", "heads"),
    [
        ("nn.Linear(8, n)", ["3"]),
        ("nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, n)", ["3", "5"]),
        ("nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, n)", list("34567")),
        ("nn.LayerNorm(8), nn.Linear(8, n)", ["4"]),
        ("nn.LazyLinear(5), nn.Linear(5, n)", ["3", "4"]),
    ],
)
def test_new_layers_before_the_last_one_belong_to_the_head(tmp_path: Path, head: str, heads: list[str]) -> None:
    model = load(tmp_path, NET, head)
    assert list(head_modules(model.module)) == heads
    *_, last = partition(model.module, "layer", 16)
    assert last.is_head
    assert {name.split(".")[0] for name in last.parameters} == set(heads)
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    model.restore(2)
    redrawn = {n.split(".")[0] for n, tensor in model.module.state_dict().items() if not torch.equal(tensor, before[n])}
    assert redrawn == {name for name in heads if isinstance(model.module.get_submodule(name), torch.nn.Linear)}
    expected = f"{', '.join(heads[:-1])} have no pretrained weights, so they train with the head."
    assert [note.partition(": ")[2] for note in model.notes] == ([expected] if heads[1:] else [])


def test_other_layers_without_pretrained_weights_are_named(tmp_path: Path) -> None:
    model = load(tmp_path, NET.replace("return net", "net.insert(3, nn.Conv2d(4, 4, 1))\n    return net"))
    (note,) = model.notes
    assert "0.3.bias, 0.3.weight have no pretrained weights, but are not in the head" in note
    assert list(head_modules(model.module)) == ["3"]


def test_a_layer_that_cannot_be_drawn_anew_is_named(tmp_path: Path) -> None:
    code = NET + (
        "class Scale(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.matrix = nn.Parameter(torch.randn(8, 8))\n"
        "    def forward(self, x): return x @ self.matrix\n"
    )
    model = load(tmp_path, code, "Scale(), nn.Linear(8, n)")
    assert list(head_modules(model.module)) == ["4"]
    assert "3.matrix have no pretrained weights, but are not in the head" in model.notes[0]


def test_a_network_without_any_pretrained_weights_keeps_its_last_layer_as_head(tmp_path: Path) -> None:
    model = load(tmp_path, NET.replace("torch.manual_seed(0)", "pass"), "nn.Linear(8, 5), nn.Linear(5, n)")
    assert list(head_modules(model.module)) == ["4"]
    (note,) = model.notes
    assert "all its layers start from random weights" in note


def test_weights_from_a_file_are_the_pretrained_ones(tmp_path: Path) -> None:
    head = "nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, n)"
    saved = load(tmp_path, NET, head).module.state_dict()
    torch.save(saved, tmp_path / "saved.pth")
    model = load_model(f"{tmp_path / 'net.py'}:build", 3, weights=str(tmp_path / "saved.pth"), image_size=16, seed=5)
    assert list(head_modules(model.module)) == ["5"]
    assert model.notes == ()
    assert torch.equal(model.module.get_parameter("3.weight"), saved["3.weight"])


def test_a_named_head_is_left_as_it_is(tmp_path: Path) -> None:
    named = NET.replace("return nn.Sequential(body()", "net = nn.Sequential(body()")
    named += "    net.default_cfg = {'classifier': '5'}\n    return net\n"
    model = load(tmp_path, named, "nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, n)")
    assert list(head_modules(model.module)) == ["5"]
    assert "3.bias, 3.weight have no pretrained weights" in model.notes[0]
