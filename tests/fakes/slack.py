"""A Slack of our own over real HTTP: one workspace, its channels, people and apps, and buttons that are pressed.

What an app sends is held to the limits that ``slack_sdk``'s own models know; reading methods take no JSON, as Slack's.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

from tests.fakes.hosts.common import Answer, Call, HostServer

TOKEN, SIGNING_SECRET = "xoxb-the-token", b"the-signing-secret"
CHANNEL, TEAM = "C0SHOP", "T0SHOP"
BLOCKS_LIMIT, TEXT_LIMIT = 50, 40_000
NEEDS = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "conversations.info": "channels:read",
    "users.info": "users:read",
    "users.lookupByEmail": "users:read.email",
}
READS = {"conversations.history", "conversations.replies", "conversations.info", "users.info", "users.lookupByEmail"}


class No(Exception):  # noqa: N818 - an answer
    """``ok: false``, with Slack's word for why."""


@dataclass
class Said:
    """One message in a channel; ``only``: who alone sees it. ``deleted``: what is left of the begin of a thread."""

    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    broadcast: bool = False
    only: str = ""
    edited: int = 0
    deleted: bool = False

    def buttons(self) -> dict[str, dict[str, Any]]:
        """Return the buttons by their labels."""
        found = [e for b in self.blocks if b["type"] == "actions" for e in b["elements"]]
        return {button["text"]["text"]: button for button in found}

    def words(self) -> str:
        """Return everything that is read in it."""
        return "\n".join(_words(self.blocks)) or self.text


@dataclass
class Channel:
    """``member``: the app is in it."""

    name: str = "deliveries"
    member: bool = True
    archived: bool = False
    said: list[Said] = field(default_factory=list)


