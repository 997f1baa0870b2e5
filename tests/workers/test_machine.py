"""Machines that would not compute the same are told apart, in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from thawline.workers.machine import DECIDING, Machine, UnlikeMachineError


def test_this_machine_is_like_itself() -> None:
    here = Machine.here("cpu")
    here.require_like(Machine.here("cpu"))
    assert here.packages["torch"] == torch.__version__.partition("+")[0] or here.packages["torch"] == torch.__version__
    assert set(here.packages) == set(DECIDING)
    assert here.device == ""


def test_the_line_says_what_differs() -> None:
    here = Machine({"torch": "2.15.0", "timm": "1.0.31"}, ("x86_64", "AVX2"), "")
    asks = Machine({"torch": "2.14.1", "timm": "1.0.31"}, ("x86_64", "AVX512", "amx_bf16"), "NVIDIA H100")
    with pytest.raises(UnlikeMachineError) as refused:
        here.require_like(asks)
    line = str(refused.value)
    assert "torch 2.15.0 instead of 2.14.1; " in line
    assert "processor with AVX2 and without AVX512 amx_bf16; " in line
    assert "device cpu instead of NVIDIA H100" in line
    assert "timm" not in line
    assert "`mixed_machines=True`" in line
    assert refused.value.exit_code == 2


def test_a_limit_on_instructions_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Machine.here("cpu")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(UnlikeMachineError, match="ONEDNN_MAX_CPU_ISA=AVX2"):
        Machine.here("cpu").require_like(before)
    replace(before, device="").require_like(before)
