"""Project files: one YAML per shop, checked whole before anything uses it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, ValidationError

from feature_delivery.bootstrap.cluster_file import KubernetesPart
from feature_delivery.bootstrap.file_faults import faults
from feature_delivery.bootstrap.file_parts import Duration, Strict
from feature_delivery.bootstrap.messages_part import MessagesPart, messages_config
from feature_delivery.bootstrap.observe_part import ObservePart
from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.freezes import Window, always, window
from feature_delivery.domain.names import branch_name, person_name, project_name
from feature_delivery.domain.people import DEFAULT_POLICIES, SIGN_OFFS, Expiry, GatePolicy, People, Person
from feature_delivery.domain.process import Step, Who, gate
from feature_delivery.domain.project import (
    HOUSEKEEPING,
    Branches,
    Choices,
    HostConfig,
    ProjectConfig,
    Slo,
    TrackerConfig,
)

SKIPPABLE = frozenset({Step.WAIT_FOR_START, *SIGN_OFFS})


class BranchesPart(Strict):
    """Names of branches."""

    production: str = "main"
    preprod: str = "preprod"
    feature_prefix: str = "feature/"
    candidate_prefix: str = "candidate/"


RoleName = Literal["developer", "reviewer", "tester", "manager", "operator"]


class PersonPart(Strict):
    """One person; the key above is the Airflow user name."""

    roles: list[RoleName]
    emails: list[str] = Field(default_factory=list)
    logins: list[str] = Field(default_factory=list)
    deputy: str | None = None


class GatePart(Strict):
    """What differs from a gate's defaults; ``timeout: never`` waits without end."""

    roles: list[RoleName] | None = None
    count: int | None = Field(default=None, ge=1, le=20)
    timeout: Duration | Literal["never"] | None = None
    on_expiry: Literal["reject", "evidence", "remind"] | None = None
    skip: bool = False


class ChoicesPart(Strict):
    """What a project may choose about the process; the meaning is in ``domain.project.Choices``."""

    start_gate: bool = True
    open_request: bool = False
    start_on_push: bool = True
    sign_offs_survive_refresh: bool = True
    abandon_after: Duration = timedelta(minutes=10)
    observe_for: Duration = timedelta(minutes=10)
    load_for: Duration = timedelta(seconds=5)
    automatic_rollback: list[Literal["critical_breach", "failed_tests"]] = Field(default_factory=list)
    automatic_verdict: bool = False
    destroy_at_most: int = Field(default=5, ge=1)
    cancel_on_close: bool = False
    look_every: Duration = timedelta(minutes=5)


HostKind = Literal["local", "github", "gitlab", "gitea"]
TrackerKind = Literal["local", "jira", "redmine", "github", "gitlab", "gitea"]
NUMBERED = frozenset({"redmine", "github", "gitlab", "gitea"})
"""Trackers whose issues have plain numbers, so that keys need a prefix."""


class HostPart(Strict):
    """Where merge requests are; the meaning is in ``domain.project.HostConfig``."""

    kind: HostKind
    connection: str = ""
    repository: str = ""
    labels: list[str] = Field(default_factory=list)


class TrackerPart(Strict):
    """Where issues are; the meaning is in ``domain.project.TrackerConfig``."""

    kind: TrackerKind
    connection: str = ""
    project: str = ""
    prefix: str = Field(default="", pattern=r"^([A-Z][A-Z0-9_]{0,19})?$")
    states: dict[Literal["open", "in_progress", "done"], list[str]] = Field(default_factory=dict)
    resolution: str = ""
    issue_type: str = ""


# Told apart by shape, so that errors speak of the alternative that was meant; what is in brackets stays out of them.
PlatformPart = Annotated[
    Annotated[Literal["local"], Tag("[local]")] | Annotated[KubernetesPart, Tag("[kubernetes]")],
    Discriminator(lambda value: "[local]" if isinstance(value, str) else "[kubernetes]"),
]


class SloPart(Strict):
    """What production promises; the meaning is in ``domain.project.Slo``."""

    availability: float = Field(default=0.999, gt=0, lt=1)
    latency: float = Field(default=0.95, gt=0, lt=1)
    latency_within: Duration = timedelta(milliseconds=500)
    preprod_slower_at_most: float = Field(default=1.5, ge=1)


class FreezePart(Strict):
    """One freeze window; ``domain.freezes`` says how ``when`` is written."""

    name: str = Field(default="A freeze window", min_length=1, max_length=60)
    when: str
    timezone: str | None = None


class FreezesPart(Strict):
    """When the project promotes nothing; ``timezone``: that of windows which name none."""

    timezone: str = "UTC"
    windows: list[FreezePart] = Field(default_factory=list)


