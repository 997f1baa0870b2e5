"""classify.py of an exported model: the lines that turn a file into pixels, and those that open the runtime.

The export is verified through this very script, so what it says is what was measured.
"""

from __future__ import annotations

from thawline.config import ExportFormat, Preprocessing

EXAMPLE_FILE = "classify.py"
SETTINGS_FILE = "preprocessing.json"

_DECODING = '''\
def pixels(path):
    """The network's input for an image file: [size, size, 3] uint8."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):
        top = 2 ** SETTINGS["bit_depth"] - 1
        image = Image.fromarray(((np.asarray(image, np.int64) * 255 + top // 2) // top).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image, size = image.convert("RGB"), SETTINGS["image_size"]
    side = int(size / SETTINGS["crop_pct"])
'''
_RESIZING = {
    "center": "    width, height = (int(side * length / min(image.size)) for length in image.size)\n",
    "squash": "    width = height = side\n",
    "border": (
        "    ratio = max(image.size) / side\n    width, height = (round(length / ratio) for length in image.size)\n"
    ),
}
_RESIZED = '    image = image.resize((width, height), Image.Resampling[SETTINGS["interpolation"].upper()])\n'
_CROP = (
    "    left, top = round((width - size) / 2), round((height - size) / 2)\n"
    "    return np.asarray(image.crop((left, top, left + size, top + size)))\n"
)
_PASTE = (
    '    canvas = Image.new("RGB", (size, size), tuple(round(255 * value) for value in SETTINGS["mean"]))\n'
    "    sides = (width, height)\n"
    "    corner = [(size - n) // 2 if n < size else -round((n - size) / 2) for n in sides]\n"
    "    canvas.paste(image, tuple(corner))\n"
    "    return np.asarray(canvas)\n"
)
_OPEN: dict[ExportFormat, tuple[str, str, str]] = {
    "onnx": (
        "ONNX Runtime",
        'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read by the import\nimport onnxruntime',
        '_SESSION = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])\n\n\n'
        "def probabilities(images):\n"
        '    """Class probabilities [n, classes] of images [n, size, size, 3] uint8."""\n'
        '    return _SESSION.run(None, {"images": images})[0]\n',
    ),
    "torch": (
        "PyTorch",
        "import torch",
        '_PROGRAM = torch.export.load(HERE / "model.pt2").module()\n\n\n'
        "def probabilities(images):\n"
        '    """Class probabilities [n, classes] of images [n, size, size, 3] uint8."""\n'
        "    with torch.no_grad():\n"
        "        return _PROGRAM(torch.from_numpy(images)).numpy()\n",
    ),
    "openvino": (
        "OpenVINO",
        "import openvino",
        "# Without the hint, OpenVINO computes in bfloat16 where the processor can, and some answers change.\n"
        '_MODEL = openvino.Core().compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n\n\n'
        "def probabilities(images):\n"
        '    """Class probabilities [n, classes] of images [n, size, size, 3] uint8."""\n'
        "    return _MODEL(images)[0]\n",
    ),
}
_PRINT = """\
if __name__ == "__main__":
    for path in sys.argv[1:]:
        row = probabilities(pixels(path)[None])[0]
        print(f"{path}: {SETTINGS['labels'][row.argmax()]} {row.max():.3f}")
"""


def pixel_lines(preprocessing: Preprocessing) -> str:
    """A function in Pillow and NumPy whose pixels are those of timm's evaluation transform, bit for bit."""
    end = _PASTE if preprocessing.crop_mode == "border" else _CROP
    return _DECODING + _RESIZING[preprocessing.crop_mode] + _RESIZED + end


def example(to: ExportFormat, preprocessing: Preprocessing) -> str:
    """classify.py: it needs the format's runtime, NumPy and Pillow."""
    runtime, library, opening = _OPEN[to]
    system = "import os\n" if "os.environ" in library else ""
    imports = "\n".join(sorted(("import numpy as np", library)))
    return (
        f'"""Classify image files with {runtime}, NumPy and Pillow: python {EXAMPLE_FILE} photo.jpg ..."""\n\n'
        f"import json\n{system}import sys\nfrom pathlib import Path\n\n{imports}\nfrom PIL import Image, ImageOps\n\n"
        f'HERE = Path(__file__).resolve().parent\nSETTINGS = json.loads((HERE / "{SETTINGS_FILE}").read_text())\n'
        f"{opening}\n\n{pixel_lines(preprocessing)}\n\n{_PRINT}"
    )
