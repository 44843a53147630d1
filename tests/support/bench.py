"""A workbench for steps: a real repository, a platform in memory, a tracker in memory, permits made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.rank_test import mann_whitney
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.judging.judge import RankTest
from feature_delivery.domain.marks import ANY, Claim
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.upkeep import Found, ReapPlan
from feature_delivery.domain.work import (
    CandidateBuilt,
    CandidateWork,
    EnvironmentWork,
    GateAnswer,
    Result,
    Work,
)
from feature_delivery.ports.load import Asked
from feature_delivery.ports.probe import Look
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.ports.tracker import Issue, IssueState
from feature_delivery.services.work.perform import perform
from tests.fakes.fake_platform import FakePlatform
from tests.fakes.measuring import FakeMeasuring
from tests.support.git_world import PRODUCTION, GitWorld
from tests.support.shop_project import shop_project

KEY = FeatureKey("SHOP-1")
BRANCH = BranchName("feature/SHOP-1-cards")
INSTANCE = "here"
DELIVERY = """
version: 1
start: python -m shop
health: {path: /healthz}
migration: {forward: migrate up, back: migrate down}
suites:
  syntax: {command: check syntax}
  unit: {command: check unit}
  functional: {command: check functional}
  integration: {command: check integration}
"""


class FakeTracker:
    """Implements ``Tracker``."""

    def __init__(self) -> None:
        self.found: dict[FeatureKey, Issue] = {}
        self.comments: dict[str, str] = {}

    def find(self, key: FeatureKey) -> Issue | None:
        return self.found.get(key)

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        made = Issue(key, title, description, IssueState.OPEN, None, reporter, f"/issues/{key}")
        return self.found.setdefault(key, made)

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        self.comments.setdefault(marker, text)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        self.found[key] = replace(self.found[key], state=state)


class FakeProbe:
    """Implements ``Probe`` in virtual time: answers as told, the last one again and again."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = list(statuses or (200,))
        self.time = 0.0
        self.asked: list[str] = []

    def look(self, url: str) -> Look:
        self.asked.append(url)
        self.time += 0.01
        return Look(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0], 0.01)

    def now(self) -> float:
        return self.time

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeLoad:
    """Implements ``Load``: every answer takes ``seconds`` and a little more or less, thirty a second."""

    def __init__(self, *, seconds: float = 0.02, status: int | None = 200) -> None:
        self.seconds, self.status = seconds, status
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def put(self, address: str, paths: Sequence[str], *, seconds: float) -> list[Asked]:
        self.asked.append((address, tuple(paths)))
        count = int(30 * seconds)
        return [
            Asked(n / 30, paths[n % len(paths)], self.status, self.seconds * (1 + (n * 7 % 10) / 50))
            for n in range(count)
        ]


@dataclass
class Bench:
    """Everything a step touches; implements ``Tools``."""

    world: GitWorld
    project: ProjectConfig
    repository: GitRepository
    fake: FakePlatform = field(default_factory=lambda: FakePlatform(INSTANCE))
    tracker: FakeTracker = field(default_factory=FakeTracker)
    probe: FakeProbe = field(default_factory=FakeProbe)
    measuring: FakeMeasuring | None = None
    load: FakeLoad = field(default_factory=FakeLoad)
    rank_test: RankTest = mann_whitney
    log: list[str] = field(default_factory=list)
    reported: list[Result] = field(default_factory=list)
    problem: str = ""

    @classmethod
    def make(cls, directory: Path, *, delivery: str | None = DELIVERY) -> Bench:
        files = {"README": "shop\n"} | ({"delivery.yaml": delivery} if delivery else {})
        world = GitWorld.make(directory, files=files)
        project = shop_project(str(world.host))
        return cls(world, project, GitRepository(str(world.host), directory / "mirror.git"))

    def platform(self, instance: str) -> FakePlatform:
        assert instance == INSTANCE
        return self.fake

    def work(self, step: Step, **facts: Any) -> Work:
        values: dict[str, Any] = {
            "permit": 1,
            "project": self.project.name,
            "step": step,
            "key": KEY,
            "delivery": 1,
            "title": "Gift cards",
            "description": "",
            "requester": "max",
            "branch": BRANCH if BRANCH in self.world.branches() else None,
            "attempt": 1 if BRANCH in self.world.branches() else 0,
            "commit": self.world.branches().get(BRANCH),
            "issue_url": "",
            "request_number": None,
            "production_commit": self.world.branches().get(PRODUCTION),
        }
        return Work(**{**values, **facts})

    def run(self, step: Step, **facts: Any) -> Any:
        def report(result: Result) -> str:
            self.reported.append(result)
            return self.problem

        return perform(self.work(step, **facts), self, report=report, say=self.log.append)

    def candidate(self, **facts: Any) -> CandidateWork:
        """Build the feature's candidate and return it as a tested one."""
        built = self.run(Step.BUILD_CANDIDATE, **facts)
        assert isinstance(built, CandidateBuilt), built
        return CandidateWork(
            commit=built.commit, tree=built.tree, base=built.base, feature=built.feature, integration_green=True
        )


def environment(kind: str, generation: int = 1, address: str = "http://shop.test") -> EnvironmentWork:
    shared = kind == "production"
    name = kind if shared else f"{kind}-shop-1"
    return EnvironmentWork(
        instance=INSTANCE, name=name, kind=kind, generation=generation, address=address, shared=shared
    )


@dataclass
class FakeControl:
    """Implements ``Control`` for one permit."""

    work: Any = None
    problem: str = ""
    reports: list[Result] = field(default_factory=list)
    refuse: Exception | None = None
    answers: list[GateAnswer] = field(default_factory=list)
    events: list[object] = field(default_factory=list)

    def take_permit(self, task: TaskRef) -> Work:
        if self.refuse:
            raise self.refuse
        granted: Work = self.work
        return granted

    def report(self, task: TaskRef, permit: int, result: Result) -> str:
        self.reports.append(result)
        return self.problem

    def ask_gate(self, task: TaskRef, event: object = None) -> GateAnswer:
        self.events.append(event)
        if self.refuse:
            raise self.refuse
        return self.answers.pop(0)

    def housekeeping(self) -> dict[str, int]:
        return {}

    def claim(self, project: ProjectName) -> Claim:
        return Claim(instance=INSTANCE, fresh="fresh", known=(ANY,))

    def contested(self, project: ProjectName, found: str) -> None:
        raise Unavailable(f"Another one has left {found} in {project}.")

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str = "") -> ReapPlan:
        raise NotImplementedError

    def reaped(self, project: ProjectName, *, name: str, generation: int) -> None:
        raise NotImplementedError


def task(step: Step) -> TaskRef:
    return TaskRef(RunRef(shop_project().name, "SHOP-1"), step, 1, "uuid")


def commit(text: str) -> CommitSha:
    return CommitSha(text * 40)
