"""What the result of a training depends on besides its job: versions of packages, and instructions of the processor."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from thawline.errors import InputError
from thawline.records import packages

DECIDING = ("thawline", "torch", "timm", "numpy")
"""Packages that compute what a training ends with."""


_VECTORS = ("avx", "amx", "fma", "neon", "sve", "bf16", "vsx", "zvector")
"""How the names of vector instructions begin."""
_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
"""Environment variables that keep PyTorch from some of them."""


class UnlikeMachineError(InputError):
    """A worker would not compute the same as the process that asks it to."""


@dataclass(frozen=True)
class Machine:
    """A process that trains, as plain data."""

    packages: Mapping[str, str | None]
    """Versions of `DECIDING`."""
    instructions: tuple[str, ...]
    """The architecture, and the vector instructions by which kernels are chosen."""
    device: str
    """The name of the GPU that is trained on; empty on a CPU."""

    @classmethod
    def here(cls, device: str) -> Machine:
        """This process; `device` is cpu, cuda or mps."""
        installed = packages()
        name = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else ""
        return cls({each: installed[each] for each in DECIDING}, _instructions(), name)

    def require_like(self, other: Machine) -> None:
        """Raise `UnlikeMachineError` if a training may end differently here than on `other`."""
        if found := "; ".join(self.differences(other)):
            raise UnlikeMachineError(
                f"the worker {place()} is unlike the machine that asks ({found}), so that trainings there may end "
                "differently; make them alike, or allow it with `mixed_machines=True`."
            )

    def differences(self, other: Machine) -> Iterator[str]:
        """What is here otherwise than on `other`, in words."""
        for name, version in self.packages.items():
            if version != (asked := other.packages.get(name)):
                yield f"{name} {version} instead of {asked}"
        here, there = set(self.instructions), set(other.instructions)
        if here != there:
            more, less = (" ".join(sorted(some)) for some in (here - there, there - here))
            yield "processor " + " and ".join(filter(None, (more and f"with {more}", less and f"without {less}")))
        if self.device != other.device:
            yield f"device {self.device or 'cpu'} instead of {other.device or 'cpu'}"


def place() -> str:
    """The name of this machine and the number of this process, as the ledger has them."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _instructions() -> tuple[str, ...]:
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    known = sorted(name for name, value in capabilities.items() if value is True and name.startswith(_VECTORS))
    limits = (f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ)
    return (platform.machine(), torch.backends.cpu.get_cpu_capability(), *known, *limits)
