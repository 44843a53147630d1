"""Webhooks over real HTTP: who is let in, what is stored of it, what people see of it. Nothing sent makes a 5xx."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from feature_delivery.domain.records import WebhookDelivery
from feature_delivery.services.control.kept import LISTING, MARKS, PUSHERS
from feature_delivery.web import rounds, webhook_routes
from feature_delivery.web.rate_limit import RateLimit
from feature_delivery.web.transaction import session
from tests.support.web_app import SECRET, Shop, eventually
from tests.support.webhooks import (
    SENDERS,
    SIGNING_TOKEN,
    Recorded,
    Sent,
    bitbucket,
    gitea,
    github,
    gitlab,
    own,
    post,
    recorded,
)

PUSH = {"ref": "refs/heads/feature/SHOP-1-cards", "after": "a" * 40, "sender": {"login": "dora"}}
Row = WebhookDelivery


def stored() -> list[Row]:
    with session() as opened:
        rows = list(opened.scalars(select(Row).order_by(Row.id)))  # type: ignore[arg-type]
        return [row for row in rows if row.body is not None]  # bodies are read while the session is open


def count() -> int:
    with session() as opened:
        return int(opened.scalar(select(func.count()).select_from(Row)) or 0)


def secrets(shop: Shop, tmp_path: Path, *lines: bytes) -> None:
    (tmp_path / "secrets" / "webhook-shop").write_bytes(b"\n".join(lines) + b"\n")


def every_host(body: bytes, secret: bytes) -> dict[str, Sent]:
    found = {name: send("push", body, secret) for name, send in SENDERS.items()}
    return found | {
        "github, form": github("push", body, secret, form=True),
        "gitea, Forgejo": gitea("push", body, secret, forgejo=True),
        "gitlab, signed": gitlab("Push Hook", body, SIGNING_TOKEN),
    }


HOSTS = sorted(every_host(b"{}", SECRET))


# --- who is let in


def test_every_host_is_let_in_once_and_its_repeats_are_known(quiet: Shop, tmp_path: Path) -> None:
    secrets(quiet, tmp_path, SECRET, SIGNING_TOKEN)
    for host, sent in every_host(json.dumps(PUSH).encode(), SECRET).items():
        answers = [post(quiet, sent) for _ in range(3)]
        assert [(one.status_code, one.json()) for one in answers] == [
            (202, {"repeated": False}),
            (202, {"repeated": True}),
            (202, {"repeated": True}),
        ], host
    assert Counter(row.host for row in stored()) == {
        "github": 2,
        "gitea": 2,
        "gitlab": 2,
        "jira": 1,
        "feature-delivery": 1,
    }


def test_who_is_refused_learns_nothing_and_leaves_nothing(quiet: Shop, tmp_path: Path) -> None:
    secrets(quiet, tmp_path, SECRET, SIGNING_TOKEN)
    (tmp_path / "projects" / "open.yaml").write_text(
        (tmp_path / "projects" / "shop.yaml").read_text().replace("name: shop", "name: open")
    )
    body = json.dumps(PUSH).encode()
    wrong = [send("push", body, b"wrong") for send in SENDERS.values()]
    unsigned = [
        Sent({k: v for k, v in one.headers.items() if "ignature" not in k and "Token" not in k}, one.body)
        for one in wrong
    ]
    nobody = [Sent({}, body), Sent({"Content-Type": "text/plain"}, body), bitbucket("repo:push", body, SECRET)]
    answers = [post(quiet, sent) for sent in (*wrong, *unsigned, *nobody)]
    right = list(every_host(body, SECRET).values())
    strangers = ("nope", "open", "unknown", "Shop", "shop%00", "x" * 500, "%F0%9F%9B%92")
    answers += [post(quiet, sent, project=project) for sent in right for project in strangers]
    assert {(one.status_code, one.text) for one in answers} == {(401, answers[0].text)}
    assert (
        len({tuple(sorted((name, text) for name, text in one.headers.items() if name != "date")) for one in answers})
        == 1
    )
    assert count() == 0


@pytest.mark.parametrize("host", HOSTS)
def test_a_project_without_a_secret_lets_nobody_in(quiet: Shop, tmp_path: Path, host: str) -> None:
    for content in (b"", b"\n", b"  \n\n"):
        secrets(quiet, tmp_path, content)
        for secret in (b"", b" ", SECRET):
            sent = every_host(b"{}", secret)[host]
            assert post(quiet, Sent({k: v for k, v in sent.headers.items() if v.strip()}, sent.body)).status_code == 401


def test_secrets_are_changed_without_losing_anything(
    quiet: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(secret: bytes) -> bool:
        return post(quiet, github("push", PUSH, secret)).status_code == 202

    assert [taken(SECRET), taken(b"new")] == [True, False]
    secrets(quiet, tmp_path, b"  new\r", SECRET)
    assert [taken(SECRET), taken(b"new")] == [True, True]
    secrets(quiet, tmp_path, b"new")
    assert [taken(SECRET), taken(b"new")] == [False, True]
    monkeypatch.setenv("FEATURE_DELIVERY_WEBHOOK_SECRET_SHOP", f"first  \t second\n{SECRET.decode()}")
    assert [taken(b"first"), taken(b"second"), taken(SECRET), taken(b"new")] == [True, True, True, False]


def test_an_old_signature_of_gitlab_is_no_good_any_more(quiet: Shop, tmp_path: Path) -> None:
    secrets(quiet, tmp_path, SIGNING_TOKEN)
    assert post(quiet, gitlab("Push Hook", PUSH, SIGNING_TOKEN, at=0)).status_code == 401
    assert post(quiet, gitlab("Push Hook", PUSH, SIGNING_TOKEN)).status_code == 202


def test_what_is_too_large_is_refused_to_its_sender_however_large(quiet: Shop) -> None:
    limit = webhook_routes.BODY_LIMIT
    assert post(quiet, github("push", b" " * limit, SECRET)).status_code == 202
    for size in (limit + 1, 25 * 1024 * 1024):
        answer = post(quiet, github("push", b" " * size, SECRET))
        assert (answer.status_code, answer.json()["error"]) == (413, "Invalid")
        assert "5 MiB" in answer.json()["message"]
    assert count() == 1


def test_a_body_without_an_announced_length_is_measured_too(quiet: Shop) -> None:
    def chunks(number: int) -> Iterator[bytes]:
        yield from (b" " * 1024 * 1024 for _ in range(number))

    headers = github("push", b" " * 6 * 1024 * 1024, SECRET).headers
    assert quiet.nobody.post("/webhooks/shop", content=chunks(6), headers=headers).status_code == 413
    headers = github("push", b" " * 4 * 1024 * 1024, SECRET).headers
    assert quiet.nobody.post("/webhooks/shop", content=chunks(4), headers=headers).status_code == 202


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(quiet: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rest comes once the server has given it up, and not before."""
    monkeypatch.setattr(webhook_routes, "READ_SECONDS", 0.1)
    read, over = webhook_routes._read, threading.Event()

    async def noted(request: Request) -> bytes | None:
        try:
            return await read(request)
        finally:
            over.set()

    monkeypatch.setattr(webhook_routes, "_read", noted)

    def drop_by_drop() -> Iterator[bytes]:
        yield b"{"
        over.wait(20)
        yield b"}"

    sent = github("push", b"{}", SECRET)
    answer = quiet.nobody.post("/webhooks/shop", content=drop_by_drop(), headers=sent.headers)
    assert answer.status_code == 408
    assert count() == 0


