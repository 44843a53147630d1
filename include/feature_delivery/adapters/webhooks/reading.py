"""Reading what somebody sent, whatever it is: a value of the wrong type is a value that is not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from feature_delivery.domain.errors import Refused
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, branch_name

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
ID_LIMIT, NAME_LIMIT, NUMBER_LIMIT = 200, 80, 2**31
REPOSITORY_LIMIT = 400
FORM_FIELDS = 20
OUR_COMMENT = "<!-- feature-delivery"
"""How the hidden line begins by which we know our own comments again."""

# Why something is not for us: few different words, for they are counted.
TAG = "a tag"
NO_REF = "neither a branch nor a tag"
STRANGE_BRANCH = "a branch whose name is not taken here"
BOT = "a bot"
OURS = "our own comment"
INCOMPLETE = "a payload without what its event promises"
NO_JSON = "a body that is no JSON"


def content_type(headers: Mapping[str, str]) -> str:
    """Return the media type, lower case, without its parameters; empty when none is named."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def payload_of(body: bytes, kind: str) -> Any:
    """Return what is in a body of the media type ``kind``; ``None`` when it cannot be read."""
    # Deep nesting ends in RecursionError, a number of thousands of digits and broken UTF-8 in ValueError.
    with suppress(ValueError, RecursionError):
        if kind == FORM:
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=FORM_FIELDS)
            body = fields.get("payload", [""])[0].encode("utf-8", "replace")
        return json.loads(body)
    return None


def first_id(headers: Mapping[str, str], *names: str) -> str:
    """Return the first of these headers that can be an id; empty when none can."""
    for name in names:
        found = headers.get(name, "").strip()
        if found and len(found) <= ID_LIMIT and found.isprintable():
            return found
    return ""


def digest(body: bytes) -> str:
    """Return an id for a delivery whose host gives none: the same body is the same delivery."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def value(payload: Any, *path: str) -> Any:
    """Return what is at ``path``; ``None`` when anything on the way is missing or no object."""
    for name in path:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload


def text(payload: Any, *path: str, limit: int = NAME_LIMIT) -> str:
    """Return the text at ``path``; empty when it is none, or too long, or holds what cannot be printed."""
    found = value(payload, *path)
    return found if isinstance(found, str) and len(found) <= limit and found.isprintable() else ""


def number(payload: Any, *path: str) -> int | None:
    """Return the number from 1 at ``path``."""
    found = value(payload, *path)
    return found if type(found) is int and 0 < found < NUMBER_LIMIT else None


def about(hint: Hint, payload: Any, *path: str) -> Hint:
    """Return ``hint`` with the name of the repository that is at ``path``."""
    return replace(hint, repository=text(payload, *path, limit=REPOSITORY_LIMIT))


def of_no_use(reason: str) -> Hint:
    """Return the hint that there is nothing to look at."""
    return Hint(ignored=reason)


def other_event(event: str, action: str = "") -> Hint:
    """Return the hint for an event, or an action of one, that changes nothing for us."""
    shown = "".join(c for c in f"{event} {action}".strip() if c.isprintable())[:60]
    return Hint(ignored=f"the event {shown!r}" if shown else "an event without a name")


def our_comment(payload: Any, *path: str) -> bool:
    """Say whether the comment at ``path`` is one of ours."""
    found = value(payload, *path)
    return isinstance(found, str) and OUR_COMMENT in found


def branch(name: str) -> BranchName | None:
    """Return a branch by its name or its full ref; ``None`` for what is none, or has a name that we do not take."""
    plain = name.removeprefix("refs/heads/")
    if plain.startswith("refs/"):
        return None
    try:
        return branch_name(plain)
    except Refused:
        return None


def pushed(ref: str, *, after: str, person: str) -> Hint:
    """Return the hint of a push: ``ref`` is now at ``after``, zeros when it was deleted."""
    if ref.startswith("refs/tags/"):
        return of_no_use(TAG)
    if not ref:
        return of_no_use(INCOMPLETE)
    if not ref.startswith("refs/heads/"):
        return of_no_use(NO_REF)
    found = branch(ref)
    if found is None:
        return of_no_use(STRANGE_BRANCH)
    return Hint(branch=found, person=person, pushed=not after or bool(after.strip("0")))


def made_or_gone(payload: Any, *, person: str) -> Hint:
    """Return the hint of a ``create`` or ``delete`` event, as GitHub and Gitea send them beside the push."""
    kind, name = text(payload, "ref_type"), text(payload, "ref", limit=ID_LIMIT)
    if kind == "tag":
        return of_no_use(TAG)
    if kind != "branch":
        return of_no_use(NO_REF if kind else INCOMPLETE)
    found = branch(name)
    return Hint(branch=found, person=person) if found is not None else of_no_use(STRANGE_BRANCH)


def pull_request(payload: Any, *, person: str) -> Hint:
    """Return the hint of an event about a pull request, as GitHub and Gitea shape it.

    The branch of a fork is none of ours, even if it has the same name.
    """
    which = number(payload, "pull_request", "number") or number(payload, "number")
    if which is None:
        return of_no_use(INCOMPLETE)
    source, target = (
        text(payload, "pull_request", end, "repo", "full_name", limit=REPOSITORY_LIMIT) for end in ("head", "base")
    )
    name = text(payload, "pull_request", "head", "ref", limit=ID_LIMIT)
    return Hint(request=which, branch=branch(name) if source and source == target else None, person=person)
