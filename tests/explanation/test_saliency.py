"""Grad-CAM: the numbers of the paper's equations, the layer it is taken at, and every kind of network."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.model.tiny import ThreeLayers
from thawline.errors import ModelError, OptionError
from thawline.explanation.saliency import find_layer, grad_cam, heat
from thawline.model.load import load_model


class ByHand(nn.Module):
    """The image's first two channels are the features; logits are weighted sums of their means."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[..., None, None])
            self.fc.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(images).mean((2, 3)))
        return logits


def test_the_equations_by_hand() -> None:
    red = torch.tensor([[4.0, 0.0], [2.0, 6.0]])
    green = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    images = torch.stack([red, green, torch.zeros(2, 2)])[None].repeat(2, 1, 1, 1)
    maps = grad_cam(ByHand(), images, torch.tensor([0, 1]), "features")
    # d logit / d A is the weight of the class over the 4 places; so are the weights of Eq. 1, being their mean.
    torch.testing.assert_close(maps[0], torch.relu(1 / 4 * red - 2 / 4 * green))
    torch.testing.assert_close(maps[0], torch.tensor([[0.5, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(maps[1], 3 / 4 * green)


def test_against_autograd_in_a_deeper_network() -> None:
    network, images = ThreeLayers().eval(), torch.randn(2, 3, 12, 12)
    features = network.pool(network.one(images)).detach().clone().requires_grad_()
    logits = network.fc(network.drop(network.two(features).mean((2, 3))))
    (gradient,) = torch.autograd.grad(logits[0, 3] + logits[1, 1], features)
    expected = torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1))
    torch.testing.assert_close(grad_cam(network, images, torch.tensor([3, 1]), "pool"), expected)


def test_frozen_weights_do_not_matter() -> None:
    network, images, classes = ThreeLayers().eval(), torch.randn(2, 3, 12, 12), torch.tensor([0, 1])
    expected = grad_cam(network, images, classes, "two")
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert torch.equal(grad_cam(network, images, classes, "two"), expected)
    with torch.no_grad():
        assert torch.equal(grad_cam(network, images, classes, "two"), expected)


def test_the_network_is_left_as_it_was() -> None:
    network, images = ThreeLayers().eval(), torch.randn(2, 3, 12, 12)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    grad_cam(network, images, torch.tensor([0, 1]), find_layer(network, images))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_heat_is_from_0_to_1_and_blank_without_evidence() -> None:
    maps = torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = heat(maps, 8)
    assert found.shape == (2, 8, 8)
    assert found[0].max() == 1
    assert found[0, 0, 0] == 0
    assert not found[1].any()


def test_the_last_readable_grid_is_taken() -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    assert find_layer(network, torch.randn(2, 3, 160, 160)) == "layer4"  # 5 x 5
    # 3 x 3 at the end is too coarse; the first convolution of layer4 has 6 x 6 too, but the shortcut passes it by.
    assert find_layer(network, torch.randn(2, 3, 96, 96)) == "layer3"


def test_a_class_token_is_traced_to_the_last_patches_that_matter() -> None:
    by_class_token = timm.create_model("test_vit", num_classes=3, img_size=96).eval()
    by_mean = timm.create_model("test_vit", num_classes=3, img_size=96, global_pool="avg").eval()
    images = torch.randn(2, 3, 96, 96)
    assert find_layer(by_class_token, images) == "blocks.4"  # after blocks.5 only the class token is read
    assert find_layer(by_mean, images) == "blocks"


def test_channels_last_outputs_are_found() -> None:
    network = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=3, img_size=64, window_size=4, embed_dim=24, depths=(1, 1, 1, 1)
    ).eval()
    images = torch.randn(2, 3, 64, 64)
    layer = find_layer(network, images)
    maps = grad_cam(network, images, torch.tensor([0, 2]), layer)
    assert maps.shape == (2, 4, 4)
    assert maps.isfinite().all()


def test_a_layer_that_cannot_be_used_is_named() -> None:
    network, images, classes = ThreeLayers().eval(), torch.randn(2, 3, 12, 12), torch.tensor([0, 1])
    with pytest.raises(
        OptionError, match="the network has no layer 'nothing'; its top-level modules are one, pool, two"
    ):
        grad_cam(network, images, classes, "nothing")
    with pytest.raises(OptionError, match=r"'fc' returns .*, which is not a spatial feature map"):
        grad_cam(network, images, classes, "fc")


def test_a_network_without_places_has_no_map() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with pytest.raises(ModelError, match="no module with a spatial feature map"):
        find_layer(network, torch.randn(2, 3, 4, 4))


TINY = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_nfnet", "test_byobnet", "test_coatnet")
LARGER = (
    "resnet18",
    "vgg11",
    "efficientnet_b0",
    "densenet121",
    "convnext_atto",
    "mobilenetv2_050",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mixer_s32_224",
    "cait_xxs24_224",
)


def assert_maps(name: str, size: int) -> None:
    network = load_model(name, 3, weights="random", image_size=size).module.eval()
    images = torch.randn(2, 3, size, size)
    maps = grad_cam(network, images, torch.tensor([0, 2]), find_layer(network, images))
    assert maps.shape[0] == 2
    assert maps.shape[1] == maps.shape[2] >= 4
    assert maps.isfinite().all()
    assert (maps >= 0).all()
    assert heat(maps, size).shape == (2, size, size)


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_of_every_kind(name: str) -> None:
    assert_maps(name, 160)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_families_of_networks(name: str) -> None:
    assert_maps(name, 224 if name == "mixer_s32_224" else 96)
