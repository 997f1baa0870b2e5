from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from thawline.config import Preprocessing
from thawline.errors import ModelError, RunFolderError
from thawline.exports.timm_folder import read_timm_folder

Make = Callable[..., Any]
Save = Callable[..., Path]
Reopened = Callable[[Path], tuple[Any, dict[str, Any]]]
AssertSame = Callable[..., None]

TINY_SWIN = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
TINY_DEIT = {"embed_dim": 48, "depth": 2}


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def test_unknown_keys_of_the_source_are_left_out(make: Make, save: Save, assert_same: AssertSame) -> None:
    # Trap 1: timm builds PretrainedCfg(**cfg).
    module = make("test_resnet")
    source = {**module.pretrained_cfg, "our_own_key": 1, "input_range": [0, 1]}
    folder = save(module, "test_resnet", pretrained_cfg=source)
    assert not {"our_own_key", "input_range"} & set(config_of(folder)["pretrained_cfg"])
    assert_same(module, folder)


def test_what_describes_the_source_weights_is_left_out(
    make: Make, save: Save, reopened: Reopened, assert_same: AssertSame
) -> None:
    # Traps 2 and 3, and the source that timm would prefer to our file.
    stale = {
        "test_input_size": (3, 288, 288),
        "test_crop_pct": 1.0,
        "test_pool_size": (9, 9),
        "label_offset": 1,
        "label_names": ("tench",) * 3,
        "label_descriptions": {"tench": "a fish"},
        "url": "https://example.org/weights.pth",
        "hf_hub_id": "timm/",
        "source": "hf-hub",
        "custom_load": "hf",
        "license": "cc-by-nc-4.0",
    }
    module = make("test_resnet")
    folder = save(module, "test_resnet", pretrained_cfg={**module.pretrained_cfg, **stale})
    written = config_of(folder)["pretrained_cfg"]
    assert set(stale) & set(written) == {"custom_load", "license"}
    assert written["custom_load"] is False
    opened, data_config = reopened(folder)
    timm_data: Any = timm.data
    at_test_size = timm_data.resolve_model_data_config(opened, use_test_size=True)
    assert at_test_size == data_config
    assert at_test_size["input_size"] == [3, 64, 64]
    assert_same(module, folder)


@pytest.mark.parametrize("channels", [1, 4])
def test_stem_of_a_net_that_does_not_see_rgb_is_kept(channels: int, make: Make, save: Save, reopened: Reopened) -> None:
    # Trap 4.
    module = make("test_resnet", in_chans=channels)
    folder = save(module, "test_resnet")
    config = config_of(folder)
    assert config["model_args"]["in_chans"] == channels
    assert config["pretrained_cfg"]["first_conv"] is None
    assert len(config["pretrained_cfg"]["mean"]) == channels
    images = torch.rand(2, channels, 64, 64)
    torch.testing.assert_close(reopened(folder)[0](images), module(images), atol=1e-4, rtol=0)


def test_wrong_number_of_names_is_refused(make: Make, save: Save) -> None:
    # Trap 5: timm would drop the head without a word.
    with pytest.raises(ModelError, match="3 outputs and 2 class names"):
        save(make("test_resnet"), "test_resnet", label_names=("a", "b"))


def test_weights_are_one_safetensors_file_of_what_was_evaluated(make: Make, save: Save) -> None:
    # Traps 6 and 9: no pickle, no second (averaged) set of weights.
    module = make("test_resnet").to(memory_format=torch.channels_last)
    folder = save(module, "test_resnet")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "labels.txt",
        "model.safetensors",
        "thawline.json",
    ]
    tensors = load_file(folder / "model.safetensors")
    assert tensors.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensors[name], tensor)
    with safe_open(folder / "model.safetensors", "pt") as stream:
        assert stream.metadata() == {"format": "pt"}, "transformers refuses a file without it"


