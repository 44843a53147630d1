"""What hosts send, host by host: whose it is, whether it is genuine, which delivery, and where it says to look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_delivery.bootstrap import dialects
from feature_delivery.bootstrap.dialects import DIALECTS, dialect_of, named, read, without_secrets
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName
from tests.support.webhooks import (
    SENDERS,
    SIGNING_TOKEN,
    Sent,
    bitbucket,
    gitea,
    github,
    gitlab,
    jira,
    own,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW, WRONG = b"the old secret", b"the new secret", b"another secret"
FEATURE = BranchName("feature/SHOP-1-cards")
PUSH = {"ref": f"refs/heads/{FEATURE}", "after": "a" * 40, "sender": {"login": "dora"}}


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def genuine(sent: Sent, *secrets: bytes, at: datetime = NOON) -> bool:
    headers = lower(sent.headers)
    dialect = dialect_of(headers)
    return dialect is not None and dialect.authentic(headers, sent.body, secrets, at=at)


def without(sent: Sent, *names: str) -> Sent:
    dropped = {name.lower() for name in names}
    return Sent({name: value for name, value in sent.headers.items() if name.lower() not in dropped}, sent.body)


def changed(sent: Sent, **headers: str) -> Sent:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent({**without(sent, *given).headers, **given}, sent.body)


def every_host() -> dict[str, Sent]:
    body = json.dumps(PUSH).encode()
    found = {name: send("push", body, OLD) for name, send in SENDERS.items()}
    return found | {
        "gitea, Forgejo": gitea("push", body, OLD, forgejo=True),
        "github, form": github("push", body, OLD, form=True),
        "gitlab, signed": gitlab("Push Hook", body, SIGNING_TOKEN, at=NOON.timestamp()),
    }


HOSTS = sorted(every_host())


def secret_of(host: str) -> bytes:
    return SIGNING_TOKEN if "signed" in host else OLD


# --- whose it is


@pytest.mark.parametrize("host", HOSTS)
def test_exactly_one_dialect_speaks_for_each_host(host: str) -> None:
    headers = lower(every_host()[host].headers)
    assert [one.name for one in DIALECTS if one.speaks(headers)] == [host.partition(",")[0]]


def test_gitea_is_not_taken_for_github_whose_headers_it_sends_too() -> None:
    for forgejo in (False, True):
        headers = lower(gitea("push", PUSH, OLD, forgejo=forgejo).headers)
        assert {"x-github-event", "x-hub-signature-256"} <= headers.keys()
        found = dialect_of(headers)
        assert found
        assert found.name == "gitea"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        lower(bitbucket("repo:push", {}, OLD).headers),
        {"x-event-key": "pr:opened", "x-hub-signature": "sha256=00", "user-agent": "Atlassian HttpClient 1.0"},
    ],
)
def test_nobody_speaks_for_a_host_that_is_not_known(headers: dict[str, str]) -> None:
    assert dialect_of(headers) is None


# --- whether it is genuine


def test_githubs_published_example_is_genuine() -> None:
    """The secret, body and signature of GitHub's documentation on validating deliveries."""
    headers = {
        "x-github-event": "push",
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    }
    assert genuine(Sent(headers, b"Hello, World!"), b"It's a Secret to Everybody")
    assert not genuine(Sent(headers, b"Hello, World?"), b"It's a Secret to Everybody")


def test_jiras_published_example_is_genuine() -> None:
    """The secret, body and signature of Atlassian's documentation on admin webhooks."""
    signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    sent = Sent({"x-atlassian-webhook-identifier": "1", "x-hub-signature": signature}, b"Hello World!")
    assert genuine(sent, b"It's a Secret to Everybody")
    assert not genuine(sent, b"It's a Secret to nobody")


def test_giteas_signature_is_the_bare_hmac_of_rfc_4231() -> None:
    """Test case 2 of the RFC."""
    signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    for family in ("gitea", "forgejo", "gogs"):
        headers = {f"x-{family}-event": "push", f"x-{family}-signature": signature}
        assert genuine(Sent(headers, b"what do ya want for nothing?"), b"Jefe")
        assert not genuine(Sent(headers, b"what do ya want for nothing!"), b"Jefe")


