"""Webhooks: stored with what they mean, answered, and then only a hint to look at the host.

Each is processed exactly once, in whatever order they come: a look compares the host with the ledger, and each
difference it finds is taken in together with what it does to the run, in one transaction. A look that is repeated
after a crash, or done by two at once, finds nothing more; a row is marked only when a look that began after it was
stored has ended.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_delivery.domain.errors import Error, Temporary
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, ProjectName
from feature_delivery.domain.records import FeatureState, WebhookDelivery, now
from feature_delivery.services.control import brake, pushers, tallies
from feature_delivery.services.control.kept import RESERVED
from feature_delivery.services.control.reconcile import reconcile

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control

_log = logging.getLogger(__name__)

GIVE_UP_AFTER = 50
"""Tries; after so many reconciliation alone is left. It finds the same; who pushed was noted at the first try."""

REASON_LIMIT = 100
KEEP_BODIES = timedelta(days=7)
KEEP_ROWS = timedelta(days=90)
"""A repeat that comes later still is looked into once more, which changes nothing."""

JIRA = "jira"
"""The tracker whose keys tell the project."""

OTHER_BRANCH = "another branch"
CANDIDATE = "our own candidate"
OTHER_REPOSITORY = "another repository"
OTHER_HOST = "a request on another host than the project's"
OTHER_TRACKER = "an issue that is none of the project's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A webhook whose signature was checked, and what it means.

    Attributes:
        host: The dialect's name.
        headers: By their names in lower case, without secrets.
    """

    host: str
    delivery_id: str
    event: str
    headers: dict[str, str]
    body: bytes
    hint: Hint


@dataclass(frozen=True, slots=True)
class Received:
    """One stored webhook, out of its transaction; ``hint`` ``None``: look everywhere."""

    delivery_id: str
    host: str
    hint: Hint | None
    tries: int


def receive(unit: Unit, project: ProjectName, incoming: Incoming) -> bool:
    """Store a webhook; ``False`` when it is known."""
    # These names are taken: what reconciliation keeps for itself beside the webhooks is written by nobody else.
    taken = incoming.delivery_id in RESERVED
    name = f"{incoming.host}:{incoming.delivery_id}" if taken else incoming.delivery_id
    if unit.books.webhook(project, name) is not None:
        return False
    stored = WebhookDelivery(
        project=project,
        delivery_id=name,
        host=incoming.host,
        event=incoming.event,
        body=incoming.body,
        headers=dict(incoming.headers),
    )
    _understand(stored, incoming.hint)
    unit.books.add(stored)
    return True


def replay(stored: WebhookDelivery, hint: Hint | None) -> None:
    """Have a stored webhook looked into once more; ``hint`` ``None``: its body is gone, what was noted then counts."""
    stored.tries, stored.result = 0, ""
    if hint is not None:
        _understand(stored, hint)
    elif not stored.ignored:
        stored.processed_at = None


def _understand(stored: WebhookDelivery, hint: Hint) -> None:
    fields = asdict(hint)
    stored.ignored = str(fields.pop("ignored"))[:REASON_LIMIT]
    stored.hint = fields
    stored.processed_at = now() if stored.ignored else None


def _hint_of(stored: WebhookDelivery) -> Hint | None:
    # Rows outlive the version that wrote them: unknown fields are left out.
    known: dict[str, Any] = {k: v for k, v in (stored.hint or {}).items() if k in Hint.__dataclass_fields__}
    return Hint(**known) if known else None


def process(control: Control, *, limit: int = 200, until: float = math.inf) -> tuple[int, int]:
    """Process stored webhooks, all of a project by one look at its host; returns how many were done and are left.

    Where the ledger may be a copy they stay as they are. ``until``: no look is begun after it, by the monotonic clock.
    """
    with control.begin() as unit:
        if brake.held(unit.books):
            return 0, 0
        waiting: dict[ProjectName, list[Received]] = defaultdict(list)
        for row in unit.books.webhooks_to_process(limit):
            row.tries += 1
            waiting[row.project].append(Received(row.delivery_id, row.host, _hint_of(row), row.tries))
    done = left = 0
    for name, received in waiting.items():
        if time.monotonic() >= until:
            _give_back(control, name, received)
            left += len(received)
            continue
        final = _process(control, name, received)
        done, left = (done + len(received), left) if final else (done, left + len(received))
    return done, left


def _give_back(control: Control, name: ProjectName, received: Sequence[Received]) -> None:
    """Let what had no look have had no try: it comes before what was looked into in vain."""
    with control.begin() as unit:
        for one in received:
            stored = unit.books.webhook(name, one.delivery_id)
            if stored is not None and stored.processed_at is None and stored.tries == one.tries:
                stored.tries -= 1


