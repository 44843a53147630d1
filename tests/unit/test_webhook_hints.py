"""What hosts say, host by host: where to look, or why there is nothing to look at; and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_delivery.bootstrap import dialects
from feature_delivery.bootstrap.dialects import DIALECTS, dialect_of, named, read, without_secrets
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName
from tests.support.webhooks import (
    gitea,
    github,
    jira,
    lower,
)

OLD = b"the old secret"
FEATURE = BranchName("feature/SHOP-1-cards")
PUSH = {"ref": f"refs/heads/{FEATURE}", "after": "a" * 40, "sender": {"login": "dora"}}


def hint(host: str, event: str, payload: Any) -> Hint:
    found = named(host)
    assert found
    return found.hint(event, payload)


def pull(number: int = 7, **more: Any) -> dict[str, Any]:
    repository = {"full_name": "shop/cart"}
    request = {
        "number": number,
        "head": {"ref": FEATURE, "repo": more.pop("fork", repository)},
        "base": {"ref": "preprod", "repo": repository},
    }
    return {"number": number, "pull_request": request, "sender": {"login": "rita", "type": "User"}, **more}


def issue(**more: Any) -> dict[str, Any]:
    return {"issue": {"number": 42, **more.pop("issue", {})}, "sender": {"login": "dora", "type": "User"}, **more}


REQUEST = Hint(request=7, branch=FEATURE, person="rita")
GITHUB: Sequence[tuple[str, Any, Hint]] = [
    ("push", PUSH, Hint(branch=FEATURE, person="dora", pushed=True)),
    ("push", {**PUSH, "after": "0" * 40}, Hint(branch=FEATURE, person="dora")),
    ("push", {**PUSH, "sender": None, "pusher": {"name": "dora"}}, Hint(branch=FEATURE, person="dora", pushed=True)),
    ("push", {**PUSH, "ref": "refs/tags/v1"}, Hint(ignored="a tag")),
    ("push", {**PUSH, "ref": "refs/notes/x"}, Hint(ignored="neither a branch nor a tag")),
    ("push", {**PUSH, "ref": "refs/heads/größe"}, Hint(ignored="a branch whose name is not taken here")),
    ("push", {}, Hint(ignored="a payload without what its event promises")),
    ("create", {**PUSH, "ref": FEATURE, "ref_type": "branch"}, Hint(branch=FEATURE, person="dora")),
    ("delete", {**PUSH, "ref": FEATURE, "ref_type": "branch"}, Hint(branch=FEATURE, person="dora")),
    ("delete", {"ref": "v1", "ref_type": "tag"}, Hint(ignored="a tag")),
    ("create", {"ref": "x", "ref_type": "repository"}, Hint(ignored="neither a branch nor a tag")),
    *(
        ("pull_request", pull(action=action), REQUEST)
        for action in ("opened", "edited", "synchronize", "closed", "reopened", "converted_to_draft")
    ),
    ("pull_request", pull(action="labeled"), Hint(ignored="the event 'pull_request labeled'")),
    ("pull_request", pull(fork={"full_name": "evil/cart"}), Hint(request=7, person="rita")),
    ("pull_request", pull(fork=None), Hint(request=7, person="rita")),
    *(("pull_request_review", pull(action=action), REQUEST) for action in ("submitted", "edited", "dismissed")),
    ("pull_request_review_comment", pull(action="created", comment={"body": "/approve"}), REQUEST),
    ("pull_request_review_thread", pull(action="resolved"), REQUEST),
    ("issue_comment", issue(action="created", comment={"body": "Hm."}), Hint(issue="42", person="dora")),
    (
        "issue_comment",
        issue(issue={"pull_request": {"url": "u"}}, comment={"body": "/approve"}),
        Hint(request=42, person="dora"),
    ),
    (
        "issue_comment",
        issue(comment={"body": "Deployed.\n<!-- feature-delivery: x -->"}),
        Hint(ignored="our own comment"),
    ),
    ("issue_comment", issue(sender={"login": "ci[bot]"}, comment={"body": "Covered."}), Hint(ignored="a bot")),
    ("pull_request_review", pull(action="submitted", sender={"login": "ai", "type": "Bot"}), Hint(ignored="a bot")),
    *(
        ("issues", issue(action=action), Hint(issue="42", person="dora"))
        for action in ("opened", "edited", "closed", "reopened", "assigned", "labeled", "deleted", "transferred")
    ),
    ("issues", issue(action="pinned"), Hint(ignored="the event 'issues pinned'")),
    ("issues", {}, Hint(ignored="a payload without what its event promises")),
    ("ping", {"zen": "Design for failure."}, Hint(ignored="the event 'ping'")),
    ("star", {}, Hint(ignored="the event 'star'")),
    ("", {}, Hint(ignored="an event without a name")),
]


@pytest.mark.parametrize(("event", "payload", "expected"), GITHUB)
def test_what_github_says(event: str, payload: Any, expected: Hint) -> None:
    assert hint("github", event, payload) == expected


def test_what_a_bot_does_is_looked_at_though_what_it_says_is_not() -> None:
    """A bot's push is a newer commit like any other."""
    bot = {"login": "format[bot]", "type": "Bot"}
    assert hint("github", "push", {**PUSH, "sender": bot}).pushed
    assert hint("github", "pull_request_review", pull(action="dismissed", sender=bot)).request == 7
    assert hint("github", "issues", issue(action="closed", sender=bot)).issue == "42"


