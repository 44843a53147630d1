"""What every ``Messenger`` must do. A new one adds a bench to ``BENCHES``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.adapters.messengers.log import LogMessenger
from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
from feature_delivery.ports.messenger import Message, Messenger
from tests.fakes.ledger import memory_ledger

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


BENCHES = {"log": log_bench}


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
