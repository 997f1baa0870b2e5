"""Opens an exported model in a process of its own, as its users will, and classifies image files.

    python reopen.py FOLDER < batches.json

Runs the functions of FOLDER/classify.py; imports nothing of thawline, nor PyTorch unless the format needs it. Reads
[[path, ...], ...], one list per batch; writes their probabilities, the time per image and what was imported, as JSON.
"""

from __future__ import annotations

import json
import runpy
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SECONDS = 0.5
"""How long every batch size is timed."""
LEAST_CALLS = 3
_PACKAGES = ("onnxruntime", "openvino", "torch", "numpy", "pillow")


def main() -> None:
    """Classify the batches on standard input by the model in the folder that is named."""
    functions = runpy.run_path(str(Path(sys.argv[1]) / "classify.py"))
    numpy: Any = functions["np"]
    batches = [numpy.stack([functions["pixels"](path) for path in paths]) for paths in json.load(sys.stdin)]
    outputs = [functions["probabilities"](batch) for batch in batches]
    answer = {
        "probabilities": [output.astype(float).tolist() for output in outputs],
        "pixels": [batch.sum(axis=(1, 2, 3), dtype=int).tolist() for batch in batches],
        "milliseconds": {len(batch): _milliseconds(functions["probabilities"], batch) for batch in batches},
        "packages": {name: version(name) for name in _PACKAGES if _is_imported(name)},
    }
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def _milliseconds(classify: Any, batch: Any) -> float:
    """Median time per image of a batch."""
    taken: list[float] = []
    start = time.perf_counter()
    while len(taken) < LEAST_CALLS or time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        classify(batch)
        taken.append(time.perf_counter() - before)
    return 1000 * statistics.median(taken) / len(batch)


def _is_imported(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return {"pillow": "PIL"}.get(name, name) in sys.modules


if __name__ == "__main__":
    main()
