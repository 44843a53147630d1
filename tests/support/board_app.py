"""A busy shop behind the real web app: features in every stage, with their runs in Airflow's own tables."""

# ruff: noqa: PLC0415 - Airflow takes two seconds to import: only tests that use it pay
from __future__ import annotations

from datetime import timedelta

import pytest

from feature_delivery.domain.process import ORDER, Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.runs import RunRef
from tests.support.board_world import busy_shop
from tests.support.web_app import Shop


def give_runs() -> None:
    """Start a run for every feature that has none, and let its tasks be where the ledger says."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, update

    from feature_delivery.web.transaction import begin, session

    with begin() as unit:
        for feature in reversed(unit.books.features()):
            run = RunRef(feature.project, feature.run_id)
            if unit.runs.state(run) == "none":
                unit.runs.start(run, conf={"feature": feature.key}, note="")
    with begin() as unit, session() as opened:
        for feature in unit.books.features():
            gate = unit.books.open_gate(feature)
            permits = unit.books.permits(feature)
            here = gate.step if gate else permits[-1].step if permits else Step.REGISTER_FEATURE
            times = {p.step: (p.granted_at, p.ended_at) for p in permits}
            times |= {g.step: (g.opened_at, g.resolved_at) for g in unit.books.gates(feature)}
            query = select(TaskInstance).where(TaskInstance.run_id == feature.run_id)
            for task in opened.scalars(query):
                step = Step(task.task_id)
                task.start_date, task.end_date = times.get(step, (None, None))
                task.try_number = 1
                if step is here and feature.state in {FeatureState.ACTIVE, FeatureState.SHIPPED}:
                    task.state = "awaiting_input" if gate else "running"
                elif ORDER[step] < ORDER[here] and step is not Step.WAIT_FOR_REWORK:
                    task.state = "success"
            started = feature.created_at + timedelta(seconds=1)
            opened.execute(
                update(DagRun).where(DagRun.run_id == feature.run_id).values(_state="running", start_date=started)
            )


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """The shop with features in every stage."""
    from feature_delivery.web.board import pulse
    from feature_delivery.web.transaction import begin

    with begin() as unit:
        busy_shop(unit.books)
    give_runs()
    pulse.snapshots.forget()
    return shop
