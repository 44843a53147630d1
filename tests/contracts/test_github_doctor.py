"""What ``doctor`` finds on GitHub before the first release: token, rights, protection, webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from feature_delivery.adapters.webhooks.github import GitHub
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.login import Login
from feature_delivery.ports.git_host import RequestState
from tests.contracts.github_world import FEATURE, PREPROD, PRODUCTION, GitHubWorld, github_world, receiver
from tests.fakes.hosts.common import Answer

ADMIN = "ghp_admin"
OFF, ON = {"enabled": False}, {"enabled": True}
EVENTS = ("push", "pull_request", "pull_request_review", "issue_comment", "issues")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with github_world(tmp_path) as made:
        made.fake.add("root", role="admin", token=ADMIN)
        yield made


def findings(world: GitHubWorld, login: Login | None = None) -> dict[str, Finding]:
    host = world.host(login or world.login(ADMIN), branches=(PRODUCTION, PREPROD))
    return {one.what: one for one in host.examine()}


def rule(kind: str, *, ruleset: int = 5, **parameters: Any) -> dict[str, Any]:
    source = {"ruleset_source_type": "Repository", "ruleset_source": "shop/cart", "ruleset_id": ruleset}
    return {"type": kind, **source, **({"parameters": parameters} if parameters else {})}


def test_a_repository_that_is_ready_has_nothing_to_say(world: GitHubWorld) -> None:
    world.fake.add_hook("http://127.0.0.1:9/feature-delivery/webhooks/shop", "s3cret", EVENTS)
    found = findings(world)
    assert list(found) == ["token", "repository", "rights", "branch 'production'", "branch 'preprod'", "webhook"]
    assert [one.sentence for one in found.values() if not one.well] == []


def test_a_wrong_token_ends_the_examination_with_its_sentence(world: GitHubWorld) -> None:
    (token,) = world.host(world.login("wrong")).examine()
    assert (token.what, token.well) == ("token", False)
    assert "does not accept the token" in token.sentence


def test_a_repository_that_is_not_there_archived_or_renamed_is_told(world: GitHubWorld) -> None:
    world.fake.add("out", role="", token="ghp_out")
    assert not findings(world, world.login("ghp_out"))["repository"].well
    world.fake.more["archived"] = True
    assert "archived" in findings(world)["repository"].sentence
    world.fake.more = {"full_name": "shop/basket"}
    assert "is shop/basket by now" in findings(world)["repository"].sentence


def test_examining_raises_nothing_when_github_is_down(world: GitHubWorld) -> None:
    down = Answer(503, b"<html/>", {"Content-Type": "text/html"})
    for path in ("^/user$", "/shop/cart$", "/rules/branches/", "/branches/", "/hooks$"):
        world.server.faults.rules.append(("GET", path, down))
        found = findings(world)
        assert any("answered 503" in one.sentence and not one.well for one in found.values()), path


# --- rights ---


def test_a_classic_token_without_the_scope_is_found(world: GitHubWorld) -> None:
    world.fake.add("narrow", role="admin", token="ghp_narrow", scopes="gist, read:org")
    assert "scope 'repo'" in findings(world, world.login("ghp_narrow"))["rights"].sentence
    world.fake.add("public", role="admin", token="ghp_public", scopes="public_repo")
    assert findings(world, world.login("ghp_public"))["rights"].well
    world.fake.more["private"] = True
    assert not findings(world, world.login("ghp_public"))["rights"].well


def test_an_account_that_may_only_read_is_found(world: GitHubWorld) -> None:
    world.fake.add("reader", role="read", token="ghp_reader")
    assert "may not push" in findings(world, world.login("ghp_reader"))["rights"].sentence


def test_a_fine_grained_token_names_what_it_may_not_even_read(world: GitHubWorld) -> None:
    rights = {"contents": "write", "pull_requests": "write", "issues": "read"}
    world.fake.add("fine", token="github_pat_1", rights=rights)
    found = findings(world, world.login("github_pat_1"))["rights"]
    assert (found.well, "may not read Deployments" in found.sentence) == (False, True)
    world.fake.tokens["github_pat_1"].rights = {**rights, "deployments": "write", "statuses": "write"}
    found = findings(world, world.login("github_pat_1"))["rights"]
    assert found.well
    assert "see that it has read and write for Contents, Pull requests" in found.sentence


# --- protection ---

PROTECTIONS = [
    (
        {"required_pull_request_reviews": {"dismiss_stale_reviews": True, "require_code_owner_reviews": False}},
        "pull requests only",
    ),
    ({"required_status_checks": {"strict": True, "contexts": ["ci/build"], "checks": []}}, "demands checks: ci/build"),
    ({"required_linear_history": ON}, "takes no merge commits"),
    ({"required_signatures": {**ON, "url": "https://x.test/"}}, "signed commits only"),
    ({"lock_branch": ON}, "is locked"),
]


@pytest.mark.parametrize(("protection", "clause"), PROTECTIONS)
def test_a_protection_that_would_stop_a_promotion_is_named(
    world: GitHubWorld, protection: dict[str, Any], clause: str
) -> None:
    world.fake.protection["production"] = {"enforce_admins": {**ON, "url": "https://x.test/"}, **protection}
    found = findings(world)
    assert not found["branch 'production'"].well
    assert clause in found["branch 'production'"].sentence
    assert found["branch 'preprod'"].well


def test_administrators_are_bound_only_when_the_protection_says_so(world: GitHubWorld) -> None:
    world.fake.protection["production"] = {
        "enforce_admins": {**OFF, "url": "https://x.test/"},
        "required_linear_history": ON,
    }
    assert findings(world)["branch 'production'"].well


def test_protection_against_force_and_deletion_is_welcome(world: GitHubWorld) -> None:
    world.fake.protection["production"] = {
        "enforce_admins": {**ON, "url": "https://x.test/"},
        "allow_force_pushes": OFF,
        "allow_deletions": OFF,
    }
    world.fake.rules["production"] = [rule("deletion"), rule("non_fast_forward")]
    assert findings(world)["branch 'production'"].well


def test_a_restriction_on_pushing_must_name_us(world: GitHubWorld) -> None:
    some: dict[str, list[object]] = {"users": [], "teams": [], "apps": []}
    links = {f"{name}_url": "https://x.test/" for name in ("users", "teams", "apps")}
    world.fake.protection["production"] = {"restrictions": {"url": "https://x.test/", **links, **some}}
    assert "some people, teams and Apps only" in findings(world)["branch 'production'"].sentence
    some["users"].append(world.fake.shapes.user("Root"))
    assert findings(world)["branch 'production'"].well


def test_a_protection_that_the_token_may_not_see_is_told(world: GitHubWorld) -> None:
    world.fake.protection["production"] = {}
    found = findings(world, world.login())["branch 'production'"]
    assert (found.well, "may not see how" in found.sentence) == (False, True)


def test_rules_are_found_unless_we_may_bypass_them(world: GitHubWorld) -> None:
    checks = [{"context": "ci/build"}]
    world.fake.rules["production"] = [
        rule("pull_request", required_approving_review_count=1),
        rule("required_status_checks", required_status_checks=checks, strict_required_status_checks_policy=True),
        rule("update", ruleset=6),
        rule("deletion"),
    ]
    world.fake.rulesets[5] = {"id": 5, "current_user_can_bypass": "never"}
    world.fake.rulesets[6] = {"id": 6, "current_user_can_bypass": "always"}
    sentence = findings(world, world.login())["branch 'production'"].sentence
    assert "takes pull requests only; it demands checks: ci/build" in sentence
    assert "updated" not in sentence
    world.fake.rulesets[5]["current_user_can_bypass"] = "pull_requests_only"
    assert not findings(world)["branch 'production'"].well
    world.fake.rulesets[5]["current_user_can_bypass"] = "always"
    assert findings(world)["branch 'production'"].well


def test_a_branch_that_is_not_there_is_told(world: GitHubWorld) -> None:
    world.fake.repository.delete(PREPROD)
    assert "branch 'preprod'" in findings(world)["branch 'preprod'"].sentence
    assert not findings(world)["branch 'preprod'"].well


# --- the webhook ---


def test_a_webhook_that_is_missing_off_deaf_or_without_a_secret_is_found(world: GitHubWorld) -> None:
    assert "There is none" in findings(world)["webhook"].sentence
    world.fake.add_hook("https://ci.test/github", "s", ["push"])
    assert "There is none" in findings(world)["webhook"].sentence
    hook = world.fake.add_hook("http://127.0.0.1:9/feature-delivery/webhooks/shop", "", ["push"])
    hook.active = False
    assert "switched off" in findings(world)["webhook"].sentence
    hook.active = True
    assert "pull_request, pull_request_review, issue_comment" in findings(world)["webhook"].sentence
    hook.events = list(EVENTS)
    assert "no secret" in findings(world)["webhook"].sentence
    hook.secret = "s3cret"
    assert findings(world)["webhook"].well


def test_a_webhook_that_may_not_be_looked_at_is_told(world: GitHubWorld) -> None:
    found = findings(world, world.login())["webhook"]
    assert (found.well, "cannot be looked at" in found.sentence) == (False, True)


def test_webhooks_arrive_signed_with_githubs_headers_and_a_failed_one_is_found(world: GitHubWorld) -> None:
    with receiver() as (url, received):
        json_hook = world.fake.add_hook(f"{url}/feature-delivery/webhooks/shop", "s3cret", EVENTS)
        world.fake.add_hook(f"{url}/form", "other", ["push"], form=True)
        world.fake.repository.push(FEATURE, by="bob")
        request = world.opened()
        world.fake.review(request.number, "carol", "APPROVED")
        world.host().close_request(request.number, state=RequestState.CLOSED)
        world.fake.sender.settle()
        told = [(one["headers"]["X-GitHub-Event"], payload(one).get("action")) for one in received]
        assert [one for one in told if one[0] != "push"] == [
            ("pull_request", "opened"),
            ("pull_request_review", "submitted"),
            ("pull_request", "closed"),
        ]
        (push, form) = [one for one in received if one["headers"]["X-GitHub-Event"] == "push"]
        assert payload(push) == payload(form)
        assert (payload(push)["ref"], payload(push)["pusher"]["name"]) == (f"refs/heads/{FEATURE}", "bob")
        for one, secret in ((push, b"s3cret"), (form, b"other")):
            digest = hmac.new(secret, one["body"], hashlib.sha256).hexdigest()
            assert one["headers"]["X-Hub-Signature-256"] == f"sha256={digest}"
        assert findings(world)["webhook"].sentence == "It is active, and its last delivery arrived."
        received.clear()
        json_hook.url = f"{url}/feature-delivery/webhooks/refused"
        world.fake.repository.push(FEATURE, by="bob")
        world.fake.sender.settle()
    assert "The last delivery (push) was answered 401" in findings(world)["webhook"].sentence


def test_what_the_fake_sends_is_read_as_githubs_own(world: GitHubWorld) -> None:
    world.fake.add_hook("http://127.0.0.1:9/", "s3cret")
    world.fake.add_hook("http://127.0.0.1:9/form", "s3cret", form=True)
    world.fake.repository.push(FEATURE, by="bob")
    request = world.opened()
    world.fake.review(request.number, "carol", "APPROVED")
    world.fake.write(request.number, "dave", "/approve")
    world.host().comment(request.number, "Ours.", marker="m")
    world.fake.open_issue("mia", "Gift cards")
    world.fake.repository.delete(FEATURE, by="bob")
    world.fake.sender.settle()
    dialect, found = GitHub(), []
    for sent in world.fake.sender.deliveries:
        headers = {name.lower(): value for name, value in sent.headers.items()}
        assert dialect.speaks(headers)
        assert dialect.authentic(headers, sent.body, [b"old", b"s3cret"], at=datetime.now(UTC))
        assert not dialect.authentic(headers, sent.body + b" ", [b"s3cret"], at=datetime.now(UTC))
        given = payload({"headers": sent.headers, "body": sent.body})
        hint = dialect.hint(dialect.event(headers, given), given)
        found.append((sent.event, hint.branch, hint.request, hint.issue, hint.person, bool(hint.ignored)))
    assert found[::2] == found[1::2], "as a form and as JSON it means the same"
    assert found[::2] == [
        ("push", FEATURE, None, "", "bob", False),
        ("pull_request", FEATURE, 1, "", "shop-bot", False),
        ("pull_request_review", FEATURE, 1, "", "carol", False),
        ("issue_comment", None, 1, "", "dave", False),
        ("issue_comment", None, None, "", "", True),
        ("issues", None, None, "2", "mia", False),
        ("delete", FEATURE, None, "", "bob", False),
        ("push", FEATURE, None, "", "bob", False),
        ("pull_request", FEATURE, 1, "", "bob", False),
    ]


def payload(one: dict[str, Any]) -> dict[str, Any]:
    body = one["body"].decode()
    if one["headers"]["Content-Type"] != "application/json":
        body = parse_qs(body)["payload"][0]
    found: dict[str, Any] = json.loads(body)
    return found
