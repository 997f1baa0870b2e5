"""The trained model of a row as a timm folder with its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thawline.data.decode import DECODING_RULE
from thawline.export.model_card import CardBlock, CardMetric, ModelCard, model_card
from thawline.export.timm_folder import save_timm_folder, timm_snippet
from thawline.model.load import LoadedModel
from thawline.training.evaluation import METRICS

MODEL_FOLDER = "model"

_ORIGIN = ("strategy", "chosen", "learning_rate", "plan", "blocks", "model", "seed", "saved_seed", "val", "test")
"""Keys of results.json that travel with the model; paths and the command line stay at home."""


def save_model(folder: Path, model: LoadedModel, results: Mapping[str, Any]) -> None:
    """Write `folder` from the network as it stands and the run's results."""
    save_timm_folder(
        folder,
        model.module,
        architecture=model.architecture,
        label_names=results["data"]["classes"],
        preprocessing=model.preprocessing,
        model_args=model.model_args,
        pretrained_cfg=model.pretrained_cfg,
        thawline=_origin(results),
        card=model_card(_card(folder, model, results)),
    )


def _origin(results: Mapping[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in results["environment"].items() if key != "command"}
    return {
        **{key: results[key] for key in _ORIGIN},
        "environment": environment,
        "data": {**results["data"], "root": Path(results["data"]["root"]).name},
        "decoding": DECODING_RULE,
    }


def _card(folder: Path, model: LoadedModel, results: Mapping[str, Any]) -> ModelCard:
    blocks = [CardBlock(block["name"], block["parameters"], block["learning_rate"]) for block in results["blocks"]]
    return ModelCard(
        architecture=model.architecture,
        base_model=model.source,
        strategy=results["chosen"],
        label_names=results["data"]["classes"],
        blocks=blocks,
        dataset=Path(results["data"]["root"]).name,
        split_counts=results["data"]["images"],
        preprocessing=model.preprocessing,
        decoding=DECODING_RULE,
        snippet=timm_snippet(folder),
        versions=results["environment"]["packages"],
        license=model.pretrained_cfg.get("license"),
        test_metrics=_metrics(results["test"]) if results["test"] else (),
    )


def _metrics(test: Mapping[str, Any]) -> list[CardMetric]:
    return [
        CardMetric(
            name.replace("_", " "),
            test[name]["mean"],
            test[name]["n"],
            test[name]["standard_error"],
            tuple(test["interval95"]) if name == "accuracy" else None,
        )
        for name in METRICS
    ]
