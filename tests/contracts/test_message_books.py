"""What the ledger keeps for messages: lanes of the outbox, posts, alerts; on PostgreSQL and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from feature_delivery.adapters.ledger import ledger_begin
from feature_delivery.domain.errors import Conflict, NotFound
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.outbox import Errand, OutboxEntry, Post
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Alert, Feature, FeatureState
from feature_delivery.ports.ledger import Books
from tests.contracts.ledger.rows import HOUR, NOON, OTHER, SHOP, a_feature
from tests.contracts.test_board_books import Begin
from tests.fakes.books import FakeBooks
from tests.fakes.ledger import memory_ledger


@pytest.fixture(params=["postgresql", "memory"])
def begin(request: pytest.FixtureRequest) -> Iterator[Begin]:
    if request.param == "postgresql":
        yield ledger_begin(request.getfixturevalue("postgres_engine"))
        return
    memory = memory_ledger()
    yield memory.begin
    memory.close()


def entry(books: Books, feature: Feature | None, marker: str, **more: object) -> OutboxEntry:
    fields: dict[str, object] = {"project": SHOP, "kind": Errand.POST, "payload": {}, "lane": "slack", "due_at": NOON}
    number = feature.id if feature is not None else 0
    made = OutboxEntry(feature_id=number, marker=marker, **fields | more)  # type: ignore[arg-type]
    books.add(made)
    return made


def check_lanes(books: Books) -> None:
    one, two = a_feature(books), a_feature(books, "SHOP-2")
    first = entry(books, one, "1", due_at=NOON + HOUR)
    second = entry(books, one, "2")
    assert books.outbox_next() == NOON + HOUR  # the second waits, however long it is due
    mail = entry(books, one, "3", lane="mail")
    other, free = entry(books, two, "4"), entry(books, one, "5", lane="")
    assert list(books.outbox_due(NOON)) == [mail, other, free]  # the second waits for the first, which is not due
    first.sent_at = NOON
    assert list(books.outbox_due(NOON)) == [second, mail, other, free]


def check_signers(books: Books) -> None:
    one, two, over = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
    over.state = FeatureState.DELIVERED
    for feature, digest, settled in ((one, "d:old", False), (two, "d:new", False), (two, "d:old", True)):
        books.add(a_post(feature, digest, settled=settled))
    for feature, project, digest in ((over, SHOP, "d:old"), (two, OTHER, "d:old"), (two, SHOP, "")):
        books.add(a_post(feature, digest, project=project))
    assert list(books.signed_otherwise(SHOP, "slack", ":new")) == [one]
    assert list(books.signed_otherwise(SHOP, "slack", ":third")) == [one, two]
    assert list(books.signed_otherwise(SHOP, "mail", ":new")) == []


def a_post(feature: Feature, digest: str, *, settled: bool = False, project: ProjectName = SHOP) -> Post:
    marker = f"{feature.key} {digest} {settled} {project}"
    post = Post(project=project, feature_id=feature.id, channel="slack", marker=marker)
    post.place, post.digest, post.settled = "C1", digest, settled
    return post


def check_sides(books: Books) -> None:
    feature = a_feature(books)
    show, mend, hear, comment = (
        entry(books, feature, kind, kind=kind, lane="", due_at=NOON - number * HOUR)
        for number, kind in enumerate((Errand.SHOW, Errand.MEND, Errand.HEAR, Errand.ISSUE_COMMENT))
    )
    foreign = entry(books, None, "2", kind=Errand.SHOW, lane="", project=OTHER)
    slack, mail = entry(books, None, "3"), entry(books, None, "4", lane="mail")
    assert list(books.outbox_due(NOON)) == [comment, hear, mend, show, foreign, slack, mail]
    besides = [show.side, mail.side, comment.side]
    assert list(books.outbox_due(NOON, besides=besides)) == [hear, mend, foreign, slack]
    assert books.outbox_next(besides=besides) == hear.due_at
    assert books.outbox_next(besides=[*besides, hear.side, mend.side]) == NOON
    everything = {one.side for one in (show, mend, hear, comment, foreign, slack, mail)}
    assert (len(everything), books.outbox_next(besides=everything)) == (7, None)
    comment.tries = 1
    assert books.outbox_due(NOON)[-1] is comment, "what was not tried yet comes before what is tried again"


def check_kept(books: Books) -> None:
    one, two, sent = (entry(books, None, marker) for marker in ("1", "2", "3"))
    two.error, sent.sent_at = "It does not answer.", NOON
    lately = entry(books, None, "4", due_at=NOON + HOUR / 2)
    until = {"before": NOON + HOUR / 2, "until": NOON + HOUR}
    books.outbox_keep([], **until, said="It is slow.")
    books.outbox_keep([one.id, two.id, sent.id, lately.id], **until, said="It is slow.")
    found = [books.outbox_marked(SHOP, marker) for marker in ("1", "2", "3", "4")]
    assert [(e.due_at, e.error) for e in found if e] == [
        (NOON + HOUR, "It is slow."),
        (NOON + HOUR, "It does not answer."),
        (NOON, ""),
        (NOON + HOUR / 2, ""),
    ]


def check_postponed(books: Books) -> None:
    feature = a_feature(books)
    mine, later = entry(books, feature, "1"), entry(books, None, "2", due_at=NOON + 2 * HOUR)
    mail, foreign = entry(books, feature, "3", lane="mail"), entry(books, feature, "1", project=OTHER)
    books.outbox_postpone(SHOP, "slack", NOON + HOUR)
    assert [one.due_at for one in (mine, later, mail, foreign)] == [NOON + HOUR, NOON + 2 * HOUR, NOON, NOON]


def check_posted(books: Books) -> None:
    for channel, place, at in (("slack", "C1", NOON), ("mail", "", NOON)):
        books.add(Post(project=SHOP, feature_id=0, channel=channel, marker="m", place=place, at=at))
    assert books.posted_between(SHOP, "slack", NOON - HOUR, NOON)
    assert not books.posted_between(SHOP, "slack", NOON, NOON + HOUR)
    assert not books.posted_between(SHOP, "slack", NOON - 2 * HOUR, NOON - HOUR)
    assert not books.posted_between(SHOP, "mail", NOON - HOUR, NOON), "it was about to be sent"
    assert not books.posted_between(OTHER, "slack", NOON - HOUR, NOON)


def check_unknown(books: Books) -> None:
    with pytest.raises(NotFound):
        books.feature_by_id(0)  # what is said about a project as a whole is about no feature


CHECKS = {
    "lanes": check_lanes,
    "signers": check_signers,
    "sides": check_sides,
    "kept": check_kept,
    "postponed": check_postponed,
    "posted": check_posted,
    "unknown": check_unknown,
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_outbox_of_the_ledger_keeps_the_rules_of_lanes(begin: Begin, check: str) -> None:
    with begin() as (_session, books):
        CHECKS[check](books)


@pytest.mark.parametrize("check", CHECKS)
def test_the_outbox_of_the_simulated_world_keeps_the_same_rules(check: str) -> None:
    CHECKS[check](FakeBooks())


def test_messages_that_may_change_are_found_by_their_feature(begin: Begin) -> None:
    with begin() as (_session, books):
        feature = a_feature(books)
        for marker, settled in (("a", False), ("b", True), ("c", False)):
            books.add(Post(project=SHOP, feature_id=feature.id, channel="slack", marker=marker, settled=settled))
        books.add(Post(project=SHOP, feature_id=feature.id, channel="mail", marker="a", settled=False))
    with begin() as (_session, books):
        found = books.feature_by_id(feature.id)
        assert [one.marker for one in books.posts_open(found, "slack")] == ["a", "c"]
        post = books.post(SHOP, "mail", "a")
        assert post
        assert (post.feature_id, post.settled) == (feature.id, False)
        assert books.post(ProjectName("other"), "mail", "a") is None


def test_one_alert_of_a_step_is_open_at_a_time(begin: Begin) -> None:
    with begin() as (_session, books):
        feature = a_feature(books)
        first = an_alert(books, feature, details=["line <1>"])
        first.resolved_at, first.resolution = NOON, "It works."
        second = an_alert(books, feature)
        an_alert(books, feature, step=Step.PROMOTE)
        assert [one.step for one in books.alerts_open(feature)] == [second.step, Step.PROMOTE]
        kept = books.alert(first.id)
        assert kept
        assert (kept.details, kept.resolution) == (["line <1>"], "It works.")
        assert books.alert(first.id + 99) is None
    with pytest.raises(Conflict, match="an alert about this step"), begin() as (_session, books):
        an_alert(books, feature)
    with pytest.raises(Conflict, match="sent to this channel already"), begin() as (_session, books):
        add_twice(books, feature)


def add_twice(books: Books, feature: Feature) -> None:
    for _ in range(2):
        books.add(Post(project=SHOP, feature_id=feature.id, channel="slack", marker="m"))


def an_alert(books: Books, feature: Feature, **more: object) -> Alert:
    fields: dict[str, object] = {"step": Step.DEPLOY_PREPROD, "text": "no", "opened_at": NOON - timedelta(minutes=1)}
    made = Alert(project=SHOP, feature_id=feature.id, attempt=1, **fields | more)  # type: ignore[arg-type]
    books.add(made)
    return made
