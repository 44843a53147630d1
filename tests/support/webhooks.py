"""Webhooks as hosts send them: their headers and signatures, and collections of recorded payloads."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
import pytest

from tests.support.web_app import Shop

PAYLOADS = Path(__file__).parents[2] / ".." / "shared" / "payloads"
EXAMPLES = "@octokit/webhooks-examples@7.6.1"
NPM_SECONDS = 20
SIGNING_TOKEN = b"whsec_" + base64.b64encode(b"a key of exactly 32 bytes, or so")

Headers = dict[str, str]


@dataclass(frozen=True)
class Sent:
    """One webhook, ready to be posted."""

    headers: Headers
    body: bytes


def lower(headers: Mapping[str, str]) -> Headers:
    """Headers as the server hands them on."""
    return {name.lower(): value for name, value in headers.items()}


def post(shop: Shop, sent: Sent, *, project: str = "shop") -> httpx.Response:
    """Deliver one."""
    return shop.nobody.post(f"/webhooks/{project}", content=sent.body, headers=sent.headers)


@pytest.fixture
def quiet(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop where nobody looks into what was stored until the test does."""
    monkeypatch.setattr("feature_delivery.web.webhook_routes.wake", lambda _name: None)
    return shop


def _raw(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def _hex(secret: bytes, body: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret, body, algorithm).hexdigest()


def github(event: str, body: Any, secret: bytes, *, delivery: str = "", form: bool = False) -> Sent:
    raw = urlencode({"payload": _raw(body).decode()}).encode() if form else _raw(body)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature": "sha1=" + _hex(secret, raw, "sha1"),
        "X-Hub-Signature-256": "sha256=" + _hex(secret, raw),
    }
    return Sent(headers, raw)


def gitea(event: str, body: Any, secret: bytes, *, delivery: str = "", kind: str = "", forgejo: bool = False) -> Sent:
    """Gitea sends four families of headers, Forgejo five; ``kind`` is the finer name of the event."""
    raw, delivery = _raw(body), delivery or str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature": "sha1=" + _hex(secret, raw, "sha1"),
        "X-Hub-Signature-256": "sha256=" + _hex(secret, raw),
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "X-GitHub-Event-Type": kind or event,
    }
    for family in ("Gogs", "Gitea", *(["Forgejo"] if forgejo else [])):
        headers[f"X-{family}-Delivery"] = delivery
        headers[f"X-{family}-Event"] = event
        headers[f"X-{family}-Event-Type"] = kind or event
        headers[f"X-{family}-Signature"] = _hex(secret, raw)
    return Sent(headers, raw)


