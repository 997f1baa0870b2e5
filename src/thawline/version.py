"""The version, where everything can import it."""

__version__ = "0.1.0"
"""As in pyproject.toml and CHANGELOG.md."""
