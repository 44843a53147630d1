"""GitHub: ``X-Hub-Signature-256`` over the raw body, which is JSON or a form with one field of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.webhooks import reading as r
from feature_delivery.adapters.webhooks.signatures import signed
from feature_delivery.domain.hints import Hint

if TYPE_CHECKING:
    from datetime import datetime

LIKENESSES = ("x-gitea-", "x-forgejo-", "x-gogs-")
"""Who sends GitHub's headers beside their own."""

REVIEWS = frozenset({"pull_request_review", "pull_request_review_comment", "pull_request_review_thread"})
COMMENTS = frozenset({"issue_comment", "pull_request_review_comment"})
IDLE = frozenset(
    {
        *("assigned", "unassigned", "labeled", "unlabeled", "milestoned", "demilestoned", "locked", "unlocked"),
        *("review_requested", "review_request_removed", "auto_merge_enabled", "auto_merge_disabled"),
        *("enqueued", "dequeued"),
    }
)
"""Actions on a pull request that change nothing we look at."""

IDLE_ON_ISSUES = frozenset({"milestoned", "demilestoned", "locked", "unlocked", "pinned", "unpinned"})
"""Labels and assignees are not among them: they say where an issue stands."""


class GitHub:
    """Implements ``Dialect``."""

    name = "github"
    content_types = frozenset({r.JSON, r.FORM})

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether it is GitHub, and not one of those who send its headers as well."""
        return "x-github-event" in headers and not any(name.startswith(LIKENESSES) for name in headers)

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:  # noqa: ARG002 - GitHub signs no time-stamp
        """Check the signature; the older one, by SHA-1, does not count."""
        return signed(body, secrets, headers.get("x-hub-signature-256", ""), prefix="sha256=")

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return GitHub's id, which a redelivery keeps."""
        return r.first_id(headers, "x-github-delivery") or r.digest(body)

    def event(self, headers: Mapping[str, str], payload: Any) -> str:  # noqa: ARG002 - GitHub names it in a header
        """Return the event's name."""
        return headers.get("x-github-event", "")

    def hint(self, event: str, payload: Any) -> Hint:
        """Return where to look, and in which repository."""
        return r.about(self._hint(event, payload), payload, "repository", "full_name")

    def _hint(self, event: str, payload: Any) -> Hint:
        """Return where to look."""
        action = r.text(payload, "action")
        person = r.text(payload, "sender", "login") or r.text(payload, "pusher", "name")
        match event:
            case "push":
                return r.pushed(r.text(payload, "ref", limit=r.ID_LIMIT), after=r.text(payload, "after"), person=person)
            case "create" | "delete":
                return r.made_or_gone(payload, person=person)
            case "pull_request":
                return r.other_event(event, action) if action in IDLE else r.pull_request(payload, person=person)
            case "issue_comment" | "issues" if isinstance(r.value(payload, "issue"), dict):
                return _unheard(event, action, payload) or _issue(event, action, payload, person=person)
            case "issue_comment" | "issues":
                return r.of_no_use(r.INCOMPLETE)
            case _ if event in REVIEWS:
                return _unheard(event, action, payload) or r.pull_request(payload, person=person)
        return r.other_event(event)


def _unheard(event: str, action: str, payload: Any) -> Hint | None:
    """Return the hint for what we wrote ourselves, and for what a bot says; a bot's other deeds are looked at."""
    if event in COMMENTS and r.our_comment(payload, "comment", "body"):
        return r.of_no_use(r.OURS)
    said = event in COMMENTS or (event == "pull_request_review" and action != "dismissed")
    bot = r.value(payload, "sender", "type") == "Bot" or r.text(payload, "sender", "login").endswith("[bot]")
    return r.of_no_use(r.BOT) if said and bot else None


def _issue(event: str, action: str, payload: Any, *, person: str) -> Hint:
    if event == "issues" and action in IDLE_ON_ISSUES:
        return r.other_event(event, action)
    which = r.number(payload, "issue", "number")
    if which is None:
        return r.of_no_use(r.INCOMPLETE)
    # A pull request is an issue to GitHub; only what it has more tells it.
    if isinstance(r.value(payload, "issue", "pull_request"), dict):
        return Hint(request=which, person=person)
    return Hint(issue=str(which), person=person)
