"""Every error that this package raises on purpose.

Error:
    ├── Temporary            trying again later may help
    │   ├── Unavailable      the other side did not answer, or answered nonsense
    │   └── RateLimited      the other side asked us to wait
    └── Permanent            trying again changes nothing
        ├── NotFound         the thing named does not exist
        ├── Refused          a rule says no
        ├── Conflict         the world moved: another commit, another attempt, another owner
        └── Misconfigured    a file, a Connection or a setting is wrong

A message says what could not be done, to what; what was found; what to do. It is one sentence or two, holds no
secret and no body of a request, and is shown as it is by the CLI, the API, the board and the task log.
"""

from __future__ import annotations


class Error(Exception):
    """Base of every expected error; ``str(error)`` is the sentence for the user."""


class Temporary(Error):  # noqa: N818 - names an intention, as in Kopf
    """Trying again later may help."""


class Unavailable(Temporary):
    """The other side did not answer in time, or answered nonsense."""


class RateLimited(Temporary):
    """The other side asked us to wait."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        """``retry_after_seconds``: what the other side asked for, when it said."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Permanent(Error):  # noqa: N818 - names an intention, as in Kopf
    """Trying again changes nothing."""


class NotFound(Permanent):
    """The thing named does not exist."""


class Refused(Permanent):
    """A rule says no."""


class Conflict(Permanent):
    """The world moved: another commit, another attempt, another owner."""


class Misconfigured(Permanent):
    """A file, a Connection or a setting is wrong."""