class ProjectFile(Strict):
    """A whole project file."""

    name: str
    title: str = ""
    repository: str
    host: Literal["local"] | HostPart = "local"
    tracker: Literal["local"] | TrackerPart = "local"
    platform: PlatformPart = "local"
    branches: BranchesPart = BranchesPart()
    people: dict[str, PersonPart] = Field(default_factory=dict)
    groups: dict[Annotated[str, Field(min_length=1, max_length=200)], list[RoleName]] = Field(default_factory=dict)
    gates: dict[str, GatePart] = Field(default_factory=dict)
    solo: bool = False
    choices: ChoicesPart = ChoicesPart()
    slo: SloPart = SloPart()
    freezes: FreezesPart = FreezesPart()
    messages: MessagesPart = MessagesPart()
    observe: ObservePart = ObservePart()
    settings: dict[str, Any] = Field(default_factory=dict)


def read_project_file(path: Path) -> ProjectConfig:
    """Return the project that ``path`` describes.

    Raises:
        Misconfigured: The file cannot be read or something in it is wrong; names the field.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"Could not read project file {path.name!r}: {error}.") from error
    return parse_project(content, where=path.name)


def parse_project(content: str, *, where: str) -> ProjectConfig:
    """Return the project that the YAML text describes; ``where`` names it in errors.

    Raises:
        Misconfigured: As ``read_project_file``.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(content, Loader=loader)  # noqa: S506 - a safe loader either way
        file = ProjectFile.model_validate(data)
        return _config(file)
    except yaml.YAMLError as error:
        raise Misconfigured(f"Project file {where!r} is no valid YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        found = faults(error, content, model=ProjectFile)
        more = f" ({len(found) - 1} more: 'feature-delivery doctor' lists them.)" if len(found) > 1 else ""
        raise Misconfigured(f"Project file {where!r}, {found[0]}{more}") from error
    except Refused as error:
        raise Misconfigured(f"Project file {where!r}: {error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets these through for impossible dates, pydantic for impossible numbers.
        raise Misconfigured(f"Project file {where!r} holds an impossible value: {error}.") from error


def project_faults(path: Path) -> list[str]:
    """Return everything that is wrong with a project file, a sentence each; empty when it is right."""
    try:
        read_project_file(path)
    except Misconfigured as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError):
            return [one[:1].upper() + one[1:] for one in faults(cause, path.read_text("utf-8"), model=ProjectFile)]
        return [str(error)]
    return []


def _choices(part: ChoicesPart) -> Choices:
    own = part.model_dump()
    return Choices(**{**own, "automatic_rollback": frozenset(part.automatic_rollback)})


def _config(file: ProjectFile) -> ProjectConfig:
    branches = Branches(
        production=branch_name(file.branches.production),
        preprod=branch_name(file.branches.preprod),
        feature_prefix=file.branches.feature_prefix,
        candidate_prefix=file.branches.candidate_prefix,
    )
    if branches.production == branches.preprod or branches.feature_prefix == branches.candidate_prefix:
        raise Refused("production, preprod, features and candidates need branches of their own: two have one name.")
    if f"feature_delivery_{file.name}" == HOUSEKEEPING:
        raise Refused(f"{file.name!r} is the name of our own DAG. Take another one.")
    host, people = _host(file.host, file.repository, branches), _people(file)
    return ProjectConfig(
        name=project_name(file.name),
        title=file.title or file.name,
        repository=file.repository,
        host=host,
        tracker=_tracker(file.tracker, host),
        platform=file.platform if isinstance(file.platform, str) else file.platform.kind,
        cluster=_cluster(file.platform, file.repository),
        branches=branches,
        people=people,
        choices=_choices(file.choices),
        slo=Slo(**file.slo.model_dump()),
        watching=file.observe.watching(file.name),
        messages=messages_config(file.messages, people=people),
        settings=dict(file.settings),
        freezes=_freezes(file.freezes),
    )


def _cluster(part: Literal["local"] | KubernetesPart, repository: str) -> ClusterConfig | None:
    if isinstance(part, str):
        return None
    if part.runtime and not re.match(r"https?://[^@/]+/", repository):
        raise Refused(
            "'platform.runtime' has commits cloned inside the cluster, which takes a repository by http(s) without a "
            "password in its address. Name an 'image' for each commit instead, or a 'git_secret' with the password."
        )
    return part.value()


def _freezes(part: FreezesPart) -> tuple[Window, ...]:
    windows = tuple(window(" ".join(one.name.split()), one.when, one.timezone or part.timezone) for one in part.windows)
    if always(windows):
        raise Refused("The freeze windows leave no moment of a week: nothing would ever be promoted. Leave a gap.")
    return windows


def _host(part: Literal["local"] | HostPart, repository: str, branches: Branches) -> HostConfig:
    if isinstance(part, str) or part.kind == "local":
        return HostConfig()
    # A folder of this machine says nothing about what the repository is called on its host.
    folder = re.match(r"[/.~]|file:", repository) is not None
    path = "" if folder else re.sub(r"^[a-z+]+://[^/]+/|^[^/:]+:", "", repository).strip("/").removesuffix(".git")
    where = part.repository or path
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)+", where):
        raise Refused(
            f"{where[:80]!r} is no repository on {part.kind}. Name it as 'host.repository', like 'shop/cart'."
        )
    if not part.connection:
        raise Refused(f"The host {part.kind} needs an Airflow Connection. Name it as 'host.connection'.")
    return HostConfig(
        kind=part.kind,
        connection=part.connection,
        repository=where,
        labels=tuple(part.labels),
        branches=(branches.production, branches.preprod),
    )


