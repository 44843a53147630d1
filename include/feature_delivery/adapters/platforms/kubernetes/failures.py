"""What the API server's refusals mean.

Its messages name objects, rights and limits and no secrets, so that they are passed on; bodies of requests are not.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.retry_after import asked_pause
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_MESSAGE_LIMIT = 500
_VERBS = {"GET": "read", "POST": "create", "PUT": "write", "PATCH": "apply", "DELETE": "delete"}


class GoneError(Unavailable):
    """A listing or a watch is too old to go on: list anew."""


class LostRaceError(Conflict):
    """Somebody else has created or changed the object meanwhile (409)."""


class ForbiddenError(Misconfigured):
    """A right is missing."""


class QuotaError(Refused):
    """A quota of the namespace does not allow it."""


def translated(cluster: str, method: str, path: str, answer: BaseHTTPResponse) -> Error:
    """Return the API server's refusal as an error of ours."""
    status = _status(answer)
    said = " ".join(str(status.get("message") or answer.reason or "").split())[:_MESSAGE_LIMIT]
    what = f"Could not {_VERBS.get(method, method)} {_what(path)} on the cluster {cluster!r}"
    match answer.status:
        case 401:
            return ForbiddenError(
                f"{what}: it does not know us (401). Renew the credentials of Connection {cluster!r}."
            )
        case 403 if "exceeded quota" in said or "forbidden: maximum" in said or "must specify" in said:
            return QuotaError(f"{what}: {said}. Raise 'platform.quota' or ask for less.")
        case 403 if _is_leaving(status, said):
            return Unavailable(f"{what}: its namespace is being deleted. Try again when it is gone.")
        case 403:
            return ForbiddenError(f"{what}: {said} Grant the right; include/kubernetes/rbac.yaml holds all of them.")
        case 404:
            return NotFound(f"{what}: there is none.")
        case 409:
            return LostRaceError(f"{what}: {said}")
        case 410:
            return GoneError(f"{what}: the listing has expired. It is read anew.")
        case 429:
            wait = asked_pause(answer.headers)
            return RateLimited(f"{what}: it has too much to do. Try again later.", retry_after_seconds=wait)
        case 400 | 413 | 415 | 422:
            return Refused(f"{what}: {said}")
        case code:
            return Unavailable(f"{what}: it answered {code}. Try again; look at the control plane if it lasts.")


def unreachable(cluster: str, method: str, path: str, why: str) -> Unavailable:
    """Return that there was no answer."""
    return Unavailable(
        f"Could not {_VERBS.get(method, method)} {_what(path)} on the cluster {cluster!r}: no answer ({why}). "
        "Try again; look at its address and the network if it lasts."
    )


def _status(answer: BaseHTTPResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_leaving(status: dict[str, Any], said: str) -> bool:
    causes = (status.get("details") or {}).get("causes") or []
    return "being terminated" in said or any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _what(path: str) -> str:
    """Return a path as words: ``deployments/shop in namespace shop-preprod-shop-1``."""
    rest = re.sub(r"^/(api/v1|apis/[^/]+/[^/]+)/?", "", path)
    found = re.match(r"namespaces/([^/]+)/(.+)", rest)
    return f"{found[2]} in namespace {found[1]}" if found else rest or path
