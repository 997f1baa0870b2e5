"""`augment` auto: settled once before any training, said once, and the same when the run is resumed."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.arrows import SIDE, SIDEWAYS, UPRIGHT, write_arrows
from tests.small_runs import Stop, small_request
from thawline import api
from thawline.config import DataConfig, Request
from thawline.data.augment import augmenter
from thawline.data.demo import demo_network
from thawline.errors import NonFiniteLossError
from thawline.model.load import build_on_meta
from thawline.records import digest
from thawline.results import AugmentationChoice
from thawline.runs import augmentation
from thawline.runs.files import LEDGER
from thawline.runs.folder import RunFolder
from thawline.runs.ledger import Ledger


class Told(Stop):
    """Keeps the lines about flips; Ctrl-C after a number of trainings."""

    def __init__(self, after: int = 1000) -> None:
        super().__init__(after)
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines += [text] if "Flips" in text else []


@pytest.fixture(scope="module")
def sideways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arrows(tmp_path_factory.mktemp("data") / "sideways", SIDEWAYS)


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arrows(tmp_path_factory.mktemp("data") / "upright", UPRIGHT)


def request(data: Path, augment: str = "auto", **others: object) -> Request:
    """One training of the last block of the demo's network."""
    small = small_request(data, ("last_blocks:k=1,norm=kept",), verb="fit", learning_rate=1e-3)
    images = DataConfig(image_size=SIDE, views=2, augment=augment)  # type: ignore[arg-type]
    changed = {
        "model": f"local-dir:{demo_network()}",
        "weights": None,
        "images": images,
        "train": replace(small.train, epochs=1),
        **others,
    }
    return replace(small, **changed)  # type: ignore[arg-type]


def digest_of(run: Path) -> str:
    return digest(Ledger(run / LEDGER).records)


def keys_of(run: Path) -> set[str]:
    return {record.key for record in Ledger(run / LEDGER).records}


