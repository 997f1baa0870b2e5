"""What each fixed strategy decides, block by block."""

from __future__ import annotations

from typing import get_args

import pytest

from thawline.errors import OptionError, PlanError
from thawline.model.blocks import partition
from thawline.model.load import build_on_meta
from thawline.plan import Block, FineTunePlan
from thawline.strategies import STRATEGIES
from thawline.strategies.auto import OLD_NAMES, AutoConfig, Component
from thawline.strategies.base import split_specs, strategy_class, variants
from thawline.strategies.context import Tuned
from thawline.testing import PlainContext


def block(name: str, *, is_head: bool = False) -> Block:
    return Block(name, (name,), (f"{name}.weight",), (), 10, 1, (name,), is_head)


BLOCKS = (block("stem"), block("a"), block("b"), block("c"), block("head", is_head=True))


def propose(spec: str, *, head_is_linear: bool = True) -> FineTunePlan:
    return variants(spec)[0].plan(PlainContext(BLOCKS, head_is_linear=head_is_linear))


def rates(spec: str, blocks: tuple[Block, ...] = BLOCKS, learning_rate: float = 1e-2) -> list[float | None]:
    plan = variants(spec)[0].propose(PlainContext(blocks, learning_rate=learning_rate))
    return [plan.phases[0].learning_rates[block.name] for block in blocks]


def test_linear_probe_trains_the_head_alone() -> None:
    assert rates("linear_probe:solver=sgd") == [None, None, None, None, 1e-2]


def test_linear_probe_is_solved_unless_the_head_is_more_than_a_linear_layer() -> None:
    solved = propose("linear_probe")
    assert (solved.is_solved, solved.head_start) == (True, "probe")
    assert solved.trained == {solved.blocks[-1]}
    assert propose("linear_probe", head_is_linear=False) == propose("linear_probe:solver=sgd")
    assert propose("linear_probe:solver=lbfgs", head_is_linear=False) == solved


@pytest.mark.parametrize("spec", ["full:", "last_blocks:k=2,", "lora:rank=4,alpha=4,", "biotune:", "auto:"])
def test_every_strategy_can_start_from_the_probe(spec: str) -> None:
    (strategy,) = variants(f"{spec}head_start=probe")
    assert strategy.spec.endswith("head_start=probe")
    assert strategy.settled(propose("full")).head_start == "probe"


def test_full_trains_everything_at_one_rate() -> None:
    assert rates("full") == [1e-2] * 5


def test_full_10x_head() -> None:
    assert rates("full_10x_head") == [1e-2, 1e-2, 1e-2, 1e-2, 1e-1]


@pytest.mark.parametrize(("k", "frozen"), [(1, 3), (2, 2), (4, 0)])
def test_last_blocks(k: int, frozen: int) -> None:
    assert rates(f"last_blocks:k={k}") == [None] * frozen + [1e-2] * (5 - frozen)


@pytest.mark.parametrize("spec", ["last_blocks:k=5", "last_layers:k=30"])
def test_more_blocks_than_the_model_has_are_refused_with_the_way_out(spec: str) -> None:
    with pytest.raises(PlanError, match=r"4 blocks below the head .*; take k from 1 to 4, or full") as error:
        rates(spec)
    assert spec in str(error.value)
    with pytest.raises(PlanError, match=r"0 blocks below the head .*; use linear_probe"):
        rates(spec, (block("head", is_head=True),))


@pytest.mark.parametrize(("share", "trained"), [(0, 0), (1, 1), (20, 1), (21, 2), (25, 2), (50, 3), (80, 4), (100, 5)])
def test_depth_rounds_up_and_leaves_the_head_out_of_the_count(share: int, trained: int) -> None:
    layers = (*(block(f"layer{number}") for number in range(5)), block("head", is_head=True))
    assert rates(f"depth:share={share}", layers) == [None] * (5 - trained) + [1e-2] * (trained + 1)


