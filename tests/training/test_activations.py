"""What is kept is what would be computed, bit for bit; budgets hold; where nothing is kept, only rounding differs."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thawline.config import CacheConfig, TrainConfig
from thawline.data.augment import Augmenter
from thawline.model.blocks import partition
from thawline.model.boundary import Boundary
from thawline.model.load import LoadedModel, load_model
from thawline.plan import Block, FineTunePlan
from thawline.testing import TINY_MODELS
from thawline.training import activations as module
from thawline.training import trainer as trainer_module
from thawline.training.activations import Activations
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import TrainedModel, Trainer

SIZE, IMAGES, TRAIN = 32, 40, 27
CONFIG = TrainConfig(epochs=2, batch_size=8, patience=0, device="cpu", precision="fp32", threads=1)
STEADY = replace(CONFIG, optimizer="sgd")
"""AdamW turns the rounding of a gradient that is nearly zero into a whole step; SGD keeps it as small as it is."""
OFF, MEMORY, DISK = CacheConfig(0, 0), CacheConfig(1 << 30, 0), CacheConfig(0, 1 << 30)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path))


@pytest.fixture(scope="module", params=TINY_MODELS)
def model(request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(request.param, 2, weights="random", image_size=SIZE)


@pytest.fixture(scope="module")
def blocks(model: LoadedModel) -> tuple[Block, ...]:
    return partition(model.module, "stage", SIZE)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load_model("test_efficientnet", 2, weights="random", image_size=SIZE)


def data(augmenter: Augmenter | None = None) -> TrainingData:
    pixels = np.random.default_rng(0).integers(0, 255, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    labels = (torch.arange(IMAGES) % 3 == 0).long()
    pixels[::3, ..., 0] //= 2
    rows = np.random.default_rng(1).permutation(IMAGES)
    train, val = rows[:TRAIN], rows[TRAIN:]
    return TrainingData(pixels, LabelledRows(train, labels[train]), LabelledRows(val, labels[val]), augmenter)


def last(blocks: tuple[Block, ...], number: int) -> FineTunePlan:
    return FineTunePlan.constant(blocks, {block.name: 1e-2 for block in blocks[-number:]})


def assert_equal(trained: TrainedModel, other: TrainedModel) -> None:
    assert trained.epochs == other.epochs
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in trained.state.items())


def assert_alike(trained: TrainedModel, other: TrainedModel) -> None:
    """Equal but for rounding."""
    assert len(trained.epochs) == len(other.epochs)
    for mine, theirs in zip(trained.epochs, other.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
        assert mine.val_loss == pytest.approx(theirs.val_loss, rel=1e-4)


class Forgetful(Activations):
    """Computes every store again whenever it is read: what the fixed batches give, without relying on what is kept."""

    def _store(self, boundary: Boundary, key: module._Key) -> module._Store | None:
        return self._filled(boundary, key)


def forgetful(model: LoadedModel, images: TrainingData, config: TrainConfig = CONFIG) -> Trainer:
    """A trainer that trains on prefixes from the fixed batches, recomputed each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "Activations", Forgetful)
        return Trainer(model, images, config, MEMORY)


def kept(trainer: Trainer) -> Activations:
    assert trainer.forward._kept is not None
    return trainer.forward._kept


def probabilities(trainer: Trainer, images: TrainingData) -> torch.Tensor:
    return torch.cat([trainer.probabilities(split.rows) for split in (images.train, images.val)])


@pytest.mark.thorough
@pytest.mark.parametrize("views", [None, 2])
def test_kept_and_recomputed_prefixes_give_the_same_weights_to_the_last_bit(
    model: LoadedModel, blocks: tuple[Block, ...], views: int | None
) -> None:
    images = data(None if views is None else Augmenter(IMAGES, views=views, seed=0))
    recomputed = forgetful(model, images)
    trainers = [Trainer(model, images, CONFIG, cache) for cache in (MEMORY, DISK)]
    for number in (1, 3):
        plan = last(blocks, number)
        expected = recomputed.train(plan, blocks, seed=number)
        expected_probabilities = probabilities(recomputed, images)
        for cached in trainers:
            found = cached.train(plan, blocks, seed=number)
            assert_equal(found, expected)
            assert found.cache_hits > 0
            assert torch.equal(probabilities(cached, images), expected_probabilities)


