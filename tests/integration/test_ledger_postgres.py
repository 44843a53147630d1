"""The ledger under real concurrency: many transactions at once on one PostgreSQL."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from queue import Queue
from typing import TYPE_CHECKING, cast

import pytest
from sqlalchemy import URL, Engine, create_engine, pool, text
from sqlalchemy.orm import Session, sessionmaker

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin, transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.adapters.local_records import LocalComment, LocalMessage, Place
from feature_delivery.domain.errors import Conflict, Error, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName, TreeSha
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Feature,
    Gate,
    GateState,
    Promotion,
    PromotionState,
    QueuePlace,
    WebhookDelivery,
    now,
)
from feature_delivery.ports.ledger import Unit
from feature_delivery.services.control.errands import Claimed, Outcome
from feature_delivery.services.control.history import record
from feature_delivery.services.control.outbox import _mark

if TYPE_CHECKING:
    from feature_delivery.ports.runs import Runs

SHOP, OTHER = ProjectName("shop"), ProjectName("other")
KEY = FeatureKey("SHOP-1")
THREADS = 8

Begin = Callable[[], AbstractContextManager[tuple[Session, SqlBooks]]]


@pytest.fixture
def begin(postgres_engine: Engine) -> Begin:
    return ledger_begin(postgres_engine)


def at_once(work: Callable[[int], object]) -> list[object]:
    """Run ``work`` in all threads at the same moment; errors of ours are results."""
    start = threading.Barrier(THREADS)

    def one(number: int) -> object:
        start.wait(30)
        try:
            return work(number)
        except Error as error:
            return error

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, range(THREADS), timeout=120))


def a_feature(begin: Begin, key: str = KEY) -> int:
    with begin() as (_, books):
        feature = Feature(project=SHOP, key=FeatureKey(key), delivery=1, run_id=key, title="Gift cards")
        books.add(feature)
        return feature.id


def test_no_update_under_the_lock_is_lost(begin: Begin) -> None:
    a_feature(begin)

    def count(_number: int) -> None:
        for _try in range(20):
            with begin() as (_session, books):
                feature = books.feature(SHOP, KEY)  # read before the lock, and so perhaps stale
                project = books.lock_project(SHOP)
                assert feature
                project.frozen_reason = str(int(project.frozen_reason or 0) + 1)
                feature.attempt_number += 1

    assert at_once(count) == [None] * THREADS
    with begin() as (_, books):
        project, feature = books.project(SHOP), books.feature(SHOP, KEY)
        assert project
        assert feature
        assert int(project.frozen_reason) == feature.attempt_number == THREADS * 20


def test_a_record_read_before_the_lock_shows_what_its_last_holder_wrote(begin: Begin) -> None:
    number = a_feature(begin)
    read, written, found = threading.Event(), threading.Event(), Queue[str]()

    def late() -> None:
        with begin() as (_, books):
            feature = books.feature_by_id(number)
            assert feature.title == "Gift cards"
            read.set()
            assert written.wait(30)
            books.lock_project(SHOP)
            found.put(feature.title)

    thread = threading.Thread(target=late)
    with begin() as (_, books):
        books.lock_project(SHOP)
        thread.start()
        assert read.wait(30)
        books.feature_by_id(number).title = "Vouchers"
        written.set()
    thread.join(30)
    assert found.get(timeout=5) == "Vouchers"


def test_every_read_shows_what_others_have_committed_since_the_last_one(begin: Begin) -> None:
    number = a_feature(begin)
    with begin() as (_, books):
        feature = books.feature_by_id(number)
        with begin() as (_, other):
            other.feature_by_id(number).title = "Vouchers"
        assert feature.title == "Gift cards"
        assert books.feature_by_id(number) is feature
        assert feature.title == "Vouchers"


def test_a_record_deleted_before_the_lock_does_not_look_alive(begin: Begin) -> None:
    number = a_feature(begin)
    with begin() as (_, books):
        books.add(QueuePlace(project=SHOP, feature_id=number))
    with begin() as (_, books):
        (place,) = books.queue(SHOP)
        with begin() as (_, other):
            other.leave_queue(other.feature_by_id(number))
        books.lock_project(SHOP)
        with pytest.raises(Exception, match="deleted"):
            _ = place.waiting


def test_the_lock_is_one_per_project_and_ends_with_the_transaction(begin: Begin) -> None:
    def lock_at_once(name: ProjectName) -> None:
        with begin() as (session, books):
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            books.lock_project(name)

    lock_at_once(SHOP)
    with begin() as (_, books):
        books.lock_project(SHOP)
        lock_at_once(OTHER)
        with pytest.raises(Unavailable, match="lock timeout"):
            lock_at_once(SHOP)
    lock_at_once(SHOP)


def test_a_webhook_is_stored_while_the_project_is_locked(begin: Begin) -> None:
    number = a_feature(begin)
    with begin() as (_, books):
        books.lock_project(SHOP)
        books.feature_by_id(number).title = "Vouchers"
        with begin() as (session, other):
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            other.add(WebhookDelivery(project=SHOP, delivery_id="d", host="local", event="push", body=b""))
            assert other.instance()


def test_one_webhook_from_many_hands_is_one_row(begin: Begin) -> None:
    def store(_number: int) -> int:
        with begin() as (_, books):
            webhook = WebhookDelivery(project=SHOP, delivery_id="same", host="local", event="push", body=b"{}")
            books.add(webhook)
            return webhook.id

    results = at_once(store)
    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * (THREADS - 1) + ["int"]
    with begin() as (_, books):
        assert len(books.webhooks_to_process()) == 1


def test_waiting_webhooks_are_shared_out_and_none_is_taken_twice(begin: Begin) -> None:
    with begin() as (_, books):
        for number in range(40):
            books.add(WebhookDelivery(project=SHOP, delivery_id=f"{number}", host="local", event="push", body=b""))
    all_have_read = threading.Barrier(THREADS)

    def take(_number: int) -> list[str]:
        with begin() as (_, books):
            mine = books.webhooks_to_process(limit=5)
            all_have_read.wait(30)
            for webhook in mine:
                webhook.processed_at = now()
            return [webhook.delivery_id for webhook in mine]

    taken = [name for names in at_once(take) for name in names]  # type: ignore[attr-defined]
    assert sorted(taken, key=int) == [str(number) for number in range(40)]
    with begin() as (_, books):
        assert books.webhooks_to_process() == []


def test_the_instance_and_the_project_are_made_once_by_many(begin: Begin) -> None:
    def first(_number: int) -> str:
        with begin() as (_, books):
            books.lock_project(SHOP)
            return books.instance()

    assert len(set(at_once(first))) == 1


def test_one_open_gate_per_feature_holds_among_many(begin: Begin) -> None:
    number = a_feature(begin)

    def open_gate(place: int) -> int:
        with begin() as (_, books):
            step = [Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_CODE][place % 2]
            gate = Gate(feature_id=number, step=step)
            books.add(gate)
            return gate.id

    results = at_once(open_gate)
    assert sum(isinstance(result, Conflict) for result in results) == THREADS - 1
    with begin() as (_, books):
        assert [gate.state for gate in books.open_gates()] == [GateState.OPEN]


def test_one_open_promotion_per_project_holds_among_many(begin: Begin) -> None:
    number = a_feature(begin)
    sha = CommitSha("a" * 40)

    def promote(_number: int) -> None:
        with begin() as (_, books):
            promotion = Promotion(
                project=SHOP, feature_id=number, attempt=1, before=sha, candidate=sha, tree=TreeSha(sha)
            )
            books.add(promotion)
            promotion.state = PromotionState.MOVED

    results = at_once(promote)
    assert sum(isinstance(result, Conflict) for result in results) == THREADS - 1
    with begin() as (_, books):
        assert len(books.promotions(SHOP)) == 1


def test_a_deadlock_is_temporary_and_only_one_pays_for_it(begin: Begin) -> None:
    for name in (SHOP, OTHER):
        with begin() as (_, books):
            books.lock_project(name)
    both = threading.Barrier(2)

    def cross(number: int) -> str:
        order = [SHOP, OTHER] if number else [OTHER, SHOP]
        with begin() as (_, books):
            books.lock_project(order[0])
            both.wait(30)
            books.lock_project(order[1])
        return "done"

    with ThreadPoolExecutor(2) as threads:
        outcomes = [threads.submit(cross, number) for number in range(2)]
        errors = [outcome.exception(60) for outcome in outcomes]
    failed = [error for error in errors if error]
    assert len(failed) == 1
    assert isinstance(failed[0], Unavailable)
    assert "deadlock" in str(failed[0])


def test_a_lost_connection_is_temporary(begin: Begin) -> None:
    def cut() -> None:
        with begin() as (session, books):
            books.lock_project(SHOP)
            me = session.scalar(text("SELECT pg_backend_pid()"))
            with begin() as (other, _):
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": me})
            books.project(SHOP)

    with pytest.raises(Unavailable, match="Try again"):
        cut()
    with begin() as (_, books):
        assert books.project(SHOP) is None


def test_a_server_that_is_not_there_is_temporary() -> None:
    nowhere = create_engine("postgresql+psycopg2://postgres@/x?host=/nonexistent", poolclass=pool.NullPool)
    with pytest.raises(Unavailable, match="did not answer"), ledger_begin(nowhere)() as (_, books):
        books.instance()


def test_any_factory_of_sessions_will_do(postgres_engine: Engine) -> None:
    # Airflow's own: no autoflush, and objects that outlive their transaction.
    begin = ledger_begin(sessionmaker(postgres_engine, autoflush=False, expire_on_commit=False))
    number = a_feature(begin)
    with begin() as (_, books):
        feature = books.feature_by_id(number)
        feature.title = "Vouchers"
        assert [found.title for found in books.features(SHOP)] == ["Vouchers"]
    assert feature.title == "Vouchers"


def hold_and_die(url: str, holds: multiprocessing.synchronize.Event) -> None:
    begin = ledger_begin(create_engine(url, poolclass=pool.NullPool))
    with begin() as (_, books):
        books.lock_project(SHOP).frozen_reason = "half made"
        books.project(SHOP)
        holds.set()
        threading.Event().wait()


def test_a_killed_holder_frees_the_lock_and_leaves_no_half_made_state(begin: Begin, postgres_url: URL) -> None:
    context = multiprocessing.get_context("spawn")
    holds = context.Event()
    url = postgres_url.render_as_string(hide_password=False)
    process = context.Process(target=hold_and_die, args=(url, holds))
    process.start()
    try:
        assert holds.wait(60)
        process.kill()
        process.join(30)
        with begin() as (session, books):
            session.execute(text("SET LOCAL lock_timeout = '30s'"))
            assert books.lock_project(SHOP).frozen_reason == ""
    finally:
        process.kill()
        process.join(30)


def test_one_request_per_branch_and_one_comment_per_marker_hold_among_many(postgres_engine: Engine) -> None:
    records = SqlLocalRecords(transactions(postgres_engine))
    source, target, head = BranchName("feature/SHOP-1"), BranchName("preprod"), CommitSha("a" * 40)

    numbers, sent = set[int](), list[bool]()

    def work(number: int) -> None:
        request = records.open_request(
            SHOP, source=source, target=target, head=head, title="t", body="", author=f"person{number}"
        )
        comment = LocalComment(
            place=Place.REQUEST, on=str(request.number), marker="m", author="a", text=f"{number}", at=now()
        )
        records.comment(SHOP, comment, replace=True)
        records.create_issue(SHOP, KEY, title=f"{number}", description="", reporter="")
        message = LocalMessage(id="1", key=KEY, to=(), text="x", at=now())
        numbers.add(request.number)
        sent.append(records.keep_message(SHOP, message))

    assert at_once(work) == [None] * THREADS
    assert len(numbers) == sum(sent) == 1
    assert len(records.requests(SHOP)) == len(records.issues(SHOP)) == len(records.messages(SHOP, KEY)) == 1
    assert len(records.comments(SHOP, Place.REQUEST, str(records.requests(SHOP)[0].number))) == 1


class NoRuns:
    """Nothing of a run is touched here."""


def test_whatever_happens_while_a_feature_is_shown_is_shown_after_that(begin: Begin) -> None:
    """What is asked for and what is marked as shown meet at the row itself: no wish is lost between them."""
    feature_id = a_feature(begin)

    def happen(number: int, *, times: int = 10) -> None:
        for _ in range(times):
            with begin() as (_, books):
                books.lock_project(SHOP)
                unit = Unit(books, cast("Runs", NoRuns()))
                record(unit, books.feature_by_id(feature_id), "note", f"{number} happens.")

    all_happened, given_up = threading.Event(), threading.Event()
    seen: list[int] = []

    def show() -> None:
        while not given_up.is_set():
            last = all_happened.is_set()  # asked before the row is: what happens after that is not missed
            with begin() as (_, books):
                entry = books.outbox_marked(SHOP, "SHOP-1:show")
                if entry is None or entry.sent_at is not None:
                    if last:
                        return
                    continue
                asked = int(entry.payload["asked"])
                errand = Claimed(
                    entry.id,
                    SHOP,
                    entry.side,
                    feature_id,
                    KEY,
                    "SHOP-1",
                    Errand.SHOW,
                    dict(entry.payload),
                    entry.marker,
                    1,
                )
            seen.append(asked)
            if asked == 10 * THREADS:
                happen(THREADS, times=1)  # at least once between the look and the mark, however fast the others were
            with begin() as (_, books):
                _mark(Unit(books, cast("Runs", NoRuns())), None, errand, Outcome(shown={"n": asked}))

    shower = threading.Thread(target=show)
    shower.start()
    try:
        assert at_once(happen) == [None] * THREADS
        all_happened.set()
        shower.join(30)
        assert not shower.is_alive(), "what has happened is shown again and again"
    finally:
        given_up.set()
    with begin() as (_, books):
        entry = books.outbox_marked(SHOP, "SHOP-1:show")
    assert entry is not None
    assert entry.sent_at is not None
    assert entry.payload["asked"] == seen[-1] == 10 * THREADS + 1
    assert entry.payload["shown"] == {"n": 10 * THREADS + 1}
