"""Writes the first ``delivery.yaml`` of a shop, as far as its files tell what it is.

What cannot be known is written as a command that fails and a comment that says what to put there: a guess that
passes without testing anything would be worse than none.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from feature_delivery.services.first_file import make, npm, python, sources
from feature_delivery.services.first_file.draft import SUITES, Draft, SuiteDraft, present

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 118


class ShopKind(StrEnum):
    """What runs a shop's tests."""

    DJANGO = "django"
    PYTHON = "python"
    NPM = "npm"
    MAKE = "make"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FirstFile:
    """A ``delivery.yaml``, and what its reader has to see to before it works."""

    kind: ShopKind
    text: str
    notes: tuple[str, ...]


def detect(directory: Path) -> ShopKind:
    """Say what kind of project ``directory`` holds.

    Signs of pytest go first (a Python shop often carries a ``package.json`` for its front end), a ``Makefile`` last
    (it often only calls one of the others).
    """
    by_python = ShopKind.DJANGO if python.is_django(directory) else ShopKind.PYTHON
    if python.has_pytest(directory):
        return by_python
    if (directory / "package.json").is_file():
        return ShopKind.NPM
    if present(directory, python.PYTHON_FILES):
        return by_python
    if present(directory, make.MAKEFILES):
        return ShopKind.MAKE
    return ShopKind.PYTHON if any(directory.glob("*.py")) else ShopKind.UNKNOWN


def first_file(directory: Path) -> FirstFile:
    """Return a commented ``delivery.yaml`` for the project in ``directory``; it reads back without error."""
    kind = detect(directory)
    match kind:
        case ShopKind.DJANGO | ShopKind.PYTHON:
            draft = python.draft(directory)
        case ShopKind.NPM:
            draft = npm.draft(directory)
        case ShopKind.MAKE:
            draft = make.draft(directory)
        case ShopKind.UNKNOWN:
            draft = _unknown()
    found = sources.look(directory)
    notes = (*draft.notes, *_notes(draft, found))
    return FirstFile(kind=kind, text=_written(draft, found, notes), notes=notes)


def _unknown() -> Draft:
    return Draft(
        install=(),
        inputs=(),
        start=("./start-the-shop",),
        syntax=("./check-syntax",),
        suites={suite: SuiteDraft((f"./run-{suite}-tests",)) for suite in SUITES},
        notes=("Name the commands that start and test the shop: nothing tells what they are.",),
    )


def _notes(draft: Draft, found: sources.Sources) -> tuple[str, ...]:
    notes = []
    told = any("$PORT" in word for word in draft.start)
    if found.files and not found.reads_port and not told:
        notes.append(
            "Nothing in the sources mentions PORT. The server must listen on the address in the environment "
            "variables HOST and PORT, or be told by its arguments: several run on this machine at once."
        )
    if not found.health:
        notes.append(
            "No health page was found, so that the front page is asked. It has to answer 200, and not redirect: "
            "name one that does as health.path."
        )
    return tuple(notes)


def _quoted(value: object) -> str:
    # JSON of plain texts and lists is YAML too, whatever characters are in them.
    return json.dumps(value, ensure_ascii=True)


def _written(draft: Draft, found: sources.Sources, notes: tuple[str, ...]) -> str:
    return _TEXT.format(
        notes=_as_comments(notes),
        install=_quoted([list(command) for command in draft.install]),
        inputs=_quoted(list(draft.inputs)),
        start=_quoted(list(draft.start)),
        health=_quoted(found.health or "/"),
        told=f"  # from {_quoted(found.health_file)}" if found.health else "",
        migration=_MIGRATION if draft.forward is None else _FORWARD.format(forward=_quoted(list(draft.forward))),
        syntax=_quoted(list(draft.syntax)),
        suites="".join(_suite(name, suite) for name, suite in draft.suites.items()),
    )


def _as_comments(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    lines = [
        line
        for note in notes
        for line in textwrap.wrap(note, _WIDTH, initial_indent="# * ", subsequent_indent="#   ", break_on_hyphens=False)
    ]
    return "\n".join(["#", "# See to this before it is delivered:", *lines, ""])


def _suite(name: str, suite: SuiteDraft) -> str:
    report = f"\n    {'' if suite.junit else '# '}junit: reports/{name}.xml"
    return f"  {name}:\n    command: {_quoted(list(suite.command))}\n    timeout: 10m{report}\n"


_MIGRATION = """\
# migration:
#   forward: "python -m shop.migrate up"
#   back: "python -m shop.migrate down"
#   reversible: true
"""

_FORWARD = """\
migration:
  forward: {forward}
  # Django needs to be told where to go back to; docs/your-shop.md has a command for that.
  # back: "python manage.py release back"
  reversible: false
"""

_TEXT = """\
# How a commit of this shop is installed, started, checked, migrated and tested.
# Read it through: what could not be detected is a guess, and a command that does not exist fails.
{notes}#
# A command is a text ("python -m shop", split as a shell would) or a list of arguments. It is never given to a shell.
# Commands run in the checked-out commit, inside the environment's own directory and Python environment.
# A duration is a number of seconds, or a text like 30s, 2m, 1h. Paths are relative to the checkout.
version: 1

# Runs when one of the inputs has changed.
install:
  commands: {install}
  inputs: {inputs}

# The server. It must listen on $HOST:$PORT (environment variables) and keep its files in $DATA_DIR: each release has a
# checkout of its own, only $DATA_DIR stays. It is also told $DELIVERY_ENVIRONMENT (development, preprod, production)
# and $DELIVERY_COMMIT. A server that takes its port as an argument needs a shell of its own:
# ["sh", "-c", "exec gunicorn shop:app --bind $HOST:$PORT"]
start: {start}

# The new release takes over once this path answers 200.
health:
  path: {health}{told}
  timeout: 60s

# "forward" runs before the new release takes over, while the old one still serves. "back" runs on a rollback, in the
# checkout of the release that goes. With "reversible: false" it does not: a rollback brings the code back, the data
# stay as they are, and only people decide about it.
{migration}
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
