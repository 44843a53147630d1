"""The outside of a project, as the control plane speaks to it: always between transactions, never inside one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.ports.git_host import GitHost
from feature_delivery.ports.ledger import Unit
from feature_delivery.ports.messenger import Messenger
from feature_delivery.ports.repository import Repository
from feature_delivery.ports.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Outside:
    """The adapters of one project."""

    repository: Repository
    host: GitHost
    tracker: Tracker
    messenger: Messenger


def _no_page(_project: ProjectConfig, _run_id: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Control:
    """What a use case needs that works in several transactions with calls to the outside between them.

    Attributes:
        begin: Opens a transaction.
        project: Returns a project's configuration; raises ``NotFound`` when its file is gone.
        outside: Returns a project's adapters.
        alone: Keeps everybody else from looking at a project's host meanwhile.
        page: Returns the address where people follow a run; empty where nobody has said how we are reached.
    """

    begin: Callable[[], AbstractContextManager[Unit]]
    project: Callable[[ProjectName], ProjectConfig]
    outside: Callable[[ProjectConfig], Outside]
    alone: Callable[[ProjectName], AbstractContextManager[None]]
    page: Callable[[ProjectConfig, str], str] = _no_page
