"""What Slack sends when somebody presses a button: signed by Slack, and about a question that we signed.

https://docs.slack.dev/authentication/verifying-requests-from-slack: ``v0=`` and the HMAC of version, time and raw body.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from feature_delivery.adapters.messengers.slack.blocks import COMMENT, DECIDE, REJECT_FORM
from feature_delivery.adapters.messengers.slack.directory import USER
from feature_delivery.adapters.webhooks.signatures import same_as_one, signed
from feature_delivery.domain.names import commit_sha
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.ports.messenger import Press, Question

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.names import ProjectName

WINDOW_SECONDS = 5 * 60
VERSION = "1"
VALUE_LIMIT = 2000
SIGNER_DIGITS = 16
_PLACE = re.compile(r"[CDG][A-Z0-9]{2,20}\Z")
_TS = re.compile(r"\d{1,12}\.\d{1,8}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Somebody wants to reject: a form has to ask why. ``trigger``: Slack's leave to open it, for three seconds."""

    trigger: str
    value: str
    user: str
    question: Question
    place: str
    thread: str

    @property
    def key(self) -> str:
        """Return the feature's key, for the form's title."""
        return self.question.run_id.partition("__")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TooOld:
    """Somebody pressed a button of ours, or sent its form, that we have not signed with a secret that counts."""

    user: str
    place: str
    thread: str
    form: bool = False


class Interactions:
    """Reads what Slack sends to one project."""

    def __init__(self, project: ProjectName, secrets: Sequence[bytes]) -> None:
        """``secrets``: the app's signing secret, and the one before it while it is changed; none: nothing is read."""
        self._project = project
        self._secrets = tuple(secret for secret in secrets if secret)

    @property
    def believes(self) -> bool:
        """Say whether there is a secret at all."""
        return bool(self._secrets)

    def authentic(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> bool:
        """Say whether Slack sent this, not long ago. Header names are in lower case; nothing is parsed for it."""
        given = headers.get("x-slack-request-timestamp", "")
        known = given.isascii() and given.isdigit() and len(given) < 13
        fresh = known and abs(at.timestamp() - int(given)) <= WINDOW_SECONDS
        right = signed(
            b"v0:%b:%b" % (given.encode("utf-8", "replace"), body),
            self._secrets,
            headers.get("x-slack-signature", ""),
            prefix="v0=",
        )
        return fresh and right

    @property
    def signer(self) -> str:
        """Return what tells by which secret buttons are signed now, and nothing of the secret itself."""
        if not self._secrets:
            return "unsigned"
        return hmac.new(self._secrets[0], b"feature-delivery signer", hashlib.sha256).hexdigest()[:SIGNER_DIGITS]

    def sign(self, question: Question, kind: DecisionKind) -> str:
        """Return the value of a button: what it is about, and our signature of that for this project."""
        about = [
            question.run_id,
            question.gate.value,
            question.attempt,
            question.commit or "",
            question.candidate or "",
        ]
        said = json.dumps([VERSION, *about, kind.value], separators=(",", ":"))
        return f"{self._signature(said, self._secrets[0])}.{said}" if self._secrets else ""

    def _signature(self, said: str, secret: bytes) -> str:
        key = hmac.new(secret, b"feature-delivery button", hashlib.sha256).digest()
        found = hmac.new(key, f"{self._project}\n{said}".encode(), hashlib.sha256).digest()
        return urlsafe_b64encode(found[:24]).decode()

    def question(self, value: str) -> tuple[Question, DecisionKind] | None:
        """Return what a button was about; ``None``: we have not signed this."""
        given, dot, said = value.partition(".")
        wanted = (self._signature(said, secret).encode() for secret in self._secrets)
        if not dot or len(value) > VALUE_LIMIT or not same_as_one(given.encode("utf-8", "replace"), wanted):
            return None
        version, run_id, gate, attempt, commit, candidate, kind = json.loads(said)
        if version != VERSION:
            return None
        asked = Question(
            run_id=run_id,
            gate=Step(gate),
            attempt=int(attempt),
            commit=commit_sha(commit) if commit else None,
            candidate=commit_sha(candidate) if candidate else None,
            kinds=(),
        )
        return asked, DecisionKind(kind)

    def read(self, body: bytes) -> Press | Form | TooOld | str | None:
        """Return what an authentic body says.

        Returns:
            A decision; the wish for a form; that its signature is not ours (any more); a sentence that the sender of a
            form must read before it counts; ``None``: nothing that we act upon (another button, a link).
        """
        payload = _payload(body)
        match payload.get("type"):
            case "block_actions":
                return self._action(payload)
            case "view_submission":
                return self._submitted(payload)
            case _:
                return None

    def _action(self, payload: dict[str, Any]) -> Press | Form | TooOld | None:
        actions = _list(payload.get("actions"))
        action = _dict(actions[0]) if len(actions) == 1 else {}
        if not str(action.get("action_id", "")).startswith(f"{DECIDE}:"):
            return None
        value = str(action.get("value", ""))
        known = self.question(value)
        user = str(_dict(payload.get("user")).get("id", ""))
        place, thread = _where(payload)
        if not USER.match(user):
            return None
        if known is None:
            return TooOld(user=user, place=place, thread=thread)
        asked, kind = known
        if kind is DecisionKind.REJECT:
            trigger = str(payload.get("trigger_id", ""))[:300]
            return Form(trigger=trigger, value=value, user=user, question=asked, place=place, thread=thread)
        return Press(
            id=_id("press", user, str(action.get("action_ts", "")), value),
            user=user,
            question=asked,
            kind=kind,
            comment="",
            place=place,
            thread=thread,
        )

    def _submitted(self, payload: dict[str, Any]) -> Press | TooOld | str | None:
        view = _dict(payload.get("view"))
        place, thread, value = (*str(view.get("private_metadata", "")).split(" ", 2), "", "", "")[:3]
        known = self.question(value)
        user = str(_dict(payload.get("user")).get("id", ""))
        place, thread = place if _PLACE.match(place) else "", thread if _TS.match(thread) else ""
        if view.get("callback_id") != REJECT_FORM or not USER.match(user):
            return None
        if known is None:
            return TooOld(user=user, place=place, thread=thread, form=True)
        asked, kind = known
        if kind is not DecisionKind.REJECT:
            return None
        values = _dict(_dict(view.get("state")).get("values"))
        comment = str(_dict(_dict(values.get(COMMENT)).get(COMMENT)).get("value") or "").strip()
        if not comment:
            return "A rejection needs a comment that tells the developer why."
        return Press(
            id=_id("form", user, str(view.get("id", "")), value),
            user=user,
            question=asked,
            kind=kind,
            comment=comment,
            place=place,
            thread=thread,
        )


def _payload(body: bytes) -> dict[str, Any]:
    """Return what the form's one field says; empty for anything else that was signed."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=10)
        return _dict(json.loads(fields.get("payload", ["{}"])[0]))
    except (ValueError, RecursionError):
        return {}


def _where(payload: dict[str, Any]) -> tuple[str, str]:
    """Return channel and thread of the message whose button was pressed."""
    container, message = _dict(payload.get("container")), _dict(payload.get("message"))
    place = str(_dict(payload.get("channel")).get("id", "") or container.get("channel_id", ""))
    thread = str(message.get("thread_ts", "") or container.get("thread_ts", "") or message.get("ts", ""))
    return place if _PLACE.match(place) else "", thread if _TS.match(thread) else ""


def _id(*parts: str) -> str:
    return "\n".join(parts)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
