"""Every method of ``Books``, on PostgreSQL and on the ledger in memory that unit tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, pool

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin
from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName, TreeSha
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    LISTING_HOST,
    Attempt,
    AttemptState,
    CandidateRecord,
    Decision,
    Deployment,
    Environment,
    EnvironmentState,
    Event,
    Feature,
    FeatureState,
    Gate,
    GateState,
    HeardComment,
    KeptLooks,
    Observation,
    PermitRecord,
    Promotion,
    PromotionState,
    QueuePlace,
    SuiteResult,
    WebhookDelivery,
    WebhookState,
)
from feature_delivery.ports.ledger import Books
from tests.fakes.ledger import memory_ledger

SHOP, OTHER = ProjectName("shop"), ProjectName("other")
KEY = FeatureKey("SHOP-1")
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)

Begin = Callable[[], AbstractContextManager[SqlBooks]]


@pytest.fixture(params=["postgresql", "memory"])
def begin(request: pytest.FixtureRequest) -> Iterator[Begin]:
    if request.param == "postgresql":
        opened, close = ledger_begin(request.getfixturevalue("postgres_engine")), None
    else:
        memory = memory_ledger()
        opened, close = memory.begin, memory.close

    @contextmanager
    def books() -> Iterator[SqlBooks]:
        with opened() as (_session, found):
            yield found

    yield books
    if close:
        close()


SHA_OF_CANDIDATE = CommitSha("c" * 40)


def sha(letter: str) -> CommitSha:
    return CommitSha(letter * 40)


def a_feature(books: Books, key: str = KEY, *, project: ProjectName = SHOP, delivery: int = 1, **more: Any) -> Feature:
    run = key if delivery == 1 else f"{key}__{delivery}"
    feature = Feature(
        project=project, key=FeatureKey(key), delivery=delivery, run_id=run, **({"title": "Gift cards"} | more)
    )
    books.add(feature)
    return feature


def an_attempt(books: Books, feature: Feature, number: int = 1, commit: str = "a", **more: Any) -> Attempt:
    attempt = Attempt(feature_id=feature.id, number=number, commit=sha(commit), **more)
    books.add(attempt)
    feature.attempt_number = number
    return attempt


def an_environment(books: Books, feature: Feature | None, name: str = "development-shop-1", **more: Any) -> Environment:
    environment = Environment(
        project=more.pop("project", SHOP),
        name=name,
        kind="development",
        feature_id=feature.id if feature else None,
        **more,
    )
    books.add(environment)
    return environment


def a_gate(books: Books, feature: Feature, step: Step = Step.WAIT_FOR_REVIEW, **more: Any) -> Gate:
    gate = Gate(feature_id=feature.id, step=step, **more)
    books.add(gate)
    return gate


def a_promotion(books: Books, feature: Feature, attempt: int = 1, **more: Any) -> Promotion:
    values: dict[str, Any] = {"before": sha("0"), "candidate": sha("c"), "tree": TreeSha("d" * 40)} | more
    promotion = Promotion(project=feature.project, feature_id=feature.id, attempt=attempt, **values)
    books.add(promotion)
    return promotion


def a_result(books: Books, feature: Feature, suite: str, commit: str, executed: int, **more: Any) -> SuiteResult:
    values: dict[str, Any] = {
        "attempt": 1,
        "step": Step.CHECK_UNIT,
        "tests": executed,
        "failed": 0,
        "seconds": 1.5,
    } | more
    result = SuiteResult(feature_id=feature.id, suite=suite, commit=sha(commit), executed=executed, **values)
    books.add(result)
    return result


def test_the_instance_is_made_up_once_and_stays(begin: Begin) -> None:
    with begin() as books:
        first = books.instance()
        assert books.instance() == first
    with begin() as books:
        assert books.instance() == first
    assert len(first) == 12
    assert set(first) <= set("0123456789abcdef")


def test_a_locked_project_is_created_once_and_can_be_changed(begin: Begin) -> None:
    with begin() as books:
        assert books.project(SHOP) is None
        project = books.lock_project(SHOP)
        assert project is books.lock_project(SHOP)
        project.production_commit = sha("a")
        project.lock_since = NOON
    with begin() as books:
        project = books.lock_project(SHOP)
        assert (project.name, project.production_commit, project.lock_since) == (SHOP, sha("a"), NOON)
        assert (project.lock_feature_id, project.frozen_reason) == (None, "")
        assert books.project(OTHER) is None


def test_a_change_made_before_the_lock_is_not_lost_by_it(begin: Begin) -> None:
    with begin() as books:
        books.lock_project(SHOP)
        a_feature(books)
    with begin() as books:
        feature = books.feature(SHOP, KEY)
        assert feature
        feature.title = "Gift vouchers"
        books.lock_project(SHOP)
        assert feature.title == "Gift vouchers"
    with begin() as books:
        found = books.feature(SHOP, KEY)
        assert found
        assert found.title == "Gift vouchers"


def test_a_stored_feature_comes_back_as_it_was(begin: Begin) -> None:
    east = timezone(timedelta(hours=3))
    with begin() as books:
        feature = a_feature(
            books,
            description="Line one\nline two",
            requester="Zoë \U0001f381",
            branch=BranchName("feature/SHOP-1-gift"),
            wanted_commit=sha("b"),
            request_number=7,
            started=True,
            branch_seen_gone=NOON.astimezone(east),
            created_at=NOON,
        )
        number = feature.id
        assert number > 0
    with begin() as books:
        found = books.feature_by_id(number)
        assert found is not feature
        assert (found.description, found.requester) == ("Line one\nline two", "Zoë \U0001f381")
        assert (found.branch, found.wanted_commit, found.request_number) == ("feature/SHOP-1-gift", sha("b"), 7)
        assert found.started is True
        assert found.state is FeatureState.ACTIVE
        assert found.branch_seen_gone == NOON
        assert found.created_at == NOON
        for moment in (found.branch_seen_gone, found.created_at):
            assert moment is not None
            assert moment.tzinfo is UTC
        assert found.ended_at is None


def test_text_from_outside_that_no_database_takes_is_stored_all_the_same(begin: Begin) -> None:
    with begin() as books:
        a_feature(
            books, title="nul\x00 and \ud800 half; '); DROP TABLE fd_feature; --", description="\U0001f600" * 9000
        )
        a_feature(books, "SHOP-2", title="a \ud83d\ude00 pair")
    with begin() as books:
        found = books.feature(SHOP, KEY)
        assert found
        assert found.title == "nul\ufffd and \ufffd half; '); DROP TABLE fd_feature; --"
        assert len(found.description) == 9000
        pair = books.feature(SHOP, FeatureKey("SHOP-2"))
        assert pair
        assert pair.title == "a \U0001f600 pair"


def test_a_name_that_is_too_long_is_refused_with_a_sentence(begin: Begin) -> None:
    with pytest.raises(Refused, match="Shorten it"), begin() as books:
        books.add(WebhookDelivery(project=SHOP, delivery_id="x" * 201, host="local", event="push", body=b""))
    with begin() as books:
        assert books.webhooks_to_process() == []


def test_a_moment_without_its_zone_is_a_programming_error(begin: Begin) -> None:
    with pytest.raises(Exception, match="no moment without its zone"), begin() as books:
        a_feature(books, created_at=NOON.replace(tzinfo=None))


def test_an_exception_takes_everything_back(begin: Begin) -> None:
    def fail(books: Books) -> None:
        books.lock_project(SHOP)
        a_feature(books)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError), begin() as books:
        fail(books)
    with begin() as books:
        assert books.project(SHOP) is None
        assert books.features() == []


def test_the_newest_delivery_of_an_issue_is_its_feature(begin: Begin) -> None:
    with begin() as books:
        a_feature(books)
        second = a_feature(books, delivery=2)
        a_feature(books, project=OTHER)
        assert books.feature(SHOP, KEY) is second
        assert books.feature(SHOP, FeatureKey("SHOP-2")) is None
        first = books.feature_of_run(SHOP, "SHOP-1")
        assert first
        assert first.delivery == 1
        assert books.feature_of_run(SHOP, "SHOP-1__2") is second
        assert books.feature_of_run(SHOP, "SHOP-1__3") is None
        assert books.feature_of_run(OTHER, "SHOP-1__2") is None


def test_an_unknown_feature_number_is_not_found(begin: Begin) -> None:
    with begin() as books, pytest.raises(NotFound, match="no feature number 42"):
        books.feature_by_id(42)


def test_features_are_listed_newest_first_by_project_and_state(begin: Begin) -> None:
    with begin() as books:
        one, two, three = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, project=OTHER)
        two.state = FeatureState.SHIPPED
        assert books.features() == [three, two, one]
        assert books.features(SHOP) == [two, one]
        assert books.features(SHOP, {FeatureState.SHIPPED, FeatureState.CANCELLED}) == [two]
        assert books.features(states=iter([FeatureState.ACTIVE])) == [three, one]


def test_a_feature_has_its_current_attempt_and_all_others(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        assert books.attempt(feature) is None
        first = an_attempt(books, feature, 1, "a", authors=[PersonName("bob")])
        second = an_attempt(books, feature, 2, "b")
        first.state = AttemptState.SUPERSEDED
        assert books.attempt(feature) is second
        assert books.attempt(feature, 1) is first
        assert books.attempt(feature, 3) is None
        assert books.attempts(feature) == [first, second]


def test_a_changed_list_or_dict_of_a_record_is_stored(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        an_attempt(books, feature, authors=[PersonName("bob")])
        books.add(PermitRecord(feature_id=feature.id, attempt=1, step=Step.PROMOTE, try_number=1, task_instance="t"))
    with begin() as books:
        (attempt,) = books.attempts(books.feature_by_id(1))
        attempt.authors.append(PersonName("carol"))
        permit = books.permit(1)
        assert permit
        permit.work["commit"] = "abc"
        permit.result = {"nested": {"list": [1, None, "\x00ü"]}}
    with begin() as books:
        assert books.attempts(books.feature_by_id(1))[0].authors == ["bob", "carol"]
        permit = books.permit(1)
        assert permit
        assert permit.work == {"commit": "abc"}
        assert permit.result == {"nested": {"list": [1, None, "\x00ü"]}}


def test_the_newest_candidate_of_an_attempt_counts(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        common: dict[str, Any] = {
            "feature_id": feature.id,
            "tree": TreeSha("e" * 40),
            "base": sha("0"),
            "feature_commit": sha("a"),
        }
        one = CandidateRecord(attempt=1, commit=sha("c"), **common)
        two = CandidateRecord(attempt=1, commit=sha("d"), plan_changed=True, **common)
        three = CandidateRecord(attempt=2, commit=sha("c"), **common)
        for record in (one, two, three):
            books.add(record)
        assert books.candidate(feature, 1) is two
        assert books.candidate(feature, 2) is three
        assert books.candidate(feature, 3) is None
        assert books.candidates_of(sha("c")) == [three, one]
        assert books.candidates_of(sha("f")) == []


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


def test_a_resolved_gate_is_not_open_even_before_the_transaction_ends(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        gate = a_gate(books, feature)
        assert books.open_gate(feature) is gate
        gate.state = GateState.RESOLVED
        assert books.open_gate(feature) is None
        assert books.open_gates() == []


def test_gates_are_found_by_feature_state_and_deadline(begin: Begin) -> None:
    with begin() as books:
        one, two = a_feature(books), a_feature(books, "SHOP-2")
        closed = a_gate(books, one, state=GateState.CLOSED, ended=False, deadline=NOON)
        to_end = a_gate(books, one, state=GateState.RESOLVED, ended=False, deadline=NOON)
        ended = a_gate(books, one, Step.WAIT_FOR_START, state=GateState.RESOLVED, deadline=NOON)
        late = a_gate(books, one, deadline=NOON)
        endless = a_gate(books, two)
        assert books.gate(one, Step.WAIT_FOR_REVIEW) is late
        assert books.gate(two, Step.WAIT_FOR_START) is None
        assert books.gates(one) == [closed, to_end, ended, late]
        assert books.gates_to_end() == [closed, to_end]
        assert books.open_gates() == [late, endless]
        assert books.gates_past_deadline(NOON) == [late]
        assert books.gates_past_deadline(NOON - timedelta(microseconds=1)) == []


def test_a_gate_may_close_and_the_next_open_in_one_transaction(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        first = a_gate(books, feature)
        first.state = GateState.CLOSED
        second = a_gate(books, feature)
        assert books.open_gate(feature) is second


def test_decisions_are_kept_with_the_refused_ones(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        common: dict[str, Any] = {
            "feature_id": feature.id,
            "step": Step.WAIT_FOR_REVIEW,
            "person": PersonName("bob"),
            "way": "cli",
        }
        refused = Decision(attempt=1, commit=sha("a"), kind=DecisionKind.APPROVE, accepted=False, **common)
        accepted = Decision(
            attempt=2, commit=None, kind=DecisionKind.REJECT, accepted=True, candidate=SHA_OF_CANDIDATE, **common
        )
        books.add(refused)
        books.add(accepted)
        assert books.decisions(feature) == [refused, accepted]
        assert books.decisions(feature, 2) == [accepted]
        assert books.decisions(feature, 0) == []
        assert books.said(feature.project, since=None, limit=5) == [(accepted, feature), (refused, feature)]
        assert books.said(feature.project, since=None, limit=1) == [(accepted, feature)]
        assert books.said(feature.project, since=accepted.at + timedelta(seconds=1), limit=5) == []
        assert books.said(ProjectName("elsewhere"), since=None, limit=5) == []
    with begin() as books:
        found = books.decisions(books.feature_by_id(1), 2)[0]
        assert (found.kind, found.candidate, found.accepted) == (DecisionKind.REJECT, SHA_OF_CANDIDATE, True)
        assert isinstance(found.step, Step)


def test_permits_are_found_by_number_and_by_feature(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        made = [
            PermitRecord(feature_id=feature.id, attempt=1, step=Step.PROMOTE, try_number=number, task_instance="t")
            for number in (1, 2)
        ]
        for permit in made:
            books.add(permit)
        assert books.permits(feature) == made
        assert books.permit(made[1].id) is made[1]
        assert books.permit(99) is None


def test_promotions_are_found_by_feature_attempt_and_project(begin: Begin) -> None:
    with begin() as books:
        feature, other = a_feature(books), a_feature(books, "SHOP-2")
        first = a_promotion(books, feature, 1, state=PromotionState.ROLLED_BACK)
        second = a_promotion(books, feature, 2, state=PromotionState.KEPT)
        third = a_promotion(books, other, 1, state=PromotionState.MOVED)
        assert books.promotion(feature) is second
        assert books.promotion(feature, 1) is first
        assert books.promotion(feature, 3) is None
        assert books.promotions(SHOP) == [first, second, third]
        assert books.promotions(OTHER) == []
        assert books.promotions(SHOP, feature.key) == [first, second]
        assert books.promotions(OTHER, feature.key) == []


def test_the_queue_is_first_come_first_whatever_the_order_of_rows(begin: Begin) -> None:
    with begin() as books:
        one, two, three = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
        late = QueuePlace(project=SHOP, feature_id=one.id, since=NOON + HOUR)
        early = QueuePlace(project=SHOP, feature_id=two.id, since=NOON, waiting=False)
        twin = QueuePlace(project=SHOP, feature_id=three.id, since=NOON)
        for place in (late, early, twin):
            books.add(place)
        assert books.queue(SHOP) == [early, twin, late]
        books.leave_queue(two)
        books.leave_queue(two)
        assert books.queue(SHOP) == [twin, late]
        books.add(QueuePlace(project=SHOP, feature_id=two.id, since=NOON + 2 * HOUR))
        assert [place.feature_id for place in books.queue(SHOP)] == [three.id, one.id, two.id]
        assert books.queue(OTHER) == []


def test_branches_are_those_of_active_features_with_an_attempt(begin: Begin) -> None:
    with begin() as books:
        current, fresh, over = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
        nameless, abroad = a_feature(books, "SHOP-4"), a_feature(books, project=OTHER)
        for feature in (current, over, nameless, abroad):
            an_attempt(books, feature, 1, "a")
        an_attempt(books, current, 2, "b")
        for feature in (current, fresh, over, abroad):
            feature.branch = BranchName(f"feature/{feature.key}")
        over.state = FeatureState.SHIPPED
        assert books.feature_branches(SHOP) == {"feature/SHOP-1": sha("b")}


def a_webhook(number: int, **more: Any) -> WebhookDelivery:
    values: dict[str, Any] = {"project": SHOP, "host": "local", "event": "push", "body": bytes(range(256))}
    return WebhookDelivery(delivery_id=f"d-{number}", **(values | more))


def test_webhooks_wait_until_they_are_processed(begin: Begin) -> None:
    with begin() as books:
        made = [a_webhook(number) for number in range(4)]
        for webhook in made:
            books.add(webhook)
        made[1].processed_at = NOON
        assert books.webhooks_to_process() == [made[0], made[2], made[3]]
        assert books.webhooks_to_process(limit=2) == [made[0], made[2]]
        assert books.webhook(SHOP, "d-1") is made[1]
        assert books.webhook(OTHER, "d-1") is None
    with begin() as books:
        found = books.webhook(SHOP, "d-0")
        assert found
        assert found.body == bytes(range(256))
        assert isinstance(found.body, bytes)


def test_what_was_looked_into_least_often_comes_first(begin: Begin) -> None:
    """A project whose host is down must keep no other waiting."""
    with begin() as books:
        for number in range(4):
            books.add(a_webhook(number, project=OTHER if number == 3 else SHOP, tries=0 if number == 3 else 2))
        assert [one.delivery_id for one in books.webhooks_to_process(limit=2)] == ["d-3", "d-0"]


def test_webhooks_are_listed_newest_first_by_their_state(begin: Begin) -> None:
    with begin() as books:
        made = [a_webhook(number) for number in range(5)]
        made[1].processed_at = NOON
        made[2].processed_at, made[2].ignored = NOON, "a tag"
        made[3].processed_at, made[3].ignored = NOON, "a tag"
        made[4].processed_at, made[4].ignored = NOON, "a bot"
        listing = a_webhook(5, host=LISTING_HOST)
        for webhook in (*made, listing, a_webhook(6, project=OTHER)):
            books.add(webhook)
        assert books.webhooks(SHOP) == made[::-1]
        assert books.webhooks(SHOP, limit=2) == [made[4], made[3]]
        assert books.webhooks(SHOP, before=made[3].id, limit=2) == [made[2], made[1]]
        assert books.webhooks(SHOP, state=WebhookState.WAITING) == [made[0]]
        assert books.webhooks(SHOP, state=WebhookState.PROCESSED) == [made[1]]
        assert books.webhooks(SHOP, state=WebhookState.IGNORED) == [made[4], made[3], made[2]]
        assert books.webhook_counts(SHOP) == {"waiting": 1, "processed": 1, "ignored": 3}
        assert list(books.webhooks_ignored(SHOP).items()) == [("a tag", 2), ("a bot", 1)]
        assert books.webhook_by_id(SHOP, made[2].id) is made[2]
        assert books.webhook_by_id(OTHER, made[2].id) is None
        assert books.webhook_by_id(SHOP, listing.id) is None


def test_bodies_are_forgotten_first_and_webhooks_later_but_none_that_waits(begin: Begin) -> None:
    old, older = NOON - 8 * 24 * HOUR, NOON - 91 * 24 * HOUR
    with begin() as books:
        for number, received in enumerate((NOON, old, older)):
            books.add(a_webhook(number, received_at=received, processed_at=NOON, headers={"host": "h"}))
            books.add(a_webhook(10 + number, received_at=received, headers={"host": "h"}))
            books.add(a_webhook(20 + number, received_at=received, processed_at=NOON, host=LISTING_HOST))
    before = {"bodies_before": NOON - 7 * 24 * HOUR, "rows_before": NOON - 90 * 24 * HOUR}
    with begin() as books:
        assert books.prune_webhooks(**before) == 2
        assert books.prune_webhooks(**before) == 0
    with begin() as books:
        left = {n: found for n in range(23) if (found := books.webhook(SHOP, f"d-{n}"))}
        assert sorted(left) == [0, 1, 10, 11, 12, 20, 21, 22]
        assert [n for n, found in left.items() if not found.body] == [1]
        assert [n for n in (0, 1, 10, 11, 12) if not left[n].headers] == [1]


def test_the_outbox_gives_what_is_due_oldest_first(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        due = {"later": NOON + HOUR, "second": NOON, "first": NOON - HOUR, "sent": NOON}
        made = {
            name: OutboxEntry(
                project=SHOP, feature_id=feature.id, kind=Errand.MESSAGE, payload={"a": [1]}, marker=name, due_at=at
            )
            for name, at in due.items()
        }
        for entry in made.values():
            books.add(entry)
        made["sent"].sent_at = NOON
        books.add(OutboxEntry(project=SHOP, feature_id=0, kind=Errand.MESSAGE, payload={}, marker="about the project"))
        assert books.outbox_due(NOON) == [made["second"], made["first"]]
        assert books.outbox_due(NOON, limit=1) == [made["second"]]
        assert books.outbox(feature) == list(made.values())


def test_an_entry_of_the_outbox_is_found_by_its_marker(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        made = OutboxEntry(
            project=SHOP, feature_id=feature.id, kind=Errand.SHOW, payload={"asked": 1, "shown": {}}, marker="m"
        )
        books.add(made)
        assert books.outbox_marked(SHOP, "m") is made
        assert books.outbox_marked(SHOP, "n") is None
        assert books.outbox_marked(OTHER, "m") is None
        made.payload["asked"] = 2
    with begin() as books:
        found = books.outbox_marked(SHOP, "m")
        assert found
        assert found.payload == {"asked": 2, "shown": {}}


def test_the_next_unsent_entry_says_when_it_is_due(begin: Begin) -> None:
    with begin() as books:
        assert books.outbox_next() is None
        feature = a_feature(books)
        for marker, due in (("late", NOON + HOUR), ("sent", NOON - HOUR), ("next", NOON)):
            entry = OutboxEntry(
                project=SHOP, feature_id=feature.id, kind=Errand.MESSAGE, payload={}, marker=marker, due_at=due
            )
            entry.sent_at = NOON if marker == "sent" else None
            books.add(entry)
        assert books.outbox_next() == NOON


def test_a_command_is_known_by_its_comment(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        heard = HeardComment(
            project=SHOP, comment="12:7", feature_id=feature.id, request=12, author="rita", verb="approve", at=NOON
        )
        books.add(heard)
        assert books.heard(SHOP, "12:7") is heard
        assert books.heard(SHOP, "12:8") is None
        assert books.heard(OTHER, "12:7") is None


def test_a_decision_remembers_where_it_was_said_and_taken_back(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        said = Decision(
            feature_id=feature.id,
            step=Step.WAIT_FOR_REVIEW,
            attempt=1,
            commit=sha("a"),
            person=PersonName("rita"),
            kind=DecisionKind.APPROVE,
            accepted=True,
            way="review",
            origin="request 12",
        )
        books.add(said)
        said.accepted, said.withdrawn_at = False, NOON
    with begin() as books:
        found = books.feature(SHOP, KEY)
        assert found
        (again,) = books.decisions(found)
        assert (again.origin, again.accepted, again.withdrawn_at) == ("request 12", False, NOON)


def test_the_history_of_a_feature_is_in_order(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        for text in ("one", "two"):
            books.add(Event(project=SHOP, feature_id=feature.id, kind="note", text=text, step=Step.PROMOTE))
        books.add(Event(project=SHOP, feature_id=None, kind="frozen", text="A hotfix."))
        assert [event.text for event in books.events(feature)] == ["one", "two"]
        assert books.events(feature)[0].step is Step.PROMOTE


def test_what_happened_in_a_project_is_told_the_newest_first_with_its_feature(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        events = [
            Event(
                project=SHOP, feature_id=feature.id, kind="cancelled", text="max cancelled it.", person="max", at=NOON
            ),
            Event(project=SHOP, feature_id=None, kind="frozen", text="A hotfix.", at=NOON + HOUR),
        ]
        for event in events:
            books.add(event)
        found = books.happened(SHOP, since=None, limit=5)
        assert [(e.kind, f.key if f else "") for e, f in found] == [("frozen", ""), ("cancelled", KEY)]
        assert [e.kind for e, _ in books.happened(SHOP, since=NOON + HOUR, limit=5)] == ["frozen"]
        assert [e.kind for e, _ in books.happened(SHOP, since=None, limit=1)] == ["frozen"]
        assert books.happened(OTHER, since=None, limit=5) == []


def add_twice(books: Books, make: Callable[[Books, Feature], object]) -> None:
    books.lock_project(SHOP)
    feature = a_feature(books)
    make(books, feature)
    make(books, feature)


RULES: dict[str, tuple[Callable[[Books, Feature], object], str]] = {
    "delivery": (
        lambda b, _: b.add(
            Feature(project=SHOP, key=FeatureKey("SHOP-9"), delivery=1, run_id=f"r{len(b.features())}", title="")
        ),
        "delivery of the issue has been started",
    ),
    "run": (
        lambda b, f: b.add(Feature(project=SHOP, key=KEY, delivery=f.id + len(b.features()) + 5, run_id="r", title="")),
        "carried by this run",
    ),
    "attempt": (an_attempt, "attempt of the feature is recorded"),
    "environment": (an_environment, "environment of this name exists"),
    "gate": (a_gate, "waits at a gate already"),
    "promotion": (lambda b, f: a_promotion(b, f, state=PromotionState.UNCERTAIN), "promotion of the project"),
    "queue": (lambda b, f: b.add(QueuePlace(project=SHOP, feature_id=f.id)), "in the queue"),
    "webhook": (lambda b, _: b.add(a_webhook(1)), "webhook has been stored"),
    "heard": (
        lambda b, f: b.add(
            HeardComment(project=SHOP, comment="c", feature_id=f.id, request=1, author="rita", verb="keep")
        ),
        "comment has been acted upon already",
    ),
    "outbox": (
        lambda b, f: b.add(
            OutboxEntry(project=SHOP, feature_id=f.id, kind=Errand.MESSAGE, payload={}, marker="m"),
        ),
        "in the outbox already",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_must_be_unique_is_refused_the_second_time_and_nothing_is_stored(begin: Begin, rule: str) -> None:
    make, sentence = RULES[rule]
    with pytest.raises(Conflict, match=sentence), begin() as books:
        add_twice(books, make)
    with begin() as books:
        assert books.features() == []


def test_a_change_that_breaks_a_rule_at_the_end_is_a_conflict_too(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        a_gate(books, feature)
        a_gate(books, feature, state=GateState.CLOSED)
    with pytest.raises(Conflict, match="waits at a gate already"), begin() as books:
        books.gates(books.feature_by_id(1))[1].state = GateState.OPEN


@pytest.mark.parametrize("state", list(PromotionState))
def test_every_state_of_a_promotion_can_be_stored(begin: Begin, state: PromotionState) -> None:
    with begin() as books:
        a_promotion(books, a_feature(books), state=state)
    with begin() as books:
        assert books.promotions(SHOP)[0].state is state


def test_missing_tables_are_named_as_such(empty_postgres_url: URL) -> None:
    begin = ledger_begin(create_engine(empty_postgres_url, poolclass=pool.NullPool))
    with pytest.raises(Misconfigured, match="airflow db migrate"), begin() as (_, books):
        books.lock_project(SHOP)
    begin = ledger_begin(create_engine("sqlite://", poolclass=pool.NullPool))
    with pytest.raises(Misconfigured, match="airflow db migrate"), begin() as (_, books):
        books.lock_project(SHOP)


def test_numbers_are_never_given_twice(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        books.add(QueuePlace(project=SHOP, feature_id=feature.id))
        first = books.queue(SHOP)[0].id
        books.leave_queue(feature)
        books.add(QueuePlace(project=SHOP, feature_id=feature.id))
        assert books.queue(SHOP)[0].id > first


def test_records_can_be_read_after_their_transaction(begin: Begin) -> None:
    with begin() as books:
        a_feature(books)
    with begin() as books:
        feature = books.feature(SHOP, KEY)
        books.lock_project(SHOP)
    assert feature
    assert feature.title == "Gift cards"
