"""Make the demo's network: timm's `test_efficientnet`, pretrained on printed letters in free typefaces.

Debian 12 packages the typefaces; from a fresh machine, in about five minutes on two cores:

    apt-get install fonts-cantarell fonts-comfortaa fonts-comic-neue fonts-dancingscript fonts-dejavu-core \
        fonts-dejavu-extra fonts-ebgaramond fonts-lato fonts-liberation2 fonts-open-sans fonts-quicksand \
        fonts-roboto-slab
    python -m scripts.make_demo_weights --out src/thawline/data/demo_network
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from scripts.printed_letters import CHARACTERS, SIDE, TYPEFACES, distort, find_fonts, render

ARCHITECTURE = "test_efficientnet"


def normalized(pictures: Tensor) -> Tensor:
    """Gray `[B, 1, 32, 32]` between 0 and 1 to the network's input `[B, 3, 32, 32]`, mean and deviation 0.5."""
    return ((pictures - 0.5) / 0.5).expand(-1, 3, -1, -1)


def pretrain(glyphs: Tensor, *, steps: int, batch_size: int, learning_rate: float, seed: int) -> torch.nn.Module:
    """AdamW with one cycle of the rate and label smoothing; every picture is drawn once and never seen again."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model: torch.nn.Module = timm.create_model(ARCHITECTURE, num_classes=len(CHARACTERS))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for step in range(steps):
        labels = torch.randint(len(CHARACTERS), (batch_size,), generator=generator)
        fonts = torch.randint(len(glyphs), (batch_size,), generator=generator)
        logits = model(normalized(distort(glyphs[fonts, labels], generator)))
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def draw_test_set(glyphs: Tensor, per_character: int, seed: int) -> Tensor:
    """Pictures of unseen fonts in 16 levels of gray (they compress well): uint8 `[character, picture, 32, 32]`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(CHARACTERS)).repeat_interleave(per_character)
    fonts = torch.randint(len(glyphs), labels.shape, generator=generator)
    pictures = distort(glyphs[fonts, labels], generator)
    levels = (pictures * 15).round().to(torch.uint8) * 17
    return levels.view(len(CHARACTERS), per_character, SIDE, SIDE)


@torch.no_grad()
def accuracy(model: torch.nn.Module, test: Tensor) -> float:
    """Share of right answers on `draw_test_set`."""
    logits = model(normalized(test.view(-1, 1, SIDE, SIDE).float() / 255))
    labels = torch.arange(test.shape[0]).repeat_interleave(test.shape[1])
    return float((logits.argmax(1) == labels).float().mean())


def write_network(folder: Path, model: torch.nn.Module) -> None:
    """`config.json` and `model.safetensors`, as timm's `local-dir:` reads them."""
    pretrained_cfg = {
        "tag": "thawline_letters",
        "custom_load": False,
        "input_size": [3, SIDE, SIDE],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": len(CHARACTERS),
        "pool_size": [1, 1],
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": "apache-2.0",
    }
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": len(CHARACTERS),
        "num_features": 256,
        "global_pool": "avg",
        "label_names": list(CHARACTERS),
        "pretrained_cfg": pretrained_cfg,
    }
    _write_json(folder / "config.json", config)
    (folder / "model.safetensors").write_bytes(save(model.state_dict()))


def write_test_set(folder: Path, test: Tensor, score: float) -> None:
    """One sheet, a row for each character, and what it shows and the network scores on it."""
    sheet = test.transpose(1, 2).reshape(test.shape[0] * SIDE, -1)
    Image.fromarray(sheet.numpy()).save(folder / "source_test.png", optimize=True)
    about = {"format_version": 1, "side": SIDE, "label_names": list(CHARACTERS), "accuracy": round(score, 4)}
    _write_json(folder / "source_test.json", about)


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


README = """# The demo's network

`{architecture}` of timm, pretrained from random weights on {characters} printed letters,
`{alphabet}`, rendered from {fonts} font files and distorted: affine, stroke width,
blur, contrast, inversion, noise. It has seen neither digits nor handwriting. {steps} steps of {batch_size}
pictures, peak rate {learning_rate:g}, seed {seed}, {threads} CPU threads, torch {torch}, timm {timm}.

Source accuracy: {score:.2f} % on `source_test.png`: {pictures} pictures, one row per letter, from the {held_out}
font files below that training never saw (other styles of families it did see).

`scripts/make_demo_weights.py` wrote every file of this folder. The weights and pictures are under the project's licence
(Apache-2.0); no font is shipped. The typefaces, all free, as packaged by Debian 12:

| typeface | package | licence |
|---|---|---|
{typefaces}

Held out: {held_out_names}.
"""


def write_readme(folder: Path, *, fonts: list[Path], held_out: list[Path], score: float, **facts: object) -> None:
    """What the network is, how well it does, and the licences of what it was made from."""
    text = README.format(
        architecture=ARCHITECTURE,
        characters=len(CHARACTERS),
        alphabet=CHARACTERS,
        fonts=len(fonts) - len(held_out),
        torch=version("torch"),
        timm=version("timm"),
        score=100 * score,
        held_out=len(held_out),
        held_out_names=", ".join(font.stem for font in held_out),
        typefaces="\n".join(f"| {face.name} | {face.package} | {face.licence} |" for face in TYPEFACES),
        **facts,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    """Defaults are what the shipped network was made with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--font-root", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--test-per-character", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Render, pretrain, score on held-out fonts, write."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    fonts = find_fonts(options.font_root)
    held_out = fonts[4::8]
    model = pretrain(
        render([font for font in fonts if font not in held_out]),
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    test = draw_test_set(render(held_out), options.test_per_character, options.seed + 1)
    score = accuracy(model, test)
    options.out.mkdir(parents=True, exist_ok=True)
    write_network(options.out, model)
    write_test_set(options.out, test, score)
    pictures = test.shape[0] * test.shape[1]
    write_readme(options.out, fonts=fonts, held_out=held_out, score=score, pictures=pictures, **vars(options))
    print(f"source accuracy {score:.4f}")


if __name__ == "__main__":
    main()
