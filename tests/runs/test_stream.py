"""Streamed runs: the weights of a plain run, a search on a sample, damaged images, and a resume."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.small_runs import Stop, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import CacheConfig, Request
from thawline.errors import DataError, OptionError
from thawline.results import FitResults
from thawline.runs.files import LEDGER, RESULTS, read
from thawline.runs.ledger import Ledger

FIXED = {"learning_rate": 1e-3, "norm": "kept"}


class Notes(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def streamed(request: Request, search_images: int = 24) -> Request:
    return replace(request, images=replace(request.images, stream=True, search_images=search_images))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.thorough
def test_a_streamed_run_ends_with_the_weights_of_a_plain_one(images: Path, tmp_path: Path) -> None:
    request, notes = small_request(images, ("last_blocks:k=2",), "fit", **FIXED), Notes()
    plain, stream = api.run(request, tmp_path / "plain"), api.run(streamed(request), tmp_path / "stream", notes)
    assert isinstance(plain, FitResults)
    assert isinstance(stream, FitResults)
    ours, theirs = weights(tmp_path / "plain"), weights(tmp_path / "stream")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (stream.val, stream.test, stream.digest) == (plain.val, plain.test, plain.digest)
    assert any("search and tuning used 14 training and 10 validation images" in note for note in notes.notes)
    assert any("Images are streamed" in note for note in stream.data.notes)


@pytest.mark.slow
def test_search_has_the_sample_and_the_final_training_has_all(images: Path, tmp_path: Path) -> None:
    request = streamed(small_request(images, ("auto:budget=2x,answer=average",), "fit"))
    results = api.run(request, tmp_path / "run")
    assert isinstance(results, FitResults)
    assert results.baselines == {}
    assert results.search is not None
    assert results.search.optimism is None, "the final training was not selected"
    records = Ledger(tmp_path / "run" / LEDGER).records
    finals = [record for record in records if record.purpose == "final"]
    assert finals
    for record in (final for final in finals if "mixture" not in final.plan):
        validations = sum(epoch.is_validated for epoch in record.epochs)
        assert (record.image_passes - 16 * validations) % 24 == 0, "all 24 images of train, and 16 of validation"
    found = [10 * record.score[0] for record in records if record.purpose != "final" and record.best]
    assert found == pytest.approx([*map(round, found)]), "validated on ten images"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["linear_probe", "lp_ft"])
def test_a_probe_is_solved_on_the_sample(images: Path, tmp_path: Path, strategy: str) -> None:
    request = replace(small_request(images, (strategy,), "fit", learning_rate=1e-3), refit=strategy == "linear_probe")
    results = api.run(streamed(request), tmp_path / "run")
    assert isinstance(results, FitResults)
    if request.refit:
        assert results.refit is None, "it would be solved on the same sample"
    assert results.train.accuracy.mean * 14 == pytest.approx(round(results.train.accuracy.mean * 14))


@pytest.mark.slow
def test_an_interrupted_streamed_run_goes_on_to_the_same_answer(images: Path, tmp_path: Path) -> None:
    request = streamed(small_request(images, ("full", "last_blocks"), "compare", norm="kept"))
    whole = api.run(request, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "run", Stop(after=8))
    assert api.resume(tmp_path / "run", None).digest == whole.digest


@pytest.mark.thorough
def test_a_damaged_image_in_a_stream_is_refused_or_left_out(images: Path, tmp_path: Path) -> None:
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    bad = copy / "train" / "blue" / "3.png"
    bad.write_bytes(bad.read_bytes()[:100])
    request = streamed(small_request(copy, ("last_blocks:k=1",), "fit", **FIXED))
    with pytest.raises(DataError, match=r"3\.png' cannot be read as an image"):
        api.run(request, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    skipping = replace(request, images=replace(request.images, on_bad="skip"))
    results = api.run(skipping, tmp_path / "skipped")
    assert results.data.images["train"] == 23


def test_several_networks_and_old_images_are_refused(images: Path) -> None:
    with pytest.raises(OptionError, match="`stream` must be left out with several networks"):
        Request.from_options("fit", str(images), ("auto",), {"model": ["resnet18", "resnet34"], "stream": True})
    with pytest.raises(OptionError, match="`keep_old` must be left out with `stream`"):
        Request.from_options("fit", str(images), ("auto",), {"keep_old": True, "head": "keep", "stream": True})


@pytest.mark.thorough
def test_without_a_cache_the_answer_is_the_same_but_for_rounding(images: Path, tmp_path: Path) -> None:
    request = streamed(small_request(images, ("last_blocks:k=2",), "fit", **FIXED))
    api.run(request, tmp_path / "cached")
    api.run(replace(request, cache=CacheConfig(memory_bytes=0, disk_bytes=0)), tmp_path / "uncached")
    ours, theirs = weights(tmp_path / "cached"), weights(tmp_path / "uncached")
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours if ours[name].is_floating_point()) < 1e-3
    assert read(tmp_path / "cached" / RESULTS["fit"], FitResults).frozen_bit_identical
