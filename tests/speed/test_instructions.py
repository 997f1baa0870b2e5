"""Figures of two sets of instructions never lie in one folder."""

from __future__ import annotations

import pytest

from benchmarks.speed import instructions


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx avx2 avx512f amx_tile amx_bf16", "amx"),
        ("fpu avx avx2 avx512f", "avx512"),
        ("fpu avx avx2", "avx2"),
        ("fpu", "other"),
    ],
)
def test_a_folder_is_named_after_the_newest_instructions(
    flags: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(instructions.ONEDNN, raising=False)
    monkeypatch.setattr(instructions, "_cpuinfo", lambda: f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert instructions.short_name() == expected


def test_a_limit_names_the_folder_and_holds_for_mkl_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(instructions.ONEDNN, "AVX2")
    assert instructions.short_name() == "avx2"
    assert instructions.variables() == {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    monkeypatch.delenv(instructions.ONEDNN)
    assert instructions.variables() == {}
