"""Commands about the instance: demo, up, init, doctor."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from feature_delivery.cli.context import Home, Project, home_of
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.team import why_stuck

if TYPE_CHECKING:
    from feature_delivery.cli.shop import Shop
    from feature_delivery.cli.up import Running

Port = Annotated[
    int,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        help="The first port to try for Airflow; a home keeps the one it had while that is free.",
    ),
]
Database = Annotated[
    str, typer.Option("--database", help="SQLAlchemy address of a PostgreSQL; the embedded one when left out.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Let the shop's environments run on after the end.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (demo, up, init, doctor, schema):
        app.command(rich_help_panel="Begin")(command)


def demo(
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario", "-s", help="What happens (default: delivered); several play in turn. --list names them."
        ),
    ] = None,
    leave: Annotated[bool, typer.Option("--exit", help="Stop when the scenario is over.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what happened to this JSON file: an object, for several a list of them.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Name the scenarios.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Patience for each step, in seconds.")] = 180,
    port: Port = 8080,
    keep: Keep = False,
    home: Home = None,
) -> None:
    """Deliver features of the demo shop to production before your eyes.

    Example: [bold]feature-delivery demo --scenario rejected --exit --report report.json[/bold]
    """
    from feature_delivery.cli.demo.run import run_demo  # noqa: PLC0415 - --help must not wait for Airflow's imports
    from feature_delivery.cli.demo.scenarios import SCENARIOS  # noqa: PLC0415

    if names:
        for one in SCENARIOS.values():
            sys.stdout.write(f"{one.name:12} {one.title}\n")
        return
    wanted = scenario or ["delivered"]
    for one_wanted in wanted:
        if one_wanted not in SCENARIOS:
            raise typer.BadParameter(f"{one_wanted!r} is no scenario. Scenarios: {', '.join(SCENARIOS)}.")
    run_demo(
        home_of(home),
        [SCENARIOS[one_wanted] for one_wanted in wanted],
        leave=leave,
        report=report.absolute() if report else None,
        timeout_seconds=timeout,
        port=port,
        keep=keep,
    )


def up(
    repository: Annotated[
        list[str] | None,
        typer.Option(
            "--repository",
            "-r",
            help="Path or address of the shop's Git repository; several may be.",
            metavar="PATH-OR-URL",
        ),
    ] = None,
    project_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--project-file",
            "-f",
            help="A project file of your own instead, with its host and tracker; several may be.",
        ),
    ] = None,
    project: Annotated[
        str, typer.Option("--project", "-p", help="Its name here; from the address when left out.")
    ] = "",
    branch: Annotated[
        str, typer.Option("--branch", "-b", help="What production runs; production, main or master when left out.")
    ] = "",
    port: Port = 8080,
    database: Database = "",
    keep: Keep = False,
    home: Home = None,
) -> None:
    """Start everything for a shop of yours: Airflow, a repository to push to, the shop in production.

    Copies a repository and delivers from the copy; with --project-file it delivers on the Git host and the tracker
    that the file names.

    Example: [bold]feature-delivery up --repository ../my-shop[/bold]
    """
    from feature_delivery.cli.embedded.home import Home as Held  # noqa: PLC0415
    from feature_delivery.cli.shop import prepare, use_project_file  # noqa: PLC0415
    from feature_delivery.cli.up import running, wait_for_signal  # noqa: PLC0415

    if bool(repository) == bool(project_file):
        raise typer.BadParameter("Name the shop by one of --repository and --project-file, also to go on with it.")
    if (project or branch) and len(repository or ()) > 1:
        raise typer.BadParameter("--project and --branch are of one shop: name one --repository with them.")

    console, place = Console(soft_wrap=True), home_of(home)
    if (place / "demo").exists():
        raise Refused(f"{place} is the demo's home. Name another one with --home or FEATURE_DELIVERY_HOME.")

    def say(text: str) -> None:
        console.print(Text(text, style="dim"))

    with Held(place) as held:
        if project_file:
            shops = tuple(use_project_file(place, file) for file in project_file)
        else:
            shops = tuple(
                prepare(place, repository=each, name=project, branch=branch, say=say) for each in repository or ()
            )
        if len({shop.project.name for shop in shops}) < len(shops):
            raise Refused("One shop is named twice. Name each once.")
        with running(
            shops,
            home=held,
            port=port,
            database=database or None,
            keep=keep,
            on_event=lambda event: say(f"{event.part}: {event.state}"),
            say=say,
        ) as now:
            for shop in shops:
                console.print(next_steps(now, shop, place) if shop.repository else on_a_host(now, shop, place))
                if stuck := why_stuck(shop.project.people):
                    console.print(Text(f"  {stuck}", style="yellow"))
            console.print("\nCtrl-C stops everything.")
            wait_for_signal(now.instance)
            console.print("Stopping …")


def next_steps(now: Running, shop: Shop, place: Path) -> Text:
    """Return where everything is and what to do first, in commands that work as they stand."""
    me, repository = next(iter(shop.project.people.persons)), shlex.quote(str(shop.repository))
    programs = Path(sys.executable).parent  # of the virtual environment: another terminal does not know it
    elsewhere = place != Path(".feature-delivery").absolute() or "FEATURE_DELIVERY_HOME" in os.environ
    key, project = "SHOP-1", shop.project.name
    lines = [
        ("Airflow", f"{now.instance.address}  (log in as {me}; passwords: {now.instance.settings.passwords_file})"),
        ("Board", f"{now.instance.address}/feature-delivery/board/"),
        ("API", f"{now.instance.address}/feature-delivery/docs"),
        ("Metrics", f"{now.instance.address}/feature-delivery/metrics  (token: {place / 'secrets' / 'metrics-token'})"),
        ("Production", f"{now.production[project].address}  ({shop.project.branches.production})"),
        ("Repository", str(shop.repository)),
    ]
    commands = [
        f"# in your checkout of the shop, with a commit that {shop.project.branches.production} does not have",
        f"git remote add delivery {repository}",
        "git fetch delivery",
        f"git push delivery HEAD:{shop.project.branches.feature_prefix}{key}-first-feature",
        "# then, anywhere",
        *([f'export PATH={shlex.quote(str(programs))}:"$PATH"'] if sys.prefix != sys.base_prefix else []),
        *([f"export FEATURE_DELIVERY_HOME={shlex.quote(str(place))}"] if elsewhere else [f"cd {Path.cwd()}"]),
        f"feature-delivery status {key}" + (f" --project {project}" if len(now.shops) > 1 else ""),
    ]
    text = Text("\n")
    for name, value in lines:
        text.append(f"{name:12}", style="bold").append(f"{value}\n")
    text.append("\n").append("".join(f"  {line}\n" for line in commands), style="cyan")
    return text


def on_a_host(now: Running, shop: Shop, place: Path) -> Text:
    """Return where everything is, and what the Git host and the tracker have to be told."""
    project = shop.project
    lines = [
        ("Airflow", f"{now.instance.address}  (passwords: {now.instance.settings.passwords_file})"),
        ("Board", f"{now.instance.address}/feature-delivery/board/"),
        ("API", f"{now.instance.address}/feature-delivery/docs"),
        ("Metrics", f"{now.instance.address}/feature-delivery/metrics  (token: {place / 'secrets' / 'metrics-token'})"),
        ("Production", f"{now.production[project.name].address}  ({project.branches.production})"),
        ("Host", f"{project.host.kind} {project.host.repository}; issues: {project.tracker.kind}"),
        ("Webhooks to", f"{now.instance.address}/feature-delivery/webhooks/{project.name}"),
        ("signed with", f"{place / 'secrets' / f'webhook-{project.name}'}"),
    ]
    text = Text("\n")
    for name, value in lines:
        text.append(f"{name:12}", style="bold").append(f"{value}\n")
    prefix = project.branches.feature_prefix
    text.append(f"\n  A push to {prefix}KEY-… or 'feature-delivery start KEY' begins a delivery.\n", style="cyan")
    return text.append(
        f"  feature-delivery doctor --project {project.name}   looks at every part of it\n", style="cyan"
    )


def init(
    directory: Annotated[Path, typer.Argument(help="A checkout of the shop.", metavar="DIRECTORY")] = Path(),
) -> None:
    """Write a commented delivery.yaml for a shop: pytest, npm and Makefile projects are recognised.

    Example: [bold]feature-delivery init ../my-shop[/bold]
    """
    from feature_delivery.bootstrap.schemas import DELIVERY, schema_line, schemas  # noqa: PLC0415
    from feature_delivery.cli.embedded.home import write_private  # noqa: PLC0415
    from feature_delivery.services.delivery_template import ShopKind, first_file  # noqa: PLC0415

    if not directory.is_dir():
        raise typer.BadParameter(f"{str(directory)!r} is no directory.")
    target = directory / "delivery.yaml"
    if target.exists():
        raise Refused(f"{target} is there already; it was not touched.")
    found = first_file(directory)
    write_private(target, schema_line(DELIVERY) + found.text)
    target.chmod(0o644)
    (directory / DELIVERY).write_text(schemas()[DELIVERY], "utf-8")
    what = f"found signs of {found.kind}" if found.kind is not ShopKind.UNKNOWN else "found no pytest, npm or Makefile"
    notes = "".join(f"  * {note}\n" for note in found.notes)
    first = f"See to this first, it is in the file, too:\n{notes}Then look" if notes else "Look"
    sys.stdout.write(
        f"Wrote {target} ({what}), beside it {DELIVERY} for editors. {first} it over, commit it to the main branch, "
        "and start:\n"
        f"  feature-delivery up --repository {shlex.quote(str(directory))}\n"
    )


def schema(
    what: Annotated[str, typer.Argument(help="'project' or 'delivery'.", metavar="FILE")],
) -> None:
    """Print the JSON Schema of a project file or of delivery.yaml, for editors.

    Example: [bold]feature-delivery schema project > projects/project.schema.json[/bold]
    """
    from feature_delivery.bootstrap.schemas import schemas  # noqa: PLC0415

    found = schemas().get(f"{what}.schema.json")
    if found is None:
        raise typer.BadParameter(f"{what!r} has no schema. Say 'project' or 'delivery'.")
    sys.stdout.write(found)


def doctor(home: Home = None, project: Project = "") -> None:
    """Check every part of the configuration and say what to do.

    With --project: the project's host, tracker, Git access, webhook secret and people, from the running instance.

    Example: [bold]feature-delivery doctor[/bold]
    """
    from feature_delivery.cli.doctor import examine, examine_project  # noqa: PLC0415

    console, bad = Console(soft_wrap=True), 0
    for finding in examine_project(home_of(home), project) if project else examine(home_of(home)):
        mark, style = ("✓", "green") if finding.well else ("✗", "red")
        bad += not finding.well
        console.print(Text.assemble((f"{mark} ", style), (f"{finding.what}: ", "bold"), finding.sentence))
    if bad:
        raise typer.Exit(1)
