"""What the monitoring reads of the ledger: what blocks a gate is what its own sentence tells of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.metric_books import SqlMetricBooks
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import now
from feature_delivery.ports.metrics import Blocked
from tests.fakes.ledger import MemoryLedger, memory_ledger
from tests.support.board_world import DAY, HOUR, MINUTE, Planted, plant


@pytest.fixture
def ledger() -> Iterator[MemoryLedger]:
    made = memory_ledger()
    yield made
    made.close()


def blocked(ledger: MemoryLedger) -> dict[str, Blocked]:
    with ledger.begin() as (session, _books):
        found = SqlMetricBooks(session).facts(now(), releases_since=now() - DAY).blocked
    return {one.key: one for one in found}


def at_acceptance(books: SqlBooks, key: str, *failed: Step) -> Planted:
    """Plant a feature whose steps failed one after the other, and whose gate has been blocked for an hour."""
    planted = plant(books, key, Step.WAIT_FOR_ACCEPTANCE, waiting=HOUR, blocked="red")
    for step in failed:
        planted.work(step, failed="red", lasts=MINUTE)
    return planted


def test_what_blocks_a_gate_is_the_last_step_before_it_that_failed_and_since_when(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        planted = at_acceptance(books, "SHOP-1", Step.TEST_PREPROD, Step.CHECK_UNIT, Step.PROMOTE)
    found = blocked(ledger)["SHOP-1"]
    assert found.step == Step.TEST_PREPROD
    assert found.since == planted.at - 2 * MINUTE


def test_a_failure_of_an_older_attempt_or_one_that_was_mended_blocks_nothing(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        at_acceptance(books, "SHOP-1", Step.TEST_PREPROD).work(Step.TEST_PREPROD)
        at_acceptance(books, "SHOP-2", Step.TEST_PREPROD).pushed()
        at_acceptance(books, "SHOP-3", Step.TEST_PREPROD)
    found = blocked(ledger)
    gate = Step.WAIT_FOR_ACCEPTANCE
    steps = {key: one.step for key, one in found.items()}
    assert steps == {"SHOP-1": gate, "SHOP-2": gate, "SHOP-3": Step.TEST_PREPROD}
    assert now() - found["SHOP-1"].since >= HOUR, "since the gate opened"
