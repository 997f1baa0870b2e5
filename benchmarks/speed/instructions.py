"""Which instructions of the processor are used, so that figures of two sets of them never lie in one folder.

`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` has PyTorch and oneDNN do without newer ones. Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ONEDNN = "ONEDNN_MAX_CPU_ISA"
_MKL = {"AVX2": "AVX2", "AVX512_CORE": "AVX512"}
"""What oneDNN's limits are called by MKL, which multiplies fp32 matrices and knows nothing of them."""
_FLAGS = {"amx_tile": "amx", "avx512f": "avx512", "avx2": "avx2"}
"""Names of instruction sets by the flag in /proc/cpuinfo, newest first."""
NAMES = tuple(_FLAGS.values())
_ASK = """
import torch
torch.nn.functional.conv2d(torch.ones(2, 32, 32, 32), torch.ones(32, 32, 3, 3))
print("aten:" + torch.backends.cpu.get_cpu_capability())
"""


def short_name() -> str:
    """The newest instruction set that may be used, as part of a folder's name; "other" where it is not known."""
    if ONEDNN in os.environ:
        return os.environ[ONEDNN].lower()
    try:
        flags = set(re.findall(r"\w+", re.search(r"^flags\s*:(.*)", _cpuinfo(), re.MULTILINE)[1]))  # type: ignore[index]
    except (OSError, TypeError):
        return "other"
    return next((name for flag, name in _FLAGS.items() if flag in flags), "other")


def variables() -> dict[str, str]:
    """Environment variables that hold MKL to the limit that oneDNN has."""
    limit = _MKL.get(os.environ.get(ONEDNN, "").upper())
    return {} if limit is None else {"MKL_ENABLE_INSTRUCTIONS": limit}


def in_use() -> dict[str, str]:
    """What PyTorch and oneDNN say themselves that they use, asked in a process of their own."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}
    asked = subprocess.run([sys.executable, "-c", _ASK], env=environment, capture_output=True, text=True, check=True)
    said = {"PyTorch": r"^aten:(.*)", "oneDNN": r"cpu,isa:(.*)"}
    found = {name: re.search(pattern, asked.stdout, re.MULTILINE) for name, pattern in said.items()}
    return {name: match[1].strip() if match else "not used" for name, match in found.items()}


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8")
