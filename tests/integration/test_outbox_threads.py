"""What hangs in the outbox: real threads, two processes' worth of them, on one PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Engine

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin
from feature_delivery.adapters.ledger.metric_books import SqlMetricBooks
from feature_delivery.adapters.messengers.notifiers import NotifierMessenger
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.outbox import LEASE, Errand, OutboxEntry
from feature_delivery.domain.records import now
from feature_delivery.ports.ledger import Unit
from feature_delivery.ports.messenger import Message, Messenger
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import history, measures, outbox, under_way
from feature_delivery.services.control.outside import Control, Outside
from feature_delivery.services.control.sides import side_of
from feature_delivery.services.control.under_way import UnderWay
from tests.contracts.ledger.rows import a_feature
from tests.fakes.posts import FakePosts
from tests.support.stage import outside_shop

SHOP, OTHER = ProjectName("shop"), ProjectName("other")
HANG = "hang"


@dataclass
class World:
    """Whatever has ``HANG`` in it is not answered until ``answer`` is set; ``asked`` is what began, in its order."""

    engine: Engine
    answer: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    connecting: str = ""
    moves: Callable[[FeatureKey, IssueState], None] | None = None
    asked: list[str] = field(default_factory=list)
    channels: dict[str, Messenger] = field(default_factory=dict)

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        if self.down:
            raise Unavailable("The database does not answer.")
        with ledger_begin(self.engine)() as (_session, books):
            yield Unit(books, cast("Any", None))

    def do(self, text: str) -> None:
        self.asked.append(text)
        if HANG in text:
            assert self.answer.wait(30)

    def process(self) -> Control:
        """Return how another API server works."""
        host = SimpleNamespace(comment=lambda _number, text, **_marker: self.do(text))
        tracker = SimpleNamespace(comment=lambda _key, text, **_marker: self.do(text), move=self.moves)
        chat = SimpleNamespace(send=lambda message: self.do(message.text))
        return Control(
            begin=self.begin,
            project=lambda name: outside_shop() if name == SHOP else SimpleNamespace(**_fields(name)),  # type: ignore[arg-type,return-value]
            outside=lambda _project: self.outside(SimpleNamespace(host=host, tracker=tracker, messenger=chat)),
            alone=lambda _name: nullcontext(),
            channel=lambda _project, name: self.channels.get(name, cast("Messenger", chat)),
            under_way=UnderWay(),
        )

    def outside(self, adapters: object) -> Outside:
        if self.connecting:
            self.do(self.connecting)
        return cast("Outside", adapters)

    def marked(self, marker: str) -> OutboxEntry:
        with self.begin() as unit:
            found = unit.books.outbox_marked(SHOP, marker)
            assert found
            return found

    def oldest(self, kind: Errand, at: datetime) -> float:
        """Return for how many seconds the oldest errand of a kind waits ``at`` then, as Prometheus is told."""
        with ledger_begin(self.engine)() as (session, _books):
            facts = SqlMetricBooks(session).facts(at, releases_since=at)
        (family,) = (one for one in measures.families(facts, {}) if one.name.endswith("outbox_oldest_seconds"))
        return next(sample.value for sample in family.samples if sample.labels == (SHOP, side_of(kind)))

    def add(self, text: str, kind: Errand, *, project: ProjectName = SHOP, lane: str = "") -> None:
        payload = {"number": 1, "text": text}
        marker = f"{lane}>{text}" if lane else text
        with self.begin() as unit:
            unit.books.add(
                OutboxEntry(project=project, feature_id=0, kind=kind, payload=payload, marker=marker, lane=lane)
            )

    def unsent(self) -> Sequence[str]:
        with self.begin() as unit:
            return [one.payload["text"] for one in unit.books.outbox_due(now() + timedelta(days=1))]


def _fields(name: ProjectName) -> dict[str, Any]:
    whole = outside_shop()
    return {one: getattr(whole, one) for one in whole.__slots__} | {"name": name}


@pytest.fixture
def world(postgres_engine: Engine) -> Iterator[World]:
    before, found = errand_threads(), World(postgres_engine)
    yield found
    found.answer.set()
    for thread in errand_threads() - before:
        thread.join(20)  # else it marks rows of the next test
        assert not thread.is_alive()


def errand_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "feature-delivery-errand"}


def until(condition: Callable[[], bool], *whiles: Control) -> None:
    """Let processes begin what they may until something is so."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not come"
        for process in whiles:
            outbox.begin(process)
        time.sleep(0.02)


