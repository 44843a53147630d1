"""Texts on their way to trackers and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.trackers.jira.adf import document, text_of
from feature_delivery.adapters.trackers.jira.wiki import escaped, unescaped
from feature_delivery.adapters.trackers.texts import one_line, plain, reported, reporter_in
from feature_delivery.adapters.trackers.unseen import carries, marked, unmarked, unseen
from tests.fakes.hosts.jira_documents import is_document

NOTES = """SHOP-1 Gift cards is in production.
Production went from 1111111111 to 2222222222.
* Sell gift cards, see https://shop.example/cards?a=1&b=(2).
* Tidy up

See it at https://shop.example"""


def test_release_notes_become_paragraphs_a_list_and_links() -> None:
    made = document(NOTES)
    assert is_document(made)
    assert [block["type"] for block in made["content"]] == ["paragraph", "bulletList", "paragraph"]
    first, bullets, last = made["content"]
    assert [piece["type"] for piece in first["content"]] == ["text", "hardBreak", "text"]
    linked = bullets["content"][0]["content"][0]["content"][1]
    assert linked["text"] == "https://shop.example/cards?a=1&b=(2"
    assert linked["marks"] == [{"type": "link", "attrs": {"href": linked["text"]}}]
    assert last["content"][1]["text"] == "https://shop.example"


def test_a_document_is_read_as_the_text_that_it_was() -> None:
    assert text_of(document("Sell them.\nNow.\n\nPlease.")) == "Sell them.\nNow.\n\nPlease."
    assert text_of(None) == ""
    assert text_of("plain") == "plain"
    assert text_of({"type": "doc"}) == ""


def test_what_people_write_in_the_browser_is_read_too() -> None:
    def paragraph(*content: object) -> dict[str, object]:
        return {"type": "paragraph", "content": list(content)}

    def text(words: str, href: str = "") -> dict[str, object]:
        marks = [{"type": "link", "attrs": {"href": href}}] if href else []
        return {"type": "text", "text": words, "marks": marks}

    items = [{"type": "listItem", "content": [paragraph(text("one"))]}] * 2
    body = {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "heading", "attrs": {"level": 1}, "content": [text("Cards")]},
            paragraph(text("by "), {"type": "mention", "attrs": {"id": "1", "text": "@Mia"}}, text("here", "http://x")),
            {"type": "orderedList", "content": items},
            {"type": "codeBlock", "content": [text("a = 1\nb")]},
            {"type": "panel", "content": [paragraph(text("Mind"))]},
            {"type": "rule"},
            {"type": "blockquote", "content": [paragraph(text("said"))]},
            {"type": "mediaSingle", "content": [{"type": "media", "attrs": {"id": "x"}}]},
            {"type": "unknown", "content": [{"type": "inlineCard", "attrs": {"url": "http://card"}}]},
        ],
    }
    assert text_of(body) == (
        "Cards\n\nby @Miahere (http://x)\n\n1. one\n2. one\n\na = 1\nb\n\nMind\n\n---\n\n> said\n\nhttp://card"
    )


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\n\n *-h{}[]!\\https://x.y/")))
def test_every_text_makes_a_document_that_jira_takes_and_loses_no_word(words: str) -> None:
    made = document(words)
    assert is_document(made)
    written, read = "".join(plain(words).split()), "".join(text_of(made).split())
    assert read.replace("*", "").replace("•", "").replace("-", "") == (
        written.replace("*", "").replace("•", "").replace("-", "")
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "text", "attrs", "marks", "href", "url"]), inner, max_size=4
        )
    ),
)


@given(json_values)
def test_no_document_however_odd_is_an_error_to_read(body: object) -> None:
    assert isinstance(text_of(body), str)


@given(st.text())
def test_a_wiki_text_shows_what_was_written(words: str) -> None:
    assert unescaped(escaped(words)) == plain(words)


@pytest.mark.parametrize("trick", ["[~mia]", "!http://evil/x.png!", "{include:secret}", "\\{code}", "\\\\{code}"])
def test_no_text_becomes_a_mention_a_picture_or_a_macro(trick: str) -> None:
    wiki = escaped(trick)
    for position, character in enumerate(wiki):
        if character in "{}[]!|":
            before = wiki[:position]
            assert (len(before) - len(before.rstrip("\\"))) % 2 == 1, wiki


@given(st.text(), st.text(), st.text())
def test_a_mark_is_known_again_and_no_other_is_taken_for_it(words: str, marker: str, other: str) -> None:
    text = marked(words, marker, limit=10_000)
    assert carries(text, marker)
    assert carries(text + " \n", marker)
    assert carries(text, other) is (marker == other)
    assert not carries(f"> {text}\nI disagree", marker)
    assert unseen(marker) not in unmarked(text)


def test_a_text_that_is_too_long_keeps_its_mark() -> None:
    text = marked("a" * 500, "m", limit=200)
    assert len(text) == 200
    assert carries(text, "m")


def test_a_reporter_is_told_and_found_again() -> None:
    text = reported("Sell them.", "mia@shop.test <b>", limit=100)
    assert unmarked(text) == "Sell them.\n\nReported by mia@shop.test b."
    assert reporter_in(text) == ("mia@shop.test b", "Sell them.")
    assert reporter_in(reported("", "mia", limit=100)) == ("mia", "")
    assert reporter_in("Sell them.\n\nReported by eve.") is None
    assert reported("Sell them.", "", limit=100) == "Sell them."


def test_titles_are_one_line() -> None:
    assert one_line(" Gift\r\n\tcards\x00 " + "x" * 300, limit=20) == "Gift cards xxxxxxxxx"
