"""Single steps and epochs on a network that can be computed by hand: batches, gradients, rates, random draws."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.tiny_chain import BLOCKS, EVERYTHING, chain
from thawline.config import TrainConfig
from thawline.errors import NonFiniteLossError
from thawline.model.apply import AppliedPlan
from thawline.model.fusion import Fusion
from thawline.plan import FineTunePlan, Penalty
from thawline.training.balance import draw_order
from thawline.training.forward import Forward
from thawline.training.images import Images, LabelledRows
from thawline.training.schedule import rate_factor
from thawline.training.steps import GRADIENT_BATCHES, Steps

CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=2, batch_size=4, optimizer="sgd", weight_decay=0.0, warmup_share=0.0, device="cpu")
FROM_ROW = 5
"""The training images do not begin at the first row: positions and rows must not be confused."""


class Vectors(Images):
    """Two numbers for every image; remembers which rows were read in which view, and in which mode the norm was."""

    def __init__(self, network: nn.Sequential) -> None:
        self.vectors = torch.randn(40, 2, generator=torch.Generator().manual_seed(1)).double()
        self.read: list[tuple[list[int], int | None]] = []
        self.norm_trains: list[bool] = []
        self._pixels = np.empty((0, 1, 1, 3), np.uint8)
        self._norm = network[1]

    def view(self, epoch: int) -> int | None:
        return 10 + epoch

    def batch(self, rows: np.ndarray, view: int | None) -> Tensor:
        self.read.append((rows.tolist(), view))
        self.norm_trains.append(self._norm.training)
        return self.vectors[rows]


class Setup:
    """A plan on the chain and the steps that train it."""

    def __init__(
        self,
        plan: FineTunePlan,
        config: TrainConfig = CONFIG,
        *,
        images: int = 7,
        class_weights: Tensor | None = None,
        micro_batch: int | None = None,
    ) -> None:
        self.network = chain()
        self.vectors = Vectors(self.network)
        self.applied = AppliedPlan(
            self.network, BLOCKS, plan, optimizer=config.optimizer, weight_decay=config.weight_decay
        )
        self.rows = LabelledRows(np.arange(FROM_ROW, FROM_ROW + images), (torch.arange(images) % 3 == 0).long())
        forward = Forward(self.network, self.vectors, CPU, "fp32", None, Fusion(self.network, 8))
        self.steps = Steps(
            forward, self.applied, self.rows, config, class_weights=class_weights, micro_batch=micro_batch
        )

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.network.named_parameters() if p.grad is not None}

    def expected_loss(self, positions: np.ndarray, **options: object) -> Tensor:
        """The mean cross-entropy, by PyTorch's own reduction."""
        logits = self.network(self.vectors.vectors[self.rows.rows[positions]])
        return F.cross_entropy(logits, self.rows.labels[positions], **options)  # type: ignore[arg-type]


def steady(penalty: Penalty | None = None) -> FineTunePlan:
    """Everything trains and norms keep their statistics, so that parts of a batch add up to the whole."""
    return FineTunePlan.constant(BLOCKS, EVERYTHING, norm="eval", penalty=penalty)


