"""Where an environment lies on disk, and how its files go away without ever leaving the root.

::

    <root>/<project>/<name>/
        environment.json   what the environment is and runs (state.py)
        lock               held while environment.json changes
        releases/<id>/     a checkout; <id> is the first 12 digits of the commit and the launch it was made for
        venv-<inputs>-<launch>/
        suites/<id>/       the copy a suite runs in, while it runs
        data/              $DATA_DIR: outlives releases, goes with the environment
        home/ tmp/ bin/    $HOME, $TMPDIR, and the commands that we bring along
        logs/
    <root>/<project>/.staging/   checkouts on their way into a release, owned by a process each
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.adapters.platforms.local import processes
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import ProjectName, project_name

STAGING = ".staging"
FRESH_STATE = ".environment.json.new"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_REMOVAL_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one environment; build it with ``layout_of``."""

    root: Path
    project: ProjectName
    name: str

    @property
    def directory(self) -> Path:
        """Everything of the environment lies below it; its text also marks the environment's processes."""
        return self.root / self.project / self.name

    @property
    def state_file(self) -> Path:
        """What the environment is and runs; without it the directory counts as foreign."""
        return self.directory / "environment.json"

    @property
    def lock_file(self) -> Path:
        """Removed last of all."""
        return self.directory / "lock"

    @property
    def releases(self) -> Path:
        """The checkouts that run, ran last, or are about to."""
        return self.directory / "releases"

    @property
    def suites(self) -> Path:
        """Copies of a release, one per suite that runs now."""
        return self.directory / "suites"

    @property
    def data(self) -> Path:
        """``$DATA_DIR``."""
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        """One log per release and per suite run."""
        return self.directory / "logs"

    @property
    def home(self) -> Path:
        """``$HOME`` of everything that runs here, so that nobody's dotfiles are read."""
        return self.directory / "home"

    @property
    def temporary(self) -> Path:
        """``$TMPDIR``."""
        return self.directory / "tmp"

    @property
    def commands(self) -> Path:
        """Commands that we bring along (``uv``), on the ``PATH`` behind the virtual environment."""
        return self.directory / "bin"

    @property
    def staging(self) -> Path:
        """Shared by the environments of a project, and outside of them: what is made here is moved in when whole."""
        return self.root / self.project / STAGING

    def make(self) -> None:
        """Create the directories that every environment has."""
        for directory in (self.releases, self.suites, self.data, self.logs, self.home, self.temporary, self.commands):
            directory.mkdir(parents=True, exist_ok=True)

    def is_leftover(self) -> bool:
        """Say whether the directory holds next to nothing: what an interruption leaves at the beginning or end."""
        with suppress(FileNotFoundError):
            return all(entry.name in {"lock", FRESH_STATE} for entry in self.directory.iterdir())
        return False


def layout_of(root: Path, project: str, name: str) -> Layout:
    """Return the paths of an environment.

    Raises:
        Refused: A name could leave the root, or a symbolic link stands where a directory of ours belongs.
    """
    checked = project_name(project)
    if not isinstance(name, str) or not _LABEL.match(name):
        raise Refused(f"{str(name)[:80]!r} is not an environment name. Use a DNS label like 'preprod-shop-1'.")
    layout = Layout(root=root, project=checked, name=name)
    for path in (layout.directory.parent, layout.directory):
        if path.is_symlink():
            raise Refused(f"Did not touch {str(path)!r}: it is a symbolic link, not a directory of ours. Remove it.")
    return layout


def remove_tree(path: Path, *, inside: Path) -> None:
    """Remove ``path`` with all below it; gone already is done. Symbolic links are removed, never followed.

    Processes that still write are outlasted by trying again.

    Raises:
        Refused: Some directory on the way from ``inside`` to ``path`` is a symbolic link.
        OSError: It could not be removed.
    """
    way = path.parent.relative_to(inside)
    if any((inside / each).is_symlink() for each in (way, *way.parents) if each.parts):
        raise Refused(f"Did not remove {str(path)!r}: a symbolic link on the way leads out of {str(inside)!r}.")
    for remaining in reversed(range(_REMOVAL_ROUNDS)):
        try:
            untrusted.remove(path)
        except OSError:
            if not remaining:
                raise
        else:
            return


def new_staging(layout: Layout, *, launch: str) -> Path:
    """Create an empty directory that is swept away when this process dies before it drops it."""
    path = layout.staging / f"{processes.myself()}-{launch}"
    while True:
        with suppress(FileNotFoundError):  # Whoever drops the last one removes the directory of all.
            path.mkdir(parents=True)
            return path


def drop_staging(layout: Layout, path: Path) -> None:
    """Remove what ``new_staging`` made, where it has not been moved away."""
    remove_tree(path, inside=layout.root)
    with suppress(OSError):
        layout.staging.rmdir()


def sweep_staging(layout: Layout) -> None:
    """Remove what processes left that died in the middle of a checkout."""
    if layout.staging.is_symlink() or not layout.staging.is_dir():
        return
    for entry in list(layout.staging.iterdir()):
        if not processes.lives(entry.name.rpartition("-")[0]):
            remove_tree(entry, inside=layout.root)
    with suppress(OSError):
        layout.staging.rmdir()