def test_what_hangs_keeps_no_other_side_channel_or_project_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(hours=1))
    for kind in (Errand.REQUEST_COMMENT, Errand.ISSUE_COMMENT):
        world.add(f"{HANG} {kind}", kind)
    world.add(f"{HANG} mail", Errand.POST, lane="mail")
    world.add("host of another", Errand.REQUEST_COMMENT, project=OTHER)
    world.add("chat", Errand.POST, lane="slack")
    process = world.process()
    until(lambda: len(world.unsent()) == 3, process)
    assert all(one.startswith(HANG) for one in world.unsent())
    world.answer.set()
    until(lambda: not world.unsent(), process)
    assert len(world.asked) == len(set(world.asked)) == 5


def test_many_that_hang_at_one_side_keep_the_next_waiting_for_moments_until_the_side_is_what_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(seconds=0.02))
    monkeypatch.setattr(under_way, "AT_ONE_SIDE", 4)
    process = world.process()
    for number in range(3):
        world.add(f"{HANG} {number}", Errand.REQUEST_COMMENT)
    world.add("goes through", Errand.REQUEST_COMMENT)
    until(lambda: len(world.unsent()) == 3, process)
    for number in range(3, 6):
        world.add(f"{HANG} {number}", Errand.REQUEST_COMMENT)
    world.add("waits", Errand.REQUEST_COMMENT)
    until(lambda: len(world.asked) == 5, process)
    for _ in range(10):
        assert outbox.begin(process) == 0
        time.sleep(0.02)
    assert "waits" not in world.asked
    world.answer.set()
    until(lambda: not world.unsent(), process)
    assert len(world.asked) == len(set(world.asked)) == 8


def test_an_errand_that_runs_longer_than_its_lease_is_run_by_no_other_process_until_its_own_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(f"{HANG} for long", Errand.REQUEST_COMMENT)
    at = [now()]
    for module in (outbox, under_way):
        monkeypatch.setattr(module, "now", lambda: at[0])
    first, second = world.process(), world.process()
    assert outbox.begin(first) == 1
    for _ in range(30):
        at[0] += LEASE / 5
        for process in (second, first, second):
            assert outbox.begin(process) == 0
    with world.begin() as unit:
        entry = unit.books.outbox_marked(SHOP, f"{HANG} for long")
        assert entry
        assert (entry.tries, entry.error) == (1, outbox.UNDER_WAY)
    at[0] += LEASE  # as if the first had died: it says nothing any more
    until(lambda: len(world.asked) == 2, second)
    world.answer.set()
    until(lambda: not world.unsent(), second)


def test_what_a_process_runs_itself_is_not_begun_again_once_the_database_answers_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LEASE", timedelta(seconds=0.4))
    world.add(f"{HANG} for long", Errand.REQUEST_COMMENT)
    process = world.process()
    assert outbox.begin(process) == 1
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(0))
    world.down = True
    time.sleep(0.5)
    with pytest.raises(Unavailable):
        outbox.begin(process)
    world.down = False
    for _ in range(3):
        assert outbox.begin(process) == 0
    world.answer.set()
    until(lambda: not process.under_way.busy)
    assert (world.asked, world.unsent()) == ([f"{HANG} for long"], [])


