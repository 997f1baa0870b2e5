"""What every cell is told, and which network, pixels and precision it means on which device. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
"""The repository: subprocesses start here, so that `python -m benchmarks.speed.NAME` finds them."""
BATCH = 32
RATE = 1e-3
ALLOCATOR_ALONE = {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}
"""Environment with which thawline leaves the allocator alone (`memory.keep_freed_memory`); the value is glibc's own."""
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Network:
    """A backbone; without a folder of weights its weights are random."""

    name: str
    weights: Path | None = None

    @property
    def source(self) -> str:
        """The path in the form that thawline and timm take."""
        return self.name if self.weights is None else f"local-dir:{self.weights}"


@dataclass(frozen=True)
class Settings:
    """One run of the benchmark."""

    shared: Path
    """Folder with data/ and weights/."""
    runs: Path
    """Run folders, pixel caches and logs; may be deleted."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    """CPU threads of each training; loaders' workers come on top, as their libraries start them."""
    repeats: int = 0
    """Measurements of each side; 0 = what the cell asks for."""
    smoke: bool = False
    """The smallest sizes: shows that everything runs; the figures mean nothing."""

    @property
    def network(self) -> Network:
        """The network of the cells that do not name one."""
        return self.named("mobilenetv2_050" if self.device == "cpu" else "resnet50")

    @property
    def image_size(self) -> int:
        """Pixels per side."""
        return self.small(128 if self.device == "cpu" else 224, 32)

    def named(self, name: str) -> Network:
        """A network with the shared weights, if there are any."""
        folder = self.shared / "weights" / name
        return Network(name, folder if folder.is_dir() else None)

    def data(self, name: str) -> Path:
        """A folder of images."""
        return self.shared / "data" / name

    def small(self, real: int, smoke: int) -> int:
        """A size, by whether this is a smoke test."""
        return smoke if self.smoke else real

    def times(self, usual: int) -> int:
        """How often each side is measured."""
        return self.small(self.repeats or usual, 2)

    def to_json(self) -> str:
        """For the command line of another process."""
        return json.dumps({**asdict(self), "shared": str(self.shared), "runs": str(self.runs)})

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The inverse of `to_json`."""
        data = json.loads(text)
        return cls(**{**data, "shared": Path(data["shared"]), "runs": Path(data["runs"])})
