"""The invariants of a delivery (design, section 4) under schedules that nobody would think of.

Every run of the machine puts pushes, decisions, clears, kills, marks by hand, hotfixes, broken locks and old answers
between any two moves of any task; what must never happen is checked after each, what must always be possible at the
end: with people who cooperate, every feature comes to its end and leaves nothing behind.

``HYPOTHESIS_PROFILE=thorough`` runs thousands of schedules.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feature_delivery.adapters.ledger import SqlBooks
from feature_delivery.domain.people import SIGN_OFFS, DecisionKind, Membership
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.project import Choices, ProjectConfig
from feature_delivery.domain.records import Feature, FeatureState
from feature_delivery.ports.git_host import ReviewKind
from tests.fakes.ledger import memory_ledger
from tests.support.cooperation import help_on, nothing_is_left, one_round, to_the_end
from tests.support.real_repository import RealRepository
from tests.support.world import BAD, STAFF, Outcome, World, grouped, members, shop, told

KEYS = ("SHOP-1", "SHOP-2", "SHOP-3")
CONTENTS = ("", "", "", "", *BAD)
picks = st.integers(min_value=0, max_value=30)
people = st.sampled_from(sorted(STAFF))
developers = st.sampled_from(["dan", "dora", "rob"])


class Deliveries(RuleBasedStateMachine):
    world: World

    @initialize(
        survive=st.booleans(),
        automatic=st.booleans(),
        start_gate=st.booleans(),
        by_group=st.booleans(),
    )
    def begin(self, *, survive: bool, automatic: bool, start_gate: bool, by_group: bool) -> None:
        choices = Choices(start_gate=start_gate, sign_offs_survive_refresh=survive, automatic_verdict=automatic)
        project = shop(choices)
        self.world = self.make_world(grouped(project) if by_group else project)
        self.world.start("SHOP-1")

    def make_world(self, project: ProjectConfig) -> World:
        return World(project=project)

    def feature(self, pick: int) -> Feature:
        found = self.world.features()
        return found[pick % len(found)]

    # Starting and ending.

    @rule(key=st.sampled_from(KEYS))
    def start(self, key: str) -> None:
        self.world.start(key)

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        self.world.cancel(self.feature(pick))

    # The scheduler and workers, step by step, or many steps at once.

    @rule()
    def schedule(self) -> None:
        self.world.schedule()

    @precondition(lambda self: self.world.processes)
    @rule(pick=picks, moves=st.integers(min_value=1, max_value=6))
    def advance(self, pick: int, moves: int) -> None:
        for _ in range(moves):
            if self.world.processes:
                self.world.advance(pick)

    @precondition(lambda self: self.world.processes)
    @rule(pick=picks, again=st.booleans(), lives_on=st.booleans())
    def kill(self, pick: int, *, again: bool, lives_on: bool) -> None:
        self.world.kill(pick, again=again, lives_on=lives_on)

    @rule()
    def housekeeping(self) -> None:
        self.world.finish()
        self.world.tell_of_ended_runs()
        assert not self.world.tell_of_ended_runs(), "people are told once"

    @rule()
    def let_it_run(self) -> None:
        self.world.run()

    @rule(rounds=st.integers(min_value=1, max_value=3))
    def everybody_helps(self, rounds: int) -> None:
        for _ in range(rounds):
            one_round(self.world)

    @rule(some=st.integers(min_value=1, max_value=2))
    def mishap(self, some: int) -> None:
        self.world.mishaps += some

    @rule(outcome=st.sampled_from(["fail", "inconclusive", "no_data"]))
    def observation(self, outcome: Outcome) -> None:
        self.world.observed.append(outcome)

    # Developers and the Git host.

    @rule(pick=picks, who=developers, content=st.sampled_from(CONTENTS), shared=st.booleans(), force=st.booleans())
    def push(self, pick: int, who: str, content: str, *, shared: bool, force: bool) -> None:
        feature = self.feature(pick)
        if feature.branch is not None:
            path = "shop" if shared else ""
            self.world.push(feature.branch, who=who, content=content, path=path, force=force)

    @rule(pick=picks, pusher=st.sampled_from(["", "dan", "rob"]))
    def look(self, pick: int, pusher: str) -> None:
        self.world.look(self.feature(pick), pusher)

    @precondition(lambda self: self.world.mail)
    @rule(pick=picks, keep=st.booleans())
    def tell(self, pick: int, *, keep: bool) -> None:
        self.world.tell(pick, keep=keep)

    @rule(pick=picks)
    def observe(self, pick: int) -> None:
        self.world.observe(self.feature(pick))

    @rule(pick=picks, author=developers)
    def open_request(self, pick: int, author: str) -> None:
        self.world.open_request(self.feature(pick), author)

    @rule(pick=picks, person=people, kind=st.sampled_from(ReviewKind))
    def review(self, pick: int, person: str, kind: ReviewKind) -> None:
        self.world.review(self.feature(pick), person, kind)

    @rule(pick=picks)
    def delete_branch(self, pick: int) -> None:
        branch = self.feature(pick).branch
        if branch is not None:
            self.world.repository.branches.pop(branch, None)

    @rule(shared=st.booleans())
    def hotfix(self, *, shared: bool) -> None:
        self.world.hotfix("shop" if shared else "hotfix")

    @rule(back=st.integers(min_value=0, max_value=2), noticed=st.booleans())
    def put_production_back_by_force(self, back: int, *, noticed: bool) -> None:
        self.world.put_back(back)
        if noticed:
            self.world.observe_production()

    @rule(noticed=st.booleans())
    def put_production_back_before_the_verdict(self, *, noticed: bool) -> None:
        """And somebody else, who knows nothing of it, keeps what is waiting."""
        feature = self.at_the_verdict()
        self.put_production_back_by_force(0, noticed=noticed)
        if feature is not None:
            self.world.decide(feature, "max", Step.WAIT_FOR_VERDICT, DecisionKind.KEEP)
            self.world.run()

    def at_the_verdict(self) -> Feature | None:
        """Let everybody help until something waits for its verdict."""
        for _ in range(12):
            for feature in self.world.features(FeatureState.ACTIVE):
                if Step.WAIT_FOR_VERDICT in self.world.parked(feature):
                    return feature
                help_on(self.world, feature)
                self.world.observe(feature)
                self.world.run()
        return None

    @rule()
    def observe_production(self) -> None:
        self.world.observe_production()

    # People.

    @rule(pick=picks, person=people, gate=st.sampled_from(sorted(SIGN_OFFS)))
    def approve(self, pick: int, person: str, gate: Step) -> None:
        self.world.decide(self.feature(pick), person, gate, DecisionKind.APPROVE)

    @rule(pick=picks, person=people, gate=st.sampled_from(sorted(GATES)), kind=st.sampled_from(DecisionKind))
    def decide(self, pick: int, person: str, gate: Step, kind: DecisionKind) -> None:
        self.world.decide(self.feature(pick), person, gate, kind)

    @rule(pick=picks, kind=st.sampled_from([DecisionKind.KEEP, DecisionKind.ROLL_BACK]))
    def judge(self, pick: int, kind: DecisionKind) -> None:
        self.world.decide(self.feature(pick), "max", Step.WAIT_FOR_VERDICT, kind)

    @rule(pick=picks, step=st.sampled_from(list(Step)), with_downstream=st.booleans())
    def clear(self, pick: int, step: Step, *, with_downstream: bool) -> None:
        self.world.clear(self.feature(pick), step, with_downstream=with_downstream)

    @rule(pick=picks, step=st.sampled_from(list(Step)), state=st.sampled_from(["success", "failed", "skipped"]))
    def mark(self, pick: int, step: Step, state: str) -> None:
        self.world.mark(self.feature(pick), step, state)

    @precondition(lambda self: self.world.project.people.groups)
    @rule(answers=st.booleans())
    def login_service(self, *, answers: bool) -> None:
        self.world.project = told(self.world.project, members() if answers else Membership(known=False))

    @rule(pick=picks, state=st.sampled_from(["success", "failed"]))
    def mark_run(self, pick: int, state: str) -> None:
        self.world.mark_run(self.feature(pick), state)

    @rule(days=st.sampled_from([0.01, 1.1, 15]))
    def time_passes(self, days: float) -> None:
        self.world.wait(timedelta(days=days))

    @rule(pick=picks, gate=st.sampled_from(SIGN_OFFS))
    def break_glass(self, pick: int, gate: Step) -> None:
        self.world.override(self.feature(pick), gate, DecisionKind.APPROVE)

    @rule()
    def break_lock(self) -> None:
        self.world.break_lock()

    @rule(hotfix=st.sampled_from(["", "hotfix", "shop"]))
    def take_production_over(self, hotfix: str) -> None:
        """An operator breaks the lock, mends production by hand, and says so."""
        self.world.break_lock()
        if hotfix:
            self.world.hotfix(hotfix)
        self.world.adopt()

    @rule()
    def adopt(self) -> None:
        self.world.adopt()

    @invariant()
    def nothing_forbidden_happened(self) -> None:
        if hasattr(self, "world"):
            self.world.witness.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if self.world.project.people.groups:
                self.login_service(answers=True)
            to_the_end(self.world)
            nothing_is_left(self.world)
            assert not self.world.features(FeatureState.ACTIVE)
        finally:
            self.world.close()


class DeliveriesInSql(Deliveries):
    """The same over the real books: what the lists keep, the tables must keep."""

    def make_world(self, project: ProjectConfig) -> World:
        self.ledger = memory_ledger()

        @contextmanager
        def begin() -> Iterator[SqlBooks]:
            with self.ledger.begin() as (_, books):
                yield books

        return World(project=project, begin_books=begin)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "ledger"):
                self.ledger.close()


class DeliveriesOnGit(Deliveries):
    """The same over real Git repositories."""

    def make_world(self, project: ProjectConfig) -> World:
        self.directory = tempfile.TemporaryDirectory()
        repository = RealRepository(Path(self.directory.name), production=project.branches.production)
        return World(project=project, repository=repository)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "directory"):
                self.directory.cleanup()


THOROUGH = settings().max_examples > 1000
SLOW = [Phase.explicit, Phase.reuse, Phase.generate]

TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings()
TestDeliveriesInSql = DeliveriesInSql.TestCase
TestDeliveriesInSql.settings = settings(max_examples=200 if THOROUGH else 4, stateful_step_count=25, phases=SLOW)
TestDeliveriesOnGit = DeliveriesOnGit.TestCase
TestDeliveriesOnGit.settings = settings(max_examples=100 if THOROUGH else 3, stateful_step_count=25, phases=SLOW)
