"""What `auto` is settled on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from thawline import api
from thawline.config import TrainConfig
from thawline.errors import OptionError
from thawline.training.device import apply, require_threads, resolve, settings_restored

NETWORK = nn.Conv2d(4, 4, 3)


def settled(config: TrainConfig, network: nn.Module) -> TrainConfig:
    return resolve(config, network, 32, lambda _: None)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_bf16_on_a_cpu_where_it_pays(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native}, raising=False)
    monkeypatch.setattr("thawline.training.device.faster_precision", lambda *_: "bf16")
    assert settled(TrainConfig(device="cpu", threads=1), NETWORK).precision == expected


def test_what_the_user_says_stands() -> None:
    resolved = settled(TrainConfig(device="cpu", threads=1, precision="fp32"), NETWORK)
    assert (resolved.precision, resolved.device, resolved.threads) == ("fp32", "cpu", 1)
    assert torch.get_num_threads() == 1


def test_a_device_that_is_not_there() -> None:
    missing: Literal["cuda", "mps"] = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(OptionError, match="not available"):
        settled(TrainConfig(device=missing, threads=1), NETWORK)


def test_more_threads_than_a_machine_can_run_are_refused_for_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    require_threads(16)
    with pytest.raises(OptionError, match="`threads` must be at most 16, 8 for each of this machine's 2 processors"):
        api.fit(tmp_path, tmp_path / "run", strategy="full", threads=17)


def test_a_caller_keeps_its_own_settings_of_pytorch() -> None:
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        torch.set_num_threads(2)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        with settings_restored():
            apply(TrainConfig(threads=1, device="cpu"))
            assert (torch.get_num_threads(), torch.backends.cudnn.deterministic) == (1, True)
        assert torch.get_num_threads() == 2
        assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (False, True)
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]
