"""A Python shop: how its packages are installed, how it is started; Django's own ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.services.first_file.draft import SUITES, Draft, SuiteDraft, content, present, table

if TYPE_CHECKING:
    from pathlib import Path

    from feature_delivery.domain.plan import Command

PYTHON_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "manage.py")
_REQUIREMENTS = (
    *("requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt"),
    *("test-requirements.txt", "requirements/dev.txt", "requirements/development.txt", "requirements/test.txt"),
)
_DEVELOPMENT = ("dev", "test", "tests", "testing")
_NESTED_LIMIT = 30
_SHELL_STARTS = {
    "gunicorn": 'exec gunicorn {module}.wsgi:application --bind "$HOST:$PORT"',
    "uvicorn": 'exec uvicorn {module}.asgi:application --host "$HOST" --port "$PORT"',
    "daphne": 'exec daphne --bind "$HOST" --port "$PORT" {module}.asgi:application',
}


@dataclass(frozen=True, slots=True)
class _Install:
    """``wanted``: the text that names what is installed; good enough to see whether a package is among it."""

    commands: tuple[Command, ...]
    inputs: tuple[str, ...]
    wanted: str


def has_pytest(directory: Path) -> bool:
    """Say whether there are signs of pytest."""
    if present(directory, ("pytest.ini", "conftest.py", "tests/conftest.py")):
        return True
    if "pytest" in table(directory / "pyproject.toml").get("tool", {}):
        return True
    return "[tool:pytest]" in content(directory / "setup.cfg") or "[pytest]" in content(directory / "tox.ini")


def is_django(directory: Path) -> bool:
    """Say whether there is a ``manage.py``."""
    return (directory / "manage.py").is_file()


def draft(directory: Path) -> Draft:
    """Return what a Python project's files tell."""
    install = _with_pytest(_install(directory), django=is_django(directory))
    return Draft(
        install=install.commands,
        inputs=install.inputs,
        start=_django_start(directory, install.wanted) if is_django(directory) else _start(directory),
        # All of it: packages that a feature adds later must be checked, too.
        syntax=("python", "-m", "compileall", "-q", "-x", r"(^|/)(\.[^/]|node_modules/|venv/)", "."),
        suites={
            suite: SuiteDraft(
                ("python", "-m", "pytest", _tests(directory, suite), "-q", f"--junitxml=reports/{suite}.xml"),
                junit=True,
            )
            for suite in SUITES
        },
        forward=("python", "manage.py", "migrate", "--noinput") if is_django(directory) else None,
        notes=tuple(filter(None, (_note_on_data(directory), _note_on_tests(directory)))),
    )


def _install(directory: Path) -> _Install:
    project = table(directory / "pyproject.toml")
    if (directory / "uv.lock").is_file() and "project" in project:
        wanted = str([project["project"], project.get("dependency-groups")])
        return _Install((("uv", "sync", "--locked", "--active"),), ("pyproject.toml", "uv.lock"), wanted)
    if requirements := present(directory, _REQUIREMENTS):
        command = ("uv", "pip", "install", *(word for name in requirements for word in ("-r", name)))
        inputs = _with_nested(directory, requirements)
        return _Install((command,), inputs, "\n".join(content(directory / name) for name in inputs))
    if {"project", "build-system"} & set(project) or present(directory, ("setup.py", "setup.cfg")):
        return _install_itself(directory, project)
    return _Install((), (), "")


def _install_itself(directory: Path, project: dict[str, dict[str, object]]) -> _Install:
    about = project.get("project", {})
    extras, groups = about.get("optional-dependencies"), project.get("dependency-groups", {})
    extra = next((name for name in _DEVELOPMENT if isinstance(extras, dict) and name in extras), "")
    group = next((name for name in _DEVELOPMENT if name in groups), "")
    command = ("uv", "pip", "install", "-e", f".[{extra}]" if extra else ".", *(("--group", group) if group else ()))
    wanted = str([about.get("dependencies"), extras[extra] if extra and isinstance(extras, dict) else "", groups])
    inputs = present(directory, ("pyproject.toml", "setup.cfg", "setup.py"))
    return _Install((command,), inputs, wanted)