def test_half_precision_weights_are_saved_as_fp32(make: Make, save: Save) -> None:
    module = make("test_resnet").to(torch.bfloat16)
    tensors = load_file(save(module, "test_resnet") / "model.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if "num_batches" not in name} == {torch.float32}
    assert tensors["bn1.num_batches_tracked"].dtype == torch.int64


def test_tied_tensors_are_saved_under_each_name(make: Make, save: Save, assert_same: AssertSame) -> None:
    # Trap 6, second half.
    module = make("deit_tiny_distilled_patch16_224", **TINY_DEIT, img_size=64)
    module.head_dist = module.head
    folder = save(module, "deit_tiny_distilled_patch16_224", model_args=TINY_DEIT)
    tensors = load_file(folder / "model.safetensors")
    assert torch.equal(tensors["head.weight"], tensors["head_dist.weight"])
    assert_same(module, folder)


@pytest.mark.thorough
@pytest.mark.parametrize("wrapper", [nn.DataParallel, torch.compile])
def test_wrappers_leave_no_prefix(wrapper: Any, make: Make, save: Save, assert_same: AssertSame) -> None:
    # Trap 7.
    module = make("test_resnet")
    folder = save(wrapper(module), "test_resnet", pretrained_cfg=module.pretrained_cfg)
    assert load_file(folder / "model.safetensors").keys() == module.state_dict().keys()
    assert_same(module, folder)


def test_compiled_part_leaves_no_prefix(make: Make, save: Save) -> None:
    module = make("test_resnet")
    names = list(module.state_dict())
    module.layer1 = torch.compile(module.layer1)
    assert sorted(load_file(save(module, "test_resnet") / "model.safetensors")) == sorted(names)


@pytest.mark.parametrize(("architecture", "tiny"), [("test_vit", {}), ("swin_tiny_patch4_window7_224", TINY_SWIN)])
def test_size_of_a_fixed_size_net_is_written_where_each_reader_looks(
    architecture: str, tiny: dict[str, Any], make: Make, save: Save, assert_same: AssertSame
) -> None:
    # Trap 8: timm derives img_size from input_size, transformers passes model_args only.
    module = make(architecture, **tiny, img_size=64)
    folder = save(module, architecture, model_args=tiny)
    config = config_of(folder)
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert config["model_args"]["img_size"] == [64, 64]
    assert config["pretrained_cfg"]["pool_size"] is None
    assert_same(module, folder)


def test_arguments_of_training_are_left_out(make: Make, save: Save) -> None:
    # A second num_classes is a TypeError in transformers; drop rates are the business of whoever trains it next.
    arguments = {"num_classes": 3, "drop_rate": 0.5, "drop_path_rate": 0.1, "global_pool": "max", "checkpoint": None}
    folder = save(make("test_resnet", global_pool="max"), "test_resnet.r160_in1k", model_args=arguments)
    config = config_of(folder)
    assert config["model_args"] == {"global_pool": "max"}
    assert config["architecture"] == "test_resnet"
    assert "num_classes" not in config["pretrained_cfg"]


def test_argument_that_json_cannot_hold_is_refused_and_leaves_nothing(make: Make, save: Save, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: .* plain JSON"):
        save(make("test_resnet"), "test_resnet", model_args={"act_layer": nn.GELU})
    with pytest.raises(ModelError, match=r"thawline\.json: .* plain JSON"):
        save(make("test_resnet"), "test_resnet", thawline={"accuracy": float("nan")})
    assert list(tmp_path.iterdir()) == []


HOSTILE = (
    'say "hi"',
    "two\nlines",
    "\r\n",
    "emoji 🦉",
    "שלום",
    "‮evil",
    "<script>alert(1)</script>",
    "../up",
    "a\\b",
    "",
)


def test_hostile_names_survive_and_keep_one_line_each(make: Make, save: Save, reopened: Reopened) -> None:
    module = make("test_resnet", num_classes=len(HOSTILE))
    folder = save(module, "test_resnet", label_names=HOSTILE)
    assert tuple(reopened(folder)[0].pretrained_cfg["label_names"]) == HOSTILE
    assert read_timm_folder(folder).label_names == HOSTILE
    lines = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(HOSTILE) + 1
    assert lines[-1] == ""
    assert lines[1:4] == [r"two\nlines", r"\r\n", "emoji 🦉"]


def test_name_that_is_not_valid_unicode_does_not_stop_the_export(make: Make, save: Save) -> None:
    names = ("caf\udce9", "b", "c")  # how Python shows a folder named in Latin-1
    folder = save(make("test_resnet"), "test_resnet", label_names=names, card="caf\udce9")
    assert read_timm_folder(folder).label_names == names


def test_earlier_folder_of_ours_is_replaced(make: Make, save: Save, assert_same: AssertSame) -> None:
    save(make("test_convnext"), "test_convnext")
    module = make("test_resnet")
    folder = save(module, "test_resnet")
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "no leftovers"
    assert_same(module, folder)


def test_leftovers_of_a_killed_export_are_removed(make: Make, save: Save, tmp_path: Path) -> None:
    partial = tmp_path / "RUN" / ".model.partial"
    partial.mkdir(parents=True)
    (partial / "config.json").write_text("{")
    folder = save(make("test_resnet"), "test_resnet")
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_folder_of_somebody_else_is_left_alone(make: Make, save: Save, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "me.jpg").write_bytes(b"precious")
    with pytest.raises(RunFolderError, match="thawline did not write"):
        save(make("test_resnet"), "test_resnet", folder=photos)
    assert [path.name for path in photos.iterdir()] == ["me.jpg"]


def test_failure_while_writing_leaves_the_earlier_folder(
    make: Make, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(make("test_resnet"), "test_resnet", card="first")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        save(make("test_resnet"), "test_resnet", card="second")
    assert (folder / "README.md").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_files_can_be_read_by_others(make: Make, save: Save) -> None:
    folder = save(make("test_resnet"), "test_resnet")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 1
    assert modes != {0o600}


def test_read_returns_what_was_saved(
    make: Make, save: Save, labels: tuple[str, ...], preprocessing: Preprocessing
) -> None:
    found = read_timm_folder(save(make("test_vit", img_size=64), "test_vit", thawline={"strategy": "last_blocks:k=2"}))
    assert (found.architecture, found.num_classes, found.label_names) == ("test_vit", 3, labels)
    assert found.preprocessing == preprocessing
    assert found.thawline == {"format_version": 1, "strategy": "last_blocks:k=2"}


def test_read_accepts_the_folder_of_another_program(tmp_path: Path) -> None:
    cfg = {"input_size": [3, 128, 128], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": None}
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "num_classes": 7, "pretrained_cfg": cfg})
    )
    found = read_timm_folder(tmp_path)
    assert (found.num_classes, found.label_names, found.thawline) == (7, None, None)
    assert found.preprocessing.crop_pct == 0.875
    assert found.preprocessing.mean == (0.5, 0.5, 0.5)


GOOD = {"architecture": "resnet18", "num_classes": 2, "pretrained_cfg": {"input_size": [3, 64, 64]}}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (None, RunFolderError, "is missing"),
        ("{", RunFolderError, "cannot be read"),
        ("[]", ModelError, "not a timm folder"),
        (json.dumps({"architecture": "resnet18"}), ModelError, "not a timm folder"),
        (json.dumps({**GOOD, "architecture": 3}), ModelError, "names no architecture"),
        (json.dumps({**GOOD, "num_classes": "two"}), ModelError, "num_classes must be"),
        (json.dumps({**GOOD, "label_names": ["only one"]}), ModelError, "list of 2 names"),
        (json.dumps({**GOOD, "label_names": {"0": "a", "1": "b"}}), ModelError, "list of 2 names"),
        (json.dumps({**GOOD, "pretrained_cfg": {"unknown": 1}}), ModelError, "unknown"),
        (json.dumps({**GOOD, "pretrained_cfg": {"input_size": 64}}), ModelError, "timm cannot use"),
        (json.dumps({**GOOD, "pretrained_cfg": {"input_size": [1, 64, 64]}}), ModelError, "square RGB"),
        (json.dumps({**GOOD, "pretrained_cfg": {"input_size": [3, 64, 32]}}), ModelError, "square RGB"),
        (json.dumps({**GOOD, "pretrained_cfg": {"mean": [0.5]}}), ModelError, "timm cannot use"),
    ],
)
def test_broken_folder_gets_one_line(text: str | None, error: type[Exception], words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=words) as caught:
        read_timm_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)


def test_record_of_another_format_is_refused(make: Make, save: Save) -> None:
    folder = save(make("test_resnet"), "test_resnet", thawline={"format_version": 99})
    with pytest.raises(RunFolderError, match="format_version 1"):
        read_timm_folder(folder)
