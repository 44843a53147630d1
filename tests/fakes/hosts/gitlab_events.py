"""The webhooks of the fake GitLab: which are sent for what, with the payloads and headers of the real server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from datetime import timedelta
from typing import Any

from tests.fakes.hosts.common import NOBODY, Delivery, RefChange, WebhookSender
from tests.fakes.hosts.gitlab_state import Hook, Issue, MergeRequest, Note, Project, Thing, User, now, shown_time

NAMES = {
    "push": "Push Hook",
    "tag_push": "Tag Push Hook",
    "merge_requests": "Merge Request Hook",
    "note": "Note Hook",
    "issues": "Issue Hook",
}
FAILURES_BEFORE_IT_IS_SWITCHED_OFF = 4


class Announcer:
    """Tells the hooks of a project what happened in it, unless it is told not to (``tells``)."""

    def __init__(self, sender: WebhookSender) -> None:
        self._sender = sender
        self._logged: set[str] = set()
        self.tells = True

    def pushed(self, project: Project, change: RefChange, by: User) -> None:
        kind = "push" if change.branch else "tag_push"
        gone = change.deleted
        commits = [] if gone or change.created else project.git.ahead(change.after, change.before)[:20]
        payload = {
            "object_kind": kind,
            "event_name": kind,
            "before": change.before,
            "after": change.after,
            "ref": change.ref,
            "ref_protected": False,
            "checkout_sha": None if gone else change.after,
            "message": None,
            "user_id": by.id,
            "user_name": by.username.title(),
            "user_username": by.username,
            "user_email": None,
            "user_avatar": None,
            "project_id": project.id,
            "project": _project(project),
            "commits": [{"id": sha, "message": "A change", "author": {"name": "", "email": ""}} for sha in commits],
            "total_commits_count": len(commits),
            "push_options": {},
            "repository": _repository(project),
        }
        self._tell(project, kind, payload)

    def request(
        self, project: Project, request: MergeRequest, action: str, by: User, *, changes: dict[str, Any] | None = None
    ) -> None:
        attributes = {**_request(project, request), "action": action}
        if "oldrev" in (changes or {}):
            attributes["oldrev"] = (changes or {})["oldrev"]
        payload = {
            "object_kind": "merge_request",
            "event_type": "merge_request",
            "user": by.hooked(),
            "project": _project(project),
            "object_attributes": attributes,
            "labels": [{"title": name} for name in request.labels],
            "changes": {name: value for name, value in (changes or {}).items() if name != "oldrev"},
            "repository": _repository(project),
            "reviewers": [{**one.user.hooked(), "state": one.state} for one in request.reviewers],
        }
        self._tell(project, "merge_requests", payload)

    def issue(self, project: Project, issue: Issue, action: str, by: User) -> None:
        payload = {
            "object_kind": "issue",
            "event_type": "issue",
            "user": by.hooked(),
            "project": _project(project),
            "object_attributes": {**_thing(project, issue), "action": action, "confidential": issue.confidential},
            "labels": [{"title": name} for name in issue.labels],
            "changes": {},
            "repository": _repository(project),
            "assignees": [user.hooked() for user in issue.assignees],
        }
        self._tell(project, "issues", payload)

    def note(self, project: Project, thing: Thing, note: Note) -> None:
        is_request = isinstance(thing, MergeRequest)
        payload: dict[str, Any] = {
            "object_kind": "note",
            "event_type": "note",
            "user": note.user.hooked(),
            "project_id": project.id,
            "project": _project(project),
            "object_attributes": {
                "id": note.id,
                "note": note.body,
                "description": note.body,
                "noteable_type": "MergeRequest" if is_request else "Issue",
                "noteable_id": thing.id,
                "author_id": note.user.id,
                "created_at": shown_time(note.created),
                "updated_at": shown_time(note.updated),
                "project_id": project.id,
                "system": note.system,
                "action": "create",
                "url": f"{project.url}/{project.path}/-/merge_requests/{thing.iid}#note_{note.id}",
            },
            "repository": _repository(project),
        }
        if isinstance(thing, MergeRequest):
            payload["merge_request"] = _request(project, thing)
        else:
            payload["issue"] = _thing(project, thing)
        self._tell(project, "note", payload)

    def log_answers(self, project: Project) -> None:
        """Take in how deliveries were answered; a hook that failed too often in a row is switched off for a while."""
        for hook in project.hooks:
            for one in self._sender.deliveries:
                if one.hook == hook.id and one.id not in self._logged and (one.status or one.reason):
                    self._logged.add(one.id)
                    hook.logged.append((one.event, str(one.status) if one.status else "internal error"))
            last = [answer for _, answer in hook.logged[-FAILURES_BEFORE_IT_IS_SWITCHED_OFF:]]
            if len(last) == FAILURES_BEFORE_IT_IS_SWITCHED_OFF and not any(one.startswith("2") for one in last):
                hook.alert_status = "temporarily_disabled"
                hook.disabled_until = hook.disabled_until or now() + timedelta(minutes=1)

    def _tell(self, project: Project, kind: str, payload: dict[str, Any]) -> None:
        self.log_answers(project)
        event = str(uuid.uuid4())
        for hook in project.hooks:
            if self.tells and kind in hook.events and hook.alert_status == "executable":
                self._send(project, hook, kind, event, json.dumps(payload).encode())

    def _send(self, project: Project, hook: Hook, kind: str, event: str, body: bytes) -> None:
        delivery = str(uuid.uuid4())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitLab/18.6.0",
            "Idempotency-Key": delivery,
            "X-Gitlab-Event": NAMES[kind],
            "X-Gitlab-Webhook-UUID": str(uuid.uuid5(uuid.NAMESPACE_URL, hook.url)),
            "X-Gitlab-Instance": project.url,
            "X-Gitlab-Event-UUID": event,
        }
        if hook.token:
            headers["X-Gitlab-Token"] = hook.token
        if hook.signing:
            stamp = str(int(time.time()))
            headers |= {
                "webhook-id": delivery,
                "webhook-timestamp": stamp,
                "webhook-signature": signed(hook.signing, delivery, stamp, body),
            }
        self._sender.send(Delivery(hook.id, delivery, kind, hook.url, headers, body))


def signed(token: str, delivery: str, stamp: str, body: bytes) -> str:
    """Return the signature of Standard Webhooks over id, time and body."""
    key = base64.b64decode(token.removeprefix("whsec_"))
    mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def _project(project: Project) -> dict[str, Any]:
    shown = project.shown()
    return {
        "id": project.id,
        "name": shown["name"],
        "description": None,
        "web_url": shown["web_url"],
        "git_http_url": shown["http_url_to_repo"],
        "namespace": project.path.rpartition("/")[0],
        "visibility_level": 0,
        "path_with_namespace": project.path,
        "default_branch": "production",
    }


def _repository(project: Project) -> dict[str, Any]:
    shown = project.shown()
    return {"name": shown["name"], "url": shown["http_url_to_repo"], "description": None, "homepage": shown["web_url"]}


def _thing(project: Project, thing: Thing) -> dict[str, Any]:
    shown = project.thing(thing, "issues")
    kept = ("id", "iid", "title", "description", "state", "created_at", "updated_at", "project_id")
    return {**{name: shown[name] for name in kept}, "author_id": thing.user.id, "url": shown["web_url"]}


def _request(project: Project, request: MergeRequest) -> dict[str, Any]:
    shown = project.shown_request(request)
    kept = ("source_branch", "target_branch", "source_project_id", "target_project_id", "draft", "merge_status")
    return {
        **_thing(project, request),
        **{name: shown[name] for name in kept},
        "url": shown["web_url"],
        "last_commit": {"id": request.head or NOBODY},
        "reviewer_ids": [one.user.id for one in request.reviewers],
    }
