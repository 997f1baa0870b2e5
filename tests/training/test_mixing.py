"""WiSE-FT's mixtures and the statistics of batch norms, by hand; patience across phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import SIZE
from tests.training.test_trainer import CONFIG, data
from tests.training.tiny_chain import BLOCKS, EVERYTHING, chain
from thawline.model.apply import AppliedPlan, batch_norms
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan, NormMode
from thawline.records import EpochRecord
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.mixing import fresh_statistics, mixed
from thawline.training.trainer import TrainedModel, Trainer


def test_a_mixture_by_hand() -> None:
    start = {"weight": torch.tensor([1.0, -2.0]), "count": torch.tensor(3)}
    end = {"weight": torch.tensor([3.0, 2.0]), "count": torch.tensor(8)}
    found = mixed(start, end, 0.25)
    assert torch.equal(found["weight"], torch.tensor([1.5, -1.0]))
    assert torch.equal(found["count"], torch.tensor(8))


def test_the_ends_are_exact_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = ({"w": torch.randn(1000, generator=generator) * 10.0**power} for power in (-3, 3))
    assert torch.equal(mixed(start, end, 0.0)["w"], start["w"])
    assert torch.equal(mixed(start, end, 1.0)["w"], end["w"])
    assert mixed(start, end, 1.0)["w"].data_ptr() != end["w"].data_ptr()


def settled(rates: dict[str, float], norm: NormMode = "train") -> tuple[nn.BatchNorm1d, list[Tensor]]:
    """The chain's norm after two batches within `fresh_statistics`, and what entered the norm."""
    net = chain()
    norm_layer = net[1]
    assert isinstance(norm_layer, nn.BatchNorm1d)
    norm_layer.running_mean.fill_(5.0)  # type: ignore[union-attr]
    applied = AppliedPlan(net, BLOCKS, FineTunePlan.constant(BLOCKS, rates, norm=norm))
    inputs = [torch.randn(6, 2).double(), torch.randn(6, 2).double()]
    applied.start_epoch(0)
    norms = [found for found in batch_norms(net).values() if found.training]
    with torch.no_grad(), fresh_statistics(net, norms):
        for batch in inputs:
            net(batch)
    assert not any(part.training for part in net.modules())
    assert norm_layer.momentum == 0.1
    return norm_layer, [net[0](batch).detach() for batch in inputs]


def test_statistics_of_trained_norms_are_the_means_over_the_batches() -> None:
    norm, entered = settled(EVERYTHING)
    torch.testing.assert_close(norm.running_mean, (entered[0].mean(0) + entered[1].mean(0)) / 2)
    torch.testing.assert_close(norm.running_var, (entered[0].var(0) + entered[1].var(0)) / 2)


@pytest.mark.parametrize(("rates", "norm"), [({"body": 0.1, "head": 0.1}, "train"), (EVERYTHING, "eval")])
def test_norms_that_are_frozen_or_in_eval_mode_keep_their_statistics(rates: dict[str, float], norm: NormMode) -> None:
    layer, _ = settled(rates, norm)
    assert torch.equal(layer.running_mean, torch.full((2,), 5.0).double())  # type: ignore[arg-type]
    assert torch.equal(layer.running_var, torch.ones(2).double())  # type: ignore[arg-type]


def phased(blocks: tuple[Block, ...], first: int, shares: tuple[float, ...] = ()) -> FineTunePlan:
    """The head alone for `first` epochs, then the last three blocks."""
    probe = {blocks[-1].name: 1e-2}
    most = {block.name: 1e-2 for block in blocks[-3:]}
    return FineTunePlan.phased(blocks, [(first, probe), (None, most)], interpolation=shares)


