"""Saves a trained model as a folder: for timm, with a model card, or for the user's own code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from thawline import verdicts
from thawline.config import Request
from thawline.data.decode import DECODING_RULE
from thawline.data.named import called, hub_dataset
from thawline.exports.ensemble_folder import (
    EnsembleFolder,
    is_ensemble,
    own_ensemble_snippet,
    read_ensemble_folder,
    save_ensemble_folder,
    timm_ensemble_snippet,
)
from thawline.exports.escaping import markdown
from thawline.exports.model_card import CardBlock, CardMetric, ModelCard, model_card
from thawline.exports.own_folder import OWN_FILE, OwnFolder, own_snippet, read_own_folder, save_own_folder
from thawline.exports.timm_folder import read_timm_folder, save_timm_folder, timm_snippet
from thawline.model.load import LoadedModel
from thawline.report.plan_words import defined, made_by
from thawline.results import FitResults, TestScores, plain
from thawline.training.evaluation import METRICS

MODEL_FOLDER = "model"

_ORIGIN = ("strategy", "chosen", "learning_rate", "plan", "blocks", "model", "seed", "saved_seed", "val", "test")
"""Keys of results.json that are saved with the model; paths and the command line are left out."""
_SCORES = ("val", "test")
"""Those that the members of an ensemble leave out: they were not scored alone."""


def save_model(folder: Path, model: LoadedModel, results: FitResults, *, member: tuple[int, int] | None = None) -> None:
    """Write `folder` from the network with its current weights and the run's results: a timm folder if timm has it.

    `member`: which one of how many, if it is a member of an ensemble.
    """
    origin = _origin(results) if member is None else _origin_of_member(results, *member)
    if not model.is_timm:
        classes = tuple(results.data.classes)
        source, temperature = _absolute(model.source), _temperature(results, member)
        about = OwnFolder(source, classes, model.preprocessing, model.own_files, temperature)
        save_own_folder(folder, model.module, about, origin)
        return
    save_timm_folder(
        folder,
        model.module,
        architecture=model.architecture,
        label_names=results.data.classes,
        preprocessing=model.preprocessing,
        model_args=model.model_args,
        pretrained_cfg=model.pretrained_cfg,
        thawline=origin,
        card=model_card(_card(model, results, member)),
        temperature=_temperature(results, member),
    )


def save_ensemble(
    folder: Path, members: Iterable[tuple[LoadedModel, FitResults]], shares: Sequence[float], results: FitResults
) -> None:
    """Write `folder` with every member as `save_model` does, in turn: each has its weights when it comes.

    The results that come with a member have its own plan.
    """
    saves = (
        partial(save_model, model=model, results=own, member=(number, len(shares)))
        for number, (model, own) in enumerate(members, start=1)
    )
    save_ensemble_folder(
        folder,
        saves,
        shares,
        thawline=_origin(results),
        card=_ensemble_card(results, shares),
        temperature=_temperature(results, None),
    )


def _temperature(results: FitResults, member: tuple[int, int] | None) -> float:
    """The temperature of the saved model; that of an ensemble is not that of its members."""
    return results.calibration.temperature if results.calibration and member is None else 1.0


def _ensemble_card(results: FitResults, shares: Sequence[float]) -> str:
    """README.md of an ensemble."""
    weights = ", ".join(f"{share / sum(shares):.3g}" for share in shares)
    source = markdown(_without_folders(str(results.pretrained.source)))
    refit = f"\n{markdown(results.refit.words)}\n" if results.refit else ""
    calibration = f"\n{markdown(results.calibration.words)}\n" if results.calibration else ""
    return (
        f"# Ensemble of {len(shares)} networks\n\n"
        f"Each folder holds a network that thawline fine-tuned from {source}. It can be loaded on its own, as its "
        f"README.md shows. The ensemble predicts the mean of their class probabilities, with weights {weights}.\n\n"
        f"{markdown(results.answer)}\n{refit}{calibration}"
    )


def opening_lines(folder: Path) -> str:
    """The lines of Python that open a saved model."""
    if is_ensemble(folder):
        return _ensemble_lines(folder, read_ensemble_folder(folder))
    if not (folder / OWN_FILE).exists():
        return timm_snippet(folder)
    about = read_own_folder(folder)
    return own_snippet(folder, about.source, about.label_names)


def _ensemble_lines(folder: Path, about: EnsembleFolder) -> str:
    first = folder / about.members[0]
    if (first / OWN_FILE).exists():
        own = read_own_folder(first)
        return own_ensemble_snippet(folder, about, own.source, len(own.label_names))
    return timm_ensemble_snippet(about, read_timm_folder(first).num_classes, folder)


def _origin_of_member(results: FitResults, number: int, size: int) -> dict[str, object]:
    origin = {key: value for key, value in _origin(results).items() if key not in _SCORES}
    return {**origin, "member": {"number": number, "of": size}}


def _absolute(source: str) -> str:
    place, _, factory = source.rpartition(":")
    return f"{Path(place).resolve()}:{factory}" if _is_code(source) else source


def _origin(results: FitResults) -> dict[str, object]:
    environment = {key: value for key, value in results.environment.items() if key != "command"}
    origin = {
        **{key: results[key] for key in _ORIGIN},
        "model": {**results.pretrained, "source": _without_folders(str(results.pretrained.source))},
        "environment": environment,
        "data": {**results.data, "root": Path(results.data.root).name},
        "decoding": DECODING_RULE,
        **({"refit": results.refit} if results.refit else {}),
    }
    return {key: plain(value) for key, value in origin.items()}


def _without_folders(source: str) -> str:
    """`local-dir:net`, `net.py:factory`: the model's name without the folders it lies in, which are private."""
    kind, _, rest = source.partition(":")
    if kind == "local-dir":
        return f"{kind}:{Path(rest).name}"
    return Path(source).name if _is_code(source) else source


