"""Messages in one Slack channel: a thread for each feature, each message once.

Before a message is sent it is written down that it will be; afterwards, where it is. So a message of which nobody knows
whether it arrived (a crash, a time-out) is looked for in the channel by the id in its metadata before it is sent again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.messengers.posts import Sent
from feature_delivery.adapters.messengers.slack import blocks as kit
from feature_delivery.adapters.messengers.slack.client import NoPlace, NoThread, Unfit
from feature_delivery.adapters.messengers.slack.text import cut, escaped
from feature_delivery.domain.errors import NotFound, Permanent, RateLimited, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.records import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feature_delivery.adapters.messengers.posts import Posts
    from feature_delivery.adapters.messengers.slack.client import Api
    from feature_delivery.adapters.messengers.slack.directory import Directory
    from feature_delivery.domain.messages import MessagesConfig
    from feature_delivery.domain.people import DecisionKind
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.messenger import Message, Question

EVENT = "feature_delivery_message"
"""Type of the metadata by which a message is known again."""

CLOCKS_DIFFER = timedelta(minutes=10)
_log = logging.getLogger(__name__)

DIGEST_DIGITS = 48
PAGE, PAGES = 200, 10
"""So many messages, and so often, are looked through for one that may have arrived."""


class SlackMessenger:
    """``Chat`` in the channel of one project."""

    def __init__(
        self,
        api: Api,
        *,
        project: ProjectConfig,
        posts: Posts,
        directory: Directory,
        sign: Callable[[Question, DecisionKind], str] | None,
        signer: str,
    ) -> None:
        """``sign`` gives the value of a button; without it there are none, because nobody could believe a press.

        ``signer``: by whom it is signed, kept with each message.
        """
        self._api = api
        self._project = project
        self._config: MessagesConfig = project.messages
        self._posts = posts
        self._directory = directory
        self._sign = sign
        self._signer = signer

    def send(self, message: Message) -> None:
        """Send it, in the thread of its feature, which begins with the first message."""
        known = self._posts.find(message.project, CHAT, message.id)
        if known is not None and known.place:
            return
        thread, said = self._thread(message) if message.key is not None else "", self._said(message)
        try:
            self._post(message, message.id, thread, known, *said)
        except NoThread:
            if not thread:
                raise
            # Somebody has deleted or locked it. What happens to the feature is told all the same, in another one.
            self._post(message, message.id, self._thread(message, gone=thread), None, *said)
        if known is not None:
            self.update(message)  # where it has arrived before, it may say what was so then

    def update(self, message: Message) -> None:
        """Make it say what is so now, if that is something else; one that is gone, or cannot be changed, stays so."""
        known = self._posts.find(message.project, CHAT, message.id)
        if known is None or not known.place:
            return  # it is sent with what is so then
        shown, text, settled = self._said(message)
        digest = self._digest(shown, text)
        if digest[:DIGEST_DIGITS] != known.digest[:DIGEST_DIGITS]:
            what = f"mend a message in the channel {known.place}"
            try:
                self._plainer("chat.update", what, message, shown, text, channel=known.place, ts=known.ts)
            except (NotFound, Refused) as error:
                _log.info("A message of %s stays as it is: %s", message.project, error)
                settled = True
            except NoPlace:
                if known.place == self._config.channel:
                    raise
                settled = True  # the project speaks in another channel by now
        if digest != known.digest or settled != known.settled:
            changed = replace(known, digest=digest, settled=settled)
            self._posts.keep(message.project, CHAT, message.id, changed)

    def emails_of(self, user: str) -> Sequence[str]:
        """Return the address of an account, if it shows one."""
        return self._directory.emails_of(user)

    def whisper(self, user: str, place: str, thread: str, text: str) -> None:
        """Tell one person something in the thread; nobody else sees it."""
        said: dict[str, Any] = {"channel": place, "user": user, "text": cut(escaped(text))}
        if thread:
            said["thread_ts"] = thread
        self._api.call("chat.postEphemeral", "tell somebody in private", **said)

    def ask_why(self, trigger: str, value: str, *, key: str, place: str, thread: str) -> None:
        """Open the form that asks why something is rejected; Slack allows three seconds for it after the press."""
        form = kit.form(value, project=self._project.title, key=key, place=place, thread=thread)
        self._api.call("views.open", "open the form for a rejection", trigger_id=trigger, view=form)

    def examine(self) -> list[Finding]:
        """Look at token, channel and people."""
        who = self._api.ask("auth.test", "log in")
        found = [Finding("", well=True, sentence=f"Logged in as {who.get('user')} of {who.get('team')}.")]
        found.append(self._channel_found())
        unknown = sorted(name for name in self._project.people.persons if not self._directory.account(name))
        if unknown:
            said = f"No account is known for {', '.join(unknown)}: they are named without a mention. Write their user "
            said += "ids under 'messages.mentions', or the addresses of their accounts as 'emails'."
            return [*found, Finding("people", well=False, sentence=said)]
        return [*found, Finding("people", well=True, sentence="Everybody has an account.")]

    def _channel_found(self) -> Finding:
        place = self._config.channel
        try:
            channel = self._api.ask("conversations.info", f"look at the channel {place}", channel=place)["channel"]
            self._api.ask("conversations.history", f"read the channel {place}", channel=place, limit=1)
        except Permanent as error:
            return Finding("channel", well=False, sentence=str(error))
        if not channel.get("is_member"):
            said = f"The app is not in #{channel.get('name')}: say '/invite' with the app's name there."
            return Finding("channel", well=False, sentence=said)
        return Finding("channel", well=True, sentence=f"Posts to #{channel.get('name')}.")

    def _thread(self, message: Message, *, gone: str = "") -> str:
        """Return the thread of a feature; begun when there is none yet in this channel, or none but ``gone``."""
        marker = f"thread:{message.run_id or message.key}"
        known = self._posts.find(message.project, CHAT, marker)
        if known is not None and known.place:
            if known.place == self._config.channel and known.ts != gone:
                return known.ts
            # Forgotten, so that what is about to be sent is looked for from now on.
            self._posts.keep(message.project, CHAT, marker, replace(known, place=""))
            self._posts.withdraw(message.project, CHAT, marker)
            known = None
        shown, text = kit.root(message)
        return self._post(message, marker, "", known, shown, text, settled=True)

    def _said(self, message: Message) -> tuple[list[kit.Block], str, bool]:
        mentions = self._directory.mentions(message.to, message.roles)
        question, sign = message.question, self._sign
        if question is None or sign is None:
            return *kit.body(message, mentions=mentions, signed=None), message.settled
        return *kit.body(message, mentions=mentions, signed=partial(sign, question)), message.settled

    def _post(  # noqa: PLR0917 - what a message is, and what is known of it
        self,
        message: Message,
        marker: str,
        thread: str,
        known: Sent | None,
        shown: list[kit.Block],
        text: str,
        settled: bool,  # noqa: FBT001 - one of what a message is
    ) -> str:
        """Send one message unless it is there; returns its id."""
        project, place = message.project, self._config.channel
        ts, digest = self._arrived(marker, thread, known) if known is not None else "", ""
        if not ts:
            self._posts.intend(project, CHAT, marker)
            said: dict[str, Any] = {"channel": place, "unfurl_links": False, "unfurl_media": False}
            said["metadata"] = {"event_type": EVENT, "event_payload": {"id": marker}}
            if thread:
                said |= {"thread_ts": thread, "reply_broadcast": message.loud}
            try:
                answer = self._plainer("chat.postMessage", f"post to the channel {place}", message, shown, text, **said)
            except (RateLimited, Permanent):
                self._posts.withdraw(project, CHAT, marker)  # Slack has answered: it is not there
                raise
            ts, digest = str(answer["ts"]), self._digest(shown, text)
        sent = Sent(place=place, ts=ts, digest=digest, settled=settled and digest != "", at=now())
        self._posts.keep(project, CHAT, marker, sent)
        return ts

    def _plainer(
        self, method: str, what: str, message: Message, shown: list[kit.Block], text: str, **said: Any
    ) -> dict[str, Any]:
        """Say it with blocks; as text alone when Slack does not take them: a message is never lost for its looks."""
        try:
            return self._api.call(method, what, **said, text=text, blocks=shown)
        except Unfit:
            mentions = self._directory.mentions(message.to, message.roles)
            return self._api.call(method, what, **said, text=kit.plain(message, mentions=mentions), blocks=[])

    def _digest(self, shown: list[kit.Block], text: str) -> str:
        """Return a digest of what a message says, its buttons' signatures too, and by whom they would be signed."""
        said = hashlib.sha256(json.dumps([shown, text], sort_keys=True).encode()).hexdigest()
        return f"{said[:DIGEST_DIGITS]}{self._signer}"

    def _arrived(self, marker: str, thread: str, known: Sent) -> str:
        """Return the id of a message that was about to be sent and has arrived; empty when it has not."""
        place = self._config.channel
        asked: dict[str, Any] = {"channel": place, "include_all_metadata": True, "limit": PAGE}
        asked["oldest"] = f"{(known.at - CLOCKS_DIFFER).timestamp():.6f}"
        method = "conversations.history"
        if thread:
            method, asked["ts"] = "conversations.replies", thread
        for _ in range(PAGES):
            page = self._api.ask(method, f"read the channel {place}", **asked)
            for one in page.get("messages", ()):
                if _marker(one) == marker:
                    return str(one["ts"])
            asked["cursor"] = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not asked["cursor"]:
                break
        return ""


def _marker(message: Any) -> str:
    metadata = message.get("metadata") or {}
    return str((metadata.get("event_payload") or {}).get("id", "")) if metadata.get("event_type") == EVENT else ""
