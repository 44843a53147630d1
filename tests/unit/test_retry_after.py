"""``Retry-After`` as servers write it, and as they should not."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from feature_delivery.adapters.retry_after import asked_pause

AT_NOON = "Sat, 02 Jan 2027 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"retry-after": " 17 "}, 17),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "Sat, 02 Jan 2027 12:00:30 GMT", "Date": AT_NOON}, 30),
        ({"Retry-After": "Sat, 02 Jan 2027 11:59:00 GMT", "Date": AT_NOON}, 0),
        ({"Retry-After": "Sat, 02 Jan 2027 12:00:30", "date": AT_NOON}, 30),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "99999999999999999999"}, None),
    ],
)
def test_what_a_server_asks_for_is_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    """By seconds or by a date of the server's own clock; what cannot be read asks for nothing."""
    for container in (headers, httpx.Headers(headers) if _ascii(headers) else headers, CaseInsensitiveDict(headers)):
        assert asked_pause(container) == seconds


@given(st.text(), st.text())
def test_no_header_whatever_is_in_it_breaks_the_reading(asked: str, date: str) -> None:
    """The other side may send anything."""
    found = asked_pause({"Retry-After": asked, "Date": date})
    assert found is None or found >= 0


def _ascii(headers: dict[str, str]) -> bool:
    return all(value.isascii() for value in headers.values())
