"""Looking at the host instead of waiting to be told: three listings per project find every lost webhook.

A webhook is a hint to do the same at once. Facts are read without a transaction, then taken in feature by feature.
Only one process at a time does this for a project: an older listing must not be taken in after a newer one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error, Temporary
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey
from feature_delivery.domain.records import UNDER_WAY, Feature, FeatureState, now
from feature_delivery.services.control import brake, pushers
from feature_delivery.services.control.attempts import BranchFacts, observe_branch
from feature_delivery.services.control.gates import enter
from feature_delivery.services.control.kept import LISTING, MARKS, keep, recall
from feature_delivery.services.control.looks import Known, Looking, Marks, marks
from feature_delivery.services.control.production import observe_production
from feature_delivery.services.control.start import Start, start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from feature_delivery.domain.hints import Hint
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.services.control.outside import Control, Outside


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the ledger believed of a project before the host was asked; ``newest``: of the features that listen."""

    production: CommitSha | None
    frozen: CommitSha | None
    newest: dict[FeatureKey, Known]
    listing: dict[BranchName, CommitSha] | None
    marks: Marks
    pushers: pushers.Logins


def due(unit: Unit, project: ProjectConfig) -> bool:
    """Say whether it is time to look everywhere without being told; what is on this machine may be looked at always."""
    kept = marks(unit, project.name)
    local = project.host.kind == project.tracker.kind == "local"
    if kept.looked_at is None or local or kept.waited():
        return True
    # Whoever asks comes by once a minute, more or less.
    return now() - kept.looked_at >= project.choices.look_every - timedelta(seconds=30)


def reconcile(control: Control, project: ProjectConfig, hints: Sequence[Hint] | None = None) -> list[str]:
    """Take in where branches, requests and issues of a project are; returns what changed, one sentence each.

    Args:
        control: How to work.
        project: Whose.
        hints: Where webhooks say that something happened; branches that moved since the last listing are added.
            ``None``: look everywhere, by one listing each of branches, changed requests and changed issues.

    Raises:
        Unavailable: The ledger may be a copy, or the project is another instance's.
        Temporary: The host did not answer; what could be taken in was, and the rest is worth another try.
    """
    with control.begin() as unit:
        brake.must_not_be_held(unit.books, project.name)
    pushers.note(control, project, hints or ())
    with control.alone(project.name):
        return _reconcile(control, project, hints)


def _reconcile(control: Control, project: ProjectConfig, hints: Sequence[Hint] | None) -> list[str]:
    with control.begin() as unit:
        before = _snapshot(unit, project)
    outside = control.outside(project)
    asked_at = now()
    heads = outside.repository.heads()
    told = {hint.branch for hint in hints or () if hint.branch and hint.pushed}
    pushed = dict.fromkeys([*_moved(before.listing, heads), *told])
    done = _production(control, project, before, heads)
    trouble: list[Error] = []
    for known in before.newest.values():
        if known.state is FeatureState.ACTIVE and known.branch is not None:
            # A pusher is listened to also when a look has found their push before them.
            again = known.branch in told
            found, error = _branch(control, project, outside, known, heads, again=again, asked_at=asked_at)
            done += found
            trouble += [error] if error is not None and again else []
    started, later = _new_features(control, project, outside, before, heads, [*pushed])
    done += started
    looking = Looking(control, project, outside, before.newest, before.marks, trouble=trouble)
    looking.at(hints or (), pushed)
    seen = looking.everywhere() if hints is None else looking.waiting()
    with control.begin() as unit:
        if project.branches.production in heads:
            # A listing without it is not whole: with the next whole one every old branch would have moved.
            listing = {name: at for name, at in {**heads, **later}.items() if at is not None}
            keep(unit, project.name, LISTING, json.dumps(listing).encode())
            pushers.forget(unit, project, before.pushers, heads)
        if seen != before.marks:
            keep(unit, project.name, MARKS, seen.dump())
    if hints and (error := looking.worth_another_try()) is not None:
        raise error
    return done + looking.done


def _moved(before: Mapping[BranchName, CommitSha] | None, heads: Mapping[BranchName, CommitSha]) -> list[BranchName]:
    """Return branches that were pushed to since the last listing; the first listing moves nothing.

    Old branches of a repository that is new to us must not all start a delivery.
    """
    return [] if before is None else [name for name, head in heads.items() if before.get(name) != head]


def _snapshot(unit: Unit, project: ProjectConfig) -> Snapshot:
    row = unit.books.project(project.name)
    commits = unit.books.feature_branches(project.name)  # one query, however many features wait
    newest: dict[FeatureKey, Known] = {}
    for feature in unit.books.features(project.name, UNDER_WAY):
        if feature.key not in newest:
            newest[feature.key] = _known(feature, commits)
    listing = recall(unit, project.name, LISTING)
    return Snapshot(
        production=row.production_commit if row else None,
        frozen=row.frozen_commit if row else None,
        newest=newest,
        listing=json.loads(listing) if listing is not None else None,
        marks=marks(unit, project.name),
        pushers=pushers.kept(unit, project),
    )


