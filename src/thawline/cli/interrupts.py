"""Ctrl-C, SIGTERM and SIGHUP end a command with one line; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from thawline.visible import visible

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHOW_CURSOR = "\x1b[?25h"
_LATER = 0.02
"""Seconds after which a signal that was lost is sent again."""

Hook = Callable[["sys.UnraisableHookArgs"], object]
WayOn = Callable[[], str]
"""Which command continues what was interrupted, as a clause; empty if none does."""


class Interrupted(BaseException):
    """A signal asked the command to end; no `except Exception` stops it, and none of Click's words replace ours."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, the convention of shells: 130 for Ctrl-C."""
        return 128 + self.number


class Interrupts:
    """What the signals do while a command runs."""

    def __init__(self) -> None:
        self.way_on: WayOn = str
        """Commands set it when they begin."""
        self._said = False
        self._running = False

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Let the signals raise `Interrupted`, but those that were ignored from the start (nohup) stay so."""
        self.way_on, self._said, self._running = str, False, True
        usual_hook, sys.unraisablehook = sys.unraisablehook, self._when_lost(sys.unraisablehook)
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            self._listen(self._raise)
            yield
        except Exception as error:
            # Where the signal comes in the midst of a library's clean-up, that may fail and hide it.
            if (interrupted := _hidden_by(error)) is not None:
                raise interrupted from error
            raise
        finally:
            self._running, sys.unraisablehook = False, usual_hook
            for number, handler in before.items():
                signal.signal(number, handler)

    def _when_lost(self, usual: Hook) -> Hook:
        """Python drops what is raised in a destructor: a signal that came in one is sent again when that is over."""

        def hook(lost: sys.UnraisableHookArgs) -> None:
            if not isinstance(lost.exc_value, Interrupted):
                usual(lost)
                return
            self._listen(self._raise)
            again = threading.Timer(_LATER, self._send_again, (lost.exc_value.number,))
            again.daemon = True
            again.start()

        return hook

    def _send_again(self, number: int) -> None:
        if self._running:
            os.kill(os.getpid(), number)

    def _listen(self, handler: Callable[[int, FrameType | None], None]) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)

    def line(self, number: int) -> str:
        """What the user is told, once."""
        what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        self._said = True
        return visible("; ".join(filter(None, (f"thawline: {what}", self.way_on()))) + ".") + "\n"

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._listen(self._end)
        raise Interrupted(number)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """The user does not wait for threads and files; a run survives it as it survives a kill."""
        with suppress(OSError):
            os.write(2, b"" if self._said else (_cursor() + self.line(number)).encode("utf-8", "backslashreplace"))
        os._exit(128 + number)


def begun_or_not(command: str, request: Path) -> WayOn:
    """`command` continues a run once its request is written, unless that of another run was there before."""
    others = request.exists()
    return lambda: f"run {command} to continue" if request.exists() and not others else "nothing was started"


def _hidden_by(error: BaseException | None) -> Interrupted | None:
    """The signal that an error was raised in the handling of, if there is one."""
    while error is not None and not isinstance(error, Interrupted):
        error = error.__context__
    return error


def _cursor() -> str:
    """A live progress bar hides the cursor."""
    return f"\r{_SHOW_CURSOR}" if os.isatty(2) else ""


INTERRUPTS = Interrupts()