@pytest.mark.parametrize(
    ("host", "kind", "code"),
    [
        ("github", "application/json", 202),
        ("github", "application/json; charset=utf-8", 202),
        ("github", "APPLICATION/JSON", 202),
        ("github", "application/x-www-form-urlencoded", 202),
        ("github", "text/plain", 415),
        ("github", "multipart/form-data; boundary=x", 415),
        ("github", "application/xml", 415),
        ("gitlab", "application/x-www-form-urlencoded", 415),
        ("gitea", "application/x-www-form-urlencoded", 415),
        ("jira", "text/html", 415),
        ("feature-delivery", "application/x-www-form-urlencoded", 415),
    ],
)
def test_only_the_types_that_a_host_sends_are_read(quiet: Shop, host: str, kind: str, code: int) -> None:
    sent = SENDERS[host]("push", json.dumps(PUSH).encode(), SECRET)
    answer = post(quiet, Sent({**sent.headers, "Content-Type": kind}, sent.body))
    assert answer.status_code == code
    assert count() == (code == 202)
    wrong = SENDERS[host]("push", b"{}", b"wrong")
    assert post(quiet, Sent({**wrong.headers, "Content-Type": kind}, wrong.body)).status_code == 401


def test_a_project_that_sends_too_much_is_told_when_to_come_again(quiet: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]
    monkeypatch.setattr(webhook_routes, "limit", RateLimit(clock=lambda: time[0]))
    monkeypatch.setenv("FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE", "3")
    for _ in range(10):  # who is not let in uses nothing up
        assert post(quiet, github("push", PUSH, b"wrong")).status_code == 401
    codes = [post(quiet, github("push", PUSH, SECRET)).status_code for _ in range(5)]
    assert codes == [202, 202, 202, 429, 429]
    answer = post(quiet, github("push", PUSH, SECRET))
    assert answer.json()["error"] == "RateLimited"
    assert answer.headers["Retry-After"] == "21"
    time[0] = 21
    codes = [post(quiet, github("push", PUSH, SECRET)).status_code for _ in range(2)]
    assert codes == [202, 429]
    assert count() == 4


