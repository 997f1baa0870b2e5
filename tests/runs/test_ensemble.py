"""An ensemble that `fit` saved: its folder, and the commands that use it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from tests.small_runs import small_request
from thawline import api
from thawline.config import Request
from thawline.errors import InputError
from thawline.model.load import load_model
from thawline.plan import Block, FineTunePlan, Ingredient, Mixture
from thawline.records import read_json
from thawline.results import FitResults
from thawline.runs.classifier import Classifier
from thawline.runs.model_folder import opening_lines
from thawline.strategies.context import Tuned
from thawline.studies import fit as fit_study

SHARES = (1.0, 2.0)


def mixed(blocks: tuple[Block, ...]) -> FineTunePlan:
    """The head alone, and the last two blocks."""
    names = [block.name for block in blocks]
    first, second = (
        FineTunePlan.constant(blocks, dict.fromkeys(names[-count:], 1e-2), granularity="layer") for count in (1, 2)
    )
    return replace(first, mixture=Mixture("outputs", (Ingredient(second, share=SHARES[1]),)))


@pytest.fixture(autouse=True)
def _mixed_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    use_mixed_plan(monkeypatch)


def use_mixed_plan(patch: pytest.MonkeyPatch) -> None:
    """`fit` settles on an ensemble whatever it was asked for."""

    def tune(experiment: Any, spec: str) -> Tuned:
        return Tuned(spec, 1e-2, mixed(experiment.blocks("layer")), (0.0, 0.0))

    patch.setattr(fit_study, "tune", tune)


def request_for(images: Path) -> Request:
    return replace(small_request(images, ("full",), verb="fit"), granularity="layer", explain=True)


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "ensemble"
    with pytest.MonkeyPatch.context() as patch:
        use_mixed_plan(patch)
        api.run(request_for(images), run)
    return run


def results_of(run: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", read_json(run / "results.json"))


def lines_of(folder: Path) -> Callable[[Tensor], Tensor]:
    found: dict[str, Any] = {}
    exec(opening_lines(folder), found)
    return cast("Callable[[Tensor], Tensor]", found["model"])


@pytest.mark.thorough
def test_every_member_opens_in_timm_by_itself(finished: Path) -> None:
    model = finished / "model"
    assert sorted(path.name for path in model.iterdir()) == [
        "1",
        "2",
        "README.md",
        "SHA256SUMS",
        "ensemble.json",
        "thawline.json",
    ]
    assert read_json(model / "ensemble.json") == {"format_version": 1, "members": ["1", "2"], "shares": list(SHARES)}
    members = [timm.create_model(f"local-dir:{model / name}", pretrained=True).eval() for name in ("1", "2")]
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (member(images).softmax(1) for member in members)
        expected = (first + 2 * second) / 3
        torch.testing.assert_close(lines_of(model)(images), expected, rtol=0, atol=1e-6)
        found = Classifier(finished).network(images).softmax(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(first, second)


@pytest.mark.thorough
def test_members_say_which_they_are_and_what_they_train(finished: Path) -> None:
    origins = [json.loads((finished / "model" / name / "thawline.json").read_text()) for name in ("1", "2")]
    assert [origin["member"] for origin in origins] == [{"number": 1, "of": 2}, {"number": 2, "of": 2}]
    assert [sum(not block["frozen"] for block in origin["blocks"]) for origin in origins] == [1, 2]
    assert "val" not in origins[0], "the scores are the ensemble's"
    card = (finished / "model" / "2" / "README.md").read_text()
    assert "It is member 2 of 2 of an ensemble" in card
    assert "These scores are those of the ensemble of 2 networks" in card
    assert "Ensemble of 2 networks" in (finished / "model" / "README.md").read_text()


@pytest.mark.thorough
def test_evaluate_gives_the_scores_of_the_run(finished: Path, images: Path) -> None:
    scores = api.evaluate(finished, str(images))
    assert scores.accuracy == results_of(finished)["test"]["accuracy"]["per_seed"][0]
    alone = api.predict(finished / "model" / "2", images / "test")
    together = api.predict(finished, images / "test")
    assert len(alone.predictions) == len(together.predictions)


@pytest.mark.thorough
def test_the_explanation_is_of_the_first_member_and_says_so(finished: Path) -> None:
    explanation = read_json(finished / "explain.json")
    assert "ensemble of 2 networks" in explanation["notes"][0]
    assert "Grad-CAM and block changes are those of the first" in (finished / "report.html").read_text()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("ensemble.json", None, "ensemble.json is missing, but SHA256SUMS names it"),
        ("ensemble.json", "{}", "ensemble.json is damaged or was changed"),
        ("1/model.safetensors", "", "1/model.safetensors is damaged or was changed"),
        ("2/config.json", None, "2/config.json is missing"),
    ],
)
def test_a_damaged_ensemble_is_refused(
    finished: Path, images: Path, tmp_path: Path, file: str, text: str | None, says: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished / "model", folder)
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(InputError) as caught:
        api.predict(folder, images / "test")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"members": ["1", "../2"]}, "names of folders beside it"),
        ({"members": ["1", ".."]}, "names of folders beside it"),
        ({"members": ["1"]}, "lists of the same length"),
        ({"members": []}, "lists of the same length"),
        ({"members": "12"}, "cannot be used"),
        ({"members": ["1", "3"]}, "3 is missing"),
        ({"shares": [1, 0]}, "numbers above 0"),
        ({"shares": ["a", 1]}, "cannot be used"),
        ({"format_version": 7}, "does not have format_version 1"),
    ],
)
def test_an_ensemble_that_cannot_be_used_gets_one_line(
    finished: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished / "model", folder)
    (folder / "SHA256SUMS").unlink()
    stored = read_json(folder / "ensemble.json")
    (folder / "ensemble.json").write_text(json.dumps({**stored, **change}))
    with pytest.raises(InputError) as caught:
        Classifier(folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_members_of_other_classes_are_refused(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished / "model", folder)
    (folder / "2" / "SHA256SUMS").unlink()
    config = read_json(folder / "2" / "config.json")
    (folder / "2" / "config.json").write_text(json.dumps({**config, "label_names": ["red", "blue"]}))
    with pytest.raises(InputError, match="has other classes or preprocessing"):
        Classifier(folder)


@pytest.mark.slow
def test_an_ensemble_of_the_users_own_code(images: Path, tmp_path: Path) -> None:
    code = tmp_path / "ours.py"
    code.write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2),\n"
        "        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    run = tmp_path / "run"
    results = api.run(replace(request_for(images), model=f"{code}:small", weights=None), run)
    assert isinstance(results, FitResults)
    scores = api.evaluate(run, str(images), trust_code=True)
    assert results.test is not None
    assert scores.accuracy == results.test.accuracy.per_seed[0]
    sys.path.insert(0, str(tmp_path))
    try:
        model = lines_of(run / "model")
    finally:
        sys.path.remove(str(tmp_path))
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = Classifier(run, _trusted()).network(batch).softmax(1)
        np.testing.assert_allclose(model(batch).numpy(), expected.numpy(), atol=1e-6)


def _trusted() -> Any:
    from thawline.model.trust import TRUSTED

    return TRUSTED


@pytest.mark.thorough
def test_a_member_is_pretrained_weights_like_any_timm_folder(finished: Path) -> None:
    assert load_model(f"local-dir:{finished / 'model' / '1'}", 2).num_classes == 2
