"""What the Prometheus operator is given finds the pods that we make, and says of them what the discovery says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes.manifests.own import adapt
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import Shop, pod_of, scraping, workload
from feature_delivery.adapters.platforms.kubernetes.settings import PORT
from tests.support import prometheus_operator as operator
from tests.support.prometheus import MONITORING
from tests.unit.adapters.test_kubernetes_manifests import IMAGE, PLAN, REF, shop

KUBERNETES = MONITORING / "kubernetes"
OBJECTS = {
    f"{found['kind']} {found['metadata']['name']}": found
    for file in sorted(KUBERNETES.glob("*.yml"))
    for found in yaml.safe_load_all(file.read_text("utf-8"))
}
PODS = OBJECTS["PodMonitor feature-delivery-shops"]["spec"]
METRICS = replace(PLAN, metrics_path="/internal/metrics")


def template(made: Shop) -> dict[str, Any]:
    found: dict[str, Any] = workload(made, release="r-1", template=pod_of(made))[0]["spec"]["template"]
    return found


def relabelled(pod: dict[str, Any], rules: list[dict[str, Any]]) -> dict[str, str] | None:
    """Return the labels that Prometheus gives a pod's series by ``rules``; ``None``: it does not ask it."""
    labels = {"__metrics_path__": "/metrics"}
    for part in ("label", "annotation"):
        for name, value in pod["metadata"].get(f"{part}s", {}).items():
            labels[f"__meta_kubernetes_pod_{part}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"] = value
    for rule in rules:
        joined = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", ()))
        found = re.fullmatch(rule.get("regex", "(.*)"), joined)
        if rule["action"] == "keep":
            if found is None:
                return None
        elif found is not None:
            value = rule.get("replacement", "$1")
            labels[rule["targetLabel"]] = value.replace("$1", found[1]) if "$1" in value else value
    return {name: value for name, value in labels.items() if value and not name.startswith("__meta_")}


def test_a_shops_pod_is_found_and_told_as_the_discovery_tells_its_environment() -> None:
    made = shop(IMAGE, plan=METRICS)
    pod = template(made)
    assert PODS["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [endpoint] = PODS["podMetricsEndpoints"]
    [container] = pod["spec"]["containers"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    assert relabelled(pod, endpoint["relabelings"]) == {
        "__metrics_path__": "/internal/metrics",
        "project": REF.project,
        "environment": REF.kind.value,
        "feature": REF.key,
        "commit": made.commit,
        "version": made.commit[:10],
        "job": "shops",
    }


def test_a_shop_without_metrics_is_not_asked_for_them() -> None:
    pod = template(shop(IMAGE))
    assert PLAN.metrics_path is None
    assert "annotations" not in pod["metadata"]
    assert relabelled(pod, PODS["podMetricsEndpoints"][0]["relabelings"]) is None


def test_pods_carry_the_annotations_that_other_configurations_look_for() -> None:
    assert template(shop(IMAGE, plan=METRICS))["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/path": "/internal/metrics",
        "prometheus.io/port": str(PORT),
    }


def test_pods_of_a_shops_own_manifests_keep_their_annotations_and_get_what_they_lack() -> None:
    own = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"metadata": {"annotations": {"prometheus.io/path": "/theirs"}}}},
    }
    labels = {"feature-delivery.io/role": "shop"}
    [made] = adapt([own], namespace="n", labels=labels, annotations=scraping(METRICS))
    assert made["spec"]["template"]["metadata"] == {
        "labels": labels,
        "annotations": {"prometheus.io/path": "/theirs", "prometheus.io/scrape": "true"},
    }


def test_the_operator_is_told_the_same_of_the_discovery_as_prometheus_alone() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name in ("shops", "probes"):
        spec = OBJECTS[f"ScrapeConfig feature-delivery-{name}"]["spec"]
        *rules, job = spec["relabelings"]
        assert job == {"action": "replace", "targetLabel": "job", "replacement": name}
        address = {rule.get("targetLabel"): rule for rule in rules}.get("__address__", {})
        wanted = [
            {
                "action": one.get("action", "replace"),
                **{_camel(key): value for key, value in one.items() if key != "action"},
            }
            for one in jobs[name]["relabel_configs"]
            if one.get("regex") != "elsewhere"  # for docker-compose.yaml; on a cluster every environment has an address
        ]
        assert [rule | ({"replacement": "localhost:9115"} if rule is address else {}) for rule in rules] == wanted
        assert spec.get("metricsPath") == jobs[name].get("metrics_path")
        assert spec.get("params") == jobs[name].get("params")
        assert spec["httpSDConfigs"][0]["url"].endswith("/feature-delivery/prometheus/targets")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_operator_takes_an_object_whole(name: str) -> None:
    operator.needs_schemas()
    operator.validate(OBJECTS[name])
