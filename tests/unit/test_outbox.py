"""What one errand that fails means for the others, and what two processes that drain at once do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from feature_delivery.domain.errors import Error, Misconfigured, NotFound, RateLimited, Refused, Unavailable
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.outbox import LEASE, POSTS, Errand, OutboxEntry, Post
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import FeatureState, now
from feature_delivery.ports.messenger import Message
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import history, outbox
from feature_delivery.services.control.outside import Control
from feature_delivery.services.control.under_way import FIRST_PAUSE, LONGEST_PAUSE
from tests.fakes.messenger import FakeMessenger
from tests.support.stage import Stage, at_once
from tests.support.world import SHOP

KEYS = ("SHOP-1", "SHOP-2", "SHOP-3")


@dataclass
class OneFails(FakeMessenger):
    """A channel where the messages of SHOP-1 come to nothing; ``asked`` counts what was tried."""

    error: Exception | None = None
    asked: int = 0

    def send(self, message: Message) -> None:
        self.asked += 1
        if self.error is not None and message.key == KEYS[0]:
            raise self.error
        super().send(message)


def drain(stage: Stage, kinds: Collection[Errand], control: Control | None = None) -> tuple[int, int]:
    """Run what is due of some kinds only."""
    others = [one for one in stage.books.of(OutboxEntry) if one.kind not in kinds]
    for one in others:
        one.due_at += timedelta(days=365)
    try:
        return outbox.drain(control or stage.control)
    finally:
        for one in others:
            one.due_at -= timedelta(days=365)


def told(stage: Stage, channel: FakeMessenger) -> list[OutboxEntry]:
    """Start three features with a message of each on its way to the channel."""
    stage.channels["mail"] = channel
    made = []
    for key in KEYS:
        stage.start(key)
        with stage.begin() as unit:
            entry = OutboxEntry(
                project=stage.project.name,
                feature_id=stage.feature(key).id,
                kind=Errand.POST,
                payload={"text": "Look."},
                marker=f"mail>{key}",
                lane="mail",
            )
            unit.books.add(entry)
            made.append(entry)
    return made


def troubles(stage: Stage, key: str) -> list[str]:
    with stage.peek() as books:
        return [one.text for one in books.events(stage.feature(key)) if one.kind == "trouble"]


@pytest.mark.parametrize(
    "error", [Refused("The message is too long."), NotFound("It says thread_not_found."), ValueError("a bug")]
)
def test_a_message_that_itself_is_refused_keeps_no_other_features_from_the_channel(
    stage: Stage, error: Exception
) -> None:
    channel = OneFails(error=error)
    first, *others = told(stage, channel)
    assert drain(stage, POSTS) == (2, 1)
    assert [one.key for one in channel.sent] == list(KEYS[1:])
    assert first.sent_at is None
    assert all(one.sent_at and not one.error for one in others)
    assert not troubles(stage, KEYS[1])


@pytest.mark.parametrize("error", [Unavailable("mail does not answer."), Misconfigured("There is no channel 'mail'.")])
def test_a_channel_that_is_down_or_wrong_is_asked_by_one_message_and_the_others_have_had_no_try(
    stage: Stage, error: Error
) -> None:
    channel = OneFails(error=error)
    made = told(stage, channel)
    assert drain(stage, POSTS) == (0, 1)
    assert channel.asked == 1
    assert [(one.tries, one.error) for one in made] == [(1, str(error)), (0, ""), (0, "")]


def test_a_message_that_alone_never_gets_through_keeps_neither_others_nor_its_own_feature_waiting_for_ever(
    stage: Stage,
) -> None:
    """A notifier cannot tell what lies with the message, and each of these is due at the same moment as it."""
    channel = OneFails(error=Unavailable("mail does not answer."))
    first, *others = told(stage, channel)
    for one in (first, *others):
        one.tries = outbox.POST_TRIES
    assert drain(stage, POSTS) == (0, 1)
    stage.time += FIRST_PAUSE
    assert drain(stage, POSTS)[0] == 2
    assert all(one.sent_at for one in others)
    stage.time = first.created_at + outbox.ALONE_FOR
    for marker in ("", "one", "another"):
        assert first.sent_at is None, "nothing else was sent lately, or only just now: it may have been down"
        if marker:
            with stage.begin() as unit:
                unit.books.add(Post(project=SHOP, feature_id=0, channel="mail", marker=marker, place="mail"))
        stage.time += outbox.LATELY - timedelta(minutes=1)
        drain(stage, POSTS)
    assert first.sent_at
    assert troubles(stage, KEYS[0]) == ["mail does not answer. Others arrive, so this message is given up."]


def test_a_message_that_waited_long_for_its_channel_is_refused_as_often_as_any_other_before_it_is_given_up(
    stage: Stage,
) -> None:
    channel = OneFails(error=Unavailable("mail does not answer."))
    first, *_ = told(stage, channel)
    for _ in range(2 * outbox.POST_TRIES):
        stage.time += timedelta(minutes=5)
        drain(stage, POSTS)
    channel.error = Refused("It is too long.")
    for _ in range(outbox.POST_TRIES):
        assert first.sent_at is None
        stage.time += timedelta(minutes=5)
        drain(stage, POSTS)
    assert first.sent_at
    assert first.error == "It is too long."


def test_a_side_that_does_not_answer_is_asked_ever_more_seldom_by_what_was_tried_least(stage: Stage) -> None:
    asked: list[datetime] = []
    keys: list[FeatureKey | None] = []

    class Down(FakeMessenger):
        def send(self, message: Message) -> None:
            asked.append(now())
            keys.append(message.key)
            raise Unavailable("mail does not answer.")

    told(stage, Down())
    end = stage.time + timedelta(minutes=5)
    while stage.time < end:
        drain(stage, POSTS)
    waits = [(b - a).total_seconds() for a, b in pairwise(asked)]
    assert waits[0] < 10 < LONGEST_PAUSE.total_seconds() - 5 < max(waits) < LONGEST_PAUSE.total_seconds() + 10
    assert keys[:6] == [*KEYS, *KEYS]


def test_an_old_state_on_its_way_in_one_process_is_not_overtaken_by_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two API servers drain at once: the older answer may be the last, and the issue would stay in the older state."""
    stage.start("SHOP-1")
    stage.errands()
    feature, move = stage.feature(), stage.tracker.move

    def decide(state: IssueState) -> None:
        with stage.begin() as unit:
            history.send(unit, feature, Errand.ISSUE_STATE, f"test {state}", {"state": state.value})

    def slowly(key: FeatureKey, state: IssueState) -> None:
        if state is IssueState.IN_PROGRESS:
            decide(IssueState.DONE)
            drain(stage, {Errand.ISSUE_STATE}, replace(stage.control, under_way=at_once()))  # the other process
        move(key, state)

    decide(IssueState.IN_PROGRESS)
    monkeypatch.setattr(stage.tracker, "move", slowly)
    drain(stage, {Errand.ISSUE_STATE})
    stage.time += outbox.FIRST_PAUSE
    drain(stage, {Errand.ISSUE_STATE})
    assert stage.tracker.kept[FeatureKey("SHOP-1")].state is IssueState.DONE


