"""A training on the mean output of networks: its loss by hand, its start, what it leaves alone, in parts and cached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.test_average import mixture, probed, states
from tests.training.test_steps import CONFIG as ONE_NETWORK
from tests.training.test_steps import Setup, steady
from tests.training.test_trainer import CONFIG, data, equal, plan_for, weights
from thawline.config import CacheConfig
from thawline.data.augment import Augmenter
from thawline.model.load import LoadedModel
from thawline.plan import Adapter, Block, FineTunePlan
from thawline.training import distillation
from thawline.training.distillation import Lesson, softened, spans
from thawline.training.refit import RefitTrainer
from thawline.training.steps import Steps
from thawline.training.trainer import TrainedModel, Trainer

VIEW = 10
"""Of the first epoch of `Setup`."""


def setup_with(share: float, temperature: float = 2.0, **options: object) -> tuple[Setup, Tensor]:
    """Steps that learn from outputs; and these outputs."""
    setup = Setup(steady(), **options)  # type: ignore[arg-type]
    outputs = torch.rand(len(setup.rows), 2, generator=torch.Generator().manual_seed(2)).double()
    outputs /= outputs.sum(1, keepdim=True)
    setup.steps._lesson = Lesson({}, {VIEW: softened(outputs, temperature)}, share, temperature)
    return setup, outputs


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_without_a_share_of_the_outputs_a_step_is_the_plain_one(
    weights: Tensor | None, micro_batch: int | None
) -> None:
    plain = Setup(steady(), class_weights=weights, micro_batch=micro_batch)
    taught, _ = setup_with(0.0, class_weights=weights, micro_batch=micro_batch)
    batch = np.array([0, 2, 3, 6])
    assert torch.equal(taught.steps.step(batch, epoch=0), plain.steps.step(batch, epoch=0))
    assert equal(taught.state(), plain.state())


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_loss_by_hand(weights: Tensor | None, micro_batch: int | None) -> None:
    """Label smoothing is of the labels, class weights are of the images, and parts of a batch add up to the whole."""
    config = replace(ONE_NETWORK, label_smoothing=0.1)
    setup, outputs = setup_with(0.7, 3.0, config=config, class_weights=weights, micro_batch=micro_batch)
    batch = np.array([0, 2, 3, 6])
    labels = setup.rows.labels[batch]
    logits = setup.network(setup.vectors.vectors[setup.rows.rows[batch]]).detach().float()
    on_labels = F.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1)
    targets = (outputs[batch] ** (1 / 3)).float()
    targets /= targets.sum(1, keepdim=True)
    own = torch.ones(4) if weights is None else weights[labels]
    on_outputs = -(own * (targets * torch.log_softmax(logits / 3, 1)).sum(1)).sum() / own.sum()
    loss = setup.steps.step(batch, epoch=0)
    assert loss.item() == pytest.approx((0.3 * on_labels + 0.7 * 9 * on_outputs).item(), rel=1e-5)


def test_epochs_are_taken_together_while_their_outputs_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(spans([None] * 5, 10**12)) == [range(5)]
    assert list(spans([0, 1, 0, 1], 10)) == [range(4)]
    monkeypatch.setattr(distillation, "MOST_BYTES", 25)
    assert list(spans([0, 1, 2, 3, 4], 10)) == [range(2), range(2, 4), range(4, 5)]
    assert list(spans([0, 1], 100)) == [range(1), range(1, 2)]


def distilled(trainer: Trainer, blocks: tuple[Block, ...], mixed: FineTunePlan, seed: int = 0) -> TrainedModel:
    return trainer.distil(mixed, blocks, states(trainer, blocks, mixed), seed=seed)


@pytest.mark.parametrize("augmenter", [None, Augmenter(30, views=0, seed=0)])
def test_it_learns_from_the_mean_output_of_its_members_in_the_views_that_it_sees(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, augmenter: Augmenter | None
) -> None:
    lessons: list[Lesson] = []
    original = Steps.__init__

    def remembering(self: Steps, *args: object, lesson: Lesson | None = None, **options: object) -> None:
        original(self, *args, lesson=lesson, **options)  # type: ignore[arg-type]
        lessons.extend([lesson] if lesson else [])

    trainer = Trainer(model, data(augmenter), CONFIG)
    solved = FineTunePlan.constant(blocks, {}, norm="eval", head_start="probe")
    mixed = mixture("distilled", plan_for(blocks, trained=3), probed(blocks, 2), solved, share=2.0)
    members = states(trainer, blocks, mixed)
    monkeypatch.setattr(Steps, "__init__", remembering)
    found = trainer.distil(mixed, blocks, members, seed=0)
    (lesson,) = lessons
    assert set(lesson.outputs) == ({None} if augmenter is None else {0, 1, 2})
    assert found.teaching_passes == 3 * len(lesson.outputs) * 20
    for view, soft in lesson.outputs.items():
        outputs = []
        for state in members:
            trainer.load(state, seed=0)
            with torch.no_grad():
                outputs.append(torch.softmax(trainer.network(trainer.images.batch(np.arange(20), view)), 1))
        mean = (outputs[0] + 2 * outputs[1] + 2 * outputs[2]) / 5
        torch.testing.assert_close(soft, softened(mean, 2.0), rtol=1e-4, atol=1e-6)


def test_it_starts_from_the_weights_of_its_candidate(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of its first batch is that of the trained network, not of the pretrained one with a new head."""
    trainer = Trainer(model, data(), CONFIG)
    mixed = mixture("distilled", probed(blocks, 3), probed(blocks, 2))
    members = states(trainer, blocks, mixed)
    trainer.load(members[0], seed=0)
    losses: list[Tensor] = []
    original = Steps._loss

    def first(self: Steps, rows: np.ndarray, epoch: int, **options: object) -> Tensor:
        loss = original(self, rows, epoch, **options)  # type: ignore[arg-type]
        if not losses:
            trained = {name: tensor for name, tensor in weights(model).items() if name in members[0]}
            assert equal(trained, members[0])
        losses.append(loss)
        return loss

    monkeypatch.setattr(Steps, "_loss", first)
    found = trainer.distil(mixed, blocks, members, seed=0)
    assert losses
    assert not equal(found.state, members[0])


