"""What include/helm says as it stands: docker-compose.yaml's settings, no secret, nothing that is not made."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from scripts.helm_secrets import EXAMPLE, read, secrets
from scripts.make_env import filled
from tests.support.helm import CHART_VARIABLE, official_chart

ROOT = Path(__file__).parents[2]
HELM = ROOT / "include" / "helm"
CHART = yaml.safe_load((HELM / "feature-delivery" / "Chart.yaml").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FILES = {
    name: yaml.safe_load((HELM / f"{name}.yaml").read_text("utf-8"))
    for name in (
        "feature-delivery/values",
        "values-kubernetes-executor",
        "values-celery-executor",
        "values-site.example",
    )
}
AIRFLOW: dict[str, Any] = FILES["feature-delivery/values"]["airflow"]
EXECUTORS = ("kubernetes", "celery")

# What docker-compose.yaml sets and no value repeats, and why.
ELSEWHERE = {
    "CORE__EXECUTOR": "the values of each executor",
    "CORE__LOAD_EXAMPLES": "the chart's default",
    "CORE__DAGS_FOLDER": "the chart's default",
    "CORE__PLUGINS_FOLDER": "Airflow's default",
    "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": "the chart's dagProcessor.dagBundleConfigList",
    "CORE__FERNET_KEY": "a Secret",
    "DATABASE__SQL_ALCHEMY_CONN": "a Secret",
    "API__SECRET_KEY": "a Secret",
    "API_AUTH__JWT_SECRET": "a Secret",
    "CELERY__BROKER_URL": "a Secret",
    "CELERY__RESULT_BACKEND": "a Secret",
    "METRICS__STATSD_ON": "the chart's default",
    "METRICS__STATSD_HOST": "the chart's default",
    "METRICS__STATSD_PORT": "the chart's default",
    "METRICS__STATSD_PREFIX": "the chart's default",
}
# What has to differ: names, addresses.
OTHER_VALUE = {
    "CORE__EXECUTION_API_SERVER_URL",
    "CORE__AUTH_MANAGER",
    "CORE__SIMPLE_AUTH_MANAGER_USERS",
    "API__BASE_URL",
}


OF_COMMANDS = {"FEATURE_DELIVERY_URL", "FEATURE_DELIVERY_PROMETHEUS_URL"}
"""Whom commands speak to: a cluster's addresses have the release's name in them, and are said with the command."""


def compose() -> dict[str, str]:
    environment = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["x-environment"]
    return {name: str(value) for name, value in environment.items()}


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, (*path, str(key)))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, (*path, str(number)))
    else:
        yield path, value


def sections(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from sections(one)


def test_both_ways_into_production_have_the_same_settings() -> None:
    known = {
        f"{section}__{key}".upper(): str(value)
        for section, settings in AIRFLOW["config"].items()
        for key, value in settings.items()
    }
    wanted = {name.removeprefix("AIRFLOW__"): v for name, v in compose().items() if name.startswith("AIRFLOW__")}
    assert set(wanted) - set(known) == set(ELSEWHERE), "say it in include/helm's values, or here why not"
    for name in set(wanted) & set(known) - OTHER_VALUE:
        assert known[name].lower() == wanted[name].lower(), f"docker-compose.yaml and include/helm differ: {name}"
    assert not set(known) - set(wanted), "docker-compose.yaml lacks it"


def test_both_ways_take_dag_files_from_the_image_unless_they_are_told_otherwise() -> None:
    assert "dagBundleConfigList" not in AIRFLOW["dagProcessor"], "the chart's default is the image's folder"
    example = (ROOT / ".env.example").read_text("utf-8")
    assert 'DAG_BUNDLES=\'[{"name": "dags-folder", ' in example


def test_both_ways_into_production_have_the_same_variables() -> None:
    plain = {one["name"]: one["value"] for one in AIRFLOW["env"]}
    secret = {one["envName"] for one in AIRFLOW["secret"]} | {one["name"] for one in AIRFLOW["apiServer"]["env"]}
    wanted = {name: value for name, value in compose().items() if name.startswith("FEATURE_DELIVERY_")}
    assert set(wanted) - set(plain) - secret == OF_COMMANDS, "say it in include/helm's values, or here why not"
    assert {name: plain[name] for name in wanted if name in plain} == {
        name: value for name, value in wanted.items() if name in plain
    }
    assert "AIRFLOW_CONN_FEATURE_DELIVERY" in AIRFLOW["extraEnv"]


@pytest.mark.parametrize("name", FILES)
def test_no_value_is_a_secret(name: str) -> None:
    for path, value in leaves(FILES[name]):
        assert not re.search(r"[0-9a-f]{32}|[A-Za-z0-9_-]{40,}={0,2}$", str(value)), f"{name}: {'.'.join(path)}"
        if re.search("pass|token|fernetKey$|secretKey$|jwtSecret$", path[-1], re.IGNORECASE) and value:
            assert path[-1].lower().endswith(("secretname", "secretkey", "passwords_file", "serviceaccounttoken"))
    connection = AIRFLOW["extraEnv"]
    assert '"password": "$(FEATURE_DELIVERY_TASK_TOKEN)"' in connection


def named(values: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return each Secret that values name, with the key that is read from it ('' where all of it is)."""
    found = {(one["secretName"], one["secretKey"]) for one in values["secret"]}
    for one in sections(values):
        if isinstance(one.get("secretKeyRef"), Mapping):
            found.add((one["secretKeyRef"]["name"], one["secretKeyRef"]["key"]))
        if isinstance(one.get("secret"), Mapping):
            found |= {(one["secret"]["secretName"], item["key"]) for item in one["secret"]["items"]}
    data, pool = values["data"], values["pgbouncer"]
    return found | {
        (values["fernetKeySecretName"], "fernet-key"),
        (values["apiSecretKeySecretName"], "api-secret-key"),
        (values["jwtSecretName"], "jwt-secret"),
        (data["metadataSecretName"], "connection"),
        (data["brokerUrlSecretName"], "connection"),
        (data["resultBackendSecretName"], "connection"),
        (values["redis"]["passwordSecretName"], "password"),
        (pool["configSecretName"], "pgbouncer.ini"),
        (pool["configSecretName"], "users.txt"),
        (pool["metricsExporterSidecar"]["statsSecretName"], pool["metricsExporterSidecar"]["statsSecretKey"]),
    }