def _with_nested(directory: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return requirement files with those that they name: a change of any of them installs again."""
    found = list(names)
    for name in found:
        lines = re.findall(
            r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", content(directory / name), re.MULTILINE
        )
        for other in lines:
            folder = name.rpartition("/")[0]
            path = f"{folder}/{other}" if folder else other
            plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", path) and ".." not in path
            if plain and (directory / path).is_file() and path not in found and len(found) < _NESTED_LIMIT:
                found.append(path)
    return tuple(found)


def _with_pytest(install: _Install, *, django: bool) -> _Install:
    """Add what runs the tests where nothing that is installed brings it."""
    if re.search(r"\bpytest\b", install.wanted):
        return install
    extra = ("uv", "pip", "install", "pytest", *(("pytest-django",) if django else ()))
    return _Install((*install.commands, extra), install.inputs or ("delivery.yaml",), install.wanted)


def _django_start(directory: Path, wanted: str) -> Command:
    """Return the server that is installed, Django's own otherwise; the first one needs its static files collected."""
    settings = _settings_module(directory)
    module = settings.partition(".settings")[0]
    for server, line in _SHELL_STARTS.items():
        interface = "wsgi" if server == "gunicorn" else "asgi"
        if re.search(rf"\b{server}\b", wanted) and (directory / module.replace(".", "/") / f"{interface}.py").is_file():
            static = "STATIC_ROOT" in _settings_text(directory)
            collect = "python manage.py collectstatic --noinput && " if static else ""
            return ("sh", "-c", collect + line.format(module=module))
    return ("sh", "-c", 'exec python manage.py runserver --noreload "$HOST:$PORT"')


def _settings_module(directory: Path) -> str:
    found = re.search(r"DJANGO_SETTINGS_MODULE[\"'],\s*[\"']([A-Za-z_][\w.]*)", content(directory / "manage.py"))
    return found[1] if found else "settings"


def _settings_text(directory: Path) -> str:
    path = directory / _settings_module(directory).replace(".", "/")
    package = sorted(path.parent.glob("*.py")) if path.parent.name == "settings" else sorted(path.glob("*.py"))
    return "\n".join(content(file) for file in [path.with_suffix(".py"), *package])


def _packages(directory: Path) -> list[tuple[str, Path]]:
    places = [place for place in (directory, directory / "src") if place.is_dir()]
    return sorted(
        (path.parent.name, path.parent)
        for place in places
        for path in place.glob("*/__init__.py")
        if path.parent.name.isidentifier() and path.parent.name not in {"tests", "test"}
    )


def _start(directory: Path) -> Command:
    for name, path in _packages(directory):
        if (path / "__main__.py").is_file():
            return ("python", "-m", name)
    found = present(directory, ("app.py", "server.py", "main.py"))
    return ("python", found[0]) if found else ("./start-the-shop",)


def _tests(directory: Path, suite: str) -> str:
    places = (f"tests/{suite}", f"test/{suite}")
    return next((place for place in places if (directory / place).is_dir()), f"tests/{suite}")


def _note_on_data(directory: Path) -> str:
    text = _settings_text(directory) if is_django(directory) else ""
    if "sqlite3" not in text or "DATA_DIR" in text:
        return ""
    return (
        f"The database of {_settings_module(directory)} is a file in the checkout: each release would begin with an "
        'empty one. Let it lie in $DATA_DIR, like Path(os.environ.get("DATA_DIR", BASE_DIR)) / "db.sqlite3", and so '
        "whatever else is written: media, a search index."
    )


def _note_on_tests(directory: Path) -> str:
    lost = [_tests(directory, suite) for suite in SUITES if not (directory / _tests(directory, suite)).is_dir()]
    if not lost:
        return ""
    return (
        f"There is no {', no '.join(lost)}. Put tests there, or name others in the suite's command: a suite that runs "
        "no test is red."
    )
