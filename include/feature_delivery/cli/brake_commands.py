"""Commands that stop and let go: whose ledger this is when it may be a copy, and the brake of a project."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_delivery.cli.context import As, AsJson, Home, Project, connect, home_of, pick_project
from feature_delivery.domain.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from feature_delivery.adapters.ledger.books import SqlBooks

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; everybody who decides is told.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    instance = typer.Typer(no_args_is_help=False, invoke_without_command=True)
    instance.callback()(show_instance)
    instance.command()(adopt)
    instance.command()(fork)
    app.add_typer(instance, name="instance", rich_help_panel="Production")
    brake = typer.Typer(no_args_is_help=False, invoke_without_command=True)
    brake.callback()(show_brakes)
    brake.command("on")(pull)
    brake.command()(release)
    app.add_typer(brake, name="brake", rich_help_panel="Production")


def show_instance(context: typer.Context, home: Home = None) -> None:
    """Say whose ledger this is and whether it may be a copy; speaks to the database itself.

    Example: [bold]feature-delivery instance[/bold]
    """
    if context.invoked_subcommand is not None:
        return

    def look(_session: Session, books: SqlBooks) -> list[str]:
        found = books.installation()
        return [f"This is the ledger of instance {found.id}.", *([found.fault] if found.fault else [])]

    _with_ledger(home_of(home), look)


def adopt(yes: Yes = False, home: Home = None) -> None:
    """Take the place of the instance that this ledger, or this home, was copied from: it has ended, for good.

    Example: [bold]feature-delivery instance adopt[/bold]
    """
    from feature_delivery.cli.embedded.home import Home as Embedded  # noqa: PLC0415 - as above

    embedded = Embedded(home_of(home))
    if embedded.is_elsewhere():
        _ask(f"Is {embedded.path} no copy of a home that goes on elsewhere? Two would destroy each other's", yes=yes)
        embedded.claim(embedded.secrets()["instance"])
        sys.stdout.write(f"{embedded.path} is at home here now. Start it as before.\n")
        return

    def take(_session: Session, books: SqlBooks) -> list[str]:
        found = books.installation()
        if not found.fault:
            return [f"This is the ledger of instance {found.id} already: there is nothing to adopt."]
        _ask(f"Has every process of instance {found.id} elsewhere ended? Two would destroy each other's", yes=yes)
        books.settle(found.id)
        _remember(home_of(home), found.id)
        return [f"This is instance {found.id} now: its environments, branches and deliveries are ours."]

    _with_ledger(home_of(home), take)


def fork(yes: Yes = False, home: Home = None) -> None:
    """Make an instance of its own of a copied ledger, while the one it was copied from goes on.

    What the copy brought along is forgotten here and touched nowhere; its projects stay locked until their files name
    repositories of their own. Example: [bold]feature-delivery instance fork[/bold]
    """
    from feature_delivery.adapters.ledger.forking import fork as fork_ledger  # noqa: PLC0415 - SQLAlchemy
    from feature_delivery.bootstrap.settings import projects  # noqa: PLC0415

    place = home_of(home)

    def take(session: Session, books: SqlBooks) -> list[str]:
        found = books.installation()
        if not found.fault:
            raise Refused(f"This is instance {found.id}'s own ledger, no copy: there is nothing to fork.")
        _ask(f"Forget what instance {found.id} has under way, in this database only? It keeps its", yes=yes)
        new = found.claimed if found.claimed not in {"", found.id} else uuid.uuid4().hex[:12]
        repositories = {name: one.repository for name, one in projects().items()}
        said = fork_ledger(session, books, new, repositories=repositories)
        _remember(place, new)
        return [f"This is instance {new} now, and knows nothing of instance {found.id}'s environments.", *said]

    _with_ledger(place, take)


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(f"{question} environments.", abort=True, err=True)


def _with_ledger(home: Path, work: Callable[[Session, SqlBooks], list[str]]) -> None:
    from feature_delivery.adapters.ledger.books import SqlBooks  # noqa: PLC0415 - SQLAlchemy
    from feature_delivery.cli.emergency import claimed_instance, database  # noqa: PLC0415

    with database(home) as begin, begin() as session:
        said = work(session, SqlBooks(session, new_instance=claimed_instance(home)))
    sys.stdout.write("".join(f"{line}\n" for line in said))


def _remember(home: Path, instance: str) -> None:
    """Let the next start of an embedded instance claim what was said now."""
    from feature_delivery.cli.embedded.home import Home as Embedded  # noqa: PLC0415 - as above

    if (home / "secrets.json").exists():
        Embedded(home).claim(instance)


def show_brakes(
    context: typer.Context, as_json: AsJson = False, project: Project = "", home: Home = None, speak_as: As = ""
) -> None:
    """Say whether a project is stopped and why, by which brake, and when it was.

    Example: [bold]feature-delivery brake[/bold]
    """
    if context.invoked_subcommand is not None:
        return
    api = connect(home, speak_as=speak_as)
    name = pick_project(api, project)
    found: list[dict[str, Any]] = api.get(f"/projects/{name}/brakes")
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    lines = [
        f"{'released' if one['released_at'] else 'ON':9} "
        f"{one.get('number', ''):>4}  {one['set_at'][:16]} {one['reason']}"
        for one in found
    ]
    if not any(one["released_at"] is None for one in found):
        lines.insert(0, f"The brake of {name} is off.")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def pull(reason: Reason, project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Put the brake on: nothing of the project is destroyed until it is released.

    Example: [bold]feature-delivery brake on --reason "Something closes our issues"[/bold]
    """
    api = connect(home, speak_as=speak_as)
    answer = api.post(f"/projects/{pick_project(api, project)}/brakes", {"reason": reason})
    sys.stdout.write(f"{answer['message']}\n")


def release(
    reason: Reason,
    brake: Annotated[
        int | None,
        typer.Option(min=1, help="Number of the one you looked at: another one stays on. Left out: whichever is on."),
    ] = None,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Release the brake: what it names was looked at and may go, however much it is.

    Example: [bold]feature-delivery brake release --brake 7 --reason "All six are over"[/bold]
    """
    api = connect(home, speak_as=speak_as)
    answer = api.post(f"/projects/{pick_project(api, project)}/brakes/release", {"reason": reason, "brake": brake})
    sys.stdout.write(f"{answer['message']}\n")
