"""Who sends webhooks, told by the headers, and what each of them means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.webhooks.gitea import Gitea
from feature_delivery.adapters.webhooks.github import GitHub
from feature_delivery.adapters.webhooks.gitlab import GitLab
from feature_delivery.adapters.webhooks.jira import Jira
from feature_delivery.adapters.webhooks.own import FeatureDelivery
from feature_delivery.adapters.webhooks.reading import NO_JSON, content_type, of_no_use, payload_of

if TYPE_CHECKING:
    from feature_delivery.domain.hints import Hint
    from feature_delivery.ports.webhook import Dialect

# Gitea before GitHub: it sends GitHub's headers, too. Jira last: its one header is also others'.
DIALECTS: tuple[Dialect, ...] = (FeatureDelivery(), GitLab(), Gitea(), GitHub(), Jira())

SECRET = re.compile(r"auth|cookie|credential|key$|password|secret|session|signature|token", re.IGNORECASE)
NO_SECRET = frozenset({"idempotency-key"})
NOT_KEPT = "(not kept)"
EVENT_LIMIT, HEADER_LIMIT = 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is in a webhook: the host's name of the event, where to look, and the body as it may be kept."""

    event: str
    hint: Hint
    body: bytes


def dialect_of(headers: Mapping[str, str]) -> Dialect | None:
    """Return who sent these headers (their names in lower case), as far as anybody can say."""
    return next((one for one in DIALECTS if one.speaks(headers)), None)


def named(host: str) -> Dialect | None:
    """Return the dialect of that name."""
    return next((one for one in DIALECTS if one.name == host), None)


def read(dialect: Dialect, headers: Mapping[str, str], body: bytes) -> Reading:
    """Return what is in a webhook whose signature was checked; never fails, whatever was sent."""
    payload = payload_of(body, content_type(headers))
    event = "".join(c for c in dialect.event(headers, payload) if c.isprintable())[:EVENT_LIMIT]
    hint = dialect.hint(event, payload) if payload is not None else of_no_use(NO_JSON)
    if not hint.ignored and hint.branch is None and hint.request is None and not hint.issue:
        hint = replace(hint, ignored="nothing to look at")
    return Reading(event=event, hint=hint, body=_kept(body, payload))


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers to keep: whatever may be a secret, or made with one, is replaced."""
    return {
        name: NOT_KEPT if SECRET.search(name) and name not in NO_SECRET else value[:HEADER_LIMIT]
        for name, value in headers.items()
    }


def _kept(body: bytes, payload: Any) -> bytes:
    """Return the body to keep: Gitea before 1.14 and Gogs wrote the secret itself into it."""
    if isinstance(payload, dict) and "secret" in payload:
        return json.dumps({name: value for name, value in payload.items() if name != "secret"}).encode()
    return body
