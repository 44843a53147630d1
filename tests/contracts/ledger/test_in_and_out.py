"""Webhooks that come in, and the outbox."""

from __future__ import annotations

from datetime import datetime

from feature_delivery.domain.outbox import Errand, OutboxEntry, side
from feature_delivery.domain.records import (
    LISTING_HOST,
    WebhookState,
)
from tests.contracts.ledger.rows import (
    HOUR,
    NOON,
    OTHER,
    SHOP,
    Begin,
    a_feature,
    a_webhook,
)


def test_webhooks_wait_until_they_are_processed(begin: Begin) -> None:
    with begin() as books:
        made = [a_webhook(number) for number in range(4)]
        for webhook in made:
            books.add(webhook)
        made[1].processed_at = NOON
        assert books.webhooks_to_process() == [made[0], made[2], made[3]]
        assert books.webhooks_to_process(limit=2) == [made[0], made[2]]
        assert books.webhook(SHOP, "d-1") is made[1]
        assert books.webhook(OTHER, "d-1") is None
    with begin() as books:
        found = books.webhook(SHOP, "d-0")
        assert found
        assert found.body == bytes(range(256))
        assert isinstance(found.body, bytes)


def test_what_was_looked_into_least_often_comes_first(begin: Begin) -> None:
    """A project whose host is down must keep no other waiting."""
    with begin() as books:
        for number in range(4):
            books.add(a_webhook(number, project=OTHER if number == 3 else SHOP, tries=0 if number == 3 else 2))
        assert [one.delivery_id for one in books.webhooks_to_process(limit=2)] == ["d-3", "d-0"]


def test_webhooks_are_listed_newest_first_by_their_state(begin: Begin) -> None:
    with begin() as books:
        made = [a_webhook(number) for number in range(5)]
        made[1].processed_at = NOON
        made[2].processed_at, made[2].ignored = NOON, "a tag"
        made[3].processed_at, made[3].ignored = NOON, "a tag"
        made[4].processed_at, made[4].ignored = NOON, "a bot"
        listing = a_webhook(5, host=LISTING_HOST)
        for webhook in (*made, listing, a_webhook(6, project=OTHER)):
            books.add(webhook)
        assert books.webhooks(SHOP) == made[::-1]
        assert books.webhooks(SHOP, limit=2) == [made[4], made[3]]
        assert books.webhooks(SHOP, before=made[3].id, limit=2) == [made[2], made[1]]
        assert books.webhooks(SHOP, state=WebhookState.WAITING) == [made[0]]
        assert books.webhooks(SHOP, state=WebhookState.PROCESSED) == [made[1]]
        assert books.webhooks(SHOP, state=WebhookState.IGNORED) == [made[4], made[3], made[2]]
        assert books.webhook_counts(SHOP) == {"waiting": 1, "processed": 1, "ignored": 3}
        assert list(books.webhooks_ignored(SHOP).items()) == [("a tag", 2), ("a bot", 1)]
        assert books.webhook_by_id(SHOP, made[2].id) is made[2]
        assert books.webhook_by_id(OTHER, made[2].id) is None
        assert books.webhook_by_id(SHOP, listing.id) is None


def test_bodies_are_forgotten_first_and_webhooks_later_but_none_that_waits(begin: Begin) -> None:
    old, older = NOON - 8 * 24 * HOUR, NOON - 91 * 24 * HOUR
    with begin() as books:
        for number, received in enumerate((NOON, old, older)):
            books.add(a_webhook(number, received_at=received, processed_at=NOON, headers={"host": "h"}))
            books.add(a_webhook(10 + number, received_at=received, headers={"host": "h"}))
            books.add(a_webhook(20 + number, received_at=received, processed_at=NOON, host=LISTING_HOST))
    before = {"bodies_before": NOON - 7 * 24 * HOUR, "rows_before": NOON - 90 * 24 * HOUR}
    with begin() as books:
        assert books.prune_webhooks(**before) == 2
        assert books.prune_webhooks(**before) == 0
    with begin() as books:
        left = {n: found for n in range(23) if (found := books.webhook(SHOP, f"d-{n}"))}
        assert sorted(left) == [0, 1, 10, 11, 12, 20, 21, 22]
        assert [n for n, found in left.items() if not found.body] == [1]
        assert [n for n in (0, 1, 10, 11, 12) if not left[n].headers] == [1]


