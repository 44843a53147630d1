"""The one comment on a merge request that says where its delivery stands; written anew in its place.

Everything that comes from outside (titles, names of tests, reasons) is made harmless: see ``domain.markdown``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.markdown import code, link, plain, table
from feature_delivery.domain.people import DEFAULT_POLICIES
from feature_delivery.domain.process import Step, row_of
from feature_delivery.domain.suites import CaseState
from feature_delivery.ports.git_host import DeploymentState, StatusState
from feature_delivery.services.control.face import TITLES, PlaceLine, StatusLine
from feature_delivery.services.control.flags import shown
from feature_delivery.services.control.observations import judgement
from feature_delivery.services.control.report import judged_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.domain.records import Feature, SuiteResult
    from feature_delivery.ports.ledger import Books

_MARKS = {StatusState.SUCCESS: "✅", StatusState.FAILURE: "❌", StatusState.PENDING: "⏳"}
_WORDS = {
    DeploymentState.RUNNING: "is being deployed",
    DeploymentState.DONE: "runs",
    DeploymentState.FAILED: "could not be deployed",
    DeploymentState.GONE: "removed",
}
CASES_NAMED = 10


def status_comment(
    books: Books,
    project: ProjectConfig,
    feature: Feature,
    *,
    lines: Sequence[StatusLine],
    places: Sequence[PlaceLine],
    page: str,
) -> str:
    """Return the comment as Markdown.

    Args:
        books: The ledger.
        project: Whose feature it is.
        feature: Which one.
        lines: Its statuses, see ``face``.
        places: Its environments, see ``face``.
        page: Address of the delivery's own page; may be empty.
    """
    attempt = books.attempt(feature)
    at = f", attempt {attempt.number} at {code(attempt.commit[:10])}" if attempt else ""
    parts = [f"### Delivery of {plain(f'{feature.key} {feature.title}', limit=200)}{at}"]
    parts.append(waits_for(books, project, feature))
    if lines:
        rows = [(f"{_MARKS[one.state]} {one.name.partition('/')[2]}", plain(one.description)) for one in lines]
        parts.append(table(("Stage", "Result"), rows))
    results = _results(books, feature)
    if results:
        parts.append(table(("Tests", "Run", "Failed", "Seconds"), [_suite(one) for one in results]))
        parts += _red(results)
    parts += _judged(books, feature)
    if places:
        parts.append(table(("Environment", "Commit", ""), [_place(one) for one in places]))
    parts.append(" ".join(filter(None, (_commands(feature), f"{link('Follow the delivery', page)}." if page else ""))))
    return "\n\n".join(part for part in parts if part)


def _commands(feature: Feature) -> str:
    if feature.ended_at is not None:
        return ""
    return "Say `/approve`, `/reject why`, `/rollback why`, `/keep` or `/status` here."


def waits_for(books: Books, project: ProjectConfig, feature: Feature) -> str:
    """Return one sentence, as Markdown: where the feature stands and whom it waits for."""
    gate = books.open_gate(feature)
    if gate is None:
        text = f"It was {feature.state}. {feature.reason}" if feature.ended_at is not None else "It is being worked on."
        return plain(text)
    found = shown(books, project, feature, gate)
    where = row_of(gate.step).title
    if found.blocked:
        return f"**Stopped** before *{where}*: {plain(found.blocked)}"
    people = gate.step in DEFAULT_POLICIES
    return f"**Waits** at *{where}*{' for' if people else ':'} {plain(found.waits_for)}"


def _results(books: Books, feature: Feature) -> list[SuiteResult]:
    newest = {one.step: one for one in books.suite_results(feature) if one.attempt == feature.attempt_number}
    return list(newest.values())


def _judged(books: Books, feature: Feature) -> list[str]:
    """Say how it does under load, and how production did with it."""
    found = []
    for step, title in ((Step.TEST_LOAD, "Under load in pre-production"), (Step.OBSERVE_PRODUCTION, "In production")):
        said = judgement(books, feature, step)
        if said is not None and said.findings:
            found.append(f"**{title}: {said.outcome.replace('_', ' ')}**")
            found.append(judged_table(said))
            found += [f"* {plain(reason, limit=400)}" for reason in said.reasons if said.outcome != "pass"]
    return found


def _suite(result: SuiteResult) -> tuple[str, ...]:
    mark = "❌" if result.red else "✅"
    where = result.step.partition(".")[0]
    name = plain(f"{where}: {result.suite}", limit=100)
    return f"{mark} {name}", str(result.executed), str(result.failed), f"{result.seconds:.1f}"


def _red(results: Sequence[SuiteResult]) -> list[str]:
    """Name what failed, so that nobody has to look for it in a log."""
    said = []
    for result in results:
        if not result.red:
            continue
        failed = [str(case.get("name", "")) for case in result.report.get("cases", ()) if _failed(case)]
        said.append(f"**{plain(result.suite, limit=80)}**: {plain(result.red, limit=500)}")
        said.append("\n".join(f"* {plain(name, limit=200)}" for name in failed[:CASES_NAMED]))
    return said


def _failed(case: object) -> bool:
    return isinstance(case, dict) and case.get("state") in {CaseState.FAILED, CaseState.ERROR}


def _place(place: PlaceLine) -> tuple[str, ...]:
    alive = place.url and place.state in {DeploymentState.DONE, DeploymentState.RUNNING}
    name = link(TITLES[place.kind], place.url) if alive else TITLES[place.kind]
    return name, code(place.commit[:10]), _WORDS[place.state]
