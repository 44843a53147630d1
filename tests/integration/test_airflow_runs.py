"""What the control plane does to a run, on Airflow's own tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import Engine, select, update

from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Conflict, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.process import ORDER, TEARDOWNS, Step
from feature_delivery.domain.records import Environment, Feature, now
from feature_delivery.ports.platform import EnvironmentKind
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.web import queues, rounds
from feature_delivery.web.transaction import begin, session
from tests.support.airflow import store_dag

SHOP = ProjectName("shop")
RUN = RunRef(SHOP, "SHOP-1")
DAG = "feature_delivery_shop"
LATER = timedelta(days=3)


class World:
    """Shorthand for tests: states set by hand, as a scheduler and workers would set them."""

    def __init__(self) -> None:

        self.begin, self.session = begin, session

    def start(self, run: RunRef = RUN) -> None:
        with self.begin() as unit:
            unit.runs.start(run, conf={"feature": "SHOP-1", "started_by": "dora"}, note="a note")
            feature = Feature(project=SHOP, key=FeatureKey("SHOP-1"), delivery=1, run_id=run.run_id, title="Cards")
            unit.books.add(feature)

    def set(self, states: dict[Step, str | None], *, run_state: str | None = "running") -> None:

        with self.session() as opened:
            for step, state in states.items():
                opened.execute(
                    update(TaskInstance)
                    .where(TaskInstance.task_id == step.value)
                    .values(state=state, try_number=1, start_date=now())
                )
            if run_state is not None:
                opened.execute(update(DagRun).values(_state=run_state, start_date=now()))

    def until(self, gate: Step, state: str = "awaiting_input") -> None:
        """Everything before ``gate`` is done, the gate is parked."""
        done = {step: "success" for step in Step if ORDER[step] < ORDER[gate] and step not in TEARDOWNS}
        self.set({**done, gate: state})

    def run(self) -> Any:

        with self.session() as opened:
            run = opened.scalars(select(DagRun).where(DagRun.run_id == RUN.run_id)).one()
            assert run.note == "a note"
            return run

    def task(self, step: Step) -> Any:

        with self.session() as opened:
            return opened.scalar(select(TaskInstance).where(TaskInstance.task_id == step.value))

    def states(self) -> dict[Step, str]:
        with self.begin() as unit:
            return unit.runs.states(RUN)

    def questions(self) -> int:

        with self.session() as opened:
            return len(list(opened.scalars(select(HITLDetail.ti_id))))

    def ask(self, gate: Step) -> bool:
        question = {"options": ["approve"], "subject": "s", "body": "b", "multiple": False, "params": {}}
        with self.begin() as unit:
            return unit.runs.ask_people(RUN, gate, question, parked_before=now() + timedelta(seconds=1))


@pytest.fixture
def world(airflow_engine: Engine) -> World:
    found = World()
    with found.session() as opened:
        store_dag(opened, DAG)
    found.start()
    return found


def test_a_started_run_is_queued_with_its_conf_and_every_step(world: World) -> None:
    run = world.run()
    assert (str(run.state), run.run_id, run.logical_date) == ("queued", "SHOP-1", None)
    assert run.triggering_user_name == "dora"
    with world.begin() as unit:
        assert unit.runs.conf(RUN)["feature"] == "SHOP-1"
        assert unit.runs.conf(RunRef(SHOP, "none")) == {}
        assert not unit.runs.lock(RunRef(SHOP, "none"))
        assert unit.runs.lock(RUN)
    assert set(world.states()) == set(Step)
    assert set(world.states().values()) == {"none"}


def test_a_start_that_fails_leaves_nothing(world: World) -> None:
    with pytest.raises(Refused, match="SHOP-2"), world.begin() as unit:
        unit.runs.start(RunRef(SHOP, "SHOP-2"), conf={"feature": "no key"}, note="")
    with pytest.raises(Conflict), world.begin() as unit:
        unit.runs.start(RUN, conf={"feature": "SHOP-1"}, note="")
    with pytest.raises(Unavailable, match="DAG processor"), world.begin() as unit:
        unit.runs.start(RunRef(ProjectName("other"), "X-1"), conf={"feature": "X-1"}, note="")
    with world.begin() as unit:
        assert not unit.runs.lock(RunRef(SHOP, "SHOP-2"))


def test_only_the_very_try_that_runs_is_running(world: World) -> None:
    world.set({Step.REGISTER_FEATURE: "running"})
    instance = str(world.task(Step.REGISTER_FEATURE).id)
    true = TaskRef(RUN, Step.REGISTER_FEATURE, 1, instance)
    lies = [
        TaskRef(RunRef(SHOP, "SHOP-9"), Step.REGISTER_FEATURE, 1, instance),
        TaskRef(RunRef(ProjectName("other"), "SHOP-1"), Step.REGISTER_FEATURE, 1, instance),
        TaskRef(RUN, Step.PROMOTE, 1, instance),
        TaskRef(RUN, Step.REGISTER_FEATURE, 2, instance),
        TaskRef(RUN, Step.REGISTER_FEATURE, 1, str(world.task(Step.PROMOTE).id)),
        TaskRef(RUN, Step.REGISTER_FEATURE, 1, "no uuid'; --"),
    ]
    with world.begin() as unit:
        assert unit.runs.is_running(true)
        assert [unit.runs.is_running(lie) for lie in lies] == [False] * len(lies)
        assert unit.runs.is_alive(instance, project=SHOP)
        assert not unit.runs.is_alive(instance), "it is no task of housekeeping"
        assert not unit.runs.is_alive(instance, project=ProjectName("other"))
        assert not unit.runs.is_alive("nonsense")
    world.set({Step.REGISTER_FEATURE: "success"})
    with world.begin() as unit:
        assert not unit.runs.is_running(true)
        assert not unit.runs.is_alive(instance, project=SHOP)


def test_a_parked_gate_is_ended_without_a_worker_and_only_when_parked(world: World) -> None:
    for state in ("running", "queued", "scheduled", None, "success"):
        world.set({Step.WAIT_FOR_START: state})
        with world.begin() as unit:
            assert not unit.runs.end_gate(RUN, Step.WAIT_FOR_START)
        assert world.task(Step.WAIT_FOR_START).state == state
    world.set({Step.WAIT_FOR_START: "awaiting_input"})
    assert world.ask(Step.WAIT_FOR_START)
    assert world.questions() == 1
    with world.begin() as unit:
        assert unit.runs.end_gate(RUN, Step.WAIT_FOR_START)
    assert world.states()[Step.WAIT_FOR_START] == "success"
    assert world.questions() == 0


def test_a_deferred_watch_is_ended_by_whoever_has_decided_and_only_when_deferred(world: World) -> None:
    for state in ("running", "queued", None, "success"):
        world.set({Step.OBSERVE_PRODUCTION: state})
        with world.begin() as unit:
            assert not unit.runs.end_watch(RUN)
        assert world.task(Step.OBSERVE_PRODUCTION).state == state
    world.set({Step.OBSERVE_PRODUCTION: "deferred"})
    with world.begin() as unit:
        assert unit.runs.end_watch(RUN)
    assert world.task(Step.OBSERVE_PRODUCTION).state == "success"


def test_the_end_of_a_gate_is_undone_with_its_transaction(world: World) -> None:
    world.until(Step.WAIT_FOR_START)

    with pytest.raises(Refused), world.begin() as unit:  # noqa: PT012 - the end of the block is the point
        assert unit.runs.end_gate(RUN, Step.WAIT_FOR_START)
        raise Refused("not after all")
    assert world.states()[Step.WAIT_FOR_START] == "awaiting_input"


def test_people_are_asked_only_some_time_after_the_parking(world: World) -> None:
    world.until(Step.WAIT_FOR_REVIEW)
    question = {"options": ["approve"], "subject": "s", "body": "b", "multiple": False, "params": {}}
    with world.begin() as unit:
        assert not unit.runs.ask_people(RUN, Step.WAIT_FOR_REVIEW, question, parked_before=now() - timedelta(hours=1))
        assert not unit.runs.ask_people(RUN, Step.WAIT_FOR_START, question, parked_before=now() + timedelta(hours=1))
    assert world.questions() == 0
    assert world.ask(Step.WAIT_FOR_REVIEW)
    assert world.ask(Step.WAIT_FOR_REVIEW)
    assert world.questions() == 1


def test_a_shelved_run_gets_its_own_date_back_however_often_it_was_shelved(world: World) -> None:
    before = world.run().run_after
    for days in (1, 2, 3):
        with world.begin() as unit:
            unit.runs.shelve(RUN, until=now() + timedelta(days=days))
        assert world.run().run_after > now()
    with world.begin() as unit:
        unit.runs.unshelve(RUN)
        unit.runs.unshelve(RUN)
    assert world.run().run_after == before
    with world.begin() as unit:
        unit.runs.shelve(RUN, until=now() + LATER)
    with world.begin() as unit:
        unit.runs.unshelve(RUN)
    assert world.run().run_after == before


def test_a_rewind_clears_everything_after_the_step_and_keeps_the_run(world: World) -> None:
    world.until(Step.WAIT_FOR_ACCEPTANCE)
    world.ask(Step.WAIT_FOR_ACCEPTANCE)
    with world.begin() as unit:
        unit.runs.shelve(RUN, until=now() + LATER)
    before = world.run()
    old = world.task(Step.DEPLOY_DEVELOPMENT)
    with world.begin() as unit:
        unit.runs.rewind(RUN, to=Step.DEPLOY_DEVELOPMENT)
    after, states = world.run(), world.states()
    assert str(after.state) == "running"
    assert (after.queued_at, after.start_date, after.run_id) == (before.queued_at, before.start_date, before.run_id)
    assert after.run_after < now()
    assert states[Step.WAIT_FOR_CODE] == "success"
    assert {states[step] for step in Step if ORDER[step] > ORDER[Step.DEPLOY_DEVELOPMENT]} == {"none"}
    assert states[Step.DEPLOY_DEVELOPMENT] == "none"
    assert world.task(Step.DEPLOY_DEVELOPMENT).id != old.id
    assert world.questions() == 0, "an old answer must not wake the gate that asks anew"


@pytest.mark.parametrize("ended", ["success", "failed"])
def test_a_run_that_has_ended_can_be_rewound(world: World, ended: str) -> None:
    world.set(dict.fromkeys(Step, "success"), run_state=ended)
    with world.begin() as unit:
        unit.runs.rewind(RUN, to=Step.WAIT_FOR_TURN)
    run = world.run()
    assert (str(run.state), run.end_date) == ("running", None)
    assert world.states()[Step.PROMOTE] == "none"
    assert world.states()[Step.WAIT_FOR_CONFIRMATION] == "success"


def test_a_running_task_is_restarted_by_a_rewind(world: World) -> None:
    world.until(Step.DEPLOY_PREPROD, state="running")
    task = TaskRef(RUN, Step.DEPLOY_PREPROD, 1, str(world.task(Step.DEPLOY_PREPROD).id))
    with world.begin() as unit:
        assert unit.runs.is_running(task)
        unit.runs.rewind(RUN, to=Step.DEPLOY_DEVELOPMENT)
        assert not unit.runs.is_running(task)
    assert world.states()[Step.DEPLOY_PREPROD] == "restarting"


def test_stopping_skips_all_but_the_teardown_and_never_ends_the_run(world: World) -> None:
    world.until(Step.WAIT_FOR_REVIEW)
    world.ask(Step.WAIT_FOR_REVIEW)
    with world.begin() as unit:
        unit.runs.shelve(RUN, until=now() + LATER)
    with world.begin() as unit:
        unit.runs.stop(RUN)
    states = world.states()
    assert {states[step] for step in TEARDOWNS} == {"none"}
    assert states[Step.WAIT_FOR_CODE] == "success"
    assert {states[s] for s in Step if ORDER[s] >= ORDER[Step.WAIT_FOR_REVIEW] and s not in TEARDOWNS} == {"skipped"}
    assert str(world.run().state) == "running"
    assert world.run().run_after < now()
    assert world.questions() == 0


def test_stopping_right_after_a_rewind_still_tears_the_environment_down(world: World) -> None:
    """Airflow runs no teardown whose setup was skipped: the environment would be left behind."""
    world.until(Step.WAIT_FOR_REVIEW)
    with world.begin() as unit:
        feature = unit.books.feature_of_run(SHOP, "SHOP-1")
        assert feature is not None
        kind = EnvironmentKind.DEVELOPMENT
        unit.books.add(Environment(project=SHOP, name="development-shop-1", kind=kind, feature_id=feature.id))
        unit.runs.rewind(RUN, to=Step.DEPLOY_DEVELOPMENT)
    assert world.states()[Step.RESERVE_DEVELOPMENT] == "none"
    with world.begin() as unit:
        unit.runs.stop(RUN)
    assert world.states()[Step.RESERVE_DEVELOPMENT] == "success"
    assert world.states()[Step.RESERVE_PREPROD] == "skipped"


def shelved(world: World) -> bool:
    return bool(world.run().run_after > now())


def test_a_run_left_on_the_shelf_is_found(world: World) -> None:
    def stranded(states: dict[Step, str | None]) -> bool:
        world.until(Step.WAIT_FOR_REVIEW)
        world.set(states)
        with world.begin() as unit:
            unit.runs.shelve(RUN, until=now() + LATER)
        with world.begin() as unit:
            assert unit.runs.unshelve_stranded([ProjectName("other")]) == 0
            found = unit.runs.unshelve_stranded([SHOP])
            assert found == unit.runs.unshelve_stranded([SHOP]) + found, "once is enough"
        assert shelved(world) == (not found)
        return bool(found)

    assert not stranded({}), "it waits as it should"
    assert not stranded({Step.WAIT_FOR_REVIEW: "running"}), "it is on its way to parking"
    assert stranded({Step.WAIT_FOR_REVIEW: "success"}), "somebody marked the gate"
    assert stranded({Step.WAIT_FOR_REVIEW: None}), "somebody cleared the gate"
    assert stranded({Step.CHECK_UNIT: None}), "somebody cleared a task before the gate"
    assert stranded({Step.DEPLOY_DEVELOPMENT: "up_for_retry"})


def test_a_run_that_waits_off_the_shelf_is_seen_only_when_it_has_nothing_else_to_do(world: World) -> None:
    def waits() -> bool:
        with world.begin() as unit:
            assert unit.runs.waiting_unshelved([ProjectName("other")]) == []
            assert unit.runs.waits_unshelved(RUN) == (unit.runs.waiting_unshelved([SHOP]) == [RUN])
            return unit.runs.waits_unshelved(RUN)

    world.until(Step.WAIT_FOR_REVIEW)
    assert waits()
    world.set({Step.CHECK_UNIT: None})
    assert not waits()
    world.set({Step.CHECK_UNIT: "success"})
    with world.begin() as unit:
        unit.runs.shelve(RUN, until=now() + LATER)
    assert not waits()


def test_work_of_one_run_moves_no_other_run(world: World) -> None:
    """A waiting run costs nothing only as long as what others do leaves it on the shelf."""
    other = RunRef(SHOP, "SHOP-2")
    with world.begin() as unit:
        unit.runs.start(other, conf={}, note="a note")
        unit.books.add(Feature(project=SHOP, key=FeatureKey("SHOP-2"), delivery=1, run_id=other.run_id, title="Pens"))
    world.until(Step.WAIT_FOR_REVIEW)
    with world.session() as opened:
        ours = update(TaskInstance).where(TaskInstance.run_id == other.run_id)
        opened.execute(ours.values(state=None))
        opened.execute(ours.where(TaskInstance.task_id == Step.CREATE_BRANCH.value).values(state="queued"))
    with world.begin() as unit:
        assert unit.runs.waiting_unshelved([SHOP]) == [RUN], "it waits, whatever the other one does"
        unit.runs.shelve(RUN, until=now() + LATER)
        unit.runs.shelve(other, until=now() + LATER)
    with world.begin() as unit:
        assert unit.runs.unshelve_stranded([SHOP]) == 1
        assert unit.runs.waiting_unshelved([SHOP]) == []
    assert shelved(world)


def test_what_a_killed_scheduler_left_queued_and_unsent_is_handed_over_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes it over keeps the id of a message that nobody has sent; whatever is queued again gets another one."""
    monkeypatch.setattr(settings, "projects", lambda: {SHOP: None})
    sent_again, taken_over, begun = Step.NOTIFY_TESTERS, Step.DEPLOY_PREPROD, Step.CHECK_UNIT
    monkeypatch.setattr(queues, "is_celery", lambda: True)
    look = rounds.works()["unsent"]

    def queued(step: Step, message: str, job: int, state: str = "queued") -> None:
        world.set({step: state})
        with world.session() as opened:
            which = update(TaskInstance).where(TaskInstance.task_id == step.value)
            opened.execute(which.values(external_executor_id=message, queued_by_job_id=job))

    def seen() -> dict[Step, str]:
        return {step: world.states()[step] for step in (sent_again, taken_over, begun)}

    for step in seen():
        queued(step, f"{step}, first", 7)
    look()
    look()
    assert set(seen().values()) == {"queued"}, "it waits for a worker"
    before = world.task(taken_over).id
    queued(sent_again, "another", 8)
    queued(taken_over, f"{taken_over}, first", 8)
    queued(begun, f"{begun}, first", 8, "running")
    look()
    assert seen() == {sent_again: "queued", taken_over: "none", begun: "running"}
    assert world.task(taken_over).id != before, "a message that was there after all is of no use"
    queued(taken_over, "second", 8)
    look()
    assert seen()[taken_over] == "queued"


def test_every_parked_gate_of_a_project_is_found(world: World) -> None:
    with world.begin() as unit:
        assert unit.runs.parked([SHOP]) == {}
    world.until(Step.WAIT_FOR_REVIEW)
    world.set({Step.WAIT_FOR_CONFIRMATION: "awaiting_input", Step.WAIT_FOR_ACCEPTANCE: "running"})
    with world.begin() as unit:
        assert unit.runs.parked([ProjectName("other")]) == {}
        found = unit.runs.parked([SHOP, ProjectName("other")])
        assert found == {RUN: {Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_CONFIRMATION}}


def test_times_and_tries_are_shown(world: World) -> None:
    world.set({Step.REGISTER_FEATURE: "success"})
    with world.begin() as unit:
        facts = unit.runs.tasks(RUN)
        assert unit.runs.state(RUN) == "running"
        assert unit.runs.state(RunRef(SHOP, "none")) == "none"
    assert (facts[Step.REGISTER_FEATURE].state, facts[Step.REGISTER_FEATURE].try_number) == ("success", 1)
    assert facts[Step.REGISTER_FEATURE].started is not None
    assert facts[Step.PROMOTE].state == "none"
