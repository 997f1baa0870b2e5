"""A network that is cut computes what it did, but for rounding; where it would not, it is not cut."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from thawline.model.blocks import partition
from thawline.model.boundary import Boundary, remove_stubs
from thawline.model.cut import Gradients, cut
from thawline.model.trace import Trace

FAMILIES = {
    "test_resnet": 64, "test_efficientnet": 64, "test_vit": 64, "test_convnext": 64, "test_mambaout": 64,
    "mobilenetv2_050": 32, "regnety_002": 32,
}  # fmt: skip
SLOW_FAMILIES = {
    "densenet121": 32,
    "inception_v3": 96, "swin_tiny_patch4_window7_224": 224, "maxvit_nano_rw_256": 256, "hrnet_w18_small": 64,
    "coat_tiny": 224, "crossvit_tiny_240": 240, "eva02_tiny_patch14_224": 224, "davit_tiny": 224,
    "edgenext_xx_small": 64, "vgg11_bn": 32, "mixer_s32_224": 224,
    "volo_d1_224": 224, "nf_regnet_b0": 64, "mobilenetv3_large_100": 64, "resnet50": 64, "convnext_atto": 64,
}  # fmt: skip


def network_of(name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": size} if name in ("test_vit",) else {}
    network = timm.create_model(name, num_classes=3, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as trained networks have them: no two channels alike
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.to(memory_format=torch.channels_last)


def images_of(size: int, number: int = 16) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(number, 3, size, size).contiguous(memory_format=torch.channels_last)


def boundaries(
    network: nn.Module, images: Tensor, size: int, *, most: int | None = None
) -> dict[str, tuple[Boundary | None, list[str]]]:
    """Block -> the cut before it, and the names of the parameters behind it; only before the last blocks if `most`."""
    blocks = partition(network, "stage", size)
    trace = Trace.record(network, images, nullcontext)
    found = {}
    first_cut = 1 if most is None else len(blocks) - most
    for index, block in enumerate(blocks[first_cut:], start=first_cut):
        first = trace.first([name for behind in blocks[index:] for name in behind.modules])
        assert first is not None
        behind = [name for block in blocks[index:] for name in block.parameters]
        found[block.name] = cut(trace, first, images, nullcontext, gradients="exactly"), behind
    return found


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "size"),
    [*FAMILIES.items(), *(pytest.param(*family, marks=pytest.mark.slow) for family in SLOW_FAMILIES.items())],
)
def test_a_cut_before_any_block_changes_no_logit(name: str, size: int) -> None:
    network, images = network_of(name, size), images_of(size)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images[order])
    for block, (boundary, _) in boundaries(network, images, size).items():
        assert boundary is not None, block
        found = boundary.suffix([kept[order] for kept in boundary.prefix(images)], torch.zeros_like(images))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(network(images[order]), expected)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "densenet121"])
def test_training_behind_a_cut_gives_the_same_gradients_and_statistics(name: str) -> None:
    network, images = network_of(name, 64), images_of(64, 8)
    blocks = partition(network, "stage", 64)
    boundary, behind = next(iter(boundaries(network, images, 64, most=2).values()))
    assert boundary is not None
    kept = boundary.prefix(images)
    results = []
    for run in (lambda: network(images), lambda: boundary.suffix(kept, torch.zeros_like(images))):
        state = {key: value.clone() for key, value in network.state_dict().items()}
        network.requires_grad_(False).eval()
        for module in {name for block in blocks[-2:] for name in block.modules}:
            network.get_submodule(module).train()
        trained = [network.get_parameter(name).requires_grad_() for name in behind]
        loss = F.cross_entropy(run(), torch.arange(8) % 3)
        gradients = torch.autograd.grad(loss, trained)
        results.append((loss, *gradients, *(value.clone() for value in network.state_dict().values())))
        network.load_state_dict(state)
    assert all(torch.equal(tensor, other) for tensor, other in zip(*results, strict=True))


def test_channels_last_comes_back_as_such() -> None:
    network, images = network_of("test_resnet", 64), images_of(64)
    boundary, _ = list(boundaries(network, images, 64).values())[1]
    assert boundary is not None
    seen: list[bool] = []
    hook = network.get_submodule(boundary.name).register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    boundary.suffix(boundary.prefix(images), images)
    hook.remove()
    assert seen == [True, True]


class Twice(nn.Module):
    """Uses one module before the boundary and behind it, and a value of the prefix behind the boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.body = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        early = self.shared(self.stem(images))
        features = self.body(early).mean((2, 3)) + self.shared(early).mean((2, 3))
        logits: Tensor = self.head(features)
        return logits


