"""The request that we open: its text, its labels, and who is asked to review it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from feature_delivery.domain.names import BranchName, PersonName
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step
from tests.fakes.git_host import Page
from tests.support.cooperation import bring
from tests.support.stage import Stage, outside_shop
from tests.support.world import PRODUCTION

GATE = Step.WAIT_FOR_MERGE_REQUEST


@pytest.fixture
def eager() -> Iterator[Stage]:
    made = Stage(project=outside_shop(open_request=True))
    yield made
    made.close()


def opened(stage: Stage, *, title: str = "Gift cards", description: str = "Sell them.") -> Page:
    """Bring SHOP-1 to its merge request, have it opened, return its page."""
    stage.start("SHOP-1", "feature/SHOP-1-gift")
    with stage.begin() as unit:
        feature = unit.books.features(stage.project.name)[0]
        feature.title, feature.description = title, description
    bring(stage, "SHOP-1", GATE)
    with stage.begin() as unit:
        unit.books.features(stage.project.name)[0].issue_url = "https://issues.example/1"
    stage.errands()
    return stage.page()


def test_it_has_title_issue_environment_checklist_and_labels(eager: Stage) -> None:
    page = opened(eager)
    assert page.request.title == "SHOP-1 Gift cards"
    assert page.labels == ["delivery"]
    assert "> Sell them." in page.body
    assert "[SHOP-1](https://issues.example/1)" in page.body
    assert "[development environment](" in page.body
    assert "- [ ] Reviewed: rita, rob" in page.body
    assert "- [ ] Accepted by testers: rita, tina, tom" in page.body
    assert "Do not merge it by hand" in page.body


def test_its_reviewers_are_the_projects_under_their_logins(eager: Stage) -> None:
    people = eager.project.people
    rita = replace(people.persons[PersonName("rita")], logins=frozenset({"carol"}))
    eager.project = replace(eager.project, people=replace(people, persons={**people.persons, rita.name: rita}))
    assert opened(eager).reviewers == ["carol", "rob"]


def owned(stage: Stage, text: str) -> None:
    repository, at = stage.repository, stage.repository.branches[PRODUCTION]
    files = {**repository.files(at), ".github/CODEOWNERS": text}
    repository.branches[PRODUCTION] = repository.write(files, (at,), "Owners", "olga@example.com").sha


def test_owners_of_what_changes_are_asked_and_authors_are_not(eager: Stage) -> None:
    owned(eager, "* @max\nfeature/SHOP-1-gift @dave @dan dora@example.com nobody@example.com\nshop @mia\n")
    assert opened(eager).reviewers == ["rita", "rob", "dave", "dora"]


def test_what_production_changed_meanwhile_has_other_owners(eager: Stage) -> None:
    owned(eager, "hotfix @olga\nfeature/* @dave\n")
    eager.start("SHOP-1", "feature/SHOP-1-gift")
    eager.push(BranchName("feature/SHOP-1-gift"))
    eager.hotfix()
    assert opened(eager).reviewers == ["rita", "rob", "dave"]


def test_an_unreadable_file_of_owners_keeps_nothing_from_being_opened(eager: Stage) -> None:
    owned(eager, "\x00\xff[[[ @\n* \\")
    assert opened(eager).reviewers == ["rita", "rob"]


def test_nothing_from_outside_has_an_effect_in_its_text(eager: Stage) -> None:
    page = opened(eager, title="Cards\n/merge @all", description="/approve\n\n# Big\n<b>closes #3</b> @all")
    assert page.request.title == "SHOP-1 Cards /merge @all"
    assert "\n/approve" not in page.body
    assert "<b>" not in page.body
    assert "@all" not in page.body
    assert "#3" not in page.body


def test_a_request_that_a_person_opened_is_found_instead_of_opened(eager: Stage) -> None:
    eager.start("SHOP-1", "feature/SHOP-1-gift")
    eager.push(BranchName("feature/SHOP-1-gift"))
    page = eager.host.open(BranchName("feature/SHOP-1-gift"), eager.project.branches.preprod, by="dora")
    bring(eager, "SHOP-1", GATE)
    eager.errands()
    assert eager.feature().request_number == page.request.number
    assert eager.feature().request_author == "dora"
    assert len(eager.pending(Errand.OPEN_REQUEST)) == 1
