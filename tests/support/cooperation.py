"""People who want every feature to come to its end: each does what the ledger says is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.people import SIGN_OFFS, DecisionKind
from feature_delivery.domain.process import ORDER, TEARDOWNS, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    Feature,
    FeatureState,
    Gate,
    PromotionState,
)
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.control.flags import Flag, flag

if TYPE_CHECKING:
    from tests.support.world import World

S = Step
ABLE = {
    S.WAIT_FOR_START: ("dan",),
    S.WAIT_FOR_REVIEW: ("rob", "rita"),
    S.WAIT_FOR_ACCEPTANCE: ("tom", "tina", "rita"),
    S.WAIT_FOR_CONFIRMATION: ("max", "mia"),
    S.WAIT_FOR_DEMONSTRATION: ("max",),
}


def to_the_end(world: World, *, rounds: int = 40) -> None:
    """Bring every feature to its end; fail when one cannot get there.

    Nobody cancels a feature only because it is stuck: that would hide what this looks for.
    """
    world.mishaps = 0
    for _ in range(rounds):
        one_round(world)
        if not world.features(FeatureState.ACTIVE, FeatureState.SHIPPED):
            world.run()
            _mend_teardowns(world)
            world.run()
            return
    stuck = [
        f"{f.run_id} {f.state} attempt {f.attempt_number}: {waiting(world, f)}"
        for f in world.features(FeatureState.ACTIVE, FeatureState.SHIPPED)
    ]
    raise AssertionError("no way to the end: " + "; ".join(stuck) + "\n" + "\n".join(world.log[-80:]))


def one_round(world: World) -> None:
    """Let everything run, look at every host, and let everybody do one thing."""
    world.run()
    world.witness.check_at_rest()
    world.time += world.project.choices.abandon_after
    _mend_teardowns(world)
    world.observe_production()
    for feature in world.features(FeatureState.ACTIVE):
        world.observe(feature)
    world.run()
    with world.peek() as books:
        row = books.project(world.project.name)
        frozen = row is not None and bool(row.frozen_reason)
    if frozen:
        world.adopt()
        world.run()
    for feature in world.features(FeatureState.ACTIVE, FeatureState.SHIPPED):
        help_on(world, feature)
        world.run()
    world.witness.check_at_rest()


def waiting(world: World, feature: Feature) -> tuple[Gate | None, Flag | None]:
    with world.peek() as books:
        current = books.feature_by_id(feature.id)
        gate = books.open_gate(current)
        return gate, flag(books, world.project, current, gate.step) if gate else None


def help_on(world: World, feature: Feature) -> None:  # noqa: C901 - one arm per gate
    """Do one thing that brings the feature on."""
    ref = RunRef(world.project.name, feature.run_id)
    gate, found = waiting(world, feature)
    if gate is None or found is None or gate.step not in world.parked(feature):
        if world.runs.runs[ref].over and feature.state is FeatureState.ACTIVE:
            _revive(world, feature)
        elif world.runs.runs[ref].over and feature.state is FeatureState.SHIPPED:
            world.decide(feature, "max", S.WAIT_FOR_DEMONSTRATION, DecisionKind.APPROVE)
        return
    if found.blocked:
        _unblock(world, feature, gate)
    elif gate.step in ABLE:
        for person in ABLE[gate.step]:
            gate_now, _ = waiting(world, feature)
            if gate_now is None or gate_now.step is not gate.step:
                break
            world.decide(feature, person, gate.step, DecisionKind.APPROVE)
        still, _ = waiting(world, feature)
        if gate.step in SIGN_OFFS and still is not None and still.id == gate.id:
            _push(world, feature)  # nobody is left who may: another commit gives everybody a free choice
    elif gate.step is S.WAIT_FOR_MERGE_REQUEST:
        world.open_request(feature)
    elif gate.step is S.WAIT_FOR_VERDICT:
        _judge(world, feature)
    elif gate.step in {S.WAIT_FOR_CODE, S.WAIT_FOR_REWORK} and feature.branch is None:
        world.clear(feature, S.REGISTER_FEATURE)
    elif gate.step in {S.WAIT_FOR_CODE, S.WAIT_FOR_REWORK}:
        _push(world, feature)


def _judge(world: World, feature: Feature) -> None:
    if not (_deployed(world, feature) and world.decide(feature, "max", S.WAIT_FOR_VERDICT, DecisionKind.KEEP)):
        world.decide(feature, "max", S.WAIT_FOR_VERDICT, DecisionKind.ROLL_BACK)


def _deployed(world: World, feature: Feature) -> bool:
    with world.peek() as books:
        promotion = books.promotion(feature)
        return promotion is not None and promotion.state is PromotionState.DEPLOYED


def _push(world: World, feature: Feature) -> None:
    """Push a good commit; a branch that is gone comes back."""
    assert feature.branch is not None
    gate, _ = waiting(world, feature)
    on = None
    if gate is not None and "git revert" in gate.blocked:
        with world.peek() as books:
            taken_back = [p for p in books.promotions(world.project.name) if p.feature_id == feature.id and p.restored]
        on = world.repository.commit(taken_back[-1].candidate).parents[1]
    world.push(feature.branch, who="dan", force=True, on=on)
    world.observe(feature)


def _unblock(world: World, feature: Feature, gate: Gate) -> None:
    with world.peek() as books:
        promotion = books.promotion(feature, feature.attempt_number)
        state = promotion.state if promotion is not None else None
        failed_at_start = feature.attempt_number == 0
    if state in OPEN_PROMOTIONS and gate.step in {S.WAIT_FOR_REWORK, S.WAIT_FOR_DEMONSTRATION}:
        _end_of_promotion(world, feature, state)
    elif state is PromotionState.INTENDED:
        world.clear(feature, S.WAIT_FOR_TURN)
    elif "reserve" in gate.blocked:
        again = f"{feature.run_id} {S.RESERVE_DEVELOPMENT} is cleared with all after it"
        # Where it did not run then, a gate before it was marked as failed by hand.
        world.clear(feature, S.REGISTER_FEATURE if again in world.log else S.RESERVE_DEVELOPMENT)
    elif failed_at_start:
        world.clear(feature, S.REGISTER_FEATURE)
    elif ORDER[gate.step] >= ORDER[S.WAIT_FOR_TURN] and _lacking(world, feature):
        for sign_off in SIGN_OFFS:
            for person in ABLE[sign_off]:
                world.decide(feature, person, sign_off, DecisionKind.APPROVE)
        if _lacking(world, feature):
            _push(world, feature)
        elif gate.step is S.WAIT_FOR_VERDICT:
            world.clear(feature, S.WAIT_FOR_TURN)
    else:
        _push(world, feature)


def _end_of_promotion(world: World, feature: Feature, state: PromotionState) -> None:
    """Where somebody has marked the verdict's task by hand, the run stands behind it without one."""
    again = f"{feature.run_id} {S.RESTORE_BRANCH} is cleared"
    if state is not PromotionState.ROLLING_BACK:
        _judge(world, feature)
    elif again not in world.log:
        world.say(again)
        world.clear(feature, S.WAIT_FOR_VERDICT)
    else:
        _mend_by_hand(world, feature)


