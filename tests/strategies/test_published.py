"""What each published strategy decides, epoch by epoch and block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from thawline.errors import OptionError, PlanError
from thawline.plan import Adapter, Block, FineTunePlan, Granularity, Penalty
from thawline.strategies.base import variants
from thawline.strategies.context import Tuned
from thawline.strategies.lp_ft import HEAD_RATE
from thawline.testing import PlainContext


def chain(below: int) -> tuple[Block, ...]:
    names = [*(str(number) for number in range(1, below + 1)), "head"]
    return tuple(Block(name, (name,), (f"{name}.weight",), (), 10, 1, (name,), name == "head") for name in names)


def plan_of(spec: str, below: int = 4, epochs: int = 4, rate: float = 1e-3) -> FineTunePlan:
    return variants(spec)[0].propose(PlainContext(chain(below), learning_rate=rate, epochs=epochs))


def thawed(spec: str, below: int, epochs: int) -> list[str]:
    """Blocks that train in each epoch, the head left out: "34" for blocks 3 and 4."""
    plan = plan_of(spec, below, epochs)
    for epoch in range(epochs):
        assert plan.phase_at(epoch).learning_rates["head"] == 1e-3
        assert set(plan.phase_at(epoch).learning_rates.values()) <= {1e-3, None}
    return ["".join(name for name in plan.phase_at(epoch).trained if name != "head") for epoch in range(epochs)]


LAST_FIRST = {
    (4, 8): ["", "4", "34", "234", *["1234"] * 4],
    (4, 20): ["", "", "4", "4", "34", "34", "234", "234", *["1234"] * 12],
    (4, 9): ["", "4", "34", "234", *["1234"] * 5],
    (4, 4): ["", "34", "1234", "1234"],  # more blocks than half the epochs: two at a time
    (4, 6): ["", "4", "234", "1234", "1234", "1234"],
    (4, 2): ["", "1234"],
    (4, 3): ["", "1234", "1234"],
    (4, 1): ["1234"],
    (1, 4): ["", "", "1", "1"],
    (0, 4): ["", "", "", ""],
}


@pytest.mark.parametrize(("below", "epochs"), LAST_FIRST)
def test_gradual_last_first_thaws_from_the_head_down(below: int, epochs: int) -> None:
    assert thawed("gradual_last_first", below, epochs) == LAST_FIRST[below, epochs]


@pytest.mark.parametrize(
    ("below", "epochs", "expected"),
    [
        (4, 8, ["", "1", "12", "123", *["1234"] * 4]),
        (4, 4, ["", "12", "1234", "1234"]),
        (3, 2, ["", "123"]),
        (3, 1, ["123"]),
    ],
)
def test_gradual_first_last_thaws_from_the_stem_up(below: int, epochs: int, expected: list[str]) -> None:
    assert thawed("gradual_first_last", below, epochs) == expected


@pytest.mark.parametrize("spec", ["gradual_last_first", "gradual_first_last"])
def test_at_least_half_of_a_gradual_training_has_everything_thawed_and_nothing_freezes_again(spec: str) -> None:
    for below in (1, 2, 5, 17):
        for epochs in range(1, 45):
            trained = thawed(spec, below, epochs)
            everything = len(trained[-1])
            assert [len(names) for names in trained] == sorted(len(names) for names in trained)
            assert sum(len(names) == everything for names in trained) >= epochs / 2
            assert plan_of(spec, below, epochs).phases[-1].epochs is None


@pytest.mark.parametrize(
    ("spec", "epochs", "alone"),
    [("lp_ft", 20, 10), ("lp_ft", 2, 1), ("lp_ft", 3, 2), ("lp_ft:share=0.1", 20, 2), ("lp_ft:share=0.9", 2, 1),
     ("lp_ft:share=0.01", 20, 1), ("wise_ft", 20, 10)],
)  # fmt: skip
def test_lp_ft_trains_the_head_at_its_own_rate_and_then_everything(spec: str, epochs: int, alone: int) -> None:
    plan = plan_of(spec, epochs=epochs, rate=1e-4)
    probe = {"1": None, "2": None, "3": None, "4": None, "head": HEAD_RATE}
    rows = [dict(plan.phase_at(epoch).learning_rates) for epoch in range(epochs)]
    assert rows == [probe] * alone + [dict.fromkeys(probe, 1e-4)] * (epochs - alone)


@pytest.mark.parametrize("spec", ["lp_ft", "wise_ft", "auto_rgn"])
def test_one_epoch_is_not_enough_for_the_head_first_and_everything_after_it(spec: str) -> None:
    with pytest.raises(PlanError, match=f"{spec}.* at least 2 epochs, got 1; .* linear_probe or full"):
        plan_of(spec, epochs=1)
    assert plan_of(spec, epochs=2).phase_at(1).trained == ("1", "2", "3", "4", "head")


def test_wise_ft_is_lp_ft_with_eleven_mixtures() -> None:
    assert plan_of("wise_ft").interpolation == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert plan_of("wise_ft").phases == plan_of("lp_ft").phases


def test_norm_only_opens_every_block_to_norms_and_biases() -> None:
    plan = plan_of("norm_only")
    assert plan.parts == "norms_and_biases"
    assert set(plan.phases[0].learning_rates.values()) == {1e-3}


def test_penalties_and_adapters_carry_their_arguments() -> None:
    assert plan_of("l2_sp:strength=0.1,head_strength=0.2").penalty == Penalty("l2_sp", 0.1, 0.2)
    assert plan_of("l1_sp:strength=0.001").penalty == Penalty("l1_sp", 0.001, 0.01)
    assert plan_of("lora").adapter == Adapter(rank=8, scale=2.0)
    assert plan_of("lora:rank=4,alpha=2").adapter == Adapter(rank=4, scale=0.5)


@dataclass
class Scripted:
    """A context whose scores come from a function of the trained blocks, and are remembered."""

    script: Callable[[str], float]
    blocks: tuple[Block, ...] = field(default_factory=lambda: chain(4))
    granularity: Granularity = "stage"
    learning_rate: float = 1e-2
    epochs: int = 4
    seed: int = 0
    head_is_linear: bool = True
    given_plan: FineTunePlan | None = None
    head_is_known: bool = False
    asked: list[tuple[str, set[float | None]]] = field(default_factory=list)

    def score(self, plan: FineTunePlan) -> tuple[float, float]:
        trained = "".join(sorted(set(plan.phases[0].trained) - {"head"}))
        self.asked.append((trained, set(plan.phases[0].learning_rates.values()) - {None}))
        return self.script(trained), -1.0

    def tune(self, strategy: str) -> Tuned:
        raise AssertionError("subtune tunes nothing")

    def evolve(self, settings: object) -> Tuned:
        raise AssertionError("subtune searches nothing")

    def halve(self, settings: object) -> Tuned:
        raise AssertionError("subtune searches nothing")


GREEDY = {
    "": 0.5,
    "1": 0.6,
    "2": 0.7,
    "3": 0.65,
    "4": 0.7,
    "14": 0.75,
    "24": 0.71,
    "34": 0.72,
    "124": 0.9,
    "134": 0.751,
}
"""4 before 2, being nearer the head; then 1; the best of all, 2 with 3, is not found: greedy."""


def chosen(context: Scripted, spec: str) -> str:
    return "".join(name for name in variants(spec)[0].propose(context).phases[0].trained if name != "head")


def test_subtune_adds_the_best_block_again_and_again() -> None:
    context = Scripted(lambda trained: GREEDY.get(trained, 1.0))
    assert chosen(context, "subtune:most=2") == "14"
    assert [trained for trained, _ in context.asked] == ["", "4", "3", "2", "1", "34", "24", "14"]
    assert chosen(Scripted(lambda trained: GREEDY.get(trained, 0.0)), "subtune:most=3") == "124"


def test_subtune_stops_where_no_block_gains_enough() -> None:
    scores = {"": 0.5, "1": 0.6, "12": 0.604, "13": 0.6, "14": 0.59}
    assert chosen(Scripted(lambda trained: scores.get(trained, 0.4)), "subtune:gain=0.005") == "1"
    assert chosen(Scripted(lambda trained: scores.get(trained, 0.4)), "subtune:gain=0.003,most=2") == "12"


def test_subtune_is_a_linear_probe_where_no_block_helps() -> None:
    assert chosen(Scripted(lambda trained: 0.5 if trained else 0.6), "subtune") == ""


def test_subtune_may_choose_every_block_and_then_stops() -> None:
    context = Scripted(lambda trained: len(trained) / 10)
    assert chosen(context, "subtune:most=9") == "1234"
    assert len(context.asked) == 1 + 4 + 3 + 2 + 1


def test_subtune_with_one_block_below_the_head() -> None:
    context = Scripted(lambda trained: 0.5 + 0.1 * len(trained), blocks=chain(1))
    assert chosen(context, "subtune") == "1"
    assert len(context.asked) == 2


def test_what_subtune_chooses_and_asks_does_not_depend_on_the_base_rate() -> None:
    contexts = [Scripted(lambda trained: GREEDY.get(trained, 0.0), learning_rate=rate) for rate in (1e-4, 3e-2)]
    plans = [variants("subtune")[0].propose(context) for context in contexts]
    assert contexts[0].asked == contexts[1].asked
    assert {rate for _, rates in contexts[0].asked for rate in rates} == {1e-3}
    for plan, context in zip(plans, contexts, strict=True):
        assert set(plan.phases[0].learning_rates.values()) == {context.learning_rate, None}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("l2_sp:strength=-1", "strength must be a number from 0 to 1,000,000, got -1.0"),
        ("l1_sp:head_strength=-1", "head_strength must be a number from 0"),
        ("lora:rank=0", "rank must be a whole number from 1 to"),
        ("lora:alpha=0", "alpha must be a number from 1e-6 to"),
        ("lp_ft:share=1", "share must be a number above 0 and below 1"),
        ("lp_ft:share=0", "above 0 and below 1"),
        ("subtune:most=0", "most must be a whole number from 1"),
        ("subtune:gain=-0.1", "gain must be a number from 0 to 1"),
    ],
)
def test_arguments_that_make_no_sense_get_one_clear_line(spec: str, says: str) -> None:
    with pytest.raises(OptionError, match=says) as error:
        variants(spec)
    assert "\n" not in str(error.value)
