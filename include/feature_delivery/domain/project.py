"""What the project file beside Airflow says: who decides, where things are, how production is treated."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.cluster import ClusterConfig
from feature_delivery.domain.messages import MessagesConfig
from feature_delivery.domain.names import BranchName, FeatureKey, PersonName, ProjectName, branch_name, slug
from feature_delivery.domain.people import People
from feature_delivery.domain.watching import Watching

if TYPE_CHECKING:
    from feature_delivery.domain.freezes import Window
    from feature_delivery.domain.process import Who


HOUSEKEEPING = "feature_delivery_housekeeping"
"""The DAG that looks after all projects; no project may be called so."""

LOCAL_QUEUE = "feature_delivery_local"
"""Tasks of shops on the platform ``local``: their environments are processes of one machine, so with Celery one worker,
and no other, takes this queue. The LocalExecutor knows no queues and takes everything."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Names of the long-lived branches, and how a feature's own are called."""

    production: BranchName
    preprod: BranchName
    feature_prefix: str = "feature/"
    candidate_prefix: str = "candidate/"

    def feature(self, key: FeatureKey, title: str) -> BranchName:
        """Return the branch we create for a feature that has none."""
        words = slug(title)
        return branch_name(f"{self.feature_prefix}{key}" + (f"-{words}" if words else ""))

    def candidate(self, key: FeatureKey) -> BranchName:
        """Return the branch that holds the candidate; ours alone."""
        return branch_name(f"{self.candidate_prefix}{key}")

    def key_of(self, branch: str) -> str | None:
        """Return the text where a feature branch carries its key, or ``None`` for any other branch."""
        rest = branch.removeprefix(self.feature_prefix)
        if rest == branch:
            return None
        head, dash, tail = rest.partition("-")
        number = tail.partition("-")[0]
        return f"{head}-{number}" if dash and number else None


@dataclass(frozen=True, slots=True)
class Choices:
    """What a project may choose about the process.

    Attributes:
        start_gate: Wait until somebody takes the issue; else a feature starts at once.
        open_request: Open the merge request ourselves once the checks are green.
        start_on_push: A push to a feature branch of an unknown feature starts its delivery.
        sign_offs_survive_refresh: A clean, green refresh of the candidate keeps acceptance and confirmation.
        abandon_after: How long a deleted branch must stay away before its feature counts as abandoned.
        observe_for: How long production is watched after a deploy.
        load_for: How long a small load is put on pre-production; nothing: not at all.
        automatic_rollback: What rolls back without asking: ``critical_breach`` (a critical metric passed its limit for
            good), ``failed_tests`` (integration tests in production). Never past a migration without a way back.
        automatic_verdict: Decide at once by the evidence instead of asking.
        destroy_at_most: More destructions than this by one run of the reaper stop and ask.
        cancel_on_close: Closing the issue of a feature under delivery cancels it; else people are told.
        look_every: How often host and tracker are looked at when no webhook tells of anything.
    """

    start_gate: bool = True
    open_request: bool = False
    start_on_push: bool = True
    sign_offs_survive_refresh: bool = True
    abandon_after: timedelta = timedelta(minutes=10)
    observe_for: timedelta = timedelta(minutes=10)
    load_for: timedelta = timedelta(seconds=5)
    automatic_rollback: frozenset[str] = frozenset()
    automatic_verdict: bool = False
    destroy_at_most: int = 5
    cancel_on_close: bool = False
    look_every: timedelta = timedelta(minutes=5)


WATCHED_HERE = timedelta(seconds=30)
"""A window up to this long is watched on the worker: parking would take longer. A longer one needs a triggerer."""


@dataclass(frozen=True, slots=True)
class Slo:
    """What production promises; alerts fire when its error budget burns too fast.

    Attributes:
        availability: Share of requests that do not fail, and of probes that are answered; below 1.
        latency: Share of requests that are answered within ``latency_within``; below 1.
        latency_within: A bucket's bound of the shop's histogram.
        preprod_slower_at_most: How many times as slow as production pre-production may be.
    """

    availability: float = 0.999
    latency: float = 0.95
    latency_within: timedelta = timedelta(milliseconds=500)
    preprod_slower_at_most: float = 1.5


