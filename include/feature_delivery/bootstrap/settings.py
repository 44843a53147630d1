"""Where this installation keeps things: read from the environment once, with defaults for the embedded way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.domain.errors import Misconfigured, NotFound
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.people import Member
from feature_delivery.domain.project import ProjectConfig

_log = logging.getLogger(__name__)

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
    home = Path(os.environ.get("FEATURE_DELIVERY_HOME") or ".feature-delivery").absolute()
    return Settings(
        home=home,
        projects=Path(os.environ.get("FEATURE_DELIVERY_PROJECTS") or home / "projects").absolute(),
        task_token=os.environ.get("FEATURE_DELIVERY_TASK_TOKEN", ""),
    )


_read: dict[Path, tuple[float, ProjectConfig | Misconfigured]] = {}


MembersOf = Callable[[frozenset[str]], Sequence[Member]]
"""Says who is in any of these roles and groups of the service that people log in with."""

_source: list[MembersOf] = []
_with: dict[ProjectName, tuple[ProjectConfig, Sequence[Member], ProjectConfig]] = {}


def ask_members(source: MembersOf) -> None:
    """Have the people of projects completed by ``source``: in the API server, which alone knows its login service."""
    _source[:] = [source]


def _complete(project: ProjectConfig) -> ProjectConfig:
    if not project.people.groups or not _source:
        return project
    members = _source[0](frozenset(project.people.groups))
    known = _with.get(project.name)
    if known is None or known[0] is not project or known[1] != members:
        known = (project, members, replace(project, people=project.people.with_members(members)))
        _with[project.name] = known
    return known[2]


@dataclass(frozen=True, slots=True)
class Survey:
    """Every project file: the projects that can be used, and per file what is wrong with the others."""

    projects: dict[ProjectName, ProjectConfig]
    faults: dict[str, str]


def survey() -> Survey:
    """Read every project file, again only when it has changed; one that is wrong takes no other down."""
    found: dict[ProjectName, ProjectConfig] = {}
    faults: dict[str, str] = {}
    folder = settings().projects
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        read = _project_of(path)
        if isinstance(read, Misconfigured):
            faults[path.name] = str(read)
        elif read.name in found:
            # The first file keeps the name: features under way must not change their shop by a copied file.
            faults[path.name] = f"Two files in {folder.name!r} name the project {read.name!r}. Rename one."
        else:
            found[read.name] = _complete(read)
    return Survey(projects=found, faults=faults)


def _project_of(path: Path) -> ProjectConfig | Misconfigured:
    try:
        changed = path.stat().st_mtime
    except OSError as error:
        return Misconfigured(f"Could not read project file {path.name!r}: {error}.")
    known = _read.get(path)
    if known is None or known[0] != changed:
        try:
            known = (changed, read_project_file(path))
        except Misconfigured as error:
            known = (changed, error)
        _read[path] = known
    return known[1]


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
    return os.environ.get("FEATURE_DELIVERY_INSTANCE", "")


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


WEBHOOKS_PER_MINUTE = 6000
"""A hundred a second, with bursts of a minute's worth: no host sends that much for one shop while all is well."""


def webhooks_per_minute() -> int:
    """Return how many webhooks of one project one API server process takes (``FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE``).

    Raises:
        Misconfigured: The setting is no number from 1.
    """
    given = os.environ.get("FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE") or str(WEBHOOKS_PER_MINUTE)
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise Misconfigured(f"FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE is {given[:20]!r}. Set a number from 1.")
    return int(given)