def weights(model: LoadedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


class Scores:
    """Stands in for validation: scores in order, and the weights that each of them was given to."""

    def __init__(self, model: LoadedModel, *scores: float) -> None:
        self.model, self.scores = model, iter(scores)
        self.seen: list[dict[str, Tensor]] = []

    def __call__(self, epoch: int, train_loss: float) -> tuple[EpochRecord, Tensor]:
        self.seen.append(weights(self.model))
        return EpochRecord(epoch, train_loss, 1.0, 0.0, next(self.scores)), torch.zeros(8, dtype=torch.bool)


def train(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, *scores: float
) -> tuple[TrainedModel, Scores]:
    """One epoch of the head, two of more, and mixtures at 0, 1/2 and 1."""
    trainer, validation = Trainer(model, data(), CONFIG), Scores(model, *scores)
    monkeypatch.setattr(trainer, "_validate", validation)
    return trainer.train(phased(blocks, 1, (0.0, 0.5, 1.0)), blocks, seed=0), validation


@pytest.mark.parametrize("best", [3, 4, 1])
def test_the_best_mixture_on_validation_is_kept(
    best: int, model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [0.5, 0.6, 0.5, 0.4, 0.4, 0.4]
    scores[best] = 0.9
    trained, validation = train(model, blocks, monkeypatch, *scores)
    assert trained.epochs[trained.best_epoch].val_score == 0.9
    found = weights(model)
    assert all(torch.equal(found[name], tensor) for name, tensor in validation.seen[best].items())
    assert all(torch.equal(found[name], tensor) for name, tensor in trained.state.items())


def test_what_mixtures_cost_is_counted(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three passes over val, and one over train for the mixture that needs new statistics."""
    trained, _ = train(model, blocks, monkeypatch, 0.9, 0.6, 0.5, 0.4, 0.4, 0.4)
    images = data()
    assert trained.epochs_run == CONFIG.epochs
    assert trained.mixing_passes == 3 * len(images.val) + len(images.train)
    assert trained.image_passes == CONFIG.epochs * (len(images.train) + len(images.val)) + trained.mixing_passes


def test_mixtures_without_moving_statistics_take_no_pass_over_train(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    plan = replace(phased(blocks, 1, (0.0, 0.5, 1.0)), norm="eval")
    trained = Trainer(model, data(), CONFIG).train(plan, blocks, seed=0)
    assert trained.mixing_passes == 3 * len(data().val)


def test_mixtures_go_from_the_probe_to_the_best_epoch_after_it(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The probe scores best of all: still, its far end is the best epoch of the second phase.
    _, validation = train(model, blocks, monkeypatch, 0.9, 0.6, 0.5, 0.4, 0.4, 0.4)
    probe, tuned, _, start, half, end = validation.seen
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, tensor in probe.items():
        assert torch.equal(start[name], tensor) or name.endswith("num_batches_tracked"), name
        assert torch.equal(end[name], tuned[name]), name
        if not name.endswith(statistics):
            torch.testing.assert_close(half[name], (tensor + tuned[name]) / 2)
    frozen = [name for block in blocks[:-3] for name in (*block.parameters, *block.buffers)]
    trained = [name for block in blocks[-3:] for name in block.buffers if name.endswith("running_mean")]
    assert frozen
    assert trained
    assert all(torch.equal(half[name], model.pristine()[name]) for name in frozen)
    assert not any(torch.equal(half[name], probe[name]) or torch.equal(half[name], tuned[name]) for name in trained)


def test_a_training_that_ends_within_the_probe_has_nothing_to_mix(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    trainer = Trainer(model, data(), replace(CONFIG, epochs=1))
    trained = trainer.train(phased(blocks, 1, (0.0, 0.5, 1.0)), blocks, seed=0)
    assert len(trained.epochs) == 1


def test_statistics_do_not_depend_on_the_order_of_the_images(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders come class by class: batches of one class have less spread than the images together."""
    pixels = np.repeat(np.array([0, 255], np.uint8), 32)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
    labels = torch.arange(64) // 32
    sorted_by_class = TrainingData(pixels, LabelledRows(np.arange(64), labels), LabelledRows(np.arange(4), labels[:4]))
    trainer = Trainer(model, sorted_by_class, CONFIG)
    model.restore(0)
    plan = FineTunePlan.constant(blocks, {block.name: 1e-3 for block in blocks})
    applied = AppliedPlan(model.module, blocks, plan)
    trainer._settle_norms(applied, seed=0)
    name = next(name for name, part in model.module.named_modules() if isinstance(part, nn.BatchNorm2d))
    with torch.no_grad():
        features = model.module.get_submodule(name.rpartition(".")[0] + ".conv" if "." in name else "conv_stem")(
            trainer.images.batch(np.arange(64), None)
        )
    found = model.module.get_buffer(f"{name}.running_var")
    torch.testing.assert_close(found, features.var((0, 2, 3)), rtol=0.25, atol=0)


def test_patience_does_not_count_epochs_before_the_last_phase(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(model, data(), replace(CONFIG, epochs=9, patience=2))
    scores = Scores(model, 0.9, 0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    monkeypatch.setattr(trainer, "_validate", scores)
    trained = trainer.train(phased(blocks, 4), blocks, seed=0)
    assert len(trained.epochs) == 4 + 2
    assert trained.best_epoch == 0
