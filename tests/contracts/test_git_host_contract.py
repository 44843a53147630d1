"""What every ``GitHost`` must do. A new host adds a bench to ``BENCHES``; the local one on SQLite is also the fake."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.git_hosts.local import LocalGitHost
from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName
from feature_delivery.domain.records import now
from feature_delivery.ports.git_host import DeploymentState, MergeRequest, RequestState, ReviewKind, StatusState
from tests.contracts.gitea_bench import gitea_host_bench
from tests.contracts.github_bench import github_host_bench
from tests.contracts.gitlab_bench import gitlab_host_bench
from tests.contracts.host_bench import Bench
from tests.fakes.git_host import US, FakeGitHost
from tests.fakes.ledger import memory_ledger

SHOP = ProjectName("shop")
KEY = FeatureKey("SHOP-1")
FEATURE, PREPROD, PRODUCTION = BranchName("feature/SHOP-1-gift"), BranchName("preprod"), BranchName("production")
OTHER = BranchName("feature/SHOP-2")


class BareRepository:
    """A real bare repository with commits made by plumbing, as quick as Git can."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0
        self.git("init", "--bare", "--quiet", "--initial-branch=production")

    def git(self, *arguments: str, given: str = "") -> str:
        command = [
            "git",
            "-C",
            str(self.directory),
            "-c",
            "user.name=Dev",
            "-c",
            "user.email=dev@shop.test",
            *arguments,
        ]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    def push(self, branch: BranchName) -> CommitSha:
        """Put a new commit on ``branch``, with no regard to what was there (a force push)."""
        self._count += 1
        tree = self.git("mktree")
        commit = self.git("commit-tree", tree, "-m", f"Change {self._count}")
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return CommitSha(commit)

    def delete(self, branch: BranchName) -> None:
        self.git("update-ref", "-d", f"refs/heads/{branch}")

    def heads(self) -> dict[BranchName, CommitSha]:
        lines = self.git("ls-remote", "--heads", ".").splitlines()
        pairs = (line.split("\t") for line in lines)
        return {BranchName(ref.removeprefix("refs/heads/")): CommitSha(sha) for sha, ref in pairs}


@contextmanager
def local_bench(directory: Path) -> Iterator[Bench]:
    ledger = memory_ledger()
    repository = BareRepository(directory)
    records = SqlLocalRecords(transactions(ledger.engine))
    host = LocalGitHost(project=SHOP, records=records, heads=repository.heads)
    yield Bench(
        host=host,
        us="feature-delivery",
        names_authors=True,
        push=repository.push,
        delete=repository.delete,
        ship=lambda _: None,
        review=lambda number, person, kind, comment: host.review(number, person=person, kind=kind, comment=comment),
        write=lambda number, person, text: host.write(number, text, author=person),
        comments=lambda number: [comment.text for comment in host.thread(number)],
        statuses=lambda commit: [(s.name, s.state, s.description, s.url) for s in host.statuses(commit)],
        moment=later,
        close=lambda number: host.close_request(number, state=RequestState.CLOSED),
        local=host,
    )
    ledger.close()


@contextmanager
def fake_bench(directory: Path) -> Iterator[Bench]:
    repository = BareRepository(directory)
    host = FakeGitHost(repository.heads)
    yield Bench(
        host=host,
        us=US,
        names_authors=True,
        push=repository.push,
        delete=repository.delete,
        ship=lambda _: None,
        review=host.review,
        write=host.write,
        comments=host.texts,
        statuses=lambda commit: [(name, *found) for name, found in sorted(host.status.get(commit, {}).items())],
        moment=later,
        edit=lambda number, text: host.edit(number, host.pages[number].thread[-1][1].id, text),
        dismiss=host.dismiss,
        merge=lambda number, _: host.end(number, RequestState.MERGED),
        close=lambda number: host.end(number, RequestState.CLOSED),
        fork=lambda source: host.open(source, PREPROD, by="eve", fork=True).request.number,
        asked=lambda number: (host.pages[number].reviewers, host.pages[number].labels),
        deployments=host.shown,
    )


def later() -> datetime:
    """Return a moment that nothing before it has; the local host counts in microseconds."""
    at = now()
    while now() <= at + timedelta(microseconds=1):
        pass
    return at + timedelta(microseconds=1)