def test_a_newer_state_waits_no_longer_than_a_lease_for_one_that_came_to_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that had claimed the older one died."""
    stage.start("SHOP-1")
    stage.errands()
    feature = stage.feature()
    with stage.begin() as unit:
        for state in (IssueState.IN_PROGRESS, IssueState.DONE):
            history.send(unit, feature, Errand.ISSUE_STATE, f"test {state}", {"state": state.value})
        old, new = (one for one in unit.books.outbox(feature) if ":test " in one.marker)
        old.tries, old.due_at = 1, now() + LEASE
    moved: list[IssueState] = []
    monkeypatch.setattr(stage.tracker, "move", lambda _key, state: moved.append(state))
    drain(stage, {Errand.ISSUE_STATE})
    assert (moved, new.tries) == ([], 0)
    stage.time += LEASE + timedelta(seconds=1)
    for _ in range(2):
        drain(stage, {Errand.ISSUE_STATE})
        stage.time += outbox.FIRST_PAUSE
    assert moved == [IssueState.DONE]
    assert old.error == "A newer state was sent instead."


def sent_already(stage: Stage, chat: FakeMessenger, *markers: str) -> None:
    """Have messages of SHOP-1 in the chat that say something else by now."""
    stage.channels[CHAT] = chat
    stage.start("SHOP-1")
    stage.errands()
    shop, number, payload = stage.project.name, stage.feature().id, {"text": "Now."}
    with stage.begin() as unit:
        for marker in markers:
            kept = OutboxEntry(
                project=shop, feature_id=number, kind=Errand.POST, payload=payload, marker=f"{CHAT}>{marker}"
            )
            kept.sent_at = now()
            unit.books.add(kept)
            unit.books.add(
                Post(project=shop, feature_id=number, channel=CHAT, marker=marker, place="C1", settled=False)
            )
            chat.shows[shop, marker] = Message(marker, shop, None, (), "Before.")
        history.mend_later(unit, stage.feature(), begin=True)
    stage.time += history.SHOW_AFTER


@pytest.mark.parametrize("error", [Refused("It is too old."), Unavailable("It has a problem of its own."), KeyError()])
def test_all_messages_are_mended_but_the_one_that_cannot_be(stage: Stage, error: Exception) -> None:
    class Chat(FakeMessenger):
        def update(self, message: Message) -> None:
            if message.id == "first":
                raise error
            super().update(message)

    chat = Chat()
    sent_already(stage, chat, "first", "second")
    assert drain(stage, {Errand.MEND}) == (0, 1)
    assert [one.text for one in chat.shows.values()] == ["Before.", "Now."]
    assert troubles(stage, "SHOP-1") == ([str(error)] if isinstance(error, Refused) else [])


def test_a_chat_that_is_down_is_not_asked_about_every_message(stage: Stage) -> None:
    class Chat(FakeMessenger):
        asked = 0

        def update(self, message: Message) -> None:
            Chat.asked += 1
            raise Unavailable(f"It does not answer about {message.id}.")

    sent_already(stage, Chat(), "first", "second", "third")
    assert drain(stage, {Errand.MEND}) == (0, 1)
    assert Chat.asked == 2


def test_what_the_outside_refuses_is_tried_ever_more_seldom_and_ends_some_day_after_the_delivery(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_about: object, **_more: object) -> None:
        raise NotFound("The issue SHOP-1 is not there.")

    stage.start("SHOP-1")
    stage.errands()
    monkeypatch.setattr(stage.tracker, "comment", refuse)
    with stage.begin() as unit:
        history.tell_issue(unit, stage.feature(), "word", "It has shipped.")
        entry = unit.books.outbox(stage.feature())[-1]
    waits = list[timedelta]()

    def refused() -> None:
        stage.time = max(stage.time, entry.due_at)
        drain(stage, {Errand.ISSUE_COMMENT})
        waits.append(entry.due_at - stage.time)

    while len(waits) < 2 * outbox.REFUSED_TRIES:
        refused()
    assert [round(wait / timedelta(hours=1), 2) for wait in waits[:7]] == [1, 2, 4, 8, 16, 24, 24]
    assert max(waits) <= timedelta(days=1)
    assert entry.sent_at is None, "its delivery is not over"
    stage.feature().state = FeatureState.DELIVERED
    refused()
    assert entry.sent_at
    assert "tried 25 times and is given up" in troubles(stage, "SHOP-1")[-1]


def test_after_a_delivery_the_outside_has_a_week_to_take_what_it_refuses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was down for hours, came back without its rights, and somebody will give them back."""
    error: Error = Unavailable("It does not answer.")

    def refuse(*_about: object, **_more: object) -> None:
        raise error

    stage.start("SHOP-1")
    stage.errands()
    monkeypatch.setattr(stage.tracker, "comment", refuse)
    with stage.begin() as unit:
        history.tell_issue(unit, stage.feature(), "word", "It has shipped.")
        entry = unit.books.outbox(stage.feature())[-1]
    stage.feature().state = FeatureState.DELIVERED
    for number in range(2 * outbox.REFUSED_TRIES):
        error = Refused("Our user lacks a right.") if number >= outbox.REFUSED_TRIES + 6 else error
        stage.time = max(stage.time, entry.due_at)
        drain(stage, {Errand.ISSUE_COMMENT})
    assert entry.sent_at is None
    stage.time = entry.created_at + outbox.REFUSED_FOR
    drain(stage, {Errand.ISSUE_COMMENT})
    assert entry.sent_at


