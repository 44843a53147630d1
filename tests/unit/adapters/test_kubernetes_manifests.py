"""What we write to a cluster: valid by the published schemas, allowed by the restricted Pod Security Standard."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes.manifests import environment, pods
from feature_delivery.adapters.platforms.kubernetes.manifests.backing import backing
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import (
    Shop,
    address_of,
    entrance,
    host_of,
    pod_of,
    workload,
)
from feature_delivery.adapters.platforms.kubernetes.names import COMMIT, label_value
from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord, ReleaseRecord, fresh_record, pack
from feature_delivery.adapters.platforms.kubernetes.settings import Settings
from feature_delivery.domain.cluster import BackingService, ClusterConfig, Ingress
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import CommitSha, FeatureKey, ProjectName
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from tests import shops

VERSIONS = ["1.29", "1.33", "1.37"]
POSTGRES = BackingService(
    name="postgres",
    image="postgres:17",
    port=5432,
    variables={"POSTGRES_PASSWORD": "shop"},
    gives={"DATABASE_URL": "postgresql://postgres:shop@{host}:{port}/{unknown}"},
    data="/var/lib/postgresql/data",
    scratch=("/var/run/postgresql",),
    ready=("pg_isready",),
)
IMAGE = ClusterConfig(
    image="registry.test/shop:{commit}",
    workdir="/app",
    production_namespace="shop-production",
    pull_secret="registry",
    secrets=("payment",),
    services=(POSTGRES,),
    allow_from=("monitoring",),
    reach=("10.1.0.0/16",),
    ingress=Ingress(host="{environment}.shop.test", production_host="shop.test", class_name="nginx", tls_secret="tls"),
)
CERTIFICATES = {
    "named": IMAGE.ingress,
    "issued": Ingress(
        host="{environment}.{project}.test",
        tls_secret="shop-tls",
        annotations={"cert-manager.io/cluster-issuer": "letsencrypt"},
    ),
    "the controller's": Ingress(host="{environment}.shop.test", https=True),
    "none": Ingress(host="{environment}.shop.test"),
}
SOURCE = replace(IMAGE, image="", runtime="python:3.12", clone_image="git:2", git_secret="git")
REF = EnvironmentRef(
    instance="here",
    project=ProjectName("demo_store"),
    name="preprod-shop-1",
    kind=EnvironmentKind.PREPROD,
    key=FeatureKey("SHOP-1"),
    generation=3,
    delivery="SHOP-1__2",
)
PLAN = shops.plan(install=(("uv", "pip", "install", "-r", "$(echo requirements.txt)"),), inputs=("requirements.txt",))


def shop(config: ClusterConfig, **changes: Any) -> Shop:
    settings = Settings(instance="here", config=config, repository="https://git.test/shop.git")
    made = Shop(
        settings=settings,
        ref=REF,
        app="demo-store",
        namespace="demo-store-preprod-shop-1",
        address="http://shop.test",
        commit=shops.commit_of("one"),
        plan=PLAN,
        services=config.services,
    )
    return replace(made, **changes)


def release(made: Shop) -> ReleaseRecord:
    template = pod_of(made)
    objects = workload(made, release="r-1", template=template)
    return ReleaseRecord(id="r-1", commit=made.commit, plan=made.plan, packed=pack(objects), pod=template)


def everything(config: ClusterConfig) -> Iterator[dict[str, Any]]:
    made = shop(config)
    place = made.namespace
    yield environment.namespace(REF, place, lives=timedelta(days=3), commit=made.commit)
    yield from environment.furniture(REF, place, config)
    yield environment.copied_secret({"metadata": {"name": "payment"}, "type": "Opaque", "data": {"a": "Yg=="}}, place)
    for service in config.services:
        yield from backing(service, place)
    yield from entrance(ref=REF, app=made.app, namespace=place, settings=made.settings)
    yield from workload(made, release="r-1", template=pod_of(made))
    command = pods.reporting(("pytest", "$(x)"), timeout=timedelta(seconds=90), report="/workspace/r.xml", token="t")
    for role in ("suite", "migration"):
        yield pods.once(
            release(made), command, name=f"x-{role}", namespace=place, role=role, limit=timedelta(minutes=5)
        )


def specs(objects: Iterator[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif one["kind"] == "Deployment":
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [IMAGE, SOURCE], ids=["image", "source"])
def test_every_object_is_valid_by_the_published_schema(config: ClusterConfig, version: str) -> None:
    for one in everything(config):
        kubernetes_validate.validate(json.loads(json.dumps(one)), version, strict=True)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[3] / "include" / "kubernetes").glob("*.yaml")))
def test_the_files_for_operators_are_valid_by_the_published_schema(file: Path) -> None:
    found = [one for one in yaml.safe_load_all(file.read_text()) if one]
    assert found
    for one in found:
        kubernetes_validate.validate(one, "1.33", strict=True)


@pytest.mark.parametrize("config", [IMAGE, SOURCE], ids=["image", "source"])
def test_every_pod_keeps_the_restricted_pod_security_standard(config: ClusterConfig) -> None:
    """The rules of the standard, one by one, as its page lists them."""
    found = dict(specs(everything(config)))
    assert {"postgres", "demo-store", "x-suite", "x-migration"} == set(found)
    for name, spec in found.items():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all(set(volume) <= {"name", "emptyDir", "configMap", "secret"} for volume in spec["volumes"]), name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in (*spec.get("initContainers", []), *spec["containers"]):
            security = one["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, (name, one["name"])
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security.get("privileged")
            assert not any("hostPort" in port for port in one.get("ports", []))
            assert security["readOnlyRootFilesystem"] is True
            assert {"requests", "limits"} == set(one["resources"])
        assert spec["automountServiceAccountToken"] is False


def test_no_word_of_the_shop_reaches_a_shell_or_is_filled_in() -> None:
    made = shop(replace(SOURCE), plan=replace(PLAN, variables={"GREETING": "$(rm -rf /) \"'"}))
    template = pod_of(made)
    install = template["initContainers"][-1]
    assert install["command"] == ["uv", "pip", "install", "-r", "$$(echo requirements.txt)"]
    assert {"name": "GREETING", "value": "$$(rm -rf /) \"'"} in template["containers"][0]["env"]
    clone = template["initContainers"][0]
    assert made.commit not in clone["command"][2]
    assert made.settings.repository not in clone["command"][2]


def test_a_private_repositorys_password_comes_from_its_secret_only() -> None:
    clone = pod_of(shop(SOURCE))["initContainers"][0]
    assert {"name": "GIT_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "git", "key": "password"}}} in clone["env"]


def test_backing_services_give_the_shop_their_address() -> None:
    env = {one["name"]: one.get("value") for one in pod_of(shop(IMAGE))["containers"][0]["env"]}
    assert env["DATABASE_URL"] == "postgresql://postgres:shop@postgres:5432/{unknown}"
    assert (env["PORT"], env["DELIVERY_ENVIRONMENT"], env["DELIVERY_COMMIT"]) == (
        "8080",
        "preprod",
        shops.commit_of("one"),
    )


def test_a_rollout_never_takes_a_pod_away_before_another_one_serves() -> None:
    spec = workload(shop(IMAGE), release="r", template=pod_of(shop(IMAGE)))[0]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == PLAN.health.timeout.total_seconds()


def test_walls_let_in_and_out_only_what_is_named() -> None:
    found = {one["metadata"]["name"]: one["spec"] for one in environment.network_policies(REF, "x", IMAGE)}
    assert found["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    names = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in found["allow-entrance"]["ingress"][0]["from"]
    ]
    assert names == ["ingress-nginx", "monitoring"]
    blocks = [peer["ipBlock"] for peer in found["allow-own"]["egress"][2]["to"]]
    assert {"cidr": "10.1.0.0/16"} in blocks
    assert "169.254.0.0/16" in blocks[0]["except"]


def test_addresses_follow_the_pattern_and_production_has_its_own() -> None:
    settings = Settings(instance="here", config=IMAGE)
    production = replace(REF, key=None, name="production", kind=EnvironmentKind.PRODUCTION)

    def where(ref: EnvironmentRef, settings: Settings) -> str:
        return address_of(ref=ref, app="demo-store", namespace="n", settings=settings)

    assert where(REF, settings) == "https://preprod-shop-1.shop.test"
    assert where(production, settings) == "https://shop.test"
    assert where(REF, Settings(instance="here", config=replace(IMAGE, ingress=None))) == "http://demo-store.n.svc"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("ingress", "tls", "address"),
    [
        (
            CERTIFICATES["named"],
            [{"hosts": ["preprod-shop-1.shop.test"], "secretName": "tls"}],
            "https://preprod-shop-1",
        ),
        (
            CERTIFICATES["issued"],
            [{"hosts": ["preprod-shop-1.demo-store.test"], "secretName": "shop-tls"}],
            "https://preprod-shop-1.demo-store.test",
        ),
        (CERTIFICATES["the controller's"], [{"hosts": ["preprod-shop-1.shop.test"]}], "https://preprod-shop-1"),
        (CERTIFICATES["none"], None, "http://preprod-shop-1"),
    ],
    ids=CERTIFICATES,
)
def test_an_entrance_has_its_certificate_and_the_address_says_so(
    ingress: Ingress, tls: object, address: str, version: str
) -> None:
    settings = Settings(instance="here", config=replace(IMAGE, ingress=ingress))
    made = entrance(ref=REF, app="demo-store", namespace="n", settings=settings)[-1]
    kubernetes_validate.validate(made, version, strict=True)
    assert made["spec"].get("tls") == tls
    assert made["metadata"].get("annotations", {}) == ingress.annotations
    assert address_of(ref=REF, app="demo-store", namespace="n", settings=settings).startswith(address)


def test_a_host_of_a_long_name_is_still_one_of_dns() -> None:
    ingress = Ingress(host="{project}-{environment}.shop.test")
    long = replace(REF, name=f"preprod-{'x' * 55}")
    hosts = {
        host_of(replace(long, name=f"{long.name[:-1]}{last}"), "demo-store", Settings(instance="i", config=config))
        for config in (replace(IMAGE, ingress=ingress),)
        for last in "ab"
    }
    assert len(hosts) == 2
    assert all(len(part) <= 63 for host in hosts for part in host.split("."))


def test_a_commit_that_no_label_can_hold_is_whole_in_the_annotation() -> None:
    for commit in ("c" * 40, "c" * 64):
        meta = environment.namespace(REF, "n", lives=timedelta(days=3), commit=commit)["metadata"]
        assert meta["annotations"][COMMIT] == commit
        assert len(meta["labels"][COMMIT]) <= 63
        assert meta["labels"][COMMIT].startswith("c" * 40)
    assert COMMIT not in environment.namespace(REF, "n", lives=timedelta(days=3))["metadata"]["labels"]


def test_no_label_is_longer_than_the_cluster_takes_whatever_a_commit_is_called() -> None:
    """A repository may name its commits by SHA-256: 64 digits."""
    made = shop(IMAGE, commit=CommitSha("c" * 64))
    objects = workload(made, release="r-1", template=pod_of(made))
    errand = pods.once(release(made), ("true",), name="x", namespace="n", role="suite", limit=timedelta(minutes=5))
    for meta in (*(one["metadata"] for one in (*objects, errand)), objects[0]["spec"]["template"]["metadata"]):
        assert all(len(value) <= 63 for value in meta["labels"].values())
        assert meta["labels"][COMMIT] == label_value("c" * 64)


def test_without_an_image_nothing_is_made() -> None:
    with pytest.raises(Misconfigured, match=r"platform\.image"):
        pod_of(shop(ClusterConfig()))


def test_a_record_comes_back_as_it_was_written() -> None:
    record = fresh_record(REF).changed(current=release(shop(SOURCE)), launch="x")
    again = EnvironmentRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.current is not None
    assert again.current.manifests[0]["kind"] == "Deployment"


def test_manifests_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(Refused, match="compressed"):
        pack([{"data": random.Random(1).randbytes(300_000).hex()}])
