"""Whether a body is a document that Jira Cloud takes (Atlassian Document Format): a plain text is none."""

from __future__ import annotations

from typing import Any

BLOCKS = frozenset({"paragraph", "bulletList", "orderedList", "heading", "codeBlock", "blockquote", "rule", "panel"})
INLINE = frozenset({"text", "hardBreak", "mention", "emoji", "inlineCard"})
INSIDE = {
    "doc": BLOCKS,
    "paragraph": INLINE,
    "heading": INLINE,
    "codeBlock": frozenset({"text"}),
    "bulletList": frozenset({"listItem"}),
    "orderedList": frozenset({"listItem"}),
    "listItem": frozenset({"paragraph", "bulletList", "orderedList", "codeBlock"}),
    "blockquote": frozenset({"paragraph", "bulletList", "orderedList"}),
    "panel": frozenset({"paragraph", "heading", "bulletList", "orderedList"}),
}
NEEDS_CONTENT = frozenset({"bulletList", "orderedList", "listItem", "blockquote", "panel"})
MARKS = frozenset({"link", "strong", "em", "code", "strike", "underline"})
FIELDS = frozenset({"type", "content", "attrs", "marks", "text", "version"})


def is_document(body: Any) -> bool:
    """Say whether Jira takes it."""
    return isinstance(body, dict) and body.get("type") == "doc" and body.get("version") == 1 and _fits(body)


def _fits(node: Any) -> bool:
    if not isinstance(node, dict) or not set(node) <= FIELDS:
        return False
    kind = node.get("type")
    if kind == "text":
        text, marks = node.get("text"), node.get("marks", [])
        return isinstance(text, str) and text != "" and "\n" not in text and all(map(_is_mark, marks))
    content = node.get("content", [])
    if kind not in INSIDE:
        return not content and kind in INLINE | {"rule"}
    if kind in NEEDS_CONTENT and not content:
        return False
    return isinstance(content, list) and all(_fits(one) and one["type"] in INSIDE[kind] for one in content)


def _is_mark(mark: Any) -> bool:
    if not isinstance(mark, dict) or mark.get("type") not in MARKS:
        return False
    address = mark.get("attrs", {}).get("href")
    return mark["type"] != "link" or (isinstance(address, str) and address.startswith(("http://", "https://")))