@pytest.mark.parametrize(("asked", "waits"), [(3600, 3600), (10**6, 7200)])
def test_a_host_that_asks_to_wait_for_an_hour_is_left_alone_for_an_hour(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, asked: int, waits: int
) -> None:
    def refuse(*_about: object, **_more: object) -> None:
        raise RateLimited("It asks us to wait.", retry_after_seconds=asked)

    stage.start("SHOP-1")
    stage.errands()
    monkeypatch.setattr(stage.tracker, "comment", refuse)
    with stage.begin() as unit:
        history.tell_issue(unit, stage.feature(), "word", "It has shipped.")
        entry = unit.books.outbox(stage.feature())[-1]
    drain(stage, {Errand.ISSUE_COMMENT})
    assert timedelta(seconds=waits - 5) < entry.due_at - stage.time <= timedelta(seconds=waits)


def test_no_message_is_given_up_while_the_file_of_its_project_is_gone(
    stage: Stage,
) -> None:
    def gone(_name: ProjectName) -> ProjectConfig:
        raise NotFound("There is no project 'shop' here.")

    first, *_ = told(stage, OneFails())
    control = replace(stage.control, project=gone)
    for _ in range(6 * outbox.POST_TRIES):
        stage.time += timedelta(minutes=5)
        drain(stage, POSTS, control)  # one of the three at a time
    assert (first.sent_at, first.tries) == (None, 2 * outbox.POST_TRIES)
    stage.time += timedelta(minutes=5)
    assert drain(stage, POSTS) == (3, 0)
