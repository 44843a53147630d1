"""Jira Cloud's documents (Atlassian Document Format): made of plain text, and read back into it.

A text becomes paragraphs, lists of lines that begin with a star, and links. Nothing in a text is taken for more than
that: no mention is made, no macro runs, no picture is fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.trackers.texts import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Node = dict[str, Any]

_ADDRESS = re.compile(r"https?://[^\s<>\"'`{}|\\^\[\]]+[^\s<>\"'`{}|\\^\[\].,;:!?)]")
_ITEM = re.compile(r"[*•-] +(?P<text>\S.*)")


def document(text: str) -> Node:
    """Return the document of a plain text."""
    blocks: list[Node] = []
    for part in re.split(r"\n[ \t]*\n", plain(text)):
        blocks += _blocks([line.rstrip() for line in part.split("\n")])
    return {"type": "doc", "version": 1, "content": blocks or [{"type": "paragraph", "content": []}]}


def text_of(body: Any) -> str:
    """Return the plain text of a document; texts and nothing at all come back as they are."""
    if isinstance(body, str):
        return body
    return "\n\n".join(_written(_members(body))).strip() if isinstance(body, dict) else ""


def _blocks(lines: Sequence[str]) -> Iterator[Node]:
    plain_lines: list[str] = []
    items: list[str] = []
    for line in lines:
        item = _ITEM.fullmatch(line.strip())
        if item:
            if plain_lines:
                yield _paragraph(plain_lines)
            plain_lines = []
            items.append(item["text"])
            continue
        if items:
            yield _list(items)
        items = []
        if line.strip() or plain_lines:
            plain_lines.append(line)
    if plain_lines:
        yield _paragraph(plain_lines)
    if items:
        yield _list(items)


def _paragraph(lines: Sequence[str]) -> Node:
    content: list[Node] = []
    for number, line in enumerate(lines):
        if number:
            content.append({"type": "hardBreak"})
        content += _inline(line)
    return {"type": "paragraph", "content": content}


def _list(items: Sequence[str]) -> Node:
    return {
        "type": "bulletList",
        "content": [{"type": "listItem", "content": [_paragraph([item])]} for item in items],
    }


def _inline(line: str) -> Iterator[Node]:
    begin = 0
    for found in _ADDRESS.finditer(line):
        if found.start() > begin:
            yield {"type": "text", "text": line[begin : found.start()]}
        yield {"type": "text", "text": found[0], "marks": [{"type": "link", "attrs": {"href": found[0]}}]}
        begin = found.end()
    if begin < len(line):
        yield {"type": "text", "text": line[begin:]}


def _members(node: Any) -> list[Node]:
    content = node.get("content") if isinstance(node, dict) else None
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def _written(blocks: Sequence[Node]) -> list[str]:
    return [text for block in blocks if (text := _block(block)).strip()]


def _block(node: Node) -> str:
    match node.get("type"):
        case "bulletList" | "taskList" | "decisionList":
            return "\n".join(f"* {_item(one)}" for one in _members(node))
        case "orderedList":
            return "\n".join(f"{number}. {_item(one)}" for number, one in enumerate(_members(node), start=1))
        case "table":
            return "\n".join(" | ".join(_item(cell) for cell in _members(row)) for row in _members(node))
        case "rule":
            return "---"
        case "blockquote":
            return "\n".join(f"> {line}" for line in "\n\n".join(_written(_members(node))).split("\n"))
    members = _members(node)
    if any(one.get("type") in _BLOCKS for one in members):
        return "\n\n".join(_written(members))
    return "".join(_piece(one) for one in members) or _piece(node)


def _item(node: Node) -> str:
    members = _members(node)
    if any(one.get("type") in _BLOCKS for one in members):
        return "\n".join(_written(members)).replace("\n", "\n  ")
    return "".join(_piece(one) for one in members)


def _piece(node: Node) -> str:
    attributes = node.get("attrs")
    attributes = attributes if isinstance(attributes, dict) else {}
    match node.get("type"):
        case "text":
            text, address = str(node.get("text", "")), _linked(node)
            return text if not address or address in text else f"{text} ({address})"
        case "hardBreak":
            return "\n"
        case "mention" | "emoji" | "status" | "date":
            names = ("text", "shortName", "timestamp")
            return next((str(attributes[name]) for name in names if attributes.get(name)), "")
        case "inlineCard" | "blockCard" | "embedCard":
            return str(attributes.get("url", ""))
    return "".join(_piece(one) for one in _members(node))


def _linked(node: Node) -> str:
    for mark in node.get("marks") or ():
        if isinstance(mark, dict) and mark.get("type") == "link" and isinstance(mark.get("attrs"), dict):
            return str(mark["attrs"].get("href", ""))
    return ""


_BLOCKS = frozenset(
    {
        "paragraph",
        "heading",
        "bulletList",
        "orderedList",
        "taskList",
        "decisionList",
        "codeBlock",
        "blockquote",
        "panel",
        "table",
        "rule",
        "expand",
        "nestedExpand",
        "mediaSingle",
        "mediaGroup",
        "blockCard",
        "embedCard",
    }
)
