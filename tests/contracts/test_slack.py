"""Messages in Slack, against a workspace of our own over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_delivery.adapters.messengers.slack import blocks as kit
from feature_delivery.domain.errors import (
    Error,
    Misconfigured,
    NotFound,
    Permanent,
    RateLimited,
    Refused,
    Temporary,
    Unavailable,
)
from feature_delivery.domain.messages import CHAT, MessageKind
from feature_delivery.domain.names import CommitSha, FeatureKey, PersonName, ProjectName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.ports.messenger import Link, Message, Question
from tests.fakes.hosts.common import Answer
from tests.fakes.slack import CHANNEL, Said, faults_of
from tests.support.slack_stage import SlackStage, slack_shop, slack_stage

SHOP, KEY = ProjectName("shop"), FeatureKey("SHOP-1")
ASKED = Question(
    run_id="SHOP-1",
    gate=Step.WAIT_FOR_ACCEPTANCE,
    attempt=1,
    commit=CommitSha("a" * 40),
    candidate=CommitSha("b" * 40),
    kinds=(DecisionKind.APPROVE, DecisionKind.REJECT),
)
QUESTION = Message(
    "ask",
    SHOP,
    KEY,
    (PersonName("tom"), PersonName("tina")),
    "SHOP-1 Gift cards: test it.",
    kind=MessageKind.QUESTION,
    title="Gift cards",
    run_id="SHOP-1",
    facts=("preprod, integration: 12 tests passed (3.1 s)",),
    links=(Link("Preview", "http://preview.example:8001/"),),
    home=(Link("Board", "https://board.example/shop/SHOP-1"),),
    board="https://board.example/shop/SHOP-1",
    question=ASKED,
    settled=False,
)
NOTE = Message("note", SHOP, KEY, (), "SHOP-1 is in production.", title="Gift cards", run_id="SHOP-1")


@pytest.fixture
def stage() -> Iterator[SlackStage]:
    with slack_stage() as found:
        yield found


def only(stage: SlackStage) -> Said:
    (found,) = stage.slack.thread()
    return found


# --- what is there -------------------------------------------------------------------------------------------------


def test_a_feature_has_one_thread_that_begins_with_its_title(stage: SlackStage) -> None:
    for name in ("m-1", "m-2", "m-3"):
        stage.messenger().send(replace(NOTE, id=name))
    (root,) = [one for one in stage.slack.said() if not one.thread]
    assert "SHOP-1 Gift cards" in root.words()
    assert [one.thread for one in stage.slack.thread()] == [root.ts] * 3


def test_two_deliveries_of_one_issue_have_a_thread_each(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.messenger().send(replace(NOTE, id="again", run_id="SHOP-1__2"))
    assert [len(stage.slack.thread(0)), len(stage.slack.thread(1))] == [1, 1]


def test_a_question_mentions_people_and_has_link_tests_and_buttons(stage: SlackStage) -> None:
    stage.messenger().send(QUESTION)
    said = only(stage)
    assert "<@U0TOM> <@U0TINA>" in said.text
    assert "<http://preview.example:8001/|Preview>" in said.words()
    assert "12 tests passed" in said.words()
    assert said.buttons().keys() == {"Approve", "Reject…", "Open board"}
    assert said.buttons()["Open board"]["url"] == QUESTION.board


def test_a_group_is_mentioned_instead_of_everybody_in_it() -> None:
    with slack_stage(groups={Who.TESTER: "S0TESTERS"}) as stage:
        stage.messenger().send(replace(QUESTION, to=(*QUESTION.to, PersonName("olga")), roles=(Who.TESTER,)))
        assert only(stage).text.startswith("<!subteam^S0TESTERS> <@U0OLGA>")
        assert "U0TOM" not in only(stage).text


def test_somebody_without_an_account_is_named(stage: SlackStage) -> None:
    del stage.slack.users["U0TOM"]
    stage.messenger().send(QUESTION)
    assert only(stage).text.startswith("tom <@U0TINA>")


def test_without_a_signing_secret_there_is_only_the_way_to_the_board(stage: SlackStage) -> None:
    stage.messenger(buttons=False).send(QUESTION)
    assert only(stage).buttons().keys() == {"Open board"}


def test_after_the_decision_the_message_says_who_and_the_buttons_are_gone(stage: SlackStage) -> None:
    stage.messenger().send(QUESTION)
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    over = replace(QUESTION, question=replace(ASKED, kinds=()), outcome="tom approved in Slack.", at=when, settled=True)
    stage.messenger().update(over)
    said = only(stage)
    assert said.buttons().keys() == {"Open board"}
    assert "tom approved in Slack." in said.words()
    assert f"<!date^{int(when.timestamp())}^" in said.words()
    assert said.edited == 1
    stage.messenger().update(over)
    assert said.edited == 1  # nothing changed
    found = stage.posts.find(SHOP, CHAT, "ask")
    assert found
    assert found.settled


def test_a_message_that_somebody_deleted_stays_gone(stage: SlackStage) -> None:
    stage.messenger().send(QUESTION)
    stage.slack.channels[CHANNEL].said.remove(only(stage))
    stage.messenger().update(replace(QUESTION, outcome="tom approved."))
    stage.messenger().send(QUESTION)
    assert stage.slack.thread() == []


def test_a_loud_message_is_shown_in_the_channel_too(stage: SlackStage) -> None:
    stage.messenger().send(replace(NOTE, loud=True))
    stage.messenger().send(replace(NOTE, id="quiet"))
    assert [one.broadcast for one in stage.slack.thread()] == [True, False]


def test_a_word_about_the_project_is_in_no_thread(stage: SlackStage) -> None:
    stage.messenger().send(Message("digest", SHOP, None, (), "2 wait.", kind=MessageKind.DIGEST, facts=("a", "b")))
    (said,) = stage.slack.said()
    assert said.thread == ""
    assert "• a\n• b" in said.words()


def test_of_a_long_digest_no_line_is_lost_until_it_says_so(stage: SlackStage) -> None:
    lines = tuple(f"SHOP-{n} " + "x" * 250 for n in range(41))
    stage.messenger().send(Message("digest", SHOP, None, (), "41 wait.", kind=MessageKind.DIGEST, facts=lines))
    (said,) = stage.slack.said()
    assert all(f"SHOP-{n} " in said.words() for n in range(40))
    stage.messenger().send(Message("long", SHOP, None, (), "Many.", kind=MessageKind.DIGEST, facts=lines * 2))
    assert stage.slack.said()[1].words().endswith("… and more: see the board.")


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_message_whose_answer_was_lost_is_found_again_and_not_sent_twice(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.slack.server.faults.lost_answers = 1
    with pytest.raises(Unavailable):
        stage.messenger().send(replace(NOTE, id="lost"))
    stage.messenger().send(replace(NOTE, id="lost"))
    assert len(stage.slack.thread()) == 2


def test_a_thread_whose_beginning_was_lost_is_found_again(stage: SlackStage) -> None:
    stage.slack.server.faults.lost_answers = 1
    with pytest.raises(Unavailable):
        stage.messenger().send(NOTE)
    stage.messenger().send(NOTE)
    assert [bool(one.thread) for one in stage.slack.said()] == [False, True]


def test_a_lost_message_is_found_behind_many_others(stage: SlackStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_delivery.adapters.messengers.slack.messenger.PAGE", 2)
    stage.messenger().send(NOTE)
    stage.slack.server.faults.lost_answers = 1
    with pytest.raises(Unavailable):
        stage.messenger().send(replace(NOTE, id="lost"))
    root = stage.slack.said()[0]
    stage.slack.channels[CHANNEL].said[1:1] = [Said(f"{root.ts}{n}", "chat", [], root.ts) for n in range(5)]
    stage.messenger().send(replace(NOTE, id="lost"))
    assert len(stage.slack.thread()) == 7


def test_a_thread_begun_anew_whose_beginning_was_lost_is_found_again(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.slack.delete(stage.slack.said()[0])
    # The reply is refused, then the answer about the new thread is lost.
    refused = Answer(200, {"ok": False, "error": "cannot_reply_to_message"})
    stage.slack.server.faults.next_answers, stage.slack.server.faults.lost_answers = [refused], 1
    with pytest.raises(Unavailable):
        stage.messenger().send(replace(NOTE, id="second"))
    stage.messenger().send(replace(NOTE, id="second"))
    assert [len(stage.slack.thread(0)), len(stage.slack.thread(1))] == [1, 1]


def test_a_message_of_which_nobody_knows_is_sent_anew_where_its_thread_is_gone(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.slack.server.faults.next_answers = [Answer(503, {})]
    with pytest.raises(Unavailable):
        stage.messenger().send(replace(NOTE, id="second"))
    stage.slack.channels[CHANNEL].said.clear()
    stage.messenger().send(replace(NOTE, id="second"))
    assert [one.thread for one in stage.slack.said()] == ["", stage.slack.said()[0].ts]


def test_a_thread_that_takes_no_reply_twice_is_an_error_of_that_message(stage: SlackStage) -> None:
    refused = Answer(200, {"ok": False, "error": "thread_not_found"})
    stage.messenger().send(NOTE)
    stage.slack.server.faults.rules = [("POST", "chat.postMessage", refused)]
    with pytest.raises(NotFound, match="thread"):
        stage.messenger().send(replace(NOTE, id="second"))
    assert stage.posts.find(SHOP, CHAT, "second") is None


@pytest.mark.parametrize("word", ["is_archived", "token_revoked"])
def test_what_people_can_mend_settles_no_message(stage: SlackStage, word: str) -> None:
    stage.messenger().send(QUESTION)
    stage.slack.server.faults.rules = [("POST", "chat.update", Answer(200, {"ok": False, "error": word}))]
    with pytest.raises(Misconfigured):
        stage.messenger().update(replace(QUESTION, outcome="tom approved."))
    found = stage.posts.find(SHOP, CHAT, "ask")
    assert found
    assert not found.settled


def test_a_question_that_arrived_unnoticed_says_what_is_so_now(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.slack.server.faults.lost_answers = 1
    with pytest.raises(Unavailable):
        stage.messenger().send(QUESTION)
    over = replace(QUESTION, question=replace(ASKED, kinds=()), outcome="tom approved.", settled=True)
    stage.messenger().send(over)
    assert "tom approved." in stage.slack.thread()[1].words()
    assert stage.slack.thread()[1].buttons().keys() == {"Open board"}


def test_a_slack_that_is_too_slow_is_given_up_and_asked_again(stage: SlackStage) -> None:
    stage.messenger().send(NOTE)
    stage.slack.server.faults.delay_seconds = 1.3
    with pytest.raises(Unavailable, match="time-out"):
        stage.messenger(timeout_seconds=1).send(replace(NOTE, id="slow"))
    stage.slack.server.faults.delay_seconds = 0
    stage.messenger().send(replace(NOTE, id="slow"))
    assert len(stage.slack.thread()) == 2


def test_a_limit_is_a_wait_as_long_as_slack_says(stage: SlackStage) -> None:
    stage.slack.budget, stage.slack.retry_after = 1, "93"
    with pytest.raises(RateLimited) as raised:
        stage.messenger().send(NOTE)
    assert raised.value.retry_after_seconds == 93
    stage.slack.budget = None
    reads = len(stage.slack.server.calls("POST", "conversations"))
    stage.messenger().send(NOTE)
    assert len(stage.slack.thread()) == 1
    assert len(stage.slack.server.calls("POST", "conversations")) == reads  # it is known not to have arrived


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(500, b"<html>oops</html>"), Unavailable, "problem of its own"),
        (Answer(200, b"<html>a proxy</html>"), Temporary, "Could not post to the channel C0SHOP in Slack"),
        (Answer(200, {"ok": False, "error": "fatal_error"}), Unavailable, "fatal_error"),
        (Answer(429, {"ok": False, "error": "ratelimited"}), RateLimited, "30 s"),
        (Answer(200, {"ok": False, "error": "ratelimited"}), RateLimited, "30 s"),
        (Answer(200, {"ok": False, "error": "channel_not_found"}), Misconfigured, "the app is not in it"),
        (Answer(200, {"ok": False, "error": "is_archived"}), Misconfigured, "it is archived"),
        (Answer(200, {"ok": False, "error": "token_revoked"}), Misconfigured, "Connection 'slack' is not accepted"),
        (
            Answer(200, {"ok": False, "error": "missing_scope", "needed": "chat:write"}),
            Misconfigured,
            "lacks the scope chat:write",
        ),
        (Answer(200, {"ok": False, "error": "file_not_found"}), NotFound, "file_not_found"),
        (Answer(200, {"ok": False, "error": "some_new_word"}), Refused, "some_new_word"),
        (Answer(200, {"ok": False}), Temporary, "without a word"),
        (Answer(503, {}), Unavailable, "503"),
    ],
)
def test_every_answer_has_a_meaning_and_one_clear_sentence(
    stage: SlackStage, answer: Answer, kind: type[Error], said: str
) -> None:
    stage.messenger().send(NOTE)
    stage.slack.server.faults.next_answers = [answer]
    with pytest.raises(kind) as raised:
        stage.messenger().send(replace(NOTE, id="second"))
    assert said in str(raised.value)
    assert "xoxb" not in str(raised.value)
    assert "<html>" not in str(raised.value)
    stage.messenger().send(replace(NOTE, id="second"))
    assert len(stage.slack.thread()) == 2


def test_nobody_listening_is_a_sentence_too(stage: SlackStage) -> None:
    messenger = stage.messenger()
    stage.slack.server._http.socket.close()
    with pytest.raises(Unavailable, match="did not answer"):
        messenger.send(NOTE)


def test_a_wrong_token_and_a_channel_without_the_app_are_found_by_the_doctor(stage: SlackStage) -> None:
    assert [one.well for one in stage.messenger().examine()] == [True] * 3
    stage.slack.channels[CHANNEL].member = False
    del stage.slack.users["U0TOM"]
    faults = [one.sentence for one in stage.messenger().examine() if not one.well]
    assert any("the app is not in it" in one for one in faults)
    assert any("No account is known for tom" in one for one in faults)
    stage.slack.token = "another"
    with pytest.raises(Misconfigured, match="is not accepted"):
        stage.messenger().examine()


def test_a_message_that_slack_does_not_take_as_it_is_comes_as_text(stage: SlackStage) -> None:
    stage.slack.takes_blocks = False
    stage.messenger().send(QUESTION)
    said = only(stage)
    assert said.blocks == []
    assert "<@U0TOM>" in said.text
    assert "12 tests passed" in said.text
    assert "<http://preview.example:8001/|Preview>" in said.text


def test_what_a_message_says_is_logged_nowhere(stage: SlackStage, caplog: pytest.LogCaptureFixture) -> None:
    stage.slack.server.faults.next_answers = [Answer(200, {"ok": False, "error": "fatal_error"})]
    with caplog.at_level("DEBUG"), pytest.raises(Unavailable):
        stage.messenger().send(NOTE)
    assert "production" not in caplog.text
    assert "xoxb" not in caplog.text


def test_a_refusal_is_told_to_that_person_alone(stage: SlackStage) -> None:
    stage.messenger().send(QUESTION)
    stage.messenger().whisper("U0TOM", CHANNEL, only(stage).thread, "You wrote <it> & may not.")
    assert stage.slack.whispers("U0TOM") == ["You wrote &lt;it&gt; &amp; may not."]
    assert len(stage.slack.thread()) == 1
    with pytest.raises(Permanent):
        stage.messenger().whisper("U0NOBODY", CHANNEL, "", "x")


# --- what others write ---------------------------------------------------------------------------------------------

HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from("<>&*_~`@#!|\n\u202e\u2066\u05d0\U0001f381")), max_size=400
) | st.sampled_from(["<!channel>", "<@U0TOM>", "<https://evil.example|safe>", "a" * 9000, "*bold* `x`", "&amp;" * 900])
MESSAGES = st.builds(
    Message,
    id=st.just("m"),
    project=st.just(SHOP),
    key=st.just(KEY),
    to=st.just(()),
    text=HOSTILE,
    kind=st.sampled_from(MessageKind),
    title=HOSTILE,
    run_id=st.just("SHOP-1"),
    facts=st.lists(HOSTILE, max_size=8).map(tuple),
    details=st.lists(HOSTILE, max_size=13).map(tuple),
    links=st.lists(st.builds(Link, HOSTILE, HOSTILE | st.just("https://a.example/x")), max_size=9).map(tuple),
    home=st.lists(st.builds(Link, HOSTILE, HOSTILE), max_size=3).map(tuple),
    board=HOSTILE | st.just("https://board.example/"),
    question=st.sampled_from([None, ASKED]),
    outcome=HOSTILE,
    at=st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    settled=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES)
def test_whatever_is_said_slack_takes_it_and_nothing_in_it_is_a_mention_or_link(message: Message) -> None:
    shown, text = kit.body(message, mentions=["<@U0OLGA>"], signed=lambda kind: f"value {kind}")
    begun, title = kit.root(message)
    assert faults_of(shown) == []
    assert faults_of(begun) == []
    assert len(text) <= 3000
    plain = kit.plain(message, mentions=[])
    for markup in (text, title, plain, *_markups(shown), *_markups(begun)):
        # "<" stands only where we wrote it: the mention, the date, links to addresses that are safe.
        rest = markup.replace("<@U0OLGA>", "").replace("<!date^", "")
        assert all(part.startswith(("https://", "http://")) for part in rest.split("<")[1:]), markup


def _markups(shown: list[kit.Block]) -> Iterator[str]:
    for block in shown:
        for text in (block.get("text"), *(block.get("elements", ()))):
            if isinstance(text, dict) and text.get("type") == "mrkdwn":
                assert text["verbatim"]
                yield text["text"]


def test_the_form_for_a_rejection_is_what_slack_takes(stage: SlackStage) -> None:
    stage.messenger().send(QUESTION)
    value = only(stage).buttons()["Reject…"]["value"]
    headers, body = stage.slack.press("U0TOM", only(stage), "Reject…")
    assert stage.reader.authentic(headers, body, at=datetime.now(UTC))
    trigger = max(stage.slack.triggers)
    key = "SHOP-" + "1" * 60
    stage.messenger().ask_why(trigger, value, key=key, place=CHANNEL, thread=only(stage).thread)
    (view,) = stage.slack.views.values()
    assert len(view["title"]["text"]) <= 24
    with pytest.raises(Refused):
        stage.messenger().ask_why(trigger, value, key=key, place=CHANNEL, thread="")


def test_the_longest_button_still_fits(stage: SlackStage) -> None:
    value = stage.reader.sign(replace(ASKED, run_id="S" * 250), DecisionKind.ROLL_BACK)
    assert len(value) <= 2000
    assert stage.reader.question(value) == (replace(ASKED, run_id="S" * 250, kinds=()), DecisionKind.ROLL_BACK)
    assert json.loads(value.partition(".")[2])[1] == "S" * 250


def test_a_project_without_an_address_of_its_own_has_no_open_board(stage: SlackStage) -> None:
    stage.messenger(project=slack_shop()).send(replace(QUESTION, board="", home=()))
    assert only(stage).buttons().keys() == {"Approve", "Reject…"}
