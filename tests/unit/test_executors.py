"""Shops on the platform ``local`` under the executors of a cluster: refused in one place, explained in the other."""

from __future__ import annotations

import re

import pytest

from feature_delivery.bootstrap import outside, tools
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.project import LOCAL_QUEUE
from tests.local_bench import PROJECT, reference
from tests.shops import release
from tests.support.world import shop

KUBERNETES = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path))


def test_a_task_in_a_pod_of_its_own_begins_nothing_on_that_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    platform = tools.platform(shop(), "here")
    with pytest.raises(Misconfigured, match=r"Could not provision 'development-shop-1'.*kind: kubernetes"):
        platform.provision(reference())
    with pytest.raises(Misconfigured, match="Could not deploy to 'development-shop-1'"):
        platform.deploy(reference(), release("first"), say=print)
    assert list(platform.list(PROJECT)) == []


def test_a_feature_whose_shop_was_refused_can_still_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    tools.platform(shop(), "here").destroy(reference())


@pytest.mark.parametrize("executor", ["KubernetesExecutor", KUBERNETES, "KubernetesExecutor,CeleryExecutor"])
def test_doctor_says_that_such_a_shop_cannot_run(executor: str) -> None:
    (found,) = outside.examine_platform(shop(), executor=executor, takers=nobody_is_asked)
    assert not found.well
    assert "kind: kubernetes" in found.sentence
    assert "'feature_delivery_local'" in found.sentence


def nobody_is_asked(queue: str) -> list[str]:
    raise AssertionError(f"Celery does not run these tasks, and was asked about {queue}")


@pytest.mark.parametrize(
    ("workers", "well", "said"),
    [
        (["celery@worker-local"], True, "celery@worker-local takes it, and no other worker."),
        ([], False, "No Celery worker takes it: every task of the project waits. Start one, and only one"),
        (["celery@a", "celery@b"], False, "2 Celery workers take it: celery@a, celery@b. .* Stop all but one."),
    ],
)
def test_doctor_says_whether_exactly_one_celery_worker_has_the_machine(
    workers: list[str],
    well: bool,  # noqa: FBT001 - of the table above
    said: str,
) -> None:
    asked: list[str] = []

    def takers(queue: str) -> list[str]:
        asked.append(queue)
        return workers

    (found,) = outside.examine_platform(shop(), executor="CeleryExecutor,KubernetesExecutor", takers=takers)
    assert (asked, found.what, found.well) == ([LOCAL_QUEUE], f"queue {LOCAL_QUEUE}", well)
    assert re.search(said, found.sentence), found.sentence


def test_doctor_has_nothing_to_say_where_one_machine_does_everything() -> None:
    assert list(outside.examine_platform(shop(), executor="LocalExecutor", takers=nobody_is_asked)) == []
