"""A shop as it is set up here: its repository, copied from the user's own, its project file, its place to run."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from feature_delivery.adapters.git.bare import create_bare
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.bootstrap.schemas import PROJECT, schema_line, schemas
from feature_delivery.bootstrap.tools import local_settings
from feature_delivery.cli.context import user_of_machine
from feature_delivery.cli.embedded.home import Home, write_private
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import BranchName, CommitSha, ProjectName, branch_name, project_name
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from feature_delivery.services.delivery_file import read_delivery_file

DELIVERY_FILE = "delivery.yaml"
PREPROD = branch_name("preprod")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop that is set up to be delivered: its project, its bare repository, its files in the home.

    ``repository``: ``None`` where it is on a host, which sends webhooks itself. ``follow``: the commit that production
    must run from the start, when somebody moved its branch by hand.
    """

    project: ProjectConfig
    repository: Path | None
    home: Path
    follow: CommitSha | None = None


def project_name_of(repository: str) -> ProjectName:
    """Return a project name made from the last part of an address, or of the directory that a path names."""
    local = Path(repository).expanduser()
    if local.exists():
        whole = local.resolve()
        repository = str(whole.parent if whole.name == ".git" else whole)
    last = repository.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")
    plain = re.sub(r"[^a-z0-9]+", "_", last.lower()).strip("_")
    return project_name((plain if plain[:1].isalpha() else f"shop_{plain}")[:40].strip("_"))


def prepare(home: Path, *, repository: str, name: str, say: Say, branch: str = "") -> Shop:
    """Find or make the bare repository and the project file of a shop; the home is locked by the caller.

    What exists is not changed, but for a shop whose production has never run: it begins where the original is now, so
    that a ``delivery.yaml`` that was wrong can be mended there.

    Raises:
        Misconfigured: The repository cannot be read, or holds no ``delivery.yaml`` on its main branch; or there is a
            copy of another branch.
        Refused: Another shop has this project's name.
    """
    project = project_name(name) if name else project_name_of(repository)
    repositories, file = home / "repositories", home / "projects" / f"{project}.yaml"
    bare = repositories / f"{project}.git"
    repositories.mkdir(parents=True, exist_ok=True)
    if file.exists():
        read_project_file(file)
    with tempfile.TemporaryDirectory(prefix=".look-", dir=repositories) as look:
        copied = _branch_of(bare)
        original = Original(repository, Path(look), wanted=branch or copied)
        known = bare.with_suffix(".source")
        if copied:
            _refuse_another(project, known, original)
            if branch and branch != copied:
                raise Misconfigured(
                    f"{bare} was copied from branch {copied!r} of {original.shown}, not from {branch!r}. Leave "
                    f"--branch out to go on with that one, or remove {bare} and {file} to begin with this one."
                )
            if _ran(home, project):
                say(f"{bare} goes on from where it was; new commits of {original.shown} have to be pushed to it.")
            else:
                original.bring_up_to_date(bare)
        else:
            original.copy(bare)
            say(f"Copied {original.main} of {original.shown}; the original is only read.")
        write_private(known, original.shown)
        if not file.exists():
            _write_project_file(file, project=project, bare=bare, main=original.main)
            say(f"Wrote {file}: people, roles, gates. Change it at any time.")
    return Shop(project=read_project_file(file), repository=bare, home=home)


def use_project_file(home: Path, file: Path) -> Shop:
    """Deliver by a project file of the user's own, which stays where it is; the home is locked by the caller.

    Raises:
        Misconfigured: The file cannot be read, or something in it is wrong.
        Refused: Another shop has this project's name.
    """
    project = read_project_file(file)
    link = home / "projects" / f"{project.name}.yaml"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise Refused(f"{link} describes another shop {project.name!r}. Rename one, or use another home.")
    link.symlink_to(file.absolute())
    webhook_secret(home, project.name)
    bare = Path(project.repository).expanduser()
    return Shop(project=project, repository=bare if project.host.kind == "local" and bare.is_dir() else None, home=home)


def _refuse_another(project: ProjectName, known: Path, original: Original) -> None:
    before = known.read_text("utf-8") if known.exists() else original.shown
    if _placed(before) != original.shown:
        raise Refused(
            f"Project {project!r} is a copy of {before}, not of {original.shown}. "
            "Name this shop otherwise with --project, or use another home."
        )


def _placed(repository: str) -> str:
    """Return the one name of a directory, from wherever it is named; an address as it is."""
    local = Path(repository).expanduser()
    return str(local.resolve()) if local.exists() else repository


def _branch_of(bare: Path) -> str:
    """Return the branch that a copy was made of; empty: there is none yet."""
    try:
        return (bare / "HEAD").read_text("utf-8").strip().removeprefix("ref: refs/heads/")
    except FileNotFoundError:
        return ""


def _ran(home: Path, project: ProjectName) -> bool:
    status = local_platform(home).status(production_of(home, project))
    return status is not None and status.commit is not None


