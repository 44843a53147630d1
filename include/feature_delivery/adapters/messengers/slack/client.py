"""Calls of Slack's Web API, and what its errors mean."""

from __future__ import annotations

import http.client
import logging
import re
from typing import TYPE_CHECKING, Any, cast

from feature_delivery.adapters.retry_after import asked_pause
from feature_delivery.domain.errors import Error, Misconfigured, NotFound, RateLimited, Refused, Unavailable

if TYPE_CHECKING:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

TIMEOUT_SECONDS = 10
RETRY_AFTER_SECONDS = 30
"""When Slack asks us to wait and does not say how long."""

QUIET = logging.getLogger("feature_delivery.slack_sdk")
"""For the client itself: at the level of debugging it writes whole messages, and what it could not send as an error."""
QUIET.setLevel(logging.CRITICAL)

LATER = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "accesslimited"}
    | {"update_failed", "external_channel_migrating"}
)
PLACE = {
    "channel_not_found": "it does not exist, or it is private and the app is not in it",
    "not_in_channel": "the app is not in it",
    "is_archived": "it is archived",
    "restricted_action": "the workspace lets only some post there",
    "restricted_action_read_only_channel": "it is read-only",
    "restricted_action_thread_only_channel": "no thread can be begun there",
    "restricted_action_non_threadable_channel": "it takes no replies in threads",
    "is_inactive": "it is frozen, archived or deleted",
}
THREAD = frozenset(
    {"thread_not_found", "invalid_thread_ts", "cannot_reply_to_message"}
    | {"restricted_action_thread_locked", "thread_locked"}
)
"""The message that began the thread is gone (what Slack leaves in its place takes no reply), or locked."""
ACCESS = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "org_login_required"}
    | {"team_access_not_granted", "not_allowed_token_type", "ekm_access_denied", "two_factor_setup_required"}
    | {"no_permission", "access_denied", "enterprise_is_restricted", "team_not_found"}
)
UNFIT = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "too_many_attachments"}
    | {"no_text", "invalid_attachments", "metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema"}
)


_WORD = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")


class Unfit(Refused):
    """Slack does not take the message as it is; a plainer one it does."""


class NoPlace(Misconfigured):
    """Nothing can be said in the channel, whatever it is."""


class NoThread(NotFound):
    """The thread takes no reply any more; another one does."""


class Api:
    """One workspace, through ``slack_sdk``; every answer is a plain ``dict``.

    The client must not repeat anything by itself: what was sent and not answered may have arrived.
    """

    def __init__(self, client: WebClient, *, channel: str, connection: str) -> None:
        """``channel`` and ``connection`` are for sentences."""
        self._client = client
        self._channel = channel
        self._connection = connection

    def call(self, method: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Call a method by JSON.

        Args:
            method: Slack's name of it.
            what: What is done, for the sentence when it fails: ``post to the channel C01``.
            arguments: Its arguments.

        Raises:
            RateLimited: Slack asks us to wait.
            Unavailable: Slack did not answer, or answered nonsense; a message may have arrived.
            Misconfigured: The token is not accepted, or the app lacks a right.
            NoPlace: There is no such channel for the app, or it is closed.
            NoThread: There is no such thread, or it is closed.
            NotFound: There is no such user or message for the app.
            Unfit: Slack does not take the message as it is.
            Refused: Slack refuses it for another reason.
        """
        return self._called(method, what, json=arguments)

    def ask(self, method: str, what: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that only reads: those take no JSON.

        Raises:
            Error: As ``call``.
        """
        return self._called(method, what, params=arguments)

    def _called(self, method: str, what: str, **how: Any) -> dict[str, Any]:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            answer = self._client.api_call(method, **how).data
        except SlackApiError as error:
            raise self._meant(error, what) from error
        except (SlackClientError, OSError, http.client.HTTPException, ValueError) as error:
            # URLError and every time-out are OSErrors; a ValueError is an answer that is none.
            raise Unavailable(f"Could not {what} in Slack: it did not answer ({_cause(error)}). Try again.") from error
        if not isinstance(answer, dict):
            raise Unavailable(f"Could not {what} in Slack: its answer is no JSON. Try again.")
        return cast("dict[str, Any]", answer)

    def _meant(self, error: SlackApiError, what: str) -> Error:
        response: Any = error.response
        status, headers, body = response.status_code, response.headers or {}, response.data
        body = body if isinstance(body, dict) else {}
        # Where Slack's own words should be, the client puts a body that is no JSON.
        code = said if _WORD.match(said := str(body.get("error", ""))) else ""
        start = f"Could not {what} in Slack:"
        if status == http.HTTPStatus.TOO_MANY_REQUESTS or code in {
            "ratelimited",
            "rate_limited",
            "message_limit_exceeded",
        }:
            asked = asked_pause(headers)
            wait = RETRY_AFTER_SECONDS if asked is None else asked
            return RateLimited(f"{start} it asks us to wait {wait:g} s.", retry_after_seconds=wait)
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR or code in LATER:
            return Unavailable(f"{start} it has a problem of its own ({code or status}). Try again.")
        if code in PLACE:
            why = PLACE[code]
            return NoPlace(f"{start} the channel {self._channel}: {why}. Invite the app there, or name another one.")
        if code in THREAD:
            return NoThread(f"{start} its thread is gone or closed ({code}).")
        if code in ACCESS:
            token = f"the token of the Connection {self._connection!r}"
            return Misconfigured(f"{start} {token} is not accepted ({code}). Put a new one there.")
        if code == "missing_scope":
            needed = "".join(c for c in str(body.get("needed", "")) if c.isalnum() or c in ":._,")[:80]
            return Misconfigured(
                f"{start} the app lacks the scope {needed or 'for it'}. Add it and install the app anew."
            )
        if code in UNFIT:
            return Unfit(f"{start} it does not take the message ({code}).")
        if code.endswith("_not_found"):
            return NotFound(f"{start} it says {code}.")
        if not code:
            return Unavailable(f"{start} it answered {status} without a word. Try again.")
        return Refused(f"{start} it says {code}.")


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    found = type(reason if isinstance(reason, Exception) else error).__name__
    return "time-out" if found == "TimeoutError" else found
