"""What the code of a branch gets on a cluster: no Secret of production's, no right, and no say over our logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes import suites
from feature_delivery.adapters.platforms.kubernetes.logs import Speech
from feature_delivery.adapters.platforms.kubernetes.manifests.bounds import bounded
from feature_delivery.adapters.platforms.kubernetes.manifests.own import adapt
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import pod_of
from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Misconfigured, Refused
from tests.unit.adapters.test_kubernetes_manifests import SOURCE, shop

FILE = """
name: shop
repository: https://git.test/shop.git
people:
  max: {{roles: [manager, tester, reviewer, developer, operator]}}
platform:
  kind: kubernetes
  image: registry.test/shop:{{commit}}
  production: {{namespace: shop-production}}
  secrets: [payment]
  secrets_from: {source}
"""


def test_what_a_suite_writes_is_shown_as_text_on_either_platform() -> None:
    """No colours, no cursor that overwrites what stands before, no line without end: both platforms say it so."""
    said: list[str] = []
    log, speech = suites._Log("token"), Speech(said.append)
    for line in ("plain", "\x1b[2K\x1b[1A\x1b[31mINFO all green\x07", "x" * 5000, "10 %\r100 %"):
        log.hear(line)
        speech.hear(line)
    assert said == ["plain", "INFO all green", "x" * 2000 + " …", "100 %"]
    assert "\x1b" not in log.last_words


@pytest.mark.parametrize("source", ['""', "shop-production"])
def test_production_secrets_are_never_copied_for_branches(source: str) -> None:
    with pytest.raises(Misconfigured, match="given to the code of branches, too"):
        parse_project(FILE.format(source=source), where="shop.yaml")
    assert parse_project(FILE.format(source="shop-test"), where="shop.yaml").cluster is not None


def test_a_pod_of_a_branch_has_the_named_secrets_and_no_right_in_the_cluster() -> None:
    spec = pod_of(shop(replace(SOURCE, secrets=("payment",), secrets_from="shop-test")))
    (main,) = spec["containers"]
    assert main["envFrom"] == [{"secretRef": {"name": "payment"}}]
    assert not [entry for entry in main["env"] if "valueFrom" in entry], "the clone's token stays with the clone"
    assert spec["automountServiceAccountToken"] is False
    assert not [volume for volume in spec["volumes"] if "secret" in volume or "hostPath" in volume]


def within(text: str, said: list[str]) -> list[dict[str, Any]]:
    """Return a branch's manifests as its environment takes them."""
    objects = adapt(list(yaml.safe_load_all(text)), namespace="n", labels={}, annotations={})
    allowed = {"nginx.ingress.kubernetes.io/proxy-body-size": "8m"}
    return bounded(objects, host="own.shop.test", annotations=allowed, services={"postgres"}, say=said.append)


INGRESS = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: %s}"
CLAIM = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: %s}"
STATEFUL = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: %s}"
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: %s}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (INGRESS % "{rules: [{host: own.shop.test}, {host: shop.test}]}", "names the host 'shop.test'"),
        (INGRESS % "{rules: [{host: '*.shop.test'}]}", r"names the host '\*.shop.test'"),
        (INGRESS % "{rules: [{http: {paths: []}}]}", "names no host, and so every one"),
        (INGRESS % "{rules: [null]}", "names no host, and so every one"),
        (INGRESS % "{tls: [{hosts: [own.shop.test, shop.test]}]}", "names the host 'shop.test'"),
        (INGRESS % "{tls: [{secretName: x}]}", "names no host, and so every one"),
        (INGRESS % "{defaultBackend: {service: {name: web}}}", "answers for everybody"),
        (SERVICE % ("web", "{externalIPs: [203.0.113.7]}"), "takes addresses for itself"),
        (SERVICE % ("web", "{type: ExternalName, externalName: metadata.internal}"), "leads elsewhere"),
        (SERVICE % ("postgres", "{}"), "name of a backing service"),
        (CLAIM % "{volumeName: backup-of-production}", "names the volume that it wants"),
        (CLAIM % "{selector: {matchLabels: {app: shop}}}", "names the volume that it wants"),
        (STATEFUL % "{volumeClaimTemplates: [{spec: {volumeName: left}}]}", "names the volume that it wants"),
    ],
)
def test_a_branchs_own_manifests_take_no_address_and_no_name_of_others(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        within(text, [])


def test_a_branchs_own_manifests_say_nothing_to_the_clusters_controllers_that_the_project_does_not() -> None:
    """Aliases, snippets, DNS records, certificates for other names; policies, which add up."""
    names = ["proxy-body-size", "server-alias", "configuration-snippet"]
    notes = {f"nginx.ingress.kubernetes.io/{name}": "8m" for name in names}
    notes |= {"external-dns.alpha.kubernetes.io/hostname": "shop.test", "prometheus.io/scrape": "true"}
    ingress, service = (
        yaml.safe_load(INGRESS % "{rules: [{host: own.shop.test}]}"),
        yaml.safe_load(SERVICE % ("w", "{}")),
    )
    for one in (ingress, service):
        one["metadata"]["annotations"] = notes
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "mine"}, "spec": {}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "stay"}, "spec": {}}
    said: list[str] = []
    found = within(yaml.safe_dump_all([ingress, policy, budget, service]), said)
    kept = {"nginx.ingress.kubernetes.io/proxy-body-size": "8m", "prometheus.io/scrape": "true"}
    assert [(one["kind"], one["metadata"]["annotations"]) for one in found] == [("Ingress", kept), ("Service", kept)]
    assert len(said) == 4
    assert "server-alias" in said[0]


def test_a_branchs_own_pods_take_no_place_from_others_and_have_no_token_of_the_api_server() -> None:
    workload = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: %s}}}"
    said: list[str] = []
    [found] = within(workload % "{priorityClassName: system-node-critical, automountServiceAccountToken: true}", said)
    assert found["spec"]["template"]["spec"] == {"automountServiceAccountToken": False}
    assert "'system-node-critical'" in said[0]
    with pytest.raises(Refused, match="asks for a token"):
        within(workload % "{volumes: [{projected: {sources: [{serviceAccountToken: {path: t}}]}}]}", [])


@pytest.mark.parametrize("secret", ["pull_secret: registry", "git_secret: login"])
def test_a_branch_with_manifests_of_its_own_has_no_login_of_production_in_its_namespace(secret: str) -> None:
    """A registry account that may push replaces the very image that is signed off; a Git login moves branches."""
    own = FILE.format(source='""').replace(
        "  secrets: [payment]\n", f"  manifests: deploy\n  service: web\n  {secret}\n"
    )
    cloned = own.replace("image: registry.test/shop:{commit}", "runtime: python:3\n  clone_image: git:2")
    with pytest.raises(Misconfigured, match="a branch could read"):
        parse_project(cloned, where="shop.yaml")
