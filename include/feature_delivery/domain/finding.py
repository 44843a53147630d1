"""What ``doctor`` says of one part: adapters look at their own side, the command line prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ``sentence`` says what was found and, when it is not ``well``, what to do."""

    what: str
    well: bool
    sentence: str
