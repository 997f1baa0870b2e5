"""What the functions return: text, HTML, the plan, the model and predictions; and plans that are edited and trained."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import thawline
from tests.report import synthetic
from tests.small_runs import _own_cache, images, small_request  # noqa: F401  # fixtures
from thawline import api
from thawline.errors import ModelError, OptionError, PlanError
from thawline.outcomes import Checked, FitRun
from thawline.plan import FineTunePlan, Phase
from thawline.progress import ConsoleCallback, NotebookCallback, shown
from thawline.report.consoles import as_html, as_text
from thawline.report.tables import print_comparison
from thawline.runs.files import read_results

SMALL: dict[str, Any] = {"model": "test_efficientnet", "weights": "random", "epochs": 1, "batch_size": 8}
SMALL |= {"threads": 1, "device": "cpu", "image_size": 32, "views": 2, "augment": "mild"}
SMALL |= {"explain": False, "callback": None}


@pytest.fixture(scope="module")
def fitted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> FitRun:  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THAWLINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return thawline.fit(images, tmp_path_factory.mktemp("fitted") / "run", strategy="full:norm=kept", **SMALL)


def test_a_result_is_text_a_plan_a_model_and_keeps_its_keys(fitted: FitRun) -> None:
    text = str(fitted)
    assert " ".join(text.split()).startswith(" ".join(fitted.answer.split()))
    assert "strategy" in text
    assert str(fitted.path) in text
    assert len(repr(fitted)) < 200
    assert json.loads(json.dumps(fitted.to_dict()))["plan"] == fitted.plan.to_dict()
    assert "path" not in fitted.to_dict()
    assert fitted["model"]["architecture"] == "test_efficientnet"
    assert fitted["plan"]["phases"][0]["learning_rates"] == dict(fitted.plan.phases[0].learning_rates)
    assert fitted.model(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    assert read_results(fitted.path).to_dict() == fitted.to_dict()


def test_in_a_kernel_a_result_is_drawn_once(fitted: FitRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich would otherwise find the kernel and display every line there, beside the text and the HTML."""
    text = str(fitted)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("displayed"))
    assert str(fitted) == text
    assert "<table" in fitted._repr_html_()


def test_a_result_predicts_files_and_objects_alike(fitted: FitRun, images: Path) -> None:  # noqa: F811
    path = next((images / "test" / "red").glob("*.png"))
    picture = Image.open(path).convert("RGB")
    (from_file,) = fitted.predict(path, callback=None).predictions
    for given in (picture, np.asarray(picture), [picture], [(picture, "red")]):
        (from_object,) = fitted.predict(given, callback=None).predictions
        assert (from_object.path, from_object.top) == ("image 0", from_file.top)


