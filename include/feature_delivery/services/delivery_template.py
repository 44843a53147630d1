"""Writes the first ``delivery.yaml`` of a shop, as far as its files tell what it is.

What cannot be known is written as a command that fails and a comment that says what to put there: a guess that
passes without testing anything would be worse than none.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from feature_delivery.domain.plan import Command

READ_LIMIT_BYTES = 1024 * 1024
_PYTHON_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "manage.py")
_SUITES = ("unit", "functional", "integration")


class ShopKind(StrEnum):
    """What runs a shop's tests."""

    PYTHON = "python"
    NPM = "npm"
    MAKE = "make"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Draft:
    """The parts of the file that differ from shop to shop."""

    install: tuple[Command, ...]
    inputs: tuple[str, ...]
    start: Command
    syntax: Command
    suites: dict[str, Command]
    junit: bool = False


def detect(directory: Path) -> ShopKind:
    """Say what kind of project ``directory`` holds.

    Signs of pytest go first (a Python shop often carries a ``package.json`` for its front end), a ``Makefile`` last
    (it often only calls one of the others).
    """
    if _has_pytest(directory):
        return ShopKind.PYTHON
    if (directory / "package.json").is_file():
        return ShopKind.NPM
    if any((directory / name).is_file() for name in _PYTHON_FILES):
        return ShopKind.PYTHON
    if (directory / "Makefile").is_file():
        return ShopKind.MAKE
    return ShopKind.PYTHON if any(directory.glob("*.py")) else ShopKind.UNKNOWN


def template(directory: Path) -> str:
    """Return a commented ``delivery.yaml`` for the project in ``directory``; it reads back without error."""
    match detect(directory):
        case ShopKind.PYTHON:
            return _written(_python(directory))
        case ShopKind.NPM:
            return _written(_npm(directory))
        case ShopKind.MAKE:
            return _written(_make(directory))
        case ShopKind.UNKNOWN:
            return _written(_unknown())


def _has_pytest(directory: Path) -> bool:
    if any((directory / name).is_file() for name in ("pytest.ini", "conftest.py", "tests/conftest.py")):
        return True
    if "pytest" in _table(directory / "pyproject.toml").get("tool", {}):
        return True
    return "[tool:pytest]" in _content(directory / "setup.cfg") or "[pytest]" in _content(directory / "tox.ini")


def _content(path: Path) -> str:
    """Return the text of a file, empty when there is none that can be read: detection never fails."""
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _table(path: Path) -> dict[str, dict[str, object]]:
    try:
        found = tomllib.loads(_content(path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)}


def _python(directory: Path) -> _Draft:
    requirements = [
        name
        for name in ("requirements.txt", "requirements-dev.txt", "dev-requirements.txt")
        if (directory / name).is_file()
    ]
    if requirements:
        install: Command = ("uv", "pip", "install", *(word for name in requirements for word in ("-r", name)))
        inputs = tuple(requirements)
    else:
        install = ("uv", "pip", "install", "-e", ".")
        inputs = tuple(name for name in ("pyproject.toml", "setup.cfg", "setup.py") if (directory / name).is_file())
    # Without any of these nothing has to be installed; pytest must come from somewhere, though.
    commands = (install,) if inputs else (("uv", "pip", "install", "pytest"),)
    return _Draft(
        install=commands,
        inputs=inputs or ("delivery.yaml",),
        start=_python_start(directory),
        syntax=("python", "-m", "compileall", "-q", *_python_sources(directory)),
        suites={
            suite: ("python", "-m", "pytest", _tests(directory, suite), "-q", f"--junitxml=reports/{suite}.xml")
            for suite in _SUITES
        },
        junit=True,
    )


def _python_packages(directory: Path) -> list[tuple[str, Path]]:
    places = [place for place in (directory, directory / "src") if place.is_dir()]
    return sorted(
        (path.parent.name, path.parent)
        for place in places
        for path in place.glob("*/__init__.py")
        if path.parent.name.isidentifier() and path.parent.name not in {"tests", "test"}
    )


def _python_sources(directory: Path) -> tuple[str, ...]:
    packages = tuple(path.relative_to(directory).as_posix() for _, path in _python_packages(directory))
    if not packages:  # modules lie at the top: whatever is added there later must be checked too
        return ("-x", r"(^|/)(\.[^/]|node_modules/|venv/)", ".")
    return (*packages, *(("tests",) if (directory / "tests").is_dir() else ()))


def _python_start(directory: Path) -> Command:
    if (directory / "manage.py").is_file():
        return ("sh", "-c", 'exec python manage.py runserver --noreload "$HOST:$PORT"')
    for name, path in _python_packages(directory):
        if (path / "__main__.py").is_file():
            return ("python", "-m", name)
    found = next((name for name in ("app.py", "server.py", "main.py") if (directory / name).is_file()), None)
    return ("python", found) if found else ("./start-the-shop",)


