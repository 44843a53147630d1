"""DORA's four figures and where the time went, on known data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Gate, GateState, PermitRecord, PromotionState
from feature_delivery.ports.board import FigureFacts, ReleaseRow, SpentRow
from feature_delivery.services.control.board import Stage
from feature_delivery.services.control.figures import WEEK, Dora, dora, figures, first_monday, monday_of
from feature_delivery.services.control.journey import Spent, spans, total_seconds

SHOP = ProjectName("shop")
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def release(
    feature: int,
    at: datetime,
    state: PromotionState = PromotionState.KEPT,
    *,
    lead: timedelta = DAY,
    verdict: timedelta | None = HOUR,
) -> ReleaseRow:
    return ReleaseRow(
        SHOP,
        FeatureKey(f"SHOP-{feature}"),
        feature,
        state,
        at - 2 * lead,
        at - lead,
        at,
        at + verdict if verdict else None,
    )


def spent(feature: int, step: Step, hours: float, began: datetime = MONDAY) -> SpentRow:
    return SpentRow(SHOP, feature, step, began, began + hours * HOUR)


def test_the_four_figures_of_a_known_month() -> None:
    back = PromotionState.ROLLED_BACK
    found = dora(
        [
            release(1, MONDAY, lead=DAY),
            release(2, MONDAY + DAY, lead=3 * DAY),
            release(3, MONDAY + 8 * DAY, lead=9 * DAY),
            release(4, MONDAY + 9 * DAY, back, verdict=2 * HOUR),
            release(5, MONDAY + 10 * DAY, PromotionState.DEPLOYED, verdict=None),
        ],
        span=4 * WEEK,
    )
    assert found == Dora(
        releases=5,
        kept=3,
        failed=1,
        averted=0,
        lead_time_seconds=3 * DAY.total_seconds(),
        per_week=1.25,
        failure_rate=0.25,
        restore_seconds=2 * HOUR.total_seconds(),
    )


def test_what_tests_or_the_watch_had_found_is_an_incident_averted() -> None:
    back, kept = PromotionState.ROLLED_BACK, PromotionState.KEPT
    found = [
        replace(release(1, MONDAY, back), noticed=True),
        replace(release(2, MONDAY, PromotionState.ROLLING_BACK), noticed=True),
        release(3, MONDAY, back),
        replace(release(4, MONDAY, kept), noticed=True),
    ]
    assert dora(found, span=WEEK).averted == 2


def test_nothing_is_no_figure_and_not_zero() -> None:
    found = dora([], span=WEEK)
    assert (found.lead_time_seconds, found.failure_rate, found.restore_seconds) == (None, None, None)
    assert (found.releases, found.per_week) == (0, 0)


def test_a_rollback_under_way_has_failed_but_is_not_restored() -> None:
    found = dora([release(1, MONDAY, PromotionState.ROLLING_BACK, verdict=None)], span=WEEK)
    assert (found.failed, found.failure_rate, found.restore_seconds) == (1, 1.0, None)


def test_a_release_without_verdict_is_neither_failure_nor_success() -> None:
    for state in (PromotionState.MOVED, PromotionState.UNCERTAIN, PromotionState.DEPLOYED):
        found = dora([release(1, MONDAY, state, verdict=None)], span=WEEK)
        assert (found.releases, found.kept, found.failed, found.failure_rate) == (1, 0, 0, None)


def test_a_clock_that_was_wrong_makes_no_negative_time() -> None:
    assert dora([release(1, MONDAY, lead=-HOUR)], span=WEEK).lead_time_seconds == 0


@pytest.mark.parametrize(
    ("moment", "monday"),
    [
        (MONDAY, MONDAY),
        (MONDAY + 7 * DAY - timedelta(microseconds=1), MONDAY),
        (MONDAY + 7 * DAY, MONDAY + 7 * DAY),
        (datetime(2026, 3, 9, 1, tzinfo=UTC).astimezone(), MONDAY + 7 * DAY),
    ],
)
def test_weeks_begin_on_monday_in_utc(moment: datetime, monday: datetime) -> None:
    assert monday_of(moment) == monday


def test_every_week_is_there_and_each_release_in_its_own() -> None:
    until = MONDAY + 20 * DAY
    since = first_monday(until, weeks=4)
    assert since == MONDAY - WEEK
    facts = FigureFacts(
        releases=(
            release(9, since - DAY),
            release(1, MONDAY),
            release(2, MONDAY + 6 * DAY),
            release(3, MONDAY + 7 * DAY),
            release(4, until + HOUR),
        )
    )
    found = figures(facts, since=since, until=until)
    assert [(week.begins - MONDAY).days for week in found.weeks] == [-7, 0, 7, 14]
    assert [week.dora.releases for week in found.weeks] == [0, 2, 1, 0]
    assert found.total.releases == 3


def test_time_per_stage_is_the_median_over_features_of_all_their_attempts() -> None:
    facts = FigureFacts(
        releases=(release(1, MONDAY), release(2, MONDAY), release(3, MONDAY, PromotionState.ROLLED_BACK)),
        waits=(
            spent(1, Step.WAIT_FOR_REVIEW, 2),
            spent(1, Step.WAIT_FOR_REVIEW, 4),  # again, in the second attempt
            spent(2, Step.WAIT_FOR_REVIEW, 10),
            spent(2, Step.WAIT_FOR_TURN, 1),
            spent(3, Step.WAIT_FOR_REVIEW, 900),  # was not kept
        ),
        work=(spent(1, Step.BUILD_CANDIDATE, 1), spent(2, Step.BUILD_CANDIDATE, 1)),
    )
    found = figures(facts, since=MONDAY - WEEK, until=MONDAY + DAY)
    stages = {one.stage: one for one in found.stages}
    assert found.features == 2
    assert stages[Stage.REVIEW].people_seconds == 8 * 3600
    assert stages[Stage.REVIEW].work_seconds == 3600
    assert (stages[Stage.QUEUE].queue_seconds, stages[Stage.QUEUE].people_seconds) == (1800, 0)
    assert set(stages) == {Stage.REVIEW, Stage.QUEUE}


def test_waiting_per_gate_is_in_the_order_of_the_process() -> None:
    waits = [spent(1, Step.WAIT_FOR_ACCEPTANCE, hours) for hours in range(1, 11)]
    waits.append(spent(1, Step.WAIT_FOR_REVIEW, 3))
    found = figures(
        FigureFacts(releases=(release(1, MONDAY),), waits=tuple(waits)), since=MONDAY - WEEK, until=MONDAY + DAY
    ).gates
    assert [one.gate for one in found] == [Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE]
    acceptance = found[1]
    assert (acceptance.times, acceptance.median_seconds / 3600) == (10, 5.5)
    assert (acceptance.ninth_decile_seconds / 3600, acceptance.longest_seconds / 3600) == (9, 10)


STATES = st.sampled_from(
    [PromotionState.KEPT, PromotionState.ROLLED_BACK, PromotionState.ROLLING_BACK, PromotionState.DEPLOYED]
)


@given(st.lists(st.tuples(st.integers(0, 83), STATES), max_size=30))
def test_the_weeks_add_up_to_the_whole(what: list[tuple[int, PromotionState]]) -> None:
    releases = tuple(release(place, MONDAY + days * DAY, state) for place, (days, state) in enumerate(what))
    found = figures(FigureFacts(releases=releases), since=MONDAY, until=MONDAY + 12 * WEEK)
    assert sum(week.dora.releases for week in found.weeks) == found.total.releases == len(releases)
    assert sum(week.dora.failed for week in found.weeks) == found.total.failed
    assert found.total.failure_rate is None or 0 <= found.total.failure_rate <= 1


# Where the time of one feature went.


def gate(step: Step, began: float, ended: float | None, state: GateState = GateState.RESOLVED) -> Gate:
    return Gate(
        feature_id=1,
        step=step,
        attempt=1,
        state=state,
        opened_at=MONDAY + began * HOUR,
        resolved_at=None if ended is None else MONDAY + ended * HOUR,
    )


def permit(number: int, step: Step, began: float, ended: float | None, state: str = "done") -> PermitRecord:
    return PermitRecord(
        id=number,
        feature_id=1,
        attempt=1,
        step=step,
        try_number=1,
        task_instance="t",
        state=state,
        granted_at=MONDAY + began * HOUR,
        ended_at=None if ended is None else MONDAY + ended * HOUR,
    )


def test_time_is_peoples_the_queues_or_works() -> None:
    found = spans(
        [gate(Step.WAIT_FOR_REVIEW, 1, 3), gate(Step.WAIT_FOR_TURN, 4, None, GateState.OPEN)],
        [permit(1, Step.DEPLOY_DEVELOPMENT, 0, 1)],
        until=MONDAY + 6 * HOUR,
    )
    assert [(s.spent, s.seconds / 3600, s.open) for s in found] == [
        (Spent.WORK, 1, False),
        (Spent.PEOPLE, 2, False),
        (Spent.QUEUE, 2, True),
    ]


def test_parallel_work_counts_once() -> None:
    checks = [
        permit(1, Step.CHECK_SYNTAX, 0, 1),
        permit(2, Step.CHECK_UNIT, 0, 3),
        permit(3, Step.CHECK_FUNCTIONAL, 1, 2),
        permit(4, Step.BUILD_CANDIDATE, 5, 6),
    ]
    assert total_seconds(spans([], checks, until=MONDAY), Spent.WORK) == 4 * 3600


def test_a_gate_that_was_closed_and_a_step_that_was_killed_have_no_known_end() -> None:
    closed = gate(Step.WAIT_FOR_REVIEW, 1, None, GateState.CLOSED)
    killed = permit(1, Step.DEPLOY_DEVELOPMENT, 0, None, "granted")
    void = permit(2, Step.CHECK_UNIT, 0, None, "void")
    running = permit(3, Step.BUILD_CANDIDATE, 2, None, "granted")
    found = spans([closed], [killed, void, running], until=MONDAY + 3 * HOUR)
    assert [(s.step, s.open) for s in found] == [(Step.BUILD_CANDIDATE, True)]


def test_nothing_spent_is_nothing() -> None:
    assert spans([], [], until=MONDAY) == ()
    assert total_seconds((), Spent.WORK) == 0
