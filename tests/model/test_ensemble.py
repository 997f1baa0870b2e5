"""An ensemble gives the mean of what its members give, and runs once what they have in common."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.model.tiny import Interleaved, ThreeLayers
from thawline.model.ensemble import Ensemble

SIZE = 32


def variant(network: nn.Module, trained: Sequence[str], seed: int) -> nn.Module:
    """The network with noise on all weights below these names."""
    torch.manual_seed(seed)
    found = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, tensor in found.named_parameters():
            if name.startswith(tuple(trained)):
                tensor.add_(torch.randn_like(tensor) * 0.1)
    return found


def mean_of(members: Sequence[nn.Module], shares: Sequence[float], images: Tensor) -> Tensor:
    outputs = [share * member(images).softmax(1) for member, share in zip(members, shares, strict=True)]
    return torch.stack(outputs).sum(0) / sum(shares)


def counted(ensemble: Ensemble, images: Tensor, name: str) -> int:
    """How often the convolutions of a module run in a forward pass, whichever member's they are."""
    runs: Counter[str] = Counter()
    inside = [member.get_submodule(name) for member in ensemble.members]
    found = [(part, part.forward) for module in inside for part in module.modules() if isinstance(part, nn.Conv2d)]
    for part, forward in found:
        part.forward = lambda *args, forward=forward: (runs.update([name]), forward(*args))[1]  # type: ignore[method-assign]
    with torch.no_grad():
        ensemble(images)
    for part, forward in found:
        part.forward = forward  # type: ignore[method-assign]
    return runs[name] // sum(isinstance(part, nn.Conv2d) for part in inside[0].modules())


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_efficientnet", num_classes=3).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


TOP = ("classifier", "conv_head", "bn2")
"""What all variants train."""


@pytest.mark.parametrize(
    ("trained", "runs"),
    [
        (((*TOP,), (*TOP,)), 1),
        (((*TOP, "blocks.3"), (*TOP,)), 1),
        (((*TOP, "blocks.0"), (*TOP,)), 2),
        (((*TOP,), (*TOP, "blocks.0")), 2),
        (((*TOP, "blocks.0"), (*TOP,), (*TOP, "blocks.3")), 2),
        (((*TOP,), (*TOP, "blocks.1"), (*TOP, "blocks.3")), 1),
        (((*TOP, "conv_stem"), (*TOP, "conv_stem")), 2),
    ],
)
@torch.no_grad()
def test_the_mean_output_with_the_common_part_run_once(
    network: nn.Module, images: Tensor, trained: tuple[tuple[str, ...], ...], runs: int
) -> None:
    members = [variant(network, names, seed) for seed, names in enumerate(trained)]
    shares = [1.0, 2.0, 0.5][: len(members)]
    expected = mean_of(members, shares, images)
    ensemble = Ensemble(members, shares, SIZE)
    for _ in range(2):
        torch.testing.assert_close(ensemble(images).softmax(1), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ensemble(images[:1]).softmax(1), expected[:1], rtol=0, atol=1e-6)
    assert counted(ensemble, images, "blocks.0") == runs


@torch.no_grad()
def test_what_is_shared_is_in_memory_once(network: nn.Module) -> None:
    members = [variant(network, TOP, seed) for seed in range(3)]
    alone = sum(parameter.numel() for parameter in members[0].parameters())
    ensemble = Ensemble(members, [1, 1, 1], SIZE)
    assert sum(parameter.numel() for parameter in ensemble.parameters()) < 2 * alone
    assert len(ensemble.state_dict()) == 3 * len(network.state_dict()) + 1


@torch.no_grad()
@pytest.mark.parametrize("make", [Interleaved, ThreeLayers])
def test_networks_that_cannot_be_cut_run_whole(make: type[nn.Module], images: Tensor) -> None:
    torch.manual_seed(0)
    network = make().eval()
    members = [variant(network, ("fc", "two", "left.1"), seed) for seed in range(2)]
    expected = mean_of(members, [1, 1], images)
    torch.testing.assert_close(Ensemble(members, [1, 1], SIZE)(images).softmax(1), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_other_networks_and_equal_ones_run_whole(network: nn.Module, images: Tensor) -> None:
    members = [network, copy.deepcopy(network), timm.create_model("test_vit", num_classes=3, img_size=SIZE).eval()]
    expected = mean_of(members, [1, 1, 1], images)
    ensemble = Ensemble(members, [1, 1, 1], SIZE)
    assert ensemble.shared == ((), (), ())
    torch.testing.assert_close(ensemble(images).softmax(1), expected, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_other_families_share_too(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": SIZE} if name == "test_vit" else {}
    network = timm.create_model(name, num_classes=3, **options).eval()
    top = ("blocks.4", "norm", "fc", "head", "layer4", "stages.3")
    members = [variant(network, top, seed) for seed in range(2)]
    expected = mean_of(members, [1, 1], images)
    ensemble = Ensemble(members, [1, 1], SIZE)
    assert ensemble.shared[1]
    torch.testing.assert_close(ensemble(images).softmax(1), expected, rtol=0, atol=1e-6)


@pytest.mark.slow  # torch.export takes seconds
def test_it_can_be_exported_and_copied(network: nn.Module, images: Tensor) -> None:
    members = [variant(network, TOP, 0), variant(network, (*TOP, "blocks.3"), 1)]
    ensemble = Ensemble(members, [1, 1], SIZE)
    assert ensemble.shared[1]
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(ensemble, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        expected = ensemble(images)
        torch.testing.assert_close(program(images), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(program(images[:2]), expected[:2], rtol=0, atol=1e-5)
        torch.testing.assert_close(copy.deepcopy(ensemble)(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shares", [[], [1.0], [1.0, 0.0]])
def test_every_member_needs_a_share(network: nn.Module, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="a share above 0 for each member"):
        Ensemble([network, network], shares, SIZE)