def test_a_setting_that_is_none_is_said_to_who_may_know(quiet: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("many", "0", "-1"):
        monkeypatch.setenv("FEATURE_DELIVERY_WEBHOOKS_PER_MINUTE", wrong)
        answer = post(quiet, github("push", PUSH, SECRET))
        assert (answer.status_code, answer.json()["error"]) == (422, "Misconfigured")
        assert post(quiet, github("push", PUSH, b"wrong")).status_code == 401


# --- what is stored, what is said


def test_a_webhook_is_stored_with_what_it_means_and_without_secrets(
    quiet: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = gitea("push", {**PUSH, "secret": SECRET.decode()}, SECRET, delivery="d-1")
    sent.headers.update({"Cookie": "session=s3cret", "Authorization": "Basic s3cret", "X-Api-Key": "s3cret"})
    assert post(quiet, sent).status_code == 202
    (row,) = stored()
    assert (row.project, row.host, row.event, row.delivery_id) == ("shop", "gitea", "push", "d-1")
    assert json.loads(row.body) == PUSH
    assert row.hint == {
        "repository": "",
        "branch": "feature/SHOP-1-cards",
        "request": None,
        "issue": "",
        "person": "dora",
        "pushed": True,
    }
    everything = json.dumps([row.headers, row.hint, row.body.decode()])
    signatures = [value for name, value in sent.headers.items() if "Signature" in name]
    assert len(signatures) == 4
    assert row.headers["x-gitea-event"] == "push"
    for secret in (SECRET.decode(), "s3cret", *signatures):
        assert secret not in everything
        assert secret not in caplog.text
    said = [one.getMessage() for one in caplog.records if one.name == webhook_routes.__name__]
    assert said == ["Webhook of shop from gitea: push, delivery d-1"]
    assert "SHOP-1" not in caplog.text


def test_what_is_not_for_us_is_accepted_and_never_looked_into(shop: Shop) -> None:
    for event, payload in (
        ("ping", {}),
        ("push", {**PUSH, "ref": "refs/tags/v1"}),
        ("push", b"\x00\xff not JSON"),
        ("star", {"action": "created"}),
    ):
        assert post(shop, github(event, payload, SECRET)).json() == {"repeated": False}
    assert [(row.ignored, row.processed_at is not None, row.tries) for row in stored()] == [
        ("the event 'ping'", True, 0),
        ("a tag", True, 0),
        ("a body that is no JSON", True, 0),
        ("the event 'star'", True, 0),
    ]


def test_nobody_writes_over_what_reconciliation_keeps_for_itself(shop: Shop) -> None:
    """Its listing of branches has a delivery id of its own, in the same table."""
    assert post(shop, own(PUSH, SECRET, delivery=LISTING)).json() == {"repeated": False}
    assert post(shop, own(PUSH, SECRET, delivery=LISTING)).json() == {"repeated": True}
    assert post(shop, github("push", PUSH, SECRET, delivery=LISTING)).json() == {"repeated": False}
    eventually(lambda: all(row.processed_at for row in stored()))
    assert rounds.reconcile_all() == []
    kept = sorted(row.delivery_id for row in stored())
    assert kept == [f"feature-delivery:{LISTING}", f"github:{LISTING}", LISTING, MARKS, PUSHERS]


# --- whatever is sent


def send_all(shop: Shop, all_sent: list[Sent]) -> Counter[int]:
    with ThreadPoolExecutor(4) as pool:
        return Counter(answer.status_code for answer in pool.map(lambda sent: post(shop, sent), all_sent))


def test_every_recorded_payload_is_accepted_and_bitbuckets_are_not(quiet: Shop) -> None:
    ours = recorded("github", "gitlab", "gitea")
    assert send_all(quiet, [SENDERS[one.host](one.event, one.body, SECRET) for one in ours]) == {202: len(ours)}
    assert count() == len(ours)
    others = recorded("bitbucket", "bitbucket-server")
    assert send_all(quiet, [bitbucket("repo:push", one.body, SECRET) for one in others]) == {401: len(others)}
    rounds.process_webhooks()
    assert {row.processed_at is not None for row in stored()} == {True}


def test_every_example_of_githubs_own_sdk_is_accepted(quiet: Shop, octokit_examples: list[Recorded]) -> None:
    examples = [one for one in octokit_examples if one.name.startswith("api.github.com/")]
    sent = [github(one.event, one.body, SECRET, form=place % 10 == 0) for place, one in enumerate(examples)]
    assert send_all(quiet, sent) == {202: 329}
    while rounds.process_webhooks() == 0.0:
        pass
    assert {row.processed_at is not None for row in stored()} == {True}


SEEDS: list[tuple[str, str, dict[str, Any]]] = [
    ("github", "push", PUSH),
    ("github", "pull_request", {"number": 1, "pull_request": {"number": 1, "head": {"ref": "x"}, "base": {}}}),
    ("github", "issue_comment", {"issue": {"number": 1, "pull_request": {}}, "comment": {"body": "/approve"}}),
    ("gitea", "pull_request_approved", {"action": "reviewed", "pull_request": {"number": 1}, "review": {"type": "x"}}),
    ("gitea", "issues", {"action": "closed", "issue": {"number": 1}}),
    ("gitlab", "Merge Request Hook", {"object_kind": "merge_request", "object_attributes": {"iid": 1, "action": "x"}}),
    (
        "gitlab",
        "Note Hook",
        {"object_kind": "note", "object_attributes": {"noteable_type": "Issue"}, "issue": {"iid": 1}},
    ),
    ("jira", "", {"webhookEvent": "jira:issue_updated", "issue": {"key": "SHOP-1"}, "user": {"name": "dora"}}),
    ("feature-delivery", "push", {"ref": "refs/heads/x", "new": "0" * 40, "pusher": "dora"}),
]
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 2**63, 10**400, 1.5, "", "x" * 100_000, "\x00", "\ud800", "💳\u202e", [], {}, [[]], {"": {}}]
)


