"""Jira, Cloud and Data Center: ``X-Hub-Signature`` over the raw body; what it is about is in the body only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.webhooks import reading as r
from feature_delivery.adapters.webhooks.signatures import signed
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import feature_key

if TYPE_CHECKING:
    from datetime import datetime

OTHERS = ("x-github-", "x-gitea-", "x-forgejo-", "x-gogs-", "x-gitlab-", "x-feature-delivery-", "x-event-key")
"""Whose header of the same name it may be; the last one is Bitbucket's."""

ISSUES = ("jira:issue_", "issue_")
COMMENTS = ("comment_", "jira:comment_")


class Jira:
    """Implements ``Dialect``."""

    name = "jira"
    content_types = frozenset({r.JSON})

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether it is Jira: its id of the delivery, or a signature that is nobody else's."""
        if any(name.startswith(OTHERS) for name in headers):
            return False
        return "x-atlassian-webhook-identifier" in headers or "x-hub-signature" in headers

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:  # noqa: ARG002 - no time-stamp is signed
        """Check the signature."""
        return signed(body, secrets, headers.get("x-hub-signature", ""), prefix="sha256=")

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return Jira's id, which its retries keep."""
        return r.first_id(headers, "x-atlassian-webhook-identifier") or r.digest(body)

    def event(self, headers: Mapping[str, str], payload: Any) -> str:  # noqa: ARG002 - no header names it
        """Return the event's name from the body."""
        return r.text(payload, "webhookEvent")

    def hint(self, event: str, payload: Any) -> Hint:
        """Return where to look."""
        said = event.startswith(COMMENTS)
        if not said and not event.startswith(ISSUES):
            return r.other_event(event)
        if said and r.our_comment(payload, "comment", "body"):
            return r.of_no_use(r.OURS)
        who = r.value(payload, "comment", "updateAuthor") if said else r.value(payload, "user")
        if said and r.value(who, "accountType") == "app":
            return r.of_no_use(r.BOT)
        try:
            key = feature_key(r.text(payload, "issue", "key"))
        except Refused:
            return r.of_no_use(r.INCOMPLETE)
        return Hint(issue=key, person=r.text(who, "name") or r.text(who, "accountId"))