GITEA: Sequence[tuple[str, Any, Hint]] = [
    *(one for one in GITHUB if one[0] in {"push", "create", "delete"} and "pusher" not in one[1]),
    ("push", {**PUSH, "sender": None, "pusher": {"login": "dora"}}, Hint(branch=FEATURE, person="dora", pushed=True)),
    *(
        (event, pull(action=action), REQUEST)
        for event, action in (
            *(("pull_request", action) for action in ("opened", "edited", "closed", "reopened")),
            ("pull_request_sync", "synchronized"),
            *((f"pull_request_review_{kind}", "reviewed") for kind in ("approved", "rejected", "comment")),
            *((f"pull_request_{kind}", "reviewed") for kind in ("approved", "rejected", "comment")),
        )
    ),
    ("pull_request_label", pull(action="label_updated"), Hint(ignored="the event 'pull_request_label label_updated'")),
    ("pull_request", pull(fork={"full_name": "evil/cart"}), Hint(request=7, person="rita")),
    ("issue_comment", issue(is_pull=True, comment={"body": "/approve"}), Hint(request=42, person="dora")),
    ("issue_comment", issue(is_pull=False, comment={"body": "Hm."}), Hint(issue="42", person="dora")),
    ("pull_request_comment", issue(comment={"body": "Hm."}), Hint(request=42, person="dora")),
    ("issue_comment", pull(comment={"body": "x <!-- feature-delivery y -->"}), Hint(ignored="our own comment")),
    ("issue_comment", issue(sender={"login": "gitea-actions"}, comment={"body": "x"}), Hint(ignored="a bot")),
    *(
        (event, issue(action=action), Hint(issue="42", person="dora"))
        for event, action in (("issues", "closed"), ("issues", "reopened"), ("issue_label", "label_updated"))
    ),
    ("issue_milestone", issue(action="milestoned"), Hint(ignored="the event 'issue_milestone milestoned'")),
    ("repository", {}, Hint(ignored="the event 'repository'")),
    ("package", {}, Hint(ignored="the event 'package'")),
]


@pytest.mark.parametrize(("event", "payload", "expected"), GITEA)
def test_what_gitea_says(event: str, payload: Any, expected: Hint) -> None:
    assert hint("gitea", event, payload) == expected


