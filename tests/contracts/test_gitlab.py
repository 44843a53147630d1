"""What is GitLab's own about merge requests, comments, statuses and deployments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.domain.errors import NotFound, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.ports.git_host import DeploymentState, RequestState, StatusState
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitlab import BOT
from tests.support.gitlab_stage import FEATURE, KEY, PREPROD, PRODUCTION, GitLabStage, gitlab_stage, moment, seen

NOWHERE = CommitSha("a" * 40)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GitLabStage]:
    with gitlab_stage(tmp_path) as made:
        made.push(FEATURE)
        yield made


# --- opening and finding ----------------------------------------------------------------------------------------------


def test_the_free_edition_takes_one_reviewer_and_labels_are_made_by_gitlab_itself(stage: GitLabStage) -> None:
    number = stage.opened(
        stage.host(labels=("delivery",)), reviewers=["nobody", "DAVE", "carol"], labels=["a b"]
    ).number
    request = stage.fake.project.requests[number]
    assert [one.user.username for one in request.reviewers] == ["dave"]
    assert request.labels == ["delivery", "a b"]
    assert len(stage.fake.server.calls("POST")) == 1  # nothing that a crash could leave undone


def test_a_label_that_holds_a_comma_is_left_out_for_gitlab_would_make_two_of_it(stage: GitLabStage) -> None:
    number = stage.opened(labels=["one, two", "three"]).number
    assert stage.fake.project.requests[number].labels == ["three"]


def test_a_request_that_a_person_opened_is_found_and_left_as_it_is(stage: GitLabStage) -> None:
    number = stage.fake.person("bob").open(FEATURE, title="Draft: mine")
    request = stage.opened(reviewers=["carol"], labels=["delivery"])
    assert (request.number, request.author, request.title, request.state) == (
        number,
        "bob",
        "Draft: mine",
        RequestState.OPEN,
    )
    assert stage.fake.project.requests[number].labels == []
    assert not stage.fake.server.calls("PUT")


def test_a_request_without_commits_is_refused_although_gitlab_would_open_it(stage: GitLabStage) -> None:
    stage.fake.project.git.move("feature/SHOP-2", str(stage.fake.project.git.head(PREPROD)))
    with pytest.raises(Refused, match=r"has no commit that 'preprod' lacks\. Push one first"):
        stage.opened(source=BranchName("feature/SHOP-2"))
    behind = str(stage.fake.project.git.head("feature/SHOP-2"))
    stage.push(PREPROD)
    assert stage.fake.project.git.head("feature/SHOP-2") == behind
    with pytest.raises(Refused, match="Push one first"):
        stage.opened(source=BranchName("feature/SHOP-2"))
    with pytest.raises(NotFound, match="no branch 'nowhere'"):
        stage.opened(target=BranchName("nowhere"))
    assert stage.fake.project.requests == {}


def test_a_title_or_a_description_too_long_is_shortened(stage: GitLabStage) -> None:
    number = stage.opened(title="SHOP-1 " + "x" * 400, body="y" * 1_100_000).number
    request = stage.fake.project.requests[number]
    assert (len(request.title), request.title[-1]) == (255, "…")
    assert len(request.description) == 1_000_000


def test_an_opening_whose_answer_was_lost_or_that_somebody_was_quicker_with_is_found(stage: GitLabStage) -> None:
    stage.fake.server.faults.rules.append(
        ("POST", "merge_requests", Answer(502, b"<html>", {"Content-Type": "text/html"}))
    )
    with pytest.raises(Unavailable, match="502"):
        stage.opened()
    stage.fake.server.faults.rules.clear()
    first = stage.opened()
    assert stage.opened() == first
    taken = {"message": ["Another open merge request already exists for this source branch: !1"]}
    stage.fake.server.faults.rules.append(("POST", "merge_requests", Answer(409, taken)))
    listing = "/merge_requests$"
    stage.fake.server.faults.next_answers.append(Answer(200, []))  # it is not listed at first
    assert stage.opened() == first
    assert len(stage.fake.server.calls("GET", listing)) >= 2


def test_an_open_request_goes_before_a_newer_closed_one_and_ours_before_a_forks(stage: GitLabStage) -> None:
    host = stage.host()
    first = stage.opened(host).number
    second = stage.fake.person("bob").open(FEATURE, PRODUCTION)
    host.close_request(second, state=RequestState.CLOSED)
    stage.fake.fork_request("mallory", FEATURE)
    found = host.find_request(FEATURE)
    assert found is not None
    assert (found.number, found.fork) == (first, False)
    host.close_request(first, state=RequestState.CLOSED)
    found = host.find_request(FEATURE)
    assert found is not None
    assert (found.number, found.fork, found.state) == (second, False, RequestState.CLOSED)


def test_a_fork_that_was_deleted_is_still_a_fork(stage: GitLabStage) -> None:
    number = stage.fake.fork_request("mallory", "feature/SHOP-3").iid
    shown = stage.fake.project.shown_request(stage.fake.project.requests[number])
    answer = Answer(200, {**shown, "source_project_id": None})
    stage.fake.server.faults.next_answers.append(answer)
    assert stage.host().request(number).fork


def test_changed_requests_are_complete_over_many_pages(stage: GitLabStage) -> None:
    since = moment()
    made = [
        stage.fake.open_request(
            stage.fake.project,
            FEATURE,
            PREPROD,
            title=f"{i}",
            description="",
            by=stage.fake.user("bob"),
            target=stage.fake.project,
        ).iid
        for i in range(205)
    ]
    listed = stage.host().changed_requests(since)
    assert [one.number for one in listed] == made[::-1]
    assert len(stage.fake.server.calls("GET", "merge_requests")) == 3
    late = stage.fake.project.requests[made[100]].updated - timedelta(microseconds=1)
    assert {one.number for one in stage.host().changed_requests(late)} >= set(made[100:])


def test_what_has_not_changed_since_then_is_left_out_whatever_the_server_lists(stage: GitLabStage) -> None:
    stage.opened()
    listed = [stage.fake.project.shown_request(one) for one in stage.fake.project.requests.values()]
    stage.fake.server.faults.next_answers.append(Answer(200, listed))
    assert stage.host().changed_requests(moment()) == ()


def test_links_to_other_pages_are_followed_on_the_address_that_the_connection_names(stage: GitLabStage) -> None:
    stage.opened()
    stage.push("feature/SHOP-2")
    stage.opened(source=BranchName("feature/SHOP-2"))
    stage.fake.most_per_page, stage.fake.url_in_links = 1, "https://gitlab.inside.test"
    assert len(stage.host().changed_requests(moment() - timedelta(hours=1))) == 2
    stage.fake.server.faults.next_answers.append(
        Answer(200, [], {"Link": '<http://127.0.0.1:9/elsewhere?page=2>; rel="next"'})
    )
    with pytest.raises(Unavailable, match="not one of GitLab's API"):
        stage.host().changed_requests(moment())


def test_a_strangers_branch_name_hides_no_other_request(stage: GitLabStage) -> None:
    stage.push("odd=name;x")
    stage.fake.person("bob").open("odd=name;x")
    number = stage.opened().number
    assert [one.number for one in stage.host().changed_requests(moment() - timedelta(hours=1))] == [number]


def test_subgroups_branches_and_environments_are_quoted_in_paths(stage: GitLabStage) -> None:
    number = stage.opened().number
    stage.host().retarget(number, BranchName("production"))
    paths = {call.path for call in stage.fake.server.calls()}
    assert all(
        path == "/api/v4/user" or path.startswith(("/api/v4/projects/shop%2Fweb%2Fcart", "/api/v4/users"))
        for path in paths
    )
    assert "/api/v4/projects/shop%2Fweb%2Fcart/repository/branches/feature%2FSHOP-1-gift" in paths


def test_a_server_below_a_path_of_its_own_is_asked_there(tmp_path: Path) -> None:
    with gitlab_stage(tmp_path, root="/gitlab") as stage:
        stage.push(FEATURE)
        request = stage.opened(stage.host(repository="gitlab/shop/web/cart"))
        assert stage.host().request(request.number) == request
        assert "/gitlab/shop/web/cart/-/merge_requests/1" in request.url


# --- how requests go on -----------------------------------------------------------------------------------------------


def test_what_is_pushed_after_a_merge_is_not_what_was_merged(stage: GitLabStage) -> None:
    request = stage.opened()
    stage.ship(request.number)
    stage.push(FEATURE)
    read = stage.host().request(request.number)
    assert (read.head, read.state) == (request.head, RequestState.MERGED)


def test_a_merge_that_gitlab_sees_a_moment_later_is_waited_for(stage: GitLabStage) -> None:
    number = stage.opened().number
    open_one = stage.fake.project.shown_request(stage.fake.project.requests[number])
    stage.ship(number)
    stage.fake.server.faults.next_answers += [Answer(200, open_one)] * 3
    before = len(stage.fake.server.calls())
    stage.host(patience=5.0).close_request(number, state=RequestState.MERGED)
    assert len(stage.fake.server.calls()) - before == 4


def test_a_merge_that_gitlab_does_not_see_in_time_is_asked_for_again_later(stage: GitLabStage) -> None:
    request = stage.opened()
    with pytest.raises(Unavailable, match=r"'preprod' does not hold [0-9a-f]{10}\. It is asked again"):
        stage.host(patience=3.0).close_request(request.number, state=RequestState.MERGED)
    with stage.fake.project.git.pushing(BOT) as world:
        world.branch("held", request.head)
    stage.fake.project.requests[request.number].target_branch = "held"
    with pytest.raises(Unavailable, match="although 'held' holds"):
        stage.host().close_request(request.number, state=RequestState.MERGED)


def test_a_request_that_was_closed_before_it_shipped_says_so_once(stage: GitLabStage) -> None:
    number = stage.opened().number
    host = stage.host()
    host.close_request(number, state=RequestState.CLOSED)
    stage.ship(number)
    for _ in range(2):
        host.close_request(number, state=RequestState.MERGED)
    assert [text[:33] for text in seen(stage.fake.project.requests[number])] == ["This feature is in production. Gi"]


def test_retargeting_to_a_branch_that_is_not_there_or_of_a_request_that_is_over_is_refused(stage: GitLabStage) -> None:
    number = stage.opened().number
    with pytest.raises(NotFound, match="no branch 'nowhere'"):
        stage.host().retarget(number, BranchName("nowhere"))
    stage.host().close_request(number, state=RequestState.CLOSED)
    stage.host().retarget(number, PREPROD)
    with pytest.raises(Refused, match=r"it is closed\. Open a new one"):
        stage.host().retarget(number, PRODUCTION)


# --- comments ---------------------------------------------------------------------------------------------------------


def test_nothing_that_we_repeat_is_carried_out_by_gitlab_as_a_quick_action(stage: GitLabStage) -> None:
    stage.fake.bot.is_admin = True  # it could merge
    number = stage.opened(body="All of it.\n/close\r\n  /merge\nas written\n\n/title gone").number
    request = stage.fake.project.requests[number]
    stage.host().comment(number, "Rejected by eve:\n/close\n\r/merge\n/approve", marker="rejected")
    stage.host().comment(number, "/close", marker="rejected")
    stage.host().comment(number, "see /close and https://a/close", marker="other")
    assert (request.state, request.title, request.approvals) == ("opened", "SHOP-1 Gift cards", [])
    assert "\\/close" in request.description
    assert seen(request) == ["/close", "see /close and https://a/close"]


def test_the_fake_carries_out_quick_actions_as_gitlab_does(stage: GitLabStage) -> None:
    number = stage.opened().number
    answer = stage.fake.person("carol").say(number, "/approve")
    assert answer["summary"]
    assert seen(stage.fake.project.requests[number]) == []
    (review,) = stage.host().request(number).reviews
    assert (review.person, review.comment) == ("carol", "")
    stage.fake.person("dave").say(number, "Done.\n/close\nThanks.")
    assert seen(stage.fake.project.requests[number]) == ["Done.\nThanks."]
    assert stage.host().request(number).state is RequestState.CLOSED


def test_only_our_own_comment_is_replaced_whoever_copies_its_marker(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    host.comment(number, "first", marker="m")
    body = stage.fake.project.requests[number].notes[-1].body
    stage.fake.project.requests[number].notes.clear()
    stage.write(number, "eve", body)
    stage.write(number, BOT, f"{body}\nas it said")
    host.comment(number, "second", marker="m")
    host.comment(number, "second", marker="m")
    assert [text.split("\n")[0] for text in seen(stage.fake.project.requests[number])] == ["first", "first", "second"]
    assert not stage.fake.server.calls("PUT")


def test_our_comment_is_found_behind_hundreds_of_others(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    for i in range(120):
        stage.write(number, "carol", f"{i}")
    host.comment(number, "first", marker="m")
    for i in range(120):
        stage.write(number, "carol", f"{i}")
    host.comment(number, "second", marker="m")
    assert seen(stage.fake.project.requests[number]).count("second") == 1
    assert "first" not in seen(stage.fake.project.requests[number])
    assert len(host.comments(number)) == 240


def test_a_marker_cannot_end_its_comment_and_a_long_text_keeps_it(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    for text in ("x" * 1_200_000, "short"):
        host.comment(number, text, marker="a --> b <script>")
    (note,) = [one for one in stage.fake.project.requests[number].notes if not one.system]
    assert re.fullmatch(r"short\n\n<!-- feature-delivery:[0-9a-f]{32} -->", note.body)


def test_neither_gitlabs_own_notes_nor_programs_are_people(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    host.retarget(number, PRODUCTION)  # GitLab notes that
    for name in ("project_7_bot_f3a", "group_12_bot", "service_account_group_1_x", "ghost", "GitLabDuo"):
        stage.write(number, name, "/rollback")
    stage.write(number, "botany", "I am one.")
    stage.write(number, BOT, "By hand, with the deliveries' account.")
    assert [one.author for one in host.comments(number)] == ["botany", BOT]


def test_an_old_comment_that_is_edited_does_not_count_as_new_and_old_pages_are_not_read(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    for i in range(150):
        stage.write(number, "carol", f"{i}")
    since = moment()
    note = stage.fake.project.requests[number].notes[0]
    stage.fake.person("carol").call("PUT", f"/merge_requests/{number}/notes/{note.id}", {"body": "edited"})
    before = len(stage.fake.server.calls())
    assert host.comments(number, since=since) == ()
    assert len(stage.fake.server.calls()) - before == 1


# --- statuses ---------------------------------------------------------------------------------------------------------


def set_status(stage: GitLabStage, commit: CommitSha, state: StatusState, text: str = "", url: str = "") -> None:
    stage.host().set_status(commit, name="delivery/unit", state=state, description=text, url=url)


def test_a_status_that_is_there_is_not_posted_again(stage: GitLabStage) -> None:
    commit = stage.opened().head
    for state in (StatusState.PENDING, StatusState.PENDING, StatusState.SUCCESS, StatusState.SUCCESS):
        set_status(stage, commit, state, "text", "https://x/1")
    assert len(stage.fake.server.calls("POST", "statuses")) == 2
    set_status(stage, commit, StatusState.PENDING)
    assert stage.statuses(commit) == [("delivery/unit", StatusState.PENDING, "", "")]


def test_what_is_still_pending_takes_another_text_once_and_is_then_left_as_it_is(stage: GitLabStage) -> None:
    commit = stage.opened().head
    for text in ("waits", "runs", "runs on"):
        set_status(stage, commit, StatusState.PENDING, text)
    assert stage.statuses(commit) == [("delivery/unit", StatusState.PENDING, "runs", "")]
    set_status(stage, commit, StatusState.FAILURE, "red")
    assert stage.statuses(commit) == [("delivery/unit", StatusState.FAILURE, "red", "")]


def test_a_transition_that_gitlab_refuses_because_it_is_done_is_done(stage: GitLabStage) -> None:
    commit = stage.opened().head
    set_status(stage, commit, StatusState.PENDING)
    # Somebody said it between our look and our word.
    stage.fake.server.faults.rules.append(("GET", r"/statuses$", Answer(200, [])))
    set_status(stage, commit, StatusState.PENDING)
    last = [one.answer for one in stage.fake.server.exchanges if one.call.method == "POST"][-1]
    assert last.status == 400
    assert "Cannot transition status via :enqueue from :pending" in last.body["message"]


def test_another_400_is_not_taken_for_a_transition_and_a_lock_is_tried_again(stage: GitLabStage) -> None:
    commit = stage.opened().head
    rules = stage.fake.server.faults.rules
    rules.append(("POST", "statuses", Answer(400, {"message": {"name": ["is odd"]}})))
    with pytest.raises(Refused, match="name is odd"):
        set_status(stage, commit, StatusState.SUCCESS)
    rules[:] = [("POST", "statuses", Answer(409, {"message": "Another update to this commit status is in progress"}))]
    with pytest.raises(Unavailable, match="at this moment"):
        set_status(stage, commit, StatusState.SUCCESS)


def test_a_status_goes_to_the_branch_of_the_request_whatever_else_holds_the_commit(stage: GitLabStage) -> None:
    stage.fake.project.git.move("a-branch-before-it", str(stage.fake.project.git.head(FEATURE)))
    set_status(stage, stage.opened().head, StatusState.SUCCESS)
    assert [one.ref for one in stage.fake.project.statuses] == [FEATURE]
    candidate = stage.push("candidate/SHOP-1")
    set_status(stage, candidate, StatusState.PENDING)
    set_status(stage, candidate, StatusState.SUCCESS)
    assert [one.ref for one in stage.fake.project.statuses[1:]] == ["candidate/SHOP-1"]


def test_the_status_of_another_account_of_that_name_is_not_ours(stage: GitLabStage) -> None:
    commit = stage.opened().head
    stage.fake.person("bob").call("POST", f"/statuses/{commit}", {"state": "success", "name": "delivery/unit"})
    set_status(stage, commit, StatusState.FAILURE, "red")
    assert stage.statuses(commit) == [("delivery/unit", StatusState.FAILURE, "red", "")]


def test_a_status_is_shortened_and_takes_no_link_that_is_none(stage: GitLabStage) -> None:
    commit = stage.opened().head
    for url in ("javascript:alert(1)", "https://x/" + "y" * 255, "not an address"):
        set_status(stage, commit, StatusState.SUCCESS, "t" * 300, url)
    ((_, _, text, url),) = stage.statuses(commit)
    assert (len(text), text[-1], url) == (255, "…", "")
    assert len(stage.fake.server.calls("POST", "statuses")) == 1


def test_a_commit_that_gitlab_does_not_have_is_not_found(stage: GitLabStage) -> None:
    with pytest.raises(NotFound, match=r"no branch with such a commit\. Push it first"):
        set_status(stage, NOWHERE, StatusState.SUCCESS)
    with pytest.raises(NotFound, match=r"no such commit\. Push it first"):
        deploy(stage, NOWHERE, DeploymentState.DONE)


# --- deployments ------------------------------------------------------------------------------------------------------


def deploy(
    stage: GitLabStage, commit: CommitSha, state: DeploymentState, *, to: str = "development-shop-1", url: str = ""
) -> None:
    stage.host().record_deployment(key=KEY, commit=commit, environment=to, state=state, url=url)


def test_a_deployment_is_one_per_commit_and_goes_on(stage: GitLabStage) -> None:
    project, commit = stage.fake.project, stage.opened().head
    for state in (DeploymentState.RUNNING, DeploymentState.RUNNING, DeploymentState.FAILED, DeploymentState.DONE):
        for _ in range(2):
            deploy(stage, commit, state, url="https://shop-1.test")
    assert [(one.sha, one.status, one.ref) for one in project.deployments] == [(commit, "success", FEATURE)]
    (place,) = project.environments
    assert (place.name, place.url, place.tier) == ("development-shop-1", "https://shop-1.test", "development")
    deploy(stage, commit, DeploymentState.RUNNING, url="https://b.test")
    assert [one.status for one in project.deployments] == ["success", "running"]  # deployed once more
    assert place.url == "https://b.test"


def test_a_deployment_to_production_is_shown_with_it_and_the_other_tiers_by_their_names(stage: GitLabStage) -> None:
    commit = stage.push(PRODUCTION)
    for name in ("production", "preprod-shop-1", "somewhere"):
        deploy(stage, commit, DeploymentState.DONE, to=name)
    assert [(one.name, one.tier) for one in stage.fake.project.environments] == [
        ("production", "production"),
        ("preprod-shop-1", "staging"),
        ("somewhere", "other"),
    ]
    assert {one.ref for one in stage.fake.project.deployments} == {"production"}


def test_a_deployment_is_shown_with_the_features_own_branch_where_long_lived_ones_hold_it_too(
    stage: GitLabStage,
) -> None:
    commit = stage.push("z-feature")
    stage.fake.project.git.move(PREPROD, commit)
    deploy(stage, commit, DeploymentState.DONE)
    assert [one.ref for one in stage.fake.project.deployments] == ["z-feature"]


def test_a_deployment_of_a_job_is_left_to_the_job(stage: GitLabStage) -> None:
    commit = stage.opened().head
    deploy(stage, commit, DeploymentState.RUNNING)
    stage.fake.project.deployments[0].deployable = {"id": 7}
    deploy(stage, commit, DeploymentState.DONE)
    assert [one.status for one in stage.fake.project.deployments] == ["running", "success"]


def test_an_environment_that_is_gone_is_stopped_once_and_what_ran_there_is_over(stage: GitLabStage) -> None:
    commit = stage.opened().head
    deploy(stage, commit, DeploymentState.RUNNING)
    deploy(stage, commit, DeploymentState.DONE, to="preprod-shop-1")
    for _ in range(2):
        deploy(stage, commit, DeploymentState.GONE)
    assert {one.name: one.state for one in stage.fake.project.environments} == {
        "development-shop-1": "stopped",
        "preprod-shop-1": "available",
    }
    assert [one.status for one in stage.fake.project.deployments] == ["canceled", "success"]
    assert len(stage.fake.server.calls("POST", "/stop$")) == 1
    deploy(stage, commit, DeploymentState.DONE)
    assert {one.state for one in stage.fake.project.environments} == {"available"}


def test_a_protected_environment_is_refused_with_what_it_takes(stage: GitLabStage) -> None:
    commit = stage.opened().head
    stage.fake.protected_environments.add("production")
    stage.fake.project.members[BOT] = 30
    with pytest.raises(Refused, match="allowed to deploy, where the environment is protected"):
        deploy(stage, commit, DeploymentState.DONE, to="production")


def test_an_environment_that_somebody_made_in_the_same_moment_is_used(stage: GitLabStage) -> None:
    commit = stage.opened().head
    stage.fake.person("bob").call("POST", "/environments", {"name": "development-shop-1"})
    stage.fake.server.faults.next_answers.append(Answer(200, []))
    deploy(stage, commit, DeploymentState.DONE, url="https://a.test")
    assert [one.url for one in stage.fake.project.environments] == ["https://a.test"]
