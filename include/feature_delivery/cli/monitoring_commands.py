"""Commands about monitoring: what Prometheus is to be told of shops with names of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from feature_delivery.cli.context import As, Home, Project, connect
from feature_delivery.domain.names import project_name
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.own_rules import own_rules

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write them to this file, whole or not at all; else they are printed."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    monitoring = typer.Typer(no_args_is_help=True)
    monitoring.callback()(overview)
    monitoring.command()(rules)
    app.add_typer(monitoring, name="monitoring", rich_help_panel="Production")


def overview() -> None:
    """Say what Prometheus is to be told of the shops.

    Example: [bold]feature-delivery monitoring rules[/bold]
    """


def rules(output: Output = None, project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Write recording rules for shops whose metrics have names of their own, so that every alert works for them.

    The names are those of ``metrics`` in production's ``delivery.yaml``, of all projects you see or of the one named.
    Example: [bold]feature-delivery monitoring rules --output include/monitoring/rules/own.yml[/bold]
    """
    api = connect(home, speak_as=speak_as)
    names = [project_name(project)] if project else [project_name(str(one["name"])) for one in api.get("/projects")]
    shops = {}
    for name in names:
        found = api.get(f"/projects/{name}/metrics")
        if any(found.values()):
            shops[name] = ShopMetrics(**found)
    text = own_rules(shops)
    if output is None:
        sys.stdout.write(text)
        return
    # Prometheus may read it at any moment: whole or not at all.
    fresh = output.with_name(f".{output.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(output)
    with_rules = ", ".join(sorted(shops)) or "no project: all keep to the common names"
    sys.stdout.write(f"{output}: rules for {with_rules}. Have Prometheus read it again.\n")