def test_gitea_names_its_event_twice_and_the_finer_name_counts() -> None:
    sent = gitea("pull_request_approved", pull(action="reviewed"), OLD, kind="pull_request_review_approved")
    headers = lower(sent.headers)
    found = dialect_of(headers)
    assert found
    assert found.event(headers, {}) == "pull_request_review_approved"


def merge(**more: Any) -> dict[str, Any]:
    attributes = {"iid": 7, "source_branch": FEATURE, "source_project_id": 1, "target_project_id": 1}
    return {
        "object_kind": "merge_request",
        "user": {"username": "rita"},
        "object_attributes": {**attributes, "action": "update", **more.pop("attributes", {})},
        **more,
    }


def note(on: str, **more: Any) -> dict[str, Any]:
    return {
        "object_kind": "note",
        "user": {"username": more.pop("by", "rita")},
        "object_attributes": {"noteable_type": on, "note": "/approve", **more.pop("attributes", {})},
        "merge_request": {"iid": 7, "source_branch": FEATURE, "source_project_id": 1, "target_project_id": 1},
        "issue": {"iid": 42},
    }


LAB_PUSH = {"object_kind": "push", "user_username": "dora", "ref": f"refs/heads/{FEATURE}", "after": "a" * 40}
GITLAB: Sequence[tuple[str, Any, Hint]] = [
    ("Push Hook", LAB_PUSH, Hint(branch=FEATURE, person="dora", pushed=True)),
    ("Push Hook", {**LAB_PUSH, "after": "0" * 40}, Hint(branch=FEATURE, person="dora")),
    (
        "System Hook",
        {**LAB_PUSH, "object_kind": None, "event_name": "push"},
        Hint(branch=FEATURE, person="dora", pushed=True),
    ),
    ("Tag Push Hook", {"object_kind": "tag_push", "ref": "refs/tags/v1"}, Hint(ignored="a tag")),
    *(
        ("Merge Request Hook", merge(attributes={"action": action}), REQUEST)
        for action in ("open", "close", "reopen", "merge", "approved", "unapproved", "approval", "unapproval", "update")
    ),
    ("Merge Request Hook", merge(changes={"title": {}, "updated_at": {}}), REQUEST),
    (
        "Merge Request Hook",
        merge(changes={"labels": {}, "updated_at": {}}),
        Hint(ignored="the event 'Merge Request Hook update'"),
    ),
    ("Merge Request Hook", merge(attributes={"source_project_id": 2}), Hint(request=7, person="rita")),
    ("Merge Request Hook", merge(attributes={"iid": None}), Hint(ignored="a payload without what its event promises")),
    ("Note Hook", note("MergeRequest"), REQUEST),
    ("Note Hook", note("Issue"), Hint(issue="42", person="rita")),
    ("Note Hook", note("Commit"), Hint(ignored="the event 'Note Hook on Commit'")),
    ("Note Hook", note("MergeRequest", by="project_1_bot_2f"), Hint(ignored="a bot")),
    (
        "Note Hook",
        note("MergeRequest", attributes={"note": "Deployed <!-- feature-delivery x -->"}),
        Hint(ignored="our own comment"),
    ),
    (
        "Note Hook",
        note("MergeRequest", attributes={"system": True}),
        Hint(ignored="the event 'Note Hook by GitLab itself'"),
    ),
    *(
        ("Issue Hook", {"object_kind": kind, "object_attributes": {"iid": 42}}, Hint(issue="42"))
        for kind in ("issue", "work_item")
    ),
    ("Pipeline Hook", {"object_kind": "pipeline"}, Hint(ignored="the event 'Pipeline Hook'")),
]


@pytest.mark.parametrize(("event", "payload", "expected"), GITLAB)
def test_what_gitlab_says(event: str, payload: Any, expected: Hint) -> None:
    assert hint("gitlab", event, payload) == expected


def ticket(event: str, key: str = "SHOP-1", **more: Any) -> dict[str, Any]:
    return {"webhookEvent": event, "issue": {"id": "10002", "key": key}, "user": {"accountId": "5b10"}, **more}