def test_a_step_is_a_step_of_sgd_on_the_mean_loss() -> None:
    setup = Setup(steady())
    before, batch = setup.state(), np.array([0, 2, 3, 6])
    expected = setup.expected_loss(batch)
    names, parameters = zip(*setup.network.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(expected, parameters), strict=True))
    loss = setup.steps.step(batch, epoch=0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert setup.vectors.read == [([5, 7, 8, 11], 10)]
    for block in BLOCKS:
        for name in block.parameters:
            torch.testing.assert_close(
                setup.network.get_parameter(name).detach(), before[name] - EVERYTHING[block.name] * gradients[name]
            )


def test_a_step_forgets_the_gradients_of_the_last_one() -> None:
    twice, fresh = Setup(steady()), Setup(steady())
    twice.steps.step(np.array([1, 4]), epoch=0)
    fresh.network.load_state_dict(twice.state())
    twice.steps.step(np.array([0, 2]), epoch=0)
    fresh.steps.step(np.array([0, 2]), epoch=0)
    torch.testing.assert_close(twice.gradients(), fresh.gradients())


@pytest.mark.parametrize(
    ("images", "micro_batch", "sizes"), [(6, 2, [2, 2, 2]), (7, 2, [3, 2, 2]), (7, 4, [4, 3]), (2, 1, [2]), (1, 1, [1])]
)
def test_a_batch_in_parts_has_no_part_of_one_image(images: int, micro_batch: int, sizes: list[int]) -> None:
    setup = Setup(steady(), micro_batch=micro_batch)
    setup.steps.step(np.arange(images), epoch=0)
    assert [len(rows) for rows, _ in setup.vectors.read] == sizes
    assert [row for rows, _ in setup.vectors.read for row in rows] == list(range(FROM_ROW, FROM_ROW + images))


def test_without_a_micro_batch_the_batch_stays_whole() -> None:
    setup = Setup(steady())
    setup.steps.step(np.arange(4), epoch=0)
    assert len(setup.vectors.read) == 1


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0], dtype=torch.float32)])
def test_parts_of_a_batch_add_up_to_the_whole(weights: Tensor | None) -> None:
    """The classes are unequal in the parts: each must be divided by the weight of the whole batch."""
    config = replace(CONFIG, label_smoothing=0.1)
    whole = Setup(steady(), config, class_weights=weights)
    parts = Setup(steady(), config, class_weights=weights, micro_batch=2)
    batch = np.array([0, 3, 1, 2, 4])
    expected = whole.expected_loss(batch, label_smoothing=0.1, weight=None if weights is None else weights.double())
    losses = [setup.steps.step(batch, epoch=0).item() for setup in (whole, parts)]
    assert losses == pytest.approx([expected.item()] * 2, rel=1e-5)
    torch.testing.assert_close(parts.gradients(), whole.gradients(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("penalty", [None, Penalty("l2_sp", 0.0, 50.0)])
def test_clipping_sees_the_gradients_of_all_parameters_together(penalty: Penalty | None) -> None:
    """The pull of a penalty is clipped with them."""
    setup = Setup(steady(penalty=penalty), replace(CONFIG, clip_norm=0.01))
    setup.steps.step(np.arange(4), epoch=0)
    total = torch.stack([gradient.square().sum() for gradient in setup.gradients().values()]).sum().sqrt()
    assert total.item() == pytest.approx(0.01, rel=1e-3)


def test_without_clipping_gradients_are_as_they_are() -> None:
    free, roomy = Setup(steady()), Setup(steady(), replace(CONFIG, clip_norm=1e6))
    for setup in (free, roomy):
        setup.steps.step(np.arange(4), epoch=0)
    torch.testing.assert_close(free.gradients(), roomy.gradients())


def test_a_penalty_is_added_to_the_gradients_and_not_to_the_loss() -> None:
    plain, pulled = Setup(steady()), Setup(steady(penalty=Penalty("l2_sp", 0.3, 0.7)))
    head = plain.network.get_parameter("3.weight").detach().clone()
    losses = [setup.steps.step(np.arange(4), epoch=0).item() for setup in (plain, pulled)]
    assert losses[0] == losses[1]
    torch.testing.assert_close(pulled.gradients()["3.weight"], plain.gradients()["3.weight"] + 0.7 * head)


def test_a_proximal_penalty_acts_after_the_step() -> None:
    """So strong a pull takes every kernel all the way back."""
    setup = Setup(steady(penalty=Penalty("l1_sp", 1e6, 0.0)))
    before = setup.state()
    setup.steps.step(np.arange(4), epoch=0)
    after = setup.state()
    assert torch.equal(after["2.weight"], before["2.weight"])
    assert not torch.equal(after["2.bias"], before["2.bias"])


@pytest.mark.parametrize(("schedule_epochs", "total"), [(None, 6), (5, 15)])
def test_rates_follow_the_schedule_over_all_epochs(
    schedule_epochs: int | None, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, epochs=2, batch_size=2, warmup_share=0.4, schedule_epochs=schedule_epochs)
    setup = Setup(steady(), config, images=6)
    rates: list[float] = []
    monkeypatch.setattr(setup.applied.optimizer, "step", lambda: rates.append(setup.applied.rates()["2.weight"]))
    for epoch in range(2):
        setup.steps.epoch(0, epoch)
    assert rates == pytest.approx([0.1 * rate_factor(step, total, 0.4) for step in range(6)])


def test_an_epoch_reads_every_image_once_in_the_drawn_order() -> None:
    setup = Setup(steady(), images=8)
    for epoch in range(2):
        setup.vectors.read.clear()
        setup.steps.epoch(3, epoch)
        order = draw_order(setup.rows.labels, "none", 3, epoch) + FROM_ROW
        assert setup.vectors.read == [(order[:4].tolist(), 10 + epoch), (order[4:].tolist(), 10 + epoch)]


def test_a_balanced_epoch_draws_classes_equally() -> None:
    setup = Setup(steady(), replace(CONFIG, balance="sampler"), images=8)
    setup.steps.epoch(3, 0)
    expected = draw_order(setup.rows.labels, "sampler", 3, 0) + FROM_ROW
    assert [row for rows, _ in setup.vectors.read for row in rows] == expected.tolist()


def test_the_loss_of_an_epoch_is_the_mean_over_images_not_over_batches() -> None:
    """Batches of 4 and 3 images; the rate is so small that nothing moves."""
    plan = FineTunePlan.constant(BLOCKS, {"head": 1e-30}, norm="eval")
    setup = Setup(plan)
    assert setup.steps.epoch(0, 0) == pytest.approx(setup.expected_loss(np.arange(7)).item(), rel=1e-6)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    setup = Setup(steady())
    with torch.no_grad():
        setup.network.get_parameter("3.weight").fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="nan in epoch 2; lower the learning rate"):
        setup.steps.epoch(0, 1)


def draws_of(seed: int, epoch: int) -> list[float]:
    """What a dropout layer would draw in one epoch of two batches."""
    setup, draws = Setup(steady()), []
    setup.network.register_forward_pre_hook(lambda *_: draws.append(torch.rand(()).item()))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    setup.steps.epoch(seed, epoch)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    return draws


def test_dropout_follows_from_seed_and_epoch() -> None:
    first = draws_of(0, 0)
    assert draws_of(0, 0) == first
    assert len(set(first) | set(draws_of(0, 1)) | set(draws_of(1, 0))) == 6


@pytest.mark.parametrize("draw", [np.random.random_sample, random.random])
def test_other_generators_that_a_network_draws_from_follow_from_them_too(draw: Callable[[], float]) -> None:
    def draws() -> list[float]:
        setup, found = Setup(steady()), list[float]()
        setup.network.register_forward_pre_hook(lambda *_: found.append(draw()))
        setup.steps.epoch(0, 0)
        return found

    def states() -> object:
        return random.getstate(), repr(np.random.get_state())

    before = states()
    first = draws()
    assert states() == before, "the global generators are left alone"
    draw()
    assert draws() == first


def test_an_epoch_trains_in_the_modes_and_rates_of_its_phase() -> None:
    plan = FineTunePlan.phased(BLOCKS, [(1, {"head": 1.0}), (None, EVERYTHING)])
    setup = Setup(plan)
    setup.network.train()
    start = setup.state()
    setup.steps.epoch(0, 0)
    assert setup.vectors.norm_trains == [False, False]
    assert torch.equal(setup.state()["2.weight"], start["2.weight"])
    setup.network.eval()
    setup.steps.epoch(0, 1)
    assert setup.vectors.norm_trains == [False, False, True, True]
    assert not torch.equal(setup.state()["2.weight"], start["2.weight"])


def test_relative_rates_are_measured_in_the_last_phase_from_a_few_batches_without_a_step() -> None:
    plan = FineTunePlan.phased(BLOCKS, [(1, {"head": 1.0}), (None, EVERYTHING)], rate_rule="relative_gradient")
    setup = Setup(plan, replace(CONFIG, epochs=3, batch_size=4), images=16, micro_batch=2)
    setup.steps.epoch(0, 0)
    assert len(setup.vectors.read) == 8, "four batches in two parts each"
    setup.applied.start_epoch(1)
    start = setup.state()
    shares = setup.steps._relative_rates(0, 1)
    assert all(torch.equal(tensor, start[name]) for name, tensor in setup.state().items())
    assert max(shares.values()) == 1.0
    assert min(shares.values()) < 0.9
    setup.vectors.read.clear()
    setup.vectors.norm_trains.clear()
    setup.steps.epoch(0, 1)
    order = draw_order(setup.rows.labels, "none", 0, 1) + FROM_ROW
    measured = setup.vectors.read[:GRADIENT_BATCHES]
    assert measured == [(order[2 * part : 2 * part + 2].tolist(), 11) for part in range(GRADIENT_BATCHES)]
    assert setup.vectors.norm_trains == [False] * GRADIENT_BATCHES + [True] * 8
    setup.applied.scale_rates(1.0)
    rate_of = {name: EVERYTHING[block.name] for block in BLOCKS for name in block.parameters}
    assert setup.applied.rates() == pytest.approx({name: rate_of[name] * share for name, share in shares.items()})