@dataclass(frozen=True, slots=True)
class HostConfig:
    """Where merge requests are.

    Attributes:
        kind: ``local``, ``github``, ``gitlab`` or ``gitea`` (Forgejo too).
        connection: Id of the Airflow Connection with its address and token; also what Git pushes with.
        repository: ``owner/name`` there (GitLab: the whole path).
        labels: Labels for requests that we open.
        branches: The long-lived branches that deliveries move, production first: ``doctor`` looks at their protection.
    """

    kind: str = "local"
    connection: str = ""
    repository: str = ""
    labels: tuple[str, ...] = ()
    branches: tuple[BranchName, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Where issues are.

    Attributes:
        kind: ``local``, ``jira``, ``redmine``, ``github``, ``gitlab`` or ``gitea``.
        connection: Id of the Airflow Connection; empty for a host's own issues: that of the host.
        project: What the tracker calls the project: Jira's key, Redmine's identifier, ``owner/name``.
        prefix: Where issues have plain numbers: what stands before the number in keys (``SHOP`` makes 42 ``SHOP-42``).
        states: The team's own words for each state (a status of Jira or Redmine, a label on a host), the first one is
            where we move to, the others are recognised; empty: the tracker's defaults.
        resolution: What a closed issue is resolved as, where the tracker has that.
        issue_type: Kind of a new issue, where the tracker has that.
    """

    kind: str = "local"
    connection: str = ""
    project: str = ""
    prefix: str = ""
    states: dict[str, tuple[str, ...]] = field(default_factory=dict)
    resolution: str = ""
    issue_type: str = ""

    def key_of(self, issue: str) -> str:
        """Return the feature key of what the tracker itself calls an issue; it may not be a valid one."""
        return f"{self.prefix}-{issue}" if self.prefix and issue.isascii() and issue.isdigit() else issue


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """One project file, validated.

    Attributes:
        repository: The address that tasks clone from and push to.
        platform: ``local`` or ``kubernetes``.
        cluster: What the file says of the cluster; only with ``kubernetes``.
        freezes: When nothing is promoted.
    """

    name: ProjectName
    title: str
    repository: str
    host: HostConfig
    tracker: TrackerConfig
    platform: str
    branches: Branches
    people: People
    choices: Choices = field(default_factory=Choices)
    cluster: ClusterConfig | None = None
    slo: Slo = field(default_factory=Slo)
    watching: Watching = field(default_factory=Watching)
    messages: MessagesConfig = field(default_factory=MessagesConfig)
    settings: dict[str, Any] = field(default_factory=dict)
    freezes: tuple[Window, ...] = ()

    def stranger(self, name: str) -> str:
        """Return why somebody who is no person of the project may do nothing in it."""
        return f"{name[:80]} is nobody of {self.name}: add them to 'people' in its project file."

    def unclear(self, name: str, *roles: Who) -> str:
        """Return why nobody can say now whether ``name`` is one of the project's people; empty when it can be said.

        ``roles``: whether they have one of these, where some are named. Who is nobody while it is not known who is in
        the groups may be somebody: that is no reason to refuse, to withdraw or to forget anything.
        """
        if self.people.known or name in (self.people.with_role(*roles) if roles else self.people.persons):
            return ""
        return (
            f"Could not look up what {name[:80]} may do in {self.name}: the service that people log in with has not "
            "said lately who is in the groups of its project file; the API server's log says why. Nothing follows from "
            "that: it can be said again when the service answers."
        )

    def speaker(self, login: str) -> PersonName | None:
        """Return whose word it is when ``login`` says something on the project's host; the local one has our names."""
        if self.host.kind == "local":
            return PersonName(login) if login in self.people.persons else None
        return self.people.speaking_as(login)

    def outsider(self, login: str) -> PersonName:
        """Return how somebody of the host who is nobody here is called: never like one of our own people."""
        return PersonName(login[:60] if login not in self.people.persons else f"{login[:60]} on {self.host.kind}")

    @property
    def dag_id(self) -> str:
        """The DAG that delivers this project's features."""
        return f"feature_delivery_{self.name}"

    @property
    def defers(self) -> bool:
        """Whether steps of it wait in Airflow's triggerer: those on a cluster, and a long watch on production."""
        return self.cluster is not None or self.choices.observe_for > WATCHED_HERE