JIRA: Sequence[tuple[Any, Hint]] = [
    *(
        (ticket(f"jira:issue_{what}"), Hint(issue="SHOP-1", person="5b10"))
        for what in ("created", "updated", "deleted")
    ),
    (ticket("jira:issue_updated", user={"name": "dora", "key": "JIRAUSER1"}), Hint(issue="SHOP-1", person="dora")),
    (ticket("comment_created", comment={"updateAuthor": {"accountId": "5b11"}}), Hint(issue="SHOP-1", person="5b11")),
    (ticket("comment_created", comment={"updateAuthor": {"accountType": "app"}}), Hint(ignored="a bot")),
    (ticket("jira:issue_created", key="../../x"), Hint(ignored="a payload without what its event promises")),
    (ticket("sprint_started"), Hint(ignored="the event 'sprint_started'")),
    (ticket("jira:version_released"), Hint(ignored="the event 'jira:version_released'")),
    ({}, Hint(ignored="an event without a name")),
]


@pytest.mark.parametrize(("payload", "expected"), JIRA)
def test_what_jira_says(payload: Any, expected: Hint) -> None:
    sent = jira(payload, OLD)
    headers = lower(sent.headers)
    found = dialect_of(headers)
    assert found
    assert read(found, headers, sent.body).hint == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"ref": f"refs/heads/{FEATURE}", "new": "a" * 40, "pusher": "dora"},
            Hint(branch=FEATURE, person="dora", pushed=True),
        ),
        ({"ref": f"refs/heads/{FEATURE}", "new": "0" * 40, "pusher": ""}, Hint(branch=FEATURE)),
        ({"ref": f"refs/heads/{FEATURE}"}, Hint(branch=FEATURE, pushed=True)),
        ({"ref": "refs/tags/v1"}, Hint(ignored="a tag")),
        ([], Hint(ignored="a payload without what its event promises")),
    ],
)
def test_what_a_local_repository_says(payload: Any, expected: Hint) -> None:
    assert hint("feature-delivery", "push", payload) == expected


def test_a_form_of_github_says_what_its_json_says() -> None:
    found = named("github")
    assert found
    plain, form = github("push", PUSH, OLD), github("push", PUSH, OLD, form=True)
    assert read(found, lower(form.headers), form.body).hint == read(found, lower(plain.headers), plain.body).hint
    for broken in (b"", b"payload=", b"payload=%7B", b"a=b", b"&".join(b"payload=1" for _ in range(50)), b"\xff=%ff"):
        assert read(found, lower(form.headers), broken).hint.ignored


# --- whatever is sent


NAMES = (
    *("action", "ref", "ref_type", "after", "number", "sender", "login", "type", "pusher", "name", "issue", "comment"),
    *("body", "pull_request", "head", "base", "repo", "full_name", "object_kind", "event_name", "object_attributes"),
    *("iid", "noteable_type", "note", "system", "source_branch", "changes", "user", "username", "webhookEvent"),
    *("key", "accountType", "updateAuthor", "merge_request", "is_pull", "new"),
)
WORDS = (
    *("push", "tag_push", "note", "issue", "merge_request", "MergeRequest", "branch", "tag", "refs/heads/x", "Bot"),
    *(
        "refs/heads/" + "x" * 300,
        "jira:issue_updated",
        "comment_created",
        "SHOP-1",
        "opened",
        "\ud800",
        "\x00",
        "x" * 10_000,
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8),
    max_leaves=30,
)
EVENTS = st.sampled_from(
    ["push", "create", "delete", "pull_request", "pull_request_review", "issue_comment", "issues", "Note Hook"]
) | st.text(max_size=200)


