"""The bench of the Redmine tracker on our fake Redmine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.adapters.trackers.unseen import unmarked
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.project import TrackerConfig
from tests.contracts.tracker_bench import Bench
from tests.fakes.hosts.redmine import FakeRedmine, fake_redmine

CONFIG = TrackerConfig(kind="redmine", connection="redmine", project="shop", prefix="SHOP")


def number(key: FeatureKey) -> int:
    return int(key.rpartition("-")[2])


def assign(fake: FakeRedmine, key: FeatureKey, person: str | None) -> None:
    fake.issues[number(key)].assignee = fake.users[person] if person else None


@contextmanager
def redmine_bench() -> Iterator[Bench]:
    with fake_redmine() as fake:
        yield Bench(
            tracker=RedmineTracker(fake.login(), config=CONFIG),
            given=lambda key: fake.give(number(key)),
            assign=lambda key, person: assign(fake, key, person),
            comments=lambda key: [unmarked(one.notes) for one in fake.issues[number(key)].journals],
        )
