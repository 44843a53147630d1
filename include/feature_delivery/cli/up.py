"""``feature-delivery up``: a shop's repository, its project file, its production, and Airflow around them."""

from __future__ import annotations

import getpass
import json
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from feature_delivery.adapters.git.bare import create_bare, install_post_receive
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.adapters.platforms.local.settings import Settings as PlatformSettings
from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.cli.embedded.home import Home, write_private
from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.cli.embedded.supervisor import PartEvent
from feature_delivery.domain.errors import Error, Misconfigured, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha, ProjectName, branch_name, person_name, project_name
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, EnvironmentStatus, Release
from feature_delivery.services.delivery_file import read_delivery_file

DELIVERY_FILE = "delivery.yaml"
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

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop that is set up to be delivered: its project, its bare repository, its files in the home.

    ``follow``: the commit that production must run from the start, when somebody moved its branch by hand.
    """

    project: ProjectConfig
    repository: Path
    home: Path
    follow: CommitSha | None = None


def project_name_of(repository: str) -> ProjectName:
    """Return a project name made from the last part of an address."""
    last = repository.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
    plain = re.sub(r"[^a-z0-9]+", "_", last.lower()).strip("_")
    return project_name((plain if plain[:1].isalpha() else f"shop_{plain}")[:40].strip("_"))


def prepare(home: Path, *, repository: str, name: str, say: Say) -> Shop:
    """Find or make the bare repository and the project file of a shop; nothing that exists is changed.

    Raises:
        Misconfigured: The repository cannot be read, or holds no ``delivery.yaml`` on its main branch.
    """
    project = project_name(name) if name else project_name_of(repository)
    bare = home / "repositories" / f"{project}.git"
    file = home / "projects" / f"{project}.yaml"
    if not (bare / "HEAD").exists():
        main = _copy(repository, bare, say=say)
    else:
        main = read_project_file(file).branches.production if file.exists() else main_branch(str(bare), bare)
    if not file.exists():
        _write_project_file(file, project=project, bare=bare, main=main)
        say(f"Wrote {file}: people, roles, gates. Change it at any time.")
    config = read_project_file(file)
    return Shop(project=config, repository=bare, home=home)


def main_branch(remote: str, mirror: Path) -> BranchName:
    """Return the branch that is taken for production: ``production``, ``main`` or ``master``, the only one there is.

    Raises:
        Misconfigured: There is no such branch.
    """
    heads = GitRepository(remote, mirror.with_name(mirror.name + ".look")).heads()
    for name in ("production", "main", "master"):
        if name in heads:
            return branch_name(name)
    if len(heads) == 1:
        return next(iter(heads))
    found = ", ".join(sorted(heads)[:10]) or "none"
    raise Misconfigured(
        f"Could not tell production's branch of {remote!r}: it has no production, main or master. Found: {found}."
    )


def _copy(repository: str, bare: Path, *, say: Say) -> BranchName:
    """Copy the shop's history into a bare repository of the instance; the original is only read."""
    local = Path(repository).expanduser()
    remote = str(local.absolute()) if local.exists() else repository
    look = bare.with_name(f".{bare.name}.mirror")
    main = main_branch(remote, look)
    source = GitRepository(remote, look, production=main)
    heads = source.heads()
    source.fetch(heads[main])
    if source.read_file(heads[main], DELIVERY_FILE) is None:
        raise Misconfigured(
            f"{repository!r} has no {DELIVERY_FILE} on {main}. Run 'feature-delivery init' in it, look the file over, "
            "commit it, and start again."
        )
    read_delivery_file(source.read_file(heads[main], DELIVERY_FILE) or b"", where=f"{DELIVERY_FILE} on {main}")
    fresh = bare.with_name(f".{bare.name}.copy")
    create_bare(fresh, main)
    _seed(fresh, look, main, heads[main])
    fresh.rename(bare)
    say(f"Copied {main} of {repository} to {bare}; the original stays untouched.")
    return main


def _seed(bare: Path, mirror: Path, main: BranchName, head: CommitSha) -> None:
    # The mirror holds the fetched commits: the bare repository is another remote of the same mirror.
    target = GitRepository(str(bare), mirror, production=main)
    target.create_branch(main, head)
    target.create_branch(branch_name("preprod"), head)


def _write_project_file(file: Path, *, project: ProjectName, bare: Path, main: BranchName) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "", getpass.getuser()) or "me"
    write_private(file, PROJECT_FILE.format(name=project, repository=json.dumps(str(bare)), main=main, person=plain))