@given(st.sampled_from([one.name for one in DIALECTS]), EVENTS, VALUES)
@example("github", "push", {"ref": "refs/heads/" + "x" * 200, "after": 7, "sender": []})
@example("gitlab", "", {"object_kind": "push", "ref": "refs/heads/a", "after": True, "user": {"username": "\x1b[31m"}})
def test_no_payload_whatever_makes_a_dialect_fail(host: str, event: str, payload: Any) -> None:
    found = hint(host, event, payload)
    assert found.ignored or found.branch or found.request or found.issue
    assert len(found.ignored) <= 100
    assert len(found.person) <= 80
    assert (found.ignored + found.person + found.issue + (found.branch or "")).isprintable()
    assert found.request is None or 0 < found.request < 2**31


@given(
    st.sampled_from(DIALECTS),
    st.binary(max_size=300),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""]),
)
@example(DIALECTS[0], b"[" * 200_000, "application/json")
@example(DIALECTS[0], b'{"a":' * 100_000, "application/json")
@example(DIALECTS[0], b"1" * 10_000, "application/json")
@example(DIALECTS[3], b"payload=" + b"%5B" * 200_000, "application/x-www-form-urlencoded")
@example(DIALECTS[0], b'"\xed\xa0\x80"', "application/json")
@example(DIALECTS[4], b'{"webhookEvent": "x\\ud800"}', "application/json")
@example(DIALECTS[0], '{"ref": "refs/heads/a"}'.encode("utf-16"), "application/json")
def test_no_body_whatever_makes_the_reading_fail(dialect: Any, body: bytes, kind: str) -> None:
    found = read(dialect, {"content-type": kind, "x-github-event": "push\x00\x1b" + "x" * 500}, body)
    assert found.event.isprintable()
    assert len(found.event) <= 100
    found.hint.ignored.encode()


# --- what is kept


def test_no_secret_is_kept_and_everything_else_is() -> None:
    kept = without_secrets(
        {
            "host": "shop.example",
            "x-github-delivery": "d-1",
            "idempotency-key": "d-2",
            "webhook-id": "d-3",
            "webhook-timestamp": "1",
            "x-long": "x" * 5000,
            **dict.fromkeys(
                (
                    *("x-hub-signature", "x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature"),
                    *("x-gitlab-token", "webhook-signature", "authorization", "proxy-authorization", "cookie"),
                    *("x-feature-delivery-signature", "x-api-key", "x-amz-security-token", "x-client-secret"),
                    *("x-session-id", "private-token", "set-cookie", "x-auth-request-user", "x-gogs-signature"),
                ),
                "s3cret",
            ),
        }
    )
    assert kept.pop("x-long") == "x" * 1000
    assert {name: value for name, value in kept.items() if value != dialects.NOT_KEPT} == {
        "host": "shop.example",
        "x-github-delivery": "d-1",
        "idempotency-key": "d-2",
        "webhook-id": "d-3",
        "webhook-timestamp": "1",
    }


def test_the_secret_that_an_old_gitea_writes_into_its_payload_is_not_kept() -> None:
    found = named("gitea")
    assert found
    sent = gitea("push", {**PUSH, "secret": OLD.decode()}, OLD)
    kept = read(found, lower(sent.headers), sent.body)
    assert OLD not in kept.body
    assert json.loads(kept.body) == PUSH
    assert kept.hint.branch == FEATURE


@pytest.mark.parametrize(
    ("host", "event", "where"),
    [("github", "push", ("repository", "full_name")), ("gitea", "push", ("repository", "full_name"))],
)
def test_a_hint_says_which_repository_it_is_about(host: str, event: str, where: tuple[str, str]) -> None:
    assert hint(host, event, {**PUSH, where[0]: {where[1]: "shop/cart"}}).repository == "shop/cart"
    assert hint(host, event, {**PUSH, where[0]: {where[1]: 7}}).repository == ""


def test_gitlab_says_the_whole_path_of_the_project() -> None:
    project = {"path_with_namespace": "shop/web/cart"}
    assert (
        hint("gitlab", "Push Hook", {**PUSH, "object_kind": "push", "project": project}).repository == "shop/web/cart"
    )
