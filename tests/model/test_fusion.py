"""A convolution that does the work of what follows it computes the same function, also while everything changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.model.test_boundary import images_of, network_of
from thawline.model.apply import AppliedPlan
from thawline.model.blocks import partition
from thawline.model.fusion import Fusion
from thawline.plan import FineTunePlan

SIZE = 64
CHAINS = {
    "test_resnet": 15,
    "test_efficientnet": 13,
    "mobilenetv2_050": 52,
    "regnety_002": 44,
    "tf_efficientnet_lite0": 49,
}
"""Networks of timm, and their batch norms that directly follow a convolution."""
CLOSE = 1e-5
"""Largest difference relative to the largest logit."""


def far(output: Tensor, other: Tensor) -> float:
    return ((output - other).abs().max() / other.abs().max()).item()


def pair(network: nn.Module, fusion: Fusion, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        plain = network(images)
        with fusion.on():
            return network(images), plain


@pytest.mark.parametrize("name", CHAINS)
def test_outputs_are_those_of_the_plain_network(name: str) -> None:
    network, images = network_of(name, SIZE), images_of(SIZE, 5)
    fusion = Fusion(network, SIZE)
    assert len(fusion.chains) == CHAINS[name]
    assert far(*pair(network, fusion, images)) < CLOSE
    assert far(*pair(network, fusion, images.contiguous())) < CLOSE, "in another memory layout"


def test_a_network_without_batch_norm_has_no_chains() -> None:
    assert not Fusion(network_of("test_vit", SIZE), SIZE).chains


def test_nothing_is_left_of_it_in_the_network() -> None:
    network = network_of("test_efficientnet", SIZE)
    before, methods = copy.deepcopy(network.state_dict()), [dict(vars(module)) for module in network.modules()]
    fusion = Fusion(network, SIZE)
    pair(network, fusion, images_of(SIZE, 2))
    with pytest.raises(KeyboardInterrupt), fusion.on():
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [vars(module).keys() for module in network.modules()] == [found.keys() for found in methods]
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.parametrize("frozen", ["nothing", "convolutions", "norms", "the stem", "all but the head"])
def test_gradients_with_kept_statistics_are_those_of_the_plain_network(frozen: str) -> None:
    network, images = network_of("test_efficientnet", SIZE).double(), images_of(SIZE, 4).double()
    fusion = Fusion(network, SIZE)
    for name, module in network.named_modules():
        stays = {
            "nothing": False,
            "convolutions": isinstance(module, nn.Conv2d),
            "norms": isinstance(module, nn.BatchNorm2d),
            "the stem": name in ("conv_stem", "bn1"),
            "all but the head": name != "classifier",
        }[frozen]
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(not stays)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(network(images).square().sum(), trained)

    plain = gradients()
    with fusion.on():
        found = gradients()
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-9) for one, other in zip(found, plain, strict=True))


def moved(network: nn.Module) -> None:
    network.train()
    with torch.no_grad():
        network(images_of(SIZE, 8))
    network.eval()


def loaded(network: nn.Module) -> None:
    torch.manual_seed(7)
    network.load_state_dict(
        {name: tensor + torch.rand_like(tensor.float()) for name, tensor in network.state_dict().items()}
    )


def stepped(network: nn.Module) -> None:
    blocks = partition(network, "stage", SIZE)
    plan = FineTunePlan.constant(blocks, {block.name: 0.1 for block in blocks}, norm="eval")
    applied = AppliedPlan(network, blocks, plan)
    network(images_of(SIZE, 4)).square().sum().backward()
    applied.optimizer.step()
    applied.finish()


@pytest.mark.parametrize("change", [moved, loaded, stepped])
def test_changes_of_weights_and_statistics_are_followed(change: Callable[[nn.Module], None]) -> None:
    network, images = network_of("test_efficientnet", SIZE), images_of(SIZE, 3)
    fusion = Fusion(network, SIZE)
    before, _ = pair(network, fusion, images)
    change(network)
    after, plain = pair(network, fusion, images)
    assert far(after, plain) < CLOSE
    assert far(after, before) > 0.01


def test_moving_statistics_move_as_ever() -> None:
    network, other = (network_of("test_efficientnet", SIZE).train() for _ in range(2))
    images = images_of(SIZE, 8)
    with Fusion(network, SIZE).on():
        found = network(images)
    assert torch.equal(found, other(images))
    assert all(torch.equal(one, two) for one, two in zip(network.buffers(), other.buffers(), strict=True))


class Small(nn.Module):
    """A convolution, a norm and an activation, put together in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        assert self.norm.running_mean is not None
        self.norm.running_mean += 0.5
        if way == "norm of weight zero":
            nn.init.zeros_(self.norm.weight)
        if way == "mirrored borders":
            self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.fc = nn.Linear(3, 2)

    def forward(self, image: Tensor) -> Tensor:
        outputs = self.conv(image)
        normed = self.norm(outputs * 2 if self.way == "something between" else outputs)
        if self.way in ("used elsewhere", "norm of weight zero"):
            normed = normed + outputs
        if self.way == "changed in place":
            normed += image
        activated = self.act(normed)
        if self.way == "activation used twice":
            activated = self.act(activated - 0.1)
        return torch.as_tensor(self.fc(activated.mean((2, 3))))


