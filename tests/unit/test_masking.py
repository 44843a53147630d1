"""Secrets in what others printed: gone before anybody is told; the rest is left as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.masking import masked
from feature_delivery.domain.process import Step
from feature_delivery.services.control.alerts import LINE_LIMIT, LINES_LIMIT, bounded

SECRET = "s3cr3tV4lue"


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"DB_PASSWORD: '{SECRET} with blanks'",
        f'{{"api_key": "{SECRET}", "a": 1}}',
        f"postgresql://shop:{SECRET}@db:5432/shop failed",
        f"https://oauth2:{SECRET}@git.example/shop.git",
        f"Authorization: Bearer {SECRET}",
        f"curl -H 'Authorization: Basic {SECRET}='",
        f"xoxb-{SECRET}-1",
        f"glpat-{SECRET}123456",
        f"ghp_{SECRET}123456",
        f"https://hooks.slack.com/services/T0/B0/{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f"access_token={SECRET}&x=1",
    ],
)
def test_what_looks_like_a_secret_is_not_told(text: str) -> None:
    assert SECRET not in masked(f"before {text} after")
    assert masked(f"before {text}").startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "3 tests failed: test_a_password_is_asked_for, test_tokens",
        "AssertionError: assert 12 == 13",
        "http://shop.example:8001/cart?item=7",
        "Could not merge feature/SHOP-1-token-page: a conflict in cart.py.",
    ],
)
def test_what_is_none_is_left_as_it_was(text: str) -> None:
    assert masked(text) == text


@given(st.text(max_size=300))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@given(st.lists(st.text(max_size=400), max_size=40))
def test_an_alert_takes_a_few_short_lines_of_anything(lines: list[str]) -> None:
    found = bounded(lines)
    assert len(found) <= LINES_LIMIT + 1
    assert all(len(line) <= LINE_LIMIT for line in found)


def test_half_a_secret_is_not_told_either() -> None:
    line = "x" * (LINE_LIMIT - 15) + f" password={SECRET}"
    assert SECRET[:3] not in bounded([line])[0]
    assert Step.PROMOTE not in bounded(["nothing"])
