"""What the ledger itself refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import URL, create_engine, pool

from feature_delivery.adapters.ledger import ledger_begin
from feature_delivery.domain.errors import Conflict, Misconfigured
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.records import (
    Feature,
    GateState,
    HeardComment,
    PromotionState,
    QueuePlace,
)
from feature_delivery.ports.ledger import Books
from tests.contracts.ledger.rows import (
    KEY,
    SHOP,
    Begin,
    a_feature,
    a_gate,
    a_promotion,
    a_webhook,
    an_attempt,
    an_environment,
)


def add_twice(books: Books, make: Callable[[Books, Feature], object]) -> None:
    books.lock_project(SHOP)
    feature = a_feature(books)
    make(books, feature)
    make(books, feature)


RULES: dict[str, tuple[Callable[[Books, Feature], object], str]] = {
    "delivery": (
        lambda b, _: b.add(
            Feature(project=SHOP, key=FeatureKey("SHOP-9"), delivery=1, run_id=f"r{len(b.features())}", title="")
        ),
        "delivery of the issue has been started",
    ),
    "run": (
        lambda b, f: b.add(Feature(project=SHOP, key=KEY, delivery=f.id + len(b.features()) + 5, run_id="r", title="")),
        "carried by this run",
    ),
    "attempt": (an_attempt, "attempt of the feature is recorded"),
    "environment": (an_environment, "environment of this name exists"),
    "gate": (a_gate, "waits at a gate already"),
    "promotion": (lambda b, f: a_promotion(b, f, state=PromotionState.UNCERTAIN), "promotion of the project"),
    "queue": (lambda b, f: b.add(QueuePlace(project=SHOP, feature_id=f.id)), "in the queue"),
    "webhook": (lambda b, _: b.add(a_webhook(1)), "webhook has been stored"),
    "heard": (
        lambda b, f: b.add(
            HeardComment(project=SHOP, comment="c", feature_id=f.id, request=1, author="rita", verb="keep")
        ),
        "comment has been acted upon already",
    ),
    "outbox": (
        lambda b, f: b.add(
            OutboxEntry(project=SHOP, feature_id=f.id, kind=Errand.MESSAGE, payload={}, marker="m"),
        ),
        "in the outbox already",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_must_be_unique_is_refused_the_second_time_and_nothing_is_stored(begin: Begin, rule: str) -> None:
    make, sentence = RULES[rule]
    with pytest.raises(Conflict, match=sentence), begin() as books:
        add_twice(books, make)
    with begin() as books:
        assert books.features() == []


def test_a_change_that_breaks_a_rule_at_the_end_is_a_conflict_too(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        a_gate(books, feature)
        a_gate(books, feature, state=GateState.CLOSED)
    with pytest.raises(Conflict, match="waits at a gate already"), begin() as books:
        books.gates(books.feature_by_id(1))[1].state = GateState.OPEN


@pytest.mark.parametrize("state", list(PromotionState))
def test_every_state_of_a_promotion_can_be_stored(begin: Begin, state: PromotionState) -> None:
    with begin() as books:
        a_promotion(books, a_feature(books), state=state)
    with begin() as books:
        assert books.promotions(SHOP)[0].state is state


def test_missing_tables_are_named_as_such(empty_postgres_url: URL) -> None:
    begin = ledger_begin(create_engine(empty_postgres_url, poolclass=pool.NullPool))
    with pytest.raises(Misconfigured, match="airflow db migrate"), begin() as (_, books):
        books.lock_project(SHOP)
    begin = ledger_begin(create_engine("sqlite://", poolclass=pool.NullPool))
    with pytest.raises(Misconfigured, match="airflow db migrate"), begin() as (_, books):
        books.lock_project(SHOP)


def test_numbers_are_never_given_twice(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        books.add(QueuePlace(project=SHOP, feature_id=feature.id))
        first = books.queue(SHOP)[0].id
        books.leave_queue(feature)
        books.add(QueuePlace(project=SHOP, feature_id=feature.id))
        assert books.queue(SHOP)[0].id > first


def test_records_can_be_read_after_their_transaction(begin: Begin) -> None:
    with begin() as books:
        a_feature(books)
    with begin() as books:
        feature = books.feature(SHOP, KEY)
        books.lock_project(SHOP)
    assert feature
    assert feature.title == "Gift cards"
