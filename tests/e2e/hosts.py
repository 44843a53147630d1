"""A shop on a fake Git host with a fake tracker, as the people of the end-to-end tests see it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from feature_delivery.adapters.trackers.unseen import unmarked
from tests.fakes.hosts.common import HostedRepository, HostServer
from tests.fakes.hosts.gitea import TOKEN, FakeGitea, fake_gitea
from tests.fakes.hosts.github import BOT_TOKEN, FakeGitHub
from tests.fakes.hosts.gitlab import PATH, FakeGitLab, fake_gitlab
from tests.fakes.hosts.gitlab import TOKEN as GITLAB_TOKEN
from tests.fakes.hosts.gitlab_state import DEVELOPER, MAINTAINER
from tests.fakes.hosts.jira import FakeJira, fake_jira
from tests.fakes.hosts.jira_state import Hook, User
from tests.fakes.hosts.redmine import FakeRedmine, fake_redmine
from tests.fakes.hosts.webhooks import WebhookSender
from tests.support.gitlab_stage import seen

APP = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from prices import total

class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(total([100, 250])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Shop).serve_forever()
"""
CHECK = """
import os, sys, urllib.request
from prices import total

assert total([1, 2]) == 3
if sys.argv[1:] == ["served"]:
    urllib.request.urlopen(os.environ["BASE_URL"])
"""
DELIVERY = """
version: 1
start: python app.py
health: {path: /healthz}
suites:
  syntax: {command: python -m py_compile app.py prices.py}
  unit: {command: python check.py}
  functional: {command: python check.py served}
  integration: {command: python check.py served}
"""
FILES = {
    "app.py": APP,
    "check.py": CHECK,
    "prices.py": "total = sum\n",
    "delivery.yaml": DELIVERY,
    "CODEOWNERS": "* @rita\n",
}
PEOPLE = {"dora": "developer", "rita": "reviewer", "tess": "tester", "max": "manager", "olga": "operator"}


@dataclass
class Page:
    """What a merge request's page shows."""

    state: str
    comments: list[str]
    statuses: dict[str, str]
    reviewers: list[str] = field(default_factory=list)


@dataclass
class Ticket:
    """What an issue's page shows."""

    done: bool
    comments: list[str]
    links: list[str]


class Shop(Protocol):
    """One project: the people's ways to act, and what they see."""

    name: str
    key: str
    polled: bool

    @property
    def repository(self) -> HostedRepository: ...

    def project(self) -> dict[str, Any]: ...

    def connections(self) -> Mapping[str, Mapping[str, str]]: ...

    def send_webhooks(self, url: str, secret: str) -> None: ...

    def take(self) -> None: ...

    def approve(self, number: int, by: str) -> None: ...

    def write(self, number: int, by: str, text: str) -> None: ...

    def page(self, number: int) -> Page: ...

    def ticket(self) -> Ticket: ...


def branch(shop: Shop) -> str:
    return f"feature/{shop.key}-gift-cards"


def seed(repository: HostedRepository) -> None:
    """Give the repository a shop that runs, on production and pre-production."""
    repository.push("production", FILES, by="olga")
    repository.move("preprod", str(repository.head("production")), by="olga")


def project_file(
    shop: Shop, host: dict[str, Any], tracker: dict[str, Any], logins: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "name": shop.name,
        "repository": shop.repository.url,
        "branches": {"production": "production", "preprod": "preprod"},
        "host": host,
        "tracker": tracker,
        "people": {
            name: {"roles": [role], "emails": [f"{name}@shop.test"], "logins": [logins.get(name, name)]}
            for name, role in PEOPLE.items()
        },
        "choices": {"open_request": True, "observe_for": "1s", "load_for": "1s", "look_every": "20s"},
    }


def written(directory: Path, shop: Shop) -> Path:
    file = directory / f"{shop.name}.yaml"
    file.write_text(yaml.safe_dump(shop.project(), sort_keys=False), encoding="utf-8")
    return file


def environment(shop: Shop) -> dict[str, str]:
    """Return the Connections as the environment holds them."""
    return {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "http", **fields})
        for name, fields in shop.connections().items()
    }


@dataclass
class OnGitHub:
    """GitHub, with issues in Jira Cloud."""

    fake: FakeGitHub
    jira: FakeJira
    name: str = "github_shop"
    key: str = "SHOP-7"
    polled: bool = False

    @property
    def repository(self) -> HostedRepository:
        return self.fake.repository

    def project(self) -> dict[str, Any]:
        host = {"kind": "github", "connection": "the_github", "repository": self.fake.full_name, "labels": ["delivery"]}
        tracker = {"kind": "jira", "connection": "the_jira", "project": "SHOP", "resolution": "Done"}
        return project_file(self, host, tracker, {})

    def connections(self) -> Mapping[str, Mapping[str, str]]:
        jira = self.jira.login()
        return {
            "the_github": {"host": self.fake.server.url, "password": BOT_TOKEN},
            "the_jira": {"host": jira.url, "login": jira.user, "password": jira.secret},
        }

    def send_webhooks(self, url: str, secret: str) -> None:
        self.fake.add_hook(url, secret)
        events = frozenset({"jira:issue_updated", "jira:issue_created", "comment_created"})
        self.jira.state.hooks.append(Hook(url, secret.encode(), events))

    def take(self) -> None:
        self.jira.state.assign(self.key, self.jira.state.users["dora"], by="dora")

    def approve(self, number: int, by: str) -> None:
        self.fake.review(number, by, "APPROVED")

    def write(self, number: int, by: str, text: str) -> None:
        self.fake.write(number, by, text)

    def page(self, number: int) -> Page:
        item = self.fake.pull(number)
        assert item.pull
        statuses = {one.context: one.state for one in self.fake.statuses if one.sha == item.pull.sha}
        state = "merged" if item.pull.merged_at else item.state
        return Page(state, self.fake.texts(number), statuses, list(item.pull.reviewers))

    def ticket(self) -> Ticket:
        issue = self.jira.state.issues[self.key]
        said = [json.dumps(one.body) for one in issue.comments]
        return Ticket(issue.status == "Done", said, [one["url"] for one in issue.links.values()])


