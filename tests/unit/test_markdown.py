"""Text from outside in Markdown of ours reads as it was written, and does nothing."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.markdown import code, lines, link, plain, quoted, table

GAP = "\u200b"


def read(text: str) -> str:
    """Return what a reader sees."""
    return html.unescape(text).replace(GAP, "")


@pytest.mark.parametrize(
    "text",
    [
        "SHOP-1, attempt 1 (3f9c2ab), goes back. tess at preprod.wait_for_acceptance: Totals are wrong",
        "1 approval of: rita, tina, tom.",
        "See it at http://127.0.0.1:8080/cart?x=1",
        "50% off, 3 > 2, a - b",
    ],
)
def test_an_ordinary_sentence_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[click](javascript:alert(1))",
        "![x](https://evil.example/pixel.png)",
        "@everyone look",
        "closes #12",
        "fixes https://github.com/shop/cart/issues/12",
        "GH-12",
        "!12 %1 ~bug &3 $4",
        "/merge",
        "# Title",
        "- item",
        "1. item",
        "> quote",
        "```sh",
        "*bold* _it_ ~~gone~~",
        "a | b",
        "&lt;b&gt; &#60;",
        "====",
    ],
)
def test_marks_do_nothing_and_read_the_same(text: str) -> None:
    shown = plain(text)
    assert read(shown) == text
    assert shown != text


@given(st.text())
def test_whatever_is_written_no_mark_is_left(text: str) -> None:
    shown = plain(text, limit=10_000)
    assert not re.search(r"[<`*\[\]|\\]", shown)
    # Hosts look for references in what is shown, where an entity is its character again.
    assert not re.search(r"[@#!~%&$](?=[\w\"'{])", html.unescape(shown))
    assert not re.match(r"\s*([-+#>=/]|\d{1,9}[.)])", shown)
    assert "\n" not in shown


@given(st.text(alphabet="ab /@<\n", max_size=60))
def test_a_quotation_has_every_line_in_it(text: str) -> None:
    shown = quoted(text)
    assert all(line.startswith(">") for line in shown.split("\n") if line)
    assert "<" not in shown


def test_long_texts_are_cut() -> None:
    assert plain("word " * 1000, limit=20) == "word word word word…"
    assert len(quoted("x" * 100_000)) < 21_000


def test_our_own_lists_stay_lists() -> None:
    assert lines("Shipped.\n* Fix #12\n# No") == f"Shipped.\n* Fix #{GAP}12\n{GAP}# No"


def test_only_addresses_that_a_browser_opens_safely_become_links() -> None:
    assert link("Shop", "https://shop.example/a?b=1") == "[Shop](https://shop.example/a?b=1)"
    for url in (
        "javascript:alert(1)",
        "/relative",
        "https://x/(a)",
        'https://x/"',
        "https://x y",
        "data:text/html,x",
        "",
    ):
        assert link("Shop", url) == "Shop"


def test_code_and_tables_hold_what_they_are_given() -> None:
    assert code("abc`d|e") == "`abc d e`"
    assert table(("A", "B"), [("1", "2")]) == "| A | B |\n| --- | --- |\n| 1 | 2 |"
