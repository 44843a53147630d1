"""Gates, decisions, permits, promotions, the queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from feature_delivery.domain.names import BranchName, PersonName, ProjectName, TreeSha
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Decision,
    FeatureState,
    GateState,
    HeardComment,
    PermitRecord,
    PromotionState,
    QueuePlace,
)
from tests.contracts.ledger.rows import (
    HOUR,
    KEY,
    NOON,
    OTHER,
    SHA_OF_CANDIDATE,
    SHOP,
    Begin,
    a_feature,
    a_gate,
    a_promotion,
    an_attempt,
    sha,
)


def test_a_resolved_gate_is_not_open_even_before_the_transaction_ends(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        gate = a_gate(books, feature)
        assert books.open_gate(feature) is gate
        gate.state = GateState.RESOLVED
        assert books.open_gate(feature) is None
        assert books.open_gates() == []


def test_gates_are_found_by_feature_state_and_deadline(begin: Begin) -> None:
    with begin() as books:
        one, two = a_feature(books), a_feature(books, "SHOP-2")
        closed = a_gate(books, one, state=GateState.CLOSED, ended=False, deadline=NOON)
        to_end = a_gate(books, one, state=GateState.RESOLVED, ended=False, deadline=NOON)
        ended = a_gate(books, one, Step.WAIT_FOR_START, state=GateState.RESOLVED, deadline=NOON)
        late = a_gate(books, one, deadline=NOON)
        endless = a_gate(books, two)
        assert books.gate(one, Step.WAIT_FOR_REVIEW) is late
        assert books.gate(two, Step.WAIT_FOR_START) is None
        assert books.gates(one) == [closed, to_end, ended, late]
        assert books.gates_to_end() == [closed, to_end]
        assert books.open_gates() == [late, endless]
        assert books.open_gates(SHOP) == [late, endless]
        assert books.open_gates(OTHER) == []
        assert books.gates_past_deadline(NOON) == [late]
        assert books.gates_past_deadline(NOON - timedelta(microseconds=1)) == []


def test_gates_to_ask_about_are_those_nobody_was_asked_about_and_nothing_stops(begin: Begin) -> None:
    with begin() as books:
        features = [a_feature(books, f"SHOP-{number}") for number in range(1, 7)]
        open_gate, asked, stopped, elsewhere, _resolved, percent = (
            a_gate(books, features[0]),
            a_gate(books, features[1], requested_at=NOON),
            a_gate(books, features[2], blocked="Its run was ended. Clear it."),
            a_gate(books, features[3], Step.WAIT_FOR_CODE),
            a_gate(books, features[4], state=GateState.RESOLVED),
            a_gate(books, features[5], blocked="Its %un"),
        )
        assert books.gates_to_ask([Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_START]) == [open_gate]
        assert books.gates_to_ask([Step.WAIT_FOR_CODE]) == [elsewhere]
        assert books.gates_to_ask([]) == []
        assert books.open_gates_blocked("Its run was ended") == [stopped]
        assert books.open_gates_blocked("Its %") == [percent], "it is no pattern"
        asked.requested_at, open_gate.blocked = None, "Red."
        assert books.gates_to_ask([Step.WAIT_FOR_REVIEW]) == [asked], "as they are now"


def test_a_gate_may_close_and_the_next_open_in_one_transaction(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        first = a_gate(books, feature)
        first.state = GateState.CLOSED
        second = a_gate(books, feature)
        assert books.open_gate(feature) is second


def test_decisions_are_kept_with_the_refused_ones(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        common: dict[str, Any] = {
            "feature_id": feature.id,
            "step": Step.WAIT_FOR_REVIEW,
            "person": PersonName("bob"),
            "way": "cli",
        }
        refused = Decision(attempt=1, commit=sha("a"), kind=DecisionKind.APPROVE, accepted=False, **common)
        accepted = Decision(
            attempt=2, commit=None, kind=DecisionKind.REJECT, accepted=True, candidate=SHA_OF_CANDIDATE, **common
        )
        books.add(refused)
        books.add(accepted)
        assert books.decisions(feature) == [refused, accepted]
        assert books.decisions(feature, 2) == [accepted]
        assert books.decisions(feature, 0) == []
        assert books.said(feature.project, since=None, limit=5) == [(accepted, feature), (refused, feature)]
        assert books.said(feature.project, since=None, limit=1) == [(accepted, feature)]
        assert books.said(feature.project, since=None, limit=1, before=accepted.id) == [(refused, feature)]
        assert books.said(feature.project, since=None, limit=1, before=refused.id) == []
        assert books.said(feature.project, since=accepted.at + timedelta(seconds=1), limit=5) == []
        assert books.said(ProjectName("elsewhere"), since=None, limit=5) == []
    with begin() as books:
        found = books.decisions(books.feature_by_id(1), 2)[0]
        assert (found.kind, found.candidate, found.accepted) == (DecisionKind.REJECT, SHA_OF_CANDIDATE, True)
        assert isinstance(found.step, Step)


def test_permits_are_found_by_number_and_by_feature(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        made = [
            PermitRecord(feature_id=feature.id, attempt=1, step=Step.PROMOTE, try_number=number, task_instance="t")
            for number in (1, 2)
        ]
        for permit in made:
            books.add(permit)
        assert books.permits(feature) == made
        assert books.permit(made[1].id) is made[1]
        assert books.permit(99) is None


def test_promotions_are_found_by_feature_attempt_and_project(begin: Begin) -> None:
    with begin() as books:
        feature, other = a_feature(books), a_feature(books, "SHOP-2")
        first = a_promotion(books, feature, 1, state=PromotionState.ROLLED_BACK)
        second = a_promotion(books, feature, 2, state=PromotionState.KEPT)
        third = a_promotion(books, other, 1, state=PromotionState.MOVED)
        assert books.promotion(feature) is second
        assert books.promotion(feature, 1) is first
        assert books.promotion(feature, 3) is None
        assert books.promotions(SHOP) == [first, second, third]
        assert books.promotions(OTHER) == []
        assert books.promotions(SHOP, feature.key) == [first, second]
        assert books.promotions(OTHER, feature.key) == []
        third.tree = TreeSha("e" * 40)
        assert books.promotions(SHOP, tree=third.tree) == [third], "what was changed this moment counts, too"
        assert books.promotions(OTHER, tree=third.tree) == []
        states = [PromotionState.KEPT, PromotionState.MOVED]
        assert books.promotions(SHOP, states=states) == [second, third]
        assert books.promotions(SHOP, feature.key, tree=second.tree, states=states) == [second]


def test_the_queue_is_first_come_first_whatever_the_order_of_rows(begin: Begin) -> None:
    with begin() as books:
        one, two, three = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
        late = QueuePlace(project=SHOP, feature_id=one.id, since=NOON + HOUR)
        early = QueuePlace(project=SHOP, feature_id=two.id, since=NOON, waiting=False)
        twin = QueuePlace(project=SHOP, feature_id=three.id, since=NOON)
        for place in (late, early, twin):
            books.add(place)
        assert books.queue(SHOP) == [early, twin, late]
        books.leave_queue(two)
        books.leave_queue(two)
        assert books.queue(SHOP) == [twin, late]
        books.add(QueuePlace(project=SHOP, feature_id=two.id, since=NOON + 2 * HOUR))
        assert [place.feature_id for place in books.queue(SHOP)] == [three.id, one.id, two.id]
        assert books.queue(OTHER) == []


def test_branches_are_those_of_active_features_with_an_attempt(begin: Begin) -> None:
    with begin() as books:
        current, fresh, over = a_feature(books), a_feature(books, "SHOP-2"), a_feature(books, "SHOP-3")
        nameless, abroad = a_feature(books, "SHOP-4"), a_feature(books, project=OTHER)
        for feature in (current, over, nameless, abroad):
            an_attempt(books, feature, 1, "a")
        an_attempt(books, current, 2, "b")
        for feature in (current, fresh, over, abroad):
            feature.branch = BranchName(f"feature/{feature.key}")
        over.state = FeatureState.SHIPPED
        assert books.feature_branches(SHOP) == {"feature/SHOP-1": sha("b")}


def test_a_command_is_known_by_its_comment(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        heard = HeardComment(
            project=SHOP, comment="12:7", feature_id=feature.id, request=12, author="rita", verb="approve", at=NOON
        )
        books.add(heard)
        assert books.heard(SHOP, "12:7") is heard
        assert books.heard(SHOP, "12:8") is None
        assert books.heard(OTHER, "12:7") is None


def test_a_decision_remembers_where_it_was_said_and_taken_back(begin: Begin) -> None:
    with begin() as books:
        feature = a_feature(books)
        said = Decision(
            feature_id=feature.id,
            step=Step.WAIT_FOR_REVIEW,
            attempt=1,
            commit=sha("a"),
            person=PersonName("rita"),
            kind=DecisionKind.APPROVE,
            accepted=True,
            way="review",
            origin="request 12",
        )
        books.add(said)
        said.accepted, said.withdrawn_at = False, NOON
    with begin() as books:
        found = books.feature(SHOP, KEY)
        assert found
        (again,) = books.decisions(found)
        assert (again.origin, again.accepted, again.withdrawn_at) == ("request 12", False, NOON)
