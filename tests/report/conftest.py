"""The small task that whole runs are drawn of."""

from tests.small_runs import _own_cache, images

__all__ = ["_own_cache", "images"]
