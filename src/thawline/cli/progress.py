"""Progress of the commands, whose notes name options as flags."""

from __future__ import annotations

from thawline.cli.options import as_flags
from thawline.progress import ConsoleCallback


class CommandCallback(ConsoleCallback):
    """A live bar on a terminal, one line per training elsewhere."""

    def note(self, text: str) -> None:
        """Print a line above the progress."""
        super().note(as_flags(text))
