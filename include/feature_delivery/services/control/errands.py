"""What each errand of the outbox does outside; repeating one is safe, every port promises it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from feature_delivery.domain.errors import Error, NotFound
from feature_delivery.domain.markdown import lines
from feature_delivery.domain.names import FeatureKey, ProjectName, branch_name, commit_sha
from feature_delivery.domain.outbox import Errand
from feature_delivery.ports.git_host import RequestState, StatusState
from feature_delivery.ports.messenger import Message
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import hand_merges, hearing, opening, posting, showing
from feature_delivery.services.levelling import level_with

if TYPE_CHECKING:
    from datetime import datetime

    from feature_delivery.domain.outbox import Side
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.tracker import Tracker
    from feature_delivery.services.control.outside import Control, Outside

MARKDOWN_TRACKERS = frozenset({"github", "gitlab", "gitea"})
"""Trackers where words of people would be more than words: mentions, references, quick actions."""


LEFT_OPEN = (
    "Shipped with {shipped}. The commit {head} was pushed after that and has not shipped, so this request stays open: "
    "close it, or open another one from a branch of a new delivery."
)


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """One errand as it was claimed once, out of its transaction.

    ``feature_id`` 0, ``key`` and ``run_id`` empty: it is about the project.
    """

    id: int
    project: ProjectName
    side: Side
    feature_id: int
    key: FeatureKey
    run_id: str
    kind: Errand
    payload: dict[str, Any]
    marker: str
    tries: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an errand.

    Attributes:
        error: Why it failed.
        shown: What a showing has shown, kept for the next one.
        rest_at: When what is left of a showing is tried again, unless something happens before; its side has answered.
        given_up: It still runs, and is waited for no longer.
    """

    error: Exception | None = None
    shown: dict[str, Any] | None = None
    rest_at: datetime | None = None
    given_up: bool = False


def run(control: Control, project: ProjectConfig, errand: Claimed) -> Outcome:
    """Run one errand.

    Raises:
        Error: It could not be done.
    """
    payload = errand.payload
    match errand.kind:
        case Errand.OPEN_REQUEST:
            opening.open_request(control, project, errand.run_id, source=branch_name(payload["source"]))
        case Errand.FIND_REQUEST:
            opening.find_request(control, project, errand.run_id, source=branch_name(payload["source"]))
        case Errand.LEVEL_PREPROD:
            hand_merges.put_right(control, project, errand.run_id, payload, marker=errand.marker)
        case Errand.SHOW:
            found = showing.show(control, project, errand.run_id, dict(payload.get("shown", {})))
            return Outcome(found.error, found.shown, found.rest_at)
        case Errand.MESSAGE:
            posting.divide(control, project, errand.run_id)
            if not payload.get("milestone"):  # the board shows those as history
                deliver(control.outside(project), project, errand)
        case Errand.POST:
            posting.post(control, project, errand)
        case Errand.MEND:
            posting.mend(control, project, errand)
        case Errand.HEAR:
            hearing.hear(control, project, errand)
        case _:
            deliver(control.outside(project), project, errand)
    return Outcome()


def deliver(outside: Outside, project: ProjectConfig, errand: Claimed) -> None:
    """Run an errand that asks the ledger nothing.

    Raises:
        Error: It could not be done.
    """
    payload, text = errand.payload, str(errand.payload.get("text", ""))
    match errand.kind:
        case Errand.MESSAGE:
            to = tuple(payload.get("to", ()))
            outside.messenger.send(Message(id=errand.marker, project=errand.project, key=errand.key, to=to, text=text))
        case Errand.ISSUE_COMMENT:
            outside.tracker.comment(errand.key, for_issue(project, text), marker=errand.marker)
        case Errand.ISSUE_STATE:
            outside.tracker.move(errand.key, IssueState(payload["state"]))
        case Errand.ISSUE_ASSIGNEE:
            _assign(outside.tracker, errand.key, payload["logins"])
        case Errand.REQUEST_COMMENT:
            outside.host.comment(int(payload["number"]), text, marker=errand.marker)
        case Errand.REQUEST_STATE:
            _show_state(outside, project, payload)
        case Errand.REQUEST_TARGET:
            outside.host.retarget(int(payload["number"]), branch_name(payload["target"]))
        case Errand.COMMIT_STATUS:
            outside.host.set_status(
                commit_sha(payload["commit"]),
                name=str(payload["name"]),
                state=StatusState(payload["state"]),
                description=str(payload.get("description", "")),
                url=str(payload.get("url", "")),
            )
        case (
            Errand.OPEN_REQUEST
            | Errand.FIND_REQUEST
            | Errand.LEVEL_PREPROD
            | Errand.SHOW
            | Errand.POST
            | Errand.MEND
            | Errand.HEAR
        ):
            raise AssertionError("this changes the ledger: it is no errand to the outside alone")
        case _:
            assert_never(errand.kind)


def for_issue(project: ProjectConfig, text: str) -> str:
    """Return words for a comment on an issue: harmless where comments are Markdown."""
    return lines(text) if project.tracker.kind in MARKDOWN_TRACKERS else text


def _show_state(outside: Outside, project: ProjectConfig, payload: dict[str, Any]) -> None:
    """Close the request, or show it as merged: hosts see that by what its target branch holds.

    One that got another commit after the promotion stays open, with a comment: it has not shipped as it is.
    """
    number, state = int(payload["number"]), RequestState(payload["state"])
    if state is RequestState.MERGED and payload.get("shipped"):
        shipped = commit_sha(payload["shipped"])
        level_with(outside.repository, project.branches, outside.repository.heads(), shipped=shipped)
        request = outside.host.request(number)
        if request.state is RequestState.OPEN:
            outside.repository.fetch(request.head)
            if not outside.repository.is_ancestor(request.head, shipped):
                text = LEFT_OPEN.format(shipped=shipped[:10], head=request.head[:10])
                outside.host.comment(number, text, marker="left-open")
                return
    outside.host.close_request(number, state=state)


def _assign(tracker: Tracker, key: FeatureKey, logins: list[str]) -> None:
    """Give the issue to the first login that the tracker knows, unless somebody has it."""
    issue = tracker.find(key)
    if issue is None or issue.assignee is not None:
        return
    unknown: Error | None = None
    for login in logins:
        try:
            tracker.assign(key, login)
        except NotFound as error:
            unknown = error
        else:
            return
    if unknown is not None:
        raise unknown
