"""The outside of a project, as the control plane speaks to it: always between transactions, never inside one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.ports.git_host import GitHost
from feature_delivery.ports.ledger import Unit
from feature_delivery.ports.messenger import Messenger
from feature_delivery.ports.repository import Repository
from feature_delivery.ports.tracker import Tracker
from feature_delivery.services.control.messages import Places
from feature_delivery.services.control.under_way import UnderWay


@dataclass(frozen=True, slots=True)
class Outside:
    """The adapters of one project."""

    repository: Repository
    host: GitHost
    tracker: Tracker
    messenger: Messenger


def _no_page(_project: ProjectConfig, _run_id: str) -> str:
    return ""


def _no_channel(project: ProjectConfig, name: str) -> Messenger:
    raise Misconfigured(f"{project.name} has no channel {name!r} for messages here.")


def _no_log(_project: ProjectConfig, _run_id: str, _step: Step) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Control:
    """What a use case needs that works in several transactions with calls to the outside between them.

    Attributes:
        begin: Opens a transaction.
        project: Returns a project's configuration; raises ``NotFound`` when its file is gone.
        outside: Returns a project's adapters.
        alone: Keeps everybody else from looking at a project's host meanwhile.
        page: Returns the address where people follow a run; empty where nobody has said how we are reached.
        channel: Returns one of the project's channels for messages, by its name.
        places: Addresses in messages.
        under_way: What this process runs of the outbox.
        log: Returns the last lines that a step's task has logged, as far as they can be had; raises nothing.
    """

    begin: Callable[[], AbstractContextManager[Unit]]
    project: Callable[[ProjectName], ProjectConfig]
    outside: Callable[[ProjectConfig], Outside]
    alone: Callable[[ProjectName], AbstractContextManager[None]]
    page: Callable[[ProjectConfig, str], str] = _no_page
    channel: Callable[[ProjectConfig, str], Messenger] = _no_channel
    places: Places = field(default_factory=Places)
    log: Callable[[ProjectConfig, str, Step], Sequence[str]] = _no_log
    under_way: UnderWay = field(default_factory=UnderWay)
