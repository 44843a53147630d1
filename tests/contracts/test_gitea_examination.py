"""What ``doctor`` finds at a Gitea before the first delivery does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import BranchName
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitea import BOT
from tests.support.gitea_stage import GiteaStage, gitea_stage

EVENTS = (
    "push",
    "create",
    "delete",
    "pull_request",
    "pull_request_sync",
    "pull_request_review_approved",
    "pull_request_review_rejected",
    "issue_comment",
    "pull_request_comment",
    "issues",
)
ADDRESS = "https://airflow.shop.test/feature-delivery/webhooks/shop"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GiteaStage]:
    with gitea_stage(tmp_path) as made:
        made.fake.repository.rights[BOT] = "admin"
        made.fake.hook(ADDRESS, "secret", *EVENTS)
        yield made


def faults(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {one.what: one.sentence for one in findings if not one.well}


def test_a_host_that_is_as_it_should_be_has_no_faults_and_nothing_was_changed(stage: GiteaStage) -> None:
    findings = stage.host.examine()
    assert faults(findings) == {}
    assert {"server", "token", "scope", "rights", "branch production", "branch preprod"} < {
        one.what for one in findings
    }
    assert {"merged requests", "webhook"} < {one.what for one in findings}
    assert stage.fake.repository.issues == {}
    assert faults(stage.tracker.examine()) == {}


@pytest.mark.parametrize(
    ("scopes", "says"),
    [
        ({"write:issue", "read:user"}, "read:repository"),
        ({"write:issue", "read:repository", "read:user"}, "write:repository"),
        ({"read:issue", "write:repository", "read:user"}, "write:issue"),
        ({"write:issue", "write:repository"}, "read:user"),
    ],
)
def test_a_scope_that_the_token_lacks_is_named(stage: GiteaStage, scopes: set[str], says: str) -> None:
    stage.fake.bot.scopes = frozenset(scopes)
    assert says in " ".join(faults(stage.host.examine()).values())


def test_issues_need_fewer_scopes_and_their_being_switched_off_is_found(stage: GiteaStage) -> None:
    stage.fake.bot.scopes = frozenset({"write:issue", "read:repository", "read:user"})
    assert faults(stage.tracker.examine()) == {}
    stage.fake.repository.has_issues = False
    assert "Switch them on" in faults(stage.tracker.examine())["issues"]


def test_a_token_that_is_not_accepted_is_the_one_fault(stage: GiteaStage) -> None:
    stage.fake.bot.password = "another"
    assert list(faults(stage.host.examine())) == ["token"]
    assert list(faults(stage.tracker.examine())) == ["token"]


def test_a_bot_that_may_only_read_and_an_archived_repository_are_found(stage: GiteaStage) -> None:
    stage.fake.repository.rights[BOT] = "read"
    assert "collaborator with write access" in faults(stage.host.examine())["rights"]
    stage.fake.repository.rights[BOT] = "none"
    assert "may not see it" in faults(stage.host.examine())["repository"]
    stage.fake.repository.rights[BOT] = "admin"
    stage.fake.repository.archived = True
    assert "archive" in faults(stage.host.examine())["rights"]


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"push": frozenset({"amy"})}, "push whitelist"),
        ({"merge": frozenset({"amy"})}, "merge whitelist"),
        ({"signed": True}, "signed commits"),
        ({"files": "*.lock"}, "file patterns"),
    ],
)
def test_a_protection_that_would_stop_a_release_is_found(
    stage: GiteaStage, rules: dict[str, object], says: str
) -> None:
    stage.fake.protect("preprod", push=frozenset({BOT}))
    stage.fake.protect("production", **rules)
    found = faults(stage.host.examine())
    assert list(found) == ["branch production"]
    assert says in found["branch production"]


def test_a_writer_is_told_of_a_protection_as_far_as_the_branch_shows_it(stage: GiteaStage) -> None:
    stage.fake.repository.rights[BOT] = "write"
    stage.fake.protect("production", push=frozenset({"amy"}))
    findings = stage.host.examine()
    assert list(faults(findings)) == ["branch production"]
    assert [one.sentence for one in findings if one.what == "webhook"] == [
        f"Only administrators of {stage.host._client.shown} see its webhooks. Look at them by hand."
    ]


def test_a_branch_that_is_missing_is_found(stage: GiteaStage) -> None:
    host = stage.host_with(branches=(BranchName("main"), BranchName("preprod")))
    assert list(faults(host.examine())) == ["branch main"]


@pytest.mark.parametrize(
    ("tells", "right", "well", "says"),
    [
        (True, "write", False, "Switch on 'Mark pull request as manually merged'"),
        (True, "admin", True, "switched on at the first release"),
        (False, "write", True, "does not tell"),
    ],
)
def test_whether_requests_can_be_shown_as_merged_is_told_as_far_as_it_is_known(
    stage: GiteaStage, *, tells: bool, right: str, well: bool, says: str
) -> None:
    repository = stage.fake.repository
    repository.allow_manual_merge, repository.tells_settings, repository.rights[BOT] = False, tells, right
    (finding,) = [one for one in stage.host.examine() if one.what == "merged requests"]
    assert finding.well is well
    assert says in finding.sentence
    repository.allow_manual_merge = True
    (finding,) = [one for one in stage.host.examine() if one.what == "merged requests"]
    assert finding.well


def test_requests_that_are_switched_off_are_found(stage: GiteaStage) -> None:
    stage.fake.repository.has_pull_requests = False
    assert "Requests are switched off" in faults(stage.host.examine())["merged requests"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"active": False}, "not active"),
        ({"events": ["push", "create"]}, "does not send delete, pull_request"),
        ({"content_type": "form"}, "does not send JSON"),
        ({"branch_filter": "main"}, "branch filter"),
        ({"url": "https://chat.shop.test/hooks"}, "no webhook to Airflow"),
    ],
)
def test_a_webhook_that_would_tell_too_little_is_found(stage: GiteaStage, change: dict[str, object], says: str) -> None:
    for name, value in change.items():
        setattr(stage.fake.repository.hooks[0], name, value)
    found = faults(stage.host.examine())
    assert list(found) == ["webhook"]
    assert says in found["webhook"]


def test_one_good_webhook_is_enough(stage: GiteaStage) -> None:
    stage.fake.repository.hooks[0].active = False
    stage.fake.page_size = 1
    stage.fake.hook(ADDRESS, "secret", *EVENTS)
    assert faults(stage.host.examine()) == {}


def test_an_address_without_the_sub_path_is_found(stage: GiteaStage) -> None:
    stage.described, stage.fake.root = False, "/code"
    assert "with the sub path" in faults(stage.host.examine())["server"]


def test_what_goes_wrong_while_looking_is_a_finding(stage: GiteaStage) -> None:
    stage.fake.server.faults.rules.append(("GET", "/branches/|/hooks|/branch_protections", Answer(500)))
    assert "answered 500" in " ".join(faults(stage.host.examine()).values())