def _tracker(part: Literal["local"] | TrackerPart, host: HostConfig) -> TrackerConfig:
    if isinstance(part, str) or part.kind == "local":
        return TrackerConfig()
    own = part.kind == host.kind
    connection, project = part.connection or host.connection * own, part.project or host.repository * own
    for field, value in (("connection", connection), ("project", project)):
        if not value:
            raise Refused(f"The tracker {part.kind} needs a {field}. Name it as 'tracker.{field}'.")
    if part.kind in NUMBERED and not part.prefix:
        raise Refused(
            f"Issues of {part.kind} have plain numbers. Say as 'tracker.prefix' what stands before them, like 'SHOP': "
            "issue 42 is SHOP-42 then."
        )
    return TrackerConfig(
        kind=part.kind,
        connection=connection,
        project=project,
        prefix=part.prefix if part.kind in NUMBERED else "",
        states={name: tuple(words) for name, words in part.states.items()},
        resolution=part.resolution,
        issue_type=part.issue_type,
    )


def _people(file: ProjectFile) -> People:
    if not file.people and not file.groups:
        raise Refused("Nobody is named. Add them to 'people', or name groups of the login service as 'groups'.")
    persons = {}
    for name, part in file.people.items():
        if part.deputy is not None and part.deputy not in file.people:
            raise Refused(f"The deputy {part.deputy!r} of {name!r} is nobody of this project. Add them to 'people'.")
        persons[person_name(name)] = Person(
            name=person_name(name),
            roles=frozenset(Who(role) for role in part.roles),
            emails=frozenset(email.lower() for email in part.emails),
            logins=frozenset(part.logins),
            deputy=person_name(part.deputy) if part.deputy else None,
        )
    policies = dict(DEFAULT_POLICIES)
    for text, rules in file.gates.items():
        step = gate(text)
        if step is None or step not in policies:
            known = ", ".join(str(step).rpartition("wait_for_")[2] for step in policies)
            raise Refused(f"{text!r} is no gate that people decide. These are: {known}.")
        if rules.skip and step not in SKIPPABLE:
            raise Refused(f"{step} cannot be skipped. Only the start, review, acceptance and confirmation can.")
        if rules.skip:
            del policies[step]
        else:
            policies[step] = _policy(policies[step], rules)
            _makes_sense(step, policies[step])
    groups = {name: frozenset(Who(role) for role in roles) for name, roles in file.groups.items()}
    people = People(persons=persons, policies=policies, solo=file.solo, groups=groups)
    by_group = frozenset(role for roles in groups.values() for role in roles)
    for step, policy in policies.items():
        # How many a group has, only the service knows that people log in with.
        if not by_group & policy.roles and len(people.with_role(*policy.roles)) < policy.count:
            roles = " or ".join(sorted(policy.roles))
            raise Refused(
                f"{step} needs {policy.count} {roles}, but fewer people have that role. Add them to 'people'."
            )
    return people


def _makes_sense(step: Step, policy: GatePolicy) -> None:
    """Refuse rules that would do harm at a gate, or nothing.

    Raises:
        Refused: They would.
    """
    if policy.on_expiry is Expiry.REJECT and step not in SIGN_OFFS:
        better = "'evidence' or 'remind'" if step is Step.WAIT_FOR_VERDICT else "'remind'"
        raise Refused(f"{step} cannot reject when its time is over, there is nothing to send back: say {better}.")
    if policy.on_expiry is Expiry.EVIDENCE and step is not Step.WAIT_FOR_VERDICT:
        raise Refused(f"{step} has no evidence to decide by when its time is over: only the verdict has.")
    if policy.count > 1 and step in {Step.WAIT_FOR_START, Step.WAIT_FOR_VERDICT}:
        raise Refused(f"{step} is decided by the first who decides: 'count' belongs to gates that are signed off.")


def _policy(default: GatePolicy, part: GatePart) -> GatePolicy:
    timeout = default.timeout
    if part.timeout is not None:
        timeout = None if part.timeout == "never" else part.timeout
    return GatePolicy(
        roles=frozenset(Who(role) for role in part.roles) if part.roles else default.roles,
        count=part.count or default.count,
        timeout=timeout,
        on_expiry=Expiry(part.on_expiry) if part.on_expiry else default.on_expiry,
        kinds=default.kinds,
    )
