"""`--preset paper` is how BioTune was measured, and whatever the user says goes before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thawline import api
from thawline.cli import app as cli
from thawline.config import DataConfig, Request, TrainConfig, TuningConfig, preset
from thawline.errors import OptionError
from thawline.training.schedule import rate_factor


@pytest.fixture(autouse=True)
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the commands to be called with; no command gets as far as reading it."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()


def requested(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Request:
    """What the command line asks for."""
    asked: list[Request] = []

    def run(request: Request, *_: object) -> dict[str, Any]:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run", run)
    monkeypatch.setattr("sys.argv", ["thawline", *arguments, "--out", "run"])
    with pytest.raises(SystemExit):
        cli.main()
    return asked[0]


def test_the_preset_is_the_papers_protocol() -> None:
    parts = preset("paper")
    assert parts == {
        "train": TrainConfig(
            epochs=30,
            batch_size=96,
            optimizer="adam",
            weight_decay=0.0,
            patience=3,
            warmup_share=0.0,
            schedule_epochs=100,
        ),
        "images": DataConfig(image_size=224, crop_pct=0.9655, augment="none"),
        "search": TuningConfig(seeds=3, learning_rate=1e-3, norm="moving"),
    }
    assert int(224 / 0.9655) == 232
    assert rate_factor(29, 100, 0.0) == pytest.approx(0.806, abs=1e-3)
    assert rate_factor(30, 100, 0.0) == pytest.approx(0.794, abs=1e-3)


def test_own_options_go_before_the_presets() -> None:
    parts = preset("paper", epochs=12, image_size=96, threads=1, seed=5)
    assert parts["train"].epochs == 12  # type: ignore[union-attr]
    assert parts["images"] == DataConfig(image_size=96, crop_pct=0.9655, augment="none", seed=5)
    with pytest.raises(OptionError, match="unknown option 'rungs'"):
        preset("paper", rungs=3)


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_the_command_line_takes_it(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = requested(monkeypatch, verb, "photos", "--preset", "paper")
    assert (plain.train, plain.images, plain.search) == tuple(preset("paper").values())
    own = requested(monkeypatch, verb, "photos", "--preset", "paper", "--epochs", "20", "--batch-size", "32")
    # 20 epochs and batches of 32 are the defaults, but here they were asked for.
    assert (own.train.epochs, own.train.batch_size, own.train.schedule_epochs) == (20, 32, 100)


def test_an_unknown_preset_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["thawline", "fit", "photos", "--preset", "papers", "--out", "run"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "thawline: --preset must be one of paper, got 'papers'.\n"


def test_a_schedule_cannot_end_before_the_training() -> None:
    with pytest.raises(OptionError, match="`schedule_epochs` must be at least as many as `epochs`"):
        TrainConfig(epochs=30, schedule_epochs=20)


@pytest.mark.thorough
def test_the_crop_reaches_the_pixels_and_the_saved_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.small_runs import small_request
    from thawline.data.demo import write_digits

    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    write_digits(tmp_path / "digits", train_per_class=2, val_per_class=2, seed=0)
    request = small_request(tmp_path / "digits", ("linear_probe",), verb="fit", learning_rate=1e-3)
    chosen = Request.from_dict({**request.to_dict(), "images": {**request.to_dict()["images"], "crop_pct": 0.8}})
    api.run(chosen, tmp_path / "run")
    import timm

    model: Any = timm.create_model(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.pretrained_cfg["crop_pct"] == 0.8
