"""Gitea and Forgejo: their own headers beside those of GitHub and Gogs; the bare HMAC of the raw JSON body.

Their form-encoded deliveries are not taken: the signature is over a part of the form, so that one would have to be
read before it is known to be theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.webhooks import reading as r
from feature_delivery.adapters.webhooks.signatures import signed
from feature_delivery.domain.hints import Hint

if TYPE_CHECKING:
    from datetime import datetime

FAMILY = ("forgejo", "gitea", "gogs")
"""Whose headers there are; the first of them that is there counts."""

BOTS = frozenset({"gitea-actions", "forgejo-actions"})
IDLE = frozenset(
    {
        *("assigned", "unassigned", "label_updated", "label_cleared", "milestoned", "demilestoned"),
        *("review_requested", "review_request_removed"),
    }
)
"""Actions on a pull request that change nothing we look at."""

IDLE_ON_ISSUES = frozenset({"milestoned", "demilestoned"})


class Gitea:
    """Implements ``Dialect`` for both."""

    name = "gitea"
    content_types = frozenset({r.JSON})

    def speaks(self, headers: Mapping[str, str]) -> bool:
        """Say whether it is one of the family."""
        return bool(_first(headers, "event"))

    def authentic(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], *, at: datetime) -> bool:  # noqa: ARG002 - no time-stamp is signed
        """Check the signature."""
        return signed(body, secrets, _first(headers, "signature"))

    def delivery_id(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the host's id, which a redelivery keeps."""
        return r.first_id(headers, *(f"x-{host}-delivery" for host in FAMILY)) or r.digest(body)

    def event(self, headers: Mapping[str, str], payload: Any) -> str:  # noqa: ARG002 - named in a header
        """Return the event's finer name where there is one: it tells an approval from a rejection."""
        return _first(headers, "event-type") or _first(headers, "event")

    def hint(self, event: str, payload: Any) -> Hint:
        """Return where to look, and in which repository."""
        return r.about(self._hint(event, payload), payload, "repository", "full_name")

    def _hint(self, event: str, payload: Any) -> Hint:
        """Return where to look, by the payload's shape: the events' names have changed over the years."""
        action = r.text(payload, "action")
        person = r.text(payload, "sender", "login") or r.text(payload, "pusher", "login")
        if event == "push":
            return r.pushed(r.text(payload, "ref", limit=r.ID_LIMIT), after=r.text(payload, "after"), person=person)
        if event in {"create", "delete"}:
            return r.made_or_gone(payload, person=person)
        if not event.startswith(("pull_request", "issue")):
            return r.other_event(event)
        if isinstance(r.value(payload, "comment"), dict):
            if r.our_comment(payload, "comment", "body"):
                return r.of_no_use(r.OURS)
            if person in BOTS:
                return r.of_no_use(r.BOT)
        if isinstance(r.value(payload, "pull_request"), dict):
            return r.other_event(event, action) if action in IDLE else r.pull_request(payload, person=person)
        return _issue(event, action, payload, person=person)


def _first(headers: Mapping[str, str], what: str) -> str:
    return next((found for host in FAMILY if (found := headers.get(f"x-{host}-{what}", ""))), "")


def _issue(event: str, action: str, payload: Any, *, person: str) -> Hint:
    which = r.number(payload, "issue", "number")
    if which is None:
        return r.of_no_use(r.INCOMPLETE)
    asks = r.value(payload, "is_pull") is True or isinstance(r.value(payload, "issue", "pull_request"), dict)
    if asks or event.startswith("pull_request"):
        return Hint(request=which, person=person)
    return r.other_event(event, action) if action in IDLE_ON_ISSUES else Hint(issue=str(which), person=person)
