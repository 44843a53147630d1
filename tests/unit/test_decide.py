"""Decisions: whose word counts, for which commit, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.domain.names import CommitSha, PersonName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import Feature, FeatureState
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.services.control.decide import Say, cancel, decide
from feature_delivery.services.control.glass import free_lock, override
from tests.support.cooperation import bring, now_of
from tests.support.world import World, shop

APPROVE, REJECT = DecisionKind.APPROVE, DecisionKind.REJECT
REVIEW, ACCEPTANCE, CONFIRMATION = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION
VERDICT = Step.WAIT_FOR_VERDICT


def decisions(world: World, feature: Feature, *, accepted: bool) -> list[str]:
    return [d.person for d in world.books.decisions(feature) if d.accepted is accepted]


def reason_of(world: World, feature: Feature) -> str:
    return world.books.decisions(feature)[-1].reason


def test_an_approval_resolves_the_gate_and_the_run_goes_on(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]


@pytest.mark.parametrize(
    ("person", "why"), [("tom", "is not reviewer"), ("dan", "is not reviewer"), ("eve", "eve is nobody of shop")]
)
def test_a_person_without_the_role_is_refused_with_the_names_of_those_who_may(
    world: World, person: str, why: str
) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert not world.decide(feature, person, REVIEW, APPROVE)
    assert why in reason_of(world, feature)
    assert person == "eve" or "rita, rob" in reason_of(world, feature)
    world.run()
    assert world.parked(feature) == [REVIEW]
    assert decisions(world, feature, accepted=False) == [person]


def test_a_commit_author_may_not_approve(world: World) -> None:
    world.start("SHOP-1")
    world.run()
    feature = world.features()[0]
    assert feature.branch is not None
    world.push(feature.branch, who="rob")
    world.observe(feature)
    feature = bring(world, "SHOP-1", REVIEW)
    assert not world.decide(feature, "rob", REVIEW, APPROVE)
    assert "somebody else" in reason_of(world, feature)
    assert world.decide(feature, "rita", REVIEW, APPROVE)


def test_an_approval_stops_counting_when_its_giver_turns_out_to_have_pushed(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.look(feature, pusher="rob")
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    world.tell(0)
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    world.decide(feature, "tom", ACCEPTANCE, APPROVE)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_TURN]
    gate = world.books.open_gate(now_of(world, feature))
    assert gate is not None
    assert REVIEW in gate.blocked


def test_who_opened_the_merge_request_may_not_approve(world: World) -> None:
    feature = bring(world, "SHOP-1", Step.WAIT_FOR_MERGE_REQUEST)
    world.open_request(feature, author="rob")
    world.observe(feature)
    world.run()
    assert not world.decide(feature, "rob", REVIEW, APPROVE)


def test_one_person_fills_one_role(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert world.decide(feature, "rita", REVIEW, APPROVE)
    world.run()
    assert not world.decide(feature, "rita", ACCEPTANCE, APPROVE)
    assert "one role" in reason_of(world, feature)


def test_solo_lets_one_person_do_everything() -> None:
    world = World(project=shop(solo=True))
    feature = bring(world, "SHOP-1", REVIEW)
    assert world.decide(feature, "rita", REVIEW, APPROVE)
    world.run()
    assert world.decide(feature, "rita", ACCEPTANCE, APPROVE)
    world.close()


def test_the_same_word_twice_is_recorded_once(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    assert decisions(world, feature, accepted=True) == ["rob"]


@pytest.mark.parametrize(
    ("gate", "person", "kind"),
    [
        (ACCEPTANCE, "tom", REJECT),
        (VERDICT, "max", DecisionKind.KEEP),
        (VERDICT, "max", DecisionKind.ROLL_BACK),
        (Step.WAIT_FOR_DEMONSTRATION, "max", APPROVE),
    ],
)
def test_a_word_that_ends_something_is_one_word_however_often_it_is_sent(
    world: World, gate: Step, person: str, kind: DecisionKind
) -> None:
    feature = bring(world, "SHOP-1", gate)
    assert world.decide(feature, person, gate, kind)
    for _ in range(2):  # while what follows from it goes on, and after that
        assert world.decide(feature, person, gate, kind)
        world.run()
    assert [d.kind for d in world.books.decisions(feature) if d.step is gate] == [kind]
    other = "tina" if gate is ACCEPTANCE else "mia"
    assert not world.decide(feature, other, gate, kind), "another person says something new, and too late"
    assert world.books.decisions(feature)[-1].accepted is False


def test_the_last_sign_off_sent_twice_is_one_though_the_promotion_has_begun(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    assert world.decide(feature, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(feature) == [VERDICT]
    assert world.decide(feature, "max", CONFIRMATION, APPROVE)
    assert decisions(world, feature, accepted=False) == []


def test_an_approval_of_what_was_turned_down_since_is_no_repetition(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    assert world.decide(feature, "tom", ACCEPTANCE, REJECT)
    assert not world.decide(feature, "rob", REVIEW, APPROVE)
    assert "is rejected" in reason_of(world, feature)


def test_a_rejection_of_the_commit_before_is_no_repetition_for_the_next(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    attempt = world.books.attempt(feature)
    assert attempt is not None
    assert feature.branch is not None
    assert world.decide(feature, "tom", ACCEPTANCE, REJECT, commit=attempt.commit)
    world.push(feature.branch)
    world.observe(feature)
    assert not world.decide(feature, "tom", ACCEPTANCE, REJECT, commit=attempt.commit)
    assert "look again" in reason_of(world, feature)


def test_a_word_about_another_commit_is_refused(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert not world.decide(feature, "rob", REVIEW, APPROVE, commit=CommitSha("1" * 40))
    assert "look again" in reason_of(world, feature)


def test_a_rejection_needs_a_comment(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    say = Say(person=PersonName("rob"), gate=REVIEW, kind=REJECT, comment="  ")
    with world.begin() as unit:
        answer = decide(unit, world.project, feature.run_id, say)
    assert not answer
    assert "comment" in answer.reason


def test_a_rejection_sends_the_feature_back_and_voids_what_was_said(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    assert world.decide(feature, "tom", ACCEPTANCE, REJECT)
    world.run()
    assert world.parked(feature) == [Step.WAIT_FOR_CODE]
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    feature = bring(world, "SHOP-1", REVIEW)
    assert feature.attempt_number == 2
    texts = [o.payload.get("text", "") for o in world.books.outbox(feature) if "comment" in o.kind]
    assert any("tom at preprod.wait_for_acceptance: Because." in text for text in texts)


def test_a_decision_made_before_its_gate_opens_resolves_it(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    assert world.decide(feature, "tom", ACCEPTANCE, APPROVE)
    assert world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    assert world.parked(feature) == [CONFIRMATION]


def test_a_new_commit_voids_every_decision(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [REVIEW]
    assert now_of(world, feature).attempt_number == 2


def test_sign_offs_are_closed_once_the_candidate_is_in_production(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert not world.decide(feature, "tom", ACCEPTANCE, REJECT)
    assert "in production" in reason_of(world, feature)


def test_a_second_verdict_is_refused(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert world.decide(feature, "max", VERDICT, DecisionKind.KEEP)
    assert not world.decide(feature, "mia", VERDICT, DecisionKind.ROLL_BACK)
    world.run()
    assert now_of(world, feature).state is FeatureState.SHIPPED


def test_enough_people_must_approve() -> None:
    policies = dict(shop().people.policies)
    policies[REVIEW] = replace(policies[REVIEW], count=2)
    world = World(project=shop(policies=policies))
    feature = bring(world, "SHOP-1", REVIEW)
    world.decide(feature, "rob", REVIEW, APPROVE)
    world.run()
    assert world.parked(feature) == [REVIEW]
    world.decide(feature, "rita", REVIEW, APPROVE)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]
    world.close()


def test_a_review_on_the_git_host_counts_for_its_own_commit_only(world: World) -> None:
    feature = bring(world, "SHOP-1", REVIEW)
    world.review(feature, "rob", ReviewKind.APPROVE)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [REVIEW]
    world.review(feature, "rita", ReviewKind.APPROVE)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]
    world.observe(feature)
    assert decisions(world, feature, accepted=True) == ["rita"]


def test_after_a_refresh_that_voids_sign_offs_the_same_people_may_sign_again() -> None:
    world = World(project=shop(Choices(start_gate=False, sign_offs_survive_refresh=False)))
    second = bring(world, "SHOP-2", CONFIRMATION)
    first = bring(world, "SHOP-1", VERDICT)
    world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    world.decide(first, "max", VERDICT, DecisionKind.KEEP)
    world.run()
    assert world.parked(second) == [ACCEPTANCE]
    assert world.decide(second, "tom", ACCEPTANCE, APPROVE)
    world.run()
    assert world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    assert world.parked(second) == [VERDICT]
    world.close()


def candidate_of(world: World, feature: Feature) -> CommitSha:
    found = world.books.candidate(feature, feature.attempt_number)
    assert found is not None
    return found.commit


def overtaken(*, survive: bool) -> tuple[World, Feature, CommitSha]:
    """Return a feature whose candidate was built anew because production moved, and the candidate before that."""
    world = World(project=shop(Choices(start_gate=False, sign_offs_survive_refresh=survive)))
    second = bring(world, "SHOP-2", CONFIRMATION)
    before = candidate_of(world, second)
    first = bring(world, "SHOP-1", VERDICT)
    world.decide(first, "max", VERDICT, DecisionKind.KEEP)
    world.run()
    if survive:
        world.clear(second, Step.BUILD_CANDIDATE)
    else:
        world.decide(second, "max", CONFIRMATION, APPROVE)
    world.run()
    assert candidate_of(world, second) != before
    return world, second, before


def test_a_sign_off_about_a_candidate_that_was_built_anew_since_is_refused() -> None:
    world, feature, before = overtaken(survive=False)
    assert not world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate=before)
    newest = candidate_of(world, feature)
    assert reason_of(world, feature) == (
        f"This was said about candidate {before[:10]}, but SHOP-2 is at candidate {newest[:10]}: look again."
    )
    assert not world.decide(feature, "tom", ACCEPTANCE, REJECT, candidate=before), "nor is it taken for a rejection"
    assert not world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate=""), "nor what was said before there was one"
    world.run()
    assert world.parked(feature) == [ACCEPTANCE]
    assert world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate=newest)
    world.close()


def test_where_sign_offs_survive_a_refresh_the_page_from_before_it_counts_but_no_foreign_candidate() -> None:
    world, feature, before = overtaken(survive=True)
    assert not world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate=CommitSha("1" * 40))
    assert not world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate="")
    assert world.decide(feature, "tom", ACCEPTANCE, APPROVE, candidate=before)
    assert feature.branch is not None
    world.push(feature.branch)
    world.observe(feature)
    again = bring(world, "SHOP-2", ACCEPTANCE)
    assert not world.decide(again, "tom", ACCEPTANCE, APPROVE, candidate=before), "it is another attempt's"
    assert world.decide(again, "tom", ACCEPTANCE, APPROVE)
    world.close()


def test_glass_is_broken_for_the_candidate_that_was_looked_at() -> None:
    world, feature, before = overtaken(survive=False)
    say = Say(person=PersonName("olga"), gate=ACCEPTANCE, kind=APPROVE, comment="It burns.", candidate=before)
    with world.begin() as unit:
        assert "look again" in override(unit, world.project, feature.run_id, say).reason
    world.close()


def test_a_feature_in_production_cannot_be_cancelled(world: World) -> None:
    feature = bring(world, "SHOP-1", VERDICT)
    assert not world.cancel(feature)
    assert "verdict" in world.log[-1]


def test_a_cancelled_feature_leaves_nothing_behind(world: World) -> None:
    feature = bring(world, "SHOP-1", ACCEPTANCE)
    world.decide(feature, "tom", ACCEPTANCE, REJECT)
    world.run()  # the rewind has cleared preprod's setup while preprod is still there
    assert "preprod-shop-1" in world.platform.places
    assert world.cancel(feature)
    world.run()
    assert set(world.platform.places) == set()
    assert not [b for b in world.repository.branches if b.startswith("candidate/")]


def test_only_an_operator_with_a_reason_breaks_the_lock(world: World) -> None:
    bring(world, "SHOP-1", VERDICT)

    def as_(person: str, reason: str) -> bool:
        with world.begin() as unit:
            return bool(free_lock(unit, world.project, reason, person=PersonName(person)))

    assert not as_("max", "It hangs.")
    assert not as_("olga", " ")
    assert as_("olga", "It hangs.")
    assert not as_("olga", "Again.")


def test_a_promotion_that_was_begun_cannot_be_cancelled(world: World) -> None:
    feature = bring(world, "SHOP-1", CONFIRMATION)
    world.decide(feature, "max", CONFIRMATION, APPROVE)
    while not any(p.task.step is Step.PROMOTE and p.at == "performs" for p in world.processes):
        world.schedule()
        world.advance(0)
    assert not world.try_("cancel", lambda u: cancel(u, world.project, feature.run_id, "", person="max"))
    assert "being promoted" in world.log[-1]
