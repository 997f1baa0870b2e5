"""A script as fastai's users write it: `fine_tune` on a folder with train, val and test, then the test accuracy.

    python -m benchmarks.speed.fastai_tune --data FOLDER --weights TIMM_FOLDER --image-size 128 --epochs 10 ...

fastai itself is imported by `main` only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.speed.peers import needed

FREEZE_EPOCHS = 1
"""fine_tune's own: the head alone, before everything."""


def main() -> None:
    """Tune, score, write one JSON."""
    options = _options()
    with needed("fastai"):
        from fastai.vision import all as fastai
    fastai.set_seed(options.seed)
    fastai.default_device(use=options.device == "cuda")
    loaders = _loaders(fastai, options)
    learner = fastai.vision_learner(
        loaders, f"local-dir:{options.weights}", metrics=fastai.accuracy, path=options.out.parent
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(options.epochs - FREEZE_EPOCHS, freeze_epochs=FREEZE_EPOCHS)
        test = loaders.test_dl(fastai.get_image_files(options.data / "test"), with_labels=True)
        loss, accuracy = learner.validate(dl=test)
    images = len(test.dataset)
    # fastai's mean is in float32, and a tie must stay a tie.
    found = {"test_loss": loss, "test_accuracy": round(accuracy * images) / images, "test_images": images}
    options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _loaders(fastai: Any, options: argparse.Namespace) -> Any:
    """The images at timm's pixels; everything else (workers, shuffling, normalization from the model) is fastai's."""
    return fastai.ImageDataLoaders.from_folder(
        options.data,
        train="train",
        valid="val",
        item_tfms=fastai.Transform(_pixels(fastai, options)),
        batch_tfms=_augmentation(fastai, options),
        bs=options.batch,
    )


def _pixels(fastai: Any, options: argparse.Namespace) -> Callable[..., Any]:
    """Shorter side resized, center cropped: the pixels that `thawline fit` trains on."""
    from torchvision import transforms

    settings = json.loads((options.weights / "config.json").read_text(encoding="utf-8"))["pretrained_cfg"]
    mode = transforms.InterpolationMode(settings["interpolation"])
    cropped = transforms.Compose(
        [
            transforms.Resize(int(options.image_size / settings["crop_pct"]), mode),
            transforms.CenterCrop(options.image_size),
        ]
    )

    def resized(item: Any) -> Any:
        """Labels pass through: fastai hands them over, too."""
        return fastai.PILImage(cropped(item)) if isinstance(item, Image.Image) else item

    return resized


def _augmentation(fastai: Any, options: argparse.Namespace) -> list[Any]:
    """`mild`: flip and rotation of every image in one resampling with reflected borders, as ours.

    fastai has no shift by an eighth of the side; in ours it is part of the same resampling and costs nothing more.
    """
    if options.augment == "none":
        return []
    found: list[Any] = fastai.aug_transforms(
        do_flip=True, max_rotate=10.0, max_zoom=1.0, max_lighting=0.0, max_warp=0.0, p_affine=1.0
    )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("image-size", "epochs", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--augment", choices=("none", "mild"), required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
