"""What others do to a feature while people have its page open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from feature_delivery.domain.names import CommitSha, ProjectName, feature_key
from feature_delivery.domain.records import Event, now
from feature_delivery.web.board import pulse
from feature_delivery.web.transaction import begin
from tests.support.board_world import Planted

NEW = "e" * 40


@contextmanager
def changed(key: str) -> Iterator[Planted]:
    """Change a feature as it comes to be changed by others, so that open pages hear of it."""
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key(key))
        assert feature is not None
        yield Planted(unit.books, feature, now())
        unit.books.add(Event(project=feature.project, feature_id=feature.id, kind="noted", text="Changed."))
    pulse.snapshots.forget()


def push(key: str) -> None:
    """Have a feature be at another commit than open pages show."""
    with changed(key) as planted:
        attempt = planted.books.attempt(planted.feature)
        assert attempt is not None
        attempt.commit = CommitSha(NEW)


def happens(page: Page, key: str) -> None:
    """Let something happen that changes no form of a feature's page, and wait until that shows it."""
    history = page.locator("#d-history > summary")
    before = history.inner_text()
    with changed(key):
        pass
    expect(history).not_to_have_text(before)
