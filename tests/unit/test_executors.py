"""Shops on the platform ``local`` under the executors of a cluster: refused in one place, explained in the other."""

from __future__ import annotations

import pytest

from feature_delivery.bootstrap import outside, tools
from feature_delivery.domain.errors import Misconfigured
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
    (found,) = outside.examine_platform(shop(), executor=executor)
    assert not found.well
    assert "kind: kubernetes" in found.sentence
    assert "'feature_delivery_local'" in found.sentence


def test_doctor_names_the_queue_that_one_celery_worker_takes() -> None:
    (found,) = outside.examine_platform(shop(), executor="CeleryExecutor,KubernetesExecutor")
    assert found.well
    assert "'feature_delivery_local'" in found.sentence


def test_doctor_has_nothing_to_say_where_one_machine_does_everything() -> None:
    assert list(outside.examine_platform(shop(), executor="LocalExecutor")) == []