def _tests(directory: Path, suite: str) -> str:
    places = (f"tests/{suite}", f"test/{suite}")
    return next((place for place in places if (directory / place).is_dir()), f"tests/{suite}")


def _npm(directory: Path) -> _Draft:
    try:
        package = json.loads(_content(directory / "package.json"))
    except (ValueError, RecursionError):
        package = {}
    scripts = package.get("scripts") if isinstance(package, dict) else None
    known = scripts if isinstance(scripts, dict) else {}
    locked = (directory / "package-lock.json").is_file()
    return _Draft(
        install=(("npm", "ci" if locked else "install"),),
        inputs=("package.json", "package-lock.json") if locked else ("package.json",),
        start=("npm", "start"),
        syntax=("npm", "run", next((name for name in ("lint", "check", "typecheck") if name in known), "lint")),
        suites={suite: ("npm", "run", f"test:{suite}") for suite in _SUITES},
    )


def _make(directory: Path) -> _Draft:
    targets = set(re.findall(r"^([A-Za-z0-9_.-]+)[^\S\n]*:(?!=)", _content(directory / "Makefile"), re.MULTILINE))

    def target(*wanted: str) -> Command:
        return ("make", next((name for name in wanted if name in targets), wanted[0]))

    return _Draft(
        install=(target("install", "deps", "setup"),),
        inputs=("Makefile",),
        start=target("start", "run", "serve"),
        syntax=target("lint", "syntax", "check"),
        suites={suite: target(f"test-{suite}", f"{suite}-test", f"{suite}-tests", suite) for suite in _SUITES},
    )


def _unknown() -> _Draft:
    return _Draft(
        install=(),
        inputs=(),
        start=("./start-the-shop",),
        syntax=("./check-syntax",),
        suites={suite: (f"./run-{suite}-tests",) for suite in _SUITES},
    )


def _quoted(value: object) -> str:
    # JSON of plain texts and lists is YAML too, whatever characters are in them.
    return json.dumps(value, ensure_ascii=True)


def _written(draft: _Draft) -> str:
    suites = "".join(_suite(name, command, draft.junit) for name, command in draft.suites.items())
    return _TEXT.format(
        install=_quoted([list(command) for command in draft.install]),
        inputs=_quoted(list(draft.inputs)),
        start=_quoted(list(draft.start)),
        syntax=_quoted(list(draft.syntax)),
        suites=suites,
    )


def _suite(name: str, command: Command, junit: bool) -> str:  # noqa: FBT001 - private, read at one place
    report = f"\n    junit: reports/{name}.xml" if junit else f"\n    # junit: reports/{name}.xml"
    return f"  {name}:\n    command: {_quoted(list(command))}\n    timeout: 10m{report}\n"


_TEXT = """\
# How a commit of this shop is installed, started, checked, migrated and tested.
# Read it through: what could not be detected is a guess, and a command that does not exist fails.
#
# A command is a text ("python -m shop", split as a shell would) or a list of arguments. It is never given to a shell.
# Commands run in the checked-out commit, inside the environment's own directory and Python environment.
# A duration is a number of seconds, or a text like 30s, 2m, 1h. Paths are relative to the checkout.
version: 1

# Runs when one of the inputs has changed.
install:
  commands: {install}
  inputs: {inputs}

# The server. It must listen on $HOST:$PORT (environment variables) and keep its files in $DATA_DIR. It is also told
# $DELIVERY_ENVIRONMENT (development, preprod, production) and $DELIVERY_COMMIT. A server that takes its port as an
# argument needs a shell of its own: ["sh", "-c", "exec gunicorn shop:app --bind $HOST:$PORT"]
start: {start}

# The new release takes over once this path answers 200.
health:
  path: /healthz
  timeout: 60s

# "forward" runs before the new release takes over, "back" on a rollback. With "reversible: false" people decide
# about a rollback.
# migration:
#   forward: "python -m shop.migrate up"
#   back: "python -m shop.migrate down"
#   reversible: true

# Plain environment variables of the shop; never secrets.
variables: {{}}

# Where Prometheus finds the shop's metrics.
# metrics:
#   path: /metrics

# The tests. $BASE_URL is the address of the running commit; $JUNIT_XML the absolute path of the "junit" file. With
# "junit" a suite's report counts its tests, without it only the exit code counts, as one test. syntax, unit and
# functional run in development, integration in pre-production and production: it must clean up after itself.
suites:
  syntax:
    command: {syntax}
    timeout: 2m
{suites}  # load:
  #   command: "./load-test"
  #   timeout: 10m
"""
