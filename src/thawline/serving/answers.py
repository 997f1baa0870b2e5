"""What the page asks of a model: the classes of one photo, and where the network looks."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thawline.data.decode import quiet
from thawline.prediction.opened import PixelClassifier, is_onnx, open_classifier
from thawline.prediction.stream import Decode, Ranking, decoder
from thawline.results import Likelihood

if TYPE_CHECKING:
    from torch import nn

SHOWN = 5
"""Classes per photo."""


@dataclass
class Answers:
    """A model that answers for one photo at a time: a photo at the limit of pixels takes a gigabyte when decoded."""

    classifier: PixelClassifier
    can_explain: bool
    """Whether Grad-CAM can be computed: not of an ONNX file."""
    _decode: Decode
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _layer: str = ""

    @classmethod
    def open(cls, model: Path, *, trust_code: bool = False, code: str | None = None) -> Answers:
        """Open a model as `open_classifier` does; raises `InputError` if it cannot be used."""
        classifier = open_classifier(model, trust_code=trust_code, code=code)
        return cls(classifier, not is_onnx(model), decoder(classifier.preprocessing))

    def classes(self, photo: bytes) -> list[Likelihood]:
        """The likeliest classes; raises `UnreadableError`."""
        with self._turn:
            (probabilities,) = self.classifier.of_pixels(self._pixels(photo))
        return [*Ranking(self.classifier.classes, SHOWN).of("", probabilities).top]

    def explanation(self, photo: bytes) -> bytes:
        """PNG of the photo as the network gets it under the Grad-CAM map for its likeliest class."""
        import torch

        from thawline.data.pixels import normalize
        from thawline.explanation.overlay import overlay
        from thawline.explanation.saliency import find_layer, grad_cam, heat

        with self._turn:
            pixels = self._pixels(photo)
            batch = normalize(torch.from_numpy(pixels), self.classifier.preprocessing)
            likeliest = torch.from_numpy(self.classifier.of_pixels(pixels)).argmax(dim=1)
            network = self._network()
            self._layer = self._layer or find_layer(network, torch.cat([batch, batch]))
            warmth = heat(grad_cam(network, batch, likeliest, self._layer), batch.shape[-1]).numpy()[0]
        stream = io.BytesIO()
        overlay(pixels[0], warmth).save(stream, format="PNG")
        return stream.getvalue()

    def _pixels(self, photo: bytes) -> np.ndarray:
        """[1, S, S, 3] uint8."""
        with quiet():
            return np.stack([self._decode(photo)])

    def _network(self) -> nn.Module:
        """The network whose features are shown: of an ensemble, the first member."""
        from thawline.model.ensemble import Ensemble
        from thawline.runs.classifier import Classifier

        assert isinstance(self.classifier, Classifier)  # `can_explain`
        network = self.classifier.network
        return network.members[0] if isinstance(network, Ensemble) else network
