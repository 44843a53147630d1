"""Nothing stays of a release that has gone, and nothing gets in with a shop's own manifests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes import release as releases
from feature_delivery.adapters.platforms.kubernetes.api import LOG_LIMIT_BYTES
from feature_delivery.adapters.platforms.kubernetes.manifests.own import adapt, read_manifests
from feature_delivery.domain.cluster import Ingress
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.ports.platform import Release
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, PROD, REF, SERVICES, ignore, with_config
from tests.contracts.kubernetes.test_data import OWN
from tests.contracts.kubernetes_bench import PRODUCTION, KubernetesBench
from tests.fakes.kubernetes.cluster import Fate

WEB = ("services", PLACE, "web")
WITHOUT = OWN.partition("---")[0]


def own(bench: KubernetesBench, label: str, text: str) -> Release:
    with_config(bench, manifests="deploy", service="web")
    return shops.release(label, {"deploy/shop.yaml": text})


@contextmanager
def nothing_is_deleted(bench: KubernetesBench) -> Iterator[None]:
    bench.server.fail(500, times=9, method="DELETE", path="/services/")
    yield
    bench.server.faults.clear()


def test_what_only_the_release_before_had_goes_although_its_removal_was_interrupted(bench: KubernetesBench) -> None:
    """The release serves already, and has been written down: nothing but the record knows what is left."""
    one, two = own(bench, "one", OWN), own(bench, "two", WITHOUT)
    bench.platform.provision(REF)
    bench.platform.deploy(REF, one, say=ignore)
    with nothing_is_deleted(bench), pytest.raises(Unavailable):
        bench.platform.deploy(replace(REF, generation=2), two, say=ignore)
    assert WEB in bench.server.store.objects
    bench.platform.deploy(replace(REF, generation=3), two, say=ignore)
    assert WEB not in bench.server.store.objects


def test_what_a_release_left_that_never_served_goes_with_the_next_one(bench: KubernetesBench) -> None:
    one, two, three = own(bench, "one", WITHOUT), own(bench, "two", OWN), own(bench, "three", WITHOUT)
    bench.platform.provision(REF)
    bench.platform.deploy(REF, one, say=ignore)
    bench.fates[two.commit] = Fate("crashes", log="\x1b[31mno price list\x1b[0m\n")
    with nothing_is_deleted(bench), pytest.raises(Refused, match=r"It ended with:\nno price list$"):
        bench.platform.deploy(replace(REF, generation=2), two, say=ignore)
    assert WEB in bench.server.store.objects
    bench.platform.deploy(replace(REF, generation=3), three, say=ignore)
    assert WEB not in bench.server.store.objects


def test_a_shop_does_not_write_the_walls_of_its_environment(bench: KubernetesBench) -> None:
    wall = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny-all}\nspec: {podSelector: {}}"
    bad = own(bench, "one", f"{OWN}---\n{wall}\n")
    bench.platform.provision(REF)
    with pytest.raises(Refused, match=r"deny-all .*keep for themselves"):
        bench.platform.deploy(REF, bad, say=ignore)


OPENING = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mine}
spec: {podSelector: {}, egress: [{}], policyTypes: [Egress]}
"""