def test_what_a_process_runs_itself_is_not_begun_again_though_its_lease_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else was at its row whenever it was to be kept."""
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(0))
    monkeypatch.setattr(SqlBooks, "outbox_keep", lambda *_about, **_more: None)
    world.add(f"{HANG} for long", Errand.REQUEST_COMMENT)
    process = world.process()
    assert outbox.begin(process) == 1
    assert outbox.begin(process, at=now() + 2 * LEASE) == 0


def test_two_processes_run_every_errand_once_and_a_lane_in_its_order(world: World) -> None:
    texts = [f"{number:02}" for number in range(8)]
    for text in texts:
        world.add(text, Errand.POST, lane="slack")
        world.add(f"mail {text}", Errand.POST, lane="mail")
    until(lambda: not world.unsent(), world.process(), world.process())
    assert [one for one in world.asked if not one.startswith("mail")] == texts
    assert sorted(world.asked) == sorted([*texts, *(f"mail {text}" for text in texts)])


def test_a_notifier_that_hangs_sends_its_mail_once_and_leaves_one_thread(world: World) -> None:
    ran_in = list[threading.Thread]()

    def notify(about: dict[str, Any]) -> None:
        ran_in.append(threading.current_thread())
        world.do(about["delivery"]["text"])

    posts = FakePosts()
    world.channels["mail"] = NotifierMessenger(lambda: notify, name="mail", posts=posts)
    world.add(f"{HANG} mail", Errand.POST, lane="mail")
    before, process = errand_threads(), world.process()
    until(lambda: bool(world.asked), process)
    for _ in range(5):
        assert outbox.begin(process) == 0
    assert ran_in == list(errand_threads() - before), "one thread, and none of the channel's own beside it"
    world.answer.set()
    until(lambda: not world.unsent(), process)
    assert world.asked == [f"{HANG} mail"]
    found = posts.find(SHOP, "mail", f"{HANG} mail")
    assert found
    assert found.place == "mail"


def test_a_notifier_that_never_returns_keeps_its_lane_waiting_for_a_while_and_sends_its_mail_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "LONGEST_RUN", timedelta(seconds=0.3))
    world.add(f"{HANG} digest", Errand.POST, lane="mail")
    world.add("The brake is on.", Errand.POST, lane="mail")
    process, marker = world.process(), f"mail>{HANG} digest"
    outbox.begin(process)
    assert world.oldest(Errand.POST, now() + timedelta(minutes=16)) > 900
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(0))
    until(lambda: not world.unsent(), process, world.process())
    assert world.asked == [f"{HANG} digest", "The brake is on."]
    given_up = world.marked(marker)
    assert given_up.in_vain
    with world.begin() as unit:
        ((told, _feature),) = unit.books.happened(SHOP, since=None, limit=5)
    assert told.text == f"{outbox.GIVEN_UP} {outbox.PERHAPS_SENT}"
    world.answer.set()
    until(lambda: not world.marked(marker).error)  # it has arrived after all
    assert len(world.asked) == 2


def test_a_channel_stays_open_however_many_hang_one_after_the_other_as_long_as_there_are_threads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("AT_ONE_SIDE", 1), ("GIVEN_UP_AT_ONE_SIDE", 3)):
        monkeypatch.setattr(under_way, name, value)
    for name, seconds in (("PATIENCE", 0.0), ("LONGEST_RUN", 0.05)):
        monkeypatch.setattr(under_way, name, timedelta(seconds=seconds))
    for number in range(5):
        world.add(f"{HANG} {number}", Errand.POST, lane="mail")
    world.add("chat", Errand.POST, lane="slack")
    process = world.process()
    until(lambda: len(world.asked) == 4, process)
    time.sleep(0.1)
    for _ in range(5):
        assert outbox.begin(process) == 0
    assert sorted(world.asked) == ["chat", *(f"{HANG} {number}" for number in range(3))]
    world.answer.set()
    until(lambda: not world.unsent(), process)


def test_an_older_state_that_hangs_keeps_the_newest_waiting_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "LONGEST_RUN", timedelta(seconds=0.3))
    monkeypatch.setattr(outbox, "FIRST_PAUSE", timedelta(0))
    moved = list[IssueState]()

    def move(_key: FeatureKey, state: IssueState) -> None:
        if state is IssueState.IN_PROGRESS:
            world.do(HANG)
        moved.append(state)

    world.moves = move
    process = world.process()
    with world.begin() as unit:
        feature = a_feature(unit.books)
        history.send(unit, feature, Errand.ISSUE_STATE, "taken", {"state": IssueState.IN_PROGRESS.value})
    until(lambda: bool(world.asked), process)
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(0))
    with world.begin() as unit:
        history.send(unit, feature, Errand.ISSUE_STATE, "shipped", {"state": IssueState.DONE.value})
    assert (outbox.begin(process), outbox.begin(process)) == (0, 0)
    until(lambda: moved == [IssueState.DONE], process)
    assert world.asked == [HANG]


def test_a_showing_that_hangs_waits_since_something_happened_however_often_its_claim_is_renewed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What *OutboxStuck* looks at."""
    world.connecting = HANG
    with world.begin() as unit:
        feature = a_feature(unit.books)
        history.show_later(unit, feature)
    monkeypatch.setattr(outbox, "LEASE", timedelta(seconds=0.6))
    process = world.process()
    assert outbox.begin(process, at=now() + history.SHOW_AFTER) == 1
    time.sleep(0.3)
    assert outbox.begin(process) == 0
    assert world.marked(f"SHOP-1:{Errand.SHOW}").error == outbox.UNDER_WAY, "it is claimed anew"
    assert world.oldest(Errand.SHOW, now()) > 0.25


