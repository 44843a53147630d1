"""What every ``Tracker`` must do. A new one adds a bench to ``BENCHES``; the local one on SQLite is also the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest

from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.adapters.trackers.local import LocalTracker
from feature_delivery.domain.errors import NotFound, Refused
from feature_delivery.domain.names import FeatureKey, ProjectName, feature_key
from feature_delivery.ports.tracker import Issue, IssueState
from tests.contracts.gitea_bench import gitea_tracker_bench
from tests.contracts.github_bench import github_tracker_bench
from tests.contracts.gitlab_bench import gitlab_tracker_bench
from tests.contracts.jira_bench import jira820_bench, jira_cloud_bench, jira_data_center_bench
from tests.contracts.redmine_bench import redmine_bench
from tests.contracts.tracker_bench import Bench
from tests.fakes.ledger import memory_ledger
from tests.fakes.tracker import FakeTracker

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
        comments=lambda key: [c.text for c in tracker.comments(key) if not c.marker.startswith("link:")],
        local=tracker,
        links=lambda key: [
            (title, url)
            for c in tracker.comments(key)
            if c.marker.startswith("link:")
            for title, _, url in [c.text.partition(": ")]
        ],
        moved=tracker.move,
        numbers=False,
        knows_logins=False,
    )
    ledger.close()


@contextmanager
def fake_bench() -> Iterator[Bench]:
    tracker = FakeTracker()
    yield Bench(
        tracker=tracker,
        given=tracker.given,
        assign=lambda key, person: tracker.edit(key, assignee=person),
        comments=lambda key: list(tracker.said.get(key, {}).values()),
        links=lambda key: list(tracker.links.get(key, {}).values()),
        moved=lambda key, state: tracker.edit(key, state=state),
        block=tracker.stuck.add,
    )


BENCHES: dict[str, Callable[[], AbstractContextManager[Bench]]] = {
    "local": local_bench,
    "github": github_tracker_bench,
    "gitea": gitea_tracker_bench,
    "fake": fake_bench,
    "jira-cloud": jira_cloud_bench,
    "jira-data-center": jira_data_center_bench,
    "jira820": jira820_bench,
    "redmine": redmine_bench,
    "gitlab": gitlab_tracker_bench,
}


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


def test_a_new_issue_has_the_key_that_its_tracker_gives_it(bench: Bench) -> None:
    if not bench.numbers:
        with pytest.raises(Refused, match="does not give out keys"):
            bench.tracker.create_new(title="Gift cards", description="Sell them.", reporter="mia")
        return
    first, second = (
        bench.tracker.create_new(title="Gift cards", description="Sell them.", reporter="mia") for _ in range(2)
    )
    assert first.key != second.key
    for issue in (first, second):
        assert feature_key(issue.key).startswith("SHOP-")
        assert found(bench, issue.key) == issue
        assert (issue.title, issue.description, issue.state) == ("Gift cards", "Sell them.", IssueState.OPEN)
        assert issue.url


def test_a_key_that_is_not_there_is_made_up_only_where_people_give_keys_out(bench: Bench) -> None:
    bench.given(KEY)
    unknown = FeatureKey("SHOP-4711")
    if bench.numbers:
        with pytest.raises(Refused, match="SHOP-4711"):
            bench.tracker.create(unknown, title="Gift cards", description="", reporter="mia")
        assert bench.tracker.find(unknown) is None
    else:
        assert bench.tracker.create(unknown, title="Gift cards", description="", reporter="mia").key == unknown


def test_we_give_an_issue_to_somebody_and_take_it_back(bench: Bench) -> None:
    bench.given(KEY)
    for _ in range(2):
        issue = bench.tracker.assign(KEY, "bob")
        assert (issue.assignee, issue.state) == ("bob", IssueState.OPEN)
        assert found(bench) == issue
    assert bench.tracker.assign(KEY, None).assignee is None
    assert found(bench).assignee is None


def test_an_issue_is_given_to_nobody_unknown(bench: Bench) -> None:
    bench.given(KEY)
    if bench.knows_logins:
        with pytest.raises(NotFound, match="nobody-at-all"):
            bench.tracker.assign(KEY, "nobody-at-all")
    assert found(bench).assignee is None
    with pytest.raises(NotFound, match="SHOP-2"):
        bench.tracker.assign(OTHER_KEY, "bob")


def test_a_link_is_shown_once_and_takes_its_new_address(bench: Bench) -> None:
    bench.given(KEY)
    bench.tracker.link(KEY, url="https://git.example/shop/1", title="Merge request 1", marker="request")
    bench.tracker.link(KEY, url="https://a.dev.example", title="Development", marker="development")
    for _ in range(2):
        bench.tracker.link(KEY, url="https://b.dev.example", title="Development", marker="development")
    if bench.links is not None:
        assert bench.links(KEY) == [
            ("Merge request 1", "https://git.example/shop/1"),
            ("Development", "https://b.dev.example"),
        ]
    with pytest.raises(NotFound, match="SHOP-2"):
        bench.tracker.link(OTHER_KEY, url="https://a.dev.example", title="Development", marker="development")


def test_issues_changed_since_then_are_listed_newest_change_first(bench: Bench) -> None:
    bench.given(KEY)
    bench.given(OTHER_KEY)
    assert {one.key for one in bench.tracker.changed_issues(bench.moment() - timedelta(hours=1))} == {KEY, OTHER_KEY}
    since = bench.moment()
    assert bench.tracker.changed_issues(since) == ()
    bench.assign(KEY, "bob")
    assert bench.tracker.changed_issues(since) == (found(bench),)
    bench.moment()
    (bench.moved or bench.tracker.move)(OTHER_KEY, IssueState.DONE)
    changed = bench.tracker.changed_issues(since)
    assert [(one.key, one.state, one.assignee) for one in changed] == [
        (OTHER_KEY, IssueState.DONE, None),
        (KEY, IssueState.OPEN, "bob"),
    ]


def test_a_listing_is_complete_however_many_pages_it_takes(bench: Bench) -> None:
    since = bench.moment()
    keys = {FeatureKey(f"SHOP-{1 + i}") for i in range(bench.many)}
    for key in sorted(keys, key=lambda k: int(k.partition("-")[2])):
        bench.given(key)
    listed = [one.key for one in bench.tracker.changed_issues(since)]
    assert len(listed) == bench.many
    assert set(listed) == keys


def test_a_move_that_the_workflow_does_not_offer_is_refused_with_the_state_named(bench: Bench) -> None:
    bench.given(KEY)
    if bench.block is None:
        bench.tracker.move(KEY, IssueState.DONE)
        assert found(bench).state is IssueState.DONE
        return
    bench.block(KEY)
    with pytest.raises(Refused, match="SHOP-1"):
        bench.tracker.move(KEY, IssueState.DONE)
    assert found(bench).state is IssueState.OPEN


def test_nothing_is_found_wrong_where_nothing_is_wrong(bench: Bench) -> None:
    for finding in bench.tracker.examine():
        assert finding.well, finding
        assert finding.what
        assert finding.sentence


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
