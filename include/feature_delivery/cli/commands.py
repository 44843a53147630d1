"""Commands about features: start, status, approve, reject, rollback, keep, cancel, logs, explain."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from feature_delivery.cli.context import (
    As,
    AsJson,
    Candidate,
    Home,
    Key,
    Project,
    connect,
    feature_path,
    fetch_feature,
    home_of,
    pick_project,
    seen,
)
from feature_delivery.cli.emergency import roll_back_directly
from feature_delivery.cli.status_view import explanation, feature_view, next_command, overview
from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.names import branch_name, commit_sha, feature_key
from feature_delivery.domain.process import Step
from feature_delivery.domain.process import gate as gate_named

PANEL = "Features"
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why; kept with the decision.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("open-request", rich_help_panel=PANEL)(open_request)
    for command in (start, status, take, approve, reject, keep, rollback, cancel, logs, explain):
        app.command(rich_help_panel=PANEL)(command)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def start(
    key: Annotated[
        str, typer.Argument(help="The issue key, like SHOP-123; left out, the tracker gives one.", metavar="KEY")
    ] = "",
    title: Annotated[str, typer.Option("--title", "-t", help="What the feature is.")] = "",
    description: Annotated[str, typer.Option(help="More words for the issue.")] = "",
    requester: Annotated[str, typer.Option(help="Who asked for it.")] = "",
    branch: Annotated[str, typer.Option(help="Its branch, when it does not follow the pattern.")] = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Start the delivery of a feature; one that is under delivery already is found, not started twice.

    Without a key a new issue is written where the tracker gives out keys (Jira, Redmine, the host's own issues).

    Example: [bold]feature-delivery start SHOP-123 --title "Gift cards"[/bold]
    """
    if not key and not title.strip():
        raise typer.BadParameter("Name the issue by its KEY, or say what it is with --title.")
    api = connect(home, speak_as=speak_as)
    body = {
        "key": feature_key(key) if key else "",
        "title": title,
        "description": description,
        "requester": requester,
        "branch": branch_name(branch) if branch else None,
    }
    found = api.post(f"/projects/{pick_project(api, project)}/features", body)
    _say(f"{found['key']} is {'started' if found['started'] else 'under delivery already'}: run {found['run_id']}.")


