"""Who is to be told about a gate that waits: few of many, by the rules of its own project and of the gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from feature_delivery.domain.hours import WorkingHours
from feature_delivery.domain.messages import MessagesConfig, Reminding
from feature_delivery.domain.people import Membership
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.records import Gate
from feature_delivery.services.control.reminders import due
from tests.support.world import grouped, shop, told

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 1, 7, 12, tzinfo=ZoneInfo("Europe/Berlin"))
NOBODY = {Step.WAIT_FOR_CODE, Step.WAIT_FOR_MERGE_REQUEST, Step.WAIT_FOR_TURN, Step.WAIT_FOR_REWORK}


def waiting(step: Step, since: timedelta = 30 * DAY, **more: object) -> Gate:
    return Gate(feature_id=1, step=step, opened_at=NOON - since, **more)  # type: ignore[arg-type]


def test_no_gate_is_looked_at_at_which_nobody_will_ever_be_told() -> None:
    """A thousand features wait for code: each look is a transaction with the project's lock."""
    gates = [waiting(step) for step in sorted(GATES)]
    found = {gate.step for gate in due(shop(), gates, NOON)}
    assert found == GATES - NOBODY
    assert due(shop(), [waiting(Step.WAIT_FOR_REVIEW, blocked="Red."), waiting(Step.WAIT_FOR_REVIEW, HOUR)], NOON) == []


def test_the_gates_own_rule_counts() -> None:
    never = Reminding(after=4 * HOUR, escalate_after=None)
    office = WorkingHours(zone="Europe/Berlin", days=frozenset(range(5)), begin=time(9), end=time(17))
    messages = MessagesConfig(hours=office, gate_reminders={Step.WAIT_FOR_START: never})
    project = replace(shop(), messages=messages)
    start, review = (waiting(step, reminders=1) for step in (Step.WAIT_FOR_START, Step.WAIT_FOR_REVIEW))
    assert due(project, [start, review], NOON) == [review]
    start.reminders = 0
    assert due(project, [start, review], NOON) == [start, review]
    assert due(project, [start, review], NOON.replace(hour=23)) == []


def test_nothing_is_due_while_it_is_not_known_who_people_are() -> None:
    project = grouped(shop())
    assert due(told(project, Membership(known=False)), [waiting(Step.WAIT_FOR_REVIEW)], NOON) == []
