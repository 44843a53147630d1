"""What every ``GitHost`` must do. A new host adds a bench to ``BENCHES``; the local one on SQLite is also the fake."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from feature_delivery.adapters.git_hosts.local import LocalGitHost
from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName
from feature_delivery.ports.git_host import GitHost, MergeRequest, RequestState, ReviewKind, StatusState
from tests.fakes.ledger import memory_ledger

SHOP = ProjectName("shop")
KEY = FeatureKey("SHOP-1")
FEATURE, PREPROD, PRODUCTION = BranchName("feature/SHOP-1-gift"), BranchName("preprod"), BranchName("production")


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


@dataclass
class Bench:
    """A host under test, what people do on it, and what can be seen on its pages."""

    host: GitHost
    push: Callable[[BranchName], CommitSha]
    delete: Callable[[BranchName], None]
    review: Callable[[int, str, ReviewKind, str], object]
    comments: Callable[[int], list[str]]
    statuses: Callable[[CommitSha], list[tuple[str, StatusState, str, str]]]
    local: LocalGitHost | None = field(default=None)


@contextmanager
def local_bench(directory: Path) -> Iterator[Bench]:
    ledger = memory_ledger()
    repository = BareRepository(directory)
    records = SqlLocalRecords(transactions(ledger.engine))
    host = LocalGitHost(project=SHOP, records=records, heads=repository.heads)
    yield Bench(
        host=host,
        push=repository.push,
        delete=repository.delete,
        review=lambda number, person, kind, comment: host.review(number, person=person, kind=kind, comment=comment),
        comments=lambda number: [comment.text for comment in host.thread(number)],
        statuses=lambda commit: [(s.name, s.state, s.description, s.url) for s in host.statuses(commit)],
        local=host,
    )
    ledger.close()


BENCHES = {"local": local_bench}


@pytest.fixture(params=BENCHES)
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
    assert (request.author, request.title, request.state) == ("bob", "SHOP-1 Gift cards", RequestState.OPEN)
    assert request.number >= 1
    assert str(request.number) in request.url
    assert request.reviews == ()


def test_opening_twice_finds_the_first_one(bench: Bench) -> None:
    assert opened(bench) == opened(bench)


def test_a_request_needs_both_branches(bench: Bench) -> None:
    with pytest.raises(NotFound, match="feature/SHOP-2"):
        opened(bench, source=BranchName("feature/SHOP-2"))
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
    for _ in range(2):
        bench.host.close_request(number, state=state)
        assert (found(bench).number, found(bench).state) == (number, state)
    again = opened(bench)
    assert again.number != number
    assert found(bench) == again
    bench.host.close_request(again.number, state=RequestState.CLOSED)
    assert found(bench).number == again.number


def test_a_merged_request_stays_merged(bench: Bench) -> None:
    number = opened(bench).number
    bench.host.close_request(number, state=RequestState.MERGED)
    bench.host.close_request(number, state=RequestState.CLOSED)
    assert found(bench).state is RequestState.MERGED


def test_a_closed_request_that_shipped_all_the_same_is_shown_as_merged(bench: Bench) -> None:
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


def test_a_request_nobody_opened_was_opened_by_us(bench: Bench) -> None:
    assert opened(bench, author=None).author == "feature-delivery"


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
    other = BranchName("feature/SHOP-2")
    bench.push(other)
    second = opened(bench, source=other)
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
