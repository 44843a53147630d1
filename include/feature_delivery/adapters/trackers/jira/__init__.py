"""Jira Cloud and Jira Data Center, by atlassian-python-api."""

from __future__ import annotations

from feature_delivery.adapters.trackers.jira.tracker import JiraTracker

__all__ = ["JiraTracker"]
