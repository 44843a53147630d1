"""Where this installation keeps things: read from the environment once, with defaults for the embedded way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.bootstrap.variables import read
from feature_delivery.domain.errors import Misconfigured, NotFound
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.people import Membership
from feature_delivery.domain.project import ProjectConfig

_log = logging.getLogger(__name__)

Version = tuple[int, int, int]

URL_PREFIX = "/feature-delivery"
"""Where the plugin mounts the web app in Airflow's API server."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Places of one installation.

    Attributes:
        home: State of the embedded way: environments, mirrors, logs (``FEATURE_DELIVERY_HOME``).
        projects: Folder of the project files (``FEATURE_DELIVERY_PROJECTS``).
        task_token: What tasks show to the web app (``FEATURE_DELIVERY_TASK_TOKEN``); only the API server reads it
            here, tasks have it in their Connection.
    """

    home: Path
    projects: Path
    task_token: str


def settings() -> Settings:
    """Return the settings of this process."""
    found = read("home", "projects", "task_token")
    home = found.home.absolute()
    return Settings(home=home, projects=(found.projects or home / "projects").absolute(), task_token=found.task_token)


_read: dict[Path, tuple[Version, ProjectConfig | None, str]] = {}
"""Of each file: which version of it was read, the project (the last good one, where it is wrong), and what is wrong."""


MembersOf = Callable[[frozenset[str]], Membership]
"""Says who is in any of these roles and groups of the service that people log in with."""

_source: list[MembersOf] = []
_with: dict[ProjectName, tuple[ProjectConfig, Membership, ProjectConfig]] = {}


def ask_members(source: MembersOf) -> None:
    """Have the people of projects completed by ``source``: in the API server, which alone knows its login service."""
    _source[:] = [source]


def _complete(project: ProjectConfig) -> ProjectConfig:
    if not project.people.groups or not _source:
        return project
    membership = _source[0](frozenset(project.people.groups))
    known = _with.get(project.name)
    if known is None or known[0] is not project or known[1] != membership:
        known = (project, membership, replace(project, people=project.people.with_members(membership)))
        _with[project.name] = known
    return known[2]


@dataclass(frozen=True, slots=True)
class Survey:
    """Every project file: the projects that can be used, and per file what is wrong with the others.

    ``outdated``: projects that count as they were, with what is wrong with their file now.
    """

    projects: dict[ProjectName, ProjectConfig]
    faults: dict[str, str]
    outdated: dict[ProjectName, str]


def survey() -> Survey:
    """Read every project file, again only when it has changed; one that is wrong takes no other down.

    A file that has become wrong counts as it was when it was right: deliveries go on, and the fault is shown loudly (an
    import error in Airflow, housekeeping in red, a metric with an alert, ``doctor``) until it is mended.
    """
    found: dict[ProjectName, ProjectConfig] = {}
    faults: dict[str, str] = {}
    outdated: dict[ProjectName, str] = {}
    folder = settings().projects
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        project, fault = _project_of(path)
        if fault:
            faults[path.name] = fault
        if project is None:
            continue
        if project.name in found:
            # The first file keeps the name: features under way must not change their shop by a copied file.
            faults[path.name] = f"Two files in {folder.name!r} name the project {project.name!r}. Rename one."
        else:
            found[project.name] = _complete(project)
            if fault:
                outdated[project.name] = fault
    return Survey(projects=found, faults=faults, outdated=outdated)


def _project_of(path: Path) -> tuple[ProjectConfig | None, str]:
    try:
        status = path.stat()
    except OSError as error:
        return None, f"Could not read project file {path.name!r}: {error}."
    version = (status.st_mtime_ns, status.st_size, status.st_ino)
    known = _read.get(path)
    if known is None or known[0] != version:
        known = (version, *_read_anew(path, known[1] if known is not None else None))
        _read[path] = known
    return known[1], known[2]


def _read_anew(path: Path, before: ProjectConfig | None) -> tuple[ProjectConfig | None, str]:
    try:
        project = read_project_file(path)
    except Misconfigured as error:
        # Not every process has seen the file when it was right: a DAG file is read by a new one each time.
        last = before or _last_good(path)
        if last is None:
            return None, str(error)
        return last, f"{error} Until that is mended, the file counts as it was when it was right."
    _keep_good(path)
    return project, ""


def _kept(path: Path) -> Path:
    return settings().home / "last-good" / path.name


def _keep_good(path: Path) -> None:
    """Keep a copy of a file that is right; where that cannot be, only processes that live on remember it.

    A home is not made for it: nobody has said that this is one.
    """
    kept = _kept(path)
    if not kept.parents[1].is_dir():
        return
    with suppress(OSError):
        content = path.read_bytes()
        if kept.exists() and kept.read_bytes() == content:
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f".{kept.name}.{os.getpid()}")
        new.touch(mode=0o600)  # the file itself may be readable for its owner alone
        new.write_bytes(content)
        new.replace(kept)


def _last_good(path: Path) -> ProjectConfig | None:
    try:
        return read_project_file(_kept(path))
    except Misconfigured:
        return None  # never seen right here, or this version wants more of it


def projects() -> dict[ProjectName, ProjectConfig]:
    """Return every project that can be used by name; ``survey`` says what is wrong with the others."""
    return survey().projects


def project(name: str) -> ProjectConfig:
    """Return one project.

    Raises:
        NotFound: No file names it.
    """
    found = survey()
    if name not in found.projects:
        broken = "".join(f" {fault}" for fault in found.faults.values())
        known = ", ".join(found.projects) or "none"
        raise NotFound(f"There is no project {name[:60]!r} here. Known: {known}.{broken}")
    return found.projects[ProjectName(name)]


def new_instance() -> str:
    """Return the id that a ledger without one takes (``FEATURE_DELIVERY_INSTANCE``); empty: it makes one up."""
    return read("instance").instance


def webhook_secrets(name: ProjectName) -> tuple[bytes, ...]:
    """Return what a project's webhooks may be signed with; empty: none is set, and none is accepted.

    ``FEATURE_DELIVERY_WEBHOOK_SECRET_<PROJECT>``, several separated by white space, else the file
    ``secrets/webhook-<project>`` in the home, one a line. To change a secret, add the new one here, then at the host,
    then remove the old one here; nothing is lost meanwhile.
    """
    if given := os.environ.get(f"FEATURE_DELIVERY_WEBHOOK_SECRET_{name.upper()}"):
        return tuple(os.fsencode(given).split())
    try:
        content = (settings().home / "secrets" / f"webhook-{name}").read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        _log.warning("Could not read the webhook secrets of %s: %s", name, error.strerror)
        return ()
    return tuple(line for each in content.splitlines() if (line := each.strip()))


def webhooks_per_minute() -> int:
    """Return how many webhooks of one project one API server process takes (``FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE``).

    A hundred a second by default, with bursts of a minute's worth: no host sends that much for one shop while all is
    well.

    Raises:
        Misconfigured: The setting is no number from 1.
    """
    return read("webhooks_per_minute").webhooks_per_minute