BENCHES: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {
    "local": local_bench,
    "fake": fake_bench,
    "github": github_host_bench,
    "gitea": gitea_host_bench,
    "gitlab": gitlab_host_bench,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames:
        # What the local host's own pages do is asked of no other.
        metafunc.parametrize("bench", ["local"] if "local" in metafunc.fixturenames else list(BENCHES), indirect=True)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with BENCHES[request.param](tmp_path) as made:
        for branch in (PRODUCTION, PREPROD, FEATURE):
            made.push(branch)
        yield made


@pytest.fixture
def local(bench: Bench) -> LocalGitHost:
    assert bench.local, "these tests are about the local host's own pages"
    return bench.local


def opened(bench: Bench, *, source: BranchName = FEATURE, author: str | None = "bob") -> MergeRequest:
    return bench.host.open_request(
        key=KEY, source=source, target=PREPROD, title="SHOP-1 Gift cards", body="All of it.", author=author
    )


def found(bench: Bench) -> MergeRequest:
    request = bench.host.find_request(FEATURE)
    assert request
    return request


def test_there_is_no_request_before_one_is_opened(bench: Bench) -> None:
    assert bench.host.find_request(FEATURE) is None


def test_an_opened_request_is_found_with_the_head_of_its_branch(bench: Bench) -> None:
    head = bench.push(FEATURE)
    request = opened(bench)
    assert request == found(bench)
    assert (request.source, request.target, request.head) == (FEATURE, PREPROD, head)
    author = "bob" if bench.names_authors else bench.us
    assert (request.author, request.title, request.state) == (author, "SHOP-1 Gift cards", RequestState.OPEN)
    assert (request.fork, request.ours) == (False, author == bench.us)
    assert request.number >= 1
    assert str(request.number) in request.url
    assert request.reviews == ()


def test_opening_twice_finds_the_first_one(bench: Bench) -> None:
    assert opened(bench) == opened(bench)


def test_a_request_needs_both_branches(bench: Bench) -> None:
    with pytest.raises(NotFound, match="feature/SHOP-2"):
        opened(bench, source=OTHER)
    with pytest.raises(Refused, match="into itself"):
        opened(bench, source=PREPROD)


def test_a_push_moves_the_head_of_an_open_request(bench: Bench) -> None:
    first = opened(bench).head
    second = bench.push(FEATURE)
    assert first != second
    assert found(bench).head == second


def test_a_request_outlives_its_branch_with_the_head_last_seen(bench: Bench) -> None:
    opened(bench)
    head = bench.push(FEATURE)
    assert found(bench).head == head
    bench.delete(FEATURE)
    assert found(bench).head == head
    bench.host.close_request(found(bench).number, state=RequestState.CLOSED)
    assert (found(bench).head, found(bench).state) == (head, RequestState.CLOSED)


def test_retargeting_points_the_request_elsewhere_once(bench: Bench) -> None:
    number = opened(bench).number
    for _ in range(2):
        bench.host.retarget(number, PRODUCTION)
        assert found(bench).target == PRODUCTION


def test_a_comment_is_known_by_its_marker_and_takes_the_new_text(bench: Bench) -> None:
    number = opened(bench).number
    bench.host.comment(number, "first", marker="environment")
    bench.host.comment(number, "another", marker="tests")
    bench.host.comment(number, "second <b>&", marker="environment")
    bench.host.comment(number, "second <b>&", marker="environment")
    assert bench.comments(number) == ["second <b>&", "another"]


def test_a_status_takes_the_place_of_the_one_of_the_same_name(bench: Bench) -> None:
    commit = opened(bench).head
    for state, text in ((StatusState.PENDING, "runs"), (StatusState.FAILURE, "red"), (StatusState.FAILURE, "red")):
        bench.host.set_status(commit, name="delivery/unit", state=state, description=text, url="http://x/1")
    bench.host.set_status(commit, name="delivery/a", state=StatusState.SUCCESS, description="ok", url="")
    assert bench.statuses(commit) == [
        ("delivery/a", StatusState.SUCCESS, "ok", ""),
        ("delivery/unit", StatusState.FAILURE, "red", "http://x/1"),
    ]
    assert bench.statuses(bench.push(FEATURE)) == []


def test_reviews_name_the_commit_they_are_about(bench: Bench) -> None:
    request = opened(bench)
    bench.review(request.number, "carol", ReviewKind.REJECT, "Prices are wrong.")
    new = bench.push(FEATURE)
    bench.review(request.number, "dave", ReviewKind.APPROVE, "")
    reviews = {(review.person, review.kind, review.commit, review.comment) for review in found(bench).reviews}
    assert reviews == {
        ("carol", ReviewKind.REJECT, request.head, "Prices are wrong."),
        ("dave", ReviewKind.APPROVE, new, ""),
    }


def test_the_latest_word_of_a_person_about_a_commit_counts(bench: Bench) -> None:
    number = opened(bench).number
    bench.review(number, "carol", ReviewKind.REJECT, "No.")
    bench.review(number, "carol", ReviewKind.APPROVE, "Now yes.")
    (review,) = found(bench).reviews
    assert (review.kind, review.comment) == (ReviewKind.APPROVE, "Now yes.")
    assert review.at.tzinfo is not None


@pytest.mark.parametrize("state", [RequestState.MERGED, RequestState.CLOSED])
def test_a_closed_request_is_shown_so_and_a_new_one_can_be_opened(bench: Bench, state: RequestState) -> None:
    number = opened(bench).number
    if state is RequestState.MERGED:
        bench.ship(number)
    for _ in range(2):
        bench.host.close_request(number, state=state)
        assert (found(bench).number, found(bench).state) == (number, state)
    bench.push(FEATURE)
    again = opened(bench)
    assert again.number != number
    assert found(bench) == again
    bench.host.close_request(again.number, state=RequestState.CLOSED)
    assert found(bench).number == again.number


def test_a_merged_request_stays_merged(bench: Bench) -> None:
    number = opened(bench).number
    bench.ship(number)
    bench.host.close_request(number, state=RequestState.MERGED)
    bench.host.close_request(number, state=RequestState.CLOSED)
    assert found(bench).state is RequestState.MERGED


def test_a_closed_request_that_shipped_all_the_same_is_shown_as_merged(bench: Bench, local: LocalGitHost) -> None:
    assert local is bench.host
    number = opened(bench).number
    bench.host.close_request(number, state=RequestState.CLOSED)
    bench.host.close_request(number, state=RequestState.MERGED)
    assert found(bench).state is RequestState.MERGED


def test_open_is_no_way_to_close(bench: Bench) -> None:
    number = opened(bench).number
    with pytest.raises(Refused, match="merged or closed"):
        bench.host.close_request(number, state=RequestState.OPEN)


def test_an_unknown_request_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="404"):
        bench.host.retarget(404, PREPROD)
    with pytest.raises(NotFound, match="404"):
        bench.host.comment(404, "hello", marker="m")
    with pytest.raises(NotFound, match="404"):
        bench.host.close_request(404, state=RequestState.CLOSED)
    with pytest.raises(NotFound, match="404"):
        bench.host.request(404)
    with pytest.raises(NotFound, match="404"):
        bench.host.comments(404)


