"""A shop with a ``package.json``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from feature_delivery.services.first_file.draft import SUITES, Draft, SuiteDraft, content, present

if TYPE_CHECKING:
    from pathlib import Path

    from feature_delivery.domain.plan import Command

_NODE_TEST = re.compile(r"node (?:--test(?= |\Z))(.*)\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./ -]*\Z")
_CHECK_ALL = (
    "find . -name node_modules -prune -o -type f '(' -name '*.js' -o -name '*.mjs' -o -name '*.cjs' ')' -print0"
    " | xargs -0 -n 1 node --check"
)
_OTHER_MANAGERS = {"yarn.lock": "yarn", "pnpm-lock.yaml": "pnpm", "bun.lock": "bun", "bun.lockb": "bun"}


def draft(directory: Path) -> Draft:
    """Return what the scripts tell; one that is missing stays a guess that fails, and is noted."""
    scripts = _scripts(directory)
    inputs = present(directory, ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"))
    locked = len({"package-lock.json", "npm-shrinkwrap.json"} & set(inputs)) > 0
    install: list[Command] = [("npm", "ci" if locked else "install")]
    if "build" in scripts:
        install.append(("npm", "run", "build"))
    suites = {suite: _suite(scripts, suite) for suite in SUITES}
    return Draft(
        install=tuple(install),
        inputs=inputs,
        start=_start(directory, scripts),
        syntax=_syntax(scripts),
        suites=suites,
        notes=_notes(directory, scripts, locked=locked),
    )


def _scripts(directory: Path) -> dict[str, str]:
    try:
        package = json.loads(content(directory / "package.json"))
    except (ValueError, RecursionError):
        return {}
    found = package.get("scripts") if isinstance(package, dict) else None
    known = found.items() if isinstance(found, dict) else ()
    return {name: " ".join(text.split()) for name, text in known if isinstance(text, str)}


def _start(directory: Path, scripts: dict[str, str]) -> Command:
    if "start" in scripts:
        return ("npm", "start")
    found = present(directory, ("server.js", "server.mjs", "app.js", "index.js", "main.js"))
    return ("node", found[0]) if found else ("npm", "start")


def _syntax(scripts: dict[str, str]) -> Command:
    found = next((name for name in ("lint", "check", "typecheck") if name in scripts), None)
    return ("npm", "run", found) if found else ("sh", "-c", _CHECK_ALL)


def _script(scripts: dict[str, str], suite: str) -> str | None:
    names = (f"test:{suite}", f"{suite}-test", f"test-{suite}", f"{suite}:test", suite)
    return next((name for name in names if name in scripts), None)


def _suite(scripts: dict[str, str], suite: str) -> SuiteDraft:
    """Return the command of a suite; a test runner whose options we know is made to write its report."""
    name = _script(scripts, suite)
    text = scripts.get(name or "", "")
    if (match := _NODE_TEST.match(text)) and _PLAIN.match(match[1]):
        # Node takes what follows the first file for files, so that "npm run … -- --test-reporter" would not do.
        report = f"reports/{suite}.xml"
        options = ("--test-reporter=junit", f"--test-reporter-destination={report}")
        return SuiteDraft(("node", "--test", *options, *match[1].split()), junit=True)
    return SuiteDraft(("npm", "run", name or f"test:{suite}"))


def _notes(directory: Path, scripts: dict[str, str], *, locked: bool) -> tuple[str, ...]:
    notes = []
    if lost := [f"test:{suite}" for suite in SUITES if _script(scripts, suite) is None]:
        notes.append(
            f"package.json has no script {', '.join(lost)}. Add what is missing: a suite that runs no test is red."
        )
    if "start" not in scripts and _start(directory, scripts) == ("npm", "start"):
        notes.append("package.json has no script start. Add it, or name another command as `start`.")
    if not locked:
        others = present(directory, _OTHER_MANAGERS)
        notes.append(
            f"There is a {others[0]}, but npm installs here. Let `install` and the suites call "
            f"{_OTHER_MANAGERS[others[0]]}, and name {others[0]} among its inputs."
            if others
            else "There is no package-lock.json, so that two installs may differ. Commit one, and install by npm ci."
        )
    return tuple(notes)
