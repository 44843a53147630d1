"""Opening the merge request: what stands in it, and who is asked to review it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.codeowners import owners, places
from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.domain.markdown import link, plain, quoted
from feature_delivery.domain.names import environment_name
from feature_delivery.domain.people import SIGN_OFFS
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import EnvironmentState, now
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.services.control.requests import observe_request

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName
    from feature_delivery.domain.people import People
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.repository import Repository
    from feature_delivery.services.control.outside import Control

COMMITS_READ = 200
"""So many commits of a feature are looked at for the files it changes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of a feature when its request is opened."""

    key: FeatureKey
    title: str
    description: str
    issue_url: str
    address: str
    head: CommitSha | None
    authors: frozenset[PersonName]


def open_request(control: Control, project: ProjectConfig, run_id: str, *, source: BranchName) -> None:
    """Find or open the merge request, and take it in as if the host had told of it.

    Raises:
        Error: As ``GitHost.open_request``.
        Unavailable: Not everything on it could be taken in: it is not known at the moment who is in the groups.
    """
    facts = _facts(control, project, run_id)
    if facts is None:
        return
    outside = control.outside(project)
    asked_at = now()
    request = outside.host.open_request(
        key=facts.key,
        source=source,
        target=project.branches.preprod,
        title=" ".join(f"{facts.key} {facts.title}".split())[:250],
        body=body(project, facts, page=control.page(project, run_id)),
        reviewers=reviewers(project, facts, _owners(outside.repository, project, facts)),
        labels=project.host.labels,
    )
    with control.begin() as unit:
        waits = observe_request(unit, project, run_id, request, seen_at=asked_at)
    if waits:
        raise Unavailable(waits)


def find_request(control: Control, project: ProjectConfig, run_id: str, *, source: BranchName) -> None:
    """Take in the request from ``source`` if there is one: it may be older than the delivery of its feature.

    Raises:
        Error: As ``GitHost.find_request``.
        Unavailable: As ``open_request``.
    """
    asked_at = now()
    request = control.outside(project).host.find_request(source)
    with control.begin() as unit:
        waits = observe_request(unit, project, run_id, request, seen_at=asked_at)
    if waits:
        raise Unavailable(waits)


def _facts(control: Control, project: ProjectConfig, run_id: str) -> Opening | None:
    with control.begin() as unit:
        feature = unit.books.feature_of_run(project.name, run_id)
        if feature is None:
            return None
        attempt = unit.books.attempt(feature)
        name = environment_name(EnvironmentKind.DEVELOPMENT, feature.key)
        development = unit.books.environment(project.name, name)
        alive = development is not None and development.state is EnvironmentState.READY
        return Opening(
            key=feature.key,
            title=feature.title,
            description=feature.description,
            issue_url=feature.issue_url,
            address=development.address if development is not None and alive else "",
            head=attempt.commit if attempt else feature.branch_head,
            authors=project.people.authors_of(attempt),
        )


def body(project: ProjectConfig, facts: Opening, *, page: str) -> str:
    """Return the request's text as Markdown: the issue, where to try it, and what is still to happen."""
    issue = link(facts.key, facts.issue_url) if facts.issue_url else plain(facts.key)
    lines = [f"Issue: {issue}"]
    if facts.address:
        lines.append(f"Try it: {link('development environment', facts.address)}")
    if page:
        lines.append(link("Follow the delivery", page))
    roles = {Step.WAIT_FOR_REVIEW: "Reviewed", Step.WAIT_FOR_ACCEPTANCE: "Accepted by testers"}
    checklist = ["- [ ] The change does what the issue asks for, and its tests show it"]
    checklist.append("- [ ] Its migrations can be taken back, or the issue says why not")
    for gate in SIGN_OFFS:
        if gate in project.people.policies:
            able = ", ".join(project.people.with_role(*project.people.policies[gate].roles)) or "nobody"
            checklist.append(f"- [ ] {roles.get(gate, 'Confirmed')}: {plain(able)}")
    ships = (
        f"Do not merge it by hand: it ships when its delivery promotes {project.branches.production}, and is shown as "
        "merged then."
    )
    return "\n\n".join(
        part for part in (quoted(facts.description), "  \n".join(lines), "\n".join(checklist), ships) if part
    )


def reviewers(project: ProjectConfig, facts: Opening, owned_by: tuple[str, ...]) -> tuple[str, ...]:
    """Return who is asked for a review: the project's reviewers and the owners of the changed files, no author.

    Args:
        project: Whose people.
        facts: The feature.
        owned_by: Owners as ``CODEOWNERS`` names them; those with an address count when the project knows it.
    """
    people = project.people
    able = project.people.policies.get(Step.WAIT_FOR_REVIEW)
    roles = able.roles if able is not None else frozenset({Who.REVIEWER})
    asked: dict[str, None] = {}
    for person in people.with_role(*roles):
        if people.solo or person not in facts.authors:
            asked.update(dict.fromkeys(_logins(people, person)))
    for owner in owned_by:
        if owner.startswith("@"):
            login = owner.removeprefix("@")
            if not people.meant_by([login]) & facts.authors:
                asked.setdefault(login)
        else:
            for person in people.by_emails([owner]) - facts.authors:
                asked.update(dict.fromkeys(_logins(people, person)))
    return tuple(asked)


def _logins(people: People, person: PersonName) -> tuple[str, ...]:
    """Return the names a person may have on the host: the logins, or the one name that is the same everywhere."""
    return tuple(sorted(people.persons[person].logins)) or (person,)


def _owners(repository: Repository, project: ProjectConfig, facts: Opening) -> tuple[str, ...]:
    """Return the owners of what the feature changes, by production's own file; none when it cannot be read."""
    if project.host.kind == "local" or facts.head is None:
        return ()
    try:
        production = repository.heads().get(project.branches.production)
        if production is None:
            return ()
        repository.fetch(facts.head, production)
        for place in places(project.host.kind):
            content = repository.read_file(production, place)
            if content is not None:
                paths = _changed(repository, facts.head, production)
                return owners(content.decode("utf-8", "replace"), paths, kind=project.host.kind)
    except Error as error:
        # The request is worth more than the names on it.
        _log.warning("Could not read who owns what %s changes: %s", facts.key, error)
    return ()


def _changed(repository: Repository, head: CommitSha, production: CommitSha) -> tuple[str, ...]:
    """Return the paths that the feature's own commits change; what production changed meanwhile is not its doing."""
    found: set[str] = set()
    for commit in repository.ahead(head, production)[:COMMITS_READ]:
        if len(commit.parents) == 1:
            found.update(repository.changed_paths(commit.parents[0], commit.sha))
    return tuple(sorted(found))
