"""Low-rank adapters: nothing at the start, the same merged as unmerged, and no trace afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d  # type: ignore[attr-defined]  # it has no __all__
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.model.tiny import Tied
from thawline.model import adapters
from thawline.model.adapters import LowRank
from thawline.model.apply import AppliedPlan, load_trained_state
from thawline.model.blocks import partition
from thawline.plan import Adapter, Block, FineTunePlan
from thawline.testing import TINY_MODELS, tiny_model

IMAGES = torch.Generator().manual_seed(1)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "1x1": lambda: nn.Conv2d(3, 8, 1),
    "3x3": lambda: nn.Conv2d(3, 8, 3, bias=False),
    "strided and padded": lambda: nn.Conv2d(3, 8, 3, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(3, 8, 3, dilation=2),
    "reflected": lambda: nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
    "not square": lambda: nn.Conv2d(3, 8, (1, 5)),
    "linear": lambda: nn.Linear(9, 8),
    "Conv2dSame": lambda: Conv2dSame(3, 8, 3, stride=2),
    "StdConv2d": lambda: StdConv2d(3, 8, 3, padding=1),
}


def stem_and_head(layer: nn.Module) -> tuple[nn.Sequential, tuple[Block, ...]]:
    names = tuple(f"0.{name}" for name, _ in layer.named_parameters())
    blocks = (
        Block("stem", ("0",), names, (), 1, 1, ("0",)),
        Block("head", ("1",), ("1.weight",), (), 1, 1, ("1",), True),
    )
    return nn.Sequential(layer, nn.Linear(7, 2, bias=False)), blocks


def applied_to(layer: nn.Module, rank: int = 4, seed: int = 0) -> AppliedPlan:
    model, blocks = stem_and_head(layer)
    plan = FineTunePlan.constant(blocks, {"stem": 0.1, "head": 0.1}, adapter=Adapter(rank, 2.0))
    return AppliedPlan(model, blocks, plan, seed=seed)


def factors(layer: nn.Module) -> LowRank:
    found = layer.get_submodule("parametrizations.weight.0")
    assert isinstance(found, LowRank)
    return found


def image() -> Tensor:
    return torch.randn(2, 3, 9, 9, generator=IMAGES)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_output_is_unchanged_at_the_start_and_the_same_merged_as_unmerged(kind: str) -> None:
    layer, x = LAYERS[kind](), image()
    pristine = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    plain = layer(x)
    applied = applied_to(layer)
    assert torch.equal(layer(x), plain)
    with torch.no_grad():
        factors(layer).up.normal_()
    unmerged = layer(x)
    assert not torch.allclose(unmerged, plain)
    state = applied.trained_state()
    applied.finish()
    assert torch.equal(layer(x), plain)
    assert {name: tensor.shape for name, tensor in layer.state_dict().items()} == {
        name: tensor.shape for name, tensor in pristine.items()
    }
    assert all(torch.equal(tensor, pristine[name]) for name, tensor in layer.state_dict().items())
    load_trained_state(applied.model, state)
    assert torch.equal(layer(x), unmerged)


def test_the_update_is_scale_times_up_times_down_and_a_convolution_of_convolutions() -> None:
    layer, x = nn.Conv2d(3, 8, 3, bias=False), image()
    weight = layer.weight.detach().clone()
    applied_to(layer, rank=2)
    low_rank = factors(layer)
    with torch.no_grad():
        low_rank.up.normal_()
    down, up = low_rank.down.view(2, 3, 3, 3), low_rank.up.view(8, 2, 1, 1)
    torch.testing.assert_close(layer.weight, weight + 2.0 * torch.einsum("or,rihw->oihw", low_rank.up, down))
    in_turn = nn.functional.conv2d(nn.functional.conv2d(x, down), up)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, weight) + 2.0 * in_turn, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rank", "expected"), [(1, 1), (4, 4), (8, 8), (9, 8), (100, 8)])
def test_a_rank_larger_than_the_layer_is_that_of_the_layer(rank: int, expected: int) -> None:
    layer = nn.Conv2d(3, 8, 3)
    applied_to(layer, rank=rank)
    assert factors(layer).down.shape == (expected, 27)
    assert factors(layer).up.shape == (8, expected)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1, groups=2)])
def test_depthwise_and_grouped_convolutions_have_no_adapter_and_stay_frozen(layer: nn.Conv2d) -> None:
    applied = applied_to(layer)
    assert not parametrize.is_parametrized(layer)
    assert set(applied.parameters) == {"0.bias", "1.weight"}
    assert not layer.weight.requires_grad


def test_adapters_and_biases_train_and_kernels_do_not() -> None:
    layer = nn.Conv2d(3, 8, 3)
    applied = applied_to(layer)
    optimized = {id(parameter) for group in applied.optimizer.param_groups for parameter in group["params"]}
    low_rank = factors(layer)
    head = applied.model.get_parameter("1.weight")
    assert layer.bias is not None
    assert optimized == {id(parameter) for parameter in (low_rank.down, low_rank.up, layer.bias, head)}
    assert not layer.get_parameter("parametrizations.weight.original").requires_grad
    assert {group["lr"] for group in applied.optimizer.param_groups} == {0.1}


def test_adapters_are_drawn_from_the_seed_only() -> None:
    def drawn(seed: int) -> Tensor:
        layer = nn.Conv2d(3, 8, 3)
        applied_to(layer, seed=seed)
        return factors(layer).down.detach()

    torch.manual_seed(1)
    adapter, state = drawn(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(drawn(7), adapter)
    assert not torch.equal(drawn(8), adapter)
    torch.manual_seed(1)
    nn.Conv2d(3, 8, 3)
    nn.Linear(7, 2, bias=False)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is as if there were no adapters"


def test_what_is_drawn_has_the_spread_of_the_convolution_that_it_is() -> None:
    layer = nn.Conv2d(64, 8, 3)
    applied_to(layer, rank=8)
    bound = (64 * 9) ** -0.5
    assert 0.95 * bound < factors(layer).down.abs().max().item() <= bound


def test_the_memory_format_is_kept() -> None:
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    applied = applied_to(layer)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    state = applied.trained_state()
    applied.finish()
    load_trained_state(applied.model, state)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_parameters_are_the_same_objects_afterwards() -> None:
    layer = nn.Conv2d(3, 8, 3)
    weight = layer.weight
    kind = type(layer)
    applied_to(layer).finish()
    assert layer.weight is weight
    assert type(layer) is kind


def test_a_layer_with_a_parametrization_of_its_own_keeps_it() -> None:
    layer = parametrizations.weight_norm(nn.Linear(3, 7))
    x = torch.randn(2, 3)
    plain = layer(x)
    model, blocks = stem_and_head(layer)
    assert adapters.adaptable_weights(model, blocks[0]) == {}
    applied = applied_to(layer)
    applied.finish()
    assert torch.equal(layer(x), plain)
    assert parametrize.is_parametrized(layer, "weight")


def test_a_weight_that_two_layers_share_has_no_adapter() -> None:
    model = Tied()
    found = [name for block in partition(model, "layer", 8) for name in adapters.adaptable_weights(model, block)]
    assert found == ["middle.weight"]


@pytest.mark.parametrize("name", TINY_MODELS)
def test_a_whole_network_keeps_its_names_and_its_output_merged(name: str) -> None:
    loaded = tiny_model(name)
    model, size = loaded.module, loaded.preprocessing.image_size
    blocks = partition(model, "stage", size)
    rates = {block.name: 0.1 for block in blocks}
    names, x = list(model.state_dict()), torch.randn(2, 3, size, size)
    model.eval()
    with torch.no_grad():
        plain = model(x)
        applied = AppliedPlan(model, blocks, FineTunePlan.constant(blocks, rates, adapter=Adapter(4, 2.0)))
        model.eval()
        assert torch.equal(model(x), plain)
        for module in model.modules():
            if isinstance(module, LowRank):
                module.up.normal_(std=0.01)
        unmerged, state = model(x), applied.trained_state()
        applied.finish()
        assert list(model.state_dict()) == names
        assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in loaded.pristine().items())
        assert torch.equal(model(x), plain)
        load_trained_state(model, state)
        assert not torch.allclose(unmerged, plain)
        torch.testing.assert_close(model(x), unmerged)


class Token(nn.Module):
    """A transformer block as torchvision writes it: q, k and v in one bare parameter, token and positions in others."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.token, self.positions = nn.Parameter(torch.ones(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.depthwise(self.stem(images)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.attention(x, x, x, need_weights=False)[0][:, 0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("options", [{}, {"kdim": 8, "vdim": 8}, {"kdim": 8, "vdim": 8, "add_bias_kv": True}])
