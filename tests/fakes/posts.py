"""What messengers remember, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from feature_delivery.adapters.messengers.posts import Sent
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.records import now

Which = tuple[ProjectName, str, str]


@dataclass
class FakePosts:
    """``Posts`` in a dictionary."""

    kept: dict[Which, Sent] = field(default_factory=dict)

    def find(self, project: ProjectName, channel: str, marker: str) -> Sent | None:
        return self.kept.get((project, channel, marker))

    def intend(self, project: ProjectName, channel: str, marker: str) -> None:
        empty = Sent(place="", ts="", digest="", settled=True, at=now())
        self.kept.setdefault((project, channel, marker), empty)

    def withdraw(self, project: ProjectName, channel: str, marker: str) -> None:
        known = self.find(project, channel, marker)
        if known is not None and not known.place:
            del self.kept[project, channel, marker]

    def keep(self, project: ProjectName, channel: str, marker: str, sent: Sent) -> None:
        known = self.find(project, channel, marker)
        if known is not None:
            self.kept[project, channel, marker] = replace(sent, at=known.at)