def mutated(draw: Callable[..., Any], value: Any) -> Any:
    """Leave fields out, put odd values in their place, nest them deeper."""
    match draw(st.integers(0, 9)):
        case 0:
            return draw(ODD)
        case 1:
            return [value] * draw(st.integers(0, 3))
    if isinstance(value, dict):
        kept = [name for name in value if draw(st.integers(0, 7))]
        return {name: mutated(draw, value[name]) for name in kept}
    return value


@st.composite
def webhooks(draw: Callable[..., Any]) -> Sent:
    host, event, payload = draw(st.sampled_from(SEEDS))
    body = json.dumps(mutated(draw, payload)).encode()
    match draw(st.integers(0, 9)):
        case 0:
            body = body[: draw(st.integers(0, len(body)))]
        case 1:
            body = draw(st.binary(max_size=200))
        case 2:
            body = b"[" * 100_000 + body
    event = draw(st.sampled_from([event, "", "x" * 5000, "push;x", "💳".encode().decode("latin-1")]))
    sent = SENDERS[host](event, body, SECRET)
    headers = {name: value for name, value in sent.headers.items() if draw(st.integers(0, 15))}
    return Sent({name: value.encode("latin-1") for name, value in headers.items()}, body)  # type: ignore[misc]


def test_whatever_is_sent_is_accepted_or_refused_and_never_a_fault_of_ours(
    quiet: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    codes: Counter[int] = Counter()

    @settings(
        max_examples=250,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    @given(webhooks())
    def send(sent: Sent) -> None:
        codes[post(quiet, sent).status_code] += 1
        assert codes.keys() <= {202, 400, 401, 415, 422}

    send()
    assert codes[202] > 50
    while rounds.process_webhooks() == 0.0:
        pass
    assert {row.processed_at is not None for row in stored()} == {True}
    assert "Traceback" not in caplog.text
