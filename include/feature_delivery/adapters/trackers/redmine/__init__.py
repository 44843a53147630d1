"""Redmine: a few calls of its REST API by httpx, for want of a client library that is kept well."""

from __future__ import annotations

from feature_delivery.adapters.trackers.redmine.tracker import RedmineTracker

__all__ = ["RedmineTracker"]
