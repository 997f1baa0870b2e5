"""What a run's training changed: block by block, and on the images that the network was pretrained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from thawline.data.demo import demo_network, source_set
from thawline.data.pixels import eval_transform, normalise
from thawline.explanation.drift import Features, Labels, Probe, State, linear_cka, norm_drift, weight_change
from thawline.explanation.features import block_ends, inputs_of, pooled_features
from thawline.model.head import head_modules
from thawline.runs.finished import BATCH, FinishedRun, Pictures
from thawline.runs.listed import Listed

MOST_IMAGES = 512
"""Of each split that features are computed of; more only where there are more classes."""
_FEWEST = 3


@dataclass(frozen=True)
class Known:
    """Training and validation images of a run with their labels; the test split is left alone."""

    pictures: Pictures
    train: Sequence[int]
    """Rows."""
    val: Sequence[int]
    labels: Labels
    """Of every row."""

    @property
    def comparable(self) -> bool:
        """Whether there are enough validation images to compare features by."""
        return len(self.val) >= _FEWEST


def known_images(run: FinishedRun) -> Known | None:
    """A seeded draw that holds every class alike; None where the run's training images are no longer there."""
    rows = run.listed()
    chosen = [one for split in ("train", "val") for one in _draw([row for row in rows if row.split == split])]
    pictures = run.pictures([one.path for one in chosen])
    readable = [number for number, facts in enumerate(pictures.facts) if facts.error is None]
    index = {name: number for number, name in enumerate(run.classes)}
    labels = np.array([index[one.label] for one in chosen])
    train, val = ([row for row in readable if chosen[row].split == split] for split in ("train", "val"))
    if len(set(labels[train])) < len(index):
        return None
    return Known(pictures, train, val, labels)


def _draw(rows: Sequence[Listed]) -> list[Listed]:
    """At most `MOST_IMAGES`, as evenly over the classes as there are images."""
    generator = np.random.default_rng(0)
    seen: dict[str, int] = {}
    turns = []
    for position in generator.permutation(len(rows)).tolist():
        label = rows[position].label
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], position))
    return [rows[position] for _, position in sorted(turns)[: max(MOST_IMAGES, len(seen))]]


def probe_head(run: FinishedRun, known: Known | None) -> State | None:
    """The head's tensors as a linear probe of the pretrained features; None if the head is no single linear layer."""
    heads = head_modules(run.network)
    name, head = next(iter(heads.items()))
    if known is None or len(heads) > 1 or not isinstance(head, torch.nn.Linear) or head.bias is None:
        return None
    network = run.put(run.fine_tuned, run.pretrained)
    features = inputs_of(network, name, known.pictures.batches(known.train))
    if features is None:
        return None
    probe = Probe.fit(features, known.labels[known.train], len(run.classes))
    return {f"{name}.weight": torch.from_numpy(probe.weight), f"{name}.bias": torch.from_numpy(probe.bias)}


def what_moved(run: FinishedRun, known: Known | None) -> dict[str, Any]:
    """`drift` of explain.json; what needs the run's images is None where they are gone."""
    body = [block for block in run.blocks if not block.is_head]
    features = _compare_features(run, known) if known and known.comparable else {}
    unknown = {"cka": None, "probe_before": None, "probe_after": None}
    return {
        "blocks": [
            {
                "name": block.name,
                "weight_change": weight_change(run.pretrained, run.fine_tuned, block.parameters),
                "norm_drift": norm_drift(run.network, run.pretrained, run.fine_tuned, block.buffers),
                **features.get(block.name, unknown),
            }
            for block in body
        ],
        "images": {"train": len(known.train) if known else 0, "val": len(known.val) if known else 0},
        "source": what_it_forgot(run),
    }


def _compare_features(run: FinishedRun, known: Known) -> dict[str, dict[str, float | None]]:
    pictures = known.pictures
    ends = block_ends(run.network, run.blocks, next(pictures.batches(known.val[:_FEWEST])))
    splits = {"train": known.train, "val": known.val}
    before, after = (
        {split: pooled_features(run.put(*states), ends, pictures.batches(rows)) for split, rows in splits.items()}
        for states in ((run.fine_tuned, run.pretrained), (run.fine_tuned,))
    )
    return {
        block: _compared(known, {s: before[s][block] for s in splits}, {s: after[s][block] for s in splits})
        for block in ends
    }


def _compared(known: Known, before: Mapping[str, Features], after: Mapping[str, Features]) -> dict[str, float | None]:
    train, val = known.labels[known.train], known.labels[known.val]
    probes = {
        name: Probe.fit(features["train"], train, int(train.max()) + 1).accuracy(features["val"], val)
        for name, features in (("probe_before", before), ("probe_after", after))
    }
    return {"cka": linear_cka(before["val"], after["val"]), **probes}


@torch.inference_mode()
def what_it_forgot(run: FinishedRun) -> dict[str, Any] | None:
    """Accuracy on the pretraining task before and after, with its own classifier; None where its images are not kept.

    Only the demo's network comes with some.
    """
    request = run.results["request"]
    kind, _, place = request["model"].partition(":")
    if request["weights"] or kind != "local-dir" or Path(place).resolve() != demo_network().resolve():
        return None
    pixels, labels, _ = source_set()
    original = timm.create_model(f"local-dir:{demo_network()}", pretrained=True).eval()
    images = list(_source_batches(run, pixels))
    before = _accuracy(original, images, labels)
    heads = tuple(f"{name}." for name in head_modules(run.network))
    body = {name: tensor for name, tensor in run.fine_tuned.items() if not name.startswith(heads)}
    original.load_state_dict(body, strict=False)
    return {"accuracy_before": before, "accuracy_after": _accuracy(original, images, labels), "images": len(labels)}


def _source_batches(run: FinishedRun, pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    resize = eval_transform(run.preprocessing)
    for start in range(0, len(pixels), BATCH):
        batch = [np.asarray(resize(Image.fromarray(one).convert("RGB"))) for one in pixels[start : start + BATCH]]
        yield normalise(torch.from_numpy(np.stack(batch)), run.preprocessing)


def _accuracy(network: torch.nn.Module, images: Sequence[Tensor], labels: Labels) -> float:
    predicted = torch.cat([network(batch).argmax(dim=1) for batch in images])
    return float((predicted.numpy() == labels).mean())
