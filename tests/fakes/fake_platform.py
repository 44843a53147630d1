"""A platform in memory, for tests of services: it passes the same contract suite as the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import CommitSha, ProjectName, project_name
from feature_delivery.domain.plan import Command, DeliveryPlan, SuitePlan
from feature_delivery.domain.suites import CaseState, SuiteReport, TestCase
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, EnvironmentStatus, Release

GREEN = (TestCase("works", CaseState.PASSED, 0.1),)


@dataclass
class FakeEnvironment:
    """One environment; tests may look and change."""

    ref: EnvironmentRef
    address: str
    commit: CommitSha | None = None
    previous: CommitSha | None = None
    alive: bool = True
    plan: DeliveryPlan | None = None
    unsettled: CommitSha | None = None
    taken_back: CommitSha | None = None


class FakePlatform:
    """Implements ``Platform``.

    Attributes:
        environments: By project and name.
        broken: Commits that cannot be deployed, with the reason.
        failing: Migrations that fail, with what they write; the others write what ``echo`` would.
        cases: What a suite finds, by commit and suite name; green when not given.
        problems: What keeps a suite from counting, by commit and suite name.
        marks: Of control planes, by instance and project.
        calls: Every call that had an effect, in order: method, environment name, commit (or empty).
        before: Called with the method's name at the start of each call; tests raise or interfere here.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.environments: dict[tuple[ProjectName, str], FakeEnvironment] = {}
        self.broken: dict[CommitSha, str] = {}
        self.failing: dict[Command, str] = {}
        self.cases: dict[tuple[CommitSha, str], tuple[TestCase, ...]] = {}
        self.problems: dict[tuple[CommitSha, str], str] = {}
        self.marks: dict[tuple[str, ProjectName], str] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.before: Callable[[str], None] = lambda _: None

    def provision(self, ref: EnvironmentRef) -> EnvironmentStatus:
        self.before("provision")
        key = (project_name(ref.project), ref.name)
        if key not in self.environments:
            if ref.instance != self.instance:
                raise Refused(f"Did not create {ref.name}: it would belong to {ref.instance!r}.")
            self.environments[key] = FakeEnvironment(ref, f"http://{ref.name}.{ref.project}.test")
        found = self._write(ref)
        self.calls.append(("provision", ref.name, ""))
        return self._status(found)

    def deploy(
        self,
        ref: EnvironmentRef,
        release: Release,
        *,
        say: Callable[[str], None],
        migrate_back: DeliveryPlan | None = None,
    ) -> EnvironmentStatus:
        self.before("deploy")
        found = self._write(ref)
        say(f"Deploy {release.commit[:12]} to {ref.name}.")
        self._migrate(found, release, migrate_back, say)
        if release.commit in self.broken:
            back = release.plan.migration.way_back
            if migrate_back is None and found.unsettled == release.commit and back is not None:
                self._run(back, say)
                found.unsettled = None
            raise Refused(
                f"Could not start {release.commit[:12]} in {ref.name}: it ended. {self.broken[release.commit]}"
            )
        say("Wait until it is healthy.")
        found.unsettled = found.taken_back = None
        if found.commit != release.commit:
            found.previous, found.commit = found.commit, release.commit
        found.plan = release.plan
        found.alive = True
        self.calls.append(("deploy" if migrate_back is None else "deploy_back", ref.name, release.commit))
        return self._status(found)

    def run_suite(
        self,
        ref: EnvironmentRef,
        *,
        name: str,
        suite: SuitePlan,
        release: Release,
        variables: Mapping[str, str],
        say: Callable[[str], None],
    ) -> SuiteReport:
        self.before("run_suite")
        found = self._admitted(ref)
        if found.commit != release.commit:
            raise Conflict(f"{ref.name} does not run {release.commit[:12]}.")
        say(f"Run {' '.join(suite.command)}")
        self.calls.append((f"run_suite {name}", ref.name, release.commit))
        key = (release.commit, name)
        problem = self.problems.get(key, "")
        cases = () if problem else self.cases.get(key, GREEN)
        return SuiteReport(suite=name, commit=release.commit, seconds=0.1, cases=cases, problem=problem)

    def keep_running(self, ref: EnvironmentRef, *, say: Callable[[str], None]) -> bool:
        self.before("keep_running")
        found = self.environments.get((ref.project, ref.name))
        if found is None or found.commit is None or found.alive:
            return False
        self._admitted(ref).alive = True
        self.calls.append(("keep_running", ref.name, found.commit))
        return True

    def status(self, ref: EnvironmentRef) -> EnvironmentStatus | None:
        self.before("status")
        found = self.environments.get((ref.project, ref.name))
        return None if found is None else self._status(found)

    def destroy(self, ref: EnvironmentRef) -> None:
        self.before("destroy")
        if EnvironmentKind.PRODUCTION in (ref.kind, ref.name):
            raise Refused(f"Did not destroy {ref.name}: production is never torn down.")
        if (ref.project, ref.name) in self.environments:
            self._admitted(ref)
            del self.environments[ref.project, ref.name]
            self.calls.append(("destroy", ref.name, ""))

    def claim(self, project: ProjectName, claim: Claim) -> str:
        self.before("claim")
        found = self.marks.get((claim.instance, project), "")
        if claim.admits(found):
            self.marks[claim.instance, project] = claim.fresh
            return ""
        return found

    def list(self, project: ProjectName) -> tuple[EnvironmentStatus, ...]:
        self.before("list")
        return tuple(self._status(found) for (owner, _), found in sorted(self.environments.items()) if owner == project)

    def _migrate(
        self, found: FakeEnvironment, release: Release, migrate_back: DeliveryPlan | None, say: Callable[[str], None]
    ) -> None:
        if migrate_back is None:
            if release.plan.migration.forward is not None:
                found.unsettled, found.taken_back = release.commit, None
                self._run(release.plan.migration.forward, say)
            return
        leaving = found.unsettled or (found.commit if found.commit != release.commit else None)
        if leaving is None or leaving == found.taken_back:
            return
        if migrate_back.migration.way_back is not None:
            self._run(migrate_back.migration.way_back, say)
        found.unsettled, found.taken_back = None, leaving

    def _run(self, command: Command, say: Callable[[str], None]) -> None:
        if command in self.failing:
            raise Refused(f"Could not migrate: it failed. It ended with:\n{self.failing[command]}")
        if command[0] == "echo":
            say(" ".join(command[1:]))

    def _write(self, ref: EnvironmentRef) -> FakeEnvironment:
        found = self._admitted(ref)
        found.ref = replace(found.ref, generation=ref.generation)
        return found

    def _admitted(self, ref: EnvironmentRef) -> FakeEnvironment:
        found = self.environments.get((ref.project, ref.name))
        if found is None:
            raise NotFound(f"There is no environment {ref.name}.")
        if {found.ref.instance, ref.instance} != {self.instance}:
            raise Refused(f"Did not touch {ref.name}: it belongs to the instance {found.ref.instance!r}.")
        if (found.ref.kind, found.ref.key) != (ref.kind, ref.key):
            raise Conflict(f"{ref.name} is the {found.ref.kind} environment of {found.ref.key}.")
        if ref.generation < found.ref.generation:
            raise Conflict(f"Generation {found.ref.generation} has written to {ref.name} already.")
        return found

    def _status(self, found: FakeEnvironment) -> EnvironmentStatus:
        return EnvironmentStatus(
            ref=found.ref,
            address=found.address,
            commit=found.commit,
            previous=found.previous,
            healthy=found.commit is not None and found.alive,
            foreign=found.ref.instance != self.instance,
            unsettled=found.unsettled,
            metrics_path=(found.plan.metrics_path or "") if found.plan else "",
            health_path=found.plan.health.path if found.plan else "",
        )
