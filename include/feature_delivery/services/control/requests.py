"""Merge requests and reviews, as the Git host shows them: facts that raise flags, never orders."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import ORDER, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Attempt,
    AttemptState,
    Decision,
    Feature,
    FeatureState,
    PromotionState,
    now,
)
from feature_delivery.domain.ways import Way
from feature_delivery.ports.git_host import MergeRequest, RequestState, Review, ReviewKind
from feature_delivery.services.control import authors, turn
from feature_delivery.services.control.attempts import void_permits
from feature_delivery.services.control.decide import Say, decide, unclear
from feature_delivery.services.control.flags import missing_sign_offs
from feature_delivery.services.control.gates import enter, rewind, run_of, settle
from feature_delivery.services.control.history import record, send, tell_request

if TYPE_CHECKING:
    from feature_delivery.domain.names import PersonName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit

RETARGET_AGAIN_AFTER = timedelta(minutes=10)
"""Somebody may point a request at production again; our answer may be on its way meanwhile."""


def observe_request(
    unit: Unit, project: ProjectConfig, run_id: str, request: MergeRequest | None, *, seen_at: datetime | None = None
) -> str:
    """Take in the merge request of the feature's branch and the reviews on it.

    A review counts for the commit it was given on, by a person of the project; one known already changes nothing, one
    that was taken back counts no more. A request closed or merged by hand is a signal: what ships is decided here.

    Args:
        unit: The transaction.
        project: Whose.
        run_id: The feature's run.
        request: As the host shows it; ``None``: there is none.
        seen_at: When the host was asked; what was decided later cannot have been taken back by then.

    Returns:
        Why not everything could be taken in: it is not known at the moment who is in the groups, so the request is
        looked at again later. Empty when all of it was.
    """
    feature = enter(unit, project, run_id)
    if request is None or feature.state is not FeatureState.ACTIVE:
        return ""
    if request.fork:
        _from_a_fork(unit, project, feature, request)
        return ""
    if request.source != feature.branch:
        return ""
    if request.state is not RequestState.OPEN:
        _ended_by_hand(unit, project, feature, request)
        return ""
    if not _well_aimed(unit, project, feature, request):
        return ""
    _known(unit, project, feature, request)
    attempt = unit.books.attempt(feature)
    if attempt is None:
        return ""
    unsure = _take_back(unit, project, feature, attempt, request, seen_at or now())
    return _hear(unit, project, run_id, attempt, request) or unsure


def _known(unit: Unit, project: ProjectConfig, feature: Feature, request: MergeRequest) -> None:
    """Keep number, page and author of the request; who opened it does not approve it."""
    if feature.request_number != request.number:
        record(unit, feature, "request", f"{request.author} opened merge request {request.number}.")
    # One that we opened was opened by nobody, unless the account is somebody's own.
    nobody = request.ours and not project.people.meant_by([request.author])
    author = "" if nobody else request.author
    feature.request_number, feature.request_url, feature.request_author = request.number, request.url, author
    attempt = unit.books.attempt(feature)
    if attempt is not None:
        authors.note(project.people, attempt, [author])
    settle(unit, project, feature)


def _from_a_fork(unit: Unit, project: ProjectConfig, feature: Feature, request: MergeRequest) -> None:
    """Refuse it: what a fork holds cannot be protected, and its branch is not ours to read again."""
    if request.state is not RequestState.OPEN or feature.request_number == request.number:
        return
    if request.source != feature.branch and project.branches.key_of(request.source) != feature.key:
        return
    text = (
        f"{feature.key} is not delivered from a fork: this request comes from another repository and does not count. "
        f"Push the branch to the project's own repository and open the request there."
    )
    _say_once(unit, feature, "fork", request, text)


def _well_aimed(unit: Unit, project: ProjectConfig, feature: Feature, request: MergeRequest) -> bool:
    """Say whether the request aims at pre-production, or is brought to do so."""
    preprod, production = project.branches.preprod, project.branches.production
    if request.target == preprod:
        return True
    if request.target != production:
        text = (
            f"This request aims at {request.target}, not at {preprod}: it does not count. A feature on top of another "
            f"one waits until that one has shipped. Point it at {preprod}."
        )
        _say_once(unit, feature, "target", request, text)
        return False
    sent = [e for e in unit.books.outbox(feature) if e.kind is Errand.REQUEST_TARGET]
    if not sent or (sent[-1].sent_at is not None and now() - sent[-1].sent_at > RETARGET_AGAIN_AFTER):
        payload = {"number": request.number, "target": preprod, "time": len(sent) + 1}
        send(unit, feature, Errand.REQUEST_TARGET, "retarget", payload, per_attempt=False)
        text = (
            f"This request was aimed at {production}. Only a delivery moves {production}: the request is pointed at "
            f"{preprod}, and ships when it is promoted."
        )
        _say_once(unit, feature, "retarget", request, text)
    return True


def _ended_by_hand(unit: Unit, project: ProjectConfig, feature: Feature, request: MergeRequest) -> None:
    """Say what follows from a request that somebody closed or merged in the host's page: nothing ships by it."""
    attempt = unit.books.attempt(feature)
    ours = feature.request_number == request.number
    head = request.head in {feature.branch_head, attempt.commit if attempt else None}
    if not ours and not (request.state is RequestState.MERGED and head and feature.request_number is None):
        return  # an earlier one: of an earlier delivery, or replaced by the one we know
    merged_with = request.state is RequestState.MERGED and _released_since(unit, project, feature, attempt, request)
    if ours:
        feature.request_number, feature.request_url = None, ""
        how = "is shown as merged with a later release" if merged_with else f"was {request.state} by hand"
        record(unit, feature, "request", f"Merge request {request.number} {how}.")
    if merged_with:
        text = (
            f"This request is shown as merged because a later release contains its commits: {feature.key} was rolled "
            f"back, and {project.branches.production} has its history, not its changes. Push the rework to "
            f"{request.source} and open another request from there."
        )
        _say_once(unit, feature, "with_later", request, text)
        return
    preprod, production = project.branches.preprod, project.branches.production
    if request.state is RequestState.CLOSED:
        text = (
            f"Closing this request cancels nothing: {feature.key} is still under delivery. Open it again or open "
            f"another one from {request.source}, or cancel the delivery."
        )
    elif request.target == preprod:
        # The comment about it says what was found: it is written when the branches have been looked at.
        payload = {"number": request.number, "head": request.head, "source": request.source}
        send(unit, feature, Errand.LEVEL_PREPROD, f"merged:{request.number}", payload, per_attempt=False)
        return
    elif request.target == production:
        text = (
            f"Merging by hand into {production} is no release: nothing of it was tested as it is there. Promotions are "
            "frozen until an operator has adopted the commit or taken it back."
        )
    else:
        text = f"Merging by hand into {request.target} ships nothing: {feature.key} goes on as before."
    _say_once(unit, feature, f"ended:{request.state}", request, text)