def test_last_layers_counts_convolutions_of_a_real_network() -> None:
    """The levels "top 10" and "top 20" of the MobileNetV2 study are its last 3 and 7 convolutions."""
    built = build_on_meta("mobilenetv2_100", num_classes=2, image_size=224)
    blocks = partition(built.module, "layer", 224)
    for k, lowest in ((3, "blocks.6.0.conv_dw"), (7, "blocks.5.2.conv_pw")):
        plan = variants(f"last_layers:k={k}")[0].propose(PlainContext(blocks, "layer"))
        trained = [block for block in blocks if block.name in plan.trained and not block.is_head]
        assert sum(block.layers for block in trained) == len(trained) == k
        assert lowest in trained[0].modules


def test_depth_counts_layers() -> None:
    assert strategy_class("depth").granularity == "layer"


def test_layer_decay_is_geometric_from_the_head_down() -> None:
    assert rates("layer_decay:decay=0.5", learning_rate=1.0) == [0.0625, 0.125, 0.25, 0.5, 1.0]


def test_auto_is_the_plan_that_its_search_ends_with() -> None:
    asked: list[object] = []

    class Context(PlainContext):
        def halve(self, settings: AutoConfig) -> Tuned:
            asked.append(settings)
            return super().halve(settings)

    (auto,) = variants("auto:budget=3x,sampler=tpe")
    assert auto.propose(Context(BLOCKS)) == variants("full")[0].propose(PlainContext(BLOCKS))
    assert asked == [auto]
    assert auto.spec == "auto:budget=3x,sampler=tpe"
    assert variants("auto")[0].spec == "auto"


def test_a_strategy_that_only_proposes_does_not_search() -> None:
    (full,) = variants("full")
    assert not full.searches
    with pytest.raises(NotImplementedError, match="'full' proposes a plan and does not search"):
        full.search(PlainContext(BLOCKS))


@pytest.mark.parametrize(("old", "new"), list(OLD_NAMES.items()))
def test_old_names_of_components_still_leave_them_out_and_stay_in_the_spec(old: str, new: Component) -> None:
    (auto,) = variants(f"auto:without={old}+rungs")
    assert isinstance(auto, AutoConfig)
    assert [component for component in get_args(Component) if not auto.has(component)] == sorted(
        (new, "rungs"), key=get_args(Component).index
    )
    assert auto.spec == f"auto:without={old}+rungs"


def test_every_strategy_of_the_table_says_its_own_name() -> None:
    for name in STRATEGIES:
        assert strategy_class(name).name == name


def test_the_grid_opens_only_what_the_user_left_open() -> None:
    assert [variant.spec for variant in variants("last_blocks")] == [f"last_blocks:k={k}" for k in (1, 2, 3)]
    assert [variant.spec for variant in variants("last_blocks:k=5")] == ["last_blocks:k=5"]


def test_specs_with_several_arguments_survive_a_comma_separated_list() -> None:
    assert split_specs("full, last_blocks:k=3,layer_decay:decay=0.5") == (
        "full",
        "last_blocks:k=3",
        "layer_decay:decay=0.5",
    )
    assert split_specs("a:x=1,y=2,b") == ("a:x=1,y=2", "b")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("fulll", "did you mean 'full'"),
        ("zzz", "choose from"),
        ("full:k=1", "has no argument"),
        ("last_blocks:k=two", "must be a whole number"),
        ("last_blocks:k=1,k=2", "k is given twice"),
        ("last_blocks:3", "its arguments and their defaults are: k="),
        ("last_blocks:k=0", "k must be a whole number from 1 to 100,000 .linear_probe trains the head alone., got 0"),
        ("depth:share=101", "share must be a number from 0 to 100 .percent., got 101.0"),
        ("depth:share=0.25", "in percent, got 0.25; did you mean 25?"),
        ("layer_decay:decay=0", "from 0.1 to 1"),
    ],
)
def test_bad_specs_get_one_clear_line(spec: str, says: str) -> None:
    with pytest.raises(OptionError, match=says) as error:
        variants(spec)
    assert "\n" not in str(error.value)


def test_a_plan_may_not_freeze_the_head() -> None:
    plan = FineTunePlan.constant(BLOCKS, {"head": 1e-3})
    assert plan.trained == {"head"}
    with pytest.raises(ValueError, match="head"):
        FineTunePlan.constant(BLOCKS, {"a": 1e-3})
