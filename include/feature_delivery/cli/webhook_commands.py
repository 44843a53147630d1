"""Commands about webhooks: what hosts have told, and looking into it once more."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_delivery.cli.context import As, AsJson, Home, Project, connect, pick_project
from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.records import WebhookState

Id = Annotated[
    str, typer.Argument(help="Its number in the list, or the id its host gave it.", metavar="ID", show_default=False)
]
State = Annotated[WebhookState | None, typer.Option("--state", help="Only those that stand there.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, from the newest.")]


COLOURS = {"waiting": "yellow", "processed": "green", "ignored": "dim"}


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    webhooks = typer.Typer(no_args_is_help=False, invoke_without_command=True)
    webhooks.callback()(overview)
    webhooks.command("list")(list_)
    webhooks.command()(show)
    webhooks.command()(replay)
    app.add_typer(webhooks, name="webhooks", rich_help_panel="Production")


def overview(context: typer.Context) -> None:
    """List what the project's hosts have told, look into it, have it looked at once more.

    Example: [bold]feature-delivery webhooks list --state ignored[/bold]
    """
    if context.invoked_subcommand is None:
        list_()


def list_(
    state: State = None,
    limit: Limit = 20,
    as_json: AsJson = False,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """List webhooks, newest first, and why those that are not for us are not.

    Example: [bold]feature-delivery webhooks list --state waiting[/bold]
    """
    api = connect(home, speak_as=speak_as)
    wanted = f"&state={state.value}" if state is not None else ""
    found = api.get(f"/webhooks/{pick_project(api, project)}/deliveries?limit={limit}{wanted}")
    _print(found, _list_view(found), as_json=as_json)


def show(number: Id, as_json: AsJson = False, project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Show a webhook as it came in, without its secrets, and what became of it.

    Example: [bold]feature-delivery webhooks show 17[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = api.get(_path(pick_project(api, project), number))
    _print(found, _view(found), as_json=as_json)


def replay(number: Id, project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Have a webhook looked into once more; what it told is done already is not done again.

    Example: [bold]feature-delivery webhooks replay 17[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = api.post(_path(pick_project(api, project), number) + "/replay")
    fate = f"It is still not for us: {found['ignored']}." if found["ignored"] else "It is looked into."
    sys.stdout.write(f"Webhook {found['id']}, {found['event']} from {found['host']}. {fate}\n")


def _path(project: str, number: str) -> str:
    if "/" in number:  # an address would end there, however it is written
        raise NotFound(f"{number[:80]!r} is no webhook: name its number in the list.")
    return f"/webhooks/{project}/deliveries/{quote(number, safe='')}"


def _print(found: Any, view: RenderableType, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    else:
        Console().print(view)


def _list_view(found: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ID", "Received", "Host", "Event", "State", "Result"):
        table.add_column(column)
    for one in found["deliveries"]:
        table.add_row(
            str(one["id"]),
            _time(one["received_at"]),
            one["host"],
            Text(one["event"]),
            Text(one["state"], style=COLOURS[one["state"]]),
            Text(_fate(one)),
        )
    counts = ", ".join(f"{number} {state}" for state, number in found["counts"].items())
    reasons = [Text(f"  {number} times {reason}", style="dim") for reason, number in found["ignored"].items()]
    heading = [Text("Not for us:", style="dim")] if reasons else []
    return Group(table if table.row_count else Text("No webhook."), Text(f"\n{counts}."), *heading, *reasons)


def _view(found: dict[str, Any]) -> RenderableType:
    lines = [
        f"Webhook {found['id']}: {found['event']} from {found['host']}, delivery {found['delivery']}",
        f"received {_time(found['received_at'])}, {found['state']}, looked into {found['tries']} times",
        _fate(found),
        *(f"{name}: {value}" for name, value in found["headers"].items()),
        "",
        found["body"] or "The body is not kept any more.",
    ]
    return Text("\n".join(lines))


def _fate(one: dict[str, Any]) -> str:
    return f"not for us: {one['ignored']}" if one["ignored"] else str(one["result"])


def _time(stamp: str) -> str:
    return stamp[:19].replace("T", " ")
