"""Commands that people write as comments on a merge request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Verb(StrEnum):
    """What a comment asks for."""

    APPROVE = "approve"
    REJECT = "reject"
    ROLL_BACK = "rollback"
    KEEP = "keep"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the verb and everything after it."""

    verb: Verb
    rest: str = ""


_COMMAND = re.compile(rf"/(?:delivery\s+)?({'|'.join(Verb)})(?![\w/-])[ \t]*(.*)", re.DOTALL | re.IGNORECASE)
_LIMIT = 4000


def command(text: str) -> Command | None:
    """Return the command that a comment begins with, or ``None``: most comments are just words.

    ``/delivery approve`` says the same as ``/approve``: GitLab takes the latter for a quick action of its own.
    """
    match = _COMMAND.match(text.strip())
    return Command(Verb(match[1].lower()), match[2].strip()[:_LIMIT]) if match else None
