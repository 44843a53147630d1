"""The people of a project, and whose word counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain import suites
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import (
    DEFAULT_POLICIES,
    SIGN_OFFS,
    DecisionKind,
    GatePolicy,
    People,
    Person,
    Voice,
)
from feature_delivery.domain.process import GATES, ORDER, PROCESS, Step, Who, gate, row_of
from feature_delivery.domain.suites import CaseState, SuiteReport, why_red

ANN, BOB, CID = PersonName("ann"), PersonName("bob"), PersonName("cid")
REVIEW, ACCEPTANCE = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE
NOBODY: frozenset[PersonName] = frozenset()


def team(**more: object) -> People:
    persons = {
        ANN: Person(ANN, frozenset({Who.REVIEWER, Who.TESTER}), frozenset({"ann@x.org"}), frozenset({"annie"})),
        BOB: Person(BOB, frozenset({Who.REVIEWER, Who.MANAGER}), deputy=CID),
        CID: Person(CID, frozenset({Who.DEVELOPER})),
    }
    return replace(People(persons), **more)  # type: ignore[arg-type]


def may(people: People, person: PersonName, at: Step = REVIEW, **more: object) -> bool:
    said: dict[str, object] = {"kind": DecisionKind.APPROVE, "authors": NOBODY, "voices": ()} | more
    return bool(people.may_decide(person, gate=at, **said))  # type: ignore[arg-type]


def test_a_deputy_may_do_what_the_deputised_may() -> None:
    assert may(team(), CID)
    assert CID in team().with_role(Who.MANAGER)


def test_a_deputy_does_not_count_as_the_deputised() -> None:
    voices = (Voice(REVIEW, CID, DecisionKind.APPROVE),)
    assert not may(team(), CID, Step.WAIT_FOR_CONFIRMATION, voices=voices)
    assert may(team(), BOB, Step.WAIT_FOR_CONFIRMATION, voices=voices)


def test_an_author_may_reject_but_not_approve() -> None:
    assert not may(team(), ANN, authors=frozenset({ANN}))
    assert may(team(), ANN, authors=frozenset({ANN}), kind=DecisionKind.REJECT)


@pytest.mark.parametrize("step", sorted(GATES - set(DEFAULT_POLICIES)))
def test_nobody_decides_at_a_gate_that_waits_for_an_event(step: Step) -> None:
    assert not may(team(), BOB, step)


def test_a_word_that_is_no_answer_at_the_gate_is_refused_with_those_that_are() -> None:
    answer = team().may_decide(BOB, gate=REVIEW, kind=DecisionKind.KEEP, authors=NOBODY, voices=())
    assert answer.reason == "keep is no answer at review.wait_for_review: say approve or reject."


def test_people_are_found_by_login_name_and_address() -> None:
    assert team().by_login("annie") == team().by_login("ann") == ANN
    assert team().by_login("nobody") is None
    assert team().by_emails(["ANN@x.org", "b@x.org"]) == {ANN}


@given(st.lists(st.tuples(st.sampled_from([ANN, BOB, CID]), st.sampled_from(DecisionKind))), st.integers(1, 4))
def test_one_person_counts_once_however_often_they_speak(
    said: list[tuple[PersonName, DecisionKind]], count: int
) -> None:
    policies = {**DEFAULT_POLICIES, REVIEW: GatePolicy(frozenset({Who.REVIEWER}), count=count)}
    voices = [Voice(REVIEW, person, kind) for person, kind in said]
    approved = {person for person, kind in said if kind is DecisionKind.APPROVE}
    assert team(policies=policies).satisfied(REVIEW, voices) is (len(approved) >= count)
    assert not team(policies=policies).satisfied(ACCEPTANCE, voices)


@given(
    st.sampled_from([ANN, BOB, CID]),
    st.sampled_from(SIGN_OFFS),
    st.lists(
        st.builds(Voice, st.sampled_from(SIGN_OFFS), st.sampled_from([ANN, BOB, CID]), st.just(DecisionKind.APPROVE))
    ),
    st.frozensets(st.sampled_from([ANN, BOB, CID])),
)
def test_whoever_may_approve_wrote_nothing_and_signed_nowhere_else(
    person: PersonName, at: Step, voices: list[Voice], authors: frozenset[PersonName]
) -> None:
    if may(team(), person, at, voices=voices, authors=authors):
        assert person not in authors
        assert not [v for v in voices if v.person == person and v.gate is not at]


def test_every_step_belongs_to_one_row_of_the_process() -> None:
    steps = [step for row in PROCESS for step in row.steps]
    assert sorted(steps) == sorted(Step)
    assert [row.number for row in PROCESS][:3] == ["1", "2", "3"]
    assert row_of(Step.PROMOTE).number == "18"
    assert ORDER[Step.REGISTER_FEATURE] == 0


@pytest.mark.parametrize("text", ["preprod.wait_for_acceptance", "wait_for_acceptance", " Acceptance "])
def test_a_gate_is_found_by_any_of_its_names(text: str) -> None:
    assert gate(text) is ACCEPTANCE
    assert gate("deploy") is None


def report(*states: CaseState, problem: str = "") -> SuiteReport:
    cases = tuple(suites.TestCase(f"test_{n}", state, 0.1) for n, state in enumerate(states))
    return SuiteReport(suite="unit", commit="c", seconds=1, cases=cases, problem=problem)


PASSED, FAILED, SKIPPED = CaseState.PASSED, CaseState.FAILED, CaseState.SKIPPED


@pytest.mark.parametrize(
    ("found", "in_production", "why"),
    [
        (report(PASSED), None, None),
        (report(), None, "ran no test"),
        (report(SKIPPED, SKIPPED), None, "ran no test"),
        (report(PASSED, FAILED), None, "1 of 2 unit tests failed, first 'test_1'"),
        (report(PASSED, problem="It hung."), None, "did not count: It hung."),
        (report(*[PASSED] * 9), 10, None),
        (report(*[PASSED] * 8), 10, "tests were lost"),
    ],
)
def test_a_suite_is_green_only_when_it_proved_something(
    found: SuiteReport, in_production: int | None, why: str | None
) -> None:
    said = why_red(found, production_executed=in_production)
    assert (said is None) if why is None else (said is not None and why in said)