def test_a_round_of_housekeeping_runs_what_it_can_and_waits_for_nothing_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(seconds=0.05))
    monkeypatch.setattr(under_way, "AT_ONCE", 2)
    for number in range(3):
        world.add(f"{HANG} {number}", Errand.POST, lane=f"mail-{number}")
    world.add("chat", Errand.POST, lane="slack")
    began = time.monotonic()
    assert outbox.drain(world.process(), for_seconds=1.5) == (1, 0)
    assert 1.5 <= time.monotonic() - began < 10


def test_a_process_that_ends_waits_for_what_is_soon_over_and_for_nothing_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "PATIENCE", timedelta(seconds=0.5))
    world.add(f"{HANG} mail", Errand.POST, lane="mail")
    process, began = world.process(), time.monotonic()
    until(lambda: bool(world.asked), process)
    process.under_way.settle()
    assert 0.4 < time.monotonic() - began < 5
    assert process.under_way.busy


def test_a_process_that_ends_waits_for_what_is_done_to_be_marked(world: World) -> None:
    world.add("said", Errand.REQUEST_COMMENT)
    process = world.process()
    with world.begin() as unit:
        unit.books.lock_project(SHOP)
        until(lambda: bool(world.asked), process)
        time.sleep(0.1)
        ending = threading.Thread(target=process.under_way.settle)
        ending.start()
        ending.join(0.3)
        assert ending.is_alive()
    ending.join(5)
    assert not ending.is_alive()
    assert world.marked("said").sent_at


def test_a_side_that_does_not_answer_is_asked_by_one_errand_after_the_other_and_those_not_tried_yet_come_first(
    world: World,
) -> None:
    def fail(message: Message) -> None:
        world.asked.append(message.text)
        raise Unavailable("It does not answer.")

    world.channels["mail"] = cast("Messenger", SimpleNamespace(send=fail))
    process, at = world.process(), now()
    for number in range(3):
        world.add(str(number), Errand.POST, lane="mail", project=SHOP)
    assert outbox.drain(process, for_seconds=5) == (0, 1)
    found = outbox.next_at(process)
    assert found is not None
    assert found - at > timedelta(seconds=1), "nobody looks again and again meanwhile"