def _released_since(
    unit: Unit, project: ProjectConfig, feature: Feature, attempt: Attempt | None, request: MergeRequest
) -> bool:
    """Say whether a release that was kept since the attempt was rolled back has the request's commits below it.

    A rollback keeps history, and pre-production follows production when the next release is kept.
    """
    if attempt is None or attempt.state is not AttemptState.ROLLED_BACK or attempt.commit != request.head:
        return False
    taken_back = unit.books.promotion(feature, attempt.number)
    kept = unit.books.promotions(project.name, states=[PromotionState.KEPT])
    return taken_back is not None and bool(kept) and kept[-1].id > taken_back.id


def _say_once(unit: Unit, feature: Feature, what: str, request: MergeRequest, text: str) -> None:
    marker = f"{what}:{request.number}"
    if tell_request(unit, feature, marker, text, number=request.number, per_attempt=False):
        record(unit, feature, "request", f"Merge request {request.number}: {text}")


ORIGIN_LIMIT = 80
"""What the ledger keeps of it, in characters."""


def _origin(request: MergeRequest, login: str = "") -> str:
    """Return where a review was given, and by whom there: whoever a login belongs to, it is still there or it is gone.

    Without the login: as it was kept by earlier versions.
    """
    return f"request {request.number} by {login.casefold()}"[:ORIGIN_LIMIT] if login else f"request {request.number}"


def _counts(project: ProjectConfig, attempt: Attempt, review: Review) -> tuple[PersonName, DecisionKind] | None:
    """Return who says what, when the review is about the attempt's commit and by a person of the project."""
    person = project.speaker(review.person)
    if person is None or review.commit != attempt.commit:
        return None
    return person, _kind(review)


def _kind(review: Review) -> DecisionKind:
    return DecisionKind.APPROVE if review.kind is ReviewKind.APPROVE else DecisionKind.REJECT


