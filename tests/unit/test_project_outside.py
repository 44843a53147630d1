"""Where requests and issues are, as the project file says it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.project import ProjectConfig

PEOPLE = """
people:
  dan: {roles: [developer], logins: [dan-gh]}
  rob: {roles: [reviewer]}
  tom: {roles: [tester]}
  mia: {roles: [manager, operator]}
"""


def project(text: str, repository: str = "https://git.example/shop/cart.git") -> ProjectConfig:
    return parse_project(f"name: shop\nrepository: {repository}\n{PEOPLE}\n{text}", where="shop.yaml")


def refusal(text: str, repository: str = "https://git.example/shop/cart.git") -> str:
    with pytest.raises(Misconfigured, match=r"Project file 'shop\.yaml'") as caught:
        project(text, repository)
    return str(caught.value)


def test_nothing_said_is_the_local_host_and_tracker() -> None:
    for text in ("", "host: local\ntracker: local", "host: {kind: local}\ntracker: {kind: local}"):
        found = project(text)
        assert (found.host.kind, found.tracker.kind) == ("local", "local")


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("https://github.com/shop/cart.git", "shop/cart"),
        ("https://github.com/shop/cart", "shop/cart"),
        ("git@gitlab.example:group/sub/cart.git", "group/sub/cart"),
        ("ssh://git@gitlab.example:2222/group/sub/cart.git", "group/sub/cart"),
    ],
)
def test_the_repository_is_named_by_its_address(repository: str, name: str) -> None:
    assert project("host: {kind: gitlab, connection: gl}", repository).host.repository == name


def test_a_host_has_everything_it_needs() -> None:
    found = project("host: {kind: github, connection: gh, repository: other/cart, labels: [delivery, shop]}").host
    assert (found.kind, found.connection, found.repository) == ("github", "gh", "other/cart")
    assert found.labels == ("delivery", "shop")
    assert found.branches == ("main", "preprod")


def test_the_hosts_own_issues_need_a_prefix_and_no_more() -> None:
    host = "host: {kind: gitea, connection: gt}\n"
    found = project(host + "tracker: {kind: gitea, prefix: SHOP}").tracker
    assert (found.connection, found.project, found.key_of("42")) == ("gt", "shop/cart", "SHOP-42")
    assert "'tracker.prefix'" in refusal(host + "tracker: {kind: gitea}")


def test_jira_names_its_issues_itself() -> None:
    text = (
        "tracker: {kind: jira, connection: jira, project: SHOP, states: {in_progress: [Doing], done: [Done, Closed]}}"
    )
    found = project(text).tracker
    assert found.key_of("SHOP-7") == "SHOP-7"
    assert found.states == {"in_progress": ("Doing",), "done": ("Done", "Closed")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("host: {kind: github}", "'host.connection'"),
        ("host: {kind: bitbucket, connection: b}", "field 'host"),
        ("host: {connection: b}", "field 'host"),
        ("host: {kind: github, connection: gh, token: x}", "field 'host"),
        ("tracker: {kind: jira, connection: j}", "'tracker.project'"),
        ("tracker: {kind: redmine, project: shop, prefix: SHOP}", "'tracker.connection'"),
        ("tracker: {kind: github, connection: gh, project: shop/cart, prefix: shop}", "field 'tracker"),
        ("tracker: {kind: jira, connection: j, project: S, states: {closed: [x]}}", "field 'tracker"),
        ("choices: {look_every: never}", "field 'choices.look_every'"),
        ("choices: {cancel_on_close: perhaps}", "field 'choices.cancel_on_close'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_a_repository_that_is_none_on_a_host_is_refused() -> None:
    assert "'host.repository'" in refusal("host: {kind: github, connection: gh}", "/srv/shop.git")


def test_choices_about_looking_and_closing() -> None:
    found = project("choices: {look_every: 1m, cancel_on_close: true}").choices
    assert (found.look_every, found.cancel_on_close) == (timedelta(minutes=1), True)
    assert (project("").choices.look_every, project("").choices.cancel_on_close) == (timedelta(minutes=5), False)
