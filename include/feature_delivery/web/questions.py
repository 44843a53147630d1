"""What Airflow's *Required Actions* page shows of a gate: what is asked, where to look, the tests, who may say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.configuration import conf

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.domain.markdown import code, link, plain, quoted
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step, row_of
from feature_delivery.domain.records import EnvironmentState
from feature_delivery.domain.ways import Way
from feature_delivery.services.control.flags import flag
from feature_delivery.services.control.observations import judgement
from feature_delivery.services.control.report import shown_as_markdown

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Environment, Feature, Gate
    from feature_delivery.ports.ledger import Books

LOOKED_AT = {
    Step.WAIT_FOR_REVIEW: "development",
    Step.WAIT_FOR_ACCEPTANCE: "preprod",
    Step.WAIT_FOR_CONFIRMATION: "preprod",
    Step.WAIT_FOR_VERDICT: "production",
    Step.WAIT_FOR_DEMONSTRATION: "production",
}
"""Which environment is looked at before deciding at a gate."""

ASKED = {
    Step.WAIT_FOR_START: "Take it: its delivery begins.",
    Step.WAIT_FOR_REVIEW: "Read the changes. Approve them, or send them back with a comment.",
    Step.WAIT_FOR_ACCEPTANCE: "Try it in pre-production. Approve it, or send it back with a comment.",
    Step.WAIT_FOR_CONFIRMATION: "Confirm that it goes to production, or send it back with a comment.",
    Step.WAIT_FOR_VERDICT: "It is in production. Keep it, or roll it back.",
    Step.WAIT_FOR_DEMONSTRATION: "Show it to the client, then approve.",
}


def question(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> dict[str, Any]:
    """Return the fields of the question; everybody may try: whose answer counts is said by the policy alone."""
    policy = project.people.policies[gate.step]
    attempt = books.attempt(feature)
    at = f", attempt {attempt.number} at {attempt.commit[:10]}" if attempt else ""
    named = feature.key if feature.title in {"", feature.key} else f"{feature.key} {feature.title}"
    needs = "A rejection needs one." if DecisionKind.REJECT in policy.kinds else "Kept with the decision."
    schema = {"type": ["null", "string"], "title": "Comment", "format": "multiline", "maxLength": 4000}
    return {
        "options": [str(kind) for kind in sorted(policy.kinds)],
        "subject": f"{named[:200]}: {gate.step.rpartition('wait_for_')[2]}{at}",
        "body": body(books, project, feature, gate),
        "multiple": False,
        "params": {"comment": {"value": "", "description": needs, "schema": schema}},
    }


def body(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> str:
    """Return what people should know before they answer, as Markdown; nothing from outside has an effect in it."""
    parts = [
        _refusal(books, feature, gate),
        f"**{ASKED[gate.step]}**",
        plain(flag(books, project, feature, gate.step).waits_for),
        quoted(feature.description, limit=600),
        "\n".join(f"* {line}" for line in (*_links(books, project, feature, gate), *_tests(books, feature)) if line),
        _judged(books, feature) if gate.step is Step.WAIT_FOR_VERDICT else "",
        _who(books, project, feature, gate),
    ]
    return "\n\n".join(part for part in parts if part)


def _refusal(books: Books, feature: Feature, gate: Gate) -> str:
    """Return why the last answer on this page did not count, for whoever gave it."""
    said = [
        d
        for d in books.decisions(feature, feature.attempt_number)
        if d.step is gate.step and d.way == Way.AIRFLOW and d.at >= gate.opened_at
    ]
    if not said or said[-1].accepted:
        return ""
    last = said[-1]
    return f"⚠ **Did not count:** {plain(last.person)}, {last.kind.replace('_', ' ')}: {plain(last.reason)}"


def _links(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> list[str]:
    places = [*books.environments(feature=feature), books.environment(project.name, "production")]
    found = [
        _place(place)
        for place in places
        if place is not None and place.address and place.kind == LOOKED_AT.get(gate.step)
    ]
    if feature.request_url:
        found.append(link(f"Merge request !{feature.request_number}", feature.request_url))
    if feature.issue_url:
        found.append(link(f"Issue {feature.key}", feature.issue_url))
    if page := board_page(project, feature):
        found.append(link("Everything about it on the board", page))
    return found


def _place(place: Environment) -> str:
    if place.state is EnvironmentState.DESTROYED:
        return ""
    return f"{link(f'Try it in {place.kind}', place.address)}, which runs {code((place.commit or 'nothing')[:10])}"


def board_page(project: ProjectConfig, feature: Feature) -> str:
    """Return the address of the feature's page on the board; empty where nobody has said how Airflow is reached."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    if "://" not in base:
        return ""
    return f"{base}{URL_PREFIX}/board/{quote(project.name, safe='')}/{quote(feature.key, safe='')}"


def _tests(books: Books, feature: Feature) -> list[str]:
    """Return the newest result of each suite of the attempt, what failed by name."""
    newest = {one.step: one for one in books.suite_results(feature) if one.attempt == feature.attempt_number}
    said = []
    for result in newest.values():
        where = f"{result.step.partition('.')[0]} {result.suite}"
        passed = f"{result.executed - result.failed} of {result.executed} passed"
        red = f": {plain(result.red, limit=300)}" if result.red else ""
        said.append(f"{'❌' if result.red else '✅'} {plain(where, limit=80)} tests: {passed}{red}")
    return said


def _judged(books: Books, feature: Feature) -> str:
    """Return what the judge recommends, with its figures; empty when nothing was measured."""
    said = judgement(books, feature, Step.OBSERVE_PRODUCTION)
    return shown_as_markdown(said) if said is not None else ""


def _who(books: Books, project: ProjectConfig, feature: Feature, gate: Gate) -> str:
    policy = project.people.policies[gate.step]
    able = ", ".join(plain(name) for name in project.people.with_role(*policy.roles)) or "nobody"
    roles = " or ".join(sorted(policy.roles))
    needed = f" {policy.count} of them are needed." if policy.count > 1 else ""
    attempt = books.attempt(feature)
    known = () if project.people.solo else sorted(project.people.authors_of(attempt))
    authors = ", ".join(plain(name) for name in known)
    barred = f" Not whoever worked on it: {authors}." if authors and gate.step is not Step.WAIT_FOR_VERDICT else ""
    return f"May decide at *{row_of(gate.step).title}* as {roles}: {able}.{needed}{barred}"
