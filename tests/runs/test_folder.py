from __future__ import annotations

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


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty, and not a run folder"):
        RunFolder.create(tmp_path, REQUEST, ENVIRONMENT)
