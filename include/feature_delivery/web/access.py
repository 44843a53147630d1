"""Who is asking: a task with its token, or one of Airflow's users who is a person of the project."""

from __future__ import annotations

import hmac
from typing import Annotated, cast

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, Header, Request

from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Misconfigured, Refused, Unavailable
from feature_delivery.domain.names import PersonName, ProjectName
from feature_delivery.domain.process import Who
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.proofs import HEADER
from feature_delivery.domain.ways import CLI_AGENT, Way
from feature_delivery.web.errors import Unauthorized


def task_token(authorization: Annotated[str, Header(description="``Bearer`` and the task token")] = "") -> None:
    """Let through who shows the task token.

    Raises:
        Unauthorized: No token, or another one.
        Misconfigured: No token is set here; then nobody may pass.
    """
    if not settings.settings().task_token:
        raise Misconfigured("No task token is set. Set FEATURE_DELIVERY_TASK_TOKEN for the API server.")
    if not shows_task_token(authorization):
        raise Unauthorized("This is not the task token. Set it as password of the Connection 'feature_delivery'.")


def shows_task_token(authorization: str) -> bool:
    """Say whether a header ``Authorization`` holds the task token."""
    wanted = settings.settings().task_token
    scheme, _, shown = authorization.partition(" ")
    # Both are evaluated: the time taken must not tell which of them was wrong.
    right = hmac.compare_digest(shown.strip().encode(), wanted.encode())
    return bool(wanted) and scheme.lower() == "bearer" and right


def task_proof(secret: Annotated[str, Header(alias=HEADER, max_length=200)] = "") -> str:
    """Return the secret by which a task shows which one it is.

    Raises:
        Unavailable: There is none: the worker runs an older version. Temporary, for the next try may run on a new one.
    """
    if not secret:
        raise Unavailable("This task shows no proof of which one it is: its worker runs an older version. Restart it.")
    return secret


async def json_only(request: Request) -> None:
    """Refuse bodies that a foreign page's form could send: cookies are accepted here.

    Raises:
        Refused: The body is not declared as JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method not in {"GET", "HEAD", "OPTIONS"} and kind != "application/json":
        raise Refused("Only JSON is accepted: send the header 'Content-Type: application/json'.")


def readable_project(name: ProjectName, user: object) -> ProjectConfig:
    """Return a project that ``user`` may see: whoever may read its DAG may.

    Raises:
        NotFound: No such project.
        Refused: Not for this user.
    """
    project = settings.project(name)
    manager = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", details=DagDetails(id=project.dag_id), user=user):
        raise Refused(f"You may not see {project.name}: ask an administrator of Airflow for its DAG {project.dag_id}.")
    return project


def visible(user: object) -> frozenset[ProjectName]:
    """Return the projects that a user may see; asked in one go, as an auth manager may be a server of its own."""
    names = {project.dag_id: name for name, project in settings.projects().items()}
    return frozenset(names[dag] for dag in get_auth_manager().filter_authorized_dag_ids(dag_ids=set(names), user=user))


def project_to_read(project: ProjectName, user: GetUserDep) -> ProjectConfig:
    """Return the project in the path, for one who may see it."""
    return readable_project(project, user)


Readable = Annotated[ProjectConfig, Depends(project_to_read)]


class Caller:
    """A person of the project who asks for something to be done."""

    def __init__(self, project: ProjectConfig, name: PersonName) -> None:
        """``name`` is one of the project's people."""
        self.project = project
        self.name = name

    def must_be(self, *roles: Who, what: str) -> None:
        """Refuse whoever has none of ``roles``.

        Raises:
            Refused: The person has none of them.
            Unavailable: Whether they have one is not known at the moment.
        """
        if why := self.project.unclear(self.name, *roles):
            raise Unavailable(why)
        if self.name not in self.project.people.with_role(*roles):
            able = ", ".join(self.project.people.with_role(*roles)) or "nobody"
            raise Refused(f"{self.name} may not {what} in {self.project.name}: {able} may.")


def caller(project: Readable, user: GetUserDep) -> Caller:
    """Return who asks, as a person of the project; nobody acts for another one.

    Raises:
        Refused: The user is nobody of the project.
        Unavailable: Whether they are somebody of it is not known at the moment.
    """
    name = str(user.get_name())
    if why := project.unclear(name):
        raise Unavailable(why)
    if name not in project.people.persons:
        raise Refused(project.stranger(name))
    return Caller(project, cast("PersonName", name))


CallerDep = Annotated[Caller, Depends(caller)]


def address_of(request: Request) -> str:
    """Return the address that a request came from.

    Behind a proxy it is what the proxy says, where uvicorn trusts it (``forwarded-allow-ips``); headers are not read
    here: anybody can write them.
    """
    return request.client.host[:64] if request.client is not None else ""


class Speaker:
    """Whoever says something: what is said by somebody who is nobody here is refused, and kept, like anything else."""

    def __init__(self, project: Readable, user: GetUserDep, request: Request) -> None:
        """Take the name from the login, the address from the connection, the way from what the client calls itself."""
        self.project = project
        self.name = cast("PersonName", str(user.get_name()))
        self.address = address_of(request)
        agent = request.headers.get("user-agent", "")
        self.way = Way.CLI if agent.startswith(CLI_AGENT) else Way.REST


SpeakerDep = Annotated[Speaker, Depends(Speaker)]