def test_a_request_nobody_opened_was_opened_by_us(bench: Bench) -> None:
    assert opened(bench, author=None).author == bench.us


def test_a_request_is_read_by_its_number_as_by_its_branch(bench: Bench) -> None:
    request = opened(bench)
    bench.review(request.number, "carol", ReviewKind.APPROVE, "Good.")
    assert bench.host.request(request.number) == found(bench)
    assert [review.person for review in bench.host.request(request.number).reviews] == ["carol"]


def test_requests_changed_since_then_are_listed_newest_change_first(bench: Bench) -> None:
    bench.push(OTHER)
    first, second = opened(bench).number, opened(bench, source=OTHER).number
    assert {one.number for one in bench.host.changed_requests(bench.moment() - timedelta(hours=1))} == {first, second}
    since = bench.moment()
    assert bench.host.changed_requests(since) == ()
    bench.write(first, "carol", "Please look.")
    assert [one.number for one in bench.host.changed_requests(since)] == [first]
    bench.moment()
    bench.host.close_request(second, state=RequestState.CLOSED)
    listed = bench.host.changed_requests(since)
    assert [(one.number, one.state) for one in listed] == [(second, RequestState.CLOSED), (first, RequestState.OPEN)]
    assert (listed[0].source, listed[0].target, listed[0].head) == (OTHER, PREPROD, bench.host.request(second).head)


def test_a_review_changes_its_request(bench: Bench) -> None:
    number = opened(bench).number
    since = bench.moment()
    bench.review(number, "carol", ReviewKind.APPROVE, "Good.")
    assert [one.number for one in bench.host.changed_requests(since)] == [number]


def test_a_listing_is_complete_however_many_pages_it_takes(bench: Bench) -> None:
    since = bench.moment()
    numbers = set()
    for i in range(bench.many):
        bench.push(branch := BranchName(f"feature/SHOP-{100 + i}"))
        numbers.add(opened(bench, source=branch).number)
    listed = [one.number for one in bench.host.changed_requests(since)]
    assert len(listed) == bench.many
    assert set(listed) == numbers


