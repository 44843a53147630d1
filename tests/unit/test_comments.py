"""Commands in comments: who may give them, what they are bound to, and that each is acted upon once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.commands import Command, Verb, command
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import AttemptState, FeatureState, HeardComment
from feature_delivery.ports.git_host import RequestComment
from feature_delivery.services.control.comments import hear
from tests.support.stage import Stage

REVIEW, ACCEPTANCE = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE
CONFIRMATION, VERDICT = Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/approve", Command(Verb.APPROVE)),
        ("  /approve acceptance ", Command(Verb.APPROVE, "acceptance")),
        ("/Approve\nLooks good", Command(Verb.APPROVE, "Looks good")),
        ("/reject Totals are wrong.\n\nSee cart.", Command(Verb.REJECT, "Totals are wrong.\n\nSee cart.")),
        ("/rollback", Command(Verb.ROLL_BACK)),
        ("/keep it", Command(Verb.KEEP, "it")),
        ("/status", Command(Verb.STATUS)),
        ("/delivery approve", Command(Verb.APPROVE)),
        ("/delivery  reject no", Command(Verb.REJECT, "no")),
        ("/approved", None),
        ("/approve-all", None),
        ("/approve/x", None),
        ("/assign @rob", None),
        ("approve", None),
        ("I would /approve", None),
        ("> /approve", None),
        ("", None),
        ("/", None),
        ("/delivery", None),
    ],
)
def test_a_command_is_the_beginning_of_a_comment(text: str, found: Command | None) -> None:
    assert command(text) == found


@given(st.text())
def test_any_comment_is_a_command_or_just_words(text: str) -> None:
    found = command(text)
    assert found is None or text.strip().startswith("/")


def ours(stage: Stage) -> list[str]:
    """Return our answers, the status comment left out."""
    found = stage.host.texts(stage.page().request.number, by="delivery-bot")
    return [text for text in found if not text.startswith("### ")]


def test_a_tester_accepts_by_a_comment_at_the_gate_of_now(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("tom", "/approve")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [CONFIRMATION]
    (decision,) = (d for d in stage.books.decisions(stage.feature()) if d.step is ACCEPTANCE)
    assert (decision.person, decision.kind, decision.way) == ("tom", DecisionKind.APPROVE, "comment")
    stage.errands()
    assert ours(stage) == []


def test_a_gate_can_be_named_before_it_is_asked(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.write("max", "/approve confirmation")
    stage.write("tom", "/approve acceptance\r\nFine with me.")
    stage.write("rob", "/approve")
    stage.reconcile()
    assert stage.parked(stage.feature()) == [VERDICT]
    assert stage.feature().state is FeatureState.ACTIVE


def test_a_rejection_by_comment_sends_the_attempt_back_with_its_reason(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("tom", "/reject Totals are wrong.")
    stage.reconcile()
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    assert attempt.state is AttemptState.REJECTED
    assert "Totals are wrong." in attempt.reason


def test_a_rejection_without_a_reason_is_refused_and_answered(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("tom", "/reject")
    stage.reconcile()
    stage.errands()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    assert "A rejection needs a comment" in ours(stage)[0]


@pytest.mark.parametrize(("text", "state"), [("/keep", FeatureState.SHIPPED), ("/rollback 500", FeatureState.ACTIVE)])
def test_the_verdict_can_be_a_comment(stage: Stage, text: str, state: FeatureState) -> None:
    stage.at(VERDICT)
    stage.write("max", text)
    stage.reconcile()
    assert stage.feature().state is state
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    expected = AttemptState.SHIPPED if text == "/keep" else AttemptState.ROLLED_BACK
    assert attempt.state is expected


def test_the_status_is_told_to_whoever_is_of_the_project(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("dan", "/status")
    stage.reconcile()
    stage.errands()
    at = f"attempt 1 at {stage.books.attempts(stage.feature())[0].commit[:10]}"
    waits = "preprod.wait_for_acceptance waits for 1 approval of: rita, tina, tom."
    assert ours(stage) == [f"SHOP-1 is active, {at}. {waits}"]


def test_who_lacks_the_role_is_refused_and_told_who_has_it(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("dora", "/approve")
    stage.reconcile()
    stage.errands()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    assert "dora is not tester of this project: rita, tina, tom may decide" in ours(stage)[0]
    refused = [event for event in stage.books.events(stage.feature()) if event.kind == "refused"]
    assert [(event.person, event.step) for event in refused] == [("dora", ACCEPTANCE)]


def test_a_stranger_is_answered_once_however_much_they_say(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    for _ in range(3):
        stage.write("eve", "/approve")
    stage.settle()
    assert ours(stage) == ["eve is nobody of shop: add them to 'people' in its project file."]
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_a_command_older_than_the_attempt_is_refused(stage: Stage) -> None:
    feature = stage.at(ACCEPTANCE)
    assert feature.branch is not None
    stage.write("tom", "/approve acceptance")
    stage.push(feature.branch)
    stage.reconcile()
    stage.errands()
    assert stage.feature().attempt_number == 2
    assert not [d for d in stage.books.decisions(stage.feature()) if d.accepted and d.step is ACCEPTANCE]
    assert "before attempt 2" in ours(stage)[-1]


def test_a_word_without_a_gate_is_about_the_question_its_author_saw(stage: Stage) -> None:
    """Said while acceptance was asked, taken in when confirmation is: it does not count for that."""
    feature = stage.at(ACCEPTANCE)
    stage.write("max", "/approve")
    stage.decide(feature, "tom", ACCEPTANCE, DecisionKind.APPROVE)
    stage.run()
    assert stage.parked(stage.feature()) == [CONFIRMATION]
    stage.reconcile()
    stage.errands()
    assert stage.parked(stage.feature()) == [CONFIRMATION]
    assert "before preprod.wait_for_confirmation was asked" in ours(stage)[-1]


def test_a_verdict_older_than_the_release_does_not_count(stage: Stage) -> None:
    stage.at(CONFIRMATION)
    stage.write("max", "/keep")
    stage.decide(stage.feature(), "mia", CONFIRMATION, DecisionKind.APPROVE)
    stage.run()
    assert stage.parked(stage.feature()) == [VERDICT]
    stage.reconcile()
    assert stage.feature().state is FeatureState.ACTIVE


@pytest.mark.parametrize("survive", [True, False])
def test_a_word_older_than_the_candidate_counts_only_where_sign_offs_survive_a_refresh(
    stage: Stage, *, survive: bool
) -> None:
    choices = replace(stage.project.choices, sign_offs_survive_refresh=survive)
    stage.project = replace(stage.project, choices=choices)
    feature = stage.at(ACCEPTANCE)
    stage.write("tom", "/approve acceptance")
    stage.clear(feature, Step.BUILD_CANDIDATE)
    stage.time += timedelta(minutes=1)
    stage.run()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    stage.reconcile()
    assert stage.parked(stage.feature()) == [CONFIRMATION if survive else ACCEPTANCE]
    stage.errands()
    assert survive or "was built: look again" in ours(stage)[-1]


def test_where_nobody_is_asked_a_word_without_a_gate_means_nothing(stage: Stage) -> None:
    stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    stage.opened(stage.feature())
    stage.reconcile()
    stage.at(VERDICT)
    stage.write("max", "/approve")
    stage.reconcile()
    stage.errands()
    assert "means nothing for SHOP-1 at this moment" in ours(stage)[-1]


def test_the_client_was_shown_it_can_be_said_on_the_merged_request(stage: Stage) -> None:
    stage.at(VERDICT)
    stage.write("max", "/keep")
    stage.settle()
    assert stage.parked(stage.feature()) == [Step.WAIT_FOR_DEMONSTRATION]
    stage.write("max", "/approve")
    stage.reconcile()
    assert stage.feature().state is FeatureState.DELIVERED


def test_a_command_stays_heard_as_it_was_when_its_comment_is_edited_later(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.write("dora", "/approve")
    stage.reconcile()
    (_, written) = stage.page().thread[-1]
    stage.host.edit(stage.page().request.number, written.id, "/reject No.")
    stage.reconcile()
    assert [heard.verb for heard in stage.books.of(HeardComment)] == ["approve"]


@pytest.mark.parametrize(("gate", "text"), [(ACCEPTANCE, "/approve"), (VERDICT, "/keep"), (ACCEPTANCE, "/status")])
def test_words_that_somebody_changed_into_a_command_do_not_count_until_they_are_said_again(
    stage: Stage, gate: Step, text: str
) -> None:
    """Whoever may push may change what others have said."""
    stage.at(gate)
    person = "tom" if gate is ACCEPTANCE else "max"
    stage.write(person, "The totals look odd.")
    (_, written) = stage.page().thread[-1]
    stage.host.edit(stage.page().request.number, written.id, text)
    before = len(ours(stage))
    stage.settle()
    assert stage.parked(stage.feature()) == [gate]
    (answer,) = ours(stage)[before:]
    assert answer.startswith("This comment was changed after it was written")
    assert f"{text} does not count: write it again" in answer
    assert not [d for d in stage.books.decisions(stage.feature()) if d.person == person and d.step is gate]
    stage.write(person, text)
    stage.settle()
    assert (stage.parked(stage.feature()) == [gate]) == (text == "/status")


@st.composite
def looks(draw: st.DrawFn) -> list[list[int]]:
    """Some looks at five comments, each of which sees any of them in any order, and any of them again."""
    return draw(st.lists(st.lists(st.integers(0, 4), max_size=8), min_size=1, max_size=6))


@given(looks())
def test_each_command_is_acted_upon_once_in_whatever_looks_it_is_seen(seen: list[list[int]]) -> None:
    stage = Stage()
    try:
        feature = stage.at(ACCEPTANCE)
        number = stage.page().request.number
        said = [
            RequestComment("a", "dora", "/approve", stage.time + timedelta(seconds=1)),
            RequestComment("b", "tina", "/approve", stage.time + timedelta(seconds=2)),
            RequestComment("c", "dan", "/status", stage.time + timedelta(seconds=3)),
            RequestComment("d", "tom", "just words", stage.time + timedelta(seconds=4)),
            RequestComment("e", "eve", "/reject no", stage.time + timedelta(seconds=5)),
        ]
        for look in seen:
            with stage.begin() as unit:
                hear(unit, stage.project, feature.run_id, number, [said[i] for i in look])
        stage.run()
        stage.errands()
        commands = {i for look in seen for i in look} - {3}
        assert sorted(h.comment for h in stage.books.of(HeardComment)) == sorted(said[i].id for i in commands)
        decisions = [d.person for d in stage.books.decisions(stage.feature()) if d.way == "comment"]
        assert sorted(set(decisions)) == sorted(decisions)
        assert [d for d in decisions if d == "tina"] == ["tina"] * (1 in commands)
        assert len([t for t in stage.host.texts(number, by="delivery-bot") if "nobody of shop" in t]) == (4 in commands)
        assert (stage.parked(stage.feature()) == [CONFIRMATION]) == (1 in commands)
    finally:
        stage.close()


def test_what_fails_in_the_middle_is_heard_again(stage: Stage) -> None:
    """The command and its being heard are one transaction."""
    feature = stage.at(ACCEPTANCE)
    number = stage.page().request.number
    comment = RequestComment("x", "tom", "/approve", stage.time + timedelta(seconds=1))

    def die() -> None:
        with stage.begin() as unit:
            hear(unit, stage.project, feature.run_id, number, [comment])
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        die()
    assert stage.books.of(HeardComment) == []
    with stage.begin() as unit:
        hear(unit, stage.project, feature.run_id, number, [comment])
    stage.run()
    assert stage.parked(stage.feature()) == [CONFIRMATION]
