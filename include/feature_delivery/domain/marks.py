"""The mark that a control plane leaves where every control plane of its instance works: two of them find each other.

A copy of a ledger's files, or of a whole machine, looks like the ledger it was copied from: the same database, the same
settings. What the two cannot share is what each makes up after the copy. So whoever works leaves a new mark at the
place both would work at, and only where a mark of its own ledger's is: the other's mark says that there is another.
No clock is asked, and nothing expires.
"""

from __future__ import annotations

from dataclasses import dataclass

ANY = "*"
"""Among the known marks: whatever is found counts as known. An operator has said that the ledger is the one."""

UNREADABLE = "?"
"""What a mark is that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Leave to work at a place once, until somebody else has worked there.

    Attributes:
        instance: Whose place it is.
        fresh: The mark to leave; the ledger has it already, so that a crash right after it was left is no trouble.
        known: The marks of the same ledger that may be found there, or ``ANY``.
    """

    instance: str
    fresh: str
    known: tuple[str, ...]

    def admits(self, found: str) -> bool:
        """Say whether what is found at the place was left by the same ledger; nothing there is no other's mark."""
        return not found or found == self.fresh or found in self.known or ANY in self.known
