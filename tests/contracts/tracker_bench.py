"""What the contract of trackers asks of a bench; each tracker has its own in a module beside this one.

A bench says by ``None`` what its tracker has not: the tests about it then do not apply to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_delivery.adapters.trackers.local import LocalTracker
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState, Tracker


def next_second() -> datetime:
    """Return the beginning of the second after this one, once it is there: most trackers count in seconds."""
    at = time.time() // 1 + 1
    time.sleep(max(at - time.time(), 0) + 0.01)
    return datetime.fromtimestamp(at, UTC)


@dataclass
class Bench:
    """A tracker under test, what people do on it, and what can be seen on its pages.

    ``mia`` writes issues, ``bob`` takes them; nobody is called ``nobody-at-all``.

    Attributes:
        given: Let mia write the issue ``SHOP-<n>``: title *Gift cards*, description *Sell them.*
        assign: Give an issue to somebody, or to nobody, in the tracker's page.
        comments: What readers see of an issue's comments, oldest first, links left out; markers are not seen.
        links: Title and address of the links on an issue, in the order of their making.
        moved: Bring an issue to a state in the tracker's page.
        moment: A time after everything so far and before everything to come, by the tracker's clock.
        numbers: The tracker gives out the keys itself.
        knows_logins: An unknown login is not found.
        block: Take from the workflow, or from our rights, every way to *done* for an issue.
        many: How many issues need more than one page of a listing.
        local: The local tracker, for tests about its own pages.
    """

    tracker: Tracker
    given: Callable[[FeatureKey], object]
    assign: Callable[[FeatureKey, str | None], object]
    comments: Callable[[FeatureKey], list[str]]
    local: LocalTracker | None = None
    links: Callable[[FeatureKey], list[tuple[str, str]]] | None = None
    moved: Callable[[FeatureKey, IssueState], object] | None = None
    moment: Callable[[], datetime] = next_second
    numbers: bool = True
    knows_logins: bool = True
    block: Callable[[FeatureKey], object] | None = None
    many: int = 3
