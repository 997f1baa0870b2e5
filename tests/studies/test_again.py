"""A model that is fitted again: its head, its frozen parts, its images, what it forgets."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.small_runs import Stop, save_model, small_request
from thawline import api
from thawline.callback import Callback
from thawline.config import Request
from thawline.errors import InputError, OptionError, RunFolderError
from thawline.model.apply import statistics
from thawline.model.load import LoadedModel, load_model, load_saved
from thawline.plan import FineTunePlan
from thawline.records import environment
from thawline.results import FitResults
from thawline.runs.again import fit_again, model_source, old_model, seen_before
from thawline.runs.files import read_run
from thawline.runs.folder import RunFolder
from thawline.runs.setup import open_experiment
from thawline.search.baselines import again_candidates
from thawline.search.encoding import AGAIN, AgainEncoding
from thawline.strategies.auto import AutoConfig
from thawline.studies.pairs import Comparable
from thawline.training.mixing import mixed

CLASSES = ("red", "zebra", "blue")
"""Those of a model whose order is not that of any folder."""


def fitted(request: Request, out: Path) -> FitResults:
    return cast(FitResults, api.run(request, out))


@pytest.fixture(scope="module")
def old(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the small task."""
    out = tmp_path_factory.mktemp("old") / "run"
    fitted(small_request(images, ("full:norm=moving",), "fit"), out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timm folder without a run, with the classes `CLASSES`."""
    path = tmp_path_factory.mktemp("folder") / "timm"
    save_model(path, load_model("test_efficientnet", len(CLASSES), weights="random", image_size=32), CLASSES)
    return path


def again(images: Path, old: Path, strategy: str, **options: object) -> Request:
    request = small_request(images, (strategy,), "fit", learning_rate=1e-2)
    return replace(request, model=str(old), weights=None, head="auto", **options)  # type: ignore[arg-type]


def saved(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def opened(folder: Path, classes: tuple[str, ...], head: str = "auto") -> tuple[LoadedModel, Request]:
    source = model_source(str(folder))
    request = replace(small_request(folder, ("full",), "fit"), model=source, weights=None, head=head)  # type: ignore[arg-type]
    return load_model(source, len(classes)), request


def test_rows_of_shared_classes_give_the_logits_of_the_old_model_and_new_rows_are_fresh(folder: Path) -> None:
    classes = ("amber", "blue", "red")
    model, request = opened(folder, classes)
    facts = fit_again(request, model, classes)
    assert facts is not None
    assert (facts.kept, facts.new, facts.vanished) == (["blue", "red"], ["amber"], ["zebra"])
    assert "kept for 2 classes with the same name; 1 class new (amber); 1 class gone (zebra)" in facts.words
    kept, image = model.kept_head, torch.randn(4, 3, 32, 32)
    assert kept is not None
    assert not kept.is_complete
    drawn = []
    for seed in (0, 1):
        model.restore(seed)
        fresh = model.module.classifier.weight.detach().clone()  # type: ignore[union-attr, operator]
        kept.put_into(model.module.classifier)  # type: ignore[arg-type]
        with torch.no_grad():
            ours = model.module.eval()(image)
            theirs = load_saved(folder, len(CLASSES), 32)(image)
        torch.testing.assert_close(ours[:, 1:], theirs[:, [2, 0]])
        assert torch.equal(model.module.classifier.weight[0], fresh[0])  # type: ignore[union-attr, index]
        drawn.append(fresh[0])
    assert not torch.equal(*drawn)


def test_a_permutation_of_the_classes_keeps_every_row(folder: Path, images: Path, tmp_path: Path) -> None:
    results = fitted(again(images, folder, "unchanged"), tmp_path / "run")
    before, after = load_file(folder / "model.safetensors"), saved(tmp_path / "run")
    assert changed({name: tensor for name, tensor in before.items() if "classifier" not in name}, after) == set()
    assert torch.equal(after["classifier.weight"], before["classifier.weight"][[2, 0]])
    assert results.again is not None
    assert results.again.vanished == ["zebra"]
    assert (results.trainable_percent, results.learning_rate) == (0, 0)
    assert all(block.frozen for block in results.blocks)
    assert results.forgetting is None  # no run, so no test split


def test_the_unchanged_network_scores_as_it_did(old: Path, images: Path, tmp_path: Path) -> None:
    results = fitted(again(images, old, "unchanged"), tmp_path / "run")
    before = cast(FitResults, read_run(old).results)
    assert results.test is not None
    assert before.test is not None
    assert results.test.accuracy.mean == before.test.accuracy.mean
    assert changed(saved(old), saved(tmp_path / "run")) == set()
    assert results.forgetting is not None
    assert results.forgetting.before == results.forgetting.after == before.test.accuracy.mean
    assert results.again is not None
    assert results.again.seen == {"train": 24, "val": 16}  # these are the very images of the old run
    assert results.again.seen_in_test == 0


def test_statistics_alone_change_nothing_but_running_statistics(old: Path, images: Path, tmp_path: Path) -> None:
    results = fitted(again(images, old, "norm_statistics"), tmp_path / "run")
    found = changed(saved(old), saved(tmp_path / "run"))
    network = load_model("test_efficientnet", 2, weights="random", image_size=32).module
    assert found
    assert found <= statistics(network)
    assert {name.rpartition(".")[2] for name in found} >= {"running_mean", "running_var"}
    assert results.cost.work < 1


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [("first_blocks:k=1,norm=kept", ("conv_stem", "bn1", "blocks.0")), ("linear_probe:solver=sgd", ("classifier",))],
)
def test_what_is_frozen_keeps_every_bit(
    strategy: str, trained: tuple[str, ...], old: Path, images: Path, tmp_path: Path
) -> None:
    fitted(again(images, old, strategy), tmp_path / "run")
    weights = {name for name in saved(old) if name.startswith(trained) and name.endswith((".weight", ".bias"))}
    assert changed(saved(old), saved(tmp_path / "run")) == weights


def test_a_new_class_makes_the_head_train_with_the_first_blocks(folder: Path, images: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        shutil.copytree(images / split, tmp_path / "data" / split)
        shutil.move(tmp_path / "data" / split / "red", tmp_path / "data" / split / "green")
    results = fitted(again(tmp_path / "data", folder, "first_blocks:k=1,norm=kept"), tmp_path / "run")
    plan = results.plan
    assert plan.head_start == "kept"
    assert plan.phases[0].trained == (plan.blocks[0], plan.blocks[-1])


@pytest.mark.thorough
def test_auto_starts_from_the_old_model_and_resumes_to_the_same_digest(old: Path, images: Path, tmp_path: Path) -> None:
    request = again(images, old, "auto:budget=4candidates,answer=pick")
    whole = fitted(request, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        api.run(request, tmp_path / "stopped", Stop(3))
    assert cast(FitResults, api.resume(tmp_path / "stopped")).digest == whole.digest
    assert whole.search is not None
    assert list(whole.search.ways or {})[:3] == ["unchanged", "norm_statistics", "linear_probe"]
    assert {candidate.head_start for candidate in whole.search.tried} == {"kept", "probe"}
    assert changed(saved(tmp_path / "whole"), saved(tmp_path / "stopped")) == set()


@pytest.mark.thorough
def test_keeping_the_old_skill_saves_a_mean_of_both_ends(old: Path, images: Path, tmp_path: Path) -> None:
    fitted(again(images, old, "full:norm=kept"), tmp_path / "new")
    results = fitted(again(images, old, "full:norm=kept", keep_old=True), tmp_path / "kept")
    facts = results.keep_old
    assert facts is not None
    assert [each.old_share for each in facts.tried] == [step / 10 for step in range(11)]
    assert facts.old_images == 16
    # Both runs have the same images, so both accuracies are those of one split.
    assert all(each.val == each.old_val for each in facts.tried)
    best = max(facts.tried, key=lambda each: each.val)
    assert facts.old_share == best.old_share
    ends = saved(old), saved(tmp_path / "new")
    expected = mixed(*ends, 1 - facts.old_share)
    for name, tensor in saved(tmp_path / "kept").items():
        torch.testing.assert_close(tensor, expected[name])
    page = (tmp_path / "kept" / "report.html").read_text()
    assert "Share of old weights" in page
    assert facts.words.partition(":")[0] in page


def test_a_refit_starts_from_the_old_model_too(old: Path, images: Path, tmp_path: Path) -> None:
    results = fitted(again(images, old, "norm_statistics", refit=True), tmp_path / "run")
    assert results.refit is not None
    network = load_model("test_efficientnet", 2, weights="random", image_size=32).module
    assert changed(saved(old), saved(tmp_path / "run")) <= statistics(network)


def test_copies_of_old_images_are_found_by_their_content(old: Path, images: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for copy, split in zip(copies, ("train", "val", "test"), strict=True):
        shutil.copy(images / split / "red" / "0.png", copy)
    hashes = [_sha256(copy) for copy in copies]
    request = replace(again(images, old, "full"), model=model_source(str(old)))
    assert seen_before(old_model(request), copies, hashes) == ["train", "val", ""]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_a_shared_name_the_head_is_new(folder: Path) -> None:
    model, request = opened(folder, ("cat", "dog"))
    assert fit_again(request, model, ("cat", "dog")) is None
    assert model.kept_head is None
    keep = replace(request, head="keep")
    with pytest.raises(OptionError, match=r"none of the classes of .* occurs in these images"):
        fit_again(keep, model, ("cat", "dog"))


def test_a_folder_without_label_names_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "unnamed")
    path = tmp_path / "unnamed" / "config.json"
    config = json.loads(path.read_text())
    config.pop("label_names")
    config["pretrained_cfg"].pop("label_names", None)
    path.write_text(json.dumps(config))
    (tmp_path / "unnamed" / "SHA256SUMS").unlink()
    model, request = opened(tmp_path / "unnamed", ("blue", "red"), "keep")
    with pytest.raises(OptionError, match="does not name its classes") as refused:
        fit_again(request, model, ("blue", "red"))
    assert "\n" not in str(refused.value)


def test_a_head_that_is_not_linear_is_new_and_refused_where_it_must_be_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thawline.runs.again.linear_head", lambda model, image_size: None)
    model, request = opened(folder, ("blue", "red"))
    fit_again(request, model, ("blue", "red"))
    assert model.kept_head is None
    with pytest.raises(OptionError, match="the head of test_efficientnet is not a single linear layer"):
        fit_again(replace(request, head="keep"), model, ("blue", "red"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("unfinished", "is not finished, so it has no model to fit again"),
        ("comparison", "is a comparison, which saves no model"),
    ],
)
def test_a_run_without_a_model_is_refused(make: str, message: str, images: Path, tmp_path: Path) -> None:
    verb = "compare" if make == "comparison" else "fit"
    with pytest.raises(KeyboardInterrupt):
        api.run(small_request(images, ("full",), verb, learning_rate=1e-2), tmp_path / "run", Stop(0))
    with pytest.raises(RunFolderError, match=message):
        model_source(str(tmp_path / "run"))


def test_a_kept_head_needs_an_old_model(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="head_start 'kept' needs a `model`"):
        api.run(small_request(images, ("unchanged",), "fit", learning_rate=1e-2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("linear_probe", "does not fine-tune the old model"),
        ("auto:answer=ensemble", "leave out `answer='ensemble'`"),
        ("auto:head_start=random", "does not fine-tune the old model"),
    ],
)
def test_what_cannot_keep_the_old_skill_is_refused_before_anything_is_trained(
    strategy: str, message: str, old: Path, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        api.run(again(images, old, strategy, keep_old=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_search_as_published_has_the_kept_head_too(old: Path, images: Path, tmp_path: Path) -> None:
    results = fitted(again(images, old, "auto:budget=2x,without=decoupling,answer=pick"), tmp_path / "run")
    assert results.plan.head_start == "kept"


def test_requests_from_before_there_was_a_choice_have_a_new_head() -> None:
    stored = small_request(Path("x"), ("full",), "fit").to_dict()
    del stored["head"], stored["keep_old"]
    assert Request.from_dict(stored).head == "new"


def test_the_initial_candidates_are_those_of_surgical_fine_tuning_and_reachable() -> None:
    blocks, encoding = 6, AgainEncoding(6)
    for known in (True, False):
        initial = again_candidates(blocks, AGAIN, head_is_known=known)
        assert [each.baseline for each in initial] == [
            *("unchanged", "norm_statistics", "linear_probe", "last_blocks", "full"),
            *("norm_only", "full", "first_blocks", "first_blocks"),
        ]
        for each in initial:
            genes = encoding.genes_of(each.phenotype, each.mode)
            assert (encoding.phenotype(genes), encoding.mode(genes)) == (each.phenotype, each.mode)
        stem = next(each for each in initial if each.strategy.startswith("first_blocks:k=1"))
        assert stem.phenotype == (0, None, None, None, None, None if known else 0)


def test_rows_of_new_classes_must_train_if_anything_does() -> None:
    encoding = AgainEncoding(4, head_must_train=True)
    still = AGAIN[0]
    assert encoding.phenotype(encoding.genes_of((0, None, None, None), still)) == (0, None, None, 0)
    assert encoding.phenotype(encoding.genes_of((None,) * 4, still)) == (None,) * 4


def test_the_contest_between_networks_trains_the_old_model_too(old: Path, images: Path, tmp_path: Path) -> None:
    request = replace(again(images, old, "auto:budget=2x"), model=model_source(str(old)))
    with RunFolder.create(tmp_path / "run", request, environment(device="cpu", threads=1)) as folder:
        experiment = open_experiment(folder, Callback()).experiment
        comparable = Comparable.of(experiment, AutoConfig(budget="2x"))
        record = comparable.train(comparable.first, 0)
    assert not FineTunePlan.from_dict(record.plan).is_untrained
