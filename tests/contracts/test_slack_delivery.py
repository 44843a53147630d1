"""A delivery told and decided in Slack, over real HTTP: the control plane, its outbox, its messenger, its buttons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import time, timedelta

import pytest

from feature_delivery.adapters.messengers.slack import Interactions
from feature_delivery.domain.hours import WorkingHours
from feature_delivery.domain.messages import CHAT, NotifierConfig, Reminding
from feature_delivery.domain.names import PersonName, ProjectName
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.ports.messenger import Press
from feature_delivery.services.control import glass, hearing, posting
from tests.fakes.hosts.common import Answer
from tests.fakes.messenger import FakeMessenger
from tests.fakes.slack import CHANNEL, SIGNING_SECRET, Channel
from tests.support.chat_stage import ChatStage, chat_stage

ACCEPTANCE, CONFIRMATION, VERDICT = Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT
HOUR = timedelta(hours=1)


@pytest.fixture
def stage() -> Iterator[ChatStage]:
    with chat_stage() as found:
        yield found


def decisions(stage: ChatStage) -> list[tuple[str, str, bool, str]]:
    feature = stage.feature()
    return [
        (d.person, d.kind.value, d.accepted, d.way)
        for number in range(feature.attempt_number + 1)
        for d in stage.books.decisions(feature, number)
        if d.way == "slack"
    ]


# --- deciding ------------------------------------------------------------------------------------------------------


def test_a_feature_is_carried_to_its_end_by_buttons_alone(stage: ChatStage) -> None:
    said = stage.question(ACCEPTANCE)
    assert "<@U0TINA>" in said.text
    assert "tests passed" in said.words()
    stage.press("tom", said, "Approve")
    stage.press("max", stage.question(CONFIRMATION), "Approve")
    stage.press("max", stage.question(VERDICT), "Keep")
    stage.settle()
    stage.press("max", stage.question(Step.WAIT_FOR_DEMONSTRATION), "Approve")
    assert stage.feature().state is FeatureState.DELIVERED
    assert [one[0:3] for one in decisions(stage)] == [
        ("tom", "approve", True),
        ("max", "approve", True),
        ("max", "keep", True),
        ("max", "approve", True),
    ]
    assert not [one for one in stage.slack.thread() if one.buttons().keys() - {"Open board"}]
    assert len([one for one in stage.slack.said() if not one.thread]) == 1
    assert stage.unsent() == []


def test_milestones_are_replies_in_the_order_in_which_they_happened(stage: ChatStage) -> None:
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    told = "\n".join(stage.texts())
    wanted = (
        "started the delivery",
        "Attempt 1 begins",
        "(development-shop-1)",
        "review http",
        "(preprod-shop-1)",
        "test it",
        "confirm it",
        "Production is at",
        "(production)",
        "Keep it, or roll it back?",
        "Because.",
    )
    places = [told.index(words) for words in wanted]
    assert places == sorted(places)
    assert stage.messages.sent  # the board keeps messages, and milestones as history
    assert not any("Production is at" in one.text for one in stage.messages.sent)


def test_after_the_decision_the_message_says_who_decided_and_has_no_buttons(stage: ChatStage) -> None:
    stage.press("tom", stage.question(ACCEPTANCE), "Approve")
    said = stage.last("test it")
    assert said.buttons().keys() == {"Open board"}
    assert "tom approved in Slack." in said.words()


def test_a_decision_made_elsewhere_takes_the_buttons_as_well(stage: ChatStage) -> None:
    stage.question(ACCEPTANCE)
    stage.decide(stage.feature(), "tina", ACCEPTANCE, DecisionKind.APPROVE)
    stage.settle()
    assert stage.last("test it").buttons().keys() == {"Open board"}
    assert "tina approved" in stage.last("test it").words()


def test_a_rejection_brings_its_comment_to_the_developer_and_is_no_alert(stage: ChatStage) -> None:
    stage.press("tom", stage.question(ACCEPTANCE), "Reject…", "The total is <b>wrong</b>.")
    stage.settle()
    assert decisions(stage) == [("tom", "reject", True, "slack")]
    assert "tom rejected it in Slack: The total is &lt;b&gt;wrong&lt;/b&gt;." in stage.last("test it").words()
    assert not any("red_circle" in one.words() for one in stage.slack.thread())
    assert "<!date^" in stage.last("test it").words()


def test_who_may_not_decide_hears_why_alone_and_the_buttons_stay(stage: ChatStage) -> None:
    said = stage.question(ACCEPTANCE)
    before = len(stage.slack.said())
    stage.press("dora", said, "Approve")
    (told,) = stage.slack.whispers("U0DORA")
    with stage.begin() as unit:
        (refused,) = [e for e in unit.books.events(stage.feature()) if e.kind == "refused"]
    assert told.rstrip(".") in refused.text
    assert decisions(stage) == [("dora", "approve", False, "slack")]
    assert len(stage.slack.said()) == before
    assert "Approve" in stage.last("test it").buttons()
    stage.press("tom", said, "Approve")
    assert decisions(stage)[-1] == ("tom", "approve", True, "slack")


def test_an_account_that_is_nobody_here_hears_so_and_decides_nothing(stage: ChatStage) -> None:
    stage.slack.users |= {"U0EVE": "eve@else.example", "U0HIDES": ""}
    for name in ("eve", "hides"):
        stage.press(name, stage.question(ACCEPTANCE), "Approve")
        assert "Nobody of shop has your account" in stage.slack.whispers(f"U0{name.upper()}")[0]
    assert decisions(stage) == [(name, "approve", False, "slack") for name in ("U0EVE", "U0HIDES")], "it is kept"


def test_a_press_is_kept_while_nobody_can_say_whose_it_is(stage: ChatStage) -> None:
    said = stage.question(ACCEPTANCE)
    stage.slack.server.faults.rules = [("POST", "users.info", Answer(503, {}))]
    stage.press("tom", said, "Approve")
    assert decisions(stage) == []
    stage.slack.server.faults.rules = []
    stage.time += timedelta(minutes=2)
    stage.errands()
    assert decisions(stage) == [("tom", "approve", True, "slack")]


def test_an_address_that_another_organisation_has_given_is_nobodys(stage: ChatStage) -> None:
    stage.slack.users["U0FAKE"] = "tom@example.com"
    stage.slack.teams["U0FAKE"] = "T0ELSEWHERE"
    stage.press("fake", stage.question(ACCEPTANCE), "Approve")
    assert "Nobody of shop has your account" in stage.slack.whispers("U0FAKE")[0]
    assert not any(accepted for _, _, accepted, _ in decisions(stage))


def test_an_old_button_decides_nothing_about_a_newer_attempt(stage: ChatStage) -> None:
    old = stage.question(ACCEPTANCE)
    buttons = list(old.blocks)
    feature = stage.feature()
    assert feature.branch
    stage.push(feature.branch)
    stage.settle()
    stage.at(ACCEPTANCE)
    assert old.buttons().keys() == {"Open board"}
    assert "superseded" in old.words()
    stage.press("tom", replace(old, blocks=buttons), "Approve")
    assert "look again" in stage.slack.whispers("U0TOM")[0]
    assert not any(one[2] for one in decisions(stage))


def test_the_same_press_delivered_twice_counts_once(stage: ChatStage) -> None:
    said = stage.question(ACCEPTANCE)
    _, body = stage.slack.press("U0TOM", said, "Approve")
    press = stage.workspace.reader.read(body)
    assert isinstance(press, Press)
    kept = []
    for _ in range(2):
        with stage.begin() as unit:
            kept.append(hearing.store(unit, stage.project, press))
    assert kept == [True, False]
    stage.drain()
    assert len(decisions(stage)) == 1


def test_two_who_press_at_once_are_told_apart(stage: ChatStage) -> None:
    said = stage.question(ACCEPTANCE)
    kept = replace(said, blocks=list(said.blocks))
    stage.press("tom", kept, "Approve")
    stage.press("tina", kept, "Approve")
    assert decisions(stage)[0][:3] == ("tom", "approve", True)
    assert len(decisions(stage)) == 2


def test_a_rejection_that_is_heard_once_more_after_a_crash_is_no_refusal(stage: ChatStage) -> None:
    stage.press("tom", stage.question(ACCEPTANCE), "Reject…", "The total is wrong.")
    heard = [one for one in stage.books.of(OutboxEntry) if one.kind is Errand.HEAR]
    heard[-1].sent_at = None
    stage.errands()
    assert stage.slack.whispers("U0TOM") == []
    assert [one[:3] for one in decisions(stage)] == [("tom", "reject", True)]


def test_open_questions_are_signed_anew_when_the_secret_changes_and_once(stage: ChatStage) -> None:
    old = stage.question(ACCEPTANCE)
    before = old.buttons()["Approve"]["value"]
    renewed = Interactions(ProjectName("shop"), (b"new", SIGNING_SECRET))

    def housekeeping(signer: str) -> int:
        with stage.begin() as unit:
            found = posting.sign_anew(unit, stage.project, signer)
        stage.errands()
        return found

    assert housekeeping(stage.workspace.reader.signer) == 0
    # A process that knows nothing of the new secret yet is the one that mends: it is found once more.
    assert housekeeping(renewed.signer) == 1
    assert old.buttons()["Approve"]["value"] == before
    stage.workspace.reader = renewed
    stage.channels[CHAT] = stage.workspace.messenger(project=stage.project)
    assert housekeeping(renewed.signer) == 1
    assert renewed.question(old.buttons()["Approve"]["value"]) == stage.workspace.reader.question(before)
    assert Interactions(ProjectName("shop"), (b"new",)).question(old.buttons()["Approve"]["value"]) is not None
    told = len(stage.slack.server.calls("POST", "chat.update"))
    assert housekeeping(renewed.signer) == 0
    assert len(stage.slack.server.calls("POST", "chat.update")) == told
    # The secret before is taken away: what people press now counts.
    stage.workspace.reader = Interactions(ProjectName("shop"), (b"new",))
    stage.press("tom", old, "Approve")
    assert "tom approved in Slack." in old.words()


# --- alerts --------------------------------------------------------------------------------------------------------


def test_a_failure_is_one_alert_with_its_owner_and_is_resolved_when_it_works_again(stage: ChatStage) -> None:
    feature = stage.at(Step.WAIT_FOR_REVIEW)
    assert feature.branch
    stage.task_log[:] = ["INFO installing", "ERROR password=hunter2 was refused"]
    stage.push(feature.branch, content="red preprod")
    stage.settle()
    stage.word("rob", ReviewKind.APPROVE)
    stage.settle()
    alerts = [one for one in stage.slack.thread() if "red_circle" in one.words()]
    assert len(alerts) == 1
    said = alerts[0]
    assert "<@U0DAN>" in said.text
    assert "SHOP-1: preprod.integration_tests failed. red in preprod" in said.text
    assert "ERROR password=*** was refused" in said.words()
    assert "hunter2" not in said.words()
    assert "|Log of the task>" in said.words()
    stage.settle()
    assert len([one for one in stage.slack.thread() if "red_circle" in one.words()]) == 1
    stage.push(feature.branch, content="good")
    stage.settle()
    stage.word("rob", ReviewKind.APPROVE)
    stage.settle()
    assert "preprod.integration_tests works again" in stage.last("works again").text
    assert "preprod.integration_tests has succeeded." in said.words()
    assert "red_circle" not in said.words()


def test_a_newer_commit_is_no_failure(stage: ChatStage) -> None:
    feature = stage.at(ACCEPTANCE)
    assert feature.branch
    stage.push(feature.branch)
    stage.settle()
    assert not any("red_circle" in one.words() for one in stage.slack.thread())


def test_a_red_suite_names_the_tests_that_failed(stage: ChatStage) -> None:
    feature = stage.at(Step.WAIT_FOR_CODE)
    assert feature.branch
    stage.push(feature.branch, content="red checks")
    stage.settle()
    alerts = [one for one in stage.slack.thread() if "red_circle" in one.words()]
    assert len(alerts) == len({one.text for one in alerts}) == 3
    assert all("red in checks" in one.text for one in alerts)


# --- reminders, escalation, digest -----------------------------------------------------------------------------------


def test_people_are_reminded_once_then_managers_are_told_once(stage: ChatStage) -> None:
    stage.question(ACCEPTANCE)
    count = len(stage.slack.thread())
    for _ in range(30):
        stage.time += HOUR
        stage.housekeeping()
    told = stage.slack.thread()[count:]
    assert len(told) == 2
    reminded, escalated = told
    assert "<@U0TOM>" in reminded.text
    assert "<@U0MAX>" not in reminded.text
    assert "<@U0MAX>" in escalated.text
    assert "has waited for" in escalated.text
    assert "Approve" in reminded.buttons()
    stage.press("tom", reminded, "Approve")
    assert all("tom approved" in one.words() for one in (reminded, escalated, stage.last("test it")))


def test_each_gate_has_its_own_times_and_may_have_none() -> None:
    gates = {ACCEPTANCE: Reminding(after=HOUR / 2, escalate_after=None), CONFIRMATION: Reminding(None, None)}
    with chat_stage(gate_reminders=gates) as stage:
        stage.question(ACCEPTANCE)
        count = len(stage.slack.thread())
        stage.time += HOUR
        stage.housekeeping()
        stage.time += timedelta(days=30)
        stage.housekeeping()
        assert len(stage.slack.thread()) == count + 1


def test_nobody_is_reminded_at_night_or_at_the_weekend() -> None:
    week = WorkingHours(zone="UTC", days=frozenset(range(5)), begin=time(9), end=time(17))
    with chat_stage(hours=week) as stage:
        stage.time = stage.time.replace(year=2026, month=1, day=2, hour=16, minute=0)  # a Friday
        stage.question(ACCEPTANCE)
        count = len(stage.slack.thread())
        for _ in range(65):  # until Monday, 9:00
            stage.time += HOUR
            stage.housekeeping()
        assert len(stage.slack.thread()) == count
        stage.time += 4 * HOUR
        stage.housekeeping()
        assert len(stage.slack.thread()) == count + 1


def test_once_a_day_everything_that_waits_is_told_in_the_channel() -> None:
    with chat_stage(digest=time(9)) as stage:
        stage.time = stage.time.replace(hour=7)
        stage.question(ACCEPTANCE)
        for _ in range(30):
            stage.time += HOUR
            stage.housekeeping()
        told = [one for one in stage.slack.said() if not one.thread and "wait" in one.text]
        assert len(told) == 2  # two mornings
        assert "SHOP-1" in told[0].words()
        assert "tom" in told[0].words()


# --- the outbox ----------------------------------------------------------------------------------------------------


def test_while_slack_is_down_deliveries_go_on_and_then_everything_arrives_once_and_in_order() -> None:
    with chat_stage() as calm:
        calm.question(ACCEPTANCE)
        wanted = calm.texts()
    with chat_stage() as stage:
        down = [("POST", "chat", Answer(503, {}))]
        stage.slack.server.faults.rules = down
        stage.at(ACCEPTANCE)
        assert stage.slack.said() == []
        assert {one.kind for one in stage.unsent()} == {Errand.POST}
        stage.slack.server.faults.rules = []
        stage.time += timedelta(minutes=10)
        stage.errands()
        assert stage.unsent() == []
        assert stage.texts() == wanted


def test_a_slack_that_loses_answers_gets_everything_once_and_in_order() -> None:
    with chat_stage() as calm:
        calm.question(ACCEPTANCE)
        wanted = calm.texts()
    with chat_stage() as stage:
        stage.slack.server.faults.lost_answers = 5
        stage.at(ACCEPTANCE)
        for _ in range(5):
            stage.time += timedelta(minutes=10)
            stage.errands()
        assert stage.texts() == wanted


def test_a_limit_is_respected_and_nothing_is_asked_meanwhile(stage: ChatStage) -> None:
    stage.slack.budget, stage.slack.retry_after = 0, "120"
    stage.at(ACCEPTANCE)
    for key in ("SHOP-2", "SHOP-3"):
        stage.start(key)
    for _ in range(5):
        stage.time += timedelta(seconds=2)
        stage.drain()
    asked = len(stage.slack.server.calls("POST", "chat"))
    stage.time += timedelta(seconds=60)
    stage.drain()
    assert len(stage.slack.server.calls("POST", "chat")) == asked
    stage.slack.budget = None
    stage.time += timedelta(seconds=120)
    stage.errands()
    assert stage.unsent() == []
    assert any("test it" in one.text for one in stage.slack.said())


def test_a_question_decided_while_slack_was_down_arrives_without_buttons(stage: ChatStage) -> None:
    stage.slack.server.faults.rules = [("POST", "chat", Answer(503, {}))]
    stage.at(ACCEPTANCE)
    stage.decide(stage.feature(), "tom", ACCEPTANCE, DecisionKind.APPROVE)
    stage.slack.server.faults.rules = []
    stage.time += timedelta(minutes=10)
    stage.settle()
    said = stage.last("test it")
    assert said.buttons().keys() == {"Open board"}
    assert "tom approved" in said.words()


def test_a_message_that_is_refused_for_good_keeps_those_behind_it_waiting_for_hours_only(stage: ChatStage) -> None:
    stage.slack.server.faults.rules = [("POST", "postMessage", Answer(200, {"ok": False, "error": "as_user_no"}))]
    stage.at(ACCEPTANCE)
    assert len(stage.unsent()) > 1
    for _ in range(40):
        stage.time += timedelta(minutes=5)
        stage.drain()
    stage.slack.server.faults.rules = []
    stage.time += timedelta(minutes=5)
    stage.errands()
    assert stage.unsent() == []
    assert "trouble" in stage.kinds()


def test_a_channel_that_is_down_keeps_no_other_waiting(stage: ChatStage) -> None:
    mail = FakeMessenger()
    stage.channels["mail"] = mail
    notifier = NotifierConfig("mail", "smtp.Notifier")
    stage.project = replace(stage.project, messages=replace(stage.project.messages, notifiers=(notifier,)))
    stage.slack.server.faults.rules = [("POST", "chat", Answer(503, {}))]
    stage.at(ACCEPTANCE)
    assert any("test it" in one.text for one in mail.sent)
    assert stage.slack.said() == []


def test_broken_glass_is_shown_in_the_channel_itself(stage: ChatStage) -> None:
    stage.at(VERDICT)
    with stage.begin() as unit:
        assert glass.free_lock(unit, stage.project, "The shop burns.", person=PersonName("olga"))
    stage.errands()
    said = stage.last("BREAK GLASS")
    assert said.broadcast
    assert "<@U0MAX>" in said.text
    assert "The shop burns." in said.text


def test_a_word_for_everybody_is_told_once_in_every_channel(stage: ChatStage) -> None:
    for _ in range(2):
        with stage.begin() as unit:
            posting.announce(unit, stage.project, "frozen:7", "Production is frozen: <sale>.", to=["olga"])
    stage.errands()
    (said,) = stage.slack.said()
    assert said.text.startswith("<@U0OLGA> Production is frozen: &lt;sale&gt;.")
    assert stage.unsent() == []


def test_a_word_for_everybody_keeps_neither_the_next_one_nor_any_feature_waiting(stage: ChatStage) -> None:
    with stage.begin() as unit:
        posting.announce(unit, stage.project, "brake:1:on", "Nothing is destroyed.")
    stage.errands()
    (told,) = [one for one in stage.books.of(OutboxEntry) if one.kind is Errand.POST]
    # As a release before this one left it: said, and tried for ever.
    told.sent_at, told.tries, told.error = None, 99, "The ledger knows no feature number 0."
    with stage.begin() as unit:
        posting.announce(unit, stage.project, "brake:1:released", "It may go now.")
    stage.at(ACCEPTANCE)
    assert stage.unsent() == []
    assert [one.text for one in stage.slack.said() if not one.thread][:2] == ["Nothing is destroyed.", "It may go now."]


def test_a_message_that_slack_does_not_change_keeps_no_newer_one_from_being_mended(stage: ChatStage) -> None:
    asked = stage.question(ACCEPTANCE)
    while len(stage.slack.thread()) < 8 and stage.slack.thread()[-1] is asked:
        stage.time += HOUR
        stage.housekeeping()
    reminded = stage.slack.thread()[-1]
    stage.slack.unchangeable[asked.ts] = "cant_update_message"
    stage.decide(stage.feature(), "tom", ACCEPTANCE, DecisionKind.APPROVE)
    stage.errands()
    assert "tom approved" in reminded.words()
    assert "Approve" in asked.buttons()
    with stage.begin() as unit:
        assert asked.ts not in {one.ts for one in unit.books.posts_open(stage.feature(), CHAT)}
        mending = unit.books.outbox_marked(stage.project.name, f"{stage.feature().run_id}:{Errand.MEND}")
    assert mending
    assert mending.error == ""


@pytest.mark.parametrize("gone", ["deleted", "locked", "channel"])
def test_a_feature_whose_thread_is_gone_goes_on_in_another(stage: ChatStage, gone: str) -> None:
    asked = stage.question(ACCEPTANCE)
    (root,) = [one for one in stage.slack.said() if not one.thread]
    where = CHANNEL
    match gone:
        case "deleted":
            stage.slack.delete(root)
        case "locked":
            stage.slack.locked.add(root.ts)
        case _:
            where = "C0OTHER"
            stage.slack.channels[where] = Channel()
            stage.project = replace(stage.project, messages=replace(stage.project.messages, channel=where))
            stage.channels[CHAT] = stage.workspace.messenger(project=stage.project)
            stage.slack.channels[CHANNEL].archived = True
    stage.decide(stage.feature(), "tom", ACCEPTANCE, DecisionKind.APPROVE)
    stage.settle()
    assert stage.unsent() == []
    begun = [one for one in stage.slack.said(where) if not one.thread and one is not root]
    assert len(begun) == 1
    told = [one for one in stage.slack.said(where) if one.thread == begun[0].ts]
    assert any("confirm it" in one.text for one in told)
    assert ("tom approved" in asked.words()) is (gone != "channel")