@pytest.mark.parametrize("views", [None, 2])
def test_without_a_cache_only_rounding_differs(
    model: LoadedModel, blocks: tuple[Block, ...], views: int | None
) -> None:
    images = data(None if views is None else Augmenter(IMAGES, views=views, seed=0))
    plain, cached = Trainer(model, images, STEADY, OFF), Trainer(model, images, STEADY, MEMORY)
    for number in (1, 3):
        expected = plain.train(last(blocks, number), blocks, seed=number)
        found = cached.train(last(blocks, number), blocks, seed=number)
        assert_alike(found, expected)
        assert expected.cache_hits == 0 < found.cache_hits
        difference = cached.probabilities(images.val.rows) - plain.probabilities(images.val.rows)
        assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("trained", [4, 5, 9, 10, 13])
def test_a_cut_inside_a_residual_block_changes_nothing_either(trained: int) -> None:
    """Its branches start at a norm of weight zero: what comes before that norm never shows in the logits."""
    model = load_model("test_resnet", 2, weights="random", image_size=SIZE)
    layers = partition(model.module, "layer", SIZE)
    plan = FineTunePlan.constant(layers, {block.name: 1e-2 for block in layers[-trained:]}, granularity="layer")
    expected = Trainer(model, data(), STEADY, OFF).train(plan, layers, seed=0)
    found = Trainer(model, data(), STEADY, MEMORY).train(plan, layers, seed=0)
    assert_alike(found, expected)
    assert found.cache_hits > 0


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_dropout_before_the_head_draws_what_it_would(name: str) -> None:
    """Filling a store runs the same glue, which must not use up random numbers."""
    model = load_model(name, 2, weights="random", image_size=SIZE)
    model.module.drop_rate = 0.3  # type: ignore[assignment]  # PyTorch takes attributes for tensors
    blocks = partition(model.module, "stage", SIZE)
    expected = Trainer(model, data(), STEADY, OFF).train(last(blocks, 1), blocks, seed=0)
    found = Trainer(model, data(), STEADY, MEMORY).train(last(blocks, 1), blocks, seed=0)
    assert_alike(found, expected)
    assert found.cache_hits > 0


@pytest.mark.parametrize("trained", [1, 2, 5, 6, 7, 8])
def test_dropout_inside_a_frozen_prefix_is_not_kept(trained: int) -> None:
    """Attention drops out by itself while any of its parts trains, even before the first part that does."""
    model = load_model("test_vit", 2, weights="random", image_size=SIZE)
    for module_ in model.module.modules():
        if isinstance(dropout := getattr(module_, "attn_drop", None), torch.nn.Dropout):
            dropout.p = 0.3
    layers = partition(model.module, "layer", SIZE)
    head, some = {layers[-1].name: 1e-2}, {block.name: 1e-2 for block in layers[-trained:]}
    plan = FineTunePlan.phased(layers, [(1, head), (None, some)], granularity="layer")
    plain, cached = Trainer(model, data(), STEADY, OFF), Trainer(model, data(), STEADY, MEMORY)
    assert_alike(cached.train(plan, layers, seed=0), plain.train(plan, layers, seed=0))


