from tests.small_runs import _own_cache, images

__all__ = ["_own_cache", "images"]
