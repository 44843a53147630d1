"""What one errand that fails means for the others, and what two processes that drain at once do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

import pytest

from feature_delivery.domain.errors import Error, Misconfigured, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import POSTS, Errand, OutboxEntry
from feature_delivery.domain.records import now
from feature_delivery.ports.messenger import Message
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import history, outbox
from tests.fakes.messenger import FakeMessenger
from tests.support.stage import Stage

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


@pytest.mark.parametrize("error", [Refused("The message is too long."), ValueError("a bug")])
def test_a_message_that_itself_is_refused_keeps_no_other_features_from_the_channel(
    stage: Stage, error: Exception
) -> None:
    channel = OneFails(error=error)
    first, *others = told(stage, channel)
    assert outbox.drain(stage.control, kinds=POSTS) == (2, 1)
    assert [one.key for one in channel.sent] == list(KEYS[1:])
    assert first.sent_at is None
    assert all(one.sent_at and not one.error for one in others)
    assert not troubles(stage, KEYS[1])


@pytest.mark.parametrize("error", [Unavailable("mail does not answer."), Misconfigured("There is no channel 'mail'.")])
def test_a_channel_that_is_down_or_wrong_is_asked_once_in_a_drain(stage: Stage, error: Error) -> None:
    channel = OneFails(error=error)
    made = told(stage, channel)
    assert outbox.drain(stage.control, kinds=POSTS) == (0, 3)
    assert channel.asked == 1
    assert [one.error for one in made] == [str(error)] * 3


def test_what_was_claimed_and_not_run_has_had_no_try_and_is_due_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = OneFails()
    made = told(stage, channel)
    # The other side takes a minute for each message.
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=lambda: 61.0 * channel.asked))
    assert outbox.drain(stage.control, kinds=POSTS) == (1, 0)
    assert [(one.tries, one.due_at <= now()) for one in made[1:]] == [(0, True), (0, True)]
    assert [outbox.drain(stage.control, kinds=POSTS) for _ in made] == [(1, 0), (1, 0), (0, 0)]
    assert [one.tries for one in made] == [1, 1, 1]


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
            outbox.drain(stage.control, kinds={Errand.ISSUE_STATE})  # the other process
        move(key, state)

    decide(IssueState.IN_PROGRESS)
    monkeypatch.setattr(stage.tracker, "move", slowly)
    outbox.drain(stage.control, kinds={Errand.ISSUE_STATE})
    stage.time += outbox.FIRST_PAUSE
    outbox.drain(stage.control, kinds={Errand.ISSUE_STATE})
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
        old.tries, old.due_at = 1, now() + outbox.LEASE
    moved: list[IssueState] = []
    monkeypatch.setattr(stage.tracker, "move", lambda _key, state: moved.append(state))
    outbox.drain(stage.control, kinds={Errand.ISSUE_STATE})
    assert (moved, new.tries) == ([], 0)
    stage.time += outbox.LEASE + timedelta(seconds=1)
    outbox.drain(stage.control, kinds={Errand.ISSUE_STATE})
    assert moved == [IssueState.DONE]
    assert old.error == "A newer state was sent instead."
