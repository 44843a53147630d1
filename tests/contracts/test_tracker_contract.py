"""What every ``Tracker`` must do. A new one adds a bench to ``BENCHES``; the local one on SQLite is also the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.adapters.trackers.local import LocalTracker
from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.ports.tracker import Issue, IssueState
from tests.contracts.redmine_bench import redmine_bench
from tests.contracts.tracker_bench import Bench
from tests.fakes.ledger import memory_ledger

SHOP = ProjectName("shop")
KEY, OTHER_KEY = FeatureKey("SHOP-1"), FeatureKey("SHOP-2")


@contextmanager
def local_bench() -> Iterator[Bench]:
    ledger = memory_ledger()
    tracker = LocalTracker(project=SHOP, records=SqlLocalRecords(transactions(ledger.engine)))
    yield Bench(
        tracker=tracker,
        given=lambda key: tracker.create(key, title="Gift cards", description="Sell them.", reporter="mia"),
        assign=tracker.assign,
        comments=lambda key: [comment.text for comment in tracker.comments(key)],
        local=tracker,
    )
    ledger.close()


BENCHES: dict[str, Callable[[], AbstractContextManager[Bench]]] = {"local": local_bench, "redmine": redmine_bench}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames:
        # What the local tracker's own pages do is asked of no other.
        metafunc.parametrize("bench", ["local"] if "local" in metafunc.fixturenames else list(BENCHES), indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with BENCHES[request.param]() as made:
        yield made


@pytest.fixture
def local(bench: Bench) -> LocalTracker:
    assert bench.local, "these tests are about the local tracker's own pages"
    return bench.local


def found(bench: Bench, key: FeatureKey = KEY) -> Issue:
    issue = bench.tracker.find(key)
    assert issue
    return issue


def test_an_issue_that_is_not_there_is_none(bench: Bench) -> None:
    assert bench.tracker.find(KEY) is None


def test_an_issue_is_found_as_it_was_written(bench: Bench) -> None:
    bench.given(KEY)
    issue = found(bench)
    assert (issue.key, issue.title, issue.description) == (KEY, "Gift cards", "Sell them.")
    assert (issue.state, issue.assignee, issue.reporter) == (IssueState.OPEN, None, "mia")
    assert issue.url


def test_creating_what_is_there_finds_it_and_changes_no_word(bench: Bench) -> None:
    bench.given(KEY)
    bench.assign(KEY, "bob")
    again = bench.tracker.create(KEY, title="Other", description="", reporter="eve")
    assert again == found(bench)
    assert (again.title, again.assignee, again.reporter) == ("Gift cards", "bob", "mia")


def test_an_issue_is_taken_and_given_back(bench: Bench) -> None:
    bench.given(KEY)
    bench.assign(KEY, "bob")
    assert found(bench).assignee == "bob"
    bench.assign(KEY, None)
    assert found(bench).assignee is None


def test_an_issue_is_moved_through_its_states_and_back_again(bench: Bench) -> None:
    bench.given(KEY)
    for state in (IssueState.IN_PROGRESS, IssueState.IN_PROGRESS, IssueState.DONE, IssueState.OPEN):
        bench.tracker.move(KEY, state)
        assert found(bench).state is state


def test_a_comment_is_written_once_per_marker_and_issue(bench: Bench) -> None:
    bench.given(KEY)
    bench.given(OTHER_KEY)
    bench.tracker.comment(KEY, "Rejected: <b>prices</b> & '; DROP", marker="rejected-1")
    bench.tracker.comment(KEY, "Something else", marker="rejected-1")
    bench.tracker.comment(KEY, "Shipped", marker="shipped")
    bench.tracker.comment(OTHER_KEY, "Shipped", marker="shipped")
    assert bench.comments(KEY) == ["Rejected: <b>prices</b> & '; DROP", "Shipped"]
    assert bench.comments(OTHER_KEY) == ["Shipped"]


def test_what_is_done_to_an_unknown_issue_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="SHOP-1"):
        bench.tracker.comment(KEY, "hello", marker="m")
    with pytest.raises(NotFound, match="SHOP-1"):
        bench.tracker.move(KEY, IssueState.DONE)


def test_people_write_as_often_as_they_like(bench: Bench, local: LocalTracker) -> None:
    bench.given(KEY)
    for _ in range(2):
        local.write(KEY, "When?", author="mia")
    local.comment(KEY, "Tomorrow", marker="answer")
    lines = [(comment.author, comment.text) for comment in local.comments(KEY)]
    assert lines == [("mia", "When?"), ("mia", "When?"), ("feature-delivery", "Tomorrow")]


def test_issues_are_listed_newest_first_and_linked_into_our_pages(bench: Bench, local: LocalTracker) -> None:
    bench.given(KEY)
    bench.given(OTHER_KEY)
    assert [issue.key for issue in local.issues()] == [OTHER_KEY, KEY]
    assert found(bench).url == "/feature-delivery/projects/shop/issues/SHOP-1"


def test_another_project_sees_nothing_of_ours(bench: Bench, local: LocalTracker) -> None:
    bench.given(KEY)
    other = LocalTracker(project=ProjectName("other"), records=local._records)
    assert other.find(KEY) is None
    assert other.issues() == ()
    with pytest.raises(NotFound):
        other.assign(KEY, "eve")
    with pytest.raises(NotFound):
        other.comments(KEY)
    other.create(KEY, title="Theirs", description="", reporter="eve")
    other.comment(KEY, "Theirs", marker="m")
    assert found(bench).title == "Gift cards"
    assert bench.comments(KEY) == []
