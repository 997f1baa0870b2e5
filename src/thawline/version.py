"""The version, where everything can import it."""

__version__ = "0.1.0"
"""The version, the same in pyproject.toml and CHANGELOG.md."""
