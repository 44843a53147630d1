"""All rows of an export, page by page; a server that knows no pages is not asked for ever."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from feature_delivery.cli import operator_commands
from feature_delivery.cli.api import Api, Login
from feature_delivery.cli.operator_commands import _pages
from feature_delivery.domain.errors import Unavailable


class Server(Api):
    """Has rows 1 to 7; an old one does not know ``before``."""

    def __init__(self, *, old: bool = False) -> None:
        super().__init__(Login(address="http://shop.test", user="max", password="", token="x"))
        self._old = old

    def get(self, path: str, *, timeout_seconds: float = 0.0) -> Any:
        asked = {name: int(found[0]) for name, found in parse_qs(urlsplit(path).query).items()}
        before = asked["before"] if "before" in asked and not self._old else 8
        return [{"number": number} for number in range(before - 1, 0, -1)][: asked["limit"]]


@pytest.mark.parametrize(
    ("wanted", "count", "more"), [(None, 7, False), (3, 3, True), (6, 6, True), (7, 7, False), (9, 7, False)]
)
@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_what_is_wanted_is_given_and_said_when_there_is_more(
    monkeypatch: pytest.MonkeyPatch, size: int, wanted: int | None, count: int, *, more: bool
) -> None:
    monkeypatch.setattr(operator_commands, "PAGE", size)
    rows, said = _pages(Server(), "/projects/shop/audit", {"since": "2026"}, wanted=wanted)
    assert [row["number"] for row in rows] == list(range(7, 7 - count, -1))
    assert said is more


def test_a_server_of_an_older_version_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_commands, "PAGE", 3)
    with pytest.raises(Unavailable, match="gives the newest 3 rows only"):
        _pages(Server(old=True), "/projects/shop/audit", {}, wanted=None)