@dataclass
class FakeSlack:
    """The workspace.

    Attributes:
        users: Account ids by the address they show, empty for one that hides it.
        teams: Workspaces of accounts that are from elsewhere.
        budget: So many messages are taken before it asks to wait; ``None``: any number.
        retry_after: How long it asks to wait, in seconds.
        takes_blocks: ``False``: no blocks are taken at all.
        views: Forms that are open, by id.
        unchangeable: Why a message cannot be changed, by its id.
        locked: Threads that take no reply any more.
    """

    server: HostServer
    channels: dict[str, Channel] = field(default_factory=lambda: {CHANNEL: Channel()})
    users: dict[str, str] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    scopes: set[str] = field(default_factory=lambda: {*NEEDS.values()})
    token: str = TOKEN
    budget: int | None = None
    retry_after: str = "7"
    takes_blocks: bool = True
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    unchangeable: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    triggers: dict[str, float] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/"

    def said(self, channel: str = CHANNEL) -> list[Said]:
        """Return what everybody sees in a channel, oldest first."""
        return [one for one in self.channels[channel].said if not one.only]

    def thread(self, start: int = 0) -> list[Said]:
        """Return the replies of the thread that was begun ``start``th."""
        roots = [one for one in self.said() if not one.thread]
        return [one for one in self.said() if one.thread == roots[start].ts]

    def whispers(self, user: str) -> list[str]:
        """Return what one account alone was told."""
        return [one.text for one in self.channels[CHANNEL].said if one.only == user]

    # --- the Web API ------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        method = call.path.removeprefix("/api/")
        handler: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_{method.replace('.', '_')}", None)
        if handler is None:
            return Answer(200, {"ok": False, "error": "unknown_method"})
        try:
            self._let_in(method, call)
            if method.startswith("chat.") and self.budget is not None:
                if self.budget == 0:
                    return Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": self.retry_after})
                self.budget -= 1
            return Answer(200, {"ok": True, **handler(_arguments(method, call))})
        except No as no:
            needed = {"needed": NEEDS[method], "provided": "none"} if str(no) == "missing_scope" else {}
            return Answer(200, {"ok": False, "error": str(no), **needed})

    def _let_in(self, method: str, call: Call) -> None:
        given = call.headers.get("authorization", "")
        if not given:
            raise No("not_authed")
        if given != f"Bearer {self.token}":
            raise No("invalid_auth")
        if NEEDS.get(method, "") not in {"", *self.scopes}:
            raise No("missing_scope")

    def git_user(self, username: str, password: str) -> None:
        """Let nobody in by Git: there is none here."""

    def pushed(self, *_push: object) -> None:
        raise AssertionError("nobody pushes to Slack")

    def _auth_test(self, _given: dict[str, Any]) -> dict[str, Any]:
        return {"user": "deliveries", "team": "The shop", "user_id": "U0BOT", "team_id": TEAM}

    def _channel(self, given: dict[str, Any]) -> Channel:
        found = self.channels.get(str(given.get("channel", "")))
        if found is None:
            raise No("channel_not_found")
        return found

    def _writable(self, given: dict[str, Any]) -> Channel:
        found = self._channel(given)
        if found.archived:
            raise No("is_archived")
        if not found.member:
            raise No("not_in_channel")
        return found

    def _new_ts(self) -> str:
        return f"{int(time.time())}.{next(self.count):06}"

    def _fits(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        text, blocks = str(given.get("text", "")), given.get("blocks") or []
        if not text and not blocks:
            raise No("no_text")
        if len(text) > TEXT_LIMIT:
            raise No("msg_too_long")
        if blocks and (not self.takes_blocks or faults_of(blocks)):
            raise No("invalid_blocks")
        return list(blocks)

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        channel, blocks = self._writable(given), self._fits(given)
        thread = str(given.get("thread_ts", ""))
        root = next((one for one in channel.said if one.ts == thread and not one.thread), None)
        if thread and root is None:
            raise No("thread_not_found")
        if root is not None and root.deleted:
            raise No("cannot_reply_to_message")
        if thread in self.locked:
            raise No("restricted_action_thread_locked")
        said = Said(self._new_ts(), str(given.get("text", "")), blocks, thread, given.get("metadata") or {})
        said.broadcast = bool(given.get("reply_broadcast"))
        channel.said.append(said)
        return {"channel": given["channel"], "ts": said.ts, "message": {}}

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        channel, blocks = self._writable(given), self._fits(given)
        found = next((one for one in channel.said if one.ts == given.get("ts") and not one.only), None)
        if found is None or found.deleted:
            raise No("message_not_found")
        if found.ts in self.unchangeable:
            raise No(self.unchangeable[found.ts])
        found.text, found.blocks, found.edited = str(given.get("text", "")), blocks, found.edited + 1
        return {"channel": given["channel"], "ts": found.ts}

    def _chat_postEphemeral(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        channel = self._writable(given)
        if given.get("user") not in self.users:
            raise No("user_not_in_channel")
        said = Said(self._new_ts(), str(given["text"]), [], str(given.get("thread_ts", "")), only=str(given["user"]))
        channel.said.append(said)
        return {"message_ts": said.ts}

    def _conversations_info(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._channel(given)
        return {"channel": {"id": given["channel"], "name": found.name, "is_member": found.member}}

    def _conversations_history(self, given: dict[str, Any]) -> dict[str, Any]:
        shown = [one for one in self._writable(given).said if not one.only and (not one.thread or one.broadcast)]
        return self._page(shown[::-1], given)  # the newest first

    def _conversations_replies(self, given: dict[str, Any]) -> dict[str, Any]:
        thread = given.get("ts")
        shown = [one for one in self._writable(given).said if not one.only and thread in {one.ts, one.thread}]
        if not shown:
            raise No("thread_not_found")
        return self._page(shown, given)

    def _page(self, shown: list[Said], given: dict[str, Any]) -> dict[str, Any]:
        shown = [one for one in shown if float(one.ts) > float(given.get("oldest") or 0)]
        start, size = int(given.get("cursor") or 0), int(given.get("limit") or 100)
        metadata = given.get("include_all_metadata") in {"1", "true", "True"}
        page = [
            {"ts": one.ts, "text": one.text, **({"metadata": one.metadata} if metadata else {})}
            for one in shown[start : start + size]
        ]
        more = str(start + size) if start + size < len(shown) else ""
        return {"messages": page, "has_more": bool(more), "response_metadata": {"next_cursor": more}}

    def _users_info(self, given: dict[str, Any]) -> dict[str, Any]:
        user = str(given.get("user", ""))
        if user not in self.users:
            raise No("user_not_found")
        email = self.users[user]
        team = self.teams.get(user, TEAM)
        return {"user": {"id": user, "team_id": team, "is_bot": False, "profile": {"email": email} if email else {}}}

    def _users_lookupByEmail(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        found = [user for user, email in self.users.items() if email and email == str(given.get("email", "")).lower()]
        if not found:
            raise No("users_not_found")
        return {"user": {"id": found[0]}}

    def _views_open(self, given: dict[str, Any]) -> dict[str, Any]:
        born = self.triggers.pop(str(given.get("trigger_id", "")), None)
        if born is None:
            raise No("exchanged_trigger_id")
        if time.monotonic() - born > 3:
            raise No("expired_trigger_id")
        view = dict(given["view"])
        try:
            View(**view).to_dict()
        except SlackObjectFormationError as error:
            raise No("invalid_arguments") from error
        view["id"] = f"V{next(self.count):08}"
        self.views[view["id"]] = view
        return {"view": view}

    # --- what people do ---------------------------------------------------------------------------------------------

    def delete(self, said: Said, channel: str = CHANNEL) -> None:
        """Delete a message; where others are in its thread, something stays in its place."""
        kept = self.channels[channel].said
        if any(one.thread == said.ts for one in kept):
            said.text, said.blocks, said.metadata, said.deleted = "This message was deleted.", [], {}, True
        else:
            kept.remove(said)

    def press(self, user: str, said: Said, label: str, **changes: Any) -> tuple[dict[str, str], bytes]:
        """Press a button; returns the request that Slack makes of it, as headers and body."""
        trigger = f"{next(self.count)}.trigger"
        self.triggers[trigger] = time.monotonic()
        button = said.buttons()[label]
        action = {k: button[k] for k in ("action_id", "value", "type") if k in button} | {"action_ts": self._new_ts()}
        payload = {
            "type": "block_actions",
            "user": {"id": user, "team_id": TEAM},
            "api_app_id": "A0",
            "container": {"type": "message", "message_ts": said.ts, "channel_id": CHANNEL, "thread_ts": said.thread},
            "channel": {"id": CHANNEL, "name": "deliveries"},
            "message": {"ts": said.ts, "thread_ts": said.thread, "text": said.text},
            "trigger_id": trigger,
            "response_url": "https://hooks.slack.example/actions/1",
            "actions": [action],
        }
        return signed_request(payload | changes)

    def submit(self, user: str, comment: str | None, view: str = "") -> tuple[dict[str, str], bytes]:
        """Send the form that was opened last."""
        found = self.views[view or max(self.views)]
        block = found["blocks"][0]
        value = {"type": "plain_text_input", "value": comment}
        state = {"values": {block["block_id"]: {block["element"]["action_id"]: value}}}
        shown = {k: found[k] for k in ("id", "callback_id", "private_metadata")} | {"state": state}
        return signed_request({"type": "view_submission", "user": {"id": user}, "view": shown})


def signed_request(
    payload: Any, *, secret: bytes = SIGNING_SECRET, at: float | None = None
) -> tuple[dict[str, str], bytes]:
    """Return a request as Slack signs it."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/x-www-form-urlencoded", "x-slack-request-timestamp": stamp}
    return {**headers, "x-slack-signature": f"v0={digest}"}, body


def faults_of(blocks: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with blocks, as ``slack_sdk``'s own models say."""
    found = [f"{len(blocks)} blocks"] if len(blocks) > BLOCKS_LIMIT else []
    for block in blocks:
        parsed = Block.parse(block)
        if parsed is None:
            found.append(f"unknown block {block.get('type')}")
            continue
        try:
            shown = parsed.to_dict()
        except (SlackObjectFormationError, ValueError) as error:
            found.append(f"{block['type']}: {error}")
            continue
        if lost := block.keys() - shown.keys():
            found.append(f"{block['type']}: {sorted(lost)} is nothing that it has")
    return found


def _arguments(method: str, call: Call) -> dict[str, Any]:
    given: dict[str, Any] = {name: values[-1] for name, values in call.query.items()}
    if "json" in call.headers.get("content-type", ""):
        if method in READS:
            raise No("invalid_arguments")
        return given | dict(call.json())
    return given | dict(parse_qsl(call.body.decode()))


def _words(part: Any) -> Iterator[str]:
    """Yield every text in blocks, the buttons' too."""
    if isinstance(part, list):
        for one in part:
            yield from _words(one)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _words(value)


@contextmanager
def fake_slack() -> Iterator[FakeSlack]:
    """Run a workspace."""
    server = HostServer()
    found = FakeSlack(server)
    server.host = found
    with server.running():
        yield found