def _hear(unit: Unit, project: ProjectConfig, run_id: str, attempt: Attempt, request: MergeRequest) -> str:
    """Take in the reviews that are new, the oldest first; returns why some have to wait, empty when none has.

    One that waits keeps no other waiting: each person's word is their own.
    """
    feature = enter(unit, project, run_id)
    known = [
        d
        for d in unit.books.decisions(feature, attempt.number)
        if d.step is Step.WAIT_FOR_REVIEW and d.withdrawn_at is None
    ]
    heard = {(d.person, d.kind) for d in known}
    there = {(d.origin, d.kind) for d in known}
    waits = ""
    for review in sorted(request.reviews, key=lambda one: one.at):
        said = _counts(project, attempt, review)
        if said is None:
            new = review.commit == attempt.commit and (_origin(request, review.person), _kind(review)) not in there
            if new and attempt.state is AttemptState.ACTIVE:
                waits = project.unclear(review.person) or waits
            continue
        if said in heard:
            continue
        person, kind = said
        comment = review.comment or ("Changes were requested." if kind is DecisionKind.REJECT else "")
        say = Say(
            person=person,
            gate=Step.WAIT_FOR_REVIEW,
            kind=kind,
            comment=comment,
            commit=review.commit,
            way=Way.REVIEW,
            origin=_origin(request, review.person),
        )
        if why := unclear(unit.books, project, feature, say):
            waits = why
        else:
            decide(unit, project, run_id, say)
    return waits


def _take_back(  # noqa: PLR0917 - the facts of one look
    unit: Unit,
    project: ProjectConfig,
    feature: Feature,
    attempt: Attempt,
    request: MergeRequest,
    seen_at: datetime,
) -> str:
    """Withdraw approvals that the request does not hold any more: dismissed, or changed to another word.

    Only what was said on this very request, before the host was asked: it lists all its reviews, so that the absence of
    a login is evidence here. That nobody is known by a login any more is none. Not once the attempt is being promoted:
    then it is the verdict's turn.

    Returns:
        Why it cannot be said of some whether they are gone; empty when it can.
    """
    if attempt.state is not AttemptState.ACTIVE or _being_promoted(unit, feature, attempt):
        return ""
    there = {_counts(project, attempt, review) for review in request.reviews}
    missing = [
        d
        for d in unit.books.decisions(feature, attempt.number)
        if d.accepted
        and d.step is Step.WAIT_FOR_REVIEW
        and d.kind is DecisionKind.APPROVE
        and d.at < seen_at
        and (d.person, d.kind) not in there
        and _is_gone(d, attempt, request)
    ]
    unsure = {d.id: why for d in missing if d.origin == _origin(request) and (why := project.unclear(d.person))}
    gone = [decision for decision in missing if decision.id not in unsure]
    for decision in gone:
        _withdraw(unit, feature, decision, request)
    rejected = any(said is not None and said[1] is DecisionKind.REJECT for said in there)
    # A rejection sends the attempt back anyway.
    if gone and not rejected and missing_sign_offs(unit.books, project, feature, Step.WAIT_FOR_REVIEW):
        _back_to_review(unit, project, feature)
    return next(iter(unsure.values()), "")


def _is_gone(decision: Decision, attempt: Attempt, request: MergeRequest) -> bool:
    """Say whether the request lacks the approval by the login that gave it there, whoever that is today."""
    if decision.origin == _origin(request):
        return True
    if not decision.origin.startswith(f"{_origin(request)} by "):
        return False
    return not any(
        review.kind is ReviewKind.APPROVE
        and review.commit == attempt.commit
        and decision.origin == _origin(request, review.person)
        for review in request.reviews
    )


def _being_promoted(unit: Unit, feature: Feature, attempt: Attempt) -> bool:
    promotion = unit.books.promotion(feature, attempt.number)
    return promotion is not None and promotion.state in OPEN_PROMOTIONS | {PromotionState.INTENDED}


def _withdraw(unit: Unit, feature: Feature, decision: Decision, request: MergeRequest) -> None:
    text = f"The approval of {decision.person} was taken back on merge request {request.number}."
    decision.accepted, decision.withdrawn_at, decision.reason = False, now(), text
    record(unit, feature, "withdrawn", text, person=decision.person, step=Step.WAIT_FOR_REVIEW)


def _back_to_review(unit: Unit, project: ProjectConfig, feature: Feature) -> None:
    states = unit.runs.states(run_of(feature))
    past = [step for step in Step if ORDER[step] > ORDER[Step.WAIT_FOR_REVIEW]]
    if states.get(Step.WAIT_FOR_REVIEW) != "success" and all(states.get(s, "none") == "none" for s in past):
        settle(unit, project, feature)
        return
    reason = "The review was taken back."
    void_permits(unit, feature, behind=Step.WAIT_FOR_REVIEW, reason=reason)
    turn.free(unit, project, feature)
    tell_request(unit, feature, "review_gone", f"{reason} {feature.key} waits for its review again.")
    rewind(unit, feature, Step.WAIT_FOR_REVIEW)