def _is_code(source: str) -> bool:
    return source.rpartition(":")[0].endswith(".py")


def _card(model: LoadedModel, results: FitResults, member: tuple[int, int] | None) -> ModelCard:
    license_name = model.pretrained_cfg.get("license")
    named = Request.from_dict(results.request).data
    blocks = [CardBlock(block.name, block.parameters, block.learning_rate, block.frozen) for block in results.blocks]
    return ModelCard(
        architecture=model.architecture,
        base_model=_base(model, results),
        strategy=results.strategy if member else made_by(results),
        label_names=results.data.classes,
        blocks=blocks,
        trainable_percent=results.trainable_percent,
        dataset=called(named),
        hub_model=_hub_model(model, results),
        hub_dataset=hub_dataset(named),
        split_counts=results.data.images,
        preprocessing=model.preprocessing,
        decoding=DECODING_RULE,
        snippet=timm_snippet(),
        versions=results.environment.packages,
        license=license_name if isinstance(license_name, str) else None,
        test_metrics=_metrics(results.test) if results.test else (),
        trained=defined(results),
        start=verdicts.started_from(results.request),
        answer=results.answer,
        refit=results.refit.words if results.refit else "",
        calibration=results.calibration.words if results.calibration and not member else "",
        warning=verdicts.start_warning(results.request),
        member=member,
    )


def _base(model: LoadedModel, results: FitResults) -> str:
    name = _without_folders(model.source)
    return f"random weights of {name}" if results.request["weights"] == "random" else name


def _hub_model(model: LoadedModel, results: FitResults) -> str:
    """Where the pretrained weights are on the Hub; empty if they are from elsewhere."""
    kind, _, rest = model.source.partition(":")
    if results.request["weights"] is not None:
        return ""
    if kind == "hf-hub":
        return rest.partition("@")[0]
    return "" if rest else str(model.pretrained_cfg.get("hf_hub_id") or "")


def _metrics(test: TestScores) -> list[CardMetric]:
    return [
        CardMetric(
            name.replace("_", " "),
            figure.mean,
            figure.n,
            figure.standard_error,
            test.interval95 if name == "accuracy" else None,
        )
        for name in METRICS
        for figure in (getattr(test, name),)
    ]
