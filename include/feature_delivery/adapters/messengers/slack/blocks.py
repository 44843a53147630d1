"""Messages as Block Kit: pure, within every limit that Slack has.

Text from outside is a literal wherever Slack has literals (``plain_text``, preformatted rich text); where a mention or
a link of ours stands beside it, it is escaped and ``verbatim``, so that Slack looks for nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.messengers.slack.text import (
    BUTTON_LIMIT,
    SECTION_LIMIT,
    clean,
    cut,
    escaped,
    link,
    one_line,
    safe_url,
)
from feature_delivery.domain.messages import MessageKind
from feature_delivery.domain.people import DecisionKind

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.ports.messenger import Link, Message

Block = dict[str, Any]
Signed = Callable[[DecisionKind], str]
"""Returns the value of a button."""

HEADER_LIMIT, FACT_LIMIT, TEXT_LIMIT, SECTIONS_LIMIT = 150, 300, 2500, 4
DECIDE, OPEN = "decide", "open"
REJECT_FORM = "reject"
COMMENT = "comment"

_ICONS = {
    MessageKind.NOTE: "",
    MessageKind.QUESTION: ":raising_hand: ",
    MessageKind.ALERT: ":red_circle: ",
    MessageKind.RECOVERY: ":large_green_circle: ",
    MessageKind.REMINDER: ":alarm_clock: ",
    MessageKind.DIGEST: ":hourglass_flowing_sand: ",
}
_LABELS = {
    DecisionKind.APPROVE: ("Approve", "primary"),
    DecisionKind.REJECT: ("Reject…", "danger"),
    DecisionKind.KEEP: ("Keep", "primary"),
    DecisionKind.ROLL_BACK: ("Roll back", "danger"),
}


def root(message: Message) -> tuple[list[Block], str]:
    """Return the message that begins a feature's thread: its title and where to follow it; and the same as text."""
    named = f"{message.key} {message.title}".strip()
    blocks: list[Block] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": clean(one_line(named, HEADER_LIMIT - 2)), "emoji": False},
        }
    ]
    if links := _links(message.home):
        blocks.append(links)
    return blocks, escaped(one_line(named, 300))


def body(message: Message, *, mentions: Sequence[str], signed: Signed | None) -> tuple[list[Block], str]:
    """Return a message, and the same as text for notifications.

    Args:
        message: What to say.
        mentions: Who is meant, as markup.
        signed: Gives the value of a button; without it there are none that decide.
    """
    over = message.outcome != "" and message.settled and message.question is not None
    resolved = message.kind is MessageKind.ALERT and message.settled and message.outcome != ""
    icon = ":white_check_mark: " if over or resolved else _ICONS[message.kind]
    said = escaped(message.text if len(message.text) <= TEXT_LIMIT else message.text[: TEXT_LIMIT - 1] + "…")
    # Who is meant first: it is what the notification on a phone shows.
    to = cut(" ".join(mentions), 400)
    blocks: list[Block] = [_section(cut(f"{icon}{f'{to} ' if to else ''}{said}"))]
    if message.facts:
        blocks += _literals([f"• {one_line(fact, FACT_LIMIT)}" for fact in message.facts])
    if message.details:
        blocks.append(_printed(message.details))
    if links := _links(message.links):
        blocks.append(links)
    if message.outcome:
        blocks.append(_outcome(message.outcome, message.at, done=message.settled))
    buttons = _buttons(message, signed)
    if buttons:
        blocks.append({"type": "actions", "block_id": DECIDE, "elements": buttons})
    return blocks, cut(f"{f'{to} ' if to else ''}{said}")


def plain(message: Message, *, mentions: Sequence[str]) -> str:
    """Return a message as text alone, for when Slack does not take its blocks."""
    lines = [" ".join([*mentions, escaped(message.text)])]
    lines += [escaped(one_line(line, FACT_LIMIT)) for line in (*message.facts, *message.details)]
    lines += [link(one.title, one.url) for one in message.links]
    lines += [escaped(message.outcome)] if message.outcome else []
    return cut("\n".join(line for line in lines if line))


