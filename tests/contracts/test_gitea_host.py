"""What is peculiar to Gitea and Forgejo as a Git host; what every host does is in ``test_git_host_contract.py``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.git.address import remote_address
from feature_delivery.adapters.git_hosts.gitea import GiteaHost, git_access
from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.domain.project import HostConfig
from feature_delivery.ports.git_host import (
    DeploymentState,
    MergeRequest,
    RequestState,
    ReviewKind,
    StatusState,
)
from tests.fakes.hosts.common import Answer, Call
from tests.fakes.hosts.gitea import BOT, TOKEN
from tests.fakes.hosts.gitea_state import Label
from tests.support.git_world import git
from tests.support.gitea_stage import CONFIG, GiteaStage, gitea_stage

KEY = FeatureKey("SHOP-1")
FEATURE, PREPROD, PRODUCTION = BranchName("feature/SHOP-1-gift"), BranchName("preprod"), BranchName("production")
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GiteaStage]:
    with gitea_stage(tmp_path) as made:
        made.push(FEATURE)
        yield made


def opened(
    stage: GiteaStage, *, source: BranchName = FEATURE, target: BranchName = PREPROD, reviewers: tuple[str, ...] = ()
) -> MergeRequest:
    return stage.host.open_request(
        key=KEY, source=source, target=target, title="SHOP-1 Gift cards", body="All of it.", reviewers=reviewers
    )


# --- finding ------------------------------------------------------------------------------------------------------


def test_a_request_is_found_behind_many_others_on_small_pages(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.page_size = 2
    for count in range(5):
        branch = f"feature/SHOP-{count + 10}"
        stage.push(branch)
        stage.fake.person("bob").open(branch)
    found = stage.host.find_request(FEATURE)
    assert found
    assert found.number == number


def test_a_closed_request_is_found_behind_many_others_on_small_pages(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.host.close_request(number, state=RequestState.CLOSED)
    stage.fake.page_size = 2
    for count in range(5):
        branch = f"feature/SHOP-{count + 10}"
        stage.push(branch)
        stage.host.close_request(stage.fake.person("bob").open(branch), state=RequestState.CLOSED)
    found = stage.host.find_request(FEATURE)
    assert found
    assert (found.number, found.state) == (number, RequestState.CLOSED)


def test_a_branch_without_requests_costs_no_reading_of_all_that_were_ever_closed(stage: GiteaStage) -> None:
    stage.fake.server.exchanges.clear()
    assert stage.host.find_request(FEATURE) is None
    assert [one.asked("state") for one in stage.fake.server.calls("GET", r"/pulls\Z")] == ["open"]


def test_the_newest_of_several_requests_of_a_branch_counts_and_open_ones_before_closed_ones(stage: GiteaStage) -> None:
    first = opened(stage).number
    stage.host.close_request(first, state=RequestState.CLOSED)
    second = opened(stage).number
    stage.host.close_request(second, state=RequestState.CLOSED)
    found = stage.host.find_request(FEATURE)
    assert found
    assert found.number == second
    stage.fake.person("bob").call("PATCH", f"/pulls/{first}", {"state": "open"})
    found = stage.host.find_request(FEATURE)
    assert found
    assert found.number == first


def test_a_request_that_is_closed_while_the_listing_is_read_hides_no_other(stage: GiteaStage) -> None:
    """Offset paging loses a member when an earlier one goes; the total tells, and the listing is read again."""
    number = opened(stage).number
    stage.fake.page_size = 2
    others = []
    for count in range(3):
        branch = f"feature/SHOP-{count + 10}"
        stage.push(branch)
        others.append(stage.fake.person("bob").open(branch))
    answers = stage.fake.answer

    def close_one_after_the_first_page(call: Call) -> Answer:
        answer = answers(call)
        if call.asked("state") == "open" and others:
            issue = stage.fake.repository.issues[others.pop()]
            stage.fake.close(stage.fake.repository, issue, stage.fake.bot)
            others.clear()
        return answer

    stage.fake.answer = close_one_after_the_first_page  # type: ignore[method-assign]
    found = stage.host.find_request(FEATURE)
    assert found
    assert (found.number, found.state) == (number, RequestState.OPEN)


def test_a_request_of_a_fork_is_flagged_and_found_only_where_there_is_none_of_our_own(stage: GiteaStage) -> None:
    foreign = stage.fake.fork_request("eve", FEATURE).number
    found = stage.host.find_request(FEATURE)
    assert found
    assert (found.number, found.fork, found.author) == (foreign, True, "eve")
    own = opened(stage)
    assert own.number != foreign
    stage.host.close_request(own.number, state=RequestState.CLOSED)
    found = stage.host.find_request(FEATURE)
    assert found
    assert (found.number, found.fork) == (own.number, False)


def test_a_request_whose_fork_was_deleted_is_one_of_a_fork(stage: GiteaStage) -> None:
    issue = stage.fake.fork_request("eve", FEATURE)
    assert issue.pull
    head = issue.pull.last_head
    issue.pull.head_repository = None
    request = stage.host.request(issue.number)
    assert (request.fork, request.head) == (True, head)


def test_a_request_keeps_its_branch_s_name_when_the_branch_is_gone(stage: GiteaStage) -> None:
    """Its ``ref`` is ``refs/pull/1/head`` by then, and Gitea has closed it."""
    request = opened(stage)
    stage.fake.repository.git.delete(FEATURE)
    again = stage.host.request(request.number)
    assert (again.source, again.head, again.state) == (FEATURE, request.head, RequestState.CLOSED)


def test_a_request_without_a_branch_is_refused_with_a_sentence_and_left_out_of_listings(stage: GiteaStage) -> None:
    number = opened(stage).number
    pull = stage.fake.repository.issues[number].pull
    assert pull
    pull.head_branch = ""
    with pytest.raises(Refused, match="without a branch"):
        stage.host.request(number)
    assert stage.host.changed_requests(EPOCH) == ()


def test_changed_requests_come_newest_change_first_and_stop_where_they_are_older(stage: GiteaStage) -> None:
    numbers = [opened(stage).number]
    for count in range(4):
        branch = BranchName(f"feature/SHOP-{count + 10}")
        stage.push(branch)
        numbers.append(opened(stage, source=branch).number)
    begin = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    for minutes, number in enumerate(numbers):
        stage.fake.repository.issues[number].updated = begin + timedelta(minutes=minutes)
    stage.fake.page_size = 2
    assert [one.number for one in stage.host.changed_requests(EPOCH)] == numbers[::-1]
    # Time is told to the second there: what changed within that second is there.
    since = begin + timedelta(minutes=3, milliseconds=700)
    stage.fake.server.exchanges.clear()
    assert [one.number for one in stage.host.changed_requests(since)] == [numbers[4], numbers[3]]
    assert len(stage.fake.server.calls("GET", r"/pulls\Z")) == 2


# --- reviews ------------------------------------------------------------------------------------------------------


def test_a_dismissed_review_is_no_word_and_no_older_one_comes_back(stage: GiteaStage) -> None:
    number = opened(stage).number
    carol = stage.fake.person("carol")
    carol.review(number, "REQUEST_CHANGES", "No.")
    approval = carol.review(number, "APPROVED", "Yes.")
    (review,) = stage.host.request(number).reviews
    assert review.kind is ReviewKind.APPROVE
    stage.fake.repository.rights["amy"] = "admin"
    stage.fake.person("amy").dismiss(number, approval)
    assert stage.host.request(number).reviews == ()


def test_a_stale_review_still_names_the_commit_it_is_about(stage: GiteaStage) -> None:
    request = opened(stage)
    stage.fake.person("carol").review(request.number, "APPROVED")
    stage.push(FEATURE)
    again = stage.host.request(request.number)
    (review,) = again.reviews
    assert review.commit == request.head != again.head


def test_an_approval_that_the_branch_s_rule_dismisses_on_a_push_is_gone(stage: GiteaStage) -> None:
    stage.fake.protect("preprod", dismiss_stale=True)
    number = opened(stage).number
    stage.fake.person("carol").review(number, "APPROVED")
    stage.push(FEATURE)
    assert stage.host.request(number).reviews == ()


def test_an_approval_ends_when_its_person_is_asked_again_but_a_rejection_does_not(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.person("carol").review(number, "APPROVED")
    stage.fake.person("dave").review(number, "REQUEST_CHANGES", "Prices.")
    stage.fake.person("bob").ask_review(number, "carol", "dave")
    assert [(one.person, one.kind) for one in stage.host.request(number).reviews] == [("dave", ReviewKind.REJECT)]
    stage.fake.person("carol").review(number, "APPROVED")
    assert {one.person for one in stage.host.request(number).reviews} == {"carol", "dave"}


def test_comments_and_pending_reviews_are_no_verdict(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.person("carol").review(number, "COMMENT", "Nice colours.")
    stage.fake.person("dave").review(number, "PENDING", "Not sent yet.")
    assert stage.host.request(number).reviews == ()


def test_many_reviews_are_read_page_by_page(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.page_size = 2
    for name in ("ann", "ben", "cat", "dan", "eve"):
        stage.fake.person(name).review(number, "APPROVED")
    assert len(stage.host.request(number).reviews) == 5


# --- opening ------------------------------------------------------------------------------------------------------


def test_reviewers_are_asked_and_those_who_are_not_accepted_are_left_out(stage: GiteaStage) -> None:
    stage.fake.repository.owned_by_organisation = True
    stage.fake.repository.teams = {"shopkeepers": 7}
    stage.fake.user("carol")
    stage.fake.user("stranger", right="none")
    reviewers = ("nobody-there", "carol", BOT, "stranger", "shop/shopkeepers", "shop/no-such-team", "other/team")
    number = opened(stage, reviewers=reviewers).number
    assert asked(stage, number) == ["carol", "shopkeepers"]


def test_a_request_whose_opening_was_killed_halfway_gets_its_reviewers_but_none_is_asked_twice(
    stage: GiteaStage,
) -> None:
    stage.fake.user("carol")
    stage.fake.user("dave")
    number = opened(stage, reviewers=("carol",)).number
    stage.fake.person("carol").review(number, "APPROVED")
    assert opened(stage, reviewers=("carol", "dave", "dave")).number == number
    assert asked(stage, number) == ["dave"]
    assert [one.person for one in stage.host.request(number).reviews] == ["carol"]


def test_a_request_that_a_person_opened_is_left_as_it_is(stage: GiteaStage) -> None:
    number = stage.fake.person("bob").open(FEATURE, title="Bob's")
    request = opened(stage, reviewers=("carol",))
    assert (request.number, request.author, request.title) == (number, "bob", "Bob's")
    assert asked(stage, number) == []


def asked(stage: GiteaStage, number: int) -> list[str]:
    pull = stage.fake.repository.issues[number].pull
    assert pull
    names = [one.team or (one.user.login if one.user else "") for one in pull.reviews if one.state == "REQUEST_REVIEW"]
    return sorted(names)


def test_labels_are_those_of_the_repository_or_its_organisation_and_created_where_missing(stage: GiteaStage) -> None:
    repository = stage.fake.repository
    repository.owned_by_organisation = True
    repository.labels = [Label(900, "Delivery", "#ff0000")]
    repository.organisation_labels = [Label(901, "shop", "#00ff00"), Label(902, "delivery", "#0000ff")]
    host = stage.host_with(labels=("delivery", "shop"))
    for _ in range(2):
        request = host.open_request(
            key=KEY, source=FEATURE, target=PREPROD, title="T", body="", labels=("new one", "shop")
        )
    labels = {label.name for label in repository.issues[request.number].labels}
    assert labels == {"Delivery", "shop", "new one"}
    assert [label.name for label in repository.labels] == ["Delivery", "new one"]


def test_a_label_that_we_may_not_create_keeps_no_request_from_being_opened(stage: GiteaStage) -> None:
    stage.fake.repository.rights[BOT] = "read"
    host = stage.host_with(labels=("delivery",))
    request = host.open_request(key=KEY, source=FEATURE, target=PREPROD, title="T", body="")
    assert request.author == BOT
    assert stage.fake.repository.issues[request.number].labels == []


def test_a_request_without_a_commit_is_refused(stage: GiteaStage) -> None:
    stage.fake.repository.git.move("feature/SHOP-2", str(stage.fake.repository.git.head("preprod")))
    with pytest.raises(Refused, match="no commit that 'preprod' lacks"):
        opened(stage, source=BranchName("feature/SHOP-2"))


def test_the_branch_that_is_missing_is_named(stage: GiteaStage) -> None:
    with pytest.raises(NotFound, match="no branch 'staging'"):
        opened(stage, target=BranchName("staging"))


def test_a_request_that_somebody_opens_at_the_same_moment_is_found(stage: GiteaStage) -> None:
    answers = stage.fake.answer
    quick: list[int] = []

    def bob_is_quicker(call: Call) -> Answer:
        if call.method == "POST" and call.path.endswith("/pulls"):
            repository = stage.fake.repository
            commit = str(repository.git.head(FEATURE))
            bob = stage.fake.user("bob")
            made = stage.fake.open_pull(repository, FEATURE, "preprod", title="Bob's", body="", by=bob, commit=commit)
            quick.append(made.number)
        return answers(call)

    stage.fake.answer = bob_is_quicker  # type: ignore[method-assign]
    request = opened(stage)
    assert ([request.number], request.author) == (quick, "bob")


def test_an_opening_whose_answer_was_lost_is_found_again(stage: GiteaStage) -> None:
    opened(stage, source=FEATURE)
    other = BranchName("feature/SHOP-2")
    stage.push(other)
    answers = stage.fake.answer

    def lose(call: Call) -> Answer:
        stage.fake.server.faults.lost_answers = int(call.method == "POST" and call.path.endswith("/pulls"))
        return answers(call)

    stage.fake.answer = lose  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="no answer"):
        opened(stage, source=other)
    stage.fake.answer = answers  # type: ignore[method-assign]
    assert opened(stage, source=other).number == 2
    assert len(stage.fake.repository.pulls) == 2


# --- retargeting ----------------------------------------------------------------------------------------------------


def test_a_request_that_is_over_is_not_pointed_elsewhere(stage: GiteaStage) -> None:
    number = opened(stage, target=PRODUCTION).number
    stage.host.close_request(number, state=RequestState.CLOSED)
    with pytest.raises(Refused, match=r"it is closed\. Open a new one"):
        stage.host.retarget(number, PREPROD)
    stage.host.retarget(number, PRODUCTION)


def test_a_request_is_not_pointed_where_another_one_of_its_branch_aims(stage: GiteaStage) -> None:
    stage.fake.person("bob").open(FEATURE, "preprod")
    number = stage.fake.person("bob").open(FEATURE, "production")
    with pytest.raises(Conflict):
        stage.host.retarget(number, PREPROD)
    with pytest.raises(NotFound, match="no branch 'staging'"):
        stage.host.retarget(number, BranchName("staging"))


# --- comments and statuses ------------------------------------------------------------------------------------------


def test_only_our_own_comment_is_replaced_whatever_others_write(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.host.comment(number, "first", marker="environment")
    issue = stage.fake.repository.issues[number]
    ours = issue.comments[0].body
    stage.fake.person("eve").say(number, ours.replace("first", "Trust me."))
    # A person who lends us the account quotes us: the marker is in the middle.
    issue.comments.append(type(issue.comments[0])(9_999, stage.fake.bot, f"> {ours}\n\n/approve"))
    stage.host.comment(number, "second", marker="environment")
    texts = stage.comments(number)
    assert texts[0] == "second"
    assert texts[1] == "Trust me."
    assert len(issue.comments) == 3
    said = [(one.author, one.text.rpartition("\n")[2]) for one in stage.host.comments(number)]
    assert (BOT, "/approve") in said
    assert [author for author, _ in said] == ["eve", BOT]


def test_what_people_say_are_comments_and_the_words_of_reviews_and_their_ids_differ(stage: GiteaStage) -> None:
    number = opened(stage).number
    carol = stage.fake.person("carol")
    stage.host.comment(number, "Ours.", marker="m")
    carol.say(number, "/status")
    carol.review(number, "REQUEST_CHANGES", "Prices.")
    carol.review(number, "APPROVED")
    found = stage.host.comments(number)
    assert [(one.author, one.text) for one in found] == [("carol", "/status"), ("carol", "Prices.")]
    assert len({one.id for one in found}) == 2
    assert all(one.at.tzinfo for one in found)


def test_what_was_said_within_the_second_asked_for_is_there(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.person("carol").say(number, "/approve")
    at = stage.fake.repository.issues[number].comments[0].created
    assert stage.host.comments(number, since=at + timedelta(milliseconds=900))
    assert stage.host.comments(number, since=at + timedelta(seconds=1)) == ()


def test_a_status_that_says_the_same_is_not_posted_again(stage: GiteaStage) -> None:
    commit = opened(stage).head
    stage.fake.page_size = 2
    for name in ("a", "b", "c"):
        for _ in range(2):
            stage.host.set_status(commit, name=name, state=StatusState.PENDING, description="runs\n", url="http://x")
    assert len(stage.fake.repository.statuses) == 3
    stage.host.set_status(commit, name="a", state=StatusState.SUCCESS, description="runs", url="http://x")
    stage.host.set_status(commit, name="a", state=StatusState.PENDING, description="runs", url="http://x")
    assert len(stage.fake.repository.statuses) == 5


def test_a_status_of_a_commit_that_is_not_there_is_not_found_although_the_server_says_500(stage: GiteaStage) -> None:
    with pytest.raises(NotFound, match="bbbbbbbbbb"):
        stage.host.set_status(CommitSha("b" * 40), name="a", state=StatusState.SUCCESS, description="", url="")


def test_deployments_are_nothing_there(stage: GiteaStage) -> None:
    stage.fake.server.exchanges.clear()
    stage.host.record_deployment(
        key=KEY, commit=CommitSha("b" * 40), environment="production", state=DeploymentState.DONE, url="http://x"
    )
    assert stage.fake.server.exchanges == []


# --- what has shipped -----------------------------------------------------------------------------------------------


def test_a_shipped_request_is_shown_as_merged_by_the_commit_that_brought_it(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.push("production")
    brought = stage.ship(FEATURE)
    later = stage.push("preprod")
    assert brought != later
    stage.host.close_request(number, state=RequestState.MERGED)
    pull = stage.fake.repository.issues[number].pull
    assert pull
    assert (pull.merged_commit, stage.host.request(number).state) == (brought, RequestState.MERGED)


def test_a_request_that_has_not_shipped_is_not_shown_as_merged(stage: GiteaStage) -> None:
    number = opened(stage).number
    with pytest.raises(Conflict, match="'preprod' does not hold its head"):
        stage.host.close_request(number, state=RequestState.MERGED)
    stage.ship(FEATURE)
    stage.push(FEATURE)
    with pytest.raises(Conflict, match="goes into another one"):
        stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.host.request(number).state is RequestState.OPEN


def test_a_request_that_was_closed_with_its_branch_is_shown_as_merged_all_the_same(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.ship(FEATURE)
    stage.fake.repository.git.delete(FEATURE)
    assert stage.host.request(number).state is RequestState.CLOSED
    stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.host.request(number).state is RequestState.MERGED


def test_a_server_that_detects_merges_by_itself_is_left_to_it(stage: GiteaStage) -> None:
    stage.fake.repository.autodetect_manual_merge = True
    number = opened(stage).number
    stage.ship(FEATURE)
    assert stage.host.request(number).state is RequestState.MERGED
    stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.fake.server.calls("POST", "/merge") == []


def test_the_setting_that_is_off_is_named_when_we_may_not_switch_it_on(stage: GiteaStage) -> None:
    stage.fake.repository.allow_manual_merge = False
    number = opened(stage).number
    stage.ship(FEATURE)
    with pytest.raises(Refused, match=r"Mark pull request as manually merged' \(allow_manual_merge\)"):
        stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.host.request(number).state is RequestState.OPEN


def test_the_setting_that_is_off_is_switched_on_when_we_may(stage: GiteaStage) -> None:
    stage.fake.repository.allow_manual_merge = False
    stage.fake.repository.rights[BOT] = "admin"
    number = opened(stage).number
    stage.ship(FEATURE)
    stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.host.request(number).state is RequestState.MERGED
    assert stage.fake.repository.allow_manual_merge


def test_a_closed_request_that_cannot_be_shown_as_merged_is_closed_again(stage: GiteaStage) -> None:
    stage.fake.repository.allow_manual_merge = False
    number = opened(stage).number
    stage.ship(FEATURE)
    stage.host.close_request(number, state=RequestState.CLOSED)
    with pytest.raises(Refused, match="allow_manual_merge"):
        stage.host.close_request(number, state=RequestState.MERGED)
    assert stage.host.request(number).state is RequestState.CLOSED


def test_a_bot_that_is_not_on_the_merge_whitelist_is_told_so(stage: GiteaStage) -> None:
    stage.fake.protect("preprod", merge=frozenset({"amy"}))
    number = opened(stage).number
    stage.ship(FEATURE)
    with pytest.raises(Refused, match="merge whitelist"):
        stage.host.close_request(number, state=RequestState.MERGED)


@pytest.mark.parametrize("how", ["merge", "squash"])
def test_a_request_merged_by_hand_is_merged_and_stays_so(stage: GiteaStage, how: str) -> None:
    number = opened(stage).number
    stage.fake.person("bob").merge(number, how)
    for state in (RequestState.MERGED, RequestState.CLOSED):
        stage.host.close_request(number, state=state)
        assert stage.host.request(number).state is RequestState.MERGED
    assert stage.host.find_request(FEATURE) == stage.host.request(number)


def test_a_request_that_is_merged_while_we_close_it_stays_merged(stage: GiteaStage) -> None:
    number = opened(stage).number
    answers = stage.fake.answer

    def merge_first(call: Call) -> Answer:
        if call.method == "PATCH":
            repository = stage.fake.repository
            stage.fake.merged(repository, repository.issues[number], "c" * 40, stage.fake.user("bob"))
        return answers(call)

    stage.fake.answer = merge_first  # type: ignore[method-assign]
    stage.host.close_request(number, state=RequestState.CLOSED)
    assert stage.host.request(number).state is RequestState.MERGED


def test_a_request_that_depends_on_something_open_is_not_said_to_be_closed(stage: GiteaStage) -> None:
    number = opened(stage).number
    stage.fake.repository.issues[number].blocked = True
    with pytest.raises(Refused, match="depends on something that is still open"):
        stage.host.close_request(number, state=RequestState.CLOSED)


def test_getting_at_git_costs_no_http_client() -> None:
    code = "from feature_delivery.adapters.git_hosts.gitea import git_access; import sys; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


# --- Git and addresses ----------------------------------------------------------------------------------------------


def test_git_gets_in_with_the_token_in_a_header_and_under_the_sub_path(tmp_path: Path) -> None:
    with gitea_stage(tmp_path, root="/code/git") as stage:
        login = Login(connection="gitea", url=stage.login.url, user=BOT, secret=TOKEN)
        address = remote_address(f"{stage.fake.url}/shop/cart.git", git_access(login, CONFIG))
        assert TOKEN not in address.url + address.shown
        settings = [part for name, value in address.settings for part in ("-c", f"{name}={value}")]
        lines = git(tmp_path, *settings, "ls-remote", "--heads", address.url).splitlines()
        assert {line.split("refs/heads/")[1] for line in lines} == {"preprod", "production"}
        host = GiteaHost(stage.login, config=HostConfig(repository="code/git/shop/cart"))
        assert host.find_request(FEATURE) is None


def test_ssh_is_told_which_key_to_use_and_certificates_are_handed_on(tmp_path: Path) -> None:
    options = {"ssh_key_file": "/run/secrets/key", "known_hosts_file": "/etc/known", "ca_file": "/etc/ca.pem"}
    access = git_access(Login(connection="gitea", secret=TOKEN, options=options), CONFIG)
    assert "/run/secrets/key" in access.ssh_command
    assert "StrictHostKeyChecking=yes" in access.ssh_command
    assert access.variables == {"GIT_SSL_CAINFO": "/etc/ca.pem"}
    assert TOKEN not in repr(access)
    with pytest.raises(Misconfigured, match="ssh_key_file"):
        git_access(Login(connection="gitea", options={"ssh_key_file": "key; rm -rf /"}), CONFIG)
    assert git_access(Login(connection="gitea", secret=TOKEN), CONFIG).username == "oauth2"


@pytest.mark.parametrize("repository", ["cart", "a/b/c", "../cart", "shop/..", "shop/ca rt", ""])
def test_a_repository_that_is_none_is_refused(repository: str) -> None:
    login = Login(connection="gitea", url="https://git.shop.test", secret=TOKEN)
    with pytest.raises(Misconfigured, match="owner/name"):
        GiteaHost(login, config=HostConfig(repository=repository))


@pytest.mark.parametrize(
    ("url", "secret", "says"),
    [
        ("", TOKEN, "no address"),
        ("ftp://git.shop.test", TOKEN, "no address"),
        ("https://", TOKEN, "no address"),
        ("https://bot:hunter2@git.shop.test", TOKEN, "belongs into its password"),
        ("https://git.shop.test", "", "no token"),
        ("https://git.shop.test", "two words\r\nX-Evil: 1", "no token"),
    ],
)
def test_a_connection_that_lacks_something_is_refused_without_its_secrets(url: str, secret: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as caught:
        GiteaHost(Login(connection="git", url=url, secret=secret), config=CONFIG)
    assert "'git'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "Evil" not in str(caught.value)
