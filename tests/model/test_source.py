from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import pytest

from thawline.errors import ModelError
from thawline.model import hub
from thawline.model.source import resolve


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "weights" / "mobilenetv2_050"


def error_of(source: str, weights: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        resolve(source, weights, None).locate_weights()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_names_come_with_the_closest() -> None:
    assert "did you mean" in error_of("resnet5O")
    assert "resnet50" in error_of("resnet5O")
    assert "list_models" in error_of("q")


def test_unknown_tags_come_with_the_closest() -> None:
    assert "resnet50.a1_in1k" in error_of("resnet50.a1_in2k")


@pytest.mark.parametrize("path", ["./folder", "/a/b", "timm/resnet50", "..\\folder"])
def test_a_path_without_prefix_is_told_the_prefix(path: str) -> None:
    assert f"local-dir:{path}" in error_of(path)


def test_an_existing_folder_without_prefix_is_told_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert "local-dir:model" in error_of("model")


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    assert "does not exist" in error_of(f"local-dir:{tmp_path / 'nowhere'}")
    assert "no config.json" in error_of(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    assert "invalid model settings" in error_of(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": {"a": 1}}))
    assert "invalid model settings" in error_of(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": {}}))
    assert "no weights" in error_of(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["hf-hub:", "hf_hub: ", "hf-hub:a/b/c", "hf-hub:@main", "hf-hub:../x", "local-dir:"])
def test_names_that_end_too_soon_or_are_no_repository_are_one_line(name: str) -> None:
    assert "write " in error_of(name)
    assert "\n" not in error_of(name)


def test_only_rgb_networks(tmp_path: Path, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["in_chans"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "4 channels" in error_of(f"local-dir:{tmp_path}")


def test_weights_option_must_name_something_readable(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"")
    assert "is neither a file, nor a folder, nor random" in error_of("test_resnet", "nowhere")
    assert "must end in" in error_of("test_resnet", str(tmp_path / "weights.npz"))
    assert "contains a mobilenetv2_050" in error_of("test_resnet", str(folder))


def test_a_weights_folder_brings_its_settings(folder: Path) -> None:
    origin = resolve("mobilenetv2_050", str(folder), None)
    assert origin.model_args == {"pad_type": "same"}
    assert origin.pretrained_cfg["mean"] == [0.5, 0.5, 0.5]
    assert origin.locate_weights() == folder / "model.safetensors"


def test_safetensors_come_before_other_weights(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    for name in ("a.pth", "b.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"")
    assert resolve(f"local-dir:{tmp_path}", None, None).locate_weights() == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert resolve(f"local-dir:{tmp_path}", None, None).locate_weights() == tmp_path / "model.safetensors"


@pytest.mark.filterwarnings("ignore:A test tried to use socket:UserWarning")
@pytest.mark.parametrize("source", ["mobilenetv3_small_050", "hf-hub:timm/resnet18.a1_in1k", "gcvit_tiny"])
def test_without_a_network_one_error_says_so_at_once(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    message = error_of(source)
    assert time.monotonic() - start < 5
    assert f"weights of {source} cannot be downloaded" in message
    assert "give `weights` (a file, a folder or 'random')" in message
    assert "local-dir:" in message
    assert capfd.readouterr() == ("", "")


def test_offline_mode_of_the_hub_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in error_of("mobilenetv3_small_050")


def test_a_cached_file_is_used_without_asking_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "model.safetensors"
    cached.write_bytes(b"")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(cached))
    assert resolve("mobilenetv3_small_050", None, None).locate_weights() == cached


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(hub, "urlopen", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    assert "does not respond" in error_of("mobilenetv3_small_050")


def test_architectures_without_published_weights() -> None:
    with pytest.raises(ModelError, match="has no pretrained weights for homemade"):
        hub.published_weights({}, "homemade")
