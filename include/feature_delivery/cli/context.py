"""What the commands share: options, the user who speaks, the project meant."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from feature_delivery.bootstrap.settings import settings
from feature_delivery.cli.api import Api, find_login
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import PersonName, commit_sha, feature_key, person_name, project_name

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="FEATURE_DELIVERY_HOME", help="State of the instance (default: .feature-delivery)."),
]
Project = Annotated[str, typer.Option("--project", "-p", help="The project; needed only where there are several.")]
As = Annotated[str, typer.Option("--as", help="Speak as another user; in the demo only.", metavar="USER")]
Key = Annotated[str, typer.Argument(help="The issue key, like SHOP-123.", metavar="KEY", show_default=False)]
Candidate = Annotated[
    str, typer.Option(help="What you looked at, as 'status' shows it; nothing is decided if it is another one by now.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

FULL = 40
"""Digits of a commit."""


def home_of(home: Path | None) -> Path:
    """Return the home that is meant."""
    return home.expanduser().absolute() if home else settings().home


def connect(home: Path | None, *, speak_as: str = "") -> Api:
    """Return the API as the user who speaks.

    Raises:
        Refused: ``--as`` outside of the demo.
    """
    place = home_of(home)
    if speak_as and not (place / "demo").exists():
        raise Refused("--as speaks for others and works in the demo only. Let them speak for themselves.")
    return Api(find_login(place, user=speak_as or None))


def pick_project(api: Api, wanted: str) -> str:
    """Return the project named, or the only one there is."""
    if wanted:
        return project_name(wanted)
    names = [str(project["name"]) for project in api.get("/projects")]
    if len(names) != 1:
        raise Misconfigured(f"Name the project with --project: {', '.join(names) or 'there is none'}.")
    return names[0]


def feature_path(api: Api, project: str, key: str) -> str:
    """Return the API path of a feature; the key is checked before anything is sent."""
    checked = feature_key(key)
    return f"/projects/{pick_project(api, project)}/features/{checked}"


def fetch_feature(api: Api, project: str, key: str) -> dict[str, Any]:
    """Return everything known of a feature."""
    found = api.get(feature_path(api, project, key))
    assert isinstance(found, dict)
    return found


def seen(api: Api, project: str, key: str, candidate: str) -> str:
    """Return in full the candidate that was looked at, which may be named by its first digits; empty stays empty.

    Raises:
        Refused: The feature is at another one.
    """
    if not candidate or len(candidate) == FULL:
        return commit_sha(candidate) if candidate else ""
    if not re.fullmatch(r"[0-9a-f]{7,39}", candidate):
        raise typer.BadParameter(f"{candidate!r} is no commit. Give the digits that 'feature-delivery status' shows.")
    known = str((fetch_feature(api, project, key)["candidate"] or {}).get("commit", ""))
    if not known.startswith(candidate):
        at = f"candidate {known[:10]}" if known else "no candidate"
        raise Refused(f"This was said about candidate {candidate[:10]}, but {key} is at {at}: look again.")
    return known


def user_of_machine() -> PersonName:
    """Return a user name for whoever runs this."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # no such user, as in some containers
        name = ""
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "", name).lstrip("._@-")
    # Airflow's administrator is somebody else: operating it is no role in a project.
    return person_name(plain if plain not in {"", "admin"} else "me")