def test_comments_of_people_are_read_oldest_first_and_ours_are_left_out(bench: Bench) -> None:
    number = opened(bench).number
    bench.write(number, "carol", "/approve\nGood & <b>bold</b>.")
    bench.host.comment(number, "| Tests |", marker="delivery")
    bench.moment()
    bench.write(number, "dave", "/status")
    found_now = bench.host.comments(number)
    assert [(one.author, one.text) for one in found_now] == [
        ("carol", "/approve\nGood & <b>bold</b>."),
        ("dave", "/status"),
    ]
    assert len({one.id for one in found_now}) == 2
    assert found_now == bench.host.comments(number)
    assert found_now[0].at < found_now[1].at
    assert found_now[0].at.tzinfo is not None


def test_a_comment_that_somebody_changed_later_says_so(bench: Bench) -> None:
    number = opened(bench).number
    bench.write(number, "carol", "/status")
    bench.write(number, "dave", "Hm.")
    assert not any(one.edited for one in bench.host.comments(number))
    if bench.edit:
        bench.moment()
        bench.edit(number, "/keep it")
        found_now = bench.host.comments(number)
        assert [(one.author, one.text, one.edited) for one in found_now] == [
            ("carol", "/status", False),
            ("dave", "/keep it", True),
        ]


def test_older_comments_are_not_read_again(bench: Bench) -> None:
    number = opened(bench).number
    bench.write(number, "carol", "old")
    since = bench.moment()
    assert bench.host.comments(number, since=since) == ()
    bench.write(number, "carol", "new")
    assert [one.text for one in bench.host.comments(number, since=since)] == ["new"]


def test_the_same_words_are_another_comment(bench: Bench) -> None:
    first, number = opened(bench).number, 0
    bench.push(OTHER)
    number = opened(bench, source=OTHER).number
    for on in (first, number, number):
        bench.write(on, "carol", "/status")
    ids = [one.id for on in (first, number) for one in bench.host.comments(on)]
    assert len(set(ids)) == 3


def test_reviewers_and_labels_are_asked_for_and_unknown_reviewers_left_out(bench: Bench) -> None:
    for _ in range(2):
        request = bench.host.open_request(
            key=KEY,
            source=FEATURE,
            target=PREPROD,
            title="SHOP-1 Gift cards",
            body="All of it.",
            reviewers=["carol", "nobody-at-all", "dave"],
            labels=["delivery", "gift cards"],
        )
    assert request.state is RequestState.OPEN
    if bench.asked is not None:
        reviewers, labels = bench.asked(request.number)
        assert set(labels) == {"delivery", "gift cards"}
        assert "carol" in reviewers  # a host may take one reviewer only
        assert set(reviewers) <= {"carol", "dave"}


def test_a_deployment_is_shown_with_where_it_stands(bench: Bench) -> None:
    commit, url = opened(bench).head, "https://shop-1.dev.example"
    for state in (DeploymentState.RUNNING, DeploymentState.DONE, DeploymentState.DONE, DeploymentState.GONE):
        bench.host.record_deployment(key=KEY, commit=commit, environment="development-shop-1", state=state, url=url)
        if bench.deployments is not None and state is not DeploymentState.GONE:
            shown = bench.deployments("development-shop-1")
            assert shown is not None
            assert shown[:2] == (commit, state)
    if bench.deployments is not None:
        shown = bench.deployments("development-shop-1")
        assert shown is None or shown[1] is DeploymentState.GONE


def test_an_environment_that_was_never_shown_can_be_gone(bench: Bench) -> None:
    commit = opened(bench).head
    bench.host.record_deployment(
        key=KEY, commit=commit, environment="preprod-shop-9", state=DeploymentState.GONE, url=""
    )


def test_a_newer_deployment_takes_the_place_of_the_older_one(bench: Bench) -> None:
    first = opened(bench).head
    second = bench.push(FEATURE)
    for commit, state in ((first, DeploymentState.DONE), (second, DeploymentState.FAILED)):
        bench.host.record_deployment(key=KEY, commit=commit, environment="preprod-shop-1", state=state, url="")
    if bench.deployments is not None:
        shown = bench.deployments("preprod-shop-1")
        assert shown is not None
        assert shown[:2] == (second, DeploymentState.FAILED)


