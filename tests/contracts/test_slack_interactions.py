"""What Slack sends when somebody presses a button: who is believed, and what is read out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.messengers.slack import Form, Interactions, TooOld
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.ports.messenger import Press
from tests.contracts.test_slack import ASKED, QUESTION
from tests.fakes.slack import CHANNEL, SIGNING_SECRET, signed_request
from tests.support.slack_stage import SlackStage, slack_stage

READER = Interactions(ProjectName("shop"), (SIGNING_SECRET,))
NOW = datetime.now(UTC)
HEADERS, BODY = signed_request({"type": "x"}, at=NOW.timestamp())


@pytest.fixture(scope="module")
def stage() -> Iterator[SlackStage]:
    with slack_stage() as found:
        found.messenger().send(QUESTION)
        yield found


def test_what_slack_signed_a_moment_ago_is_believed() -> None:
    assert READER.authentic(HEADERS, BODY, at=NOW)
    assert READER.authentic(HEADERS, BODY, at=NOW + timedelta(seconds=299))


@pytest.mark.parametrize("seconds", [302, 3600, -302, 10**9])
def test_what_was_signed_long_ago_or_in_the_future_is_not(seconds: int) -> None:
    assert not READER.authentic(HEADERS, BODY, at=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "changes",
    [
        {"x-slack-signature": ""},
        {"x-slack-signature": "v0=" + "0" * 64},
        {"x-slack-signature": HEADERS["x-slack-signature"].removeprefix("v0=")},
        {"x-slack-request-timestamp": ""},
        {"x-slack-request-timestamp": "١٢٣"},
        {"x-slack-request-timestamp": f"{int(NOW.timestamp())}.0"},
        {"x-slack-request-timestamp": str(int(NOW.timestamp()) + 1)},
        {"x-slack-request-timestamp": "-1"},
    ],
)
def test_a_forged_header_is_not_believed(changes: dict[str, str]) -> None:
    assert not READER.authentic(HEADERS | changes, BODY, at=NOW)


def test_another_body_another_secret_and_no_secret_are_not_believed() -> None:
    assert not READER.authentic(HEADERS, BODY + b" ", at=NOW)
    assert not Interactions(ProjectName("shop"), (b"other",)).authentic(HEADERS, BODY, at=NOW)
    assert not Interactions(ProjectName("shop"), ()).authentic(HEADERS, BODY, at=NOW)
    headers, body = signed_request({"type": "x"}, secret=b"", at=NOW.timestamp())
    assert not Interactions(ProjectName("shop"), (b"",)).authentic(headers, body, at=NOW)


def test_while_a_secret_is_changed_both_are_believed() -> None:
    assert Interactions(ProjectName("shop"), (b"new", SIGNING_SECRET)).authentic(HEADERS, BODY, at=NOW)


def test_a_press_says_who_and_what_it_was_about(stage: SlackStage) -> None:
    said = stage.slack.thread()[0]
    _, body = stage.slack.press("U0TOM", said, "Approve")
    found = stage.reader.read(body)
    assert isinstance(found, Press)
    assert (found.user, found.kind, found.comment) == ("U0TOM", DecisionKind.APPROVE, "")
    assert found.question == replace(ASKED, kinds=())
    assert (found.place, found.thread) == (CHANNEL, said.thread)
    assert stage.reader.read(body) == found  # Slack repeats what it got no answer for: it is the same press


def test_a_rejection_asks_why_and_the_form_is_the_press(stage: SlackStage) -> None:
    said = stage.slack.thread()[0]
    _, body = stage.slack.press("U0TOM", said, "Reject…")
    asked = stage.reader.read(body)
    assert isinstance(asked, Form)
    stage.messenger().ask_why(asked.trigger, asked.value, key=asked.key, place=asked.place, thread=asked.thread)
    _, body = stage.slack.submit("U0TINA", "The total is wrong.")
    found = stage.reader.read(body)
    assert isinstance(found, Press)
    assert (found.user, found.kind, found.comment) == ("U0TINA", DecisionKind.REJECT, "The total is wrong.")
    assert (found.place, found.thread) == (CHANNEL, said.thread)
    for empty in ("  \n", "", None):
        assert "needs a comment" in str(stage.reader.read(stage.slack.submit("U0TOM", empty)[1]))


def test_the_link_to_the_board_decides_nothing(stage: SlackStage) -> None:
    assert stage.reader.read(stage.slack.press("U0TOM", stage.slack.thread()[0], "Open board")[1]) is None


def test_a_button_that_we_did_not_sign_for_this_project_decides_nothing(stage: SlackStage) -> None:
    said = stage.slack.thread()[0]
    _, body = stage.slack.press("U0TOM", said, "Approve")
    too_old = TooOld(user="U0TOM", place=CHANNEL, thread=said.thread)
    assert Interactions(ProjectName("other"), (SIGNING_SECRET,)).read(body) == too_old
    value = said.buttons()["Approve"]["value"]
    for forged in (value.replace('"approve"', '"keep"'), value.replace("SHOP-1", "SHOP-2"), value[1:], "", "x.[]"):
        action = {"action_id": "decide:approve", "value": forged, "action_ts": "1.1"}
        _, body = stage.slack.press("U0TOM", said, "Approve", actions=[action])
        assert stage.reader.read(body) == too_old


def test_what_the_secret_before_has_signed_is_read_as_too_old_when_that_is_taken_away(stage: SlackStage) -> None:
    said = stage.slack.thread()[0]
    _, body = stage.slack.press("U0TOM", said, "Approve")
    assert isinstance(Interactions(ProjectName("shop"), (b"new", SIGNING_SECRET)).read(body), Press)
    renewed = Interactions(ProjectName("shop"), (b"new",))
    assert renewed.read(body) == TooOld(user="U0TOM", place=CHANNEL, thread=said.thread)
    view = {"callback_id": "reject", "private_metadata": f"{CHANNEL} 1.1 {said.buttons()['Reject…']['value']}"}
    payload = {"type": "view_submission", "user": {"id": "U0TOM"}, "view": view}
    assert renewed.read(signed_request(payload)[1]) == TooOld(user="U0TOM", place=CHANNEL, thread="1.1", form=True)
    assert renewed.signer not in {stage.reader.signer, Interactions(ProjectName("shop"), ()).signer}


def test_the_value_of_another_button_in_a_form_rejects_nothing(stage: SlackStage) -> None:
    approve = stage.reader.sign(ASKED, DecisionKind.APPROVE)
    view = {"callback_id": "reject", "private_metadata": f"{CHANNEL} 1.1 {approve}", "id": "V1"}
    view["state"] = {"values": {"comment": {"comment": {"value": "no"}}}}  # type: ignore[assignment]
    payload = {"type": "view_submission", "user": {"id": "U0TOM"}, "view": view}
    assert stage.reader.read(signed_request(payload)[1]) is None


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["block_actions", "view_submission", "view_closed", 1, None])},
    optional=dict.fromkeys(("user", "actions", "view", "container", "message", "channel", "trigger_id"), JSONS),
)


@given(FIELDS | JSONS)
def test_whatever_is_signed_nothing_but_ours_is_acted_upon(payload: Any) -> None:
    assert READER.read(urlencode({"payload": json.dumps(payload)}).encode()) is None


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"payload=", b"payload=%7B", b"a=1&" * 50, b"payload=" + b"[" * 9999]
)
def test_a_body_that_is_none_is_acted_upon_by_nobody(body: bytes) -> None:
    assert READER.read(body) is None
