"""What people do to an issue while its feature is under delivery: noted, told, and never an order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.git_host import RequestState
from feature_delivery.ports.tracker import IssueState
from tests.support.stage import Stage, outside_shop

KEY = FeatureKey("SHOP-1")
START, CODE, REVIEW, VERDICT = Step.WAIT_FOR_START, Step.WAIT_FOR_CODE, Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_VERDICT


@pytest.fixture
def waiting() -> Iterator[Stage]:
    made = Stage(project=outside_shop(start_gate=True))
    made.start("SHOP-1")
    made.run()
    assert made.parked(made.feature()) == [START]
    yield made
    made.close()


@pytest.mark.parametrize("change", [{"assignee": "dan"}, {"state": IssueState.IN_PROGRESS}])
def test_assigned_or_in_progress_is_taken(waiting: Stage, change: dict[str, object]) -> None:
    waiting.tracker.edit(KEY, **change)
    assert "SHOP-1: taken" in waiting.reconcile()
    assert waiting.parked(waiting.feature()) == [CODE]


def test_an_issue_that_nobody_took_starts_nothing(waiting: Stage) -> None:
    waiting.tracker.edit(KEY, title="Other words")
    waiting.reconcile()
    assert waiting.parked(waiting.feature()) == [START]


def closed_messages(stage: Stage) -> list[str]:
    return [m.text for m in stage.messages.sent if "was closed" in m.text]


def test_closing_the_issue_cancels_nothing_but_people_are_told_once(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.tracker.edit(KEY, state=IssueState.DONE)
    for _ in range(3):
        stage.settle()
    assert stage.feature().state is FeatureState.ACTIVE
    assert len(closed_messages(stage)) == 1
    assert "cancel SHOP-1" in closed_messages(stage)[0]
    assert stage.kinds().count("issue_closed") == 1


def test_an_issue_that_is_opened_again_is_noted_and_may_be_closed_again(stage: Stage) -> None:
    stage.at(REVIEW)
    for state in (IssueState.DONE, IssueState.OPEN, IssueState.DONE):
        stage.tracker.edit(KEY, state=state)
        stage.settle()
    kinds = [kind for kind in stage.kinds() if kind.startswith("issue_")]
    assert kinds == ["issue_closed", "issue_reopened", "issue_closed"]
    assert len(closed_messages(stage)) == 2


def test_the_project_may_choose_that_closing_cancels() -> None:
    stage = Stage(project=outside_shop(cancel_on_close=True))
    try:
        stage.at(REVIEW)
        stage.tracker.edit(KEY, state=IssueState.DONE)
        stage.settle()
        assert stage.feature().state is FeatureState.CANCELLED
        assert stage.host.pages[1].request.state is RequestState.CLOSED
    finally:
        stage.close()


def test_what_is_in_production_is_not_cancelled_by_closing_its_issue() -> None:
    stage = Stage(project=outside_shop(cancel_on_close=True))
    try:
        stage.at(VERDICT)
        stage.tracker.edit(KEY, state=IssueState.DONE)
        stage.settle()
        assert stage.feature().state is FeatureState.ACTIVE
        assert "decide about production first" in closed_messages(stage)[0]
    finally:
        stage.close()


def test_our_own_closing_of_the_issue_is_no_news(stage: Stage) -> None:
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    stage.tracker.edit(KEY, state=IssueState.DONE)
    stage.settle()
    assert closed_messages(stage) == []
