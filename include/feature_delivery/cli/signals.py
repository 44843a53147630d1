"""Ctrl-C and SIGTERM: whatever was begun is tidied up, once, and no second signal cuts that short."""

from __future__ import annotations

import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked this process to end; ``code`` is its exit code, as shells know it."""

    def __init__(self, number: int) -> None:
        """``number`` of the signal."""
        super().__init__(number)
        self.code = 128 + number


def listen() -> None:
    """Let the first signal unwind the main thread."""
    for number in ENDING:
        signal.signal(number, _stop)


def hold() -> None:
    """Let nothing interrupt what comes now: it is the tidying up."""
    for number in ENDING:
        # Not SIG_IGN: programs started meanwhile would inherit that.
        signal.signal(number, _overhear)


def _stop(number: int, _frame: FrameType | None) -> None:
    hold()
    raise Stopped(number)


def _overhear(_number: int, _frame: FrameType | None) -> None:
    return
