"""Commands for whoever operates production: break the lock, adopt a foreign commit, look at the project."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from feature_delivery.cli.context import As, Home, Project, connect, pick_project
from feature_delivery.domain.names import commit_sha


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel="Production")(production)
    app.command(rich_help_panel="Production")(adopt)
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
    api.post(f"/projects/{pick_project(api, project)}/adopt", {"commit": commit_sha(commit)})
    sys.stdout.write(f"Production goes on from {commit[:10]}.\n")


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
    if found["frozen_reason"]:
        lines.append(f"Frozen: {found['frozen_reason']}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