class Original:
    """The user's own repository, which is only ever read; asked when something of it is wanted."""

    def __init__(self, repository: str, look: Path, *, wanted: str) -> None:
        """``look``: an empty directory for what is fetched; ``wanted``: production's branch, found when empty."""
        self._remote = _placed(repository)
        self._mirror = look / "mirror.git"
        self._wanted = wanted
        self.shown = GitRepository(self._remote, self._mirror).address

    @cached_property
    def main(self) -> BranchName:
        """The branch that is taken for production.

        Raises:
            Misconfigured: There is no such branch.
        """
        return self._wanted_branch() if self._wanted else main_branch(self.shown, self._heads)

    @cached_property
    def head(self) -> CommitSha:
        """Where production begins: a commit with a ``delivery.yaml`` that can be used.

        Raises:
            Misconfigured: It has none.
        """
        source = GitRepository(self._remote, self._mirror, production=self.main)
        head = self._heads[self.main]
        source.fetch(head)
        content = source.read_file(head, DELIVERY_FILE)
        if content is None:
            raise Misconfigured(
                f"{self.shown} has no {DELIVERY_FILE} on {self.main}. Run 'feature-delivery init' in it, look the file "
                "over, commit it, and start again."
            )
        read_delivery_file(content, where=f"{DELIVERY_FILE} on {self.main}")
        return head

    @cached_property
    def _heads(self) -> dict[BranchName, CommitSha]:
        return GitRepository(self._remote, self._mirror).heads()

    def _wanted_branch(self) -> BranchName:
        wanted = branch_name(self._wanted)
        if wanted not in self._heads:
            found = ", ".join(sorted(self._heads)[:10]) or "none"
            raise Misconfigured(f"{self.shown} has no branch {wanted!r}. Found: {found}.")
        return wanted

    def copy(self, bare: Path) -> None:
        """Make the bare repository of the instance, all of it or nothing."""
        head = self.head
        fresh = self._mirror.with_name("fresh.git")
        create_bare(fresh, self.main)
        target = self._target(fresh)
        target.create_branch(self.main, head)
        target.create_branch(PREPROD, head)
        fresh.rename(bare)

    def bring_up_to_date(self, bare: Path) -> None:
        """Move the copy to where the original is, when that is ahead of it."""
        target = self._target(bare)
        at = target.heads()
        if at.get(self.main) == self.head:
            return
        target.fetch(at[self.main])
        target.promote(self.main, old=at[self.main], new=self.head)
        target.level(PREPROD, expect=at.get(PREPROD), to=self.head)

    def _target(self, bare: Path) -> GitRepository:
        # The mirror holds the fetched commits: the bare repository is another remote of the same mirror.
        return GitRepository(str(bare), self._mirror, production=self.main)


def main_branch(shown: str, heads: Mapping[BranchName, CommitSha]) -> BranchName:
    """Return the branch that is taken for production: ``production``, ``main`` or ``master``, the only one there is.

    Raises:
        Misconfigured: There is no such branch.
    """
    for name in ("production", "main", "master"):
        if name in heads:
            return branch_name(name)
    if not heads:
        raise Misconfigured(f"{shown} has no commit yet. Commit the shop to its main branch first.")
    if len(heads) == 1 and PREPROD not in heads:
        return next(iter(heads))
    found = ", ".join(sorted(heads)[:10])
    raise Misconfigured(
        f"Could not tell production's branch of {shown}: it has no production, main or master. Found: {found}. "
        "Name it with --branch."
    )


def _write_project_file(file: Path, *, project: ProjectName, bare: Path, main: BranchName) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    quoted = {"repository": str(bare), "name": project, "main": main, "person": user_of_machine()}
    text = PROJECT_FILE.format(**{field: json.dumps(value) for field, value in quoted.items()})
    write_private(file, schema_line(PROJECT) + text)
    (file.parent / PROJECT).write_text(schemas()[PROJECT], "utf-8")


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
solo: true               # one person may fill every role; remove it when there are an author and three who sign off
# gates:                 # what differs from the defaults
#   acceptance: {{count: 2, timeout: 7d}}
choices:
  start_gate: false      # wait until somebody takes the issue
  open_request: true     # open the merge request when the checks are green
  start_on_push: true    # a push to feature/KEY-… starts its delivery
  observe_for: 10s       # production is watched so long after a deploy; 10m is for shops with customers
"""


def webhook_secret(home: Path, project: ProjectName) -> str:
    """Return the secret that the repository's hook signs with, the first of the file, made at its first use."""
    path = home / "secrets" / f"webhook-{project}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text("utf-8").strip().partition("\n")[0].strip()


def metrics_token(home: Path) -> Path:
    """Return the file with the token that ``/metrics`` asks for, made at its first use."""
    path = home / "secrets" / "metrics-token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, secrets.token_urlsafe(32))
    return path


def local_platform(home: Path) -> LocalPlatform:
    """Return the platform as the tasks of this instance see it."""
    return LocalPlatform(local_settings(home, instance_id(home)))


def instance_id(home: Path) -> str:
    """Return the id that marks everything this installation creates; needs the home to be entered once before."""
    return Home(home).secrets()["instance"]


def production_of(home: Path, project: ProjectName) -> EnvironmentRef:
    """Return production's environment, for whoever only asks; its generation is the platform's to know."""
    return EnvironmentRef(
        instance=instance_id(home),
        project=project,
        name="production",
        kind=EnvironmentKind.PRODUCTION,
        key=None,
        generation=0,
    )