def test_attention_in_bare_parameters_moves_and_the_rest_is_named(options: dict[str, int]) -> None:
    torch.manual_seed(0)
    model, images = Token(**options), torch.randn(4, 3, 8, 8)
    if options:
        model.attention._qkv_same_embed_dim = False
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            model.attention.register_parameter(name, nn.Parameter(torch.randn(8, 8)))
        model.attention.register_parameter("in_proj_weight", None)
    blocks = partition(model, "stage", 8)
    before, order = {name: value.clone() for name, value in model.state_dict().items()}, list(model.state_dict())
    expected = {"token", "positions", "depthwise.weight"} | ({"attention.bias_k", "attention.bias_v"} & set(order))
    assert set(adapters.left_out(model, blocks)) == expected
    rates = {block.name: 1e-3 for block in blocks}
    applied = AppliedPlan(
        model, blocks, FineTunePlan.constant(blocks, rates, adapter=Adapter(4, 2.0)), optimizer="adam"
    )
    for _ in range(3):
        applied.optimizer.zero_grad()
        model(images).square().sum().backward()
        applied.optimizer.step()
    output, state = model(images), applied.trained_state()
    applied.finish()
    assert list(model.state_dict()) == order
    matrices = {name for name in order if name.endswith(("proj_weight", "proj.weight"))}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in matrices)
    moved = {name for name, value in state.items() if not torch.equal(value, before[name])}
    assert matrices <= moved
    assert not moved & expected
    load_trained_state(model, state)
    assert torch.allclose(model(images), output, atol=1e-6)
