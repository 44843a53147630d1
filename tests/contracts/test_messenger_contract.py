"""What every ``Messenger`` must do. A new one adds a bench to ``BENCHES``."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.adapters.ledger.posts import SqlPosts
from feature_delivery.adapters.messengers.log import LogMessenger
from feature_delivery.adapters.messengers.notifiers import NotifierMessenger
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
from feature_delivery.ports.messenger import Message, Messenger
from tests.fakes.ledger import memory_ledger
from tests.fakes.messenger import FakeMessenger
from tests.fakes.slack import Said
from tests.support.slack_stage import slack_stage

SHOP, KEY = ProjectName("shop"), FeatureKey("SHOP-1")
ASK = Message(id="m-1", project=SHOP, key=KEY, to=(PersonName("tom"), PersonName("tina")), text="Please test SHOP-1.")


@dataclass
class Bench:
    """A messenger under test, and what has arrived: who is meant, and the text, in order."""

    messenger: Messenger
    arrived: Callable[[ProjectName, FeatureKey], list[tuple[tuple[str, ...], str]]]


@contextmanager
def log_bench() -> Iterator[Bench]:
    ledger = memory_ledger()
    records = SqlLocalRecords(transactions(ledger.engine))
    yield Bench(
        messenger=LogMessenger(records=records),
        arrived=lambda project, key: [(message.to, message.text) for message in records.messages(project, key)],
    )
    ledger.close()


@contextmanager
def fake_bench() -> Iterator[Bench]:
    fake = FakeMessenger()
    yield Bench(
        messenger=fake,
        arrived=lambda project, key: [(m.to, m.text) for m in fake.sent if (m.project, m.key) == (project, key)],
    )


@contextmanager
def slack_bench() -> Iterator[Bench]:
    ledger = memory_ledger()
    with slack_stage() as stage:
        stage.posts = SqlPosts(transactions(ledger.engine))

        def arrived(project: ProjectName, key: FeatureKey) -> list[tuple[tuple[str, ...], str]]:
            thread = stage.posts.find(project, CHAT, f"thread:{key}")
            assert thread
            return [_read(one) for one in stage.slack.said() if one.thread == thread.ts]

        yield Bench(messenger=stage.messenger(), arrived=arrived)
    ledger.close()


def _read(said: Said) -> tuple[tuple[str, ...], str]:
    """Return who is mentioned in a message, and the rest as Slack shows it."""
    text = said.blocks[0]["text"]["text"]
    people = tuple(user.removeprefix("U0").lower() for user in re.findall(r"<@(\w+)>", text))
    return people, html.unescape(re.sub(r"<@\w+> ", "", text))


@contextmanager
def notifier_bench() -> Iterator[Bench]:
    ledger, told = memory_ledger(), list[dict[str, Any]]()
    posts = SqlPosts(transactions(ledger.engine))
    yield Bench(
        messenger=NotifierMessenger(lambda: lambda about: told.append(about["delivery"]), name="mail", posts=posts),
        arrived=lambda project, key: [
            (tuple(one["people"]), one["text"]) for one in told if (one["project"], one["key"]) == (project, key)
        ],
    )
    ledger.close()


BENCHES = {"fake": fake_bench, "log": log_bench, "notifier": notifier_bench, "slack": slack_bench}


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with BENCHES[request.param]() as made:
        yield made


def test_a_message_arrives_with_the_people_it_is_meant_for(bench: Bench) -> None:
    bench.messenger.send(ASK)
    bench.messenger.send(replace(ASK, id="m-2", to=(), text="Shipped <b>&\nall \U0001f381"))
    assert bench.arrived(SHOP, KEY) == [(("tom", "tina"), "Please test SHOP-1."), ((), "Shipped <b>&\nall \U0001f381")]


def test_the_same_message_again_is_not_sent_twice(bench: Bench) -> None:
    for text in ("Please test SHOP-1.", "Please test SHOP-1.", "Another text under the same id"):
        bench.messenger.send(replace(ASK, text=text))
    assert bench.arrived(SHOP, KEY) == [(("tom", "tina"), "Please test SHOP-1.")]


def test_a_message_that_changes_is_not_sent_again(bench: Bench) -> None:
    bench.messenger.send(ASK)
    bench.messenger.update(replace(ASK, outcome="tom approved."))
    bench.messenger.update(replace(ASK, id="m-9", text="This was never sent."))
    assert len(bench.arrived(SHOP, KEY)) == 1


def test_messages_of_other_features_and_projects_are_their_own(bench: Bench) -> None:
    other, key = ProjectName("other"), FeatureKey("SHOP-2")
    bench.messenger.send(ASK)
    bench.messenger.send(replace(ASK, project=other))
    bench.messenger.send(replace(ASK, key=key, id="m-3"))
    assert [len(bench.arrived(*place)) for place in ((SHOP, KEY), (other, KEY), (SHOP, key))] == [1, 1, 1]


def test_the_log_gets_one_line_per_message_whatever_the_text_says(caplog: pytest.LogCaptureFixture) -> None:
    with log_bench() as bench, caplog.at_level(logging.INFO, logger="feature_delivery"):
        bench.messenger.send(replace(ASK, text="Hello\nERROR forged line\r\n%s"))
        bench.messenger.send(replace(ASK, text="Hello\nERROR forged line"))
    assert [record.getMessage() for record in caplog.records] == [
        "shop SHOP-1, to tom, tina: Hello ERROR forged line %s"
    ]
