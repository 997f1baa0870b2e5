"""FLOPs by hand for an 8x8 image: conv one 2*3*4*9*64 = 13824, conv two 2*4*8*9*16 = 9216, linear 2*8*5 = 80."""

from __future__ import annotations

import pytest
import timm
import torch

from tests.model.tiny import ThreeLayers
from thawline.model.blocks import partition
from thawline.model.work import SMALLEST_STEP, WorkTable
from thawline.plan import FineTunePlan, Phase

ONE, TWO, HEAD = 13824, 9216, 80
FORWARD = ONE + TWO + HEAD
FULL = 3 * FORWARD - ONE


@pytest.fixture
def table() -> WorkTable:
    model = ThreeLayers()
    return WorkTable.measure(model, partition(model, "stage", 8), 8)


def plan(*phases: tuple[int | None, set[str]]) -> FineTunePlan:
    names = ("stem", "two", "head")
    return FineTunePlan(
        tuple(Phase({name: 1e-3 if name in trained else None for name in names}, epochs) for epochs, trained in phases)
    )


FULL_PLAN = plan((None, {"stem", "two", "head"}))
LAST_TWO = plan((None, {"two", "head"}))
PROBE = plan((None, {"head"}))


def test_table_is_what_a_hand_counts(table: WorkTable) -> None:
    assert [block.name for block in table.blocks] == ["stem", "two", "head"]
    assert [block.flops for block in table.blocks] == [ONE, TWO, HEAD]
    assert [block.entry_flops for block in table.blocks] == [ONE, TWO, HEAD]
    assert [block.layers for block in table.blocks] == [1, 1, 1]
    assert [block.parameters for block in table.blocks] == [3 * 4 * 9 + 8, 4 * 8 * 9, 8 * 5 + 5]
    # After the pooling 4x4x4, the pooled features 8, the logits 5; four bytes each.
    assert [block.boundary_bytes for block in table.blocks] == [4 * 4 * 4 * 4, 8 * 4, 5 * 4]


def test_step_share_counts_forward_activation_and_weight_gradients(table: WorkTable) -> None:
    assert table.step_share({"stem", "two", "head"}) == 1
    behind_the_stem = (TWO + HEAD) + HEAD + (TWO + HEAD)
    assert table.step_share({"two", "head"}) == pytest.approx(behind_the_stem / FULL)
    stem_and_head = FORWARD + (TWO + HEAD) + (ONE + HEAD)
    assert table.step_share({"stem", "head"}) == pytest.approx(stem_and_head / FULL)


def test_a_step_is_never_free(table: WorkTable) -> None:
    assert 2 * HEAD / FULL < SMALLEST_STEP
    assert table.step_share({"head"}) == SMALLEST_STEP


def test_a_step_may_start_behind_an_earlier_block(table: WorkTable) -> None:
    assert table.step_share({"head"}, behind="stem") == pytest.approx((FORWARD + HEAD) / FULL)


def test_full_fine_tuning_at_nominal_epochs_is_one_unit(table: WorkTable) -> None:
    sizes = {"nominal_epochs": 20, "train_images": 60, "validation_images": 20}
    assert table.training(FULL_PLAN, epochs_run=20, **sizes) == pytest.approx(1)
    assert table.training(FULL_PLAN, epochs_run=5, **sizes) == pytest.approx(0.25)
    assert table.prefix(FULL_PLAN, 4, 60, 20, 20) == 0


def test_a_part_of_the_images_is_counted_in_units_of_all_of_them(table: WorkTable) -> None:
    sizes = {"nominal_epochs": 20, "train_images": 60, "validation_images": 20}
    half = table.training(FULL_PLAN, epochs_run=10, share=0.5, **sizes)
    assert half == pytest.approx(10 * (30 * FULL + 20 * FORWARD) / (20 * (60 * FULL + 20 * FORWARD)))


def test_training_behind_a_prefix_validates_the_rest_only(table: WorkTable) -> None:
    unit = 10 * (60 * FULL + 20 * FORWARD)
    step = 2 * (TWO + HEAD) + HEAD
    spent = 5 * (60 * step + 20 * (TWO + HEAD))
    units = table.training(LAST_TWO, epochs_run=5, nominal_epochs=10, train_images=60, validation_images=20)
    assert units == pytest.approx(spent / unit)


def test_a_phase_that_freezes_more_still_runs_from_the_plans_prefix(table: WorkTable) -> None:
    gradual = plan((2, {"head"}), (None, {"two", "head"}))
    assert table.first_trained(gradual) == "two"
    unit = 10 * (60 * FULL + 20 * FORWARD)
    frozen_step, thawed_step = (TWO + HEAD) + HEAD, 2 * (TWO + HEAD) + HEAD
    spent = 2 * 60 * frozen_step + 3 * 60 * thawed_step + 5 * 20 * (TWO + HEAD)
    units = table.training(gradual, epochs_run=5, nominal_epochs=10, train_images=60, validation_images=20)
    assert units == pytest.approx(spent / unit)


@pytest.mark.parametrize(("views", "passes"), [(1, 1), (4, 4), (0, 10), (99, 10)])
def test_prefix_is_one_pass_over_every_view_and_the_validation_images(
    table: WorkTable, views: int, passes: int
) -> None:
    unit = 10 * (60 * FULL + 20 * FORWARD)
    assert table.prefix(LAST_TWO, views, 60, 20, 10) == pytest.approx((passes * 60 + 20) * ONE / unit)
    assert table.prefix(PROBE, views, 60, 20, 10) == pytest.approx((passes * 60 + 20) * (ONE + TWO) / unit)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "levit_128s"])
def test_real_weights_and_the_meta_device_count_the_same(name: str) -> None:
    size = 224 if name == "levit_128s" else 160
    model = timm.create_model(name, num_classes=3)
    with torch.device("meta"):
        on_meta = timm.create_model(name, num_classes=3)
    blocks = partition(model, "stage", size)
    assert WorkTable.measure(model, blocks, size) == WorkTable.measure(on_meta, blocks, size)


@pytest.mark.thorough
def test_no_flop_is_lost_or_counted_twice() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet50", num_classes=1000)
    for granularity in ("stage", "group", "layer"):
        table = WorkTable.measure(model, partition(model, granularity, 224), 224)
        assert table.flops == pytest.approx(2 * 4.09e9, rel=0.01)  # 4.1 G multiply-adds, as published


@pytest.mark.thorough
def test_attention_products_are_counted() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", num_classes=10)
    table = WorkTable.measure(model, partition(model, "stage", 224), 224)
    tokens, width = 197, 192
    linear = 2 * tokens * 12 * width**2
    products = 2 * 2 * tokens**2 * width
    assert table.blocks[1].flops == linear + products


def test_a_refit_has_more_images_and_no_validation(table: WorkTable) -> None:
    sizes = {"nominal_epochs": 10, "train_images": 100, "validation_images": 50}
    unit = 10 * (100 * FULL + 50 * FORWARD)
    found = table.training(FULL_PLAN, epochs_run=4, share=1.5, validated_images=0, **sizes)
    assert found == pytest.approx(4 * 150 * FULL / unit)
    assert table.prefix(LAST_TWO, views=2, share=1.5, **sizes) == pytest.approx((2 * 150 + 50) * ONE / unit)
