"""Issues, as the tracker shows them: somebody takes one, closes it, opens it again. Facts, never orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Who
from feature_delivery.domain.records import OPEN_PROMOTIONS, Feature, FeatureState, PromotionState
from feature_delivery.ports.tracker import Issue, IssueState
from feature_delivery.services.control import attempts
from feature_delivery.services.control.gates import enter, settle
from feature_delivery.services.control.history import notify, record, send

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

CLOSED, REOPENED = "issue_closed", "issue_reopened"
"""Kinds of events; the newest one says how we have seen the issue last."""


def take(unit: Unit, project: ProjectConfig, feature: Feature, person: str) -> None:
    """Note that a person has taken the feature, and show it on the issue where it has nobody."""
    if feature.started:
        return
    feature.started = True
    known = project.people.persons.get(person)  # type: ignore[call-overload] # anything else is nobody
    logins = [*sorted(known.logins), known.name] if known is not None else []
    if logins:
        send(unit, feature, Errand.ISSUE_ASSIGNEE, "taken", {"logins": logins}, per_attempt=False)
    send(unit, feature, Errand.ISSUE_STATE, "taken", {"state": IssueState.IN_PROGRESS.value}, per_attempt=False)


def observe_issue(unit: Unit, project: ProjectConfig, run_id: str, issue: Issue | None) -> str:
    """Take in where the issue is; returns what that changed, for the log; empty: nothing.

    Assigned or in progress counts as taken. An issue that is closed stops nothing, people are told; the project may
    choose that it cancels the delivery.
    """
    feature = enter(unit, project, run_id)
    if issue is None or issue.key != feature.key or feature.state is not FeatureState.ACTIVE:
        return ""
    if issue.state is IssueState.DONE:
        return _closed(unit, project, feature)
    reopened = _reopened(unit, feature)
    return _taken(unit, project, feature, issue) or reopened


def _taken(unit: Unit, project: ProjectConfig, feature: Feature, issue: Issue) -> str:
    if feature.started or (issue.assignee is None and issue.state is not IssueState.IN_PROGRESS):
        return ""
    feature.started = True
    record(unit, feature, "taken", f"{issue.assignee or 'Somebody'} took {feature.key}.", person=issue.assignee or "")
    settle(unit, project, feature)
    return f"{feature.key}: taken"


def _closed(unit: Unit, project: ProjectConfig, feature: Feature) -> str:
    """Tell people once that the issue was closed under the delivery's hands, or cancel, as the project chose."""
    if _last_seen(unit, feature) == CLOSED:
        return ""
    promotion = unit.books.promotion(feature)
    in_production = promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}
    record(unit, feature, CLOSED, f"The issue of {feature.key} was closed while it is under delivery.")
    if project.choices.cancel_on_close and not in_production:
        attempts.give_up(unit, project, feature, FeatureState.CANCELLED, "Its issue was closed.")
        return f"{feature.key}: cancelled, its issue was closed"
    what = "decide about production first" if in_production else f"cancel it with 'cancel {feature.key}'"
    text = (
        f"The issue of {feature.key} was closed, its delivery goes on. If it is not wanted any more, {what}; "
        "else open the issue again."
    )
    notify(unit, feature, f"closed:{_times(unit, feature, CLOSED)}", text, to=_interested(unit, project, feature))
    return f"{feature.key}: its issue was closed"


def _reopened(unit: Unit, feature: Feature) -> str:
    if _last_seen(unit, feature) != CLOSED:
        return ""
    record(unit, feature, REOPENED, f"The issue of {feature.key} was opened again.")
    return f"{feature.key}: its issue was opened again"


def _last_seen(unit: Unit, feature: Feature) -> str:
    kinds = [event.kind for event in unit.books.events(feature) if event.kind in {CLOSED, REOPENED}]
    return kinds[-1] if kinds else ""


def _times(unit: Unit, feature: Feature, kind: str) -> int:
    return sum(event.kind == kind for event in unit.books.events(feature))


def _interested(unit: Unit, project: ProjectConfig, feature: Feature) -> set[str]:
    attempt = unit.books.attempt(feature)
    return {*(attempt.authors if attempt else ()), *project.people.with_role(Who.MANAGER, Who.DEVELOPER)}
