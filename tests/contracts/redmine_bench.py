"""The bench of the Redmine tracker on our fake Redmine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.adapters.trackers.unseen import carries, unmarked
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.project import TrackerConfig
from feature_delivery.ports.tracker import IssueState
from tests.contracts.tracker_bench import Bench
from tests.fakes.hosts.redmine import fake_redmine

CONFIG = TrackerConfig(kind="redmine", connection="redmine", project="shop", prefix="SHOP")


STATUS = {IssueState.OPEN: 1, IssueState.IN_PROGRESS: 2, IssueState.DONE: 5}


def number(key: FeatureKey) -> int:
    return int(key.rpartition("-")[2])


LINKS = tuple(f"link:{marker}" for marker in ("request", "development"))
"""Marks of notes that stand for links, in the contract."""


def is_link(note: str) -> bool:
    return any(carries(note, link) for link in LINKS)


def shown_links(notes: list[str]) -> list[tuple[str, str]]:
    return [(title, url) for note in notes if is_link(note) for title, _, url in [unmarked(note).partition(": ")]]


@contextmanager
def redmine_bench() -> Iterator[Bench]:
    with fake_redmine() as fake:
        fake.page = 2

        def notes(key: FeatureKey) -> list[str]:
            return [one.notes for one in fake.issues[number(key)].journals]

        def block(_key: FeatureKey) -> None:
            for ways in fake.manager.workflow.values():
                ways.discard(STATUS[IssueState.DONE])

        yield Bench(
            tracker=RedmineTracker(fake.login(), config=CONFIG),
            given=lambda key: fake.give(number(key)),
            assign=lambda key, person: fake.assign(number(key), person),
            comments=lambda key: [unmarked(note) for note in notes(key) if not is_link(note)],
            links=lambda key: shown_links(notes(key)),
            moved=lambda key, state: fake.move(number(key), STATUS[state]),
            block=block,
            many=5,
        )
