"""What ``doctor`` finds wrong on GitLab, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import BranchName
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitlab import BOT, PATH
from tests.fakes.hosts.gitlab_state import DEVELOPER, GUEST, MAINTAINER, now
from tests.support.gitlab_stage import GitLabStage, gitlab_stage

WEBHOOK = "https://airflow.shop.test/feature-delivery/webhooks/shop"
EVENTS = ("push", "merge_requests", "note", "issues")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GitLabStage]:
    """A GitLab where nothing is wrong."""
    with gitlab_stage(tmp_path) as made:
        made.fake.protect("production", users=(BOT,))
        made.fake.protect("pre*", push=DEVELOPER)
        made.fake.hook(WEBHOOK, *EVENTS)
        yield made


def wrong(stage: GitLabStage, **more: object) -> dict[str, str]:
    return {one.what: one.sentence for one in stage.host(**more).examine() if not one.well}  # type: ignore[arg-type]


def found(stage: GitLabStage) -> dict[str, Finding]:
    return {one.what: one for one in stage.host().examine()}


def test_what_is_well_is_said_too(stage: GitLabStage) -> None:
    shown = found(stage)
    assert all(one.well for one in shown.values())
    assert [*shown] == ["token", "project", "role", "branch 'production'", "branch 'preprod'", "reviews", "webhook"]
    assert shown["token"].sentence.startswith(f"It is the one of {BOT!r}, and lasts until 20")
    assert shown["role"].sentence == f"{BOT!r} has the role Maintainer."
    assert shown["branch 'production'"].sentence == f"It is protected, and {BOT!r} may push."
    assert "approves again" in shown["reviews"].sentence  # the free edition has no such setting
    assert [one.what for one in stage.tracker().examine()] == ["token", "project", "role", "webhook"]


def test_a_token_that_is_refused_ends_it(stage: GitLabStage) -> None:
    stage.fake.bot.token.state = "revoked"
    for part in (stage.host(), stage.tracker()):
        (finding,) = part.examine()
        assert (finding.what, finding.well) == ("token", False)
        assert "(it is revoked)" in finding.sentence


def test_a_token_without_its_scope_or_near_its_end_is_told(stage: GitLabStage) -> None:
    stage.fake.bot.token.scopes = ("read_api", "write_repository")
    assert wrong(stage)["token"] == (
        "It has not the scope 'api', only read_api, write_repository. Make one that has it."
    )
    stage.fake.bot.token.scopes = ("api",)
    stage.fake.bot.token.expires = (now() + timedelta(days=3)).date()
    assert wrong(stage)["token"] == f"It ends on {stage.fake.bot.token.expires}. Make a new one in time."


def test_the_token_of_an_application_does_not_tell_its_scopes(stage: GitLabStage) -> None:
    stage.fake.bot.token.state = "oauth"
    assert wrong(stage) == {}
    assert "does not tell its scopes" in found(stage)["token"].sentence


def test_a_project_that_is_not_seen_archived_or_renamed_is_told(stage: GitLabStage) -> None:
    assert "may not see it" in wrong(stage, repository="shop/nowhere")["project"]
    stage.fake.moved["shop/cart"] = PATH
    assert "Correct the project's path" in wrong(stage, repository="shop/cart")["project"]
    stage.fake.server.faults.rules.append(
        ("GET", "cart$", Answer(200, {**stage.fake.project.shown(), "path_with_namespace": "shop/new"}))
    )
    assert wrong(stage)["project"] == f"{PATH} is shop/new by now. Correct its path in the project file."
    stage.fake.server.faults.rules.clear()
    stage.fake.project.archived = True
    assert "Unarchive it" in wrong(stage)["project"]


def test_a_role_that_does_not_do_is_told(stage: GitLabStage) -> None:
    stage.fake.project.members[BOT] = GUEST
    assert wrong(stage)["role"] == f"{BOT!r} has Guest in the project. Give the account the role Developer."
    issues = {one.what: one for one in stage.tracker().examine()}
    assert issues["role"].sentence.endswith("Give the account the role Reporter.")


def test_a_developer_may_deliver_but_not_look_at_webhooks(stage: GitLabStage) -> None:
    stage.fake.project.members[BOT] = DEVELOPER
    found_wrong = wrong(stage)
    assert [*found_wrong] == ["webhook"]
    assert "lacks the role Maintainer" in found_wrong["webhook"]
    assert "look at Settings, Webhooks yourself" in found_wrong["webhook"]


def test_parts_of_the_project_that_are_switched_off_are_told(stage: GitLabStage) -> None:
    stage.fake.project.features |= {"merge_requests": "disabled", "builds": "disabled", "issues": "disabled"}
    assert {"merge requests", "statuses"} <= {*wrong(stage)}
    assert "issues" in {one.what for one in stage.tracker().examine() if not one.well}


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"push": MAINTAINER}, "It may be pushed to by Maintainers only, not by us."),
        ({"push": 0}, "It may be pushed to by No one only, not by us."),
        ({"users": (BOT,), "code_owners": True}, "files of code owners are refused"),
        ({"users": (BOT,), "force": True}, "rewritten by a forced push"),
    ],
)
def test_a_branch_that_deliveries_cannot_move_is_found_before_the_first_release(
    stage: GitLabStage, rule: dict[str, object], sentence: str
) -> None:
    stage.fake.project.members[BOT] = DEVELOPER
    stage.fake.project.protections.clear()
    stage.fake.protect("production", **rule)
    found_wrong = wrong(stage)
    assert sentence in found_wrong["branch 'production'"]
    assert f"push there as {BOT!r}" in found_wrong["branch 'production'"]
    assert "branch 'preprod'" not in found_wrong


def test_forced_pushes_matter_for_production_only_and_unprotected_branches_are_told(stage: GitLabStage) -> None:
    stage.fake.project.protections[1].force = True
    assert wrong(stage) == {}
    stage.fake.project.protections.clear()
    assert wrong(stage) == {}
    assert "and so can every developer: protect it" in found(stage)["branch 'production'"].sentence


def test_a_branch_that_is_not_there_is_told_and_rules_that_are_not_shown_are_done_without(stage: GitLabStage) -> None:
    assert "It is not there" in wrong(stage, branches=(BranchName("main"),))["branch 'main'"]
    stage.fake.server.faults.rules.append(("GET", "protected_branches$", Answer(403, {"message": "403 Forbidden"})))
    assert wrong(stage) == {}
    assert [one.what for one in stage.host(branches=()).examine()][3] == "branch 'production'"  # the default one


def test_push_rules_that_refuse_candidates_are_told(stage: GitLabStage) -> None:
    stage.fake.project.push_rules = {"reject_unsigned_commits": True, "member_check": True}
    assert "refuse commits without a signature and refuse commits of authors" in wrong(stage)["reviews"]
    stage.fake.project.push_rules = {"commit_message_regex": "^SHOP-", "reject_unsigned_commits": None}
    assert wrong(stage) == {}
    assert "see that they let the candidates' branches" in found(stage)["reviews"].sentence
    stage.fake.project.push_rules = {"member_check": False}
    stage.fake.project.approval_settings = {"reset_approvals_on_push": True}
    assert found(stage)["reviews"].sentence == "Approvals end with a push, as they should."


def test_a_webhook_that_does_not_do_is_told(stage: GitLabStage) -> None:
    hook = stage.fake.project.hooks[0]
    hook.events = {"push", "note"}
    assert "It is not sent for Merge request." in wrong(stage)["webhook"]
    assert "Issues" in {one.what: one.sentence for one in stage.tracker().examine()}["webhook"]
    hook.events, hook.branch_filter = {*EVENTS}, "main"
    assert "for branches like 'main' only" in wrong(stage)["webhook"]
    hook.branch_filter, hook.url = "", "https://elsewhere.test/hook"
    assert "There is none to an address with" in wrong(stage)["webhook"]


def test_a_webhook_that_gitlab_has_switched_off_is_told(stage: GitLabStage) -> None:
    hook = stage.fake.project.hooks[0]
    hook.alert_status, hook.disabled_until = "temporarily_disabled", now() + timedelta(hours=1)
    assert "GitLab has switched it off until 20" in wrong(stage)["webhook"]
    hook.alert_status, hook.disabled_until = "disabled", None
    assert "GitLab has switched it off, because deliveries failed" in wrong(stage)["webhook"]
    stage.fake.hook(WEBHOOK, *EVENTS)  # another one works
    assert wrong(stage) == {}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [("401", "was answered 401. 401 means another secret token"), ("internal error", "not at all")],
)
def test_the_last_delivery_of_a_webhook_is_told(stage: GitLabStage, answer: str, sentence: str) -> None:
    hook = stage.fake.project.hooks[0]
    hook.logged += [("push", "202"), ("note", answer)]
    assert sentence in wrong(stage)["webhook"]
    stage.fake.tells_hook_events = False  # an older version
    assert wrong(stage) == {}


def test_a_gitlab_that_is_not_there_raises_nothing(stage: GitLabStage) -> None:
    stage.fake.server.faults.rules.append(("GET", "", Answer(502, b"<html>", {"Content-Type": "text/html"})))
    for part in (stage.host(), stage.tracker()):
        (finding,) = part.examine()
        assert "it answered 502" in finding.sentence
    stage.fake.server.faults.rules[:] = [("GET", "/(members|repository|hooks|push_rule)", Answer(500, {}))]
    assert {one.what for one in stage.host().examine() if not one.well} == {
        "role",
        "branch 'production'",
        "branch 'preprod'",
        "reviews",
        "webhook",
    }