def gitlab(event: str, body: Any, secret: bytes, *, delivery: str = "", at: float | None = None) -> Sent:
    """With a secret that is a signing token GitLab signs, else it shows the secret."""
    raw, delivery = _raw(body), delivery or str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.11.0",
        "X-Gitlab-Event": event,
        "X-Gitlab-Event-UUID": str(uuid.uuid4()),
        "X-Gitlab-Webhook-UUID": "6f1b1c0e-0000-4000-8000-000000000000",
        "X-Gitlab-Instance": "https://gitlab.example.com",
        "Idempotency-Key": delivery,
    }
    if not secret.startswith(b"whsec_"):
        return Sent({**headers, "X-Gitlab-Token": secret.decode()}, raw)
    stamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix(b"whsec_"))
    signed = hmac.new(key, f"{delivery}.{stamp}.".encode() + raw, hashlib.sha256).digest()
    headers |= {"webhook-id": delivery, "webhook-timestamp": stamp}
    return Sent({**headers, "webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}, raw)


def jira(body: Any, secret: bytes, *, delivery: str = "") -> Sent:
    raw = _raw(body)
    headers = {
        "Content-Type": "application/json; charset=UTF-8",
        "User-Agent": "Atlassian Webhook HTTP Client",
        "X-Atlassian-Webhook-Identifier": delivery or str(uuid.uuid4()),
        "X-Atlassian-Webhook-Flow": "Primary",
        "X-Hub-Signature": "sha256=" + _hex(secret, raw),
    }
    return Sent(headers, raw)


def own(body: Any, secret: bytes, *, delivery: str = "") -> Sent:
    raw = _raw(body)
    headers = {
        "Content-Type": "application/json",
        "X-Feature-Delivery-Event": "push",
        "X-Feature-Delivery-Delivery": delivery or str(uuid.uuid4()),
        "X-Feature-Delivery-Signature": "sha256=" + _hex(secret, raw),
    }
    return Sent(headers, raw)


def bitbucket(event: str, body: Any, secret: bytes) -> Sent:
    """A host that we do not know; its signature has Jira's header."""
    raw = _raw(body)
    signature = "sha256=" + _hex(secret, raw)
    headers = {"Content-Type": "application/json", "X-Event-Key": event, "X-Hub-Signature": signature}
    return Sent({**headers, "X-Request-UUID": str(uuid.uuid4()), "User-Agent": "Bitbucket-Webhooks/2.0"}, raw)


def _jira(event: str, body: bytes, secret: bytes, *, delivery: str = "") -> Sent:
    return jira(body, secret, delivery=delivery)


def _own(event: str, body: bytes, secret: bytes, *, delivery: str = "") -> Sent:
    return own(body, secret, delivery=delivery)


class Sender(Protocol):
    """What all of them take; where the host names no event in its headers, ``event`` goes nowhere."""

    def __call__(self, event: str, body: bytes, secret: bytes, *, delivery: str = "") -> Sent: ...


SENDERS: dict[str, Sender] = {
    "github": github,
    "gitea": gitea,
    "gitlab": gitlab,
    "jira": _jira,
    "feature-delivery": _own,
}


@dataclass(frozen=True)
class Recorded:
    """One recorded payload; ``name`` is its path without the ending."""

    name: str
    host: str
    event: str
    body: bytes


# The names of the files are not always those of the events.
_EVENTS = {
    "github": {
        "branch_create": "create",
        "branch_delete": "delete",
        "tag_create": "create",
        "tag_delete": "delete",
        "push_branch_create": "push",
        "push_branch_delete": "push",
        "push_tag": "push",
        "push_tag_delete": "push",
        "pull-request-issue-comment": "issue_comment",
        "comment": "issue_comment",
        "pipeline_hook": "workflow_run",
        "deployment_commit": "deployment",
        "repository-edited": "repository",
    },
    "gitea": {
        "branch_create": "create",
        "branch_delete": "delete",
        "tag_create": "create",
        "tag_delete": "delete",
        "pull-request-review-event": "pull_request_comment",
        "issues-event": "issues",
    },
}


def _event_of(host: str, name: str) -> str:
    if name in _EVENTS.get(host, {}):
        return _EVENTS[host][name]
    plain = name.removesuffix("-event").replace("-", "_")
    if host == "github":
        for start in ("pr_review", "pr", "release", "merge_group"):
            if plain.startswith(f"{start}_"):
                return {"pr": "pull_request", "pr_review": "pull_request_review"}.get(start, start)
        return plain
    if host == "gitea":
        starts = ("pull_request_comment", "pull_request", "issue_comment", "issues", "issue")
        found = next((start for start in starts if plain.startswith(start)), plain)
        # The coarse name, which is all that older versions send.
        return {"pull_request_comment": "issue_comment", "issue": "issues"}.get(found, found)
    return "System Hook" if name.startswith("system-") else "Some Hook"


def recorded(*hosts: str) -> list[Recorded]:
    """The recorded payloads of these hosts; skips the test where they are not there."""
    if not PAYLOADS.is_dir():
        pytest.skip(f"No recorded payloads: {PAYLOADS.name!r} is missing beside the checkout's shared folder.")
    return [
        Recorded(f"{host}/{file.parent.name}/{file.stem}", host, _event_of(host, file.stem), file.read_bytes())
        for host in hosts
        for file in sorted((PAYLOADS / host).glob("*/*.json"))
    ]


def _examples(archive: Path) -> Iterator[Recorded]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if not member.name.endswith("/index.json"):
                continue
            version = member.name.split("/")[-2]
            found = opened.extractfile(member)
            assert found is not None
            for event in json.load(found):
                for place, payload in enumerate(event["examples"]):
                    name = f"{version}/{event['name']}/{payload.get('action', '')}/{place}"
                    yield Recorded(name, "github", event["name"], json.dumps(payload).encode())


@pytest.fixture(scope="session")
def octokit_examples(tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    """GitHub's own examples for every event, as its SDK publishes them."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"No npm here to fetch {EXAMPLES} with.")
    place = tmp_path_factory.mktemp("octokit")
    command = [npm, "pack", EXAMPLES, "--silent", "--cache", str(place / "cache"), "--pack-destination", str(place)]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, timeout=NPM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not fetch {EXAMPLES} within {NPM_SECONDS} s.")
    archives = list(place.glob("*.tgz"))
    if done.returncode or not archives:
        pytest.skip(f"npm could not fetch {EXAMPLES} (exit code {done.returncode}).")
    return list(_examples(archives[0]))
