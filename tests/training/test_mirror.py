"""The mirror test sees which classes a mirror exchanges, and looks at nothing but training and validation images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.arrows import SIDE, SIDEWAYS, UPRIGHT, arrows
from thawline.config import TrainConfig
from thawline.data.demo import demo_network
from thawline.model.load import LoadedModel, load_model
from thawline.training import mirror
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.mirror import compared, mirror_test
from thawline.verdicts import is_worse_mirrored

CONFIG = TrainConfig(device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def letters() -> LoadedModel:
    """The network of the demo, which has seen printed letters."""
    return load_model(f"local-dir:{demo_network()}", 2, image_size=SIDE)


def data(directions: dict[str, int], counts: list[int], train: int) -> TrainingData:
    """The first images are those of the training split, the next quarter is in no split, as that of test."""
    pixels, labels = arrows(directions, counts)
    rest = train + len(labels) // 4
    return TrainingData(
        pixels,
        LabelledRows(np.arange(train), torch.from_numpy(labels[:train])),
        LabelledRows(np.arange(rest, len(labels)), torch.from_numpy(labels[rest:])),
    )


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("counts", [[80, 80], [130, 30]])
def test_it_sees_which_classes_a_mirror_exchanges(letters: LoadedModel, counts: list[int], metric: str) -> None:
    config = replace(CONFIG, metric=metric)  # type: ignore[arg-type]
    sideways, upright = (mirror_test(letters, data(kind, counts, 60), config, 0) for kind in (SIDEWAYS, UPRIGHT))
    assert sideways is not None
    assert upright is not None
    assert is_worse_mirrored(sideways)
    assert sideways.mirrored_accuracy < sideways.accuracy - 0.2
    assert not is_worse_mirrored(upright)


def test_other_images_and_the_weights_are_left_alone(letters: LoadedModel) -> None:
    images = data(SIDEWAYS, [40, 40], 30)
    before = mirror_test(letters, images, CONFIG, 0)
    weights = {name: tensor.clone() for name, tensor in letters.module.state_dict().items()}
    pixels = np.asarray(images.pixels)
    pixels[30:50] = 0
    assert mirror_test(letters, images, CONFIG, 0) == before
    assert all(torch.equal(weights[name], tensor) for name, tensor in letters.module.state_dict().items())
    pixels[50:] = 0
    assert mirror_test(letters, images, CONFIG, 0) != before


def test_the_images_of_other_batches_change_nothing_but_rounding(letters: LoadedModel) -> None:
    images = data(SIDEWAYS, [40, 40], 30)
    one, other = (mirror_test(letters, images, replace(CONFIG, batch_size=size), 0) for size in (32, 48))
    assert one is not None
    assert other is not None
    assert one.mirrored_log_loss == pytest.approx(other.mirrored_log_loss, abs=1e-3)


def test_of_large_splits_a_part_is_used(letters: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_TRAINING_IMAGES", 40)
    monkeypatch.setattr(mirror, "MOST_VALIDATION_IMAGES", 25)
    images = data(SIDEWAYS, [80, 80], 60)
    found = [mirror_test(letters, images, CONFIG, seed) for seed in (0, 0, 1)]
    assert found[0] is not None
    assert (found[0].images, found[0].passes) == (25, 40 + 25 + 25)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("train", "val"), [(1, 1), (2, 1), (2, 2), (3, 3)])
def test_a_few_images_are_no_reason_to_fail_or_to_decide(letters: LoadedModel, train: int, val: int) -> None:
    images = data(SIDEWAYS, [20, 20], 10)
    few = replace(
        images,
        train=LabelledRows(images.train.rows[:train], images.train.labels[:train]),
        val=LabelledRows(images.val.rows[:val], images.val.labels[:val]),
    )
    found = mirror_test(letters, few, CONFIG, 0)
    assert found is not None
    assert found.images == val
    assert not is_worse_mirrored(found)


def test_a_head_that_is_not_linear_has_no_mirror_test(letters: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thawline.training.trainer.linear_head", lambda *_: None)
    assert mirror_test(letters, data(SIDEWAYS, [20, 20], 10), CONFIG, 0) is None


def logits(right: int, of: int, classes: int = 2) -> torch.Tensor:
    """So many images of class 0 with a clear answer, the first of them the right one."""
    answers = torch.tensor([0] * right + [1] * (of - right))
    return 4 * torch.nn.functional.one_hot(answers, classes).float()


@pytest.mark.parametrize("classes", [2, 1000])
def test_the_rise_is_paired_and_one_sided(classes: int) -> None:
    labels, alike = torch.zeros(100, dtype=torch.long), torch.ones(100)
    good, worse = logits(90, 100, classes), logits(60, 100, classes)
    up, down, same = (compared(*pair, labels, alike) for pair in ((good, worse), (worse, good), (good, good.clone())))
    assert (up.accuracy, up.mirrored_accuracy) == pytest.approx((0.9, 0.6))
    assert (up.log_loss, up.mirrored_log_loss) == (down.mirrored_log_loss, down.log_loss)
    assert up.p < 1e-3
    assert down.p == pytest.approx(1 - up.p)
    assert same.p == 1
    assert [is_worse_mirrored(found) for found in (up, down, same)] == [True, False, False]


def test_a_trifle_is_no_reason_however_sure_it_is() -> None:
    labels, alike = torch.zeros(5000, dtype=torch.long), torch.ones(5000)
    found = compared(logits(4950, 5000), logits(4945, 5000), labels, alike)
    found = replace(found, p=1e-6)
    assert found.mirrored_log_loss < 1.1 * found.log_loss
    assert not is_worse_mirrored(found)
    near_perfect = replace(found, log_loss=0.001, mirrored_log_loss=0.009)
    assert not is_worse_mirrored(near_perfect)


def test_weights_are_those_of_images() -> None:
    labels = torch.zeros(100, dtype=torch.long)
    few = torch.where(torch.arange(100) < 90, 1.0, 1e-9)
    found = compared(logits(90, 100), logits(60, 100), labels, few)
    assert (found.accuracy, found.mirrored_accuracy) == pytest.approx((1, 60 / 90))
    # A single image that counts for all cannot tell anything.
    alone = torch.where(torch.arange(100) == 70, 1.0, 1e-9)
    assert compared(logits(90, 100), logits(60, 100), labels, alone).p == 1


def test_the_confidence_of_the_probe_does_not_matter() -> None:
    labels, alike = torch.zeros(100, dtype=torch.long), torch.ones(100)
    calm = compared(logits(90, 100), logits(88, 100), labels, alike)
    bold = compared(logits(90, 100), 5 * logits(88, 100), labels, alike)
    assert bold.mirrored_log_loss == pytest.approx(calm.mirrored_log_loss, rel=1e-3)
