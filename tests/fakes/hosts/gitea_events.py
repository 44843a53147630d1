"""The webhooks of the fake Gitea: which event is sent for what, with the payloads and headers of the real server."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

from tests.fakes.hosts.common import NOBODY, Delivery, RefChange, WebhookSender
from tests.fakes.hosts.gitea_state import Comment, Hook, Issue, Repository, Review, User, now

FAMILIES = {
    "pull_request_sync": "pull_request",
    "pull_request_label": "pull_request",
    "pull_request_assign": "pull_request",
    "pull_request_review_request": "pull_request",
    "pull_request_comment": "issue_comment",
    "pull_request_review_approved": "pull_request_approved",
    "pull_request_review_rejected": "pull_request_rejected",
    "pull_request_review_comment": "pull_request_comment",
    "issue_label": "issues",
    "issue_assign": "issues",
}
"""What ``X-Gitea-Event`` says of an event type; the others are called the same in both."""

REVIEWS = {
    "APPROVED": "pull_request_review_approved",
    "REQUEST_CHANGES": "pull_request_review_rejected",
    "COMMENT": "pull_request_review_comment",
}


class Announcer:
    """Tells the hooks of a repository what happened in it."""

    def __init__(self, sender: WebhookSender) -> None:
        self._sender = sender

    def pull(self, repository: Repository, issue: Issue, action: str, by: User, *, kind: str = "pull_request") -> None:
        self._tell(repository, kind, self._pull_payload(repository, issue, action, by))

    def reviewed(self, repository: Repository, issue: Issue, review: Review, by: User) -> None:
        kind = REVIEWS[review.state]
        payload = self._pull_payload(repository, issue, "reviewed", by)
        payload["review"] = {"type": kind, "content": review.body}
        self._tell(repository, kind, payload)

    def issue(self, repository: Repository, issue: Issue, action: str, by: User, *, kind: str = "issues") -> None:
        payload = {
            "action": action,
            "number": issue.number,
            "issue": repository.shown_issue(issue),
            "repository": repository.shown(by),
            "sender": by.shown(),
            "commit_id": "",
        }
        self._tell(repository, kind, payload)

    def changed(self, repository: Repository, issue: Issue, action: str, by: User) -> None:
        """Tell of an issue or a request that was opened, closed, reopened or edited."""
        (self.pull if issue.pull else self.issue)(repository, issue, action, by)

    def comment(self, repository: Repository, issue: Issue, comment: Comment, action: str, by: User) -> None:
        payload = {
            "action": action,
            "issue": repository.shown_issue(issue),
            "comment": repository.shown_comment(issue, comment),
            "repository": repository.shown(by),
            "sender": by.shown(),
            "is_pull": issue.pull is not None,
        }
        if issue.pull:
            payload["pull_request"] = repository.shown_pull(issue, by)
        self._tell(repository, "pull_request_comment" if issue.pull else "issue_comment", payload)

    def pushed(self, repository: Repository, change: RefChange, by: User) -> None:
        kind = "branch" if change.branch else "tag"
        name = change.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
        whole = {"repository": repository.shown(by), "sender": by.shown()}
        if change.deleted:
            self._tell(repository, "delete", {"ref": name, "ref_type": kind, "pusher_type": "user", **whole})
            return
        if change.created:
            created = {"sha": change.after, "ref": name, "ref_type": kind, **whole}
            self._tell(repository, "create", created)
        self._tell(repository, "push", self._push_payload(repository, change, by), branch=name)

    def _push_payload(self, repository: Repository, change: RefChange, by: User) -> dict[str, Any]:
        before = None if change.created else change.before
        shas = repository.git.ahead(change.after, before) if before else [change.after]
        commits = [self._commit(repository, sha) for sha in shas]
        return {
            "ref": change.ref,
            "before": change.before or NOBODY,
            "after": change.after,
            "compare_url": f"{repository.url}/{repository.full_name}/compare/{change.before}...{change.after}",
            "commits": commits,
            "total_commits": len(commits),
            "head_commit": commits[0] if commits else None,
            "repository": repository.shown(by),
            "pusher": by.shown(),
            "sender": by.shown(),
        }

    def _commit(self, repository: Repository, sha: str) -> dict[str, Any]:
        message, email, at = repository.git.described(sha)
        who = {"name": "Dev", "email": email, "username": email.partition("@")[0]}
        return {
            "id": sha,
            "message": message,
            "url": f"{repository.url}/{repository.full_name}/commit/{sha}",
            "author": who,
            "committer": who,
            "verification": None,
            "timestamp": at,
            "added": [],
            "removed": [],
            "modified": [],
        }

    def _pull_payload(self, repository: Repository, issue: Issue, action: str, by: User) -> dict[str, Any]:
        return {
            "action": action,
            "number": issue.number,
            "pull_request": repository.shown_pull(issue, by),
            "requested_reviewer": None,
            "repository": repository.shown(by),
            "sender": by.shown(),
            "commit_id": "",
            "review": None,
        }

    def _tell(self, repository: Repository, kind: str, payload: dict[str, Any], *, branch: str = "") -> None:
        for hook in repository.hooks:
            if not hook.active or not wants(hook, kind):
                continue
            if branch and hook.branch_filter not in {"", "*", "**", branch}:
                continue
            body = json.dumps(payload, indent=2).encode()
            delivery = str(uuid.uuid4())
            headers = signed_headers(hook.secret, kind, delivery, body)
            self._sender.send(Delivery(hook.id, delivery, kind, hook.url, headers, body, at=now()))


def wants(hook: Hook, kind: str) -> bool:
    """Say whether a hook was made for the event type; ``pull_request_review`` stands for its three kinds."""
    asked = set(hook.events)
    return kind in asked or (kind.startswith("pull_request_review_") and "pull_request_review" in asked)


def signed_headers(secret: str, kind: str, delivery: str, body: bytes) -> dict[str, str]:
    """Return the headers as Forgejo sends them; Gitea leaves the ``X-Forgejo-`` ones out."""
    sha256 = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() if secret else ""
    sha1 = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest() if secret else ""
    event = FAMILIES.get(kind, kind)
    headers = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
    for brand in ("Forgejo", "Gitea", "Gogs"):
        headers |= {
            f"X-{brand}-Delivery": delivery,
            f"X-{brand}-Event": event,
            f"X-{brand}-Event-Type": kind,
            f"X-{brand}-Signature": sha256,
        }
    return headers | {
        "X-Hub-Signature": f"sha1={sha1}",
        "X-Hub-Signature-256": f"sha256={sha256}",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "X-GitHub-Event-Type": kind,
    }
