"""Export a model to ONNX, and classify photos in a process that has neither thawline nor PyTorch in it.

Needs `pip install 'thawline[onnx]'`.
"""

import json
import subprocess
import sys
from pathlib import Path

import thawline

thawline.fit("photos", "run", strategy="last_blocks", epochs=4)
exported = thawline.export("run", to="onnx")  # opened in a fresh process, and compared with `predict`
print(exported)

# model.onnx and classify.py are all that another machine needs, besides ONNX Runtime, NumPy and Pillow.
folder = Path("run/exports/onnx")
print(json.loads((folder / "preprocessing.json").read_text()))
subprocess.run([sys.executable, folder / "classify.py", "new.jpg"], check=True)