class Outside(HTMLParser):
    """Collects tags, and attributes that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, value in attrs if name in ("src", "href") or "url(" in (value or "")]


def test_html_is_escaped_and_loads_nothing() -> None:
    found = synthetic.comparison(synthetic.row("<script>alert(1)</script>", (None, None, None, 3e-4), 0.75, 1.0))
    html = as_html(lambda console: print_comparison(console, found, Path("<b>run</b>")))
    parser = Outside()
    parser.feed(html)
    assert parser.tags <= {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "pre"}
    assert parser.loads == []
    assert "&lt;script&gt;" in html
    assert "\x1b" not in as_text(lambda console: print_comparison(console, found, Path("run")))


PLAN = FineTunePlan((Phase({"stem": None, "body": 1e-4, "<head>": 1e-3}),))


def test_a_plan_is_a_table_that_can_be_edited() -> None:
    assert str(PLAN).splitlines()[:3] == ["block   learning rate", "stem    frozen", "body    1e-4"]
    assert "&lt;head&gt;" in PLAN._repr_html_()
    edited = PLAN.freeze("body").train("stem", 3e-4)
    assert dict(edited.phases[0].learning_rates) == {"stem": 3e-4, "body": None, "<head>": 1e-3}
    assert dict(PLAN.phases[0].learning_rates)["body"] == 1e-4
    with pytest.raises(PlanError, match="no block 'bodi'; did you mean 'body'"):
        PLAN.freeze("bodi")
    with pytest.raises(PlanError, match="is the head"):
        PLAN.freeze("<head>")
    with pytest.raises(PlanError, match="number above 0"):
        PLAN.train("body", -1.0)
    with pytest.raises(PlanError, match=r"by their names, one by one, got \['stem', 'body'\]"):
        PLAN.freeze(["stem", "body"])  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="by their names, one by one, got 1"):
        PLAN.train(1, 1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head_start": "kept"}, "head starts from the head of the model that is fitted again"),
        ({"statistics": "recomputed"}, "statistics: recomputed"),
    ],
)
def test_what_a_plan_starts_from_is_below_its_table(change: dict[str, Any], says: str) -> None:
    assert says in str(dataclasses.replace(PLAN, **change)).splitlines()[-1]


@pytest.mark.parametrize("plan", [3, {"phases": []}, Checked])
def test_what_is_no_plan_is_refused_in_one_line(plan: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"`plan` must be a FineTunePlan, a plan.json or a run folder, got"):
        thawline.fit(tmp_path, tmp_path / "run", plan=plan, callback=None)


def test_a_result_finds_its_model_from_another_folder(
    fitted: FitRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fitted.path.parent)
    relative = api.resume(fitted.path.name, None)
    text = str(relative)
    monkeypatch.chdir(tmp_path)
    assert isinstance(relative, FitRun)
    assert relative.path == Path(fitted.path.name)
    assert str(relative) == text
    assert not relative.model.training


@pytest.mark.thorough
def test_an_edited_plan_is_trained_as_it_is(fitted: FitRun, images: Path, tmp_path: Path) -> None:  # noqa: F811
    edited = fitted.plan.freeze(fitted.plan.blocks[0]).train(fitted.plan.blocks[1], 2e-4)
    (tmp_path / "plan.json").write_text(edited.to_json())
    again = thawline.fit(images, tmp_path / "again", plan=tmp_path / "plan.json", **SMALL)
    assert again.plan == edited
    assert api.resume(again.path, None).plan == edited
    same = thawline.fit(images, tmp_path / "same", plan=fitted.path, **SMALL)
    assert same.plan == fitted.plan
    assert same["test"] == fitted["test"]
    with pytest.raises(OptionError, match="`plan` and `strategy` cannot both"):
        thawline.fit(images, tmp_path / "no", plan=edited, strategy="full", **SMALL)
    with pytest.raises(PlanError, match="differ from those of the model"):
        thawline.fit(images, tmp_path / "no", plan=PLAN, **SMALL)


def test_a_timm_network_is_a_model_and_others_say_what_to_do(images: Path, tmp_path: Path) -> None:  # noqa: F811
    network = timm.create_model("test_efficientnet", num_classes=5)
    options = {**SMALL, "model": network, "weights": None, "strategy": "linear_probe"}
    run = thawline.fit(images, tmp_path / "run", **options)
    stem = next(name for name in network.state_dict() if name.startswith("conv_stem"))
    assert torch.equal(run.model.state_dict()[stem], network.state_dict()[stem])
    with pytest.raises(ModelError, match="Linear is not a network of timm"):
        thawline.fit(images, tmp_path / "other", **{**options, "model": torch.nn.Linear(2, 2)})


class Handle:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, obj: object) -> None:
        self.shown.append(repr(obj))


def test_a_notebook_keeps_the_notes_and_the_last_line() -> None:
    handle = Handle()

    def display(first: object) -> Handle:
        handle.update(first)
        return handle

    with NotebookCallback(display) as callback:
        callback.note("a note")
        callback.decoding(3, 10)
    assert handle.shown[-1].splitlines() == ["a note", "Done in 1 s"]
    assert "<" not in NotebookCallback(display)._line


def test_callbacks_are_the_callers_or_silent_or_automatic() -> None:
    with shown(None) as silent:
        assert type(silent) is thawline.Callback
    with shown("auto") as automatic:
        assert isinstance(automatic, ConsoleCallback)


@pytest.mark.parametrize("callback", [3, False, [], print, thawline.Callback, "silent"])
def test_what_is_no_callback_is_refused_in_one_line(callback: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"`callback` must be a thawline.Callback, 'auto' or None = silence, got"):
        thawline.fit(tmp_path, tmp_path / "run", callback=callback)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "meant"), [("lr", "learning_rate"), ("imgsz", "image_size"), ("epoch", "epochs")])
def test_names_of_other_tools_are_known_in_python(name: str, meant: str, tmp_path: Path) -> None:
    wrong: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=f"{name!r}; did you mean {meant!r}"):
        thawline.fit(tmp_path, tmp_path / "run", **wrong)


def test_help_documents_every_option() -> None:
    assert thawline.fit.__doc__ is not None
    assert "batch_size: Images per optimizer step." in thawline.fit.__doc__