def test_a_branch_opens_no_wall_and_what_it_has_opened_before_is_closed_by_the_next_deploy(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, said = ("networkpolicies", PLACE, "mine"), list[str]()
    one = own(bench, "one", OWN + OPENING)
    bench.platform.provision(REF)
    with monkeypatch.context() as before:
        before.setattr(releases, "bounded", lambda objects, **_: objects)
        bench.platform.deploy(REF, one, say=ignore)
    assert wall in bench.server.store.objects
    bench.platform.deploy(replace(REF, generation=2), one, say=said.append)
    assert wall not in bench.server.store.objects
    assert any("Left NetworkPolicy mine in " in line for line in said)
    # In production the same manifests have been signed off.
    bench.platform.provision(PROD)
    bench.platform.deploy(PROD, one, say=ignore)
    assert ("networkpolicies", PRODUCTION, "mine") in bench.server.store.objects


INGRESS = """---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: HOST, http: {paths: []}}]}
"""


def test_a_branch_is_reached_by_its_environments_own_name_alone(bench: KubernetesBench) -> None:
    with_config(bench, ingress=Ingress(host="{environment}.shop.test", production_host="shop.test"))
    bench.platform.provision(REF)
    thief = own(bench, "one", OWN + INGRESS.replace("HOST", "shop.test"))
    with pytest.raises(Refused, match=r"'shop.test'. This environment's own is 'development-shop-1.shop.test'"):
        bench.platform.deploy(REF, thief, say=ignore)
    good = own(bench, "two", OWN + INGRESS.replace("HOST", "${DELIVERY_HOST}"))
    bench.platform.deploy(REF, good, say=ignore)
    made = bench.server.store.get(("ingresses", PLACE, "web"))
    assert made["spec"]["rules"][0]["host"] == "development-shop-1.shop.test"


def test_what_the_project_file_lets_through_is_applied_with_the_commit_that_runs_already(
    bench: KubernetesBench,
) -> None:
    size = {"example.test/body-size": "8m"}
    ingress = Ingress(host="{environment}.shop.test", production_host="shop.test")
    with_config(bench, ingress=ingress)
    bench.platform.provision(REF)
    asked = INGRESS.replace("HOST", "${DELIVERY_HOST}").replace("name: web", f"name: web, annotations: {size}")
    one = own(bench, "one", OWN + asked)
    bench.platform.deploy(REF, one, say=ignore)
    made = bench.server.store.get(("ingresses", PLACE, "web"))
    assert "example.test/body-size" not in made["metadata"].get("annotations", {})
    with_config(bench, ingress=replace(ingress, annotations=size))
    bench.platform.deploy(replace(REF, generation=2), one, say=ignore)
    made = bench.server.store.get(("ingresses", PLACE, "web"))
    assert made["metadata"]["annotations"].items() >= size.items()


def test_a_branch_does_not_take_its_backing_service_for_its_own(bench: KubernetesBench) -> None:
    with_config(bench, services=SERVICES)
    bench.platform.provision(REF)
    bad, good = (
        own(bench, "one", OWN + "---\n" + WITHOUT.replace("name: web", "name: postgres", 1)),
        own(bench, "two", OWN),
    )
    with pytest.raises(Refused, match=r"Deployment postgres .* has the name of a backing service"):
        bench.platform.deploy(REF, bad, say=ignore)
    assert ("deployments", PLACE, "postgres") in bench.server.store.objects
    assert bench.platform.deploy(REF, good, say=ignore).healthy


def test_what_was_refused_for_being_somebody_elses_is_left_to_them(bench: KubernetesBench) -> None:
    """The deploy after that goes through: nothing of it is waited for to go."""
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {}}
    bench.platform.provision(REF)
    bench.server.store.create("configmaps", PLACE, theirs, manager="people")
    settings = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
    one, two = own(bench, "one", OWN + settings), own(bench, "two", OWN)
    with pytest.raises(Refused, match=r"settings in .*: it belongs to somebody else"):
        bench.platform.deploy(REF, one, say=ignore)
    assert bench.platform.deploy(REF, two, say=ignore).healthy
    assert ("configmaps", PLACE, "settings") in bench.server.store.objects


def test_manifests_mean_what_they_mean_to_kubectl(tmp_path: Path) -> None:
    """A date is text, one that no calendar has, too; a number is text where it is a name."""
    (tmp_path / "a.yaml").write_text(
        "data: {since: 2026-02-03, until: 2026-02-30, at: 2026-02-03T10:00:00Z, 7: x, b: y}"
    )
    [found] = read_manifests(tmp_path, where="deploy", values={})
    assert found["data"] == {
        "since": "2026-02-03",
        "until": "2026-02-30",
        "at": "2026-02-03T10:00:00Z",
        "7": "x",
        "b": "y",
    }


@pytest.mark.parametrize("text", ["a: .inf", "a: !!binary aGk=", "a: !!int x", "a: !!timestamp 2026-02-30", "[" * 500])
def test_manifests_that_no_cluster_can_be_told_are_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(Refused, match="The manifests in 'deploy' are no valid YAML"):
        read_manifests(tmp_path, where="deploy", values={})


@pytest.mark.parametrize("text", ["spec: [1]", "spec: word", "spec: {template: {metadata: {labels: [x]}}}"])
def test_manifests_of_the_wrong_shape_are_refused_with_a_sentence(text: str) -> None:
    found = yaml.safe_load(f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, labels: }}, {text}}}")
    with pytest.raises(Refused, match="Deployment web in the shop's manifests has a list or a word"):
        adapt([found], namespace="n", labels={}, annotations={})
    [made] = adapt([{**found, "spec": {}}], namespace="n", labels={}, annotations={})
    assert made["metadata"] == {"name": "web", "namespace": "n"}, "no labels are none"


def test_kustomize_gets_neither_the_workers_variables_nor_remote_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tool = tmp_path / "deploy", tmp_path / "kustomize"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("resources: []\n")
    tool.touch(0o755)
    told = "echo \"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {all: '$(env | tr '\\n' ' ')'}\""
    tool.write_text(f"#!/bin/sh\n{told}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of-the-worker")
    [found] = read_manifests(folder, where="deploy", values={})
    assert "of-the-worker" not in found["data"]["all"]
    assert "GIT_ALLOW_PROTOCOL=none" in found["data"]["all"]
    assert "HTTPS_PROXY=http://127.0.0.1:9" in found["data"]["all"]


def test_manifests_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.yaml").write_bytes(bytes(2_000_001))
    monkeypatch.delattr(Path, "read_text")
    with pytest.raises(Refused, match="larger than 2 MB"):
        read_manifests(tmp_path, where="deploy", values={})


def test_the_last_words_of_a_shop_have_a_limit(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.platform.provision(REF)
    asked: list[str] = []
    answer = bench.server.answer

    def heard(handler: Any, method: str, body: bytes) -> None:
        asked.append(handler.path)
        answer(handler, method, body)

    monkeypatch.setattr(bench.server, "answer", heard)
    with pytest.raises(Refused):
        bench.platform.deploy(REF, bench.broken("two"), say=ignore)
    logs = [path for path in asked if "/log?" in path]
    assert logs
    assert all(f"limitBytes={LOG_LIMIT_BYTES}" in path for path in logs)
