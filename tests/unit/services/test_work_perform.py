"""Permit, work, result: what is reported when, and what the next try is left with."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_delivery.domain.errors import Conflict, Misconfigured, Refused, Unavailable
from feature_delivery.domain.process import GATES, Step
from feature_delivery.domain.work import Done, Failed
from feature_delivery.services.work import perform as module
from feature_delivery.services.work.job import Job
from feature_delivery.services.work.perform import PERFORM, carry_out, plan_watch
from tests.support.bench import Bench, FakeControl, task


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.make(tmp_path)


def go(bench: Bench, control: FakeControl, step: Step, *, last_try: bool = False) -> None:
    carry_out(control, task(step), bench, say=bench.log.append, last_try=last_try)


def failing(monkeypatch: pytest.MonkeyPatch, step: Step, error: BaseException) -> None:
    def fail(_job: Job) -> Done:
        raise error

    monkeypatch.setitem(module.PERFORM, step, fail)


def test_every_step_that_is_no_gate_is_done_by_somebody() -> None:
    assert PERFORM.keys() == set(Step) - GATES


def test_a_step_is_reported_once(bench: Bench) -> None:
    control = FakeControl(bench.work(Step.NOTIFY_TESTERS))
    go(bench, control, Step.NOTIFY_TESTERS)
    assert control.reports == [Done()]


def test_without_a_permit_nothing_is_done_and_nothing_reported(bench: Bench) -> None:
    control = FakeControl(bench.work(Step.CREATE_BRANCH))
    control.refuse = Refused("It has no permit.")
    with pytest.raises(Refused, match="no permit"):
        go(bench, control, Step.CREATE_BRANCH)
    assert control.reports == []
    assert set(bench.world.branches()) == {"production"}


def test_a_result_that_does_not_count_fails_the_task_with_the_sentence(bench: Bench) -> None:
    control = FakeControl(bench.work(Step.NOTIFY_TESTERS), problem="3 of 9 tests failed.")
    with pytest.raises(Refused, match=r"3 of 9 tests failed\."):
        go(bench, control, Step.NOTIFY_TESTERS)
    assert len(control.reports) == 1


@pytest.mark.parametrize("error", [Refused("No."), Conflict("Moved."), Misconfigured("Wrong.")])
def test_a_permanent_error_is_reported_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failing(monkeypatch, Step.DEPLOY_PREPROD, error)
    control = FakeControl(bench.work(Step.DEPLOY_PREPROD))
    with pytest.raises(type(error)):
        go(bench, control, Step.DEPLOY_PREPROD)
    assert control.reports == [Failed(reason=str(error))]


def test_a_temporary_error_is_left_to_the_next_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Step.DEPLOY_PREPROD, Unavailable("Away."))
    control = FakeControl(bench.work(Step.DEPLOY_PREPROD))
    with pytest.raises(Unavailable):
        go(bench, control, Step.DEPLOY_PREPROD)
    assert control.reports == []
    with pytest.raises(Unavailable):
        go(bench, control, Step.DEPLOY_PREPROD, last_try=True)
    assert control.reports == [Failed(reason="Away.")]


@pytest.mark.parametrize("step", [Step.PROMOTE, Step.RESTORE_BRANCH])
@pytest.mark.parametrize("error", [Unavailable("Away."), KeyError("bug"), TimeoutError()])
def test_a_branch_that_may_have_moved_is_never_called_unmoved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: Step, error: Exception
) -> None:
    failing(monkeypatch, step, error)
    control = FakeControl(bench.work(step))
    with pytest.raises(type(error)):
        go(bench, control, step, last_try=True)
    assert control.reports == []


def test_a_fault_of_ours_is_told_to_the_people_at_the_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Step.DEPLOY_PREPROD, KeyError("bug"))
    control = FakeControl(bench.work(Step.DEPLOY_PREPROD))
    with pytest.raises(KeyError):
        go(bench, control, Step.DEPLOY_PREPROD, last_try=True)
    (failed,) = control.reports
    assert isinstance(failed, Failed)
    assert "KeyError" in failed.reason


def test_a_step_that_took_too_long_is_reported_whatever_try_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, Step.DEPLOY_PREPROD, TimeoutError())
    control = FakeControl(bench.work(Step.DEPLOY_PREPROD))
    with pytest.raises(TimeoutError):
        go(bench, control, Step.DEPLOY_PREPROD)
    (failed,) = control.reports
    assert isinstance(failed, Failed)
    assert "time limit" in failed.reason


@pytest.mark.parametrize(
    ("error", "last_try", "told"),
    [
        (Misconfigured("Wrong."), False, [Failed(reason="Wrong.")]),
        (Unavailable("Away."), False, []),
        (Unavailable("Away."), True, [Failed(reason="Away.")]),
    ],
)
def test_a_watch_that_cannot_be_planned_is_told_to_the_people_at_the_verdict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, told: list[Failed], *, last_try: bool
) -> None:
    def fail(_job: Job) -> None:
        raise error

    monkeypatch.setattr("feature_delivery.services.work.production.watch_plan", fail)
    control = FakeControl(bench.work(Step.OBSERVE_PRODUCTION))
    with pytest.raises(type(error)):
        plan_watch(control, task(Step.OBSERVE_PRODUCTION), bench, say=bench.log.append, last_try=last_try)
    assert control.reports == told


def test_a_task_that_is_killed_reports_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Step.DEPLOY_PREPROD, KeyboardInterrupt())
    control = FakeControl(bench.work(Step.DEPLOY_PREPROD))
    with pytest.raises(KeyboardInterrupt):
        go(bench, control, Step.DEPLOY_PREPROD, last_try=True)
    assert control.reports == []
