"""What hosts send, host by host: whose it is, whether it is genuine, which delivery it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from feature_delivery.bootstrap.dialects import DIALECTS, dialect_of
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
    lower,
    own,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, NEW, WRONG = b"the old secret", b"the new secret", b"another secret"
FEATURE = BranchName("feature/SHOP-1-cards")
PUSH = {"ref": f"refs/heads/{FEATURE}", "after": "a" * 40, "sender": {"login": "dora"}}


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
