"""GitLab: the secret itself in ``X-Gitlab-Token``, or a signature over id, time and body (Standard Webhooks).

A signing token is ``whsec_`` and the base64 of its key; it is never taken as the plain token. Where a project has one
and GitLab signs, the signature decides alone; before GitLab has been told to sign, the plain token goes on counting,
so that a hook can be changed over without losing anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_delivery.adapters.webhooks import reading as r
from feature_delivery.adapters.webhooks.signatures import same_as_one
from feature_delivery.domain.hints import Hint

SIGNING = b"whsec_"
WINDOW = timedelta(minutes=5)
"""How far a signed time may be from ours; GitLab signs anew when it tries again."""

BOTS = re.compile(r"(project|group)_\d+_bot")
"""Users that GitLab makes for access tokens of projects and groups."""

IDLE = frozenset(
    {
        *("assignees", "labels", "milestone_id", "time_change", "time_estimate", "total_time_spent"),
        *("updated_at", "updated_by_id", "last_edited_at", "last_edited_by_id", "discussion_locked"),
    }
)
"""Fields of a merge request whose change alone changes nothing we look at. ``reviewers`` tell who requests changes."""


class GitLab:
    """Implements ``Dialect``."""

    name = "gitlab"
    content_types = frozenset({r.JSON})

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether it is GitLab."""
        return "x-gitlab-event" in headers or "x-gitlab-token" in headers

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:
        """Check the signature, else the token."""
        keys = list(_keys(secrets))
        tokens = (secret for secret in secrets if secret and not secret.startswith(SIGNING))
        token = same_as_one(headers.get("x-gitlab-token", "").encode(), tokens)
        right = _signed(headers, body, keys) and _fresh(headers.get("webhook-timestamp", ""), at)
        return right if keys and "webhook-signature" in headers else token

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return GitLab's id, which its retries keep.

        Older versions send only the event's UUID. All that one request to GitLab sets off has the same one, three
        branches pushed at once for example, so it needs the body's digest beside it.
        """
        if found := r.first_id(headers, "webhook-id", "idempotency-key"):
            return found
        event = r.first_id(headers, "x-gitlab-event-uuid")
        return f"{event[:100]}:{hashlib.sha256(body).hexdigest()[:16]}" if event else r.digest(body)

    def event(self, headers: Mapping[str, str], payload: Any) -> str:
        """Return the event's name; what a system hook is about is in the payload only."""
        named = headers.get("x-gitlab-event", "")
        return named if named and named != "System Hook" else _kind(payload) or named

    def hint(self, event: str, payload: Any) -> Hint:
        """Return where to look, and in which repository."""
        return r.about(self._hint(event, payload), payload, "project", "path_with_namespace")

    def _hint(self, event: str, payload: Any) -> Hint:
        """Return where to look."""
        person = r.text(payload, "user", "username") or r.text(payload, "user_username")
        match _kind(payload):
            case "push":
                return r.pushed(r.text(payload, "ref", limit=r.ID_LIMIT), after=r.text(payload, "after"), person=person)
            case "tag_push":
                return r.of_no_use(r.TAG)
            case "merge_request":
                changed = r.value(payload, "changes")
                idle = isinstance(changed, dict) and changed and changed.keys() <= IDLE
                if idle and r.text(payload, "object_attributes", "action") == "update":
                    return r.other_event(event, "update")
                return _request(r.value(payload, "object_attributes"), person=person)
            case "issue" | "work_item":
                which = r.number(payload, "object_attributes", "iid")
                return Hint(issue=str(which), person=person) if which else r.of_no_use(r.INCOMPLETE)
            case "note":
                return _note(event, payload, person=person)
        return r.other_event(event or _kind(payload))


def _keys(secrets: Sequence[bytes]) -> Iterator[bytes]:
    for secret in secrets:
        if secret.startswith(SIGNING):
            try:
                yield base64.b64decode(secret.removeprefix(SIGNING), validate=True)
            except binascii.Error:
                continue


def _signed(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes]) -> bool:
    head = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}."
    content = head.encode() + body
    wanted = [base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()) for key in keys if key]
    right = False
    for one in headers.get("webhook-signature", "").split():
        version, _, given = one.partition(",")
        right |= same_as_one(given.encode(), wanted) and version == "v1"
    return right


def _fresh(stamp: str, at: datetime) -> bool:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 11):
        return False
    return abs(at - datetime.fromtimestamp(int(stamp), UTC)) <= WINDOW


def _kind(payload: Any) -> str:
    return r.text(payload, "object_kind") or r.text(payload, "event_name")


def _request(request: Any, *, person: str) -> Hint:
    which = r.number(request, "iid")
    if which is None:
        return r.of_no_use(r.INCOMPLETE)
    source, target = r.value(request, "source_project_id"), r.value(request, "target_project_id")
    name = r.text(request, "source_branch", limit=r.ID_LIMIT)
    return Hint(request=which, branch=r.branch(name) if source == target else None, person=person)


def _note(event: str, payload: Any, *, person: str) -> Hint:
    note = r.value(payload, "object_attributes")
    if r.value(note, "system") is True:
        return r.other_event(event, "by GitLab itself")
    if r.our_comment(note, "note"):
        return r.of_no_use(r.OURS)
    if BOTS.match(person):
        return r.of_no_use(r.BOT)
    match r.text(note, "noteable_type"):
        case "MergeRequest":
            return _request(r.value(payload, "merge_request"), person=person)
        case "Issue" | "WorkItem":
            which = r.number(payload, "issue", "iid")
            return Hint(issue=str(which), person=person) if which else r.of_no_use(r.INCOMPLETE)
        case other:
            return r.other_event(event, f"on {other}")
