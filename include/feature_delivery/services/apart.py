"""One part's trouble kept apart from the others: a project, a run, a round that fails keeps no other waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from feature_delivery.domain.errors import Error

if TYPE_CHECKING:
    import logging
    from types import TracebackType


class Apart:
    """Do what is inside, log what it raises, and go on after it.

    What is expected is logged as its sentence, everything else with its stack: nobody has thought of it yet. Whoever
    ends the process, or its task, is not kept from it.

    Attributes:
        sentence: What went wrong, for people; empty when nothing did.
    """

    def __init__(self, log: logging.Logger, doing: str) -> None:
        """``doing`` completes *Could not ...*."""
        self._log = log
        self._doing = doing
        self.sentence = ""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        """Say whether what was raised is dealt with."""
        if isinstance(error, Error):
            self._log.warning("Could not %s: %s", self._doing, error)
            self.sentence = str(error)
        elif isinstance(error, Exception):
            self._log.error("Could not %s", self._doing, exc_info=error)
            self.sentence = f"Could not {self._doing}: an unexpected {type(error).__name__}. The log has it in full."
        return isinstance(error, Exception)
