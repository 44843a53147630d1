"""Webhooks that are not stored, or only to be ignored: counted apart from the others, of which the ledger has rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from feature_delivery.domain.names import ProjectName
from feature_delivery.services.control import tallies
from feature_delivery.web.counting import Pending

if TYPE_CHECKING:
    from feature_delivery.web.transaction import WebUnit


class _Webhook(NamedTuple):
    """Of which project, in which dialect of a host, and what became of it."""

    project: ProjectName
    host: str
    result: str


def note(project: ProjectName, host: str, result: str) -> None:
    """Count one; the project must be known and the host be one of ours, so that labels stay bounded."""
    pending.note(_Webhook(project, host, result))


def _add(unit: WebUnit, taken: Counter[_Webhook]) -> None:
    per_project: dict[ProjectName, dict[tuple[str, str], int]] = defaultdict(dict)
    for one, count in taken.items():
        per_project[one.project][one.host, one.result] = count
    for project, counts in sorted(per_project.items()):
        tallies.webhooks_done(unit.books, project, counts)


pending = Pending("webhooks", _add)
