"""The fake GitLab sends webhooks as the real one does: over HTTP, with secret and signature; ours reads them right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.adapters.webhooks.gitlab import GitLab
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName
from feature_delivery.ports.git_host import RequestState
from feature_delivery.ports.tracker import IssueState
from tests.contracts.github_world import receiver
from tests.fakes.hosts.gitlab import BOT
from tests.support.gitlab_stage import FEATURE, KEY, PREPROD, GitLabStage, gitlab_stage

PAYLOADS = Path(__file__).parents[2] / ".." / "shared" / "payloads" / "gitlab"
SECRET = b"a secret of the project"
SIGNING = "whsec_" + "c2lnbmluZy1rZXktb2YtdGhlLXByb2plY3Q="
EVENTS = ("push", "tag_push", "merge_requests", "note", "issues")


@pytest.fixture
def taken() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    with receiver() as found:
        yield found


@pytest.fixture
def stage(tmp_path: Path, taken: tuple[str, list[dict[str, Any]]]) -> Iterator[GitLabStage]:
    with gitlab_stage(tmp_path) as made:
        made.fake.hook(f"{taken[0]}/feature-delivery/webhooks/shop", *EVENTS, token=SECRET.decode(), signing=SIGNING)
        yield made


def hints(stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]) -> list[tuple[str, Hint]]:
    """Return event and hint of everything that came, oldest first, and see that it is authentic; then forget it."""
    stage.fake.sender.settle()
    dialect, found = GitLab(), []
    for one in taken[1]:
        headers = {name.lower(): value for name, value in one["headers"].items()}
        assert dialect.speaks(headers)
        for secret in (SECRET, SIGNING.encode()):
            assert dialect.authentic(headers, one["body"], [secret], at=datetime.now(UTC))
        assert not dialect.authentic(headers, one["body"] + b" ", [SIGNING.encode()], at=datetime.now(UTC))
        assert not dialect.authentic(headers, one["body"], [b"another"], at=datetime.now(UTC))
        payload = json.loads(one["body"])
        event = dialect.event(headers, payload)
        found.append((event, dialect.hint(event, payload)))
    taken[1].clear()
    return found


def test_branches_tell_of_themselves(stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]) -> None:
    stage.push(FEATURE)
    assert hints(stage, taken) == [("Push Hook", Hint(branch=FEATURE, person="bob", pushed=True))]
    stage.fake.project.git.delete(FEATURE, by="bob")
    ((event, hint),) = hints(stage, taken)
    assert (event, hint.branch, hint.person, hint.pushed) == ("Push Hook", FEATURE, "bob", False)


def test_a_request_tells_of_its_life(stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]) -> None:
    stage.push(FEATURE)
    hints(stage, taken)
    number = stage.fake.person("bob").open(FEATURE)
    stage.fake.person("carol").approve(number)
    stage.fake.person("carol").unapprove(number)
    stage.fake.request_changes(number, "dave", "No.")
    stage.fake.person("carol").say(number, "/reject No.")
    stage.ship(number)
    found = [hint for event, hint in hints(stage, taken) if event != "Push Hook"]
    assert [(one.request, one.branch, one.person) for one in found] == [
        (number, FEATURE, "bob"),
        (number, FEATURE, "carol"),
        (number, FEATURE, "carol"),
        (number, FEATURE, "dave"),  # the comment
        (number, FEATURE, "dave"),  # requested changes: an update by which only the reviewers changed
        (number, FEATURE, "carol"),
        (number, FEATURE, BOT),
    ]
    assert not any(one.ignored for one in found)


def test_our_own_comments_and_a_fork_tell_of_no_branch_of_ours(
    stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]
) -> None:
    stage.push(FEATURE)
    number = stage.opened().number
    hints(stage, taken)
    stage.host().comment(number, "Environment: http://x", marker="environment")
    ((_, hint),) = hints(stage, taken)
    assert hint.ignored
    fork = stage.fake.fork_request("mallory", "feature/SHOP-2").iid
    found = [hint for event, hint in hints(stage, taken) if event == "Merge Request Hook"]
    assert found == [Hint(request=fork, branch=None, person="mallory")]


def test_an_issue_tells_of_its_changes(stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]) -> None:
    stage.given(KEY)
    stage.assign(KEY, "bob")
    stage.tracker().move(KEY, IssueState.DONE)
    found = hints(stage, taken)
    assert [(event, hint.issue, hint.person) for event, hint in found] == [
        ("Issue Hook", "1", "mia"),
        ("Issue Hook", "1", "mia"),
        ("Issue Hook", "1", BOT),
    ]


def test_a_hook_that_fails_too_often_is_switched_off_and_doctor_says_so(
    stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]
) -> None:
    hook = stage.fake.project.hooks[0]
    hook.url = hook.url.replace("/feature-delivery", "/refused/feature-delivery")
    for _ in range(6):
        stage.push(FEATURE)
        stage.fake.sender.settle()
    assert len(taken[1]) == 4
    finding = next(one for one in stage.host().examine() if one.what == "webhook")
    assert (finding.well, "switched it off until" in finding.sentence) == (False, True)


def test_closing_and_merging_by_hand_are_told(stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]) -> None:
    stage.push(FEATURE)
    number = stage.opened().number
    stage.host().close_request(number, state=RequestState.CLOSED)
    stage.fake.person("bob").call("PUT", f"/merge_requests/{number}", {"state_event": "reopen"})
    stage.fake.project.members["amy"] = 40
    stage.fake.person("amy").call("PUT", f"/merge_requests/{number}/merge", {"squash": True})
    stage.fake.sender.settle()
    actions = [
        json.loads(one["body"])["object_attributes"]["action"]
        for one in taken[1]
        if one["headers"]["X-Gitlab-Event"] == "Merge Request Hook"
    ]
    assert actions == ["open", "close", "reopen", "merge"]
    assert stage.host().request(number).state is RequestState.MERGED


@pytest.mark.skipif(
    not PAYLOADS.is_dir(), reason="the collection of real payloads of GitLab is not beside this repository"
)
def test_what_the_fake_sends_has_no_field_that_gitlabs_own_payloads_lack_where_we_read_it(
    stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]
) -> None:
    """Each collection is from another version: what we read must be in one of them, and in what the fake sends."""
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.fake.person("bob").say(number, "hello")
    stage.given(KEY)
    stage.fake.sender.settle()
    read = {
        "push": ("object_kind", "ref", "before", "after", "user_username"),
        "merge_request": ("object_kind", "user.username", *_request("object_attributes"), "object_attributes.action"),
        "note": ("object_kind", "user.username", "object_attributes.noteable_type", *_request("merge_request")),
        "issue": ("object_kind", "user.username", "object_attributes.iid"),
    }
    sent = [json.loads(one["body"]) for one in taken[1]]
    real = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(PAYLOADS.rglob("*.json"))]
    for kind, fields in read.items():
        for field in fields:
            for payloads in (sent, real):
                of_kind = [one for one in payloads if isinstance(one, dict) and one.get("object_kind") == kind]
                assert any(_at(one, field) is not None for one in of_kind), (kind, field)


def _request(place: str) -> tuple[str, ...]:
    names = ("iid", "source_branch", "source_project_id", "target_project_id")
    return tuple(f"{place}.{name}" for name in names)


def _at(payload: Any, field: str) -> Any:
    for name in field.split("."):
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def test_the_branches_of_a_release_are_pushed_to_by_us(
    stage: GitLabStage, taken: tuple[str, list[dict[str, Any]]]
) -> None:
    stage.push(FEATURE)
    number = stage.opened().number
    hints(stage, taken)
    stage.ship(number)
    pushes = [hint for event, hint in hints(stage, taken) if event == "Push Hook"]
    assert pushes == [Hint(branch=BranchName(PREPROD), person=BOT, pushed=True)]
