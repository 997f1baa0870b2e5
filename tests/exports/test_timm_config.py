from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
from timm.models import PretrainedCfg
from torch import nn

from thawline.config import Preprocessing
from thawline.exports.timm_config import timm_config

SQUASHED = Preprocessing(96, "bilinear", 1.0, "squash", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_preprocessing_is_ours_and_not_that_of_the_source() -> None:
    source = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875, "mean": (0.5,) * 3}
    cfg = timm_config(nn.Linear(1, 2), "resnet18", ["a", "b"], SQUASHED, {}, source).pretrained_cfg
    assert cfg["input_size"] == (3, 96, 96)
    assert (cfg["interpolation"], cfg["crop_pct"], cfg["crop_mode"]) == ("bilinear", 1.0, "squash")
    assert (cfg["mean"], cfg["std"]) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_pool_size_is_kept_only_at_the_size_it_belongs_to() -> None:
    def pool_size(input_size: tuple[int, int, int]) -> object:
        source = {"input_size": input_size, "pool_size": (7, 7)}
        return timm_config(nn.Linear(1, 2), "resnet18", ["a", "b"], SQUASHED, {}, source).pretrained_cfg["pool_size"]

    assert pool_size((3, 96, 96)) == (7, 7)
    assert pool_size((3, 224, 224)) is None


def test_every_key_is_one_of_timms() -> None:
    source = {**dataclasses.asdict(PretrainedCfg(license="mit")), "ours": 1}
    cfg = timm_config(nn.Linear(1, 2), "resnet18", ["a", "b"], SQUASHED, {}, source).pretrained_cfg
    assert PretrainedCfg(**cast("dict[str, Any]", cfg)).license == "mit"


@pytest.mark.parametrize(("channels", "mean"), [(1, (0.2,)), (2, (0.2, 0.2))])
def test_mean_of_a_net_that_does_not_see_rgb_is_the_average(channels: int, mean: tuple[float, ...]) -> None:
    module = nn.Module()
    module.in_chans = channels  # type: ignore[assignment]
    cfg = timm_config(module, "resnet18", ["a", "b"], SQUASHED, {}, {}).pretrained_cfg
    assert cfg["mean"] == pytest.approx(mean)
