from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

from thawline.exports.timm_folder import read_timm_folder, save_timm_folder, timm_snippet

Make = Callable[..., Any]
Save = Callable[..., Path]
Logits = Callable[..., torch.Tensor]
Reopened = Callable[[Path], tuple[Any, dict[str, Any]]]
AssertSame = Callable[..., None]

TINY_SWIN = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
TINY_DEIT = {"embed_dim": 48, "depth": 2}
TINY_VIT = {"embed_dim": 48, "depth": 1, "num_heads": 3}

FAMILIES: list[Any] = [
    ("test_resnet", {}, 64),
    ("test_efficientnet", {}, 64),
    ("test_vit", {"img_size": 64}, 64),
    ("test_vit", {"dynamic_img_size": True}, 96),
    ("test_vit_relpos", {"img_size": 64}, 64),
    ("test_convnext", {}, 64),
    ("test_nfnet", {}, 64),
    ("test_byobnet", {}, 64),
    ("test_coatnet", {"img_size": 64}, 64),
    ("test_mambaout", {}, 64),
    ("swin_tiny_patch4_window7_224", {**TINY_SWIN, "img_size": 64}, 64),
    ("tf_mobilenetv3_small_minimal_100", {}, 64),
    ("test_efficientnet", {"pad_type": "same"}, 63),
    ("deit_tiny_distilled_patch16_224", {**TINY_DEIT, "img_size": 64}, 64),
    ("vit_tiny_patch16_224", {**TINY_VIT, "img_size": 64, "global_pool": "avg"}, 64),
]

HEAVY: list[Any] = [
    ("resnet18", {}, 64),
    ("vgg11_bn", {}, 64),
    ("densenet121", {}, 64),
    ("levit_128s", {}, 224),
    ("regnety_002", {}, 64),
    ("test_maxvit", {"img_size": 160}, 160),
    ("mobilevit_xxs", {}, 64),
    ("convnextv2_atto", {}, 64),
    ("pit_ti_distilled_224", {}, 224),
    ("xcit_nano_12_p16_224", {}, 224),
    ("swinv2_cr_tiny_ns_224", {"img_size": 64, "window_size": (2, 2)}, 64),
    ("vit_small_patch14_dinov2", {"depth": 2, "img_size": 70}, 70),
    ("eva02_tiny_patch14_224", {"depth": 2, "img_size": 70}, 70),
    ("fastvit_t8", {}, 64),
    ("hgnetv2_b0", {}, 64),
    ("tf_efficientnetv2_b0", {}, 64),
]


@pytest.mark.parametrize(("architecture", "arguments", "image_size"), FAMILIES)
def test_reopened_model_gives_the_same_logits_on_raw_files(
    architecture: str, arguments: dict[str, Any], image_size: int, make: Make, save: Save, assert_same: AssertSame
) -> None:
    # Trap 10: the architecture's checkpoint filter runs again on our weights.
    module = make(architecture, **arguments)
    folder = save(module, architecture, image_size, model_args=arguments)
    assert_same(module, folder, image_size)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "arguments", "image_size"), HEAVY)
def test_reopened_model_gives_the_same_logits_in_more_families(
    architecture: str, arguments: dict[str, Any], image_size: int, make: Make, save: Save, assert_same: AssertSame
) -> None:
    module = make(architecture, **arguments)
    folder = save(module, architecture, image_size, model_args=arguments)
    assert_same(module, folder, image_size)


def test_snippet_opens_the_model_and_names_a_real_image(
    make: Make, save: Save, tmp_path: Path, image_files: list[Path], logits: Logits, labels: tuple[str, ...]
) -> None:
    module = make("test_resnet")
    snippet = timm_snippet(save(module, "test_resnet", folder=tmp_path / "a 'quoted' run\\🦉" / "model"))
    assert len(snippet.splitlines()) == 3
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    with Image.open(image_files[0]) as image, torch.no_grad():
        output = scope["model"](scope["transform"](image)[None])
    expected = int(logits(module)[0].argmax())
    assert scope["model"].pretrained_cfg["label_names"][output.argmax()] == labels[expected]


def test_real_network_gives_the_same_logits_on_real_photos(
    shared: Path, tmp_path: Path, reopened: Reopened, logits: Logits
) -> None:
    source = shared / "weights" / "mobilenetv2_050"
    module: Any = timm.create_model(f"local-dir:{source}", pretrained=True, num_classes=10).eval()
    names = sorted(path.name for path in (shared / "data" / "dtd10" / "test").iterdir())
    save_timm_folder(
        tmp_path / "model",
        module,
        architecture="mobilenetv2_050",
        label_names=names,
        preprocessing=dataclasses.replace(read_timm_folder(source).preprocessing, image_size=96),
        model_args={"pad_type": "same"},
        pretrained_cfg=module.pretrained_cfg,
        thawline={},
        card="",
    )
    files = sorted((shared / "data" / "dtd10" / "test").glob("*/*.jpg"))[::50]
    before = {**reopened(source)[1], "input_size": (3, 96, 96)}
    opened, after = reopened(tmp_path / "model")
    assert list(after["input_size"]) == [3, 96, 96]
    expected = logits(module, data_config=before, files=files)
    torch.testing.assert_close(logits(opened, data_config=after, files=files), expected, atol=1e-4, rtol=0)
    assert list(opened.pretrained_cfg["label_names"]) == names


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of transformers are not ours
@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("test_resnet", {}),
        ("test_vit", {"img_size": 64}),
        ("swin_tiny_patch4_window7_224", {**TINY_SWIN, "img_size": 64}),
        ("test_efficientnet", {"pad_type": "same"}),
        ("deit_tiny_distilled_patch16_224", {**TINY_DEIT, "img_size": 64}),
    ],
)
def test_transformers_pipeline_opens_the_folder(
    architecture: str,
    arguments: dict[str, Any],
    make: Make,
    save: Save,
    image_files: list[Path],
    logits: Logits,
    labels: tuple[str, ...],
) -> None:
    transformers = pytest.importorskip("transformers")
    module = make(architecture, **arguments)
    pipeline = transformers.pipeline("image-classification", str(save(module, architecture, model_args=arguments)))
    for path, row in zip(image_files, logits(module).softmax(dim=-1), strict=True):
        found = {answer["label"]: answer["score"] for answer in pipeline(str(path))}
        assert found == pytest.approx(dict(zip(labels, row.tolist(), strict=True)), abs=1e-4)
