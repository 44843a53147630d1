"""Keeping what a probe has seen where a successor finds it: the process that watches may end at any time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feature_delivery.domain.watching import LOOKS_AT_ONCE

if TYPE_CHECKING:
    from feature_delivery.domain.watching import Glance
    from feature_delivery.ports.control import Looks
    from feature_delivery.ports.runs import TaskRef
    from feature_delivery.services.work.observing import Watcher


@dataclass(slots=True)
class Keeper:
    """Fetches what was seen of a watch before this process, and hands in what this one sees.

    Each look is handed in once it is known what is there already, so that nothing of this process comes back as
    something earlier. A call may be lost and made again: looks are told apart by their moment.
    """

    ledger: Looks
    task: TaskRef
    permit: int
    watcher: Watcher
    recalled: bool = False
    _kept: int = field(default=0, init=False)

    @property
    def behind(self) -> bool:
        """Say whether there is something to fetch or to hand in."""
        return not self.recalled or self._kept < len(self.watcher.looks)

    def exchange(self) -> None:
        """Fetch, then hand in.

        Raises:
            Error: The control plane could not be asked, or the watch is over for it. Nothing is lost by that: the next
                call goes on where this one stood.
        """
        if not self.recalled:
            self.watcher.earlier = tuple(self.ledger.kept(self.task, self.permit))
            self.recalled = True
        new: tuple[Glance, ...] = tuple(self.watcher.looks[self._kept : self._kept + LOOKS_AT_ONCE])
        if new:
            self.ledger.keep(self.task, self.permit, new)
            self._kept += len(new)
