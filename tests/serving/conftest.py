"""The small network of the tests of `predict`."""

from tests.prediction.conftest import folder, photos

__all__ = ["folder", "photos"]
