"""A model folder is written whole or not at all, over nothing but a folder of thawline's own."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from thawline.errors import ModelError, RunFolderError
from thawline.exports import writing
from thawline.exports.writing import THAWLINE_FILE, WEIGHTS_FILE, plain_json, write_folder
from thawline.sums import SUMS_FILE

TEXTS = {THAWLINE_FILE: "{}\n", "labels.txt": "cat\ndog\n"}


def network(value: float = 1.0) -> nn.Module:
    """All its parameters have one value."""
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    return module


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, without the digests."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SUMS_FILE}


def test_texts_and_weights_are_in_the_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "deep" / "model", TEXTS, network(2.0))
    found = files(tmp_path / "deep" / "model")
    assert set(found) == {*TEXTS, WEIGHTS_FILE}
    assert {name: found[name].decode() for name in TEXTS} == TEXTS
    weights = safetensors.torch.load(found[WEIGHTS_FILE])
    assert torch.equal(weights["0.weight"], torch.full((3, 2, 1, 1), 2.0))
    assert weights["1.num_batches_tracked"].dtype == torch.int64
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_weights_say_that_they_are_pytorchs(tmp_path: Path) -> None:
    """transformers refuses files without the format."""
    write_folder(tmp_path / "model", TEXTS, network())
    with safetensors.safe_open(tmp_path / "model" / WEIGHTS_FILE, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


class Shared(nn.Module):
    """One tensor under two names, one in channels-last memory, one in half precision, one of a compiled part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.kernel = nn.Parameter(torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last))
        self.short = nn.Parameter(torch.tensor([0.5, 1.5], dtype=torch.float16))
        self.body = nn.ModuleDict({"_orig_mod": nn.Linear(2, 1, bias=False)})


def test_what_safetensors_refuses_is_written_as_plain_float32_under_plain_names(tmp_path: Path) -> None:
    module = Shared()
    write_folder(tmp_path / "model", TEXTS, module)
    weights = safetensors.torch.load_file(tmp_path / "model" / WEIGHTS_FILE)
    assert set(weights) == {"first.weight", "second.weight", "kernel", "short", "body.weight"}
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert torch.equal(weights["first.weight"], weights["second.weight"])
    assert torch.equal(weights["kernel"], module.kernel)
    assert weights["short"].tolist() == [0.5, 1.5]


def test_line_ends_and_strange_names_are_kept(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", {**TEXTS, "labels.txt": "a\r\nb\n\udcff\n"}, network())
    assert (tmp_path / "model" / "labels.txt").read_bytes() == b"a\r\nb\n\\udcff\n"


def test_whoever_may_read_the_texts_may_read_the_weights(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_folder(tmp_path / "model", TEXTS, network())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model" / WEIGHTS_FILE).stat().st_mode) == 0o644


def test_an_earlier_model_is_replaced_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", {**TEXTS, "old.txt": "old"}, network(1.0))
    write_folder(tmp_path / "model", TEXTS, network(3.0))
    found = files(tmp_path / "model")
    assert set(found) == {*TEXTS, WEIGHTS_FILE}
    assert safetensors.torch.load(found[WEIGHTS_FILE])["0.bias"].tolist() == [3.0] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_folder(tmp_path / "model", TEXTS, network())
    assert set(files(tmp_path / "model")) == {*TEXTS, WEIGHTS_FILE}


@pytest.mark.parametrize("kind", ["folder", "file", "folder whose mark is a folder"])
def test_what_somebody_else_wrote_is_left_alone(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    if kind == "folder whose mark is a folder":
        (folder / THAWLINE_FILE).mkdir()
    with pytest.raises(RunFolderError, match=r"model contains files that thawline did not write; choose another `out`"):
        write_folder(folder, TEXTS, network())
    assert (folder if kind == "file" else folder / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_earlier_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "model", TEXTS, network(1.0))
    before = files(tmp_path / "model")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "model", TEXTS, network(2.0))
    assert files(tmp_path / "model") == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_interruption_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "model", TEXTS, network())
    assert list(tmp_path.iterdir()) == []


def test_the_earlier_model_is_deleted_only_when_the_new_one_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "model", TEXTS, network(1.0))
    before, rename = files(tmp_path / "model"), Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if target.name == "model":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "model", TEXTS, network(2.0))
    assert files(tmp_path / ".model.replaced") == before


def test_every_file_is_on_disk_before_the_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()

    def sync(descriptor: int) -> None:
        assert not (tmp_path / "model").exists()
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    write_folder(tmp_path / "model", TEXTS, network())
    assert synced == {path.stat().st_ino for path in (tmp_path / "model").iterdir()}


@pytest.mark.parametrize("leftover", [".model.partial", ".model.replaced"])
def test_what_a_killed_run_left_is_taken_away(tmp_path: Path, leftover: str) -> None:
    """With the earlier model still there, and with the name that it is moved to taken."""
    write_folder(tmp_path / "model", TEXTS, network(1.0))
    shutil.copytree(tmp_path / "model", tmp_path / leftover)
    (tmp_path / leftover / "half").write_text("")
    write_folder(tmp_path / "model", TEXTS, network(2.0))
    assert set(files(tmp_path / "model")) == {*TEXTS, WEIGHTS_FILE}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_json_is_indented_ascii_with_a_line_end() -> None:
    data = {"label": "Bär \udcff", "numbers": [1]}
    text = plain_json("config.json", data)
    assert json.loads(text) == data
    assert text.isascii()
    assert text.startswith('{\n  "label"')
    assert text.endswith("}\n")


@pytest.mark.parametrize("data", [{"a": float("nan")}, {"a": {1, 2}}, {"a": torch.zeros(1)}])
def test_what_json_cannot_say_is_refused_with_the_files_name(data: Mapping[str, object]) -> None:
    with pytest.raises(ModelError, match=r"config.json: the model's description must be plain JSON \("):
        plain_json("config.json", data)


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk", target_is_directory=True)
    for value in (1.0, 2.0):
        write_folder(tmp_path / "model", TEXTS, network(value))
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "model"}
    assert (tmp_path / "model").is_symlink()
    assert set(files(tmp_path / "disk")) == {*TEXTS, WEIGHTS_FILE}


def test_the_current_folder_and_a_place_in_a_file_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match=r"^\. cannot be replaced; name a new folder as `out`"):
        write_folder(Path(), TEXTS, network())
    assert not any(tmp_path.iterdir())
    (tmp_path / "note").write_text("mine")
    with pytest.raises(RunFolderError, match=r"note is not a folder, so .*deep cannot be made; choose another `out`"):
        write_folder(tmp_path / "note" / "deep", TEXTS, network())
