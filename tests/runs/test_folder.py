from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thawline.config import Request
from thawline.errors import RunFolderError
from thawline.records import environment
from thawline.runs.folder import RunFolder

REQUEST = Request("fit", "images", "test_resnet", ("full",))
ENVIRONMENT = environment(device="cpu", threads=1)


def test_a_run_killed_before_it_wrote_its_request_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / ".run.json.4711").write_text('{"half')
    with RunFolder.create(tmp_path, REQUEST, ENVIRONMENT) as folder:
        assert folder.request() == REQUEST


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, REQUEST, ENVIRONMENT).__exit__(None, None, None)
    left = [tmp_path / name for name in (".run.json.4711", ".report.html.1", "checkpoints/.ab.safetensors.12")]
    for path in (*left, tmp_path / "checkpoints" / "ab.safetensors", tmp_path / ".mine"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with RunFolder.open(tmp_path):
        assert not any(path.exists() for path in left)
    assert (tmp_path / "checkpoints" / "ab.safetensors").exists()
    assert (tmp_path / ".mine").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty, and not a run folder"):
        RunFolder.create(tmp_path, REQUEST, ENVIRONMENT)


@pytest.mark.parametrize("out", ["run1", "cat/run1", "a/b/c", "../images/run1", "link/run1"])
def test_a_run_inside_its_own_images_is_refused(tmp_path: Path, out: str) -> None:
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    (images / "link").symlink_to(images / "cat")
    request = replace(REQUEST, data=str(images))
    with pytest.raises(RunFolderError, match="is inside the images of"):
        RunFolder.create(images / out, request, ENVIRONMENT)
    assert sorted(path.name for path in images.rglob("*")) == ["cat", "link"]


@pytest.mark.parametrize("out", ["run1", "images run1", "../run1"])
def test_a_run_beside_its_images_is_not(tmp_path: Path, out: str) -> None:
    (tmp_path / "all" / "images").mkdir(parents=True)
    request = replace(REQUEST, data=str(tmp_path / "all" / "images"))
    with RunFolder.create(tmp_path / "all" / out, request, ENVIRONMENT) as folder:
        assert folder.request() == request