def status(
    key: Annotated[str, typer.Argument(help="The issue key; all features when left out.")] = "",
    as_json: AsJson = False,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Show where features stand, and who each waits for.

    Example: [bold]feature-delivery status SHOP-123[/bold]
    """
    api = connect(home, speak_as=speak_as)
    if key:
        found: Any = fetch_feature(api, project, key)
    else:
        found = api.get(f"/projects/{pick_project(api, project)}/features")
    if as_json:
        _say(json.dumps(found, indent=2))
    else:
        console = Console()
        console.print(feature_view(found) if key else overview(found))
        if key and (command := next_command(found, project=project)):
            console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)


def _decide(
    api_home: Path | None,
    *,
    key: str,
    gate: Step,
    kind: str,
    comment: str,
    project: str,
    speak_as: str,
    candidate: str = "",
) -> None:
    api = connect(api_home, speak_as=speak_as)
    body = {"gate": gate.value, "kind": kind, "comment": comment, "candidate": seen(api, project, key, candidate)}
    answer = api.post(feature_path(api, project, key) + "/decisions", body)
    word = kind.replace("_", " ")
    said = f"{word} at {gate} of {key}"
    # Whose a token is only the server knows.
    counts = f"{api.login.user}: {said}. It counts." if api.login.user else f"It counts: {said}."
    _say(answer.get("reason") or counts)


def _gate(text: str) -> Step:
    found = gate_named(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no gate. Gates: start, review, acceptance, confirmation, demonstration.")
    return found


GateOption = Annotated[
    str, typer.Option("--gate", "-g", help="Where: start, review, acceptance, confirmation, demonstration.")
]


def take(key: Key, project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Take a feature: its delivery goes on from the start gate.

    Example: [bold]feature-delivery take SHOP-123[/bold]
    """
    _decide(home, key=key, gate=Step.WAIT_FOR_START, kind="approve", comment="", project=project, speak_as=speak_as)


def open_request(
    key: Key,
    title: Annotated[str, typer.Option("--title", "-t", help="Of the request; the feature's when left out.")] = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Open the merge request of a feature on the local host.

    Example: [bold]feature-delivery open-request SHOP-123[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = fetch_feature(api, project, key)
    if not found["branch"]:
        raise NotFound(f"{key} has no branch yet. Push one.")
    body = {"source": found["branch"], "title": title or f"{key} {found['title']}".strip()}
    request = api.post(f"/projects/{found['project']}/requests", body)
    _say(f"Request {request['number']} of {key} asks to merge {request['source']} into {request['target']}.")


def approve(
    key: Key,
    gate: GateOption,
    comment: Comment = "",
    candidate: Candidate = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Approve a feature at a gate.

    Example: [bold]feature-delivery approve SHOP-123 --gate acceptance --candidate b7d04e2a91[/bold]
    """
    _decide(
        home,
        key=key,
        gate=_gate(gate),
        kind="approve",
        comment=comment,
        candidate=candidate,
        project=project,
        speak_as=speak_as,
    )


def reject(
    key: Key,
    gate: GateOption,
    comment: Comment = "",
    candidate: Candidate = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Send a feature back to its developer; the comment says why.

    Example: [bold]feature-delivery reject SHOP-123 --gate acceptance --comment "Totals are wrong"[/bold]
    """
    _decide(
        home,
        key=key,
        gate=_gate(gate),
        kind="reject",
        comment=comment,
        candidate=candidate,
        project=project,
        speak_as=speak_as,
    )


def keep(key: Key, comment: Comment = "", project: Project = "", home: Home = None, speak_as: As = "") -> None:
    """Keep what was promoted to production.

    Example: [bold]feature-delivery keep SHOP-123[/bold]
    """
    _decide(home, key=key, gate=Step.WAIT_FOR_VERDICT, kind="keep", comment=comment, project=project, speak_as=speak_as)


def rollback(
    key: Key,
    comment: Comment = "",
    direct: Annotated[
        bool, typer.Option("--direct", help="Without Airflow: for when the scheduler or the API server is down.")
    ] = False,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Take what was promoted back from production.

    Example: [bold]feature-delivery rollback SHOP-123 --comment "Checkout answers 500"[/bold]
    """
    if direct:
        roll_back_directly(home_of(home), project=project, key=feature_key(key), comment=comment, say=_say)
        return
    _decide(
        home, key=key, gate=Step.WAIT_FOR_VERDICT, kind="roll_back", comment=comment, project=project, speak_as=speak_as
    )


def cancel(
    key: Key,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the history.")] = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Give a feature up: its run ends and everything of it is torn down; the developer's branch stays.

    Example: [bold]feature-delivery cancel SHOP-123 --reason "The client changed their mind"[/bold]
    """
    api = connect(home, speak_as=speak_as)
    api.post(feature_path(api, project, key) + "/cancel", {"reason": reason})
    _say(f"{key} is cancelled; its environments are being removed.")


def logs(
    key: Key,
    task: Annotated[
        str, typer.Argument(help="The task, like preprod.deploy; left out: what failed, else the newest.")
    ] = "",
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Print the log of a task's newest try.

    Example: [bold]feature-delivery logs SHOP-123 development.checks.unit[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = fetch_feature(api, project, key)
    run = f"/dags/feature_delivery_{found['project']}/dagRuns/{found['run_id']}/taskInstances"
    tries = {
        str(one["task_id"]): int(one["try_number"])
        for one in sorted(
            api.airflow("GET", f"{run}?limit=100")["task_instances"], key=lambda one: str(one["start_date"] or "")
        )
        if one["try_number"]
    }
    # The first failure is the cause of the others, and what a gate that is blocked asks to be looked at.
    failed = [one for one in tries if one in {step["task"] for step in found["steps"] if step["state"] == "failed"}]
    wanted = task or next(iter([*failed, *reversed(tries)]), "")
    if wanted not in tries:
        raise NotFound(f"{key} has no log of {wanted!r}. Tasks that have run: {', '.join(tries) or 'none'}.")
    answer = api.airflow("GET", f"{run}/{wanted}/logs/{tries[wanted]}?full_content=true")
    for line in answer["content"]:
        if not str(line.get("event", "") if isinstance(line, dict) else line).startswith(NOISE):
            _say(_plain_line(line))


NOISE = ("::group::", "::endgroup::", "DAG bundles loaded", "Filling up the DagBag", "Worker startup parse")
"""How lines of Airflow's own begin that say nothing about the step."""


def _plain_line(line: object) -> str:
    if isinstance(line, str):
        return line
    assert isinstance(line, dict)
    stamp = str(line.get("timestamp") or "")[11:19]
    detail = line.get("error_detail") or []
    causes = [f"  {one.get('exc_type')}: {one.get('exc_value')}" for one in detail if isinstance(one, dict)]
    return "\n".join([f"{stamp} {line.get('event', '')}".strip(), *causes])


def explain(
    commit: Annotated[str, typer.Argument(help="A commit of production, in full.", metavar="COMMIT")],
    as_json: AsJson = False,
    project: Project = "",
    home: Home = None,
    speak_as: As = "",
) -> None:
    """Say how a commit came to production: its tree, tests, sign-offs, feature and predecessor.

    Example: [bold]feature-delivery explain $(git rev-parse origin/main)[/bold]
    """
    api = connect(home, speak_as=speak_as)
    found = api.get(f"/projects/{pick_project(api, project)}/commits/{commit_sha(commit)}")
    if as_json:
        _say(json.dumps(found, indent=2))
        return
    _say("\n".join(explanation(found)))
