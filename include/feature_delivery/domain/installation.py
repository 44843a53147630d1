"""Whose ledger this is: a copy of it must not take the environments of the instance it was copied from for its own."""

from __future__ import annotations

from dataclasses import dataclass

ADOPT, FORK = "feature-delivery instance adopt", "feature-delivery instance fork"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The ledger's instance, and who works with the ledger now.

    Attributes:
        id: The instance's id: it marks every environment and branch that is ours to destroy.
        place: Database server and database where the ledger was when an operator last said whose it is.
        here: Where it is now.
        claimed: The id that this process was given (``FEATURE_DELIVERY_INSTANCE``); empty: none.
        accepted: Another id, of a process that speaks for this ledger since an operator said so.
        contested: Where another control plane of the instance has been found at work; empty: nowhere.
    """

    id: str
    place: str
    here: str
    claimed: str = ""
    accepted: str = ""
    contested: str = ""

    @property
    def fault(self) -> str:
        """Why nothing may be done with this ledger; empty when it is its instance's own."""
        if self.claimed not in {"", self.id, self.accepted}:
            found = f"it is the ledger of instance {self.id}, this is instance {self.claimed}"
        elif self.place != self.here:
            found = f"it is in another database than when instance {self.id} last worked with it"
        elif self.contested:
            found = self.contested
        else:
            return ""
        return (
            f"The ledger seems to be a copy: {found}. Nothing is done until an operator says on the server what it is: "
            f"'{ADOPT}' when the instance it came from has ended, '{FORK}' when that goes on."
        )