def test_blocks_that_it_does_not_train_keep_their_bits_although_a_teacher_trains_them(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    trainer = Trainer(model, data(), CONFIG)
    found = distilled(trainer, blocks, mixture("distilled", probed(blocks, 2), plan_for(blocks, trained=len(blocks))))
    loaded, pristine = weights(model), model.pristine()
    assert set(found.state) == {name for block in blocks[-2:] for name in (*block.parameters, *block.buffers)}
    for block in blocks[:-2]:
        assert all(torch.equal(loaded[name], pristine[name]) for name in (*block.parameters, *block.buffers))
    assert equal(found.state, loaded)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["plain", "adapter"])
def test_in_parts_it_is_the_same(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where the outputs of all views take too much memory, it pauses to compute those of the next epochs."""
    trainer = Trainer(model, data(Augmenter(30, views=0, seed=0)), CONFIG)
    first = replace(plan_for(blocks, trained=3), adapter=Adapter(2, 1.0) if kind == "adapter" else None)
    mixed = mixture("distilled", first, probed(blocks, 2))
    whole = distilled(trainer, blocks, mixed)
    monkeypatch.setattr(distillation, "MOST_BYTES", 1)
    parts = distilled(trainer, blocks, mixed)
    assert equal(parts.state, whole.state)
    assert parts.epochs == whole.epochs
    assert (parts.epochs_run, parts.image_passes) == (whole.epochs_run, whole.image_passes)
    assert parts.epochs_run == 3
    if kind == "plain":
        again = distilled(Trainer(model, trainer.data, CONFIG, CacheConfig(0, 0)), blocks, mixed)
        torch.testing.assert_close(again.state, whole.state)


@pytest.mark.thorough
@pytest.mark.parametrize("most", [2**28, 1])
def test_a_refit_of_it_is_the_beginning_of_the_same_training(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    trainer = RefitTrainer(model, data(Augmenter(30, views=0, seed=0)), CONFIG)
    mixed = replace(mixture("distilled", plan_for(blocks, trained=3), probed(blocks, 2)), kept_epoch="last")
    members = states(trainer, blocks, mixed)
    whole = trainer.distil(mixed, blocks, members, seed=0)
    monkeypatch.setattr(distillation, "MOST_BYTES", most)
    found = trainer.refit_distilled(mixed, blocks, members, seed=0, epochs=3)
    assert equal(found.state, whole.state)
    assert found.losses == tuple(epoch.train_loss for epoch in whole.epochs)
    assert found.teaching_passes == whole.teaching_passes