def _process(control: Control, name: ProjectName, received: Sequence[Received]) -> bool:
    """Look once for all of them; says whether they are done with."""
    hints: dict[str, Hint | None] = {}
    fault = False
    try:
        project = control.project(name)
        with control.begin() as unit:
            branches = {f.branch for f in unit.books.features(name, [FeatureState.ACTIVE]) if f.branch}
        hints = {r.delivery_id: r.hint and narrowed(r.hint, project, branches, host=r.host) for r in received}
        ours = list(dict.fromkeys(hint for hint in hints.values() if hint is None or not hint.ignored))
        result, final, fault = _look(control, project, ours) if ours else ("", True, False)
    except Error as error:
        result, final, fault = str(error), not isinstance(error, Temporary), True
    final = final or received[0].tries >= GIVE_UP_AFTER
    counts: Counter[tuple[str, str]] = Counter()
    with control.begin() as unit:
        for one in received:
            stored, hint = unit.books.webhook(name, one.delivery_id), hints.get(one.delivery_id)
            if stored is not None and stored.processed_at is None:
                stored.ignored = hint.ignored if hint else ""
                stored.result = "" if stored.ignored else result[:2000]
                stored.processed_at = now() if final or stored.ignored else None
                if stored.processed_at is not None:
                    outcome = tallies.FAILED if fault else tallies.PROCESSED
                    counts[one.host, tallies.IGNORED if stored.ignored else outcome] += 1
        tallies.webhooks_done(unit.books, name, counts)
    return final


def _look(control: Control, project: ProjectConfig, hints: Sequence[Hint | None]) -> tuple[str, bool, bool]:
    """Look where the hints say, everywhere when one says nothing.

    Returns the result, whether it is final, and whether it is a failure.
    """
    places = [hint for hint in hints if hint is not None]
    try:
        if len(places) == len(hints):
            changed = reconcile(control, project, places)
        else:
            pushers.note(control, project, places)  # it looks everywhere, and is told of no hint
            changed = reconcile(control, project, None)
    except Temporary as error:
        return str(error), False, True
    except Error as error:
        return str(error), True, True
    except Exception:  # noqa: BLE001 - one project's trouble keeps no other waiting
        _log.exception("Could not look at what webhooks of %s told", project.name)
        return "Something went wrong here; the API server's log says what.", False, True
    return " ".join(changed) or "Nothing new.", True, False


def narrowed(hint: Hint, project: ProjectConfig, branches: Collection[BranchName], *, host: str) -> Hint:
    """Return what a hint means to this project; ignored when that is nothing.

    Args:
        hint: As the dialect ``host`` gave it.
        project: Whose webhook it is.
        branches: Those of the features under delivery; their names may be any.
        host: Numbers of requests and issues mean nothing on another host or tracker than the one that gave them.
    """
    if _is_elsewhere(hint, project, host):
        return replace(hint, ignored=OTHER_REPOSITORY)
    if hint.issue:
        tracker = project.tracker
        foreign = tracker.kind == JIRA and hint.issue.rpartition("-")[0] != tracker.project
        return replace(hint, ignored=OTHER_TRACKER) if host != tracker.kind or foreign else hint
    if hint.request is not None and host != project.host.kind:
        if hint.branch is None:
            return replace(hint, ignored=OTHER_HOST)
        hint = replace(hint, request=None)
    if hint.branch is None or hint.branch in {*branches, project.branches.production, project.branches.preprod}:
        return hint
    if hint.branch.startswith(project.branches.candidate_prefix):
        return replace(hint, ignored=CANDIDATE)
    return hint if hint.branch.startswith(project.branches.feature_prefix) else replace(hint, ignored=OTHER_BRANCH)


def _is_elsewhere(hint: Hint, project: ProjectConfig, host: str) -> bool:
    """Say whether it is about another repository of the project's host or tracker: a webhook may be a whole group's."""
    if hint.issue:
        ours = project.tracker.project if host == project.tracker.kind else ""
    else:
        ours = project.host.repository if host == project.host.kind else ""
    told, ours = (name.strip("/").removesuffix(".git").casefold() for name in (hint.repository, ours))
    # A server below a path may have that before the names in the project file.
    return bool(told and ours) and told != ours and not ours.endswith(f"/{told}")


def prune(unit: Unit) -> int:
    """Forget what nobody will look into any more; returns how many webhooks became smaller or fewer."""
    return unit.books.prune_webhooks(bodies_before=now() - KEEP_BODIES, rows_before=now() - KEEP_ROWS)