def test_every_secret_that_values_name_is_made_and_none_besides() -> None:
    given = {**read(filled(EXAMPLE.read_text("utf-8"), "")), "DATABASE_PASSWORD": "x"}
    made = {(name, key) for name, content in secrets(given).items() for key in content}
    assert named(AIRFLOW) == made


def test_versions_are_those_of_the_package() -> None:
    airflow = next(one for one in PROJECT["dependencies"] if one.startswith("apache-airflow=="))
    assert CHART["appVersion"] == CHART["version"] == AIRFLOW["defaultAirflowTag"] == PROJECT["version"]
    assert FILES["values-site.example"]["airflow"]["defaultAirflowTag"] == PROJECT["version"]
    assert airflow == f"apache-airflow=={AIRFLOW['airflowVersion']}"
    assert re.fullmatch(r"\d+\.\d+\.\d+", CHART["dependencies"][0]["version"]), "exact: our templates use its own"


def test_a_task_of_the_kubernetes_executor_gets_no_secret() -> None:
    template = FILES["values-kubernetes-executor"]["airflow"]["podTemplate"]
    assert "airflow_environment" not in template
    assert "secretKeyRef: {name: feature-delivery, key: instance}" in template


def test_every_part_begins_with_itself_and_asks_for_no_database_before() -> None:
    """The entry point of Airflow's image runs ``airflow db check`` first, unless it is told otherwise."""
    assert {"name": "CONNECTION_CHECK_MAX_COUNT", "value": "0"} in AIRFLOW["env"]
    template = FILES["values-kubernetes-executor"]["airflow"]["podTemplate"]
    assert "{{- range .Values.env }}" in template


@pytest.mark.parametrize("hops", ["203.0.113.9", "6.6.6.6, 203.0.113.9", "6.6.6.6, 203.0.113.9, 10.3.0.1"])
def test_who_decides_is_known_by_the_address_that_the_ingress_saw(hops: str) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: dict[str, Any], _receive: object, _send: object) -> None:
        seen.update(scope)

    (trusted,) = (one["value"] for one in AIRFLOW["apiServer"]["env"] if one["name"] == "FORWARDED_ALLOW_IPS")
    headers = [(b"x-forwarded-for", hops.encode()), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "scheme": "http", "client": ("10.244.1.7", 4711), "headers": headers}
    asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    # By https cookies are marked as for https alone.
    assert (seen["client"][0], seen["scheme"]) == ("203.0.113.9", "https")


def test_no_worker_takes_the_queue_of_local_shops() -> None:
    workers = FILES["values-celery-executor"]["airflow"]["workers"]["celery"]
    assert "queue" not in workers
    assert "sets" not in workers


def test_a_probe_that_starts_airflow_has_the_time_for_it_and_is_as_soon_seen_as_the_charts() -> None:
    """On a node with more to do than it can, two in a row took over 45 seconds, and ended a part that worked."""
    celery = FILES["values-celery-executor"]["airflow"]["workers"]["celery"]
    for part in (AIRFLOW["dagProcessor"], AIRFLOW["triggerer"], celery):
        probe = part["livenessProbe"]
        assert 2 * 45 < probe["timeoutSeconds"] < probe["periodSeconds"]
        assert probe["failureThreshold"] * probe["periodSeconds"] <= 5 * 60


def test_what_the_chart_reads_from_elsewhere_is_there() -> None:
    links = sorted((HELM / "feature-delivery" / "files").iterdir())
    assert [one.name for one in links] == ["podmonitor.yml", "rbac.yaml", "rules", "scrapeconfig.yml"]
    assert all(one.is_symlink() and one.exists() for one in links)


def test_statsd_has_the_mapping_of_docker_compose() -> None:
    mapping = yaml.safe_load((ROOT / "include" / "monitoring" / "statsd.yml").read_text("utf-8"))
    assert AIRFLOW["statsd"]["overrideMappings"] == mapping["mappings"]


def merged(into: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        inner = isinstance(value, Mapping) and isinstance(into.get(key), dict)
        into[key] = merged(into[key], value) if inner else copy.deepcopy(value)
    return into


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_official_chart_takes_our_values(executor: str) -> None:
    folder = official_chart()
    if folder is None:
        pytest.skip(f"No chart is given: {CHART_VARIABLE} names the unpacked folder of Airflow's official one.")
    schema = json.loads((folder / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((folder / "values.yaml").read_text("utf-8"))
    for name in ("feature-delivery/values", f"values-{executor}-executor", "values-site.example"):
        merged(values, FILES[name].get("airflow", {}))
    jsonschema.Draft7Validator(schema).validate(values)
    known = set(yaml.safe_load((folder / "values.yaml").read_text("utf-8")))
    # The schema lets unknown names at the top pass.
    assert set(values) == known
