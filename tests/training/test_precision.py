"""Precision by measurement: what is timed, what it is compared with, and that it is timed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from thawline.training import precision
from thawline.training.precision import faster_precision, time_steps

SIZE = 16


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def measured(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float) -> list[int]:
    """What was timed says so; the image sizes that were asked for."""
    asked: list[int] = []

    def found(_: nn.Module, image_size: int) -> dict[str, float]:
        asked.append(image_size)
        return {"fp32": fp32, "bf16": bf16}

    monkeypatch.setattr(precision, "time_steps", found)
    return asked


@pytest.mark.parametrize(("fp32", "expected"), [(2.0, "bf16"), (1.1, "fp32"), (0.5, "fp32"), (0.0, "fp32")])
def test_only_a_clear_gain_is_worth_the_rounding(fp32: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, fp32, bf16=1.0 if fp32 else 0.0)
    assert faster_precision(network(), SIZE, threads=1) == expected


def test_the_same_network_is_timed_once_whatever_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, fp32=2.0, bf16=1.0)
    assert [faster_precision(network(), SIZE, threads=1) for _ in range(2)] == ["bf16", "bf16"]
    measured(monkeypatch, fp32=1.0, bf16=2.0)
    assert faster_precision(network(), SIZE, threads=1) == "bf16"
    assert asked == [SIZE]


def test_another_size_thread_count_or_instruction_set_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, fp32=2.0, bf16=1.0)
    for size, threads in ((SIZE, 1), (2 * SIZE, 1), (SIZE, 2)):
        faster_precision(network(), size, threads)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    faster_precision(network(), SIZE, threads=1)
    assert asked == [SIZE, 2 * SIZE, SIZE, SIZE]


def test_a_damaged_timing_is_taken_again_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, notes = measured(monkeypatch, fp32=2.0, bf16=1.0), list[str]()
    faster_precision(network(), SIZE, threads=1)
    (file,) = tmp_path.glob("precision/*/precision.json")
    file.write_text('{"fp32": 1}', encoding="utf-8")
    assert faster_precision(network(), SIZE, 1, notes.append) == "bf16"
    assert len(asked) == 2
    assert "is damaged" in notes[0]


def test_timing_changes_neither_the_network_nor_the_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    of_products(monkeypatch, fp32=2.0, bf16=1.0)
    model = network().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch.no_grad():  # whatever the caller does
        found = time_steps(model, SIZE)
    assert found is not None
    assert found["fp32"] > 0 < found["bf16"]
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_product_that_was_slow_by_chance_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    of_products(monkeypatch, fp32=1e-9, bf16=2e-9)
    found = time_steps(network(), SIZE)
    assert found is not None
    assert found["fp32"] > 1e-6, "the time of a step"


def test_no_step_is_taken_where_products_are_hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    of_products(monkeypatch, fp32=1.0, bf16=50.0)
    monkeypatch.setattr(precision, "_step", lambda *_: pytest.fail("a step could take minutes"))
    assert time_steps(network(), SIZE) == {"fp32": 1.0, "bf16": 50.0}


def test_a_network_that_cannot_run_stays_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_products(monkeypatch, fp32=2.0, bf16=1.0)
    assert faster_precision(nn.Linear(5, 3), SIZE, threads=1) == "fp32"
    assert not [*tmp_path.rglob("precision.json")], "what went wrong is not remembered"


def of_products(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float) -> None:
    """A processor whose products of matrices take so long; steps are timed as they are."""
    real = precision._fastest

    def fastest(action: Callable[[], object]) -> dict[str, float]:
        return {"fp32": fp32, "bf16": bf16} if action is precision._product else real(action)

    monkeypatch.setattr(precision, "_fastest", fastest)
