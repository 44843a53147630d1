"""What the contract of trackers asks of a bench; each tracker has its own in a module beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from feature_delivery.adapters.trackers.local import LocalTracker
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import Tracker


@dataclass
class Bench:
    """A tracker under test, what people do on it, and what can be seen on its pages."""

    tracker: Tracker
    given: Callable[[FeatureKey], object]
    assign: Callable[[FeatureKey, str | None], object]
    comments: Callable[[FeatureKey], list[str]]
    local: LocalTracker | None = None
