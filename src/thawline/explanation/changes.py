"""Changes made by fine-tuning: block by block, and in accuracy on the images that the network was pretrained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from thawline.config import Request
from thawline.data.demo import demo_network, source_set
from thawline.data.pixels import normalize
from thawline.data.transform import eval_transform
from thawline.explanation.drift import Features, Labels, Probe, State, linear_cka, norm_drift, weight_change
from thawline.explanation.features import block_ends, inputs_of, pooled_features
from thawline.model.head import head_modules
from thawline.plan import Block
from thawline.results import BlockChange, Drift, SourceAccuracy
from thawline.runs.finished import BATCH, DecodedImages, FinishedRun
from thawline.runs.listed import Listed

MOST_IMAGES = 512
"""Images of each split whose features are compared; more only if there are more classes than this."""
_FEWEST = 3
"""Validation images without which features are not compared."""


@dataclass(frozen=True)
class Known:
    """Training and validation images of a run with their labels; the test split is left alone."""

    images: DecodedImages
    train: Sequence[int]
    """Rows of `images`."""
    val: Sequence[int]
    """Rows of `images`."""
    labels: Labels
    """Class index of every row."""

    @property
    def fitted(self) -> frozenset[bytes]:
        """Digests of the images that probes are fitted to, and may have memorized."""
        return frozenset(map(self.images.digest, self.train))

    @property
    def comparable(self) -> bool:
        """Whether there are enough validation images to compare features on."""
        return len(self.val) >= _FEWEST


def known_images(run: FinishedRun) -> Known | None:
    """A seeded draw, balanced over the classes; None if a class has no training images that can still be read."""
    rows = run.listed()
    chosen = [row for split in ("train", "val") for row in _draw([row for row in rows if row.split == split])]
    images = run.decode([row.path for row in chosen])
    readable = [number for number, facts in enumerate(images.facts) if facts.error is None]
    index = {name: number for number, name in enumerate(run.classes)}
    labels = np.array([index[row.label] for row in chosen])
    train, val = ([number for number in readable if chosen[number].split == split] for split in ("train", "val"))
    if len(set(labels[train])) < len(index):
        return None
    return Known(images, train, val, labels)


def _draw(rows: Sequence[Listed]) -> list[Listed]:
    """Up to `MOST_IMAGES` images, spread over the classes as evenly as their sizes allow."""
    generator = np.random.default_rng(0)
    seen: dict[str, int] = {}
    turns = []
    for position in generator.permutation(len(rows)).tolist():
        label = rows[position].label
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], position))
    return [rows[position] for _, position in sorted(turns)[: max(MOST_IMAGES, len(seen))]]


def probe_head(run: FinishedRun, known: Known | None) -> State | None:
    """The head as a linear probe of the pretrained features; None unless the head is a single linear layer."""
    heads = head_modules(run.network)
    name, head = next(iter(heads.items()))
    if known is None or len(heads) > 1 or not isinstance(head, torch.nn.Linear) or head.bias is None:
        return None
    network = run.put(run.fine_tuned, run.pretrained)
    features = inputs_of(network, name, known.images.batches(known.train))
    if features is None:
        return None
    probe = Probe.fit(features, known.labels[known.train], len(run.classes))
    return {f"{name}.weight": torch.from_numpy(probe.weight), f"{name}.bias": torch.from_numpy(probe.bias)}


def block_changes(run: FinishedRun, known: Known | None) -> Drift:
    """The changes of every block but the head; figures that need the run's images are None if these are gone."""
    features = _compare_features(run, known) if known and known.comparable else {}
    return Drift(
        blocks=[_change(run, block, features.get(block.name)) for block in run.blocks if not block.is_head],
        images={"train": len(known.train) if known else 0, "val": len(known.val) if known else 0},
        source=source_accuracy(run),
    )


def _change(run: FinishedRun, block: Block, features: FeatureChange | None) -> BlockChange:
    return BlockChange(
        name=block.name,
        weight_change=weight_change(run.pretrained, run.fine_tuned, block.parameters),
        norm_drift=norm_drift(run.network, run.pretrained, run.fine_tuned, block.buffers),
        cka=features.cka if features else None,
        probe_before=features.probe_before if features else None,
        probe_after=features.probe_after if features else None,
    )


@dataclass(frozen=True)
class FeatureChange:
    """The features at the end of a block, before and after fine-tuning."""

    cka: float | None
    """Similarity, 0 to 1; None = not defined."""
    probe_before: float
    """Validation accuracy of a linear probe."""
    probe_after: float


def _compare_features(run: FinishedRun, known: Known) -> dict[str, FeatureChange]:
    """Block -> the change of its features; blocks without features are missing."""
    ends = block_ends(run.network, run.blocks, next(known.images.batches(known.val[:_FEWEST])))
    splits = {"train": known.train, "val": known.val}
    before, after = (
        {split: pooled_features(run.put(*states), ends, known.images.batches(rows)) for split, rows in splits.items()}
        for states in ((run.fine_tuned, run.pretrained), (run.fine_tuned,))
    )
    return {
        block: _compared(known, {s: before[s][block] for s in splits}, {s: after[s][block] for s in splits})
        for block in ends
    }


def _compared(known: Known, before: Mapping[str, Features], after: Mapping[str, Features]) -> FeatureChange:
    train, val = known.labels[known.train], known.labels[known.val]
    first, second = (
        Probe.fit(features["train"], train, int(train.max()) + 1).accuracy(features["val"], val)
        for features in (before, after)
    )
    return FeatureChange(linear_cka(before["val"], after["val"]), first, second)


@torch.inference_mode()
def source_accuracy(run: FinishedRun) -> SourceAccuracy | None:
    """Accuracy on the pretraining task before and after, with that task's classifier; None if its images are not kept.

    Only the demo's network comes with some.
    """
    request = Request.from_dict(run.results.request)
    kind, _, place = request.model.partition(":")
    if request.weights or kind != "local-dir" or Path(place).resolve() != demo_network().resolve():
        return None
    pixels, labels, _ = source_set()
    original = timm.create_model(f"local-dir:{demo_network()}", pretrained=True).eval()
    images = list(_source_batches(run, pixels))
    before = _accuracy(original, images, labels)
    heads = tuple(f"{name}." for name in head_modules(run.network))
    body = {name: tensor for name, tensor in run.fine_tuned.items() if not name.startswith(heads)}
    original.load_state_dict(body, strict=False)
    after = _accuracy(original, images, labels)
    return SourceAccuracy(accuracy_before=before, accuracy_after=after, images=len(labels))


def _source_batches(run: FinishedRun, pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    resize = eval_transform(run.preprocessing)
    for start in range(0, len(pixels), BATCH):
        batch = [np.asarray(resize(Image.fromarray(image).convert("RGB"))) for image in pixels[start : start + BATCH]]
        yield normalize(torch.from_numpy(np.stack(batch)), run.preprocessing)


def _accuracy(network: torch.nn.Module, images: Sequence[Tensor], labels: Labels) -> float:
    predicted = torch.cat([network(batch).argmax(dim=1) for batch in images])
    return float((predicted.numpy() == labels).mean())
