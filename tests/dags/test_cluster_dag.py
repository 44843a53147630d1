"""The DAG of a project that runs on Kubernetes: the same process, with tasks that defer where they wait."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.process import CHECKS, Step
from tests.support.shop_project import project_text
from tests.unit.test_project_cluster import SMALL

if TYPE_CHECKING:
    from airflow.sdk import DAG


def text() -> str:
    return "".join(line for line in project_text().splitlines(keepends=True) if not line.startswith("platform")) + SMALL


@pytest.fixture
def cluster_dag(projects: Path) -> DAG:
    from feature_delivery.orchestration.build import build_dag  # noqa: PLC0415 - after Airflow's environment

    return build_dag(parse_project(text(), where="shop.yaml"))


def test_both_platforms_have_the_same_tasks_in_the_same_order(dag: DAG, cluster_dag: DAG) -> None:
    def shape(found: DAG) -> dict[str, set[str]]:
        return {task.task_id: set(task.downstream_task_ids) for task in found.tasks}

    assert shape(cluster_dag) == shape(dag)


def test_steps_that_wait_for_the_cluster_can_be_called_back(cluster_dag: DAG, dag: DAG) -> None:
    waiting = {task.task_id for task in cluster_dag.tasks if type(task).__name__ == "ClusterStepOperator"}
    assert waiting == {
        *(step.value for step in CHECKS),
        "development.deploy",
        "preprod.deploy",
        "preprod.integration_tests",
        "production.refresh_candidate",
        "production.deploy",
        "production.integration_tests",
        "rollback.deploy",
        "rollback.integration_tests",
    }
    assert not any(type(task).__name__ == "ClusterStepOperator" for task in dag.tasks)


def test_reading_the_file_of_a_cluster_project_imports_no_kubernetes(projects: Path) -> None:
    (projects / "shop.yaml").write_text(text())
    probe = (
        "import sys, pathlib\nfrom feature_delivery.bootstrap.settings import projects\n"
        "from feature_delivery.orchestration.build import build_dag\n"
        "dags = [build_dag(one) for one in projects().values()]\nassert len(dags) == 1, dags\n"
        "provider = 'airflow.providers.cncf.kubernetes.hooks.kubernetes'\n"
        "heavy = {'kubernetes', 'kubernetes_asyncio', 'aiohttp', provider}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr[-2000:]


def test_a_task_that_is_called_back_does_its_step_again(cluster_dag: DAG, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_delivery.orchestration import cluster_operators  # noqa: PLC0415 - after Airflow's environment

    seen: list[Any] = []

    def attempt(operator: Any, context: Any, *, project: str, step: Step, waits: Any) -> None:
        seen.append((step, waits._event, waits._waited))

    monkeypatch.setattr(cluster_operators, "attempt_step", attempt)
    task = cluster_dag.get_task(Step.DEPLOY_PREPROD.value)
    context: Any = {"ti": SimpleNamespace(try_number=1, max_tries=5)}
    task.execute(context)
    task.resume(context, event={"kind": "rollout"}, waited={"a": 1.0})
    assert seen == [(Step.DEPLOY_PREPROD, {}, {}), (Step.DEPLOY_PREPROD, {"kind": "rollout"}, {"a": 1.0})]


def test_a_deferral_is_no_failure_to_anybody(cluster_dag: DAG, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is reported and nothing is given up when a task parks."""
    from airflow.sdk.exceptions import TaskDeferred  # noqa: PLC0415 - as above

    from feature_delivery.orchestration import operators  # noqa: PLC0415 - as above
    from feature_delivery.services.work import perform  # noqa: PLC0415

    reports: list[object] = []
    control = SimpleNamespace(
        take_permit=lambda _task: SimpleNamespace(permit=1, step=Step.DEPLOY_PREPROD, done=False, claim=None),
        report=lambda *result: reports.append(result),
    )

    @contextmanager
    def link(_context: object) -> Iterator[object]:
        yield SimpleNamespace(
            channel=None, control=control, task_instance="uuid", proof=SimpleNamespace(begin=lambda: None)
        )

    def park(_job: object) -> None:
        raise TaskDeferred(trigger=SimpleNamespace(), method_name="resume")

    monkeypatch.setattr(operators, "link", link)
    monkeypatch.setitem(perform.PERFORM, Step.DEPLOY_PREPROD, park)
    task = cluster_dag.get_task(Step.DEPLOY_PREPROD.value)
    context: Any = {"ti": SimpleNamespace(id="uuid", run_id="SHOP-1", try_number=1, max_tries=0)}
    with pytest.raises(TaskDeferred):
        task.execute(context)
    assert reports == []

    def fail(_job: object) -> None:
        raise Unavailable("the cluster is away")

    monkeypatch.setitem(perform.PERFORM, Step.DEPLOY_PREPROD, fail)
    context["ti"].max_tries = 5
    with pytest.raises(Unavailable):
        task.execute(context)


