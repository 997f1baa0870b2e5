from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from tests.model.tiny import Interleaved, ThreeLayers, Tied
from thawline.errors import ModelError
from thawline.model.blocks import partition
from thawline.model.execution import leaf_modules, record_execution
from thawline.plan import GRANULARITIES, Block, Granularity

TINY = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, num_classes=10)
    return model


def named(blocks: tuple[Block, ...]) -> dict[str, tuple[str, ...]]:
    return {block.name: block.prefixes for block in blocks}


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", TINY)
def test_partition_is_exact_ordered_and_the_same_on_meta(name: str, granularity: Granularity) -> None:
    model = timm.create_model(name, num_classes=3)
    blocks = partition(model, granularity, 96)
    everything = {
        "parameters": [name for name, _ in model.named_parameters()],
        "buffers": [name for name, _ in model.named_buffers()],
        "modules": list(leaf_modules(model)),
    }
    for kind, names in everything.items():
        assert sorted(names) == sorted(name for block in blocks for name in getattr(block, kind))
    assert [block.is_head for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert sum(block.size for block in blocks) == sum(parameter.numel() for parameter in model.parameters())
    assert all(block.layers for block in blocks)
    assert partition(on_meta(name), granularity, 96)[:-1] == blocks[:-1]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", TINY)
def test_blocks_run_one_after_the_other(name: str, granularity: Granularity) -> None:
    model = timm.create_model(name, num_classes=3)
    execution = record_execution(model, 96)
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    spans = [
        [execution.first[module] for module in block.modules if module in layers]
        for block in partition(model, granularity, 96)
    ]
    for span, following in itertools.pairwise(spans):
        assert max(span) < min(following)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", [*TINY, "vgg11_bn", "densenet121"])
def test_prefixes_cover_their_blocks_parameters_and_no_others(name: str, granularity: Granularity) -> None:
    model = on_meta(name)
    blocks = partition(model, granularity, 96 if name in TINY else 224)
    prefixes = {prefix: block.name for block in blocks for prefix in block.prefixes}
    for block in blocks:
        for parameter in block.parameters:
            covering = [prefix for prefix in prefixes if parameter == prefix or parameter.startswith(f"{prefix}.")]
            assert prefixes[max(covering, key=len)] == block.name


def test_granularities_nest() -> None:
    model = on_meta("resnet18")
    stage, group, layer = (partition(model, granularity, 224) for granularity in GRANULARITIES)
    assert [block.name for block in stage] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert [block.name for block in group[:4]] == ["stem", "layer1.0", "layer1.1", "layer2.0"]
    assert [block.name for block in layer[:3]] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert layer[0].prefixes == ("conv1", "bn1")
    assert sum(block.layers for block in stage) == len(layer) == 21
    assert all(block.layers == 1 for block in layer)


def test_vgg_stages_lie_between_poolings_and_the_old_linear_layers_are_no_part_of_the_new_head() -> None:
    blocks = partition(on_meta("vgg16_bn"), "stage", 224)
    assert [block.name for block in blocks] == [
        *("features.0", "features.7", "features.14", "features.24", "features.34"),
        "neck",
        "head",
    ]
    assert [block.layers for block in blocks] == [2, 2, 3, 3, 3, 2, 1]
    assert blocks[-2].prefixes == ("pre_logits",)
    assert blocks[-1].size == 4096 * 10 + 10


@pytest.mark.thorough
def test_final_norms_join_the_block_before() -> None:
    assert named(partition(on_meta("densenet121"), "stage", 224))["features.denseblock4"] == (
        "features.denseblock4",
        "features.norm5",
    )
    assert named(partition(on_meta("convnext_atto"), "stage", 224))["stages.3"] == ("stages.3", "head.norm")


def test_mobilenet_v3_keeps_its_last_convolution_as_a_neck() -> None:
    blocks = named(partition(on_meta("mobilenetv3_small_050"), "stage", 224))
    assert list(blocks)[-2:] == ["neck", "head"]
    assert blocks["neck"] == ("conv_head",)


def test_transformer_norms_go_with_the_layer_they_feed() -> None:
    blocks = named(partition(on_meta("test_vit"), "layer", 160))
    assert blocks["blocks.0.attn.qkv"] == ("blocks.0.attn.qkv", "blocks.0.norm1")
    assert blocks["blocks.0.mlp.fc1"] == ("blocks.0.mlp.fc1", "blocks.0.norm2")
    assert {"patch_embed", "pos_embed"} <= set(blocks["patch_embed"])


@pytest.mark.thorough
def test_distilled_and_auxiliary_classifiers_are_head() -> None:
    assert partition(on_meta("deit_tiny_distilled_patch16_224"), "stage", 224)[-1].prefixes == ("head", "head_dist")
    assert set(partition(on_meta("volo_d1_224"), "stage", 224)[-1].prefixes) == {"head", "aux_head"}


def test_a_block_that_timm_calls_head_does_not_take_the_heads_name() -> None:
    blocks = named(partition(on_meta("selecsls42b"), "stage", 224))
    assert blocks["head"] == ("fc",)
    assert blocks["pre_head"] == ("head",)


@pytest.mark.parametrize("name", ["pit_ti_224", "poolformer_s12", "rdnet_tiny"])
def test_networks_without_coarse_groups_are_divided_by_their_feature_modules(name: str) -> None:
    blocks = partition(on_meta(name), "stage", 224)
    assert blocks[0].name == "stem"
    assert 5 <= len(blocks) <= 7


@pytest.mark.thorough
def test_an_encoder_without_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="mobilenetv5_300m_enc has no classifier"):
        partition(on_meta("mobilenetv5_300m_enc"), "stage", 224)


def test_a_network_that_is_not_timms_is_divided_by_its_children() -> None:
    blocks = partition(ThreeLayers(), "stage", 8)
    assert named(blocks) == {"stem": ("one",), "two": ("two",), "head": ("fc",)}
    assert [block.modules for block in blocks] == [
        ("one.conv", "one.norm", "one.act"),
        ("pool", "two.conv", "two.act"),
        ("drop", "fc"),
    ]
    assert blocks[0].buffers == ("one.norm.running_mean", "one.norm.running_var", "one.norm.num_batches_tracked")


def test_a_tied_parameter_belongs_to_its_earliest_user() -> None:
    blocks = partition(Tied(), "layer", 8)
    assert [block.parameters for block in blocks] == [
        ("late.weight",),  # PyTorch lists it under the module that was defined first
        ("middle.weight", "middle.bias"),
        ("fc.weight", "fc.bias"),
    ]
    assert [block.modules for block in blocks] == [("early", "late"), ("middle",), ("fc",)]


def test_branches_that_run_in_turns_are_one_block() -> None:
    blocks = partition(Interleaved(), "stage", 8)
    assert [block.prefixes for block in blocks] == [("left", "right"), ("fc",)]


def test_a_real_folder_gives_the_blocks_an_engineer_would_name(shared: Path) -> None:
    model = timm.create_model(f"local-dir:{shared / 'weights' / 'mobilenetv2_050'}", num_classes=10)
    blocks = partition(model, "stage", 160)
    assert [block.name for block in blocks] == ["stem", *(f"blocks.{i}" for i in range(7)), "head"]
    assert blocks[-2].prefixes == ("blocks.6", "conv_head", "bn2")
    assert blocks[-1].modules[-1] == "classifier"
