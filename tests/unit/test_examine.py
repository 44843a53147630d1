"""What ``doctor --project`` finds: each part by itself, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from feature_delivery.domain.errors import Misconfigured, Unavailable
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import BranchName
from feature_delivery.services.control.examine import Parts, examine
from tests.fakes.git_host import FakeGitHost
from tests.fakes.repository import FakeRepository
from tests.fakes.tracker import FakeTracker
from tests.support.stage import outside_shop
from tests.support.world import PREPROD, PRODUCTION, shop

PATH = "https://airflow.example/feature-delivery/webhooks/shop"


def raising(error: Exception) -> Callable[[], Any]:
    def make() -> Any:
        raise error

    return make


def parts(**changes: Any) -> Parts:
    repository = FakeRepository()
    first = repository.write({}, (), "First", "x@y.z").sha
    repository.branches |= {PRODUCTION: first, PREPROD: first}
    made: dict[str, Any] = {
        "repository": lambda: repository,
        "host": lambda: FakeGitHost(repository.heads),
        "tracker": FakeTracker,
        "secrets": lambda: 1,
        "path": PATH,
    }
    return Parts(**{**made, **changes})


def bad(found: list[Finding]) -> dict[str, str]:
    return {one.what: one.sentence for one in found if not one.well}


def with_logins() -> Any:
    project = outside_shop()
    persons = {n: replace(p, logins=frozenset({n})) for n, p in project.people.persons.items()}
    return replace(project, people=replace(project.people, persons=persons))


def test_where_all_is_well_every_part_is_named() -> None:
    found = examine(with_logins(), parts())
    assert bad(found) == {}
    assert [one.what for one in found] == [
        "shop: git",
        "shop: branch main",
        "shop: branch preprod",
        "shop: host github, token",
        "shop: tracker github, workflow",
        "shop: webhook",
        "shop: people",
    ]
    assert PATH in found[5].sentence


def test_gates_that_the_same_person_would_have_to_pass_are_found() -> None:
    project = with_logins()
    persons = {n: p for n, p in project.people.persons.items() if n in {"dan", "rita", "max"}}
    assert bad(examine(replace(project, people=replace(project.people, persons=persons)), parts()))[
        "shop: sign-offs"
    ].startswith("Review and acceptance take 2 people, each another one, and only rita may decide there:")


def test_a_missing_connection_hides_nothing_else() -> None:
    error = Misconfigured("There is no Airflow Connection 'github'. Add one of type HTTP.")
    found = bad(examine(with_logins(), parts(host=raising(error), repository=raising(error))))
    assert found == {"shop: git": str(error), "shop: host github": str(error)}


def test_a_tracker_that_does_not_answer_is_a_finding() -> None:
    tracker = FakeTracker(down=Unavailable("The tracker does not answer."))
    assert bad(examine(with_logins(), parts(tracker=lambda: tracker))) == {
        "shop: tracker github": "The tracker does not answer."
    }


def test_a_fault_of_an_adapter_is_a_finding_without_its_details() -> None:
    found = bad(examine(with_logins(), parts(host=raising(ValueError("token ghp_secret")))))
    assert "ValueError" in found["shop: host github"]
    assert "secret" not in found["shop: host github"]


def test_missing_branches_are_named() -> None:
    repository = FakeRepository()
    assert bad(examine(with_logins(), parts(repository=lambda: repository))).keys() == {"shop: git"}
    repository.branches[BranchName("trunk")] = repository.write({}, (), "First", "x@y.z").sha
    found = bad(examine(with_logins(), parts(repository=lambda: repository)))
    assert found["shop: branch main"] == "There is no branch 'main'. Push it."
    assert "'preprod'" in found["shop: branch preprod"]


def test_without_a_webhook_secret_it_says_how_changes_are_found() -> None:
    found = bad(examine(with_logins(), parts(secrets=lambda: 0)))
    assert "every 5 minutes" in found["shop: webhook"]
    assert "FEATURE_DELIVERY_WEBHOOK_SECRET_SHOP" in found["shop: webhook"]


def test_people_without_logins_are_named_where_it_matters() -> None:
    assert "dan, dora" in bad(examine(outside_shop(), parts()))["shop: people"]
    assert bad(examine(shop(), parts())) == {}


def test_a_cluster_is_looked_at_where_the_project_runs_on_one() -> None:
    found = Finding("cluster here", well=False, sentence="Missing rights: get pods/log.")
    looked = parts(platform=lambda: [found])
    said = {one.what: one for one in examine(replace(shop(), platform="kubernetes"), looked)}
    assert said["shop: platform kubernetes, cluster here"].sentence == found.sentence
    assert not any("platform" in one.what for one in examine(shop(), parts()))
