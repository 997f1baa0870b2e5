from __future__ import annotations

import pytest
import torch

from tests.model.tiny import ThreeLayers
from thawline.errors import ModelError
from thawline.model.execution import leaf_modules, record_execution


def test_order_and_sizes_are_those_of_the_forward_pass() -> None:
    execution = record_execution(ThreeLayers(), 8)
    assert execution.order == ["one.conv", "one.norm", "one.act", "pool", "two.conv", "two.act", "drop", "fc"]
    assert execution.input_values["one.conv"] == 3 * 8 * 8
    assert execution.input_values["two.conv"] == 4 * 4 * 4
    assert execution.output_values["fc"] == 5
    assert execution.follows == {"one.norm": "one.conv", "two.act": "two.conv"}


def test_the_meta_device_shows_the_same() -> None:
    with torch.device("meta"):
        on_meta = ThreeLayers()
    assert record_execution(on_meta, 8) == record_execution(ThreeLayers(), 8)


def test_the_model_is_left_as_it_was() -> None:
    model = ThreeLayers()
    model.one.eval()
    model.fc.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    record_execution(model, 8)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, True, True, True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_image_that_is_too_small_is_one_clear_error() -> None:
    model = ThreeLayers()
    with pytest.raises(ModelError, match=r"cannot run on images of 1 x 1 pixels.*`image_size`"):
        record_execution(model, 1)
    assert not any(module._forward_hooks for module in model.modules())


def test_leaf_modules_are_childless_or_own_tensors() -> None:
    assert set(leaf_modules(ThreeLayers())) == {
        "one.conv",
        "one.norm",
        "one.act",
        "pool",
        "two.conv",
        "two.act",
        "drop",
        "fc",
    }
