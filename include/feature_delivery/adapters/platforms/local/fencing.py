"""What the code of a branch may touch on this machine: rules for ``fence.py``, which puts them up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from feature_delivery.adapters.platforms.local import fence
from feature_delivery.adapters.platforms.local.processes import base_interpreter
from feature_delivery.adapters.platforms.local.variables import system_path, variables_of_installs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from feature_delivery.adapters.platforms.local.layout import Layout
    from feature_delivery.adapters.platforms.local.settings import Limits, Settings
    from feature_delivery.adapters.platforms.local.state import ReleaseRecord

_STANDS_BACK = 5
"""How nice what nobody's browser waits for is: Airflow's own processes and the shops come first."""

_PROGRAM = Path(fence.__file__)
_OURS = ("AIRFLOW_HOME", "FEATURE_DELIVERY_HOME", "FEATURE_DELIVERY_PROJECTS")
"""Variables that name folders with secrets in them."""


_MARKS = (
    *("pyproject.toml", "uv.toml", "setup.cfg", "tox.ini", "pytest.ini", ".pytest.ini", ".python-version"),
    *("package.json", "tsconfig.json", ".nvmrc", ".node-version", "pnpm-workspace.yaml", "lerna.json"),
    *("Cargo.toml", "go.mod", "go.work", "Gemfile", "composer.json", ".ruby-version", ".tool-versions"),
)
"""By these files tools tell where a project begins: they look in every folder above, and fail on what is closed."""


def fenced(
    command: Sequence[str],
    *,
    layout: Layout,
    settings: Settings,
    release: ReleaseRecord,
    variables: Mapping[str, str],
    directory: Path,
    installs: bool = False,
    serves: bool = False,
) -> tuple[str, ...]:
    """Return ``command`` as it is started behind the fence, or without one where the operator wants none.

    Either way ``fence.py`` starts it, which takes its environment by standard input (``handed``).

    Args:
        command: Argument list of the shop.
        layout: The environment: only its data, its temporary files, its home and what runs are open, not its records.
        settings: How the operator wants it.
        release: What runs.
        variables: Its whole environment, of which its own ports are read.
        directory: Where it runs: a checkout, or a suite's copy of one.
        installs: It fills the virtual environment, and may use the package managers' caches, and the certificates and
            the like that the operator's settings name.
        serves: People wait for its answers: it stands back for nobody, and outlives whoever starts it.
    """
    start = (base_interpreter(), "-I", "-S", str(_PROGRAM))
    if settings.fence == "off":
        return (*start, "off", "--", *command)
    hidden = [layout.root.parent, *(Path(os.environ[name]) for name in _OURS if os.environ.get(name))]
    write = [layout.data, layout.home, layout.temporary, directory, layout.directory / release.venv]
    read = [layout.commands, *_behind(layout.commands), *_marks_above(layout.directory)]
    caches: list[str] = []
    if installs:
        read += _named_for_installs(settings, hidden)
        # That of branches may be a link, since it lies where production's installs write: it is named, not followed.
        caches += [
            f"write:{Path(os.path.realpath(whole)) / cache.relative_to(whole)}"
            for cache, whole in settings.caches_of(layout.name).values()
        ]
    rules = [
        *_rules("write", [*write, *settings.fence_open]),
        *caches,
        *_rules("read", read),
        # The machine's own: what a release has put first on its PATH it can turn into a link to anywhere.
        *(f"programs:{entry}" for entry in system_path().split(os.pathsep) if entry.startswith("/")),
        *_rules("hidden", hidden),
        *(["required"] if settings.fence == "required" else []),
        *_limits(settings.limits, variables),
        *([] if serves else [f"nice:{_STANDS_BACK}", "stays"]),
    ]
    return (*start, *rules, "--", *command)


def can_set_apart() -> bool:
    """Say whether a command can have shared memory and terminals of its own here: that takes namespaces."""
    asked = (base_interpreter(), "-I", "-S", str(_PROGRAM), "apart")
    return subprocess.run(asked, stdin=subprocess.DEVNULL, check=False).returncode == 0


def _limits(limits: Limits, variables: Mapping[str, str]) -> list[str]:
    """Return the rules of what a command may use; the environment's own ports are open in any case."""
    found = [
        f"memory:{limits.memory_bytes}",
        f"file:{limits.file_bytes}",
        f"processes:{limits.processes}",
    ]
    if limits.ports:
        own = {urlsplit(variables.get("BASE_URL", "")).port, int(variables.get("PORT") or 0)}
        found += [f"port:{first}-{last}" for first, last in limits.ports]
        found += [f"port:{port}" for port in own if port]
    return found


def _rules(kind: str, paths: Iterable[Path]) -> list[str]:
    return [f"{kind}:{path}" for path in dict.fromkeys(os.path.realpath(path) for path in paths)]


def _behind(commands: Path) -> list[Path]:
    """Return the links among the commands that we bring along: rules name what paths lead to."""
    return [path for path in commands.iterdir() if path.is_symlink()] if commands.is_dir() else []


def _marks_above(directory: Path) -> list[Path]:
    return [above / name for above in directory.parents for name in _MARKS if (above / name).is_file()]


def _named_for_installs(settings: Settings, hidden: Sequence[Path]) -> list[Path]:
    """Return what the settings of package managers and of TLS name that the operator has made: wheels, certificates.

    Never what a branch's own file sets, and no folder with something hidden in it, whoever names it.
    """
    values = {**variables_of_installs(), **settings.install_variables}.values()
    named = [Path(os.path.realpath(value)) for value in values if value.startswith("/") and os.pathsep not in value]
    closed = [Path(os.path.realpath(each)) for each in hidden]
    return [path for path in named if not any(each.is_relative_to(path) for each in closed)]
