"""``feature-delivery up``: a shop's production, and Airflow around it."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from feature_delivery.adapters.git.bare import install_post_receive
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.bootstrap import hosts
from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli import signals
from feature_delivery.cli.embedded.home import Home, write_private
from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.cli.embedded.supervisor import PartEvent
from feature_delivery.cli.shop import (
    DELIVERY_FILE,
    Say,
    Shop,
    instance_id,
    local_platform,
    metrics_token,
    production_of,
    webhook_secret,
)
from feature_delivery.domain.errors import Error, Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import ProjectName, person_name
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.ports.platform import EnvironmentStatus, Platform, Release
from feature_delivery.services.delivery_file import read_delivery_file

CHECKOUT = Path(__file__).parents[3]
"""The checkout this package is installed from: the DAGs and the plugin lie beside ``include/``."""

PRELOADED = (
    "feature_delivery.orchestration.build",
    "feature_delivery.services.work.perform",
    "feature_delivery.adapters.control_http",
    "feature_delivery.adapters.git.repository",
    "feature_delivery.adapters.platforms.local.local_platform",
    "feature_delivery.adapters.http_probe",
)
"""What every task needs: imported once by the scheduler, not anew by each of its workers' tasks."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running instance: where it answers, and each project's production."""

    instance: Instance
    shops: tuple[Shop, ...]
    production: Mapping[ProjectName, EnvironmentStatus]


@contextmanager
def running(
    shops: tuple[Shop, ...],
    *,
    home: Home,
    port: int,
    database: str | None,
    keep: bool,
    on_event: Callable[[PartEvent], None],
    say: Say,
    on_failure: Callable[[Error], None] = lambda _error: None,
) -> Iterator[Running]:
    """Run Airflow and the shops' environments until the block ends; with ``keep`` the environments run on."""
    place, stopping = home.path, threading.Event()
    home.must_not_be_a_copy()
    earlier = _earlier(place, shops)
    projects = (*(shop.project for shop in shops), *earlier)
    users = {str(name): "op" for project in projects for name in project.people.persons} | {"admin": "admin"}
    instance = Instance(
        home,
        dags_folder=CHECKOUT / "dags",
        plugins_folder=CHECKOUT / "plugins",
        users=users,
        database=database,
        external_db_managers=["feature_delivery.web.database.LedgerDBManager"],
        extra_environment=_environment(place),
        port=port,
        preload=PRELOADED,
        triggerer=any(project.defers for project in projects),
        on_event=on_event,
        on_failure=on_failure,
    )

    def tell(line: str) -> None:
        if stopping.is_set():
            raise Refused("It was stopped meanwhile.")
        say(line)

    with ExitStack() as stack, ThreadPoolExecutor(max_workers=2) as pool, _tidying(stopping):
        platform = local_platform(place)
        if not keep:
            stack.callback(stop_shops, platform)
        if earlier:
            names = ", ".join(project.name for project in earlier)
            say(f"Of earlier starts in this home, delivered and run as well: {names}.")
        # Stopped before the environments: a task of it would start again what was stopped.
        stack.callback(instance.stop)
        # Production comes up while Airflow does: the one mostly waits for the other's processor time.
        coming = {
            shop.project.name: pool.submit(
                production_up, platform if shop.project.cluster is None else cluster_platform(shop), shop, tell
            )
            for shop in shops
        }
        instance.start(dag_ids=[shop.project.dag_id for shop in shops])
        for shop in shops:
            if shop.repository is None:
                continue
            install_post_receive(
                shop.repository,
                url=f"{instance.address}{URL_PREFIX}/webhooks/{shop.project.name}",
                secret=webhook_secret(place, shop.project.name),
                project=shop.project.name,
            )
        metrics_token(place)
        production = {name: future.result() for name, future in coming.items()}
        _remember_user(place, shops)
        yield Running(instance=instance, shops=shops, production=production)


def _earlier(home: Path, shops: tuple[Shop, ...]) -> tuple[ProjectConfig, ...]:
    """Return the other projects that the instance knows: every process reads their files, housekeeping runs them.

    A file that cannot be read any more is left to ``doctor``.
    """
    named, found = {shop.project.name for shop in shops}, []
    for file in sorted((home / "projects").glob("*.y*ml")):
        with suppress(Misconfigured):
            project = read_project_file(file)
            if project.name not in named:
                found.append(project)
    return tuple(found)


def stop_shops(platform: LocalPlatform) -> None:
    """Stop the environments of every project here: those of earlier starts run as well, by housekeeping."""
    with ExitStack() as each:  # one that cannot be stopped keeps no other one up
        for project in platform.projects():
            each.callback(platform.stop_all, project)


@contextmanager
def _tidying(stopping: threading.Event) -> Iterator[None]:
    """Whatever ends the block, what comes after it is not cut short, and does not wait for what is being installed."""
    try:
        yield
    finally:
        signals.hold()
        stopping.set()


def _environment(home: Path) -> dict[str, str]:
    return {
        "FEATURE_DELIVERY_HOME": str(home),
        "FEATURE_DELIVERY_PROJECTS": str(home / "projects"),
    }


def _remember_user(home: Path, shops: tuple[Shop, ...]) -> None:
    people = [name for shop in shops for name in shop.project.people.persons]
    write_private(home / "cli.json", json.dumps({"user": person_name(people[0])}))


def cluster_platform(shop: Shop) -> Platform:
    """Return where a cluster's project runs, as the tasks of this instance see it.

    Raises:
        Misconfigured: Its Connection is missing or wrong; here it is an environment variable, ``AIRFLOW_CONN_<ID>``.
    """
    from feature_delivery.bootstrap.tools import platform  # noqa: PLC0415 - kubernetes is heavy

    return platform(shop.project, instance_id(shop.home))


def production_up(platform: Platform, shop: Shop, say: Say) -> EnvironmentStatus:
    """Bring production up as it was; deploy its branch the first time, and where ``shop.follow`` says so."""
    project = shop.project
    ref = production_of(shop.home, project.name)
    if isinstance(platform, LocalPlatform):
        platform.resume(project.name, say=say)
    found = platform.status(ref)
    if found is not None and found.commit is not None and shop.follow in {None, found.commit}:
        return found
    if found is not None:
        ref = found.ref
    repository = GitRepository(
        project.repository,
        shop.home / "mirrors" / f"{project.name}.git",
        production=project.branches.production,
        access=hosts.git_access(project),
    )
    head = repository.heads().get(project.branches.production)
    if head is None:
        raise NotFound(
            f"{repository.address} has no branch {project.branches.production!r}. Push it, then start again."
        )
    repository.fetch(head)
    plan = read_delivery_file(
        repository.read_file(head, DELIVERY_FILE) or b"", where=f"{DELIVERY_FILE} on {project.branches.production}"
    )
    platform.provision(ref)
    release = Release(commit=head, plan=plan, checkout=lambda directory: repository.checkout(head, directory))
    return platform.deploy(ref, release, say=say)


def wait_for_signal(instance: Instance) -> None:
    """Return when Ctrl-C or SIGTERM comes.

    Raises:
        Unavailable: A part could not be kept alive and everything was stopped.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in signals.ENDING:
        signal.signal(number, ask)
    while not asked.wait(0.5):
        if instance.failure is not None:
            raise Unavailable(str(instance.failure))
