"""Databases, migrations and seeds, and the shop's own manifests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from feature_delivery.domain.errors import (
    Misconfigured,
    Refused,
)
from feature_delivery.ports.platform import Release
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, PROD, REF, SERVICES, ignore, with_config
from tests.contracts.kubernetes_bench import (
    PRODUCTION,
    KubernetesBench,
)
from tests.fakes.kubernetes.cluster import Fate


class TestData:
    def test_backing_services_come_with_the_environment_and_are_filled_once(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.platform.provision(REF)
        for label in ("one", "two"):
            bench.platform.deploy(REF, shops.release(label), say=ignore)
        seeds = [pod["metadata"]["name"] for pod in bench.server.cluster.ran if "-seed-" in pod["metadata"]["name"]]
        assert len(seeds) == 1
        env = {one["name"]: one.get("value") for one in bench.server.cluster.ran[0]["spec"]["containers"][0]["env"]}
        assert env["DB"] == "postgres:5432"

    def test_a_backing_service_that_does_not_start_is_named(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.server.cluster.fate = lambda pod: Fate("no_image") if "postgres" in pod["metadata"]["name"] else None
        bench.platform.provision(REF)
        with pytest.raises(Refused, match="postgres did not start: the image 'postgres:17' cannot be pulled"):
            bench.platform.deploy(REF, shops.release("one"), say=ignore)

    def test_production_gets_no_backing_services(self, bench: KubernetesBench) -> None:
        with_config(bench, services=SERVICES)
        bench.platform.provision(PROD)
        bench.platform.deploy(PROD, shops.release("one"), say=ignore)
        assert ("deployments", PRODUCTION, "postgres") not in bench.server.store.objects

    def test_an_installation_that_fails_before_a_migration_says_why(self, bench: KubernetesBench) -> None:
        bench.server.cluster.fate = lambda _: Fate("no_install", log="no such package: gifts\n")
        bench.platform.provision(REF)
        with pytest.raises(
            Refused, match=r"(?s)'install-1', which comes before, exited with 1.*no such package: gifts"
        ):
            bench.platform.deploy(REF, shops.release("one", forward=("true",)), say=ignore)

    def test_the_data_of_a_release_that_never_served_are_taken_back(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        before = bench.platform.deploy(REF, shops.release("one"), say=ignore)
        bad = shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.fates[bad.commit] = Fate("crashes")
        said: list[str] = []
        with pytest.raises(Refused):
            bench.platform.deploy(REF, bad, say=said.append)
        assert [line for line in said if line in {"up", "down"}] == ["up", "down"]
        assert bench.platform.status(REF) == before

    def test_a_migration_pod_of_an_earlier_deploy_is_not_taken_for_this_ones(self, bench: KubernetesBench) -> None:
        """A task was killed after its migration; the same release comes again, after a rollback."""
        bench.platform.provision(REF)
        one, two = shops.release("one"), shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.fail(500, times=99, method="DELETE", path="/pods/")  # What ended well stays behind.
        bench.platform.deploy(replace(REF, generation=2), two, say=ignore)
        bench.server.faults.clear()
        bench.platform.deploy(replace(REF, generation=3), one, say=ignore, migrate_back=two.plan)
        bench.platform.deploy(replace(REF, generation=4), two, say=ignore)
        commands = [pod["spec"]["containers"][0]["command"] for pod in bench.server.cluster.ran]
        assert commands == [["echo", "up"], ["echo", "down"], ["echo", "up"]]

    def test_a_rollback_takes_the_migration_back_in_the_code_that_goes(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        one, two = shops.release("one"), shops.release("two", forward=("echo", "up"), back=("echo", "down"))
        bench.platform.deploy(REF, one, say=ignore)
        bench.platform.deploy(REF, two, say=ignore)
        bench.server.cluster.ran.clear()
        bench.platform.deploy(REF, one, say=ignore, migrate_back=two.plan)
        ran = bench.server.cluster.ran[0]
        assert ran["spec"]["containers"][0]["command"] == ["echo", "down"]
        assert ran["spec"]["containers"][0]["image"] == f"registry.test/shop:{two.commit}"


OWN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {note: "${DELIVERY_COMMIT}"}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "${IMAGE}"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: "${NAMESPACE}"}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


class TestOwnManifests:
    def own(self, bench: KubernetesBench, label: str, text: str = OWN) -> Release:
        with_config(bench, manifests="deploy", service="web")
        return shops.release(label, {"deploy/shop.yaml": text})

    def test_they_are_applied_waited_for_and_replaced(self, bench: KubernetesBench) -> None:
        one = self.own(bench, "one")
        bench.platform.provision(REF)
        found = bench.platform.deploy(REF, one, say=ignore)
        assert (found.healthy, found.address) == (True, f"http://web.{PLACE}.svc")
        web = bench.server.store.get(("deployments", PLACE, "web"))
        assert web["metadata"]["annotations"]["note"] == one.commit
        assert web["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.test/shop:{one.commit}"
        second = OWN.replace("kind: Service", "kind: ConfigMap").replace("spec: {selector: {app: web}, ports", "#")
        bench.platform.deploy(REF, self.own(bench, "two", second), say=ignore)
        assert ("services", PLACE, "web") not in bench.server.store.objects

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}", "no kind of object"),
            ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", "only have objects that work"),
            ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}", "only have objects that work"),
            (OWN.replace("${NAMESPACE}", PRODUCTION), "only have objects that work"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: demo-store-environment}", "keep for themselves"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../x}", "no valid name"),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", "hold no Deployment"),
            ("a: &a [1]\nb: *a", "uses an alias"),
            ("a: [", "no valid YAML"),
            ("[1]", "is no object"),
            ("", "holds 0 objects"),
        ],
    )
    def test_what_is_not_theirs_to_write_is_refused(self, bench: KubernetesBench, text: str, why: str) -> None:
        bad = self.own(bench, "one", text)
        bench.platform.provision(REF)
        with pytest.raises(Refused, match=why):
            bench.platform.deploy(REF, bad, say=ignore)

    @pytest.mark.parametrize("to", ["{outside}", "more.yaml"])
    def test_a_link_out_of_the_folder_or_to_itself_is_refused(
        self, bench: KubernetesBench, tmp_path: Path, to: str
    ) -> None:
        (tmp_path / "secret.yaml").write_text(OWN)
        plain = self.own(bench, "one")

        def checkout(directory: Path) -> None:
            plain.checkout(directory)
            (directory / "deploy" / "more.yaml").symlink_to(to.format(outside=tmp_path / "secret.yaml"))

        bench.platform.provision(REF)
        with pytest.raises(Refused, match="link that leads out"):
            bench.platform.deploy(REF, replace(plain, checkout=checkout), say=ignore)

    def test_a_kustomization_is_built_by_the_workers_own_tool(
        self, bench: KubernetesBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = self.own(bench, "one")
        made = shops.release("one", {"deploy/kustomization.yaml": "resources: []\n", "deploy/out.txt": OWN})
        bench.platform.provision(REF)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Misconfigured, match="neither that nor kubectl"):
            bench.platform.deploy(REF, made, say=ignore)
        tool = tmp_path / "kustomize"
        tool.touch(0o755)
        tool.write_text('#!/bin/sh\nexec /bin/cat "$2/out.txt"\n')
        assert bench.platform.deploy(REF, made, say=ignore).commit == plain.commit
        tool.write_text('#!/bin/sh\necho "no such base" >&2; exit 1\n')
        with pytest.raises(Refused, match="Kustomize refused 'deploy': no such base"):
            bench.platform.deploy(REF, made, say=ignore)

    def test_a_commit_without_the_folder_is_refused(self, bench: KubernetesBench) -> None:
        self.own(bench, "one")
        bench.platform.provision(REF)
        with pytest.raises(Refused, match="no folder 'deploy'"):
            bench.platform.deploy(REF, shops.release("two"), say=ignore)