def test_the_outbox_gives_what_was_tried_least_then_what_is_due_longest(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        due = {"later": NOON + HOUR, "second": NOON, "first": NOON - HOUR, "sent": NOON}
        made = {
            name: OutboxEntry(
                project=SHOP, feature_id=feature.id, kind=Errand.MESSAGE, payload={"a": [1]}, marker=name, due_at=at
            )
            for name, at in due.items()
        }
        for entry in made.values():
            books.add(entry)
        made["sent"].sent_at = NOON
        books.add(OutboxEntry(project=SHOP, feature_id=0, kind=Errand.MESSAGE, payload={}, marker="about the project"))
        assert books.outbox_due(NOON) == [made["first"], made["second"]]
        assert books.outbox_due(NOON, limit=1) == [made["first"]]
        made["first"].tries = 1
        assert books.outbox_due(NOON) == [made["second"], made["first"]]
        assert books.outbox(feature) == list(made.values())


def test_an_entry_of_the_outbox_is_found_by_its_marker(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        made = OutboxEntry(
            project=SHOP, feature_id=feature.id, kind=Errand.SHOW, payload={"asked": 1, "shown": {}}, marker="m"
        )
        books.add(made)
        assert books.outbox_marked(SHOP, "m") is made
        assert books.outbox_marked(SHOP, "n") is None
        assert books.outbox_marked(OTHER, "m") is None
        made.payload["asked"] = 2
    with begin() as books:
        found = books.outbox_marked(SHOP, "m")
        assert found
        assert found.payload == {"asked": 2, "shown": {}}


def test_the_next_unsent_entry_says_when_it_is_due(begin: Begin) -> None:
    with begin() as books:
        assert books.outbox_next() is None
        feature = a_feature(books)
        for marker, due in (("late", NOON + HOUR), ("sent", NOON - HOUR), ("next", NOON)):
            entry = OutboxEntry(
                project=SHOP, feature_id=feature.id, kind=Errand.MESSAGE, payload={}, marker=marker, due_at=due
            )
            entry.sent_at = NOON if marker == "sent" else None
            books.add(entry)
        assert books.outbox_next() == NOON


def test_what_waits_in_a_lane_behind_another_is_not_the_next_however_long_it_is_due(begin: Begin) -> None:
    """Whoever waits for the next one would else look many times a second for as long as the first cannot be sent."""
    with begin() as books:
        feature = a_feature(books)

        def entry(marker: str, due: datetime, lane: str = "slack", kind: Errand = Errand.POST) -> OutboxEntry:
            made = OutboxEntry(
                project=SHOP, feature_id=feature.id, kind=kind, payload={}, marker=marker, lane=lane, due_at=due
            )
            books.add(made)
            return made

        first, behind = entry("first", NOON + HOUR), entry("behind", NOON - HOUR)
        assert (books.outbox_due(NOON), books.outbox_next()) == ([], first.due_at)
        assert books.outbox_next(besides=[side(SHOP, Errand.MEND, "slack")]) == first.due_at
        mend = entry("of another kind, behind both", NOON - 2 * HOUR, kind=Errand.MEND)
        assert books.outbox_next(besides=[first.side]) is None
        other = entry("in another lane", NOON + HOUR / 2, lane="mail")
        assert books.outbox_next() == other.due_at
        first.sent_at = other.sent_at = NOON
        assert (books.outbox_due(NOON), books.outbox_next()) == ([behind], behind.due_at)
        behind.sent_at = NOON
        assert (books.outbox_due(NOON), books.outbox_next()) == ([mend], mend.due_at)
        lanes = [entry(f"in no lane {n}", NOON - n * HOUR, lane="") for n in (3, 4)]
        assert (books.outbox_due(NOON), books.outbox_next()) == ([*lanes[::-1], mend], lanes[1].due_at)