PROJECT_FILE = """\
# One shop. Who decides what, where its repository is, how production is treated.
name: {name}
title: {name}
repository: {repository}
branches:
  production: {main}     # only promotions move it
  preprod: preprod       # merge requests aim at it
  feature_prefix: feature/
people:                  # user names of Airflow; a person may have several roles
  {person}:
    roles: [developer, reviewer, tester, manager, operator]
solo: true               # one person may approve an own change; remove it when there are two of you
# gates:                 # what differs from the defaults
#   acceptance: {{count: 2, timeout: 7d}}
choices:
  start_gate: false      # wait until somebody takes the issue
  open_request: true     # open the merge request when the checks are green
  start_on_push: true    # a push to feature/KEY-… starts its delivery
"""


def webhook_secret(home: Path, project: ProjectName) -> str:
    """Return the secret that the repository's hook signs with, made at its first use."""
    path = home / "secrets" / f"webhook-{project}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text("utf-8").strip()


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
    home: Path,
    port: int,
    database: str | None,
    keep: bool,
    on_event: Callable[[PartEvent], None],
    say: Say,
    on_failure: Callable[[Error], None] = lambda _error: None,
) -> Iterator[Running]:
    """Run Airflow and the shops' environments until the block ends; with ``keep`` the environments run on."""
    users = {"admin": "admin"} | {str(name): "op" for shop in shops for name in shop.project.people.persons}
    instance = Instance(
        home,
        dags_folder=CHECKOUT / "dags",
        plugins_folder=CHECKOUT / "plugins",
        users=users,
        database=database,
        external_db_managers=["feature_delivery.web.database.LedgerDBManager"],
        extra_environment=_environment(home),
        port=port,
        preload=PRELOADED,
        on_event=on_event,
        on_failure=on_failure,
    )
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=2) as pool:
        platform = local_platform(home)
        if not keep:
            for shop in shops:
                stack.callback(platform.stop_all, shop.project.name)
        # Stopped before the environments: a task of it would start again what was stopped.
        stack.callback(instance.stop)
        # Production comes up while Airflow does: the one mostly waits for the other's processor time.
        coming = {shop.project.name: pool.submit(production_up, platform, shop, say) for shop in shops}
        instance.start(dag_ids=[shop.project.dag_id for shop in shops])
        for shop in shops:
            install_post_receive(
                shop.repository,
                url=f"{instance.address}{URL_PREFIX}/webhooks/{shop.project.name}",
                secret=webhook_secret(home, shop.project.name),
                project=shop.project.name,
            )
        production = {name: future.result() for name, future in coming.items()}
        _remember_user(home, shops)
        yield Running(instance=instance, shops=shops, production=production)


def local_platform(home: Path) -> LocalPlatform:
    """Return the platform as the tasks of this instance see it."""
    return LocalPlatform(PlatformSettings(root=home / "environments", instance=instance_id(home)))


def instance_id(home: Path) -> str:
    """Return the id that marks everything this installation creates; needs the home to be entered once before."""
    return Home(home).secrets()["instance"]


def _environment(home: Path) -> dict[str, str]:
    return {
        "FEATURE_DELIVERY_HOME": str(home),
        "FEATURE_DELIVERY_PROJECTS": str(home / "projects"),
    }


def _remember_user(home: Path, shops: tuple[Shop, ...]) -> None:
    people = [name for shop in shops for name in shop.project.people.persons]
    write_private(home / "cli.json", json.dumps({"user": person_name(people[0])}))


def production_up(platform: LocalPlatform, shop: Shop, say: Say) -> EnvironmentStatus:
    """Bring production up as it was; deploy its branch the first time, and where ``shop.follow`` says so."""
    project = shop.project
    ref = EnvironmentRef(
        instance=instance_id(shop.home),
        project=project.name,
        name="production",
        kind=EnvironmentKind.PRODUCTION,
        key=None,
        generation=0,
    )
    platform.resume(project.name, say=say)
    found = platform.status(ref)
    if found is not None and found.commit is not None and shop.follow in {None, found.commit}:
        return found
    if found is not None:
        ref = found.ref
    repository = GitRepository(
        project.repository, shop.home / "mirrors" / f"{project.name}.git", production=project.branches.production
    )
    head = repository.heads()[project.branches.production]
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

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    while not asked.wait(0.5):
        if instance.failure is not None:
            raise Unavailable(str(instance.failure))


def check_home(home: Path) -> None:
    """Refuse a home that lies inside a repository's ``.git`` or is a file.

    Raises:
        Refused: The place cannot be used.
    """
    if home.exists() and not home.is_dir():
        raise Refused(f"{str(home)!r} is a file. Name a directory with --home.")