def form(value: str, *, project: str, key: str, place: str, thread: str) -> dict[str, Any]:
    """Return the form that asks why something is rejected. ``value``: the button's, signed."""
    label = {"type": "plain_text", "text": "What must be different? The developer reads this.", "emoji": False}
    return {
        "type": "modal",
        "callback_id": REJECT_FORM,
        "private_metadata": f"{place} {thread} {value}",
        "title": {"type": "plain_text", "text": one_line(f"Reject {key}", 24), "emoji": False},
        "submit": {"type": "plain_text", "text": "Reject", "emoji": False},
        "close": {"type": "plain_text", "text": "Cancel", "emoji": False},
        "blocks": [
            {
                "type": "input",
                "block_id": COMMENT,
                "label": label,
                "hint": {"type": "plain_text", "text": one_line(f"It goes back to {project}'s developers.", 150)},
                "element": {
                    "type": "plain_text_input",
                    "action_id": COMMENT,
                    "multiline": True,
                    "max_length": SECTION_LIMIT,
                    "min_length": 1,
                },
            }
        ],
    }


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _literals(lines: Sequence[str]) -> list[Block]:
    """Return lines as sections; what is more than a message takes is left out, and said so."""
    parts = [""]
    for line in map(clean, lines):
        if len(parts[-1]) + len(line) + 1 > SECTION_LIMIT:
            parts.append("")
        parts[-1] += f"\n{line}" if parts[-1] else line
    if len(parts) > SECTIONS_LIMIT:
        parts[SECTIONS_LIMIT:] = ["… and more: see the board."]
    return [{"type": "section", "text": {"type": "plain_text", "text": part or " ", "emoji": False}} for part in parts]


def _printed(lines: Sequence[str]) -> Block:
    text = clean("\n".join(lines))[:TEXT_LIMIT]
    printed = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text or " "}]}
    return {"type": "rich_text", "elements": [printed]}


def _links(links: Sequence[Link]) -> Block | None:
    shown = [link(one.title, one.url) for one in links if safe_url(one.url)][:6]
    if not shown:
        return None
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(" · ".join(shown)), "verbatim": True}]}


def _outcome(text: str, at: datetime | None, *, done: bool) -> Block:
    when = (
        f" <!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{at:%d %b %H:%M} UTC>" if at is not None else ""
    )
    said = cut(escaped(one_line(text, 1500)), SECTION_LIMIT - len(when) - 12)
    said = f"*{said}*{when}" if done and "*" not in said else f"{said}{when}"
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": said, "verbatim": True}]}


def _buttons(message: Message, signed: Signed | None) -> list[Block]:
    kinds = message.question.kinds if message.question is not None else ()
    buttons = [_button(kind, signed(kind)) for kind in kinds] if signed is not None else []
    if url := safe_url(message.board):
        label = {"type": "plain_text", "text": "Open board", "emoji": False}
        open_board = {"type": "button", "action_id": OPEN, "text": label, "url": url}
        if message.question is not None or message.kind is MessageKind.ALERT:
            buttons.append(open_board)
    return buttons


def _button(kind: DecisionKind, value: str) -> Block:
    label, style = _LABELS[kind]
    found: Block = {
        "type": "button",
        "action_id": f"{DECIDE}:{kind}",
        "text": {"type": "plain_text", "text": one_line(label, BUTTON_LIMIT), "emoji": False},
        "style": style,
        "value": value,
    }
    if kind is DecisionKind.ROLL_BACK:
        found["confirm"] = {
            "title": {"type": "plain_text", "text": "Roll production back?"},
            "text": {"type": "plain_text", "text": "Production returns to what it was before this feature."},
            "confirm": {"type": "plain_text", "text": "Roll back"},
            "deny": {"type": "plain_text", "text": "Cancel"},
            "style": "danger",
        }
    return found
