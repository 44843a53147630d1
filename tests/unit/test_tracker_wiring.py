"""A project's file leads to the tracker that it names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from feature_delivery.adapters.trackers.jira import JiraTracker
from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.bootstrap import hosts
from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.login import Login

FILE = """
name: shop
repository: https://git.example/shop/cart.git
solo: true
people: {{alice: {{roles: [developer, reviewer, tester, manager, operator]}}}}
tracker: {{kind: {kind}, connection: issues, project: shop, prefix: SHOP, states: {{done: [Closed]}}}}
"""


@pytest.mark.parametrize(("kind", "made"), [("jira", JiraTracker), ("redmine", RedmineTracker)])
def test_the_projects_file_names_its_tracker(monkeypatch: pytest.MonkeyPatch, kind: str, made: type) -> None:
    asked: list[str] = []

    def login(connection: str) -> Login:
        asked.append(connection)
        return Login(connection, url="https://tracker.example", user="bot@shop.test", secret="a-token")

    monkeypatch.setattr(hosts, "login", login)
    project = parse_project(FILE.format(kind=kind), where="shop.yaml")
    assert isinstance(hosts.tracker(project), made)
    assert asked == ["issues"]


def test_no_client_is_imported_before_it_is_asked_for() -> None:
    code = "import sys; import feature_delivery.bootstrap.hosts; print([m for m in sys.modules if 'atlassian' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