@pytest.mark.parametrize(
    ("way", "names"),
    [
        ("one after the other", ("conv", "norm", "act")),
        ("changed in place", ("conv", "norm")),
        ("activation used twice", ("conv", "norm")),
        ("used elsewhere", None),
        ("norm of weight zero", None),
        ("something between", None),
        ("mirrored borders", None),
    ],
)
def test_only_what_follows_directly_is_taken_over(way: str, names: tuple[str, ...] | None) -> None:
    network = Small(way).eval()
    fusion = Fusion(network, 8)
    assert [chain.names for chain in fusion.chains] == ([] if names is None else [names])
    assert far(*pair(network, fusion, images_of(8, 3))) < CLOSE


class Two(nn.Module):
    """Two convolutions with norms, the first of which may be used elsewhere or in training have something between."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.first, self.first_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.second_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act, self.fc = nn.SiLU(inplace=True), nn.Linear(4, 2)
        for norm in (self.first_norm, self.second_norm):
            nn.init.constant_(norm.get_buffer("running_mean"), 0.5)

    def forward(self, image: Tensor) -> Tensor:
        outputs = self.first(image)
        if self.way == "dropout between":
            outputs = F.dropout(outputs, 0.5, self.training)
        normed = self.first_norm(outputs)
        if self.way == "used elsewhere":
            normed = normed + outputs
        if self.way == "changed in place":
            self.act(normed)
        last = self.second_norm(self.second(normed))
        return torch.as_tensor(self.fc(last.mean((2, 3))))


def test_one_chain_that_changes_the_outputs_spares_the_others() -> None:
    fusion = Fusion(Two("used elsewhere").eval(), 8)
    assert [chain.names for chain in fusion.chains] == [("second", "second_norm")]


def test_what_happens_between_the_two_in_training_counts() -> None:
    network = Two("dropout between")
    names = [[chain.names[0] for chain in Fusion(network, 8, trains=trains).chains] for trains in (False, True)]
    assert names == [["first", "second"], ["second"]]
    assert network.training, "the modes are as they were"


def test_a_change_in_place_that_the_network_relies_on_is_kept() -> None:
    network, images = Two("changed in place").eval(), images_of(8, 3)
    plain = network(images)
    with Fusion(network, 8).on():
        assert far(network(images), plain) < CLOSE


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_a_weight_that_a_hook_computes_is_left_to_the_hook() -> None:
    network, images = Two("plain").eval(), images_of(8, 3)
    torch.nn.utils.weight_norm(network.first)
    fusion = Fusion(network, 8)
    assert [chain.names[0] for chain in fusion.chains] == ["second"]
    plain = network(images)
    with fusion.on():
        for _ in range(2):
            assert far(network(images), plain) < CLOSE


def test_contexts_can_be_nested_and_gradients_checkpointed() -> None:
    """The backward pass runs the network again, and must find it as the forward pass did."""
    network, images = Two("plain").eval(), images_of(8, 3)
    network(images).sum().backward()
    plain = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    fusion = Fusion(network, 8)
    with fusion.on():
        with fusion.on():
            output = checkpoint(network, images, use_reentrant=False)
        output.sum().backward()
    assert not any("forward" in vars(module) for module in network.modules())
    for parameter, gradient in zip(network.parameters(), plain, strict=True):
        assert gradient is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_weights_that_are_not_finite_are_not_hidden() -> None:
    network = Small("one after the other").eval()
    nn.init.constant_(network.conv.weight, torch.nan)
    fusion = Fusion(network, 8)
    assert pair(network, fusion, images_of(8, 3))[0].isnan().all()


def test_a_chain_that_is_cut_runs_as_it_is() -> None:
    network = Small("one after the other").eval()
    fusion = Fusion(network, 8)
    with fusion.on(["conv"]):
        assert "forward" not in vars(network.norm)
    with fusion.on(["conv", "norm", "act"]):
        assert "forward" in vars(network.norm)


def test_half_precision_is_that_of_the_plain_network() -> None:
    network, images = network_of("test_resnet", SIZE), images_of(SIZE, 4)
    fusion = Fusion(network, SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, plain = pair(network, fusion, images)
    assert found.dtype == plain.dtype == torch.bfloat16
    assert far(found.float(), plain.float()) < 0.05


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("training", [False, True])
def test_depthwise_convolutions_with_gradients_are_in_fp32_where_autocast_has_the_rest_in_bf16(
    name: str, training: bool
) -> None:
    network, images = network_of(name, SIZE).train(training), images_of(SIZE, 2)
    fusion, kinds = Fusion(network, SIZE), set[tuple[bool, torch.dtype]]()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(lambda module, _, output: kinds.add((module.groups > 1, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16), fusion.on():
        network(images).float().sum().backward()
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        plain = network.eval()(images).float()
        kinds.clear()
        with fusion.on():
            found = network(images).float()
        assert kinds == {(True, torch.bfloat16), (False, torch.bfloat16)}, "without gradients all is in bf16"
        with torch.autocast("cpu", enabled=False):
            exact = network(images)
    assert (found - exact).norm() <= 1.2 * (plain - exact).norm(), "no further from fp32 than all of it in bf16"


def test_a_network_that_cannot_run_has_none() -> None:
    assert not Fusion(timm.create_model("test_vit", num_classes=2), SIZE).chains