def test_a_phase_that_comes_back_is_not_the_first_one_again(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    head, more = {blocks[-1].name: 1e-2}, {block.name: 1e-2 for block in blocks[-2:]}
    plan = FineTunePlan.phased(blocks, [(1, head), (1, more), (1, head), (None, head)])
    plain, cached = Trainer(tiny, data(), STEADY, OFF), Trainer(tiny, data(), STEADY, MEMORY)
    assert_alike(cached.train(plan, blocks, seed=0), plain.train(plan, blocks, seed=0))


@pytest.mark.thorough
@pytest.mark.parametrize("batch", [3, 4, 5, 8, 16, 20])
def test_batches_of_all_sizes_are_alike(batch: int) -> None:
    model = load_model("mobilenetv3_small_050", 2, weights="random", image_size=SIZE)
    blocks = partition(model.module, "stage", SIZE)
    config = replace(STEADY, batch_size=batch, epochs=2)
    expected = Trainer(model, data(), config, OFF).train(last(blocks, 2), blocks, seed=0)
    assert_alike(Trainer(model, data(), config, MEMORY).train(last(blocks, 2), blocks, seed=0), expected)


def test_memory_then_disk_then_what_was_used_longest_ago(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    roomy = Trainer(tiny, data(), CONFIG, MEMORY)
    roomy.train(last(blocks, 1), blocks, seed=0)
    first = sum(store.nbytes for store in kept(roomy)._stores.values() if store)
    trainer = Trainer(tiny, data(), CONFIG, CacheConfig(first, 1 << 30))
    trainer.train(last(blocks, 1), blocks, seed=0)
    trainer.train(last(blocks, 2), blocks, seed=0)
    assert [store.on_disk for store in kept(trainer)._stores.values() if store].count(True) == 2
    assert len(kept(trainer)._stores) == 4


def test_a_file_that_cannot_be_mapped_is_said_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("unable to mmap 128 bytes: Cannot allocate memory")

    monkeypatch.setattr(torch, "from_file", refused)
    blocks = partition(tiny.module, "stage", SIZE)
    notes: list[str] = []
    trainer = Trainer(tiny, data(Augmenter(IMAGES, views=2, seed=0)), CONFIG, DISK, notes.append)
    assert trainer.train(last(blocks, 1), blocks, seed=0).cache_hits == 0
    assert len(notes) == 1
    assert "Cannot allocate memory" in notes[0]


def test_a_halved_batch_is_known_from_the_start(tiny: LoadedModel) -> None:
    """A resumed run must fill its stores in the batches of the run that it continues."""
    trainer = Trainer(tiny, data(), CONFIG, MEMORY, micro_batch=4)
    assert trainer.micro_batch == kept(trainer).batch == 4


@pytest.mark.thorough
def test_phases_penalties_adapters_and_relative_rates_are_equal_too(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    head, some = {blocks[-1].name: 1e-2}, {block.name: 1e-2 for block in blocks[-3:]}
    plans = [
        FineTunePlan.phased(blocks, [(1, head), (None, some)], interpolation=(0.0, 0.5, 1.0)),
        FineTunePlan.phased(blocks, [(1, some), (None, head)]),
        FineTunePlan.constant(blocks, some, rate_rule="relative_gradient"),
        FineTunePlan.constant(blocks, some, parts="norms_and_biases"),
    ]
    plain, cached = Trainer(tiny, data(), STEADY, OFF), Trainer(tiny, data(), STEADY, MEMORY)
    for plan in plans:
        assert_alike(cached.train(plan, blocks, seed=0), plain.train(plan, blocks, seed=0))


def test_what_was_trained_before_changes_nothing(tiny: LoadedModel) -> None:
    """A resumed run fills its stores in another order than the run that it continues."""
    blocks = partition(tiny.module, "stage", SIZE)
    busy, fresh = Trainer(tiny, data(), CONFIG, MEMORY), Trainer(tiny, data(), CONFIG, MEMORY)
    busy.train(last(blocks, 2), blocks, seed=3, images=LabelledRows(data().train.rows[5:], data().train.labels[5:]))
    busy.train(last(blocks, 1), blocks, seed=4)
    assert_equal(busy.train(last(blocks, 2), blocks, seed=0), fresh.train(last(blocks, 2), blocks, seed=0))


def test_a_stored_training_scores_the_same_behind_the_cut(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    trainer = Trainer(tiny, data(), CONFIG, MEMORY)
    trained = trainer.train(last(blocks, 2), blocks, seed=0)
    expected = trainer.probabilities(data().val.rows)
    trainer.train(last(blocks, 1), blocks, seed=1)
    trainer.load(trained.state, seed=0)
    assert trainer.forward.boundary is not None
    hits = trainer.forward.hits
    assert torch.equal(trainer.probabilities(data().val.rows), expected)
    assert trainer.forward.hits > hits


def test_views_without_end_are_never_kept_but_validation_is(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    trainer = Trainer(tiny, data(Augmenter(IMAGES, views=0, seed=0)), CONFIG, MEMORY)
    assert 0 < trainer.train(last(blocks, 1), blocks, seed=0).cache_hits <= CONFIG.epochs * (IMAGES - TRAIN)
    assert {key.group for key in kept(trainer)._stores} == {1}


def test_a_full_network_is_not_cut(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    assert Trainer(tiny, data(), CONFIG, MEMORY).train(last(blocks, len(blocks)), blocks, seed=0).cache_hits == 0


@pytest.mark.thorough
def test_the_budget_holds_and_the_store_used_longest_ago_makes_way(tiny: LoadedModel) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    roomy = Trainer(tiny, data(), CONFIG, MEMORY)
    sizes: list[int] = []
    for number in (1, 2):
        roomy.train(last(blocks, number), blocks, seed=0)
        sizes.append(sum(store.nbytes for store in kept(roomy)._stores.values() if store) - sum(sizes))
    budget = max(sizes)
    tight = Trainer(tiny, data(), CONFIG, CacheConfig(budget, 0))
    for number in (1, 2, 1):
        assert tight.train(last(blocks, number), blocks, seed=0).cache_hits > 0
        assert sum(store.nbytes for store in kept(tight)._stores.values() if store) <= budget


def test_a_full_disk_is_said_and_costs_time_only(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_reserve", full)
    blocks = partition(tiny.module, "stage", SIZE)
    notes: list[str] = []
    found = Trainer(tiny, data(), STEADY, DISK, notes.append).train(last(blocks, 1), blocks, seed=0)
    assert found.cache_hits == 0
    assert "No space left on device" in notes[0]
    assert "`cache_disk`" in notes[0]
    assert_alike(found, Trainer(tiny, data(), STEADY, OFF).train(last(blocks, 1), blocks, seed=0))


@pytest.mark.parametrize("disk", [0, 1 << 30])
def test_less_memory_than_the_budget_is_said_and_costs_time_only(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, disk: int
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    blocks = partition(tiny.module, "stage", SIZE)
    notes: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", full)
        trainer = Trainer(tiny, data(), STEADY, CacheConfig(memory_bytes=1 << 30, disk_bytes=disk), notes.append)
        found = trainer.train(last(blocks, 1), blocks, seed=0)
    assert (found.cache_hits > 0) is bool(disk)
    (note,) = notes
    assert note.startswith("Less memory than `cache_memory`")
    assert_alike(found, Trainer(tiny, data(), STEADY, OFF).train(last(blocks, 1), blocks, seed=0))


def test_nothing_stays_on_disk(tiny: LoadedModel, tmp_path: Path) -> None:
    blocks = partition(tiny.module, "stage", SIZE)
    trainer = Trainer(tiny, data(), CONFIG, DISK)
    assert trainer.train(last(blocks, 1), blocks, seed=0).cache_hits > 0
    assert list((tmp_path / "activations").iterdir()) == []


@pytest.mark.parametrize("change", ["weights", "precision", "preprocessing"])
def test_nothing_is_kept_across_what_would_change_it(tiny: LoadedModel, change: str) -> None:
    """Stores belong to one trainer, and a trainer to one network, precision and preprocessing."""
    blocks = partition(tiny.module, "stage", SIZE)
    before = Trainer(tiny, data(), STEADY, MEMORY).train(last(blocks, 1), blocks, seed=0)
    config, other = STEADY, load_model("test_efficientnet", 2, weights="random", image_size=SIZE)
    if change == "precision":
        config = replace(STEADY, precision="bf16")
    elif change == "preprocessing":
        other.preprocessing = replace(other.preprocessing, mean=(0.1, 0.2, 0.3))
    else:
        other = load_model("test_efficientnet", 2, weights="random", image_size=SIZE, seed=1)
    after = Trainer(other, data(), config, MEMORY).train(last(blocks, 1), blocks, seed=0)
    assert after.epochs != before.epochs
    assert_alike(after, Trainer(other, data(), config, OFF).train(last(blocks, 1), blocks, seed=0))
