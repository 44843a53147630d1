"""Projects, features, attempts, and the history of them."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.names import BranchName, FeatureKey, PersonName, TreeSha
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    AttemptState,
    CandidateRecord,
    Event,
    FeatureState,
    PermitRecord,
    WebhookDelivery,
)
from feature_delivery.ports.ledger import Books
from tests.contracts.ledger.rows import (
    HOUR,
    KEY,
    NOON,
    OTHER,
    SHOP,
    Begin,
    a_feature,
    an_attempt,
    sha,
)


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
        third = a_feature(books, "SHOP-3", state=FeatureState.ABANDONED)
        keys = [KEY, FeatureKey("SHOP-2"), third.key]
        assert books.newest_features(SHOP, keys) == {KEY: second, third.key: third}
        assert books.newest_features(SHOP, []) == {}
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
        assert books.features(SHOP, before=two.id) == [one]
        assert books.features(SHOP, limit=1) == [two]
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
        rest = [e for e, _ in found[1:]]
        assert [e for e, _ in books.happened(SHOP, since=None, limit=5, before=found[0][0].id)] == rest
        assert books.happened(OTHER, since=None, limit=5) == []
