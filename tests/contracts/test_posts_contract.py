"""What messengers remember of what they have sent: the ledger's and the one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from feature_delivery.adapters.ledger import transactions
from feature_delivery.adapters.ledger.posts import SqlPosts
from feature_delivery.adapters.messengers.posts import Posts, Sent
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.records import now
from tests.fakes.ledger import memory_ledger
from tests.fakes.posts import FakePosts

SHOP, WHICH = ProjectName("shop"), (ProjectName("shop"), "slack", "m-1")


@pytest.fixture(params=["memory", "ledger"])
def posts(request: pytest.FixtureRequest) -> Iterator[Posts]:
    if request.param == "memory":
        yield FakePosts()
        return
    ledger = memory_ledger()
    yield SqlPosts(transactions(ledger.engine))
    ledger.close()


def test_a_message_that_was_about_to_be_sent_is_known_until_it_is_withdrawn(posts: Posts) -> None:
    assert posts.find(*WHICH) is None
    posts.intend(*WHICH)
    first = posts.find(*WHICH)
    assert first
    assert (first.place, first.ts) == ("", "")
    posts.intend(*WHICH)
    assert posts.find(*WHICH) == first  # when it was intended first is where it is looked for
    posts.withdraw(*WHICH)
    posts.withdraw(*WHICH)
    assert posts.find(*WHICH) is None


def test_a_message_that_is_there_is_not_withdrawn(posts: Posts) -> None:
    posts.intend(*WHICH)
    begun = posts.find(*WHICH)
    assert begun
    sent = Sent(place="C1", ts="1.2", digest="d", settled=False, at=now())
    posts.keep(*WHICH, sent)
    posts.withdraw(*WHICH)
    posts.intend(*WHICH)
    found = posts.find(*WHICH)
    assert found
    assert (found.place, found.ts, found.digest, found.settled) == ("C1", "1.2", "d", False)
    assert found.at == begun.at
    posts.keep(*WHICH, replace(found, place=""))
    posts.withdraw(*WHICH)
    assert posts.find(*WHICH) is None, "it counts as gone: what takes its place is about to be sent from then on"


def test_channels_and_projects_remember_their_own(posts: Posts) -> None:
    posts.intend(*WHICH)
    assert posts.find(SHOP, "mail", "m-1") is None
    assert posts.find(ProjectName("other"), "slack", "m-1") is None
