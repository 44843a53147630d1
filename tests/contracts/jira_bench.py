"""Benches of the Jira tracker: our fake Cloud and Data Center, and ``jira820``, a Data Center of other people's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feature_delivery.adapters.trackers.jira import JiraTracker
from feature_delivery.adapters.trackers.jira.adf import text_of
from feature_delivery.adapters.trackers.jira.wiki import unescaped
from feature_delivery.adapters.trackers.unseen import unmarked
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.project import TrackerConfig
from feature_delivery.ports.tracker import IssueState
from tests.contracts.tracker_bench import Bench
from tests.fakes.hosts.described import description
from tests.fakes.hosts.jira import FakeJira, fake_jira
from tests.support.jira820 import running_jira820

CONFIG = TrackerConfig(kind="jira", connection="jira", project="SHOP", resolution="Done")
STATUS = {IssueState.OPEN: "To Do", IssueState.IN_PROGRESS: "In Progress", IssueState.DONE: "Done"}
DESCRIPTION = "jira-platform-v3.json"


def number(key: FeatureKey) -> int:
    return int(key.rpartition("-")[2])


def faults(fake: FakeJira) -> list[str]:
    """Return what was asked or answered otherwise than Atlassian describes; nothing where that is not here."""
    published = description(DESCRIPTION, server="https://your-domain.atlassian.net")
    found, seen = published.faults(fake.server.exchanges) if published else ([], 0)
    asked = [
        one
        for one in fake.server.exchanges
        if "/rest/api/3/" in one.call.path and "/search/jql" not in one.call.path and not one.forced
    ]
    assert not published or seen == len(asked)
    return [fault for fault in found if not _is_slip(fault)]


def _is_slip(fault: str) -> bool:
    """Say whether the description contradicts its own examples and words.

    Jira writes +0000 where RFC 3339 wants a colon, nothing with a 204, and takes null for the account of nobody.
    """
    fields = [part for part in fault.split(" | ") if part.startswith("[")]
    slips = ("is not a 'date-time'", "['accountId']: None")
    return all(any(slip in part for slip in slips) for part in fields) if fields else "-> 204: Missing" in fault


def _bench(fake: FakeJira) -> Bench:
    state = fake.state
    fake.page = 2
    return Bench(
        tracker=JiraTracker(fake.login(), config=CONFIG),
        given=lambda key: state.give(number(key)),
        assign=lambda key, person: state.assign(key, state.users[person] if person else None),
        comments=lambda key: [unmarked(unescaped(text_of(one.body))) for one in state.issues[key].comments],
        links=lambda key: [(one["title"], one["url"]) for one in state.issues[key].links.values()],
        moved=lambda key, wanted: state.move(key, STATUS[wanted]),
        block=lambda _: state.transitions.remove(next(one for one in state.transitions if one.to == "Done")),
        many=5,
    )


@contextmanager
def jira_cloud_bench() -> Iterator[Bench]:
    with fake_jira() as fake:
        yield _bench(fake)
        assert faults(fake) == []


@contextmanager
def jira_data_center_bench() -> Iterator[Bench]:
    with fake_jira(cloud=False) as fake:
        yield _bench(fake)


@contextmanager
def jira820_bench() -> Iterator[Bench]:
    with running_jira820() as jira:
        yield Bench(
            tracker=JiraTracker(jira.login, config=CONFIG),
            given=jira.give,
            assign=jira.assign,
            comments=lambda key: [unmarked(unescaped(text)) for text in jira.comments(key)],
            links=jira.links,
            moved=lambda key, wanted: jira.move(key, "Open" if wanted is IssueState.OPEN else STATUS[wanted]),
            # It makes a person of every name.
            knows_logins=False,
        )
