"""Environments, deployments, results of suites, and what was looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import inspect

from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Deployment,
    EnvironmentState,
    KeptLooks,
    Observation,
    PermitRecord,
    PromotionState,
)
from tests.contracts.ledger.rows import (
    KEY,
    OTHER,
    SHOP,
    Begin,
    a_feature,
    a_promotion,
    a_result,
    an_attempt,
    an_environment,
    sha,
)


def test_environments_are_listed_until_they_are_destroyed(begin: Begin) -> None:
    with begin() as books:
        feature, other = a_feature(books), a_feature(books, "SHOP-2")
        production = an_environment(books, None, "production")
        mine = an_environment(books, feature, "development-shop-1")
        theirs = an_environment(books, other, "development-shop-2")
        abroad = an_environment(books, None, "production", project=OTHER)
        assert books.environments() == [production, mine, theirs, abroad]
        assert books.environments(SHOP) == [production, mine, theirs]
        assert books.environments(feature=feature) == [mine]
        assert books.environments(OTHER, feature) == []
        mine.state = EnvironmentState.DESTROYED
        assert books.environments(feature=feature) == []
        assert books.environment(SHOP, "development-shop-1") is mine
        again = an_environment(books, feature, "development-shop-1")
        assert books.environment(SHOP, "development-shop-1") is again
        assert books.environment(SHOP, "nowhere") is None


def test_many_environments_and_features_are_read_at_once(begin: Begin) -> None:
    with begin() as books:
        feature, other = a_feature(books), a_feature(books, "SHOP-2")
        gone = an_environment(books, feature, "development-shop-1")
        gone.state = EnvironmentState.DESTROYED
        again = an_environment(books, feature, "development-shop-1")
        theirs = an_environment(books, other, "development-shop-2")
        an_environment(books, None, "production", project=OTHER)
        names = {"development-shop-1", "development-shop-2", "production", "nowhere"}
        found = books.environments_named(SHOP, names)
        assert found == {"development-shop-1": again, "development-shop-2": theirs}
        assert books.environments_named(SHOP, set()) == {}
        assert books.features_by_id([other.id, 4711]) == {other.id: other}


def test_who_is_at_work_has_a_permit_that_has_not_ended(begin: Begin) -> None:
    with begin() as books:
        at_work, done, elsewhere, unasked = (a_feature(books, f"SHOP-{number}") for number in range(1, 5))
        for feature, step, state in (
            (at_work, Step.DEPLOY_PREPROD, "granted"),
            (at_work, Step.DEPLOY_DEVELOPMENT, "done"),
            (done, Step.DEPLOY_PREPROD, "done"),
            (elsewhere, Step.CLOSE_ISSUE, "granted"),
            (unasked, Step.DEPLOY_PREPROD, "granted"),
        ):
            books.add(
                PermitRecord(feature_id=feature.id, attempt=1, step=step, try_number=1, task_instance="x", state=state)
            )
        asked = [at_work.id, done.id, elsewhere.id]
        assert books.at_work(asked, {Step.DEPLOY_PREPROD, Step.DEPLOY_DEVELOPMENT}) == {at_work.id}


def test_the_newest_deployment_of_an_environment_is_known(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        here, there = an_environment(books, feature, "a"), an_environment(books, None, "production")
        assert books.deployment(here) is None
        made = [
            Deployment(environment_id=place.id, feature_id=of, attempt=1, commit=sha("a"), generation=number)
            for number, (place, of) in enumerate([(here, feature.id), (there, feature.id), (there, None)])
        ]
        for deployment in made:
            books.add(deployment)
        assert books.deployment(here) is made[0]
        assert books.deployment(there) is made[2]
        assert books.deployments(feature) == made[:2]


def test_the_newest_result_of_a_suite_counts(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        red = a_result(books, feature, "unit", "a", 3, red="Two tests failed.", report={"cases": ["x"]})
        green = a_result(books, feature, "unit", "a", 5)
        other = a_result(books, feature, "syntax", "a", 1, step=Step.CHECK_SYNTAX)
        assert books.suite_result(feature, 1, Step.CHECK_UNIT) is green
        assert books.suite_result(feature, 1, Step.CHECK_SYNTAX) is other
        assert books.suite_result(feature, 2, Step.CHECK_UNIT) is None
        assert books.suite_results(feature) == [red, green, other]
        assert red.seconds == 1.5


def test_a_report_is_read_when_it_is_looked_at(begin: Begin) -> None:
    """Cases are megabytes over many attempts: who wants to know whether a suite is red does not read them."""
    with begin() as books:
        a_result(books, a_feature(books), "unit", "a", 3, report={"cases": ["x"]})
    with begin() as books:
        feature = books.feature(SHOP, KEY)
        assert feature is not None
        [one], newest = books.suite_results(feature), books.suite_result(feature, 1, Step.CHECK_UNIT)
        assert one is newest
        assert "report" in inspect(one).unloaded
        assert one.report == {"cases": ["x"]}
        one.report = {"cases": ["y"]}
        assert books.suite_results(feature)[0].report == {"cases": ["y"]}


def test_production_executed_what_shipped_and_kept_code_executed(begin: Begin) -> None:
    with begin() as books:
        old, new, undone = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
        for feature in (old, new, undone):
            an_attempt(books, feature, commit="a")
        a_promotion(books, old, state=PromotionState.KEPT)
        a_result(books, old, "unit", "a", 10)
        a_result(books, old, "load", "c", 2)
        a_promotion(books, new, state=PromotionState.KEPT, candidate=sha("e"))
        a_result(books, new, "unit", "a", 12)
        a_result(books, new, "integration", "d", 99)  # a candidate that was replaced
        a_result(books, new, "integration", "e", 20)
        a_result(books, new, "integration", "e", 21)
        a_result(books, new, "integration", "e", 50, red="A test failed.")
        a_promotion(books, undone, state=PromotionState.ROLLED_BACK)
        a_result(books, undone, "unit", "a", 1)
        a_result(books, old, "unit", "a", 9)  # cleared and run again, long after a newer feature shipped
        assert books.executed_in_production(SHOP) == {"unit": 12, "integration": 21, "load": 2}
        assert books.executed_in_production(OTHER) == {}


def test_the_load_of_the_release_that_was_kept_last_is_found(begin: Begin) -> None:
    with begin() as books:
        old, new, undone = (a_feature(books, key) for key in ("SHOP-1", "SHOP-2", "SHOP-3"))
        for feature in (old, new, undone):
            an_attempt(books, feature, commit="a")
            for outcome in ("inconclusive", "pass"):
                books.add(
                    Observation(
                        feature_id=feature.id,
                        attempt=1,
                        step=Step.TEST_LOAD,
                        commit=sha("c"),
                        outcome=outcome,
                        report={"measured": {"source": feature.key}},
                    )
                )
        a_promotion(books, old, state=PromotionState.KEPT)
        a_promotion(books, new, state=PromotionState.KEPT, candidate=sha("e"))
        a_promotion(books, undone, state=PromotionState.ROLLED_BACK)
        found = books.load_in_production(SHOP)
        assert found is not None
        assert (found.report, found.outcome) == ({"measured": {"source": "SHOP-2"}}, "pass")
        assert books.load_in_production(OTHER) is None
        assert books.observation(old, 1, Step.OBSERVE_PRODUCTION) is None
        newest = books.observation(old, 1, Step.TEST_LOAD)
        assert newest is not None
        assert newest.outcome == "pass"


def test_looks_are_kept_by_watch_and_forgotten_by_feature_and_age(begin: Begin) -> None:
    with begin() as books:
        one, other = a_feature(books, "SHOP-1"), a_feature(books, "SHOP-2")
        for feature, permit in ((one, 1), (one, 2), (other, 3), (one, 2)):
            books.add(KeptLooks(feature_id=feature.id, permit_id=permit, looks=[(1.5, None, 0.25), (2.5, 200, 0.5)]))
    with begin() as books:
        found = books.looks(one, 2)
        assert [tuple(map(tuple, each.looks)) for each in found] == [((1.5, None, 0.25), (2.5, 200, 0.5))] * 2
        assert found[0].id < found[1].id
        books.forget_looks(one, but=2)
        assert [len(books.looks(one, permit)) for permit in (1, 2)] == [0, 2]
        books.forget_looks(one)
        assert books.looks(one, 2) == []
        assert books.prune_looks(before=datetime.now(UTC) - timedelta(hours=1)) == 0
        assert books.prune_looks(before=datetime.now(UTC) + timedelta(hours=1)) == 1
        assert books.looks(other, 3) == []
