"""Errands to the outside: in whose words they are told, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.services.control.errands import for_issue
from tests.support.stage import Stage, outside_shop

ACCEPTANCE = Step.WAIT_FOR_ACCEPTANCE


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_words_of_people_do_nothing_in_an_issue_of_a_host(kind: str) -> None:
    project = outside_shop()
    project = replace(project, tracker=replace(project.tracker, kind=kind))
    shown = for_issue(project, "Shipped.\n* closes #7\n/close\n<b>@all</b>")
    assert shown.splitlines()[1].startswith("* ")
    assert not [evil for evil in ("#7", "\n/close", "<b>", "@all") if evil in shown]


@pytest.mark.parametrize("kind", ["jira", "redmine", "local"])
def test_trackers_with_words_of_their_own_get_them_as_they_are(kind: str) -> None:
    project = outside_shop()
    project = replace(project, tracker=replace(project.tracker, kind=kind))
    assert for_issue(project, "closes #7 <b>@all</b>") == "closes #7 <b>@all</b>"


def test_a_milestone_is_one_comment_on_the_issue_however_often_its_errand_is_run(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.decide(stage.feature(), "tom", ACCEPTANCE, DecisionKind.REJECT)
    stage.settle()
    (entry,) = [e for e in stage.books.outbox(stage.feature()) if e.kind == "issue_comment"]
    for _ in range(2):
        entry.sent_at = None
        stage.errands()
    (text,) = stage.tracker.said[FeatureKey("SHOP-1")].values()
    assert "goes back to its developer" in text
