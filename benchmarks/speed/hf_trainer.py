"""The same training by Hugging Face's Trainer on the same network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.images import DecodedEachTime, Images, usual_transform
from benchmarks.speed.ours import build
from benchmarks.speed.peers import needed
from benchmarks.speed.settings import RATE, Settings

with needed("transformers", "accelerate"):
    import accelerate  # noqa: F401  its absence would show in the middle of a cell only
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

WARM_UP = 3
"""Steps before the clock starts."""
DEFAULT_BATCH = 8
"""Arguments of TrainingArguments."""


class WithLoss(nn.Module):
    """The network in the Trainer's form: named inputs, a loss among the outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.logits_type = torch.float32

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and logits."""
        logits = self.network(pixel_values)
        self.logits_type = logits.dtype
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Clock(TrainerCallback):
    """The time at the end of every step."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Wait for the device, then look at the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.stamps.append(time.perf_counter())


def full_fine_tuning(
    settings: Settings, *, name: str, steps: int, batch: int | None, precision: str = "fp32"
) -> Callable[[], float]:
    """Images per second over `steps` steps of `batch` images; `batch` None and fp32 = the Trainer's own defaults.

    In both, saving and reporting are left out, in its favor; at a given batch the learning rate is ours.
    """
    images = Images.of_steps(settings)
    model = build(settings.named(name), images.classes, settings.image_size)
    module, transform = WithLoss(model.module), usual_transform(model.preprocessing)
    size = batch or DEFAULT_BATCH
    given: dict[str, Any] = {} if batch is None else {"per_device_train_batch_size": batch, "learning_rate": RATE}
    data = DecodedEachTime(images.repeated(size * (WARM_UP + steps)), transform)
    count = len(data) // size

    def measure() -> float:
        arguments = TrainingArguments(
            output_dir=str(settings.runs / "hf-trainer"),
            max_steps=count,
            bf16=precision == "bf16",
            use_cpu=settings.device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **given,
        )
        clock = Clock()
        trainer = Trainer(module, arguments, train_dataset=data, data_collator=_collate, callbacks=[clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        _require_precision(module, precision)
        return steps * size / (clock.stamps[-1] - clock.stamps[WARM_UP - 1])

    return measure


def _collate(items: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    pixels, labels = zip(*items, strict=True)
    return {"pixel_values": torch.stack(pixels), "labels": torch.tensor(labels)}


def _require_precision(module: WithLoss, precision: str) -> None:
    """A cell that compared the wrong precisions would be worthless."""
    expected = torch.bfloat16 if precision == "bf16" else torch.float32
    if module.logits_type != expected:
        raise RuntimeError(f"the Trainer computed in {module.logits_type}, asked for {precision}")
