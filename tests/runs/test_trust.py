"""Code runs only when the user says so, and only as it was when the run began."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.small_runs import small_request
from thawline import api
from thawline.cli import app as cli
from thawline.errors import InputError, ModelError, OptionError, RunFolderError
from thawline.results import FitResults
from thawline.runs.folder import RunFolder

NET = """
from pathlib import Path
from torch import nn
from layers import act
Path(__file__).with_name("ran").touch()
def build(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
LAYERS = "from torch import nn\ndef act(): return nn.ReLU()\n"
Use = Callable[[Path, Path], object]


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with code, a finished `fit` and a finished comparison."""
    root = tmp_path_factory.mktemp("own")
    (root / "net.py").write_text(NET)
    (root / "layers.py").write_text(LAYERS)
    for verb in ("fit", "compare"):
        request = small_request(images, ("linear_probe",), verb, learning_rate=1e-2)
        request = replace(request, model=f"{root / 'net.py'}:build", weights=None)
        api.run(replace(request, train=replace(request.train, epochs=1)), root / verb)
    return root


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the runs, whose code is where it was and has not run yet."""
    for verb in ("fit", "compare"):
        shutil.copytree(finished / verb, tmp_path / verb)
    (finished / "ran").unlink(missing_ok=True)
    return tmp_path


def interrupted(run: Path) -> Path:
    """The run as if it had been stopped before its results."""
    (run / "results.json").unlink()
    return run


USES: dict[str, Callable[..., object]] = {
    "predict": lambda root, images, **trust: api.predict(root / "fit", images / "test" / "red", **trust),
    "predict-model": lambda root, images, **trust: api.predict(root / "fit/model", images / "test" / "red", **trust),
    "evaluate": lambda root, images, **trust: api.evaluate(root / "fit", images, **trust),
    "explain": lambda root, images, **trust: api.explain(root / "fit", images / "test/red/0.png", **trust),
    "resume": lambda root, images, **trust: api.resume(interrupted(root / "fit"), **trust),
    "add": lambda root, images, **trust: api.resume(root / "compare", add=["full"], **trust),
}


@pytest.mark.parametrize("use", USES)
def test_code_does_not_run_because_a_folder_names_it(folder: Path, finished: Path, images: Path, use: str) -> None:
    with pytest.raises(ModelError) as caught:
        USES[use](folder, images)
    assert not (finished / "ran").exists()
    words = str(caught.value)
    assert f"function 'build' of '{finished / 'net.py'}'" in words
    assert "`trust_code=True`" in words
    assert "\n" not in words
    assert RunFolder(folder / "compare").request().strategies == ("linear_probe",)


def test_trusted_or_named_code_runs(folder: Path, finished: Path, images: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    for name in ("net.py", "layers.py"):
        shutil.copy(finished / name, copied)
    found = [
        USES["predict"](folder, images, **trust)
        for trust in (
            {"trust_code": True},
            {"code": f"{finished / 'net.py'}:build"},
            {"code": f"{copied}/net.py:build"},
        )
    ]
    assert found[0] == found[1] == found[2]
    assert (copied / "ran").exists()
    with pytest.raises(OptionError, match=r"`code` must be file\.py:factory"):
        USES["predict"](folder, images, code="resnet18")
    roundabout = f"{finished}/../{finished.name}/net.py:build"
    assert USES["add"](folder, images, code=roundabout)
    with pytest.raises(OptionError, match=r"which .* was started with"):
        USES["resume"](folder, images, code=f"{copied}/net.py:build")


def test_a_finished_run_is_reported_and_resumed_without_code(folder: Path, finished: Path) -> None:
    api.report(folder / "fit")
    (folder / "fit" / "report.html").touch()
    assert isinstance(api.resume(folder / "fit"), FitResults)
    assert not (finished / "ran").exists()


def test_the_command_line_names_its_options(
    folder: Path, finished: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["thawline", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    assert run("evaluate", folder / "fit", images) == 2
    assert "then pass --trust-code to run it, or --code file.py:factory to name the file" in capsys.readouterr().err
    assert run("evaluate", folder / "fit", images, "--trust-code") == 0
    assert run("evaluate", folder / "fit", images, "--code", f"{finished / 'net.py'}:build") == 0


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", [LAYERS.replace("ReLU", "GELU"), None])
def test_a_changed_or_missing_helper_is_found(
    folder: Path, finished: Path, images: Path, use: str, change: str | None
) -> None:
    path = finished / "layers.py"
    try:
        path.write_text(change) if change else path.write_text(f"from other import act  # {use}\n")
        (finished / "other.py").write_text(LAYERS)
        with pytest.raises(InputError, match=r"changed since .*layers\.py"):
            USES[use](folder, images, trust_code=True)
    finally:
        path.write_text(LAYERS)
        (finished / "other.py").unlink()


def test_a_folder_from_before_there_were_digests_opens(folder: Path, images: Path) -> None:
    path = folder / "fit" / "model" / "own_model.json"
    stored = json.loads(path.read_text())
    assert set(stored.pop("files")) == {"net.py", "layers.py"}
    path.write_text(json.dumps(stored))
    path.with_name("SHA256SUMS").unlink()
    USES["predict"](folder, images, trust_code=True)


@pytest.mark.parametrize("source", ["resnet18", "local-dir:model", 5, "two\nlines.py:x"])
def test_sources_that_are_no_code_are_refused(folder: Path, images: Path, source: object) -> None:
    path = folder / "fit" / "model" / "own_model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "source": source}))
    path.with_name("SHA256SUMS").unlink()
    with pytest.raises(InputError) as caught:
        USES["predict"](folder, images)
    assert "\n" not in str(caught.value)


def test_the_model_of_another_run_is_not_explained_as_that_of_this_run(folder: Path, images: Path) -> None:
    path = folder / "fit" / "model" / "thawline.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "saved_seed": 7}))
    path.with_name("SHA256SUMS").unlink()
    with pytest.raises(RunFolderError, match="is not the model of this run"):
        USES["explain"](folder, images, trust_code=True)


def test_a_recipe_does_not_decide_which_code_runs(folder: Path, images: Path) -> None:
    text = (files("thawline") / "recipes" / "biotune-table1.toml").read_text()
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    (folder / "study.toml").write_text(
        re.sub(r"models = \[.*?\]", f'models = ["{folder}/evil.py:make"]', text, flags=re.S)
    )
    with pytest.raises(OptionError, match="names Python code"):
        api.repeat_study(str(folder / "study.toml"), folder / "out", {"data": [f"DTD={images}"]})
    assert not (folder / "ran").exists()