def _mend_by_hand(world: World, feature: Feature) -> None:
    """Mend production, as a machine cannot take the feature back, and say so."""
    world.break_lock()
    world.hotfix("shop")
    world.adopt()
    promotion = world.promotion(feature)
    if promotion is not None and promotion.state is PromotionState.ROLLING_BACK:
        world.clear(feature, S.WAIT_FOR_VERDICT)  # nobody has touched its lines: the rollback goes on


def _lacking(world: World, feature: Feature) -> bool:
    _, found = waiting(world, feature)
    return found is not None and "lacks the approval" in found.blocked


def _revive(world: World, feature: Feature) -> None:
    """A run that was marked to its end by hand while the feature is active: its developer pushes again."""
    with world.peek() as books:
        promotion = books.promotion(feature, feature.attempt_number)
    if promotion is not None and promotion.state in OPEN_PROMOTIONS:
        world.clear(feature, S.DEPLOY_PRODUCTION)
    elif promotion is not None and promotion.state is PromotionState.INTENDED:
        world.clear(feature, S.WAIT_FOR_TURN)
    elif feature.branch is None or feature.attempt_number == 0:
        world.clear(feature, S.REGISTER_FEATURE)
    else:
        _push(world, feature)


def _mend_teardowns(world: World) -> None:
    """Clear teardowns that left something: an operator's, or the reaper's, answer to a killed or hand-marked one."""
    for feature in world.features(*set(FeatureState) - {FeatureState.ACTIVE}):
        ref = RunRef(world.project.name, feature.run_id)
        states = world.runs.states(ref)
        if not world.runs.runs[ref].over:
            continue
        with world.peek() as books:
            left = bool(books.environments(feature=feature))
        left = left or world.project.branches.candidate(feature.key) in world.repository.branches
        if states[Step.DELETE_BRANCHES] == "failed":
            _see_to_branches(world, feature)
        for step in sorted(TEARDOWNS):
            if states[step] != "success" or left:
                setup = {S.DESTROY_DEVELOPMENT: S.RESERVE_DEVELOPMENT, S.DESTROY_PREPROD: S.RESERVE_PREPROD}.get(step)
                if setup is not None:
                    world.mark(feature, setup, "success")
                world.clear(feature, step, with_downstream=False)


def _see_to_branches(world: World, feature: Feature) -> None:
    """Delete by hand what is refused because production has lost it, where that has been adopted."""
    branches, promotion = world.project.branches, world.promotion(feature)
    if promotion is None or promotion.state is not PromotionState.KEPT:
        return
    if not world.repository.is_ancestor(promotion.candidate, world.repository.branches[branches.production]):
        for branch in {branches.candidate(feature.key), *([feature.branch] if feature.branch else [])}:
            world.repository.branches.pop(branch, None)


def nothing_is_left(world: World) -> None:
    """Check that what is over has left nothing behind."""
    left = set(world.platform.places) - {"production"}
    assert not left, f"left behind: {left}"
    ours = {b for b in world.repository.branches if b.startswith("candidate/")}
    assert not ours, f"left behind: {ours}"
    with world.peek() as books:
        rows = [e.name for e in books.environments(world.project.name) if e.feature_id is not None]
        row = books.project(world.project.name)
    assert not rows, f"the ledger still has {rows}"
    assert row is None or row.lock_feature_id is None, "somebody still holds production"


def bring(world: World, key: str, gate: Step) -> Feature:
    """Start a feature if need be, and bring it on until it is parked at ``gate``; others stand still."""
    if not any(f.key == key for f in world.features(FeatureState.ACTIVE, FeatureState.SHIPPED)):
        world.start(key)
    for _ in range(60):
        world.run()
        feature = [f for f in world.features() if f.key == key][-1]
        if gate in world.parked(feature):
            return feature
        help_on(world, feature)
        world.observe(feature)
    raise AssertionError(f"{key} never came to {gate}\n" + "\n".join(world.log[-40:]))


def now_of(world: World, feature: Feature) -> Feature:
    """Return the feature as the ledger has it now."""
    with world.peek() as books:
        return books.feature_by_id(feature.id)
