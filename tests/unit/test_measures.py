"""What Prometheus is told, from counts: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Slo
from feature_delivery.domain.records import PermitRecord, PromotionState
from feature_delivery.ports.metrics import WORST, AtWork, Blocked, Look, MetricFacts, OpenGate, OpenPromotion, Tally
from feature_delivery.services.control import tallies
from feature_delivery.services.control.looks import Marks
from feature_delivery.services.control.measures import Family, families, role_of
from tests.support.world import EPOCH, shop

SHOP = shop()
HOUR = timedelta(hours=1)


def told(facts: MetricFacts, name: str) -> Family:
    (found,) = [family for family in families(facts, {SHOP.name: SHOP}) if family.name == name]
    return found


def test_a_histogram_counts_up_to_each_bound() -> None:
    step = (SHOP.name, tallies.STEPS, "preprod.deploy", "done")
    facts = MetricFacts(
        at=EPOCH, tallies=(Tally(*step, 2, 3, 9.0), Tally(*step, 4, 1, 20.0), Tally(*step, 11, 1, 5000.0))
    )
    (sample,) = told(facts, "step_duration_seconds").samples
    assert sample.value == 5029.0
    assert sample.buckets == (0, 0, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5)
    assert len(sample.buckets) == len(tallies.BUCKETS) + 1


@pytest.mark.parametrize(("seconds", "place"), [(0, 0), (1, 0), (1.01, 1), (3600, 10), (3601, 11), (-5, 0)])
def test_a_step_goes_into_the_bucket_whose_bound_it_does_not_exceed(seconds: float, place: int) -> None:
    counted: list[tuple[object, ...]] = []

    class Books:
        def tally(self, *labels: object, place: int, total: float) -> None:
            counted.append((*labels, place, total))

    permit = PermitRecord(
        feature_id=1,
        attempt=1,
        step=Step.DEPLOY_PREPROD,
        try_number=1,
        task_instance="x",
        state="done",
        granted_at=EPOCH,
    )
    permit.ended_at = EPOCH + timedelta(seconds=seconds)
    tallies.step_ended(Books(), SHOP.name, permit)  # type: ignore[arg-type] # the one method that is called
    assert counted == [(SHOP.name, "steps", "preprod.deploy", "done", place, max(seconds, 0.0))]


def test_a_counter_begins_with_nothing_before_its_first_event() -> None:
    webhooks = told(MetricFacts(at=EPOCH), "webhooks")
    assert {sample.labels[2] for sample in webhooks.samples} == set(tallies.RESULTS)
    assert {sample.value for sample in webhooks.samples} == {0.0}


def gate(number: int, *, waited: timedelta, step: Step = Step.WAIT_FOR_REVIEW) -> OpenGate:
    key = FeatureKey(f"SHOP-{number}")
    return OpenGate(SHOP.name, step, 40, key, key, EPOCH - waited, None)


def test_a_gate_is_overdue_when_people_had_longer_than_the_project_gives_them() -> None:
    facts = MetricFacts(at=EPOCH, gates=(gate(1, waited=73 * HOUR), gate(2, waited=71 * HOUR)))
    troubles = told(facts, "trouble_age_seconds").samples
    assert [(s.labels[1], s.labels[4], s.value) for s in troubles] == [("SHOP-1", "gate_overdue", 73 * 3600.0)]
    assert told(facts, "gate_waiting").samples[0].value == 40


def test_a_gate_without_a_deadline_is_never_overdue() -> None:
    facts = MetricFacts(at=EPOCH, gates=(gate(1, waited=9999 * HOUR, step=Step.WAIT_FOR_CODE),))
    assert told(facts, "trouble_age_seconds").samples == ()


def test_a_watch_is_no_step_that_hangs_before_its_time_is_over() -> None:
    key, long = FeatureKey("SHOP-1"), replace(SHOP, choices=replace(SHOP.choices, observe_for=2 * HOUR))

    def hangs(begun: timedelta) -> list[float]:
        work = AtWork(SHOP.name, key, key, EPOCH - begun, Step.OBSERVE_PRODUCTION, "granted", EPOCH - begun, None)
        found = families(MetricFacts(at=EPOCH, at_work=(work,)), {SHOP.name: long})
        return [s.value for family in found if family.name == "trouble_age_seconds" for s in family.samples]

    assert (hangs(1.9 * HOUR), hangs(3 * HOUR)) == ([], [3600.0])


def test_a_host_that_answers_git_and_not_its_api_was_not_looked_at_with_success() -> None:
    kept = Marks(looked_at=EPOCH, requests=EPOCH - HOUR, issues=EPOCH)
    found = told(MetricFacts(at=EPOCH, looks=(Look(SHOP.name, kept.dump()),)), "look_age_seconds").samples
    assert {s.labels[1]: s.value for s in found} == {"host": 3600.0, "tracker": 0.0}


def test_the_longest_troubles_are_named_and_no_more() -> None:
    cases = tuple(
        Blocked(SHOP.name, FeatureKey(f"SHOP-{n}"), f"SHOP-{n}", Step.CHECK_UNIT, EPOCH - n * HOUR)
        for n in range(1, 99)
    )
    named = told(MetricFacts(at=EPOCH, blocked=cases), "trouble_age_seconds").samples
    assert len(named) == WORST
    assert {int(s.labels[1].removeprefix("SHOP-")) for s in named} == set(range(99 - WORST, 99))


def test_a_failed_step_is_no_running_one() -> None:
    key = FeatureKey("SHOP-1")
    work = AtWork(SHOP.name, key, key, EPOCH - HOUR, Step.DEPLOY_PREPROD, "failed", EPOCH - HOUR, EPOCH - HOUR / 2)
    assert [s.labels[4] for s in told(MetricFacts(at=EPOCH, at_work=(work,)), "trouble_age_seconds").samples] == [
        "failed"
    ]
    running = replace(work, state="granted", ended_at=None)
    found = told(MetricFacts(at=EPOCH, at_work=(running,)), "trouble_age_seconds").samples
    assert [s.labels[4] for s in found] == ["step_running"]


@pytest.mark.parametrize(
    ("step", "failed", "kinds"),
    [
        (Step.DEPLOY_ROLLBACK, False, ["rollback"]),
        (Step.DEPLOY_ROLLBACK, True, ["rollback", "rollback_failed"]),
        (Step.TEST_PRODUCTION, True, ["rollback"]),
    ],
)
def test_only_a_failed_step_of_the_rollback_itself_fails_it(step: Step, failed: bool, kinds: list[str]) -> None:  # noqa: FBT001
    key = FeatureKey("SHOP-1")
    one = OpenPromotion(SHOP.name, key, key, PromotionState.ROLLING_BACK, EPOCH - HOUR, step, failed, EPOCH - HOUR / 2)
    found = told(MetricFacts(at=EPOCH, open_promotions=(one,)), "trouble_age_seconds").samples
    assert [sample.labels[4] for sample in found] == kinds


def test_a_promotion_that_ended_without_a_word_is_uncertain() -> None:
    key = FeatureKey("SHOP-1")
    one = OpenPromotion(SHOP.name, key, key, PromotionState.INTENDED, EPOCH - HOUR, Step.PROMOTE, False, None)
    (found,) = told(MetricFacts(at=EPOCH, open_promotions=(one,)), "trouble_age_seconds").samples
    assert (found.labels[3], found.labels[4], found.value) == ("production.promote", "production_uncertain", 3600)


def test_a_clock_that_was_wrong_makes_no_age_negative() -> None:
    facts = MetricFacts(at=EPOCH, gates=(gate(1, waited=-HOUR),))
    assert told(facts, "gate_oldest_seconds").samples[0].value == 0.0


def test_a_bound_is_told_as_either_client_writes_it() -> None:
    changed = replace(SHOP, slo=Slo(latency_within=timedelta(seconds=1)))
    (found,) = [f for f in families(MetricFacts(at=EPOCH), {changed.name: changed}) if f.name == "slo_latency"]
    assert {sample.labels[1] for sample in found.samples} == {"1", "1.0"}


def test_a_project_whose_file_is_gone_is_told_by_its_counts_alone() -> None:
    gone = ProjectName("gone")
    facts = MetricFacts(at=EPOCH, gates=(replace(gate(1, waited=99 * HOUR), project=gone),))
    found = {family.name: family for family in families(facts, {SHOP.name: SHOP})}
    assert ("gone", "review.wait_for_review", "reviewer") in {s.labels for s in found["gate_waiting"].samples}
    assert found["trouble_age_seconds"].samples == ()


def test_whoever_is_waited_for_is_told_by_role() -> None:
    assert role_of(Step.WAIT_FOR_VERDICT, SHOP) == "manager+operator"
    assert role_of(Step.WAIT_FOR_CODE, SHOP) == "developer"
    assert role_of(Step.WAIT_FOR_TURN, SHOP) == "automatic"
