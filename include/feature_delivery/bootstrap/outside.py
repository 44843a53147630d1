"""The control plane's adapters of a project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from feature_delivery.bootstrap import hosts
from feature_delivery.bootstrap.settings import settings
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.project import LOCAL_QUEUE
from feature_delivery.services.control.outside import Outside

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from feature_delivery.adapters.git.repository import GitRepository
    from feature_delivery.adapters.git_hosts.local import LocalGitHost
    from feature_delivery.adapters.local_records import LocalRecords
    from feature_delivery.adapters.trackers.local import LocalTracker
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.git_host import GitHost
    from feature_delivery.ports.tracker import Tracker

Sessions = Callable[[], "AbstractContextManager[Session]"]


def repository(project: ProjectConfig) -> GitRepository:
    """Return the project's repository, through the control plane's own mirror: tasks have another one.

    Raises:
        Misconfigured: The address is none.
    """
    from feature_delivery.adapters.git.repository import GitRepository  # noqa: PLC0415 - GitPython is heavy

    return GitRepository(
        project.repository,
        settings().home / "mirrors" / "control" / f"{project.name}.git",
        production=project.branches.production,
        candidate_prefix=project.branches.candidate_prefix,
        access=hosts.git_access(project),
    )


def local_records(sessions: Sessions) -> LocalRecords:
    """Return what the local host and tracker remember, each call in a transaction of its own."""
    from feature_delivery.adapters.ledger.local_records import SqlLocalRecords  # noqa: PLC0415 - SQLAlchemy is heavy

    return SqlLocalRecords(sessions)


def local_host(project: ProjectConfig, sessions: Sessions) -> LocalGitHost:
    """Return the project's local host, with what people do on it.

    Raises:
        Refused: The project's merge requests are elsewhere: one of ours would have the number of somebody else's there.
    """
    if project.host.kind != "local":
        raise Refused(
            f"{project.name} has its merge requests on {project.host.kind}: open, read and review them there."
        )
    from feature_delivery.adapters.git_hosts.local import LocalGitHost  # noqa: PLC0415 - as above

    return LocalGitHost(project=project.name, records=local_records(sessions), heads=repository(project).heads)


def local_tracker(project: ProjectConfig, sessions: Sessions) -> LocalTracker:
    """Return the project's local tracker, with what people do on it.

    Raises:
        Refused: The project's issues are elsewhere.
    """
    if project.tracker.kind != "local":
        raise Refused(f"{project.name} has its issues on {project.tracker.kind}: write, take and move them there.")
    from feature_delivery.adapters.trackers.local import LocalTracker  # noqa: PLC0415 - as above

    return LocalTracker(project=project.name, records=local_records(sessions))


def git_host(project: ProjectConfig, sessions: Sessions) -> GitHost:
    """Return where the project's merge requests are.

    Raises:
        Misconfigured: Its Connection is missing or lacks something.
    """
    return local_host(project, sessions) if project.host.kind == "local" else hosts.git_host(project)


def tracker(project: ProjectConfig, sessions: Sessions) -> Tracker:
    """Return where the project's issues are.

    Raises:
        Misconfigured: Its Connection is missing or lacks something.
    """
    return local_tracker(project, sessions) if project.tracker.kind == "local" else hosts.tracker(project)


def outside(project: ProjectConfig, sessions: Sessions) -> Outside:
    """Return everything the control plane speaks to for a project.

    Raises:
        Misconfigured: An address or a name in the project file is wrong.
    """
    from feature_delivery.adapters.messengers.log import LogMessenger  # noqa: PLC0415 - as above

    return Outside(
        repository=repository(project),
        host=git_host(project, sessions),
        tracker=tracker(project, sessions),
        messenger=LogMessenger(records=local_records(sessions)),
    )


def examine_platform(
    project: ProjectConfig, *, executor: str, takers: Callable[[str], Sequence[str]]
) -> Sequence[Finding]:
    """Look at where the project's commits run: a cluster, or a machine that Airflow's executor has to leave alone.

    Args:
        project: The project file.
        executor: Airflow's ``[core] executor``: names, aliases or classes, the default first.
        takers: Says which Celery workers take a queue; asked only where Celery runs the tasks.

    Raises:
        Misconfigured: Its Connection is missing or wrong.
        Unavailable: Celery could not be asked.
    """
    if project.cluster is None:
        return _local_platform(executor.split(",", maxsplit=1)[0].strip(), takers)
    from feature_delivery.bootstrap.clusters import for_examination  # noqa: PLC0415 - kubernetes is heavy

    return for_examination(project).examine()


def _local_platform(executor: str, takers: Callable[[str], Sequence[str]]) -> Sequence[Finding]:
    if "KubernetesExecutor" in executor:
        from feature_delivery.adapters.platforms.local.passing import WHY  # noqa: PLC0415 - psutil

        return [Finding("", well=False, sentence=f"Nothing can run there: {WHY}")]
    if "CeleryExecutor" in executor:
        return [_one_worker(takers(LOCAL_QUEUE))]
    return []


def _one_worker(names: Sequence[str]) -> Finding:
    """Say whether exactly one worker has the machine that environments are processes of."""
    what = f"queue {LOCAL_QUEUE}"
    match names:
        case []:
            said = (
                "No Celery worker takes it: every task of the project waits. Start one, and only one, with 'airflow "
                f"celery worker --queues {LOCAL_QUEUE}'; with docker-compose: 'docker compose up -d worker-local'."
            )
        case [name]:
            return Finding(what, well=True, sentence=f"{name} takes it, and no other worker.")
        case _:
            said = (
                f"{len(names)} Celery workers take it: {', '.join(names)}. Environments are processes of one machine, "
                "which the others can neither see nor stop. Stop all but one."
            )
    return Finding(what, well=False, sentence=said)