@contextmanager
def on_github(directory: Path) -> Iterator[OnGitHub]:
    server = HostServer()
    with server.running(), fake_jira() as jira:
        fake = FakeGitHub(server, directory)
        with fake.sender.running():
            seed(fake.repository)
            for person in PEOPLE:
                fake.add(person)
                jira.state.users[person] = User(person, person, person.title(), f"{person}@shop.test", f"of-{person}")
            jira.state.give(7)
            yield OnGitHub(fake, jira)


@dataclass
class OnGitea:
    """Gitea, with issues in Redmine, which sends no webhooks."""

    fake: FakeGitea
    redmine: FakeRedmine
    sender: WebhookSender
    name: str = "gitea_shop"
    key: str = "SHOP-12"
    polled: bool = True

    @property
    def repository(self) -> HostedRepository:
        return self.fake.repository.git

    def project(self) -> dict[str, Any]:
        host = {"kind": "gitea", "connection": "the_gitea", "repository": "shop/cart", "labels": ["delivery"]}
        tracker = {"kind": "redmine", "connection": "the_redmine", "project": "shop", "prefix": "SHOP"}
        return project_file(self, host, tracker, {"dora": "bob"})

    def connections(self) -> Mapping[str, Mapping[str, str]]:
        redmine = self.redmine.login()
        return {
            "the_gitea": {"host": self.fake.url, "password": TOKEN},
            "the_redmine": {"host": redmine.url, "password": redmine.secret},
        }

    def send_webhooks(self, url: str, secret: str) -> None:
        events = ("push", "create", "delete", "pull_request", "pull_request_review", "pull_request_comment")
        self.fake.hook(url, secret, *events, "pull_request_review_approved")

    def take(self) -> None:
        self.redmine.assign(12, "bob")

    def approve(self, number: int, by: str) -> None:
        self.fake.person(by).review(number, "APPROVED")

    def write(self, number: int, by: str, text: str) -> None:
        self.fake.person(by).say(number, text)

    def page(self, number: int) -> Page:
        issue = self.fake.repository.issues[number]
        assert issue.pull
        statuses = {
            one.context: one.state for one in self.fake.repository.statuses if one.commit == issue.pull.last_head
        }
        state = "merged" if issue.pull.merged_at else "closed" if issue.closed else "open"
        return Page(state, [one.body for one in issue.comments], statuses)

    def ticket(self) -> Ticket:
        issue = self.redmine.issues[12]
        said = [unmarked(one.notes) for one in issue.journals]
        return Ticket(issue.status == 5, said, [one for one in said if "http" in one])


@contextmanager
def on_gitea(directory: Path) -> Iterator[OnGitea]:
    with fake_gitea(directory) as fake, fake_redmine() as redmine:
        seed(fake.repository.git)
        for person in (*PEOPLE, "bob"):
            fake.user(person, right="admin" if person == "olga" else "write")
        redmine.give(12)
        yield OnGitea(fake, redmine, fake.sender)


@dataclass
class OnGitLab:
    """GitLab, with its own issues. It keeps ``/approve`` for itself: commands begin with ``/delivery`` there."""

    fake: FakeGitLab
    name: str = "gitlab_shop"
    key: str = "CART-3"
    polled: bool = False

    @property
    def repository(self) -> HostedRepository:
        return self.fake.project.git

    def project(self) -> dict[str, Any]:
        host = {"kind": "gitlab", "connection": "the_gitlab", "repository": PATH, "labels": ["delivery"]}
        return project_file(self, host, {"kind": "gitlab", "prefix": "CART"}, {})

    def connections(self) -> Mapping[str, Mapping[str, str]]:
        return {"the_gitlab": {"host": self.fake.url, "password": GITLAB_TOKEN}}

    def send_webhooks(self, url: str, secret: str) -> None:
        self.fake.hook(url, "push", "merge_requests", "note", "issues", token=secret)

    def take(self) -> None:
        self.fake.person("dora").call("PUT", "/issues/3", {"assignee_ids": [self.fake.user("dora").id]})

    def approve(self, number: int, by: str) -> None:
        self.fake.person(by).approve(number)

    def write(self, number: int, by: str, text: str) -> None:
        self.fake.person(by).say(number, text.replace("/", "/delivery ", 1))

    def page(self, number: int) -> Page:
        request = self.fake.project.requests[number]
        statuses = {one.name: one.state for one in self.fake.project.statuses if one.sha == request.head}
        return Page("open" if request.state == "opened" else request.state, seen(request), statuses)

    def ticket(self) -> Ticket:
        issue = self.fake.project.issues[3]
        said = seen(issue)
        return Ticket(issue.state == "closed", said, [one for one in said if "http" in one])


@contextmanager
def on_gitlab(directory: Path) -> Iterator[OnGitLab]:
    with fake_gitlab(directory / "gitlab") as fake:
        seed(fake.project.git)
        for person in PEOPLE:
            fake.user(person, MAINTAINER if person == "olga" else DEVELOPER)
        fake.write_issue("Gift cards", "Sell them.", by="max", iid=3)
        yield OnGitLab(fake)
