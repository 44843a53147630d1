"""The task's side of a project: its adapters, each imported and made when a step first asks for it."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from feature_delivery.bootstrap import hosts
from feature_delivery.bootstrap.connections import login
from feature_delivery.bootstrap.settings import settings
from feature_delivery.bootstrap.variables import read
from feature_delivery.domain.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from feature_delivery.adapters.control_channel import Channel
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.adapters.platforms.local.settings import Settings
    from feature_delivery.domain.judging.judge import RankTest
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.control import Control, Looks
    from feature_delivery.ports.load import Load
    from feature_delivery.ports.measuring import Measuring
    from feature_delivery.ports.platform import Platform
    from feature_delivery.ports.probe import Probe
    from feature_delivery.ports.repository import Repository
    from feature_delivery.ports.runs import TaskRef
    from feature_delivery.ports.tracker import Issues


def channel(address: str, token: str, *, proof: Callable[[], str] = str, patience: timedelta | None = None) -> Channel:
    """Return the way to the control plane at ``address``, the web app's own URL.

    Args:
        address: Where it is.
        token: The task token.
        proof: Gives the secret whose seal lies beside the running task instance; a trigger has none.
        patience: How long to wait for a server that is away; by default until it has been restarted.

    Raises:
        Misconfigured: The address is none.
    """
    from feature_delivery.adapters.control_channel import PATIENCE, Channel  # noqa: PLC0415 - httpx is heavy

    return Channel(address, token, proof=proof, patience=PATIENCE if patience is None else patience)


def control(through: Channel, *, task_instance: str = "") -> Control:
    """Return the control plane; ``task_instance``: who asks where no task says it."""
    from feature_delivery.adapters.control_http import HttpControl  # noqa: PLC0415 - as above

    return HttpControl(through, task_instance=task_instance)


def looks(through: Channel) -> Looks:
    """Return where the looks of watches under way are kept."""
    from feature_delivery.adapters.control_http import HttpLooks  # noqa: PLC0415 - as above

    return HttpLooks(through)


def platform(
    project: ProjectConfig,
    instance: str,
    *,
    home: Path | None = None,
    waits: Waits | None = None,
    patience: timedelta | None = None,
) -> Platform:
    """Return where the project's commits run.

    Args:
        project: The project file.
        instance: Whose environments we may touch.
        home: Where local environments are, when not in this one.
        waits: How to wait for a cluster; by staying, unless the caller knows better.
        patience: How long to stay until a namespace that is deleted has gone; minutes, unless the caller comes again.

    Raises:
        Misconfigured: The project's Connection is missing or wrong, or a setting is.
    """
    if project.cluster is not None:
        from feature_delivery.bootstrap.clusters import kubernetes_platform  # noqa: PLC0415 - kubernetes is heavy

        return kubernetes_platform(project, project.cluster, instance, waits=waits, patience=patience)
    from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform  # noqa: PLC0415 - psutil

    made = local_settings(home or settings().home, instance)
    if os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD"):
        from feature_delivery.adapters.platforms.local.passing import PassingMachine  # noqa: PLC0415

        return PassingMachine(made)
    return LocalPlatform(made)


def local_settings(home: Path, instance: str) -> Settings:
    """Return how environments on this machine are kept, and what their code may do.

    Raises:
        Misconfigured: A setting is wrong.
    """
    from feature_delivery.adapters.platforms.local.settings import Limits, Settings, most_memory  # noqa: PLC0415

    wanted = read("fence", "fence_open", "fence_memory_mb", "fence_processes", "fence_file_mb", "fence_ports")
    return Settings(
        root=home / "environments",
        instance=instance,
        fence=wanted.fence,
        fence_open=wanted.fence_open,
        limits=Limits(
            memory_bytes=wanted.fence_memory_mb << 20 or most_memory(),
            processes=wanted.fence_processes,
            file_bytes=wanted.fence_file_mb << 20,
            ports=wanted.fence_ports,
        ),
    )


def measuring(connection: str) -> Measuring | None:
    """Return the monitoring behind a Connection; ``None`` without one.

    A Connection that is wrong is found when it is asked: it must neither stop a promotion nor pass for a good release.
    """
    if not connection:
        return None
    from feature_delivery.adapters.measuring.prometheus import Prometheus  # noqa: PLC0415 - httpx is heavy
    from feature_delivery.adapters.measuring.unreachable import Unreachable  # noqa: PLC0415

    try:
        return Prometheus(login(connection))
    except Misconfigured as error:
        return Unreachable(str(error))


class ProjectTools:
    """Implements ``Tools`` for one task: two processes share nothing but what is on disk."""

    def __init__(self, project: ProjectConfig, task: TaskRef, through: Channel, *, waits: Waits | None = None) -> None:
        """Make nothing yet.

        Args:
            project: The project file.
            task: Whose tools they are.
            through: The way to the control plane, which keeps the local tracker.
            waits: How to wait for a cluster.
        """
        self.project = project
        self._task = task
        self._channel = through
        self._waits = waits

    @cached_property
    def repository(self) -> Repository:
        """The repository, through a mirror that all tasks on this machine share."""
        from feature_delivery.adapters.git.repository import GitRepository  # noqa: PLC0415 - GitPython is heavy

        return GitRepository(
            self.project.repository,
            settings().home / "mirrors" / "tasks" / f"{self.project.name}.git",
            production=self.project.branches.production,
            candidate_prefix=self.project.branches.candidate_prefix,
            access=hosts.git_access(self.project),
        )

    def platform(self, instance: str) -> Platform:
        """Where the project's commits run."""
        return platform(self.project, instance, waits=self._waits)

    @cached_property
    def tracker(self) -> Issues:
        """The issue tracker, through the control plane: workers need no way to it, and none of its secrets."""
        from feature_delivery.adapters.control_http import HttpTracker  # noqa: PLC0415 - as above

        return HttpTracker(self._channel, project=self.project.name, task_instance=self._task.task_instance)

    @cached_property
    def probe(self) -> Probe:
        """How services are looked at."""
        from feature_delivery.adapters.http_probe import HttpProbe  # noqa: PLC0415 - as above

        return HttpProbe()

    @cached_property
    def measuring(self) -> Measuring | None:
        """The project's monitoring, by its Connection; ``None``: it names none."""
        return measuring(self.project.watching.connection)

    @property
    def load(self) -> Load:
        """What puts a load on a service."""
        from feature_delivery.adapters.http_load import HttpLoad  # noqa: PLC0415 - as above

        return HttpLoad()

    @property
    def rank_test(self) -> RankTest:
        """What tells chance from change."""
        from feature_delivery.adapters.rank_test import mann_whitney  # noqa: PLC0415 - as above

        return mann_whitney
