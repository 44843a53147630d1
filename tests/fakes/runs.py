"""``FakeRuns``: a small faithful scheduler in memory, with the task graph of a delivery.

What it takes over from Airflow 3.3: trigger rules, the scope of setups and teardowns, a new instance id per try,
``restarting`` for a running task that is cleared, parking, runs on the shelf that nothing moves, hand marks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import CHECKS, GATES, SETUPS, TEARDOWNS, Step
from feature_delivery.domain.records import now
from feature_delivery.ports.runs import RunEnd, RunRef, TaskRef

S = Step
CHAIN = [step for step in Step if step not in CHECKS | TEARDOWNS | {S.CLOSE_ISSUE, S.WAIT_FOR_DEMONSTRATION}]


def _graph() -> dict[Step, tuple[Step, ...]]:
    """Return the direct upstream tasks of every task."""
    before: dict[Step, tuple[Step, ...]] = {S.REGISTER_FEATURE: ()}
    before |= {later: (earlier,) for earlier, later in itertools.pairwise(CHAIN)}
    before |= dict.fromkeys(CHECKS, (S.DEPLOY_DEVELOPMENT,))
    before[S.WAIT_FOR_MERGE_REQUEST] = tuple(sorted(CHECKS))
    # A teardown waits for everything between its setup and itself; without a setup, for all that is upstream.
    before |= dict.fromkeys(TEARDOWNS, (S.DECIDE_ROLLBACK, S.WAIT_FOR_REWORK))
    before[S.CLOSE_ISSUE] = (S.DECIDE_ROLLBACK, *sorted(TEARDOWNS))
    before[S.WAIT_FOR_DEMONSTRATION] = (S.CLOSE_ISSUE,)
    return before


UPSTREAM = _graph()
SETUP_OF = {S.DESTROY_DEVELOPMENT: S.RESERVE_DEVELOPMENT, S.DESTROY_PREPROD: S.RESERVE_PREPROD}
NONE_SKIPPED = GATES | {S.NOTIFY_ROLLBACK}
BRANCHES = {"keep": S.RESTORE_BRANCH, "roll_back": S.CLOSE_ISSUE}
"""What ``decide_rollback`` skips, by verdict."""

ENDED = frozenset({"success", "failed", "upstream_failed", "skipped"})
BROKEN = frozenset({"failed", "upstream_failed"})
AT_WORK = frozenset({"running", "queued", "restarting"})


def downstream(step: Step) -> frozenset[Step]:
    """Return ``step`` and everything after it."""
    found = {step}
    for later in [*CHAIN, *CHECKS, *CHAIN, *TEARDOWNS, S.CLOSE_ISSUE, S.WAIT_FOR_DEMONSTRATION]:
        if any(up in found for up in UPSTREAM[later]):
            found.add(later)
    return frozenset(found)


DOWNSTREAM = {step: downstream(step) for step in Step}
_numbers = itertools.count(1)


@dataclass
class FakeTask:
    state: str = "none"
    try_number: int = 1
    instance: str = field(default_factory=lambda: f"ti-{next(_numbers)}")

    def again(self) -> None:
        """Be a new try."""
        if self.state != "none":
            self.try_number += 1
            self.instance = f"ti-{next(_numbers)}"
        self.state = "none"

    def clear(self) -> None:
        if self.state in {"running", "restarting"}:
            self.state = "restarting"
        else:
            self.again()


@dataclass
class FakeRun:
    conf: Mapping[str, object]
    tasks: dict[Step, FakeTask] = field(default_factory=lambda: {step: FakeTask() for step in Step})
    shelved: datetime | None = None
    started_by: str = ""
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        return all(task.state in ENDED for task in self.tasks.values())


@dataclass
class FakeRuns:
    """``before_rewind`` is asked first, so that a test can forbid a rewind."""

    runs: dict[RunRef, FakeRun] = field(default_factory=dict)
    before_rewind: Callable[[RunRef, Step], None] | None = None
    locked: list[RunRef] = field(default_factory=list)

    def snapshot(self) -> Callable[[], None]:
        """Return what brings everything back to now."""
        kept = {
            ref: (run.shelved, {step: (t.state, t.try_number, t.instance) for step, t in run.tasks.items()})
            for ref, run in self.runs.items()
        }

        def restore() -> None:
            self.runs = {ref: run for ref, run in self.runs.items() if ref in kept}
            for ref, (shelved, tasks) in kept.items():
                run = self.runs[ref]
                run.shelved = shelved
                for step, values in tasks.items():
                    run.tasks[step].state, run.tasks[step].try_number, run.tasks[step].instance = values

        return restore

    # What the control plane asks for.

    def lock(self, run: RunRef) -> bool:
        self.locked.append(run)
        return run in self.runs

    def start(self, run: RunRef, *, conf: Mapping[str, object], note: str) -> None:
        assert run not in self.runs
        self.runs[run] = FakeRun(conf=conf)

    def conf(self, run: RunRef) -> Mapping[str, object]:
        return self.runs[run].conf

    def started_by(self, run: RunRef) -> str:
        return self.runs[run].started_by

    def is_running(self, task: TaskRef) -> bool:
        return self._is(task, "running")

    def is_deferred(self, task: TaskRef) -> bool:
        return self._is(task, "deferred")

    def _is(self, task: TaskRef, state: str) -> bool:
        found = self.runs[task.run].tasks[task.step]
        same = (found.try_number, found.instance) == (task.try_number, task.task_instance)
        return same and found.state == state

    def states(self, run: RunRef) -> dict[Step, str]:
        return {step: task.state for step, task in self.runs[run].tasks.items()}

    def end(self, run: RunRef) -> RunEnd | None:
        found = self.runs.get(run)
        if found is None or not found.over:
            if found is not None:
                found.ended_at = None
            return None
        found.ended_at = found.ended_at or now()
        broken = any(task.state in BROKEN for task in found.tasks.values())
        return RunEnd("failed" if broken else "success", found.ended_at)

    def parked(self, projects: Collection[ProjectName]) -> dict[RunRef, frozenset[Step]]:
        found = {
            ref: frozenset(step for step, task in run.tasks.items() if task.state == "awaiting_input")
            for ref, run in self.runs.items()
            if ref.project in projects
        }
        return {ref: steps for ref, steps in found.items() if steps}

    def end_gate(self, run: RunRef, gate: Step) -> bool:
        assert run in self.locked, f"{run.run_id} was ended without its lock"
        task = self.runs[run].tasks[gate]
        if task.state != "awaiting_input":
            return False
        task.state = "success"
        return True

    def end_watch(self, run: RunRef) -> bool:
        return False

    def shelve(self, run: RunRef, *, until: datetime) -> None:
        self.runs[run].shelved = until

    def unshelve(self, run: RunRef) -> None:
        self.runs[run].shelved = None

    def rewind(self, run: RunRef, *, to: Step) -> None:
        assert run in self.locked, f"{run.run_id} was rewound without its lock"
        if self.before_rewind is not None:
            self.before_rewind(run, to)
        self.clear(run, *DOWNSTREAM[to])
        self.runs[run].shelved = None

    def stop(self, run: RunRef) -> None:
        assert run in self.locked, f"{run.run_id} was stopped without its lock"
        for step, task in self.runs[run].tasks.items():
            if step in TEARDOWNS:
                if task.state in ENDED:
                    task.again()
            elif step in SETUPS:
                task.state = "success"
            elif task.state not in ENDED:
                task.state = "skipped"
        self.runs[run].shelved = None

    def tear_down_again(self, run: RunRef) -> None:
        assert run in self.locked, f"{run.run_id} is torn down again without its lock"
        for step, task in self.runs[run].tasks.items():
            if step in TEARDOWNS and task.state in {"failed", "upstream_failed"}:
                task.again()
        self.runs[run].shelved = None

    def unshelve_stranded(self, projects: Collection[ProjectName]) -> int:
        found = [
            run
            for ref, run in self.runs.items()
            if ref.project in projects
            and run.shelved is not None
            and not any(t.state == "awaiting_input" for t in run.tasks.values())
        ]
        for run in found:
            run.shelved = None
        return len(found)

    # What the scheduler, workers and people do.

    def clear(self, run: RunRef, *steps: Step) -> None:
        for step in steps:
            self.runs[run].tasks[step].clear()

    def mark(self, run: RunRef, step: Step, state: str) -> None:
        self.runs[run].tasks[step].state = state

    def mark_run(self, run: RunRef, state: str) -> None:
        """Mark the whole run, as Airflow does: what runs or waits as ``state``, the rest but teardowns as skipped."""
        for step, task in self.runs[run].tasks.items():
            if step in TEARDOWNS or task.state in ENDED:
                continue
            task.state = state if task.state in {"running", "awaiting_input"} else "skipped"

    def schedule(self, run: RunRef) -> bool:
        """Bring every task that may go on to ``queued``; ``True`` when anything changed. A shelf hides the run."""
        found = self.runs[run]
        if found.shelved is not None:
            return False
        changed = False
        for step in [*CHAIN, *sorted(CHECKS), *CHAIN, *sorted(TEARDOWNS), S.CLOSE_ISSUE, S.WAIT_FOR_DEMONSTRATION]:
            task = found.tasks[step]
            if task.state == "restarting":
                task.again()
                changed = True
            if task.state == "none" and (state := self._rule(found, step)):
                task.state = state
                changed = True
        return changed

    def _rule(self, run: FakeRun, step: Step) -> str:
        states = [run.tasks[up].state for up in UPSTREAM[step]]
        if step in TEARDOWNS:
            waits_for = [t.state for s, t in run.tasks.items() if s in CHAIN or s in CHECKS]
            if not all(state in ENDED for state in waits_for):
                return ""
            setup = run.tasks[SETUP_OF[step]].state if step in SETUP_OF else "success"
            return {"success": "queued", "skipped": "skipped"}.get(setup, "upstream_failed")
        if step is S.CLOSE_ISSUE:
            decided = run.tasks[S.DECIDE_ROLLBACK].state
            if decided in BROKEN | {"skipped"}:
                return "skipped" if decided == "skipped" else "upstream_failed"
            return "queued" if all(state in ENDED for state in states) else ""
        if "skipped" in states:
            return "skipped"
        if step not in NONE_SKIPPED and BROKEN & set(states):
            return "upstream_failed"
        return "queued" if all(state in ENDED for state in states) else ""

    def begin(self, run: RunRef, step: Step) -> TaskRef:
        """Start the queued task's process."""
        task = self.runs[run].tasks[step]
        assert task.state == "queued"
        task.state = "running"
        return TaskRef(run=run, step=step, try_number=task.try_number, task_instance=task.instance)

    def report(self, task: TaskRef, state: str) -> bool:
        """Take a process's own word on how it ended; a try that is not the running one any more is not heard."""
        if not self.is_running(task):
            return False
        self.runs[task.run].tasks[task.step].state = state
        return True

    def branch(self, task: TaskRef, verdict: str) -> None:
        """Skip the way that was not chosen."""
        if self.is_running(task):
            other = self.runs[task.run].tasks[BRANCHES[verdict]]
            if other.state not in {"running", "restarting"}:
                other.state = "skipped"

    def retry(self, task: TaskRef) -> None:
        """Let the running try be followed by another one."""
        if self.is_running(task):
            self.runs[task.run].tasks[task.step].again()
