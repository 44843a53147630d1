"""What a hint means to a project: its own branches, requests of its own host, issues of its own tracker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName
from feature_delivery.domain.project import HostConfig, TrackerConfig
from feature_delivery.services.control.webhooks import narrowed
from tests.support.shop_project import shop_project

LOCAL = shop_project()
ON_GITHUB = replace(
    LOCAL, host=HostConfig(kind="github", connection="c", repository="shop/cart"), tracker=TrackerConfig(kind="github")
)
WITH_JIRA = replace(ON_GITHUB, tracker=TrackerConfig(kind="jira", project="SHOP"))
KNOWN = {BranchName("my-own-way/cards")}


def means(hint: Hint, project: object = ON_GITHUB, *, host: str = "github") -> Hint:
    return narrowed(hint, project, KNOWN, host=host)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["feature/SHOP-1-cards", "feature/anything", "production", "preprod", *KNOWN])
@pytest.mark.parametrize("project", [LOCAL, ON_GITHUB, WITH_JIRA])
def test_branches_that_a_delivery_can_be_about_are_looked_at(name: str, project: object) -> None:
    hint = Hint(branch=BranchName(name), pushed=True, person="dora")
    assert means(hint, project) == hint
    assert means(hint, project, host="gitlab") == hint, "where a branch is, its repository says"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("candidate/SHOP-1", "our own candidate"),
        ("main", "another branch"),
        ("features/SHOP-1", "another branch"),
        ("hotfix/x", "another branch"),
    ],
)
def test_other_branches_are_not_for_us(name: str, reason: str) -> None:
    hint = Hint(branch=BranchName(name), pushed=True)
    assert means(hint) == replace(hint, ignored=reason)
    assert means(replace(hint, request=7)).ignored == reason


def test_the_number_of_a_request_means_nothing_on_another_host() -> None:
    hint = Hint(request=7, branch=BranchName("feature/SHOP-1"), person="rita")
    assert means(hint) == hint
    assert means(hint, host="gitlab") == replace(hint, request=None)
    assert means(hint, LOCAL) == replace(hint, request=None)
    fork = Hint(request=7)
    assert means(fork) == fork
    assert means(fork, host="gitea").ignored == "a request on another host than the project's"


def test_issues_are_looked_at_where_the_project_has_them() -> None:
    on_host, ticket, foreign = Hint(issue="42"), Hint(issue="SHOP-1"), Hint(issue="TOYS-1")
    none_of_ours = "an issue that is none of the project's"
    assert means(on_host) == on_host
    assert means(on_host, WITH_JIRA).ignored == none_of_ours
    assert means(on_host, LOCAL).ignored == none_of_ours
    assert means(ticket, WITH_JIRA, host="jira") == ticket
    assert means(foreign, WITH_JIRA, host="jira").ignored == none_of_ours
    assert means(ticket, host="jira").ignored == none_of_ours


PUSHED = Hint(branch=BranchName("feature/SHOP-1"), person="dora", pushed=True)


@pytest.mark.parametrize("what", [PUSHED, Hint(request=7), Hint(issue="42")])
def test_what_happens_in_another_repository_is_not_ours_however_wide_the_webhook_is(what: Hint) -> None:
    project = replace(ON_GITHUB, tracker=TrackerConfig(kind="github", project="shop/issues"))
    own, other = ("shop/issues", "shop/cart") if what.issue else ("shop/cart", "shop/issues")
    for name in (own, own.title(), ""):
        assert means(replace(what, repository=name), project).ignored == ""
    for name in (other, "shop/cart-theme", "other/cart"):
        assert means(replace(what, repository=name), project).ignored == "another repository"


def test_on_another_host_the_name_of_a_repository_says_nothing() -> None:
    assert means(replace(PUSHED, repository="mirror/cart"), host="gitlab") == PUSHED
    assert means(replace(PUSHED, repository="x/y"), LOCAL) == PUSHED
    below = replace(ON_GITHUB, host=HostConfig(kind="gitea", connection="c", repository="/git/shop/cart.git"))
    assert means(replace(PUSHED, repository="Shop/Cart"), below, host="gitea").ignored == ""
    assert means(replace(PUSHED, repository="shop/other"), below, host="gitea").ignored == "another repository"