def test_gitlabs_signature_is_that_of_the_standard_webhooks_example() -> None:
    sent = Sent(
        {
            "x-gitlab-event": "Push Hook",
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
    )
    at = datetime.fromtimestamp(1614265330, UTC)
    key = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert genuine(sent, key, at=at)
    several = "v1,aaaa v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= " + sent.headers["webhook-signature"]
    assert genuine(changed(sent, webhook_signature=several), key, at=at)
    for wrong in ("", "v1,", "v1", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,aaaa"):
        assert not genuine(changed(sent, webhook_signature=wrong), key, at=at)


@pytest.mark.parametrize("host", HOSTS)
def test_each_of_several_secrets_is_valid_while_they_are_changed(host: str) -> None:
    sent, secret = every_host()[host], secret_of(host)
    assert genuine(sent, secret)
    assert genuine(sent, secret, NEW)
    assert genuine(sent, NEW, WRONG, secret)
    assert not genuine(sent, NEW, WRONG)
    assert not genuine(sent)
    assert not genuine(sent, b"")


@pytest.mark.parametrize("host", HOSTS)
def test_a_changed_body_or_a_signature_that_is_none_is_refused(host: str) -> None:
    sent, secret = every_host()[host], secret_of(host)
    if host != "gitlab":  # its token says nothing about the body
        assert not genuine(Sent(sent.headers, sent.body + b" "), secret)
    proof = ("signature", "token")
    for name in [name for name in sent.headers if any(word in name.lower() for word in proof)]:
        shown = sent.headers[name]
        for wrong in ("", "sha256=", "0", shown[:-1], f"{shown}0", shown.upper(), "é" * 64, "x" * 5000):
            others = [other for other in sent.headers if other != name and any(w in other.lower() for w in proof)]
            assert not genuine(without(changed(sent, **{name.replace("-", "_"): wrong}), *others), secret)


def test_githubs_older_signature_alone_does_not_count() -> None:
    assert not genuine(without(github("push", PUSH, OLD), "X-Hub-Signature-256"), OLD)


def test_a_good_signature_of_gitea_does_not_save_a_bad_one_of_forgejo() -> None:
    sent = gitea("push", PUSH, OLD, forgejo=True)
    assert not genuine(changed(sent, X_Forgejo_Signature="0" * 64), OLD)


@pytest.mark.parametrize("seconds", [-301, -300, -1, 0, 1, 300, 301, 86400])
def test_a_signed_time_counts_for_five_minutes_only(seconds: int) -> None:
    sent = gitlab("Push Hook", PUSH, SIGNING_TOKEN, at=NOON.timestamp())
    assert genuine(sent, SIGNING_TOKEN, at=NOON + timedelta(seconds=seconds)) is (abs(seconds) <= 300)


@pytest.mark.parametrize("stamp", ["", "now", "-1", "1e9", "9" * 11, "9" * 400, "\uff11\uff17", "1772366400.5"])
def test_a_time_that_is_none_is_refused_and_a_changed_one_breaks_the_signature(stamp: str) -> None:
    sent = gitlab("Push Hook", PUSH, SIGNING_TOKEN, at=NOON.timestamp())
    assert not genuine(changed(sent, webhook_timestamp=stamp), SIGNING_TOKEN)
    assert not genuine(changed(sent, webhook_timestamp=str(int(NOON.timestamp()) + 1)), SIGNING_TOKEN)
    assert not genuine(changed(sent, webhook_id="another"), SIGNING_TOKEN)


def test_a_signing_token_is_never_taken_as_the_plain_token() -> None:
    """Who overhears nothing but the setting's shape must not get in with it in clear."""
    sent = gitlab("Push Hook", PUSH, OLD)
    assert not genuine(changed(sent, X_Gitlab_Token=SIGNING_TOKEN.decode()), SIGNING_TOKEN)


def test_a_hook_of_gitlab_changes_over_to_signing_without_losing_anything() -> None:
    plain, signed = gitlab("Push Hook", PUSH, OLD), gitlab("Push Hook", PUSH, SIGNING_TOKEN, at=NOON.timestamp())
    both = changed(signed, X_Gitlab_Token=OLD.decode())
    assert genuine(plain, OLD, SIGNING_TOKEN), "we have the new one before GitLab has"
    assert genuine(both, OLD), "GitLab has the new one before we have"
    assert genuine(both, OLD, SIGNING_TOKEN)
    assert genuine(both, SIGNING_TOKEN)
    forged = changed(both, webhook_signature="v1,aaaa")
    assert not genuine(forged, OLD, SIGNING_TOKEN), "a token does not save a bad signature"


@pytest.mark.parametrize("token", [b"whsec_", b"whsec_not base64", b"whsec_\xff\xff"])
def test_a_signing_token_that_is_none_lets_nobody_in(token: bytes) -> None:
    sent = gitlab("Push Hook", PUSH, SIGNING_TOKEN, at=NOON.timestamp())
    assert not genuine(sent, token)
    assert genuine(sent, token, SIGNING_TOKEN)


# --- which delivery


def identity(sent: Sent) -> str:
    headers = lower(sent.headers)
    dialect = dialect_of(headers)
    assert dialect
    return dialect.delivery_id(headers, sent.body)


def test_a_delivery_has_the_id_that_its_host_gave_it() -> None:
    assert identity(github("push", PUSH, OLD, delivery="d-1")) == "d-1"
    assert identity(gitea("push", PUSH, OLD, delivery="d-2")) == "d-2"
    assert identity(gitlab("Push Hook", PUSH, OLD, delivery="d-3")) == "d-3"
    assert identity(gitlab("Push Hook", PUSH, SIGNING_TOKEN, delivery="d-4")) == "d-4"
    assert identity(jira({}, OLD, delivery="d-5")) == "d-5"
    assert identity(own(PUSH, OLD, delivery="d-6")) == "d-6"


def test_an_older_gitlab_gives_one_id_to_all_that_one_request_sets_off() -> None:
    """Three branches pushed at once are three deliveries, and a repeat of one is none."""
    pushes = [gitlab("Push Hook", {**PUSH, "ref": f"refs/heads/{n}"}, OLD) for n in range(3)]
    old = [changed(without(push, "Idempotency-Key"), X_Gitlab_Event_UUID="one") for push in pushes]
    assert len({identity(sent) for sent in old}) == 3
    assert identity(old[0]) == identity(Sent(dict(old[0].headers), old[0].body))


@pytest.mark.parametrize("shown", ["", "   ", "x" * 201, "a\tb", "\x7f"])
def test_without_a_usable_id_the_same_body_is_the_same_delivery(shown: str) -> None:
    sent = changed(github("push", PUSH, OLD), X_GitHub_Delivery=shown)
    assert identity(sent) == identity(changed(sent, X_GitHub_Delivery="")) != identity(Sent(sent.headers, b"{}"))
    assert len(identity(sent)) <= 200
    assert identity(changed(own(PUSH, OLD), X_Feature_Delivery_Delivery=shown)) == "", "ours must say it"


# --- where to look


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
