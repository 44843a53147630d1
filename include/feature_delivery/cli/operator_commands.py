"""Commands for whoever operates production: break glass, adopt a foreign commit, look at the project, audit it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console

from feature_delivery.cli.context import (
    As,
    AsJson,
    Candidate,
    Home,
    Key,
    Project,
    connect,
    feature_path,
    pick_project,
    seen,
)
from feature_delivery.cli.status_view import audit_table, events_table, moment
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import commit_sha, project_name
from feature_delivery.domain.process import gate as gate_named
from feature_delivery.services.control.audit import AuditRow, EventRow
from feature_delivery.services.control.audit import as_csv as audit_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_delivery.cli.api import Api

SHOWN, PAGE = 1000, 5000
"""Rows that a table shows unless more are asked for; rows that are asked for at once."""


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel="Production")(production)
    app.command(rich_help_panel="Production")(adopt)
    app.command(rich_help_panel="Production")(override)
    app.command(rich_help_panel="Production")(audit)
    app.command("break-lock", rich_help_panel="Production")(break_lock)


def break_lock(
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the history.")],
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Break glass: free production from the feature that holds it.

    Example: [bold]feature-delivery break-lock --reason "Rolled back by hand at the provider"[/bold]
    """
    api = connect(home, speak_as=speak_as)
    answer = api.post(f"/projects/{pick_project(api, project)}/lock/break", {"reason": reason})
    sys.stdout.write(f"Production is free; {answer['holder']} held it.\n")


def override(
    key: Key,
    gate: Annotated[
        str, typer.Option("--gate", "-g", help="Where it waits; 'turn' is where a freeze window is overridden.")
    ],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; everybody is told.")],
    say: Annotated[str, typer.Option(help="What is decided: approve, keep or roll_back.")] = "approve",
    candidate: Candidate = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Break glass: decide where a feature waits in the place of those who may, or in spite of a freeze window.

    What was not tested is not let through. Example:
    [bold]feature-delivery override SHOP-123 --gate turn --reason "A security fix"[/bold]
    """
    step = gate_named(gate)
    if step is None:
        raise typer.BadParameter(f"{gate!r} is no gate. Gates: start, review, acceptance, confirmation, turn, verdict.")
    if say not in {"approve", "keep", "roll_back"}:
        raise typer.BadParameter(f"{say!r} cannot be said. Say approve, keep or roll_back.")
    api = connect(home, speak_as=speak_as)
    body = {"gate": step.value, "kind": say, "reason": reason, "candidate": seen(api, project, key, candidate)}
    api.post(feature_path(api, project, key) + "/override", body)
    sys.stdout.write(f"{api.login.user or 'You'} broke glass at {step} of {key}. Everybody who decides is told.\n")


def audit(
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%z"], help="Only what was said then or later; UTC."
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    as_json: AsJson = False,
    events: Annotated[
        bool, typer.Option("--events", help="What happened, instead of what was said: cancels, adoptions, deletions …")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most so many of each project, the newest; 1000 when left out, with --csv or --json all there are.",
        ),
    ] = None,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """List who decided what, as what, about which commit, when, by which way and from where; of all projects you see.

    Example: [bold]feature-delivery audit --since 2026-11-01 --csv > audit.csv[/bold]
    """
    if as_csv and as_json:
        raise typer.BadParameter("Say --csv or --json, not both.")
    api = connect(home, speak_as=speak_as)
    names = [project_name(project)] if project else [str(one["name"]) for one in api.get("/projects")]
    query: dict[str, str] = {}
    if since is not None:
        query["since"] = (since if since.tzinfo else since.replace(tzinfo=UTC)).isoformat()
    wanted = limit or (None if as_csv or as_json else SHOWN)
    found: list[dict[str, Any]] = []
    for name in names:
        rows, more = _pages(api, f"/projects/{name}/{'events' if events else 'audit'}", query, wanted=wanted)
        found += rows
        if more:
            sys.stderr.write(f"These are the newest {wanted:,} of {name}; --csv and --json give all, --limit more.\n")
    found.sort(key=lambda row: str(row["when"]), reverse=True)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    elif as_csv:
        sys.stdout.write(audit_csv(map(_with_moments, found), kind=EventRow if events else AuditRow))
    else:
        Console().print(events_table(found) if events else audit_table(found))


def _pages(api: Api, path: str, query: Mapping[str, str], *, wanted: int | None) -> tuple[list[dict[str, Any]], bool]:
    """Return the newest rows, all there are or so many, and whether there are more."""
    rows: list[dict[str, Any]] = []
    while True:
        # One more than is wanted tells whether there are more.
        size = PAGE if wanted is None else min(PAGE, wanted + 1 - len(rows))
        turned = {"before": str(rows[-1]["number"])} if rows else {}
        page = api.get(f"{path}?{urlencode({**query, **turned, 'limit': str(size)})}")
        if page and rows and page[0]["number"] >= rows[-1]["number"]:
            raise Unavailable(
                f"{api.login.address} gives the newest {size:,} rows only: its version is older. Upgrade it."
            )
        rows += page
        if len(page) < size:
            return rows, False
        if wanted is not None and len(rows) > wanted:
            return rows[:wanted], True


def _with_moments(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its moments as the server has them, so that its CSV is the server's."""
    moments = {name: moment(row[name]) for name in ("when", "withdrawn_at") if row.get(name)}
    return {**row, **moments}


def adopt(
    commit: Annotated[str, typer.Argument(help="The commit production is at, in full.", metavar="COMMIT")],
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Accept a commit that somebody pushed to production by hand, and go on promoting from it.

    Example: [bold]feature-delivery adopt $(git rev-parse origin/main)[/bold]
    """
    api = connect(home, speak_as=speak_as)
    answer = api.post(f"/projects/{pick_project(api, project)}/adopt", {"commit": commit_sha(commit)})
    sys.stdout.write(f"{answer['message']}\n")


def production(project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Show who holds production, who queues for it, and whether it is frozen.

    Example: [bold]feature-delivery production[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = api.get(f"/projects/{pick_project(api, project)}")
    lock = found["lock"]
    runs = found["production_commit"] or "nothing that this installation has brought there"
    lines = [
        f"{found['name']}: {found['production_branch']} is at {runs}.",
        f"Held by {lock['key']} since {lock['since'][:19]}." if lock else "Held by nobody.",
        f"In the queue: {', '.join(found['queue']) or 'nobody'}.",
    ]
    if found["freeze"]:
        lines.append(str(found["freeze"]["sentence"]))
    if found["frozen_reason"]:
        lines.append(f"Frozen: {found['frozen_reason']}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
