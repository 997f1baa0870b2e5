"""An ONNX export in a fresh environment with onnxruntime, NumPy and Pillow only, against `thawline predict`.

    python -m benchmarks.exports_fresh RUN/exports/onnx IMAGES

Makes a virtual environment, runs the export's classify.py there on every image, and compares the likeliest classes.
Needs a package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import thawline
from thawline.data.sources import find_images

PACKAGES = ("onnxruntime", "numpy", "pillow")


def classified(export: Path, files: list[Path], environment: Path) -> dict[str, tuple[str, float]]:
    """Class and probability of every file by classify.py, in a new environment."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    missing = "import importlib.util as u; assert not any(map(u.find_spec, ('torch', 'timm', 'thawline')))"
    subprocess.run([python, "-I", "-c", missing], check=True)
    done = subprocess.run(
        [python, "-I", export / "classify.py", *files], check=True, capture_output=True, text=True, cwd=environment
    )
    found = {}
    for line in done.stdout.splitlines():
        path, _, answer = line.rpartition(": ")
        label, _, probability = answer.rpartition(" ")
        found[path] = (label, float(probability))
    return found


def main(export: Path, images: Path) -> None:
    """Print how many files have the same class, and the largest difference of its probability."""
    files = [path.resolve() for path in find_images([images])[0]]
    model = Path(json.loads((export / "export.json").read_text())["model"])
    expected = {each.path: each.top[0] for each in thawline.predict(model, files, top=1).predictions}
    with tempfile.TemporaryDirectory() as folder:
        found = classified(export.resolve(), files, Path(folder))
    same = sum(found[path][0] == top.label for path, top in expected.items())
    largest = max(abs(found[path][1] - top.probability) for path, top in expected.items())
    print(f"{same} of {len(expected)} files have the same likeliest class; probabilities within {largest:.1e}")
    print("(classify.py prints three decimals)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
