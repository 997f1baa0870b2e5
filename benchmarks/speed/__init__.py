"""How fast thawline is, against the usual ways and against itself with the caches off: `python -m benchmarks.speed`."""
