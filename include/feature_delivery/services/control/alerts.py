"""Alerts: one for each failure of a step, over when the step has succeeded.

What is rejected, rewound or superseded has not failed: people, or a newer commit, decided so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.masking import masked
from feature_delivery.domain.messages import MessageKind
from feature_delivery.domain.process import GATES, ORDER, Step, Who
from feature_delivery.domain.records import OPEN_PROMOTIONS, Alert, AttemptState, Feature, FeatureState, now
from feature_delivery.domain.suites import CaseState
from feature_delivery.services.control.history import notify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from feature_delivery.domain.names import PersonName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books, Unit

TEXT_LIMIT, LINE_LIMIT, LINES_LIMIT = 1000, 240, 12
"""Characters of the sentence and of a line, and lines: an alert is read on a phone."""

DECIDED = frozenset({AttemptState.SUPERSEDED, AttemptState.REJECTED, AttemptState.DROPPED})
"""States in which an attempt has ended by decision: nothing of it fails any more."""


def failed(unit: Unit, project: ProjectConfig, feature: Feature, step: Step, text: str) -> None:
    """Tell people that a step has failed, unless they know or it was decided so."""
    if _is_decided(unit.books, feature, step):
        return
    text = masked(" ".join(text.split()))[:TEXT_LIMIT]
    known = next((one for one in unit.books.alerts_open(feature) if one.step is step), None)
    if known is not None and known.attempt == feature.attempt_number and known.text == text:
        return
    if known is not None:
        known.resolved_at, known.resolution = now(), "It failed again."
    alert = Alert(
        project=feature.project,
        feature_id=feature.id,
        attempt=feature.attempt_number,
        step=step,
        text=text,
        details=details(unit.books, feature, step),
    )
    unit.books.add(alert)
    notify(
        unit,
        feature,
        f"alert:{alert.id}",
        f"{feature.key} stopped before {step}. {text}" if step in GATES else f"{feature.key}: {step} failed. {text}",
        to=owners(unit.books, project, feature, step),
        kind=MessageKind.ALERT,
        alert=alert.id,
        step=step.value,
    )


def stopped(unit: Unit, project: ProjectConfig, feature: Feature, gate: Step, text: str) -> None:
    """Tell people that a feature stopped before a gate, when no failure that they know of explains it."""
    told = [one for one in unit.books.alerts_open(feature) if one.attempt == feature.attempt_number]
    if not any(ORDER[one.step] <= ORDER[gate] for one in told):
        failed(unit, project, feature, gate, text)


def succeeded(unit: Unit, feature: Feature, step: Step) -> None:
    """Tell people that a step works again, when they were told that it had failed."""
    for alert in unit.books.alerts_open(feature):
        if alert.step is not step:
            continue
        alert.resolved_at, alert.resolution = now(), f"{step} has succeeded."
        text = f"{feature.key} goes on: {step}." if step in GATES else f"{feature.key}: {step} works again."
        notify(unit, feature, f"recovery:{alert.id}", text, kind=MessageKind.RECOVERY, alert=alert.id, step=step.value)


def ended(unit: Unit, feature: Feature, resolution: str) -> None:
    """Close the alerts of a feature for which somebody has decided what becomes of it; whoever did tells people."""
    for alert in unit.books.alerts_open(feature):
        alert.resolved_at, alert.resolution = now(), resolution


def owners(books: Books, project: ProjectConfig, feature: Feature, step: Step) -> list[PersonName]:
    """Return who has to mend a step: whoever wrote the commit, operators too where production is at stake."""
    promotion = books.promotion(feature, feature.attempt_number)
    people = project.people
    if promotion is not None and promotion.state in OPEN_PROMOTIONS:
        return list(people.with_role(Who.OPERATOR, Who.MANAGER))
    if ORDER[step] >= ORDER[Step.DELETE_BRANCHES]:
        return list(people.with_role(Who.OPERATOR))
    attempt = books.attempt(feature)
    authors = list(attempt.authors) if attempt is not None else []
    if ORDER[step] < ORDER[Step.WAIT_FOR_TURN]:
        return authors or list(people.with_role(Who.DEVELOPER))
    return sorted({*(authors or people.with_role(Who.DEVELOPER)), *people.with_role(Who.OPERATOR)})


def details(books: Books, feature: Feature, step: Step) -> list[str]:
    """Return what failed in particular, from the report of the step's suite: no raw log."""
    result = books.suite_result(feature, feature.attempt_number, _tested_by(step))
    cases = result.report.get("cases", ()) if result is not None and result.red else ()
    return bounded(_lines(cases))


def _tested_by(step: Step) -> Step:
    return Step.TEST_PREPROD if step is Step.REFRESH_CANDIDATE else step


def _lines(cases: Iterable[object]) -> Iterable[str]:
    for case in cases:
        if not isinstance(case, dict) or case.get("state") not in {CaseState.FAILED, CaseState.ERROR}:
            continue
        yield str(case.get("name", ""))
        # The end of what a test printed says more than its beginning.
        said = [line for line in str(case.get("message", "")).splitlines() if line.strip()]
        yield from (f"  {line.rstrip()}" for line in said[-3:])


def bounded(lines: Iterable[str]) -> list[str]:
    """Return lines that others wrote without secrets, and no more of them than an alert takes."""
    # Masked before it is cut: half a secret is one, too.
    text = masked("\n".join(lines)).splitlines()
    cut = [line[:LINE_LIMIT] for line in text[:LINES_LIMIT]]
    more = len(text) - LINES_LIMIT
    return [*cut, f"… {more} more line{'s' if more > 1 else ''}"] if more > 0 else cut


def _is_decided(books: Books, feature: Feature, step: Step) -> bool:
    """Say whether the step ended because somebody decided, so that nothing has failed."""
    if ORDER[step] >= ORDER[Step.DELETE_BRANCHES]:
        return False
    if feature.rewind_to is not None or feature.state is not FeatureState.ACTIVE:
        return True
    attempt = books.attempt(feature)
    return attempt is not None and attempt.state in DECIDED and ORDER[step] > ORDER[Step.WAIT_FOR_CODE]