def test_nothing_that_fails_keeps_a_project_from_its_rounds(projects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a control plane whose Git host is slow, nor another project's cluster, nor a fault of ours."""
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415 - after Airflow's environment

    from feature_delivery.bootstrap import clusters  # noqa: PLC0415 - as above
    from feature_delivery.orchestration import operators  # noqa: PLC0415
    from feature_delivery.services.work import reap  # noqa: PLC0415

    for name in ("other", "broken"):
        (projects / f"{name}.yaml").write_text(text().replace("name: shop", f"name: {name}", 1))
    reaped: list[str] = []
    monkeypatch.setattr(clusters, "api_client", lambda name: SimpleNamespace(name=name))

    def reaping(_control: object, project: str, platform_of: Any, **_: object) -> tuple[str, ...]:
        reaped.append(project)
        if project == "other":
            stays = platform_of("here").settings.destroy_timeout
            assert stays <= operators.REAPING_PATIENCE, "a namespace that does not go holds no round up: the next looks"
            raise Unavailable("the cluster is away")
        if project == "broken":
            raise ZeroDivisionError
        return ()

    def housekeeping() -> dict[str, int]:
        raise Unavailable("the round did not end")

    @contextmanager
    def link(_context: object) -> Iterator[object]:
        yield SimpleNamespace(control=SimpleNamespace(housekeeping=housekeeping))

    monkeypatch.setattr(operators, "link", link)
    monkeypatch.setattr(reap, "reap", reaping)
    context: Any = {"ti": SimpleNamespace(try_number=1, max_tries=0)}
    with pytest.raises(AirflowFailException) as failed:
        operators.HousekeepingOperator(task_id="look_after").execute(context)
    assert sorted(reaped) == ["broken", "other", "shop"]
    for said in (
        "the round did not end",
        "other: the cluster is away",
        "broken: Could not look at",
        "ZeroDivisionError",
    ):
        assert said in str(failed.value)


def test_rounds_that_are_under_way_already_fail_nothing(projects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_delivery.domain.upkeep import ROUND_UNDER_WAY  # noqa: PLC0415 - as above
    from feature_delivery.orchestration import operators  # noqa: PLC0415
    from feature_delivery.services.work import reap  # noqa: PLC0415

    @contextmanager
    def link(_context: object) -> Iterator[object]:
        yield SimpleNamespace(control=SimpleNamespace(housekeeping=lambda: {ROUND_UNDER_WAY: 1}))

    reaped: list[str] = []

    def reaping(_control: object, project: str, *_: object, **__: object) -> tuple[str, ...]:
        reaped.append(project)
        return ()

    monkeypatch.setattr(operators, "link", link)
    monkeypatch.setattr(reap, "reap", reaping)
    operators.HousekeepingOperator(task_id="look_after").execute({"ti": SimpleNamespace(try_number=1, max_tries=0)})
    assert reaped == ["shop"]