def page_of(run: Path) -> str:
    return html.unescape((run / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing may be measured."""

    def refuse(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(augmentation, "mirror_test", refuse)


@pytest.mark.thorough
def test_classes_that_a_mirror_exchanges_turn_flips_off(sideways: Path, tmp_path: Path) -> None:
    told = Told()
    results = api.run(request(sideways), tmp_path / "run", told)
    choice = results.augmentation
    assert choice is not None
    assert choice.mirror_test is not None
    assert results.request["images"]["augment"] == choice.augment == "mild_no_flip"
    assert told.lines == [choice.words]
    assert choice.words.startswith("Flips off: your classes are not mirror-symmetric. A linear probe is clearly")
    assert f"{choice.mirror_test.mirrored_log_loss:.3f} (60 validation images, p < 0.001)." in choice.words
    assert 0 < choice.work < 1
    stored = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert stored["augmentation"]["mirror_test"]["images"] == 60
    page = page_of(tmp_path / "run")
    assert 'id="search-h">Augmentation</h2>' in page
    assert page.index("Before any training, the mirror test") < page.index("Flips off: your classes")
    api.run(request(sideways, "mild_no_flip"), tmp_path / "given")
    assert digest_of(tmp_path / "run") == digest_of(tmp_path / "given")
    assert keys_of(tmp_path / "run") == keys_of(tmp_path / "given")


@pytest.mark.thorough
def test_classes_that_a_mirror_leaves_alone_keep_flips(upright: Path, tmp_path: Path) -> None:
    told = Told()
    results = api.run(request(upright), tmp_path / "run", told)
    assert results.request["images"]["augment"] == "mild"
    assert told.lines[0].startswith("Flips on: a linear probe recognizes mirrored images about as well: accuracy")
    api.run(request(upright, "mild"), tmp_path / "given")
    assert digest_of(tmp_path / "run") == digest_of(tmp_path / "given")


@pytest.mark.thorough
def test_a_resumed_run_keeps_the_choice_and_does_not_measure_again(
    sideways: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = replace(request(sideways), strategies=("last_blocks:k=1",))  # two trainings, one for each norm mode
    whole = api.run(wanted, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        api.run(wanted, tmp_path / "run", Told(after=1))
    monkeypatch.setattr(augmentation, "mirror_test", None)
    told = Told()
    resumed = api.resume(tmp_path / "run", told)
    assert told.lines == []
    assert resumed.augmentation == whole.augmentation
    assert resumed.request["images"] == whole.request["images"]
    assert digest_of(tmp_path / "run") == digest_of(tmp_path / "whole")
    assert keys_of(tmp_path / "run") == keys_of(tmp_path / "whole")


@pytest.mark.thorough
def test_a_run_killed_between_ledger_and_request_keeps_the_choice(
    sideways: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Ledger.keep_augmentation

    def kill(ledger: Ledger, choice: AugmentationChoice) -> None:
        keep(ledger, choice)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "keep_augmentation", kill)
        with pytest.raises(KeyboardInterrupt):
            api.run(request(sideways), tmp_path / "run")
    assert RunFolder(tmp_path / "run").request().images.augment == "auto"
    monkeypatch.setattr(augmentation, "mirror_test", None)
    assert api.resume(tmp_path / "run").request["images"]["augment"] == "mild_no_flip"


@pytest.mark.thorough
def test_a_request_that_a_failing_resume_restores_is_settled_again(sideways: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        api.run(request(sideways), tmp_path / "run", Told(after=0))
    folder = RunFolder(tmp_path / "run")
    asked = folder.request()
    folder.store(replace(asked, images=replace(asked.images, augment="auto")))
    assert api.resume(tmp_path / "run").request["images"]["augment"] == "mild_no_flip"


@pytest.mark.thorough
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("augment", ["none", "mild", "strong_no_flip"])
def test_a_given_augmentation_is_not_measured(sideways: Path, tmp_path: Path, augment: str) -> None:
    told = Told()
    results = api.run(request(sideways, augment, strategies=("linear_probe",)), tmp_path / "run", told)
    assert results.request["images"]["augment"] == augment
    assert results.augmentation is None
    assert told.lines == []
    assert "mirror test" not in page_of(tmp_path / "run")


@pytest.mark.thorough
def test_a_comparison_tells_what_was_measured_too(sideways: Path, tmp_path: Path) -> None:
    results = api.run(request(sideways, verb="compare", strategies=("linear_probe",)), tmp_path / "run")
    assert results.augmentation is not None
    assert results.augmentation.augment == "mild_no_flip"
    assert results.augmentation.words in page_of(tmp_path / "run")
    assert api.resume(tmp_path / "run", add=["norm_only"]).augmentation == results.augmentation


@pytest.mark.thorough
def test_where_it_cannot_be_measured_flips_stay_and_one_line_says_so(
    sideways: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = replace(request(sideways), strategies=("linear_probe:solver=sgd",))
    monkeypatch.setattr("thawline.training.trainer.linear_head", lambda *_: None)
    told = Told()
    results = api.run(probe, tmp_path / "head", told)
    assert told.lines == [
        "Flips on: whether your classes are mirror-symmetric cannot be measured, because the head of test_efficientnet "
        "is not a single linear layer; augment mild_no_flip turns flips off."
    ]
    assert results.request["images"]["augment"] == "mild"
    assert results.augmentation is not None
    assert results.augmentation.mirror_test is None

    def fail(*_: object) -> None:
        raise NonFiniteLossError("The features of 3 of 8 training images are NaN.")

    monkeypatch.setattr(augmentation, "mirror_test", fail)
    told = Told()
    assert api.run(probe, tmp_path / "features", told).request["images"]["augment"] == "mild"
    assert "because the linear probe failed (The features of 3 of 8 training images are NaN); augment" in told.lines[0]


def test_auto_is_the_default_and_no_augmentation_of_its_own() -> None:
    assert DataConfig().augment == "auto"
    options, preprocessing = DataConfig(), build_on_meta(f"local-dir:{demo_network()}", 2, SIDE).preprocessing
    assert augmenter(options, 8, preprocessing) is None
    settled = augmenter(replace(options, augment="mild_no_flip"), 8, preprocessing)
    assert settled is not None
    assert np.all(settled.draws(0)[:, 0] == 1)