def _known(feature: Feature, commits: Mapping[BranchName, CommitSha]) -> Known:
    return Known(
        run_id=feature.run_id,
        key=feature.key,
        state=feature.state,
        branch=feature.branch,
        head=commits.get(feature.branch, feature.branch_head) if feature.branch else None,
        unsettled=feature.next_commit is not None or feature.branch_seen_gone is not None,
        request=feature.request_number,
        since=feature.created_at,
    )


def _branch(
    control: Control,
    project: ProjectConfig,
    outside: Outside,
    known: Known,
    heads: Mapping[BranchName, CommitSha],
    *,
    again: bool,
    asked_at: datetime,
) -> tuple[list[str], Error | None]:
    """Look at one branch; its trouble (a commit that cannot be fetched) keeps no other waiting.

    Args:
        control: How to work.
        project: Whose.
        outside: Its repository.
        known: The feature.
        heads: Where all branches are.
        again: Look also where nothing has moved.
        asked_at: When they were listed.

    Returns:
        What there is to say, and what went wrong.
    """
    assert known.branch is not None
    head = heads.get(known.branch)
    if head == known.head and head is not None and not known.unsettled and not again:
        return [], None
    try:
        facts = branch_facts(outside, project, head, heads, asked_at=asked_at)
        with control.begin() as unit:
            feature = enter(unit, project, known.run_id)
            return [f"{known.key}: {observe_branch(unit, project, feature, facts)}"], None
    except Error as error:
        return [f"{known.key}: {error}"], error


def branch_facts(
    outside: Outside,
    project: ProjectConfig,
    head: CommitSha | None,
    heads: Mapping[BranchName, CommitSha],
    *,
    asked_at: datetime | None = None,
) -> BranchFacts:
    """Return what there is to know of a branch at ``head``, given a listing of all branches."""
    production = heads.get(project.branches.production)
    if head is None or production is None:
        return BranchFacts(head=head, listing_has_production=production is not None, seen_at=asked_at)
    outside.repository.fetch(head, production)
    commits = outside.repository.ahead(head, production)
    return BranchFacts(
        head=head,
        listing_has_production=True,
        ahead=bool(commits),
        emails=frozenset().union(*(commit.authors for commit in commits)),
        seen_at=asked_at,
    )


def _new_features(  # noqa: PLR0917 - the round's facts, in the order of their reading
    control: Control,
    project: ProjectConfig,
    outside: Outside,
    before: Snapshot,
    heads: Mapping[BranchName, CommitSha],
    pushed: Sequence[BranchName],
) -> tuple[list[str], dict[BranchName, CommitSha | None]]:
    """Start what was pushed; returns what was started, and where branches were that have to be looked at again.

    One branch that cannot be started keeps no other waiting, and nothing else of the project.
    """
    said: list[str] = []
    later: dict[BranchName, CommitSha | None] = {}
    keys = {b: key for b in pushed if (key := pushers.key_of(project, b))} if project.choices.start_on_push else {}
    active = {key for key, known in before.newest.items() if known.state is FeatureState.ACTIVE}
    newest = _newest(control, project, set(keys.values()) - active)
    for branch, key in keys.items():
        head = heads.get(branch)
        if head is None or key in active or not _startable(newest.get(key), head):
            continue
        try:
            if not branch_facts(outside, project, head, heads).ahead:
                continue
            login = next(iter(before.pushers.get(branch, ())), "")
            by = project.people.by_login(login) or login or "a push"
            with control.begin() as unit:
                asked = Start(key=key, branch=branch, by=by, requester=by)
                _feature, new = start(unit, project, asked)
        except Error as error:
            said.append(f"{key}: {error}")
            if isinstance(error, Temporary):
                later[branch] = (before.listing or {}).get(branch)
            continue
        if new:
            said.append(f"{key}: started by {by} to {branch}")
    return said, later


def _startable(known: Known | None, head: CommitSha) -> bool:
    """Say whether a push may start a delivery: of an unknown feature, or anew of one that is over.

    One that is in production and was not shown yet is not over.
    """
    return known is None or (known.state not in UNDER_WAY and head != known.head)


def _newest(control: Control, project: ProjectConfig, keys: set[FeatureKey]) -> dict[FeatureKey, Known]:
    """Return the newest delivery of those of ``keys`` that have one; a snapshot holds none that is over."""
    if not keys:
        return {}
    with control.begin() as unit:
        found = unit.books.newest_features(project.name, keys)
        return {key: _known(feature, {}) for key, feature in found.items()}


def _production(
    control: Control, project: ProjectConfig, before: Snapshot, heads: Mapping[BranchName, CommitSha]
) -> list[str]:
    """Freeze promotions when production holds a commit that is not ours, and thaw them when it is gone."""
    head = heads.get(project.branches.production)
    if head is None or before.production is None or head == (before.frozen or before.production):
        return []
    with control.begin() as unit:
        return [observe_production(unit, project, head, known=before.production)]
