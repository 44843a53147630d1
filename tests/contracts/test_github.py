"""What is GitHub's own in ``GitHubHost``, over real HTTP against a fake that keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_delivery.domain.errors import NotFound, RateLimited, Refused, Unavailable
from feature_delivery.domain.names import BranchName
from feature_delivery.ports.git_host import DeploymentState, RequestState, ReviewKind, StatusState
from tests.contracts.github_world import (
    FEATURE,
    KEY,
    LONG_AGO,
    PREPROD,
    PRODUCTION,
    SPEC,
    SPEC_SERVER,
    GitHubWorld,
    github_world,
    sha,
)
from tests.fakes.hosts.common import Answer, Call
from tests.fakes.hosts.described import description
from tests.fakes.hosts.github_api import Actor

DOWN = Answer(503, b"<html>Unicorn!</html>", {"Content-Type": "text/html"})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with github_world(tmp_path) as made:
        yield made


# --- opening ---


def test_a_request_is_opened_with_labels_and_reviewers_and_nobody_unknown(world: GitHubWorld) -> None:
    world.fake.teams.add("checkout")
    world.fake.add("stranger", role="")
    request = world.opened(
        world.host(labels=("delivery",)),
        reviewers=["carol", "stranger", "shop/checkout", "other/checkout", "shop/nobody", "shop-bot", "Carol"],
        labels=["bug", "gift cards", "Bug"],
    )
    item = world.fake.items[request.number]
    assert item.pull
    assert (item.labels, item.pull.reviewers, item.pull.teams) == (
        ["delivery", "bug", "gift cards"],
        ["carol"],
        ["checkout"],
    )


def test_labels_that_may_not_be_created_do_not_keep_a_request_from_being_opened(world: GitHubWorld) -> None:
    rights = {"pull_requests": "write", "contents": "write", "metadata": "read"}
    world.fake.add("weak", token="github_pat_weak", rights=rights)
    request = world.opened(world.host(world.login("github_pat_weak")), labels=["new"], reviewers=["dave"])
    item = world.fake.items[request.number]
    assert item.pull
    assert (item.labels, item.pull.reviewers, request.state) == ([], ["dave"], RequestState.OPEN)


def test_what_a_crash_left_undone_is_done_when_the_opening_is_repeated(world: GitHubWorld) -> None:
    world.server.faults.rules.append(("POST", "/requested_reviewers$", DOWN))
    with pytest.raises(Unavailable):
        world.opened(reviewers=["carol"])
    world.server.faults.rules.clear()
    request = world.opened(reviewers=["carol"])
    item = world.fake.items[request.number]
    assert item.pull
    assert (len(world.fake.items), item.pull.reviewers) == (1, ["carol"])


def test_who_has_reviewed_is_not_asked_again(world: GitHubWorld) -> None:
    request = world.opened(reviewers=["carol"])
    pull = world.fake.items[request.number].pull
    assert pull
    world.fake.review(request.number, "carol", "APPROVED")
    pull.reviewers.clear()
    world.opened(reviewers=["carol", "dave"])
    assert pull.reviewers == ["dave"]


def test_a_request_that_a_person_opened_is_found_and_left_as_it_is(world: GitHubWorld) -> None:
    item = world.fake.open_pull("bob", FEATURE, PREPROD, title="Bob's")
    request = world.opened(reviewers=["carol"], labels=["delivery"])
    assert item.pull
    assert (request.number, request.author, request.title) == (item.number, "bob", "Bob's")
    assert (item.labels, item.pull.reviewers) == ([], [])


def test_a_request_without_commits_is_refused(world: GitHubWorld) -> None:
    world.fake.repository.move("feature/SHOP-2", str(world.fake.repository.head(PREPROD)))
    with pytest.raises(Refused, match="has no commit that 'preprod' lacks"):
        world.opened(source=BranchName("feature/SHOP-2"))
    with pytest.raises(NotFound, match="there is no branch 'nowhere'"):
        world.opened(target=BranchName("nowhere"))


def test_a_title_or_body_too_long_is_shortened(world: GitHubWorld) -> None:
    request = world.opened(title="Gift " * 100, body="€" * 70_000)
    assert len(request.title) == 256
    assert len(world.fake.items[request.number].body or "") == 65_000


def test_an_opening_whose_answer_was_lost_is_found_again(world: GitHubWorld) -> None:
    host = world.host()
    host.find_request(FEATURE)
    real = world.fake.api.open

    def lost(call: Call, actor: Actor) -> Answer:
        world.server.faults.lost_answers = 1
        return real(call, actor)

    world.fake.api.routes.replace("POST", "/pulls", lost)
    with pytest.raises(Unavailable, match="did not answer"):
        world.opened(host)
    assert world.opened(host).number == 1
    assert len(world.fake.items) == 1


# --- finding ---


def test_an_open_request_goes_before_a_newer_closed_one(world: GitHubWorld) -> None:
    first = world.fake.open_pull("bob", FEATURE, PREPROD)
    second = world.fake.open_pull("bob", FEATURE, PRODUCTION)
    world.fake.close(second, "bob")
    found = world.host().find_request(FEATURE)
    assert found
    assert found.number == first.number
    world.fake.close(first, "bob")
    again = world.host().find_request(FEATURE)
    assert again
    assert (again.number, again.state) == (second.number, RequestState.CLOSED)


def test_a_request_from_a_fork_is_flagged_and_shown_only_where_there_is_none_of_ours(world: GitHubWorld) -> None:
    stranger = world.fake.open_pull_from_fork("eve", FEATURE, PREPROD)
    host = world.host()
    found = host.find_request(FEATURE)
    assert found
    assert (found.number, found.fork) == (stranger.number, True)
    ours = world.opened(host)
    assert (ours.fork, ours.number) == (False, stranger.number + 1)
    world.fake.close(world.fake.items[ours.number], "bob")
    found = host.find_request(FEATURE)
    assert found
    assert (found.number, found.fork) == (ours.number, False)


def test_a_request_from_a_fork_that_was_deleted_is_still_one_from_a_fork(world: GitHubWorld) -> None:
    item = world.fake.open_pull_from_fork("eve", FEATURE, PREPROD)
    assert item.pull
    item.pull.repository = None
    found = world.host().request(item.number)
    assert found.fork


def test_changed_requests_are_complete_over_many_pages_and_stop_at_the_moment(world: GitHubWorld) -> None:
    world.fake.ahead = -timedelta(days=2)
    old = world.fake.open_pull("bob", FEATURE, PREPROD)
    world.fake.ahead = timedelta()
    numbers = []
    for index in range(230):
        item = world.fake.new_item("bob", f"Change {index}", "", world.fake.items[old.number].pull)
        numbers.append(item.number)
    found = world.host().changed_requests(datetime.now(UTC) - timedelta(hours=1))
    assert [request.number for request in found] == numbers[::-1]
    assert len(world.server.calls("GET", "/pulls$")) == 3
    world.forget()
    assert len(world.host().changed_requests(LONG_AGO)) == 231


def test_a_strangers_branch_name_hides_no_other_request(world: GitHubWorld) -> None:
    ours = world.fake.open_pull("bob", FEATURE, PREPROD)
    odd = world.fake.open_pull_from_fork("eve", "fix-übertrag", PREPROD)
    assert [one.number for one in world.host().changed_requests(LONG_AGO)] == [ours.number]
    with pytest.raises(Refused, match="is not a branch name"):
        world.host().request(odd.number)


# --- reviews ---


def test_a_comment_takes_no_approval_back_and_a_dismissal_does(world: GitHubWorld) -> None:
    number = world.opened().number
    approval = world.fake.review(number, "carol", "APPROVED", "Fine.")
    world.fake.review(number, "carol", "COMMENTED", "One more thing.")
    world.fake.review(number, "dave", "CHANGES_REQUESTED", "No.")
    words = {(one.person, one.kind) for one in world.host().request(number).reviews}
    assert words == {("carol", ReviewKind.APPROVE), ("dave", ReviewKind.REJECT)}
    world.fake.dismiss(approval)
    assert [one.person for one in world.host().request(number).reviews] == ["dave"]


def test_a_dismissed_rejection_does_not_bring_an_older_approval_back(world: GitHubWorld) -> None:
    number = world.opened().number
    world.fake.review(number, "carol", "APPROVED", at=datetime.now(UTC) - timedelta(minutes=5))
    rejection = world.fake.review(number, "carol", "CHANGES_REQUESTED", "Wait.")
    world.fake.dismiss(rejection)
    assert world.host().request(number).reviews == ()


def test_the_last_word_counts_even_when_it_is_on_the_third_page(world: GitHubWorld) -> None:
    number = world.opened().number
    for minute in range(240, 0, -1):
        world.fake.review(number, "carol", "CHANGES_REQUESTED", "No.", at=datetime.now(UTC) - timedelta(minutes=minute))
    world.fake.review(number, "carol", "APPROVED", "Yes.")
    (review,) = world.host().request(number).reviews
    assert (review.kind, review.comment) == (ReviewKind.APPROVE, "Yes.")


def test_the_fake_lets_nobody_approve_what_is_their_own(world: GitHubWorld) -> None:
    number = world.opened().number
    answer = httpx.post(
        f"{world.server.url}/repos/shop/cart/pulls/{number}/reviews",
        headers={
            "Authorization": f"Bearer {world.login().secret}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
        json={"event": "APPROVE"},
        trust_env=False,
    )
    assert (answer.status_code, answer.json()["errors"]) == (422, ["Can not approve your own pull request"])


# --- comments ---


def test_only_our_own_comment_is_replaced_whoever_copies_its_marker(world: GitHubWorld) -> None:
    number = world.opened().number
    host = world.host()
    host.comment(number, "first", marker="environment")
    ours = world.fake.comments[0].body
    world.fake.comments.clear()
    world.fake.write(number, "carol", ours)
    host.comment(number, "second", marker="environment")
    assert [(one.user, one.body.split("\n")[0]) for one in world.fake.comments] == [
        ("carol", "first"),
        ("shop-bot", "second"),
    ]


def test_our_comment_is_found_behind_hundreds_of_others_and_kept_when_nothing_changed(world: GitHubWorld) -> None:
    number = world.opened().number
    for index in range(220):
        world.fake.write(number, "carol", f"Comment {index}")
    host = world.host()
    for _ in range(3):
        host.comment(number, "Environment: http://x", marker="environment")
    assert len(world.fake.comments) == 221
    assert world.server.calls("PATCH") == []


def test_a_marker_cannot_end_its_comment_and_a_long_text_keeps_it(world: GitHubWorld) -> None:
    number = world.opened().number
    host = world.host()
    for text in ("x" * 80_000, "short"):
        host.comment(number, text, marker="--> <script>alert(1)</script>")
    assert world.fake.texts(number) == ["short"]
    assert "script" not in world.fake.comments[0].body


def test_peoples_words_are_read_from_below_from_lines_and_from_reviews(world: GitHubWorld) -> None:
    number = world.opened().number
    host = world.host()
    world.fake.add("ci[bot]", kind="Bot")
    world.fake.write(number, "carol", "/approve")
    world.fake.write(number, "ci[bot]", "Coverage: 90 %")
    world.fake.write(number, None, "Somebody who has left")
    world.fake.write(number, "dave", "Why?", line=True)
    world.fake.review(number, "dave", "COMMENTED", "Hm.")
    world.fake.review(number, "dave", "CHANGES_REQUESTED", "No: this is read as a review.")
    host.comment(number, "Ours", marker="m")
    found = [(one.id.split("-")[0], one.author, one.text) for one in host.comments(number)]
    assert found == [("comment", "carol", "/approve"), ("line", "dave", "Why?"), ("review", "dave", "Hm.")]
    assert len({one.id for one in host.comments(number)}) == 3


def test_what_the_tokens_own_account_writes_by_hand_is_a_persons_word(world: GitHubWorld) -> None:
    number = world.opened().number
    world.fake.write(number, "shop-bot", "/approve")
    assert [one.text for one in world.host().comments(number)] == ["/approve"]


def test_an_old_comment_that_is_edited_does_not_count_as_new(world: GitHubWorld) -> None:
    number = world.opened().number
    world.fake.ahead = -timedelta(hours=2)
    old = world.fake.write(number, "carol", "Nice.")
    world.fake.ahead = timedelta()
    new = world.fake.write(number, "dave", "Nice, too.")
    old.body, old.updated = "/approve", datetime.now(UTC)
    found = world.host().comments(number, since=datetime.now(UTC) - timedelta(hours=1))
    assert [one.id for one in found] == [f"comment-{new.id}"]


@pytest.mark.parametrize("line", [True, False])
def test_where_rest_does_not_tell_of_an_edit_graphql_is_asked_about_commands(world: GitHubWorld, line: bool) -> None:  # noqa: FBT001
    number = world.opened().number
    if line:
        said: Any = world.fake.write(number, "carol", "/approve", line=True)
        said.updated += timedelta(minutes=5)  # it was drafted, and submitted with a review
    else:
        said = world.fake.review(number, "carol", "COMMENTED", "/approve")
    world.fake.write(number, "dave", "Why?", line=True)
    host = world.host()
    world.forget()
    assert [one.edited for one in host.comments(number) if one.text == "/approve"] == [False]
    assert [call.path for call in world.server.calls()].count("/graphql") == 1
    said.edited = world.fake.now()
    assert [one.edited for one in host.comments(number) if one.text == "/approve"] == [True]


def test_a_command_that_graphql_does_not_show_may_have_been_edited_and_limits_are_waited_for(
    world: GitHubWorld,
) -> None:
    number = world.opened().number
    world.fake.review(number, "carol", "COMMENTED", "/approve")
    world.fake.graphql_says = "FORBIDDEN"
    assert [one.edited for one in world.host().comments(number)] == [True]
    for kind, error in (("RATE_LIMITED", RateLimited), ("INTERNAL", Unavailable)):
        world.fake.graphql_says = kind
        with pytest.raises(error):
            world.host().comments(number)


# --- statuses and deployments ---


def test_a_status_is_shortened_and_not_repeated_and_takes_no_link_that_is_none(world: GitHubWorld) -> None:
    host, head = world.host(), world.opened().head
    for _ in range(3):
        host.set_status(head, name="delivery/unit", state=StatusState.FAILURE, description="d" * 200, url="/features/1")
    (status,) = world.fake.statuses
    assert (len(status.description or ""), status.url, status.context) == (140, None, "delivery/unit")


def test_the_latest_status_decides_whether_one_is_repeated(world: GitHubWorld) -> None:
    host, head = world.host(), world.opened().head
    for state in (StatusState.PENDING, StatusState.SUCCESS, StatusState.PENDING):
        host.set_status(head, name="delivery/unit", state=state, description="", url="")
    for index in range(101):
        host.set_status(head, name=f"delivery/{index}", state=StatusState.SUCCESS, description="", url="")
    host.set_status(head, name="delivery/unit", state=StatusState.PENDING, description="", url="")
    assert [one.state for one in world.fake.statuses if one.context == "delivery/unit"] == [
        "pending",
        "success",
        "pending",
    ]


def test_a_commit_that_github_does_not_have_is_not_found(world: GitHubWorld) -> None:
    with pytest.raises(NotFound, match="no such commit"):
        world.host().set_status(sha("a"), name="x", state=StatusState.SUCCESS, description="", url="")
    with pytest.raises(NotFound, match="no such commit"):
        deploy(world, sha("a"), DeploymentState.RUNNING)


def deploy(
    world: GitHubWorld, commit: str, state: DeploymentState, *, environment: str = "development-shop-1", url: str = ""
) -> None:
    world.host().record_deployment(
        key=KEY,
        commit=commit,  # type: ignore[arg-type]
        environment=environment,
        state=state,
        url=url,
    )


def test_a_deployment_is_one_per_commit_and_environment_with_a_status_per_change(world: GitHubWorld) -> None:
    head = world.opened().head
    running, done = DeploymentState.RUNNING, DeploymentState.DONE
    for state in (running, running, done, done, running, DeploymentState.FAILED):
        deploy(world, head, state, url="http://shop.test/")
    deploy(world, head, done, environment="production", url="javascript:alert(1)")
    one, other = world.fake.deployments
    assert [status["state"] for status in one.statuses] == ["in_progress", "success", "in_progress", "failure"]
    assert {status["environment_url"] for status in one.statuses} == {"http://shop.test/"}
    assert (one.transient, one.production, one.description) == (True, False, "SHOP-1")
    assert (other.transient, other.production, other.statuses[0]["environment_url"]) == (False, True, "")


def test_an_environment_that_is_gone_ends_every_deployment_to_it_and_no_other(world: GitHubWorld) -> None:
    first = world.opened().head
    deploy(world, first, DeploymentState.DONE)
    second = world.fake.repository.push(FEATURE)
    deploy(world, second, DeploymentState.DONE)
    deploy(world, second, DeploymentState.DONE, environment="development-shop-2")
    for _ in range(2):
        deploy(world, second, DeploymentState.GONE)
    assert [[status["state"] for status in one.statuses] for one in world.fake.deployments] == [
        ["success", "inactive"],
        ["success", "inactive"],
        ["success"],
    ]
    deploy(world, second, DeploymentState.GONE, environment="never-was")
    assert len(world.fake.deployments) == 3


def test_a_red_status_on_the_commit_does_not_stop_its_deployment(world: GitHubWorld) -> None:
    head = world.opened().head
    world.host().set_status(head, name="delivery/unit", state=StatusState.FAILURE, description="", url="")
    deploy(world, head, DeploymentState.RUNNING)
    assert len(world.fake.deployments) == 1


# --- closing and retargeting ---


def test_a_request_is_merged_as_soon_as_github_has_seen_it(world: GitHubWorld) -> None:
    number = world.opened().number
    world.fake.reads_until_merged = 2
    world.ship(number)
    host = world.host(patience=5)
    host.close_request(number, state=RequestState.MERGED)
    assert host.request(number).state is RequestState.MERGED
    assert world.fake.texts(number) == []


def test_a_merge_that_github_does_not_see_in_time_is_asked_for_again_later(world: GitHubWorld) -> None:
    number = world.opened().number
    with pytest.raises(Unavailable, match="does not show request 1 as merged"):
        world.host(patience=3).close_request(number, state=RequestState.MERGED)
    assert world.fake.items[number].state == "open"
    world.ship(number)
    world.host().close_request(number, state=RequestState.MERGED)
    assert world.host().request(number).state is RequestState.MERGED


def test_a_request_that_was_closed_before_it_shipped_says_so_once(world: GitHubWorld) -> None:
    number = world.opened().number
    world.fake.close(world.fake.items[number], "bob")
    for _ in range(2):
        world.host().close_request(number, state=RequestState.MERGED)
    (text,) = world.fake.texts(number)
    assert "in production" in text


def test_retargeting_to_a_branch_that_is_not_there_or_of_a_closed_request_is_refused(world: GitHubWorld) -> None:
    number = world.opened().number
    with pytest.raises(NotFound, match="no branch 'nowhere'"):
        world.host().retarget(number, BranchName("nowhere"))
    world.host().close_request(number, state=RequestState.CLOSED)
    with pytest.raises(Refused, match="Open a new one"):
        world.host().retarget(number, PRODUCTION)
    world.host().retarget(number, PREPROD)


def test_a_branch_name_never_changes_the_path_or_the_query(world: GitHubWorld) -> None:
    odd = BranchName("feature/SHOP-1+a#b@c")
    world.fake.repository.push(odd, on=world.fake.repository.head(PREPROD))
    request = world.opened(source=odd)
    found = world.host().find_request(odd)
    assert found == request


def test_the_description_of_github_is_there_to_be_held_against(world: GitHubWorld) -> None:
    described = description(SPEC, server=SPEC_SERVER)
    if described is None:
        pytest.skip(f"the published description {SPEC} is not here: requests and answers are not held against it")
    world.opened(reviewers=["carol"], labels=["x"])
    faults, seen = described.faults(world.server.exchanges)
    assert (faults, seen > 5) == ([], True)