class Peeking(nn.Module):
    """Decides by the value of a pixel what it does with the features: no placeholder can stand for that."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).mean((2, 3)) * images.mean((1, 2, 3)).unsqueeze(1)
        logits: Tensor = self.head(features)
        return logits


class Checkpointed(nn.Module):
    """Runs its body again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(checkpoint(self.body, images, use_reentrant=False).mean((2, 3)))
        return logits


def made(network: nn.Module, before: str, images: Tensor, gradients: Gradients = "exactly") -> Boundary | None:
    trace = Trace.record(network, images, nullcontext)
    return cut(trace, before, images, nullcontext, gradients=gradients)


@pytest.mark.parametrize("gradients", ["exactly", "roughly"])
def test_what_the_backward_pass_runs_again_is_not_cut(gradients: Gradients) -> None:
    assert made(Checkpointed().eval(), "body.2", images_of(16), gradients) is None
    assert made(Checkpointed().eval(), "head", images_of(16), gradients) is not None
    assert made(Checkpointed().eval(), "body.2", images_of(16), "not needed") is not None


def test_a_module_that_is_used_again_still_runs() -> None:
    network, images = Twice().eval(), images_of(16)
    boundary = made(network, "body", images)
    assert boundary is None or "shared" not in boundary.stubs


def test_a_network_that_reads_its_images_behind_the_boundary_is_not_cut() -> None:
    assert made(Peeking().eval(), "head", images_of(16)) is None


class Scaled(nn.Module):
    """Uses parameters of a module that itself never runs, in the prefix and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(2)])

    def forward(self, images: Tensor) -> Tensor:
        early = self.stem(images) * self.scales[0]
        logits: Tensor = self.head((self.body(early) * self.scales[1]).mean((2, 3)))
        return logits


def test_parameters_of_a_module_that_never_runs_are_behind_no_boundary() -> None:
    trace = Trace.record(Scaled().eval(), images_of(16), nullcontext)
    assert trace.first(["body", "scales", "head"]) is None
    assert trace.first(["body", "head"]) == "body"


def test_what_an_interruption_leaves_is_taken_away() -> None:
    network, images = network_of("test_resnet", 64), images_of(64)
    boundary, _ = next(iter(boundaries(network, images, 64).values()))
    assert boundary is not None
    kept = boundary.prefix(images)
    with pytest.raises(KeyboardInterrupt):
        interrupted(boundary, kept, images)
    remove_stubs(network)
    assert not any("forward" in vars(module) for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def interrupted(boundary: Boundary, kept: tuple[Tensor, ...], images: Tensor) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    hook = boundary.network.get_submodule(boundary.name).register_forward_hook(stop)
    try:
        boundary.suffix(kept, images)
    finally:
        hook.remove()


def test_dropout_belongs_to_the_suffix_and_pooling_does_not() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2))
    trace = Trace.record(network.eval(), images_of(16), nullcontext)
    assert trace.first(["1", "2", "3", "4"]) == "3"
    assert trace.first(["1", "2", "4"]) == "4"


def test_an_error_in_the_suffix_leaves_the_network_whole() -> None:
    network, images = network_of("test_resnet", 64), images_of(64)
    boundary, _ = next(iter(boundaries(network, images, 64).values()))
    assert boundary is not None
    with torch.no_grad():
        expected = network(images)
    with pytest.raises(RuntimeError):
        boundary.suffix([torch.zeros(16, 1, 1) for _ in boundary.prefix(images)], images)
    with torch.no_grad():
        assert torch.equal(network(images), expected)
    assert not any("forward" in vars(module) for module in network.modules())
