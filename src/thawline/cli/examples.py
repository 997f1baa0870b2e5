"""What `--help` shows below the options of every command: commands to copy, each with what it does."""

from __future__ import annotations

from collections.abc import Mapping

Example = tuple[str, str]
"""What it does, and the command."""

EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "fit": (
        (
            "Find which blocks to train, and at what learning rate",
            "thawline fit photos --out run",
        ),
        ("Estimate the time; nothing is trained", "thawline fit photos --out run --dry-run"),
        (
            "Another network, larger images, ten minutes at most",
            "thawline fit photos --model resnet50 --imgsz 288 --budget 10m --out run",
        ),
        (
            "No search: the last two blocks at 1e-3",
            "thawline fit photos --strategy last_blocks:k=2 --lr 1e-3 --out run",
        ),
        (
            "Choose between two networks within the same budget",
            "thawline fit photos --model resnet18 --model mobilenetv3_large_100 --out run",
        ),
        ("Options from a file", "thawline fit photos --config thawline.toml --out run"),
    ),
    "compare": (
        ("The usual strategies, three trainings each", "thawline compare photos --seeds 3 --out league"),
        (
            "Strategies of your choice",
            "thawline compare photos --strategies full,lora:rank=8,last_blocks:k=3 --out league",
        ),
        (
            "On two networks, in one table",
            "thawline compare photos --model resnet18 --model mobilenetv3_large_100 --out league",
        ),
        ("List the published studies", "thawline compare --list"),
        ("Reproduce one of them on your own images", "thawline compare --recipe depth --data photos --out study"),
    ),
    "resume": (
        ("Continue a run that was interrupted", "thawline resume run"),
        ("Two more strategies for a comparison", "thawline resume league --add lp_ft,norm_only"),
    ),
    "demo": (("Takes under a minute, works offline", "thawline demo --out demo"),),
    "check": (
        ("Before you train", "thawline check photos"),
        ("All findings as JSON", "thawline check photos --json > findings.json"),
        ("Keep images of one patient in the same split", "thawline check photos --group-pattern '(patient\\d+)'"),
    ),
    "inspect": (
        ("The stages of a network", "thawline inspect resnet50"),
        (
            "Every layer, at the image size that you train with",
            "thawline inspect vit_small_patch16_224 --granularity layer",
        ),
    ),
    "strategies": (("All strategies and their arguments", "thawline strategies"),),
    "evaluate": (("Score the saved model on other labeled images", "thawline evaluate run other-photos"),),
    "report": (
        ("Regenerate the report", "thawline report run"),
        ("Regenerate the report of a published study", "thawline report study"),
    ),
    "predict": (
        ("Classify a folder", "thawline predict run new-photos"),
        (
            "The most likely class of each image, as a CSV file",
            "thawline predict run new-photos --top 1 --csv new.csv",
        ),
    ),
    "serve": (("Drop photos on a page in the browser", "thawline serve run"),),
    "export": (
        ("To ONNX, verified on the run's own images", "thawline export run"),
        ("To OpenVINO, verified on other images", "thawline export run --to openvino --images new-photos"),
    ),
    "push": (("Upload to a private Hub repository, after confirmation", "thawline push run me/pets"),),
    "explain": (
        ("Grad-CAM before and after fine-tuning", "thawline explain run photos/cat/1.jpg photos/dog"),
        ("Next to another run of the same network", "thawline explain run photos --beside other-run"),
    ),
    "init": (
        ("Write thawline.toml, edit it, use it", "thawline init"),
        ("Under another name", "thawline init --out experiment.toml"),
    ),
    "dashboard": (("All trainings in the browser", "thawline dashboard run"),),
}
"""Every command by name; a test parses them all."""
