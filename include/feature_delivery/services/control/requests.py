"""Merge requests and reviews, as the Git host shows them: facts that raise flags, never orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature, FeatureState
from feature_delivery.ports.git_host import MergeRequest, RequestState, ReviewKind
from feature_delivery.services.control.decide import Say, decide
from feature_delivery.services.control.gates import enter, settle
from feature_delivery.services.control.history import record

if TYPE_CHECKING:
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit


def observe_request(unit: Unit, project: ProjectConfig, run_id: str, request: MergeRequest | None) -> None:
    """Take in the merge request of the feature's branch and the reviews on it.

    A review counts for the commit it was given on, by a person of the project; one known already changes nothing.
    A request closed or merged by hand is a signal for people only: what ships is decided here.
    """
    feature = enter(unit, project, run_id)
    if request is None or feature.state is not FeatureState.ACTIVE or request.source != feature.branch:
        return
    if request.state is not RequestState.OPEN:
        _closed_by_hand(unit, feature, request)
        return
    feature.request_number, feature.request_url = request.number, request.url
    if feature.request_author != request.author:
        feature.request_author = request.author
        record(unit, feature, "request", f"{request.author} opened merge request {request.number}.")
    attempt = unit.books.attempt(feature)
    author = project.people.by_login(request.author)
    if attempt is not None and author is not None and author not in attempt.authors:
        attempt.authors = sorted({*attempt.authors, author})
    settle(unit, project, feature)
    if attempt is None:
        return
    known = unit.books.decisions(feature, attempt.number)
    heard = {(d.person, d.kind, d.commit) for d in known if d.step is Step.WAIT_FOR_REVIEW}
    for review in request.reviews:
        person = project.people.by_login(review.person)
        kind = DecisionKind.APPROVE if review.kind is ReviewKind.APPROVE else DecisionKind.REJECT
        if person is None or review.commit != attempt.commit or (person, kind, attempt.commit) in heard:
            continue
        comment = review.comment or ("Changes were requested." if kind is DecisionKind.REJECT else "")
        say = Say(
            person=person, gate=Step.WAIT_FOR_REVIEW, kind=kind, comment=comment, commit=review.commit, source="git"
        )
        decide(unit, project, run_id, say)


def _closed_by_hand(unit: Unit, feature: Feature, request: MergeRequest) -> None:
    if feature.request_number == request.number:
        feature.request_number, feature.request_url = None, ""
        text = f"Merge request {request.number} was {request.state} by hand; that ships nothing."
        record(unit, feature, "request", text)