def test_nothing_is_found_wrong_where_nothing_is_wrong(bench: Bench) -> None:
    for finding in bench.host.examine():
        assert finding.well, finding
        assert finding.what
        assert finding.sentence


def test_a_review_that_was_taken_back_is_not_there(bench: Bench) -> None:
    number = opened(bench).number
    bench.review(number, "carol", ReviewKind.APPROVE, "Good.")
    bench.review(number, "dave", ReviewKind.APPROVE, "Good.")
    if bench.dismiss is not None:
        bench.dismiss(number, "carol")
        assert [review.person for review in found(bench).reviews] == ["dave"]
    assert {review.person for review in found(bench).reviews} <= {"carol", "dave"}


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_request_merged_by_hand_is_shown_as_merged_with_its_own_head(bench: Bench, how: str) -> None:
    request = opened(bench)
    if bench.merge is not None:
        bench.merge(request.number, how)
        assert bench.host.request(request.number).state is RequestState.MERGED
        bench.host.close_request(request.number, state=RequestState.MERGED)
    assert bench.host.request(request.number).head == request.head


def test_a_request_closed_by_hand_is_shown_as_closed(bench: Bench) -> None:
    number = opened(bench).number
    since = bench.moment()
    if bench.close is not None:
        bench.close(number)
        assert (found(bench).number, found(bench).state) == (number, RequestState.CLOSED)
        assert [one.state for one in bench.host.changed_requests(since)] == [RequestState.CLOSED]
    bench.host.close_request(number, state=RequestState.CLOSED)
    assert found(bench).state is RequestState.CLOSED


def test_a_request_from_a_fork_says_so_and_ours_comes_first(bench: Bench) -> None:
    if bench.fork is not None:
        since = bench.moment()
        number = bench.fork(FEATURE)
        assert bench.host.request(number).fork
        assert (found(bench).number, found(bench).fork) == (number, True)
        assert [one.fork for one in bench.host.changed_requests(since)] == [True]
    ours = opened(bench)
    assert not ours.fork
    assert found(bench) == ours


def test_a_review_of_a_commit_that_was_replaced_meanwhile_does_not_count(bench: Bench, local: LocalGitHost) -> None:
    seen = opened(bench)
    bench.push(FEATURE)
    with pytest.raises(Conflict, match="Look at the new commit"):
        local.review(seen.number, person="carol", kind=ReviewKind.APPROVE, commit=seen.head)
    assert found(bench).reviews == ()


def test_a_request_that_is_over_takes_no_reviews_and_no_other_target(bench: Bench, local: LocalGitHost) -> None:
    number = opened(bench).number
    bench.host.close_request(number, state=RequestState.MERGED)
    with pytest.raises(Refused, match="takes no reviews"):
        local.review(number, person="carol", kind=ReviewKind.APPROVE)
    with pytest.raises(Refused, match="Open a new one"):
        local.retarget(number, PRODUCTION)
    local.retarget(number, PREPROD)


def test_people_write_as_often_as_they_like(bench: Bench, local: LocalGitHost) -> None:
    number = opened(bench).number
    for _ in range(2):
        local.write(number, "Please look.", author="carol")
    local.comment(number, "Environment: http://x", marker="environment")
    lines = [(comment.author, comment.text) for comment in local.thread(number)]
    assert lines == [("carol", "Please look.")] * 2 + [("feature-delivery", "Environment: http://x")]


def test_requests_are_listed_open_ones_first_and_linked_into_our_pages(bench: Bench, local: LocalGitHost) -> None:
    first = opened(bench)
    bench.push(OTHER)
    second = opened(bench, source=OTHER)
    local.close_request(second.number, state=RequestState.CLOSED)
    assert [request.number for request in local.requests()] == [first.number, second.number]
    assert first.url == f"/feature-delivery/projects/shop/requests/{first.number}"
    assert local.request(second.number).state is RequestState.CLOSED


def test_another_project_sees_nothing_of_ours(bench: Bench, local: LocalGitHost) -> None:
    number = opened(bench).number
    other = LocalGitHost(project=ProjectName("other"), records=local._records, heads=dict)
    assert other.requests() == ()
    assert other.find_request(FEATURE) is None
    for attempt in (other.request, other.thread):
        with pytest.raises(NotFound):
            attempt(number)
    with pytest.raises(NotFound):
        other.review(number, person="eve", kind=ReviewKind.APPROVE)
    with pytest.raises(NotFound):
        other.write(number, "hello", author="eve")
