"""What must never happen, checked from what was really done."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from feature_delivery.domain.names import CommitSha, TreeSha
from feature_delivery.domain.people import SIGN_OFFS
from feature_delivery.domain.process import ORDER, Step
from feature_delivery.domain.records import (
    OPEN_PROMOTIONS,
    EnvironmentState,
    Feature,
    FeatureState,
    PromotionState,
)
from feature_delivery.domain.work import Deployed, Result, SuiteDone, Work
from feature_delivery.ports.repository import Held
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.control.flags import flag

if TYPE_CHECKING:
    from tests.support.world import World


class Witness:
    def __init__(self, world: World) -> None:
        self.world = world
        self.green: set[TreeSha] = set()
        self.approvals: set[tuple[str, int, Step, str]] = set()
        self.reviews: set[tuple[str, CommitSha]] = set()
        self.broken: set[int] = set()
        self.overridden: set[tuple[str, int, Step]] = set()
        self.generations: dict[str, int] = {}
        self.attempts_deployed: dict[str, tuple[int, int]] = {}
        self.shipped: list[tuple[str, TreeSha]] = []
        self.taken_back: list[tuple[CommitSha, CommitSha]] = []

    def suite_ran(self, step: Step, commit: CommitSha, *, red: bool) -> None:
        files = self.world.repository.files(commit)
        if step is Step.TEST_PREPROD and not red and "no tests" not in files.values():
            self.green.add(self.world.repository.commit(commit).tree)

    def granted(self, task: TaskRef, work: Work) -> None:
        with self.world.peek() as books:
            feature = books.feature_of_run(work.project, task.run.run_id)
            assert feature is not None
            rows = books.environments(work.project)
        for row in rows:
            assert row.generation >= self.generations.get(row.name, 0), "a generation went back"
            self.generations[row.name] = row.generation

    def reported(self, task: TaskRef, work: Work, result: Result) -> None:
        if isinstance(result, Deployed) and work.environment is not None and not work.environment.shared:
            now = (work.delivery, work.attempt)
            assert now >= self.attempts_deployed.get(work.environment.name, (0, 0)), (
                "an older attempt came over a newer"
            )
            self.attempts_deployed[work.environment.name] = now
        if isinstance(result, SuiteDone) and result.executed == 0:
            with self.world.peek() as books:
                feature = books.feature_of_run(work.project, task.run.run_id)
                assert feature is not None
                kept = books.suite_results(feature)[-1]
                assert kept.red, "a suite without a test counts as green"

    def before_rewind(self, run: RunRef, to: Step) -> None:
        with_books = self.world.books if self.world.begin_books is None else None
        if with_books is None:
            return
        feature = with_books.feature_of_run(run.project, run.run_id)
        assert feature is not None
        promotion = with_books.promotion(feature)
        if promotion is not None and promotion.state in OPEN_PROMOTIONS:
            assert ORDER[to] >= ORDER[Step.DEPLOY_PRODUCTION], f"{run.run_id} was rewound to {to} before its verdict"

    def promoted(self, work: Work) -> None:
        """Production has just moved: was it allowed, by everything that really happened?"""
        world = self.world
        assert work.promotion is not None
        commit = world.repository.commit(work.promotion.candidate)
        feature_commit = commit.parents[1]
        assert commit.tree in self.green, "an untested tree reached production"
        self._signed_off(work, feature_commit)
        self.shipped.append((work.key, commit.tree))
        with world.peek() as books:
            feature = books.feature(work.project, work.key)
            assert feature is not None
            for other in books.promotions(work.project):
                if other.feature_id != feature.id and other.feature_id not in self.broken:
                    assert other.state not in OPEN_PROMOTIONS, "two features are in production at once"

    def _signed_off(self, work: Work, feature_commit: CommitSha) -> None:
        world, people = self.world, self.world.everybody
        run_id = work.key if work.delivery == 1 else f"{work.key}__{work.delivery}"
        gates = [gate for gate in SIGN_OFFS if gate in people.policies]
        authors = people.by_emails(
            email
            for commit in world.repository.ahead(
                feature_commit, work.promotion.before if work.promotion else feature_commit
            )
            for email in commit.authors
        )
        said: list[set[str]] = []
        for gate in gates:
            if (run_id, work.attempt, gate) in self.overridden:
                continue
            policy = people.policies[gate]
            able = set(people.with_role(*policy.roles)) - set(authors)
            heard = {p for run, number, at, p in self.approvals if (run, number, at) == (run_id, work.attempt, gate)}
            if gate is Step.WAIT_FOR_REVIEW:
                heard |= {p for p, at_commit in self.reviews if at_commit == feature_commit}
            assert len(heard & able) >= policy.count, f"{work.key} reached production without enough at {gate}"
            said.append(heard & able)
        assert any(len(set(choice)) == len(choice) for choice in itertools.product(*said)), "one person, two roles"

    def restored(self, work: Work, commit: CommitSha) -> None:
        assert work.promotion is not None
        repository = self.world.repository
        made = repository.commit(commit)
        if made.parents == (work.promotion.candidate,):
            assert made.tree == repository.commit(work.promotion.before).tree, "the rollback is not the tree before"

    def adopted(self, head: CommitSha) -> None:
        """An operator has called ``head`` production: is what counts as taken back by it really gone?"""
        with self.world.peek() as books:
            for promotion in books.promotions(self.world.project.name):
                if promotion.state is PromotionState.ROLLED_BACK and promotion.restored == head:
                    found = self.world.repository.held(head, before=promotion.before, candidate=promotion.candidate)
                    assert found is not Held.WHOLE, f"{promotion.candidate[:10]} is live and called rolled back"

    def before_delete(self, work: Work) -> None:
        """Branches of shipped work are about to go: production must hold the commit, or nothing does."""
        repository = self.world.repository
        production = repository.branches[self.world.project.branches.production]
        for branch, commit in work.branch_leases.items():
            if work.promotion is not None and repository.branches.get(branch) == commit:
                assert repository.is_ancestor(commit, production), f"{branch} was the last that held {commit[:10]}"

    def kept(self, feature: Feature) -> None:
        """Somebody has just kept it: nobody may have known that production's branch has lost it."""
        world = self.world
        with world.peek() as books:
            row, promotion = books.project(world.project.name), books.promotion(feature)
        assert row is not None
        assert promotion is not None
        if row.frozen_commit is not None:
            assert world.repository.is_ancestor(promotion.candidate, row.frozen_commit), "kept, and not in production"

    def decided(self, run_id: str) -> None:
        """A deadline has decided about it, perhaps that it is kept."""
        with self.world.peek() as books:
            feature = books.feature_of_run(self.world.project.name, run_id)
        assert feature is not None
        if feature.state is FeatureState.SHIPPED:
            self.kept(feature)

    def before_destroy(self, work: Work) -> None:
        assert work.environment is not None
        assert not work.environment.shared
        with self.world.peek() as books:
            row = books.environment(work.project, work.environment.name)
            assert row is not None
            assert row.feature_id is not None
            owner = books.feature_by_id(row.feature_id)
            if work.step is Step.RELEASE_PREPROD:
                promotion = books.promotion(owner, work.attempt)
                assert promotion is not None
                assert promotion.state in {PromotionState.ROLLING_BACK, PromotionState.ROLLED_BACK}
                return
            assert owner.state is not FeatureState.ACTIVE, f"something of active {owner.key} is destroyed"

    def row_is_written(self, work: Work) -> None:
        assert work.environment is not None
        with self.world.peek() as books:
            row = books.environment(work.project, work.environment.name)
            assert row is not None, "created before the ledger knew"
            if work.environment.generation == row.generation:
                assert row.state is not EnvironmentState.DESTROYED, "created after it was destroyed"

    def check(self) -> None:
        """Check what must hold after every move."""
        world = self.world
        with world.peek() as books:
            row = books.project(world.project.name)
            if row is None:
                return
            if row.lock_feature_id is not None:
                holder = books.feature_by_id(row.lock_feature_id)
                assert holder.state is FeatureState.ACTIVE, f"{holder.key} is {holder.state} and holds production"
            for promotion in books.promotions(world.project.name):
                if promotion.state in OPEN_PROMOTIONS:
                    assert row.lock_feature_id == promotion.feature_id or row.frozen_reason, (
                        "an open promotion without its lock"
                    )
            alive = {e.name for e in books.environments(world.project.name)}
            assert set(world.platform.places) <= alive, "something is there that the ledger calls destroyed"
            for name, seen in world.platform.seen.items():
                known = books.environment(world.project.name, name)
                assert known is not None
                assert seen <= known.generation

    def check_at_rest(self) -> None:
        """Check what must hold when nothing moves any more: every wake-up has arrived."""
        world = self.world
        self.check()
        with world.peek() as books:
            for feature in books.features(world.project.name):
                ref = RunRef(world.project.name, feature.run_id)
                parked = world.parked(feature)
                gate = books.open_gate(feature)
                if parked and (gate is None or gate.step not in parked):
                    raise AssertionError(f"{feature.run_id} is parked at {parked}, the ledger's gate is {gate}")
                if gate is not None and gate.step in parked:
                    found = flag(books, world.project, feature, gate.step)
                    assert not found.outcome, f"{gate.step} of {feature.run_id} is up ({found.outcome}) and sleeps"
                    assert not found.over, f"{gate.step} of {feature.run_id} is over and sleeps"
                    assert feature.rewind_to is None, f"{feature.run_id} sleeps before a rewind to {feature.rewind_to}"
                if world.runs.runs[ref].shelved is not None:
                    assert parked, f"{feature.run_id} lies on the shelf and waits for nothing"
