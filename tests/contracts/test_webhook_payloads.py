"""Recorded payloads of real hosts: each is understood as what it is, or is not for us, with the reason."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from feature_delivery.bootstrap import dialects
from feature_delivery.domain.hints import Hint
from tests.support.webhooks import SENDERS, Recorded, recorded

SECRET = b"a secret"

# Per payload: where it says to look; "-" stands for a tag. Every other one is of an event that is not for us.
EXPECTED = {
    "github/go-playground": """
        create -, delete -, push >master
        issue-comment #2, issues #2, pull-request-issue-comment !3
        pull-request !1 changes, pull-request-review !8, pull-request-review-comment !1 changes
    """,
    "github/go-scm": """
        branch_create feature-branch, branch_delete feature-branch, tag_create -, tag_delete -
        push >master, push_branch_create >feature-branch, push_branch_delete feature-branch
        push_tag -, push_tag_delete -
        comment !2, pr_closed !1 master, pr_edited !1 master, pr_opened !1 master, pr_reopened !1 master
        pr_sync !1 master, pr_ready_for_review !38 rathodmeetsatish-patch-25
        pr_review_edited !206 ut, pr_review_submitted !205 shivamnegi94-patch-66
    """,
    "gitea/go-playground": """
        create-event master, delete-event example3, push-event >master
        issue-assign-event #1, issue-comment-event #1, issue-label-event #1, issues-event #1
        pull-request-comment-event !2, pull-request-event !2, pull-request-review-event !2
    """,
    "gitea/go-scm": """
        branch_create feature, branch_delete feature, tag_create -, tag_delete -, push >master
        issue_comment_created #1, issue_comment_deleted #1, issue_comment_edited #1
        issues_closed #1, issues_opened #1
        pull_request_closed !1 feature, pull_request_edited !1 feature, pull_request_merged !1 feature
        pull_request_opened !1 feature, pull_request_reopened !1 feature, pull_request_synchronized !1 feature
        pull_request_comment_created !2, pull_request_comment_deleted !2, pull_request_comment_edited !2
    """,
    "gitlab/go-playground": """
        push-event >master, system-push-event >master, tag-event -, system-tag-event -
        comment-issue-event #17, confidential-comment-event #17, confidential-issue-event #23, issue-event #23
        comment-merge-request-event !1 master
        merge-request-event !1 ms-viewport, system-merge-request-event !1 ms-viewport
    """,
    "gitlab/go-scm": """
        branch_create >feature, branch_delete feature, branch_delete_subgroup feature
        push >master, push_merge >master, push_subgroup >master
        tag_create -, tag_delete -, tag_delete_subgroup -
        issue_closed #1, issue_comment_create #1, issue_create #1, issue_edited #1, issue_labeled #1, issue_reopen #1
        merge_request_comment_create !1 feature, merge_request_comment_subgroup !1 feature
        merge_request_subgroup !1 feature, review_comment_create !1 feature
        pull_request_close !1 feature, pull_request_create !1 feature, pull_request_merge !1 feature
        pull_request_reopen !1 feature, pull_request_review_ready !3 main1234
    """,
}


def expected() -> dict[str, str]:
    found = {}
    for folder, lines in EXPECTED.items():
        for entry in lines.replace("\n", ",").split(","):
            name, _, meaning = entry.strip().partition(" ")
            if name:
                found[f"{folder}/{name}"] = meaning
    return found


def short(hint: Hint) -> str:
    """``>branch`` for a push, ``branch`` for a creation or deletion, ``!7 branch`` for a request, ``#42``."""
    if hint.ignored:
        return "-" if hint.ignored == "a tag" else ""
    number = f"!{hint.request} " if hint.request else ""
    return f"{number}{'>' * hint.pushed}{hint.branch or ''}".strip() + (f"#{hint.issue}" if hint.issue else "")


def understood(one: Recorded) -> Hint:
    sent = SENDERS[one.host](one.event, one.body, SECRET)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    dialect = dialects.dialect_of(headers)
    assert dialect
    assert dialect.name == one.host
    return dialects.read(dialect, headers, sent.body).hint


def test_every_recorded_payload_means_what_it_is() -> None:
    found = {one.name: understood(one) for one in recorded("github", "gitlab", "gitea")}
    assert len(found) > 150
    wanted = expected()
    assert wanted.keys() <= found.keys()
    assert {name: short(hint) for name, hint in found.items() if short(hint)} == wanted
    others = {name: hint.ignored for name, hint in found.items() if not short(hint)}
    assert all(reason.startswith("the event ") for reason in others.values()), others


def test_a_request_from_a_fork_names_no_branch_of_ours() -> None:
    found = {one.name: understood(one) for one in recorded("github", "gitea")}
    for name in ("github/go-playground/pull-request-review", "gitea/go-playground/pull-request-event"):
        assert found[name].request
        assert found[name].branch is None


# Actions of GitHub that change nothing we look at.
IDLE = {
    *("assigned", "unassigned", "labeled", "unlabeled", "locked", "unlocked"),
    *("review_requested", "review_request_removed"),
}
IDLE_ISSUE = {"milestoned", "demilestoned", "locked", "unlocked", "pinned", "unpinned"}


def meaning(event: str, payload: Any) -> Hint | str:
    """What an example means: the whole hint where it is known from its fields, else the beginning of the reason."""
    action, person = payload.get("action", ""), (payload.get("sender") or {}).get("login", "")
    if event == "push":
        tag = payload["ref"].startswith("refs/tags/")
        branch = payload["ref"].removeprefix("refs/heads/")
        return "a tag" if tag else Hint(branch=branch, person=person, pushed=not payload["deleted"])
    if event in {"create", "delete"}:
        return "a tag" if payload["ref_type"] == "tag" else Hint(branch=payload["ref"], person=person)
    if event in {"pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_review_thread"}:
        if event == "pull_request" and action in IDLE:
            return f"the event 'pull_request {action}'"
        request = payload["pull_request"]
        own = request["head"]["repo"] and request["head"]["repo"]["id"] == request["base"]["repo"]["id"]
        return Hint(request=request["number"], branch=request["head"]["ref"] if own else None, person=person)
    if event == "issue_comment" or (event == "issues" and action not in IDLE_ISSUE):
        number = payload["issue"]["number"]
        asks = "pull_request" in payload["issue"]
        return Hint(request=number, person=person) if asks else Hint(issue=str(number), person=person)
    return "the event "


def test_every_example_of_githubs_own_sdk_means_what_it_is(octokit_examples: list[Recorded]) -> None:
    assert Counter(one.name.split("/")[0] for one in octokit_examples)["api.github.com"] == 329
    kinds: Counter[str] = Counter()
    for one in octokit_examples:
        found, wanted = understood(one), meaning(one.event, json.loads(one.body))
        if isinstance(wanted, str):
            assert found.ignored.startswith(wanted), one.name
        else:
            assert found == wanted, one.name
        kinds[short(found)[:1] or "not for us"] += 1
    assert kinds["!"] > 40
    assert kinds["#"] > 30
    assert kinds[">"] >= 2
    assert kinds["-"] > 10
    assert kinds["not for us"] > 200


@pytest.mark.parametrize("host", ["bitbucket", "bitbucket-server"])
def test_nobody_here_reads_bitbucket(host: str) -> None:
    assert len(recorded(host)) > 10
    assert dialects.named(host) is None
