"""What ``doctor`` says of a project's outside: host, tracker, Git access, webhook secret, people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.team import why_stuck

if TYPE_CHECKING:
    from feature_delivery.domain.names import BranchName, CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.git_host import GitHost
    from feature_delivery.ports.repository import Repository
    from feature_delivery.ports.tracker import Tracker

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Parts:
    """How each part is made; making one may fail by itself (a Connection is missing), and is a finding then.

    Attributes:
        secrets: How many webhook secrets are set.
        path: Where webhooks are taken, below the web app's address.
        platform: Looks at where the project's commits run.
        messages: Looks at the channels for messages.
    """

    repository: Callable[[], Repository]
    host: Callable[[], GitHost]
    tracker: Callable[[], Tracker]
    secrets: Callable[[], int]
    path: str
    platform: Callable[[], Iterable[Finding]] = list
    messages: Callable[[], Iterable[Finding]] = tuple


def examine(project: ProjectConfig, parts: Parts) -> list[Finding]:
    """Look at every part, side by side: one that does not answer keeps the others from nothing."""
    looks: tuple[Callable[[], Iterable[Finding]], ...] = (
        lambda: _git(project, parts),
        lambda: _host(project, parts),
        lambda: _tracker(project, parts),
        lambda: _platform(project, parts),
        lambda: [_webhook(project, parts)],
        lambda: [_people(project)],
        lambda: _sign_offs(project),
        lambda: _inside("messages", parts.messages),
    )
    with ThreadPoolExecutor(len(looks), thread_name_prefix="examine") as pool:
        found = [finding for findings in pool.map(_listed, looks) for finding in findings]
    return [replace(finding, what=f"{project.name}: {finding.what}") for finding in found]


def _listed(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    return list(look())


def _git(project: ProjectConfig, parts: Parts) -> Iterator[Finding]:
    """Look whether Git gets in with the credentials of the host's Connection, and finds the long-lived branches."""
    heads: dict[BranchName, CommitSha] = {}
    yield from _inside("git", lambda: _read(parts, heads))
    for branch in (project.branches.production, project.branches.preprod):
        if not heads:
            return
        there = branch in heads
        sentence = f"{branch} is at {heads[branch][:10]}." if there else f"There is no branch {branch!r}. Push it."
        # Pre-production is made by the first delivery that ships; requests need it before.
        yield Finding(f"branch {branch}", well=there, sentence=sentence)


def _read(parts: Parts, heads: dict[BranchName, CommitSha]) -> list[Finding]:
    heads.update(parts.repository().heads())
    return [Finding("", well=bool(heads), sentence=f"{len(heads)} branches can be read.")]


def _host(project: ProjectConfig, parts: Parts) -> Iterator[Finding]:
    what = f"host {project.host.kind}"
    if project.host.kind != LOCAL:
        yield from _inside(what, lambda: parts.host().examine())


def _tracker(project: ProjectConfig, parts: Parts) -> Iterator[Finding]:
    what = f"tracker {project.tracker.kind}"
    if project.tracker.kind != LOCAL:
        yield from _inside(what, lambda: parts.tracker().examine())


def _platform(project: ProjectConfig, parts: Parts) -> Iterator[Finding]:
    yield from _inside(f"platform {project.platform}", parts.platform)


def _inside(what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        found = list(look())
    except Error as error:
        yield Finding(what, well=False, sentence=str(error))
        return
    except Exception as error:  # noqa: BLE001 - an adapter's fault is a finding like any other
        yield Finding(what, well=False, sentence=f"It could not be looked at: {type(error).__name__}. See the log.")
        return
    for finding in found:
        yield replace(finding, what=f"{what}, {finding.what}" if finding.what else what)


def _webhook(project: ProjectConfig, parts: Parts) -> Finding:
    count = parts.secrets()
    if count:
        said = f"{count} secret{'s are' if count > 1 else ' is'} set; webhooks are taken at {parts.path}."
        return Finding("webhook", well=True, sentence=said)
    minutes = project.choices.look_every.total_seconds() / 60
    return Finding(
        "webhook",
        well=False,
        sentence=f"No secret is set: webhooks are refused, changes are found every {minutes:g} minutes only. Set "
        f"FEATURE_DELIVERY_WEBHOOK_SECRET_{project.name.upper()} for the API server.",
    )


def _people(project: ProjectConfig) -> Finding:
    """Name people whom host and tracker know by the same name only, which is rarely so."""
    if not project.people.known:
        return Finding(
            "people",
            well=False,
            sentence="The service that people log in with has not said lately who is in the groups of the project "
            "file; the API server's log says why. Until it does, what those people say waits.",
        )
    real = sorted({project.host.kind, project.tracker.kind} - {LOCAL})
    unnamed = sorted(name for name, person in project.people.persons.items() if not person.logins)
    if not real or not unnamed:
        return Finding("people", well=True, sentence=f"Known: {', '.join(project.people.persons)}.")
    return Finding(
        "people",
        well=False,
        sentence=f"No logins are written down for {', '.join(unnamed)}: what they do on {' and '.join(real)} counts "
        "only if they are called the same there. Write them as 'logins' in the project file.",
    )


def _sign_offs(project: ProjectConfig) -> Iterator[Finding]:
    """Say that nothing can be signed off; a finding, no fault of the file: one that counts must go on to count."""
    if said := why_stuck(project.people):
        yield Finding("sign-offs", well=False, sentence=said)
