"""The installation on Kubernetes as Helm makes it from our values and Airflow's official chart."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support import prometheus_operator as operator
from tests.support.helm import NAMESPACE, RELEASE, ROOT, Object, Rendered, missing, rendered
from tests.unit.test_helm_values import compose

if lacking := missing():
    pytest.skip(lacking, allow_module_level=True)

VERSIONS = ("1.29", "1.37")
EXECUTORS = ("kubernetes", "celery")
FOREIGN = ("ServiceMonitor", "PodMonitor", "PrometheusRule", "ScrapeConfig")


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rendered]:
    folder = tmp_path_factory.mktemp("chart")
    return {one: rendered(folder, f"values-{one}-executor", "values-site.example") for one in EXECUTORS}


@pytest.fixture(params=EXECUTORS)
def made(request: pytest.FixtureRequest, renders: dict[str, Rendered]) -> Rendered:
    return renders[request.param]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_by_the_published_schema(made: Rendered, version: str) -> None:
    task = made.task_pod()
    for one in (*made.objects, *([task] if task else [])):
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(json.loads(json.dumps(one)), version, strict=True)


def test_no_object_is_there_twice(made: Rendered) -> None:
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in made.objects]
    assert len(names) == len(set(names))


def test_no_secret_is_made_of_values(made: Rendered) -> None:
    assert made.of("Secret") == []


def test_every_container_is_limited_and_may_nothing(made: Rendered) -> None:
    for name, _, spec in made.pods():
        for one in (*spec["containers"], *spec.get("initContainers", ())):
            place = f"{name}: {one['name']}"
            assert {"cpu", "memory"} <= set(one.get("resources", {}).get("limits", {})), place
            assert one["securityContext"]["allowPrivilegeEscalation"] is False, place
            assert one["securityContext"]["capabilities"]["drop"] == ["ALL"], place
            names = [variable["name"] for variable in one.get("env", ())]
            assert len(names) == len(set(names)), f"{place}: server-side apply takes no variable twice"
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["enableServiceLinks"] is False, name


def test_everything_lasting_is_asked_whether_it_works(made: Rendered) -> None:
    for one in (*made.of("Deployment"), *made.of("StatefulSet")):
        container = one["spec"]["template"]["spec"]["containers"][0]
        if container["name"] != "redis":
            assert container.get("livenessProbe"), one["metadata"]["name"]


def settings(made: Rendered) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(made.one("ConfigMap", "config")["data"]["airflow.cfg"])
    return parser


def test_airflow_is_told_the_same_as_by_docker_compose(made: Rendered) -> None:
    found = settings(made)
    other = {
        ("core", "executor"),
        ("core", "execution_api_server_url"),
        ("core", "simple_auth_manager_users"),
        ("core", "auth_manager"),
        ("api", "base_url"),
        ("dag_processor", "dag_bundle_config_list"),
        ("metrics", "statsd_host"),
    }
    seen = 0
    for name, value in compose().items():
        _, _, place = name.partition("AIRFLOW__")
        section, _, key = place.lower().partition("__")
        if (section, key) not in other and found.has_option(section, key):
            assert found.get(section, key).lower() == value.lower(), name
            seen += 1
    assert seen >= 14


def test_heartbeats_go_to_a_server_that_has_nothing_else(made: Rendered) -> None:
    url = settings(made).get("core", "execution_api_server_url")
    service = made.one("Service", "execution-api-server")
    assert url == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/execution/"
    assert [one["metadata"]["name"] for one in selected(made, service["spec"]["selector"])] == [
        f"{RELEASE}-execution-api-server"
    ]
    commands = {
        name: made.one("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["args"][-1]
        for name in ("api-server", "execution-api-server")
    }
    assert "--apps core" in commands["api-server"]
    assert "--apps execution" in commands["execution-api-server"]


def selected(made: Rendered, labels: Mapping[str, str]) -> list[Object]:
    owners = (*made.of("Deployment"), *made.of("StatefulSet"))
    return [one for one in owners if labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()]


def test_both_servers_are_of_one_image_with_the_same_secrets(made: Rendered) -> None:
    core, execution = (
        made.one("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        for name in ("api-server", "execution-api-server")
    )
    assert core["image"] == execution["image"]
    only_core = {"FEATURE_DELIVERY_METRICS_TOKEN", "FORWARDED_ALLOW_IPS"}
    assert {one["name"] for one in core["env"]} - {one["name"] for one in execution["env"]} == only_core
    values = {one["name"]: one for one in core["env"]}
    assert all(values[one["name"]] == one for one in execution["env"])


def test_a_tasks_pod_has_no_secret_and_the_server_that_it_asks_has_all(renders: dict[str, Rendered]) -> None:
    made = renders["kubernetes"]
    task = made.task_pod()
    assert task is not None
    (container,) = task["spec"]["containers"]
    assert container["name"] == "base"
    assert "envFrom" not in container
    assert {one["name"] for one in container["env"]} == {
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW_HOME",
        "CONNECTION_CHECK_MAX_COUNT",
        "FEATURE_DELIVERY_HOME",
        "FEATURE_DELIVERY_INSTANCE",
        "FEATURE_DELIVERY_PROJECTS",
        "PYTHONUTF8",
    }
    server = made.one("Deployment", "execution-api-server")["spec"]["template"]["spec"]["containers"][0]
    assert "AIRFLOW_CONN_FEATURE_DELIVERY" in {one["name"] for one in server["env"]}
    assert server["envFrom"] == [{"secretRef": {"name": "feature-delivery-connections", "optional": True}}]


def test_migrations_go_past_the_pool_and_everything_waits_for_them(made: Rendered) -> None:
    job = made.one("Job", "run-airflow-migrations")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    direct = next(one for one in container["env"] if one["name"] == "DIRECT_CONNECTION")
    assert direct["valueFrom"]["secretKeyRef"] == {"name": "feature-delivery-metadata", "key": "direct"}
    assert '"$DIRECT_CONNECTION"' in container["args"][-1]
    for name, labels, spec in made.pods():
        ours = spec["containers"][0]["image"].startswith("registry.example.org/feature-delivery:")
        if ours and labels["component"] not in {"run-airflow-migrations", "worker"}:
            waits = [one["args"] for one in spec["initContainers"] if one["name"] == "wait-for-airflow-migrations"]
            assert waits, name


# Who reaches whom. A pod's labels, or a namespace by name.
def admitted(made: Rendered, *, to: str, port: int, source: Mapping[str, str], namespace: str = NAMESPACE) -> bool:
    """Say what NetworkPolicies say: closed once one of them selects the pod, open where one of them lets in."""
    target = {"tier": "airflow", "release": RELEASE, "component": to}
    chosen = [one["spec"] for one in made.of("NetworkPolicy") if _matches(one["spec"]["podSelector"], target)]
    assert chosen, f"no policy for {to}"
    return any(
        any(gate["port"] == port for gate in rule.get("ports", ()))
        and any(_lets_in(peer, source, namespace) for peer in rule["from"])
        for spec in chosen
        for rule in spec.get("ingress", ())
    )


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", ())
    )


def _lets_in(peer: Mapping[str, Any], source: Mapping[str, str], namespace: str) -> bool:
    if "namespaceSelector" in peer:
        return _matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    return namespace == NAMESPACE and _matches(peer["podSelector"], source)


def ours(component: str) -> dict[str, str]:
    return {"tier": "airflow", "release": RELEASE, "component": component}


@pytest.mark.parametrize("component", ["worker", "triggerer", "scheduler", "dag-processor"])
def test_parts_of_airflow_reach_both_servers_and_the_pool(made: Rendered, component: str) -> None:
    for to, port in (("api-server", 8080), ("execution-api-server", 8080), ("pgbouncer", 6543)):
        assert admitted(made, to=to, port=port, source=ours(component)), to


def test_people_reach_the_pages_and_prometheus_the_figures_and_neither_more(made: Rendered) -> None:
    doors = [("api-server", 8080), ("execution-api-server", 8080), ("pgbouncer", 6543), ("pgbouncer", 9127)]
    doors.append(("statsd", 9102))
    reach = {
        space: [door for door in doors if admitted(made, to=door[0], port=door[1], source={}, namespace=space)]
        for space in ("ingress-nginx", "monitoring", "shop-feature-1")
    }
    assert reach == {
        "ingress-nginx": [("api-server", 8080)],
        "monitoring": [("api-server", 8080), ("pgbouncer", 9127), ("statsd", 9102)],
        "shop-feature-1": [],
    }


def test_every_pod_is_closed_to_whoever_is_not_named(made: Rendered) -> None:
    components = {labels["component"] for _, labels, _ in made.pods()}
    for component in components:
        assert not admitted(made, to=component, port=8080, source={"app": "stranger"}, namespace=NAMESPACE)


def test_deliveries_may_on_the_cluster_what_rbac_yaml_says_and_only_their_accounts(made: Rendered) -> None:
    given = {
        one["metadata"]["name"]: one["rules"]
        for one in yaml.safe_load_all((ROOT / "include/kubernetes/rbac.yaml").read_text("utf-8"))
        if one.get("rules")
    }
    environments = made.one("ClusterRole", "feature-delivery-environments")
    production = made.one("Role", "feature-delivery-production")
    assert environments["rules"] == given["feature-delivery-environments"]
    assert production["rules"] == given["feature-delivery-production"]
    assert production["metadata"]["namespace"] == "shop-production"
    looks = made.one("ClusterRole", "feature-delivery-production-namespaces")
    assert looks["rules"] == given["feature-delivery-production-namespace"]
    accounts = {one["metadata"]["name"] for one in made.of("ServiceAccount")}
    for kind, name in (
        ("ClusterRoleBinding", "feature-delivery-environments"),
        ("RoleBinding", "feature-delivery-production"),
        ("ClusterRoleBinding", "feature-delivery-production-namespaces"),
    ):
        subjects = made.one(kind, name)["subjects"]
        names = {one["name"] for one in subjects}
        assert names == {f"feature-delivery-airflow-{part}" for part in ("worker", "triggerer", "api-server")}
        assert names <= accounts
        assert {one["namespace"] for one in subjects} == {NAMESPACE}


def test_whoever_asks_the_cluster_runs_under_an_account_that_may(made: Rendered) -> None:
    accounts = {labels["component"]: spec["serviceAccountName"] for _, labels, spec in made.pods()}
    for part in ("worker", "triggerer", "api-server"):
        assert accounts[part] == f"feature-delivery-airflow-{part}"
    assert accounts["execution-api-server"] == "feature-delivery-execution-api-server"


@pytest.mark.parametrize("part", ["api-server", "triggerer"])
def test_a_rollback_without_airflow_has_all_it_needs_in_the_pods_that_the_docs_name(made: Rendered, part: str) -> None:
    [spec] = [spec for _, labels, spec in made.pods() if labels["component"] == part]
    container = next(one for one in spec["containers"] if one["name"] == part)
    told = {one["name"] for one in container["env"]}
    assert {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT",
    } <= told
    assert {"FEATURE_DELIVERY_HOME", "FEATURE_DELIVERY_PROJECTS", "FEATURE_DELIVERY_INSTANCE"} <= told
    assert container["envFrom"] == [{"secretRef": {"name": "feature-delivery-connections", "optional": True}}]
    account = next(o for o in made.of("ServiceAccount") if o["metadata"]["name"] == spec["serviceAccountName"])
    assert account.get("automountServiceAccountToken", True) is spec.get("automountServiceAccountToken", True) is True
    assert f"/{RELEASE}-{part} -c {part} " in (ROOT / "docs" / "break-glass.md").read_text("utf-8").replace("`", " ")


def test_every_monitor_finds_a_port_of_a_service(made: Rendered) -> None:
    for monitor in made.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [one for one in made.of("Service") if wanted <= one["metadata"]["labels"].items()]
        assert len(services) == 1, monitor["metadata"]["name"]
        ports = {one["name"] for one in services[0]["spec"]["ports"]}
        assert {one["port"] for one in monitor["spec"]["endpoints"]} <= ports
        assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_operator_takes_every_monitor_whole(made: Rendered) -> None:
    operator.needs_schemas()
    found = [one for kind in FOREIGN for one in made.of(kind)]
    assert len(found) > 5
    for one in found:
        operator.validate(one)


def test_shops_are_found_as_asked_and_probed_by_whom_is_named(renders: dict[str, Rendered], tmp_path: Path) -> None:
    usual = renders["celery"]
    [pods] = usual.of("PodMonitor")
    assert pods["spec"] == yaml.safe_load((ROOT / "include/monitoring/kubernetes/podmonitor.yml").read_text())["spec"]
    assert usual.of("ScrapeConfig") == []
    asked = ("--set", "monitoring.shops=discovery", "--set", "monitoring.prober=prober.watch.svc:9116")
    made = rendered(tmp_path, "values-celery-executor", "values-site.example", more=asked)
    assert made.of("PodMonitor") == []
    shops, probes = (made.one("ScrapeConfig", name)["spec"] for name in ("shops", "probes"))
    service = made.one("Service", "api-server")
    server = f"{service['metadata']['name']}.{NAMESPACE}.svc:{service['spec']['ports'][0]['port']}"
    for spec in (shops, probes):
        [discovery] = spec["httpSDConfigs"]
        assert discovery["url"] == f"http://{server}/feature-delivery/prometheus/targets"
    assert [one["replacement"] for one in probes["relabelings"] if one["targetLabel"] == "__address__"] == [
        "prober.watch.svc:9116"
    ]
    if os.environ.get(operator.CRDS_VARIABLE):
        for one in made.of("ScrapeConfig"):
            operator.validate(one)


def test_statsd_is_mapped_as_by_docker_compose(made: Rendered) -> None:
    config = yaml.safe_load(made.one("ConfigMap", "statsd")["data"]["mappings.yml"])
    ours = yaml.safe_load((ROOT / "include/monitoring/statsd.yml").read_text("utf-8"))
    assert config == {**ours, "defaults": {"ttl": "0s"}}


def test_the_rules_are_the_ones_that_are_tested(made: Rendered) -> None:
    rules = {one["metadata"]["name"]: one["spec"] for one in made.of("PrometheusRule")}
    files = sorted((ROOT / "include/monitoring/rules").glob("*.yml"))
    assert rules == {f"{RELEASE}-{file.stem}": yaml.safe_load(file.read_text("utf-8")) for file in files}


def test_people_come_by_https(made: Rendered) -> None:
    spec = made.one("Ingress", "ingress")["spec"]
    assert spec["tls"] == [{"hosts": ["deliveries.example.com"], "secretName": "deliveries-tls"}]
    backend = spec["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": f"{RELEASE}-api-server", "port": {"name": "api-server"}}


def test_the_other_executor_can_be_upgraded_to(renders: dict[str, Rendered]) -> None:
    """What a StatefulSet says of its volumes cannot change: it has to be the same in both, or not to be there."""
    claims = [
        {one["metadata"]["name"]: one["spec"].get("volumeClaimTemplates") for one in each.of("StatefulSet")}
        for each in renders.values()
    ]
    for name in set(claims[0]) & set(claims[1]):
        assert claims[0][name] == claims[1][name], name


def test_logs_outlive_the_feature(made: Rendered) -> None:
    groomers = [
        (name, {variable["name"]: variable.get("value") for variable in one["env"]})
        for name, _, spec in made.pods()
        for one in spec["containers"]
        if one["name"].endswith("log-groomer")
    ]
    assert len(groomers) >= 3
    assert {env["AIRFLOW__LOG_RETENTION_DAYS"] for _, env in groomers} == {"90"}


def test_project_files_are_mounted_whole_so_that_changes_arrive(made: Rendered) -> None:
    for name, _, spec in made.pods():
        if spec["containers"][0]["image"].startswith("registry.example.org/feature-delivery:"):
            mounts = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "projects"]
            assert mounts == [{"name": "projects", "mountPath": "/opt/airflow/projects", "readOnly": True}], name
            volume = next(one for one in spec["volumes"] if one["name"] == "projects")
            assert volume["configMap"]["name"] == "feature-delivery-projects"


def test_projects_can_be_given_with_the_release(tmp_path: Path) -> None:
    shop = tmp_path / "shop.yaml"
    shop.write_text("name: shop\nrepository: 'https://git.example.org/shop.git'  # {{ .Values }}, $(HOME)\n", "utf-8")
    made = rendered(tmp_path, "values-celery-executor", more=("--set-file", f"projects.shop\\.yaml={shop}"))
    config = next(one for one in made.of("ConfigMap") if one["metadata"]["name"] == "feature-delivery-projects")
    assert config["data"]["shop.yaml"] == shop.read_text("utf-8")
    assert not [one for one in made.objects if one["kind"] in FOREIGN], "no monitors where nobody asked for them"
