"""A feature to production and one back from it, on a cluster that is given, with the real Airflow around it.

Tasks defer and are called back by the real triggerer; rollouts are the cluster's own. Where the cluster has no node, a
scripted one runs suites as processes of this machine.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from feature_delivery.adapters.platforms.kubernetes.names import MANAGED_BY, MANAGER
from feature_delivery.adapters.platforms.kubernetes.resources import DEPLOYMENT, NAMESPACE
from tests.contracts.kubernetes_bench import PRODUCTION
from tests.contracts.real_cluster import NONE_GIVEN, RealCluster, given, image
from tests.fakes.kubernetes.cluster import COMMIT, Fate
from tests.support.command_line import PROGRAM, git
from tests.support.newcomer import Newcomer
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
SUITE_SAYS = "every price is right"
DELIVERY = {
    "version": 1,
    "start": "python shop.py",
    "health": {"path": "/healthz"},
    "migration": {"forward": "true", "back": "true"},
    "suites": {name: {"command": f"echo {SUITE_SAYS}"} for name in ("syntax", "unit", "functional", "integration")},
}
DOCKERFILE = """FROM python:3.12-slim
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir -r requirements.txt
"""
STORE = Path(__file__).parents[2] / "include" / "demo_store"
BREAKS_IN_PRODUCTION = """
import os
if os.environ.get("DELIVERY_ENVIRONMENT") == "production":
    raise SystemExit("no price list found")
"""


def furnish(checkout: Path, cluster: RealCluster) -> None:
    """Fill the shop's repository: the demo's store where pods really run, else as much of a shop as a script runs."""
    if cluster.node is not None:
        (checkout / "delivery.yaml").write_text(yaml.safe_dump(DELIVERY))
        return
    shutil.copytree(STORE, checkout, dirs_exist_ok=True)
    plan = yaml.safe_load((checkout / "delivery.yaml").read_text())
    # Its database is a file, and a file of a pod goes with the pod.
    plan["start"] = ["sh", "-c", "python -m store.migrate up && exec python -m store"]
    plan["suites"]["integration"]["command"] = [
        *("sh", "-c"),
        f"{plan['suites']['integration']['command']} && echo {SUITE_SAYS}",
    ]
    (checkout / "delivery.yaml").write_text(yaml.safe_dump(plan))
    (checkout / "Dockerfile").write_text(DOCKERFILE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    place = given()
    if place is None:
        pytest.skip(NONE_GIVEN)
    made = RealCluster(place, tmp_path_factory.mktemp("node"))
    yield made
    made.clean()
    made.close()


@pytest.fixture(scope="module")
def team(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    place = tmp_path_factory.mktemp("team")
    shop = Newcomer(home=place / "home", checkout=place / "shop", port=free_port(), project="shop")
    shop.checkout.mkdir()
    furnish(shop.checkout, cluster)
    git(shop.checkout, "init", "--quiet", "--initial-branch", "main")
    git(shop.checkout, "add", "--all")
    git(shop.checkout, "commit", "--quiet", "--message", "A shop for clusters")
    bare = place / "shop.git"
    git(place, "clone", "--quiet", "--bare", str(shop.checkout), str(bare))
    git(bare, "branch", "preprod", "main")
    git(shop.checkout, "remote", "add", "delivery", str(bare))
    file = place / "shop.yaml"
    file.write_text(yaml.safe_dump(project(bare, cluster)))
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(cluster.kubeconfig)}}
    log = place / "up.log"
    with log.open("wb") as output:
        up = shop.up = subprocess.Popen(
            [*PROGRAM, "up", "--project-file", str(file), "--port", str(shop.port)],
            env={**shop.environment, "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection)},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        shop.until(lambda: "Ctrl-C stops everything" in log.read_text() or up.poll() is not None)
        assert up.poll() is None, log.read_text()
        yield shop
    finally:
        if up.poll() is None:
            shop.stop(signal.SIGTERM)
        for process in shop.processes():
            process.kill()


def project(bare: Path, cluster: RealCluster) -> dict[str, object]:
    platform = {"kind": "kubernetes", "production": {"namespace": PRODUCTION, "replicas": 1}, **image(cluster)}
    roles = ["developer", "reviewer", "tester", "manager", "operator"]
    return {
        "name": "shop",
        "repository": str(bare),
        "branches": {"production": "main"},
        "people": {"sol": {"roles": roles}},
        "solo": True,
        "choices": {"start_gate": False, "open_request": True},
        "platform": platform,
    }


def served(cluster: RealCluster) -> str:
    """Return the commit that production's Deployment runs."""
    found = cluster.admin.get(DEPLOYMENT, "shop", namespace=PRODUCTION)
    assert found is not None
    assert found["status"]["availableReplicas"] == 1
    return str(found["spec"]["template"]["metadata"]["labels"][COMMIT])


def namespaces(cluster: RealCluster) -> list[str]:
    found = cluster.admin.list(NAMESPACE, labels=f"{MANAGED_BY}={MANAGER}")
    return [one["metadata"]["name"] for one in found]


def logged(team: Newcomer, key: str, task: str) -> list[str]:
    """Return what Airflow shows of a task: of its worker and of the triggerer that waited for it."""
    place = next((team.home / "logs").rglob(f"run_id={key}/task_id={task}"))
    lines = [line for file in sorted(place.iterdir()) for line in file.read_text().splitlines()]
    return [str(json.loads(line)["event"]) for line in lines if line.startswith("{")]


def test_a_feature_goes_to_production_and_leaves_no_namespace(team: Newcomer, cluster: RealCluster) -> None:
    before = served(cluster)
    team.push("feature/SHOP-1-gifts", "Gifts", {"gifts.txt": "wrapped\n"})
    team.until_gate("SHOP-1", "review")
    assert namespaces(cluster) == ["shop-development-shop-1"]
    team.decide("SHOP-1", "review", "acceptance", "confirmation")
    team.until_gate("SHOP-1", "verdict")
    assert namespaces(cluster) == ["shop-development-shop-1", "shop-preprod-shop-1"]
    assert served(cluster) == team.feature("SHOP-1")["promotions"][-1]["candidate"] != before
    assert logged(team, "SHOP-1", "preprod.integration_tests").count(SUITE_SAYS) == 1
    assert team.run("keep", "SHOP-1", *team.of_project).code == 0
    team.decide("SHOP-1", "demonstration")
    assert team.feature("SHOP-1")["state"] == "delivered"
    team.until(lambda: not namespaces(cluster))


def test_two_that_come_to_production_together_ship_one_after_the_other(team: Newcomer, cluster: RealCluster) -> None:
    """The second is built again on the first, deployed and tested again, by one task that defers on the way."""
    for key, name in (("SHOP-3", "wraps"), ("SHOP-4", "cards")):
        team.push(f"feature/{key}-{name}", name, {f"{name}.txt": "new\n"})
        git(team.checkout, "reset", "--quiet", "--hard", "HEAD~1")  # neither stands on the other
    for key in ("SHOP-3", "SHOP-4"):
        team.decide(key, "review", "acceptance")
        team.until_gate(key, "confirmation")
    first = team.feature("SHOP-4")["candidate"]["commit"]
    team.decide("SHOP-3", "confirmation")
    team.until_gate("SHOP-3", "verdict")
    team.decide("SHOP-4", "confirmation")
    assert team.run("keep", "SHOP-3", *team.of_project).code == 0
    team.until_gate("SHOP-4", "verdict")
    shipped = team.feature("SHOP-4")["promotions"][-1]["candidate"]
    assert served(cluster) == shipped != first
    assert logged(team, "SHOP-4", "production.refresh_candidate").count(SUITE_SAYS) == 1
    assert team.run("keep", "SHOP-4", *team.of_project).code == 0
    for key in ("SHOP-3", "SHOP-4"):
        team.decide(key, "demonstration")
        assert team.feature(key)["state"] == "delivered"
    team.until(lambda: not namespaces(cluster))


def test_a_release_that_cannot_start_leaves_production_serving_and_is_rolled_back(
    team: Newcomer, cluster: RealCluster
) -> None:
    before = served(cluster)
    main = team.checkout / "store" / "__main__.py"
    # On a scripted node the cluster breaks it, below.
    broken = {"store/__main__.py": BREAKS_IN_PRODUCTION + main.read_text()} if main.exists() else {}
    team.push("feature/SHOP-2-sale", "Sale", {"sale.txt": "half price\n", **broken})
    team.decide("SHOP-2", "review", "acceptance")
    team.until_gate("SHOP-2", "confirmation")
    candidate = git(team.checkout, "ls-remote", "delivery", "refs/heads/candidate/SHOP-2").split()[0]
    cluster.broken_in(PRODUCTION, candidate, Fate("crashes", log="no price list found\n", code=3))
    team.decide("SHOP-2", "confirmation")
    team.until_gate("SHOP-2", "verdict")
    assert "no price list found" in team.run("status", *team.of_project).out
    assert served(cluster) == before
    assert team.run("rollback", "SHOP-2", *team.of_project).code == 0
    team.until_gate("SHOP-2", "rework")
    assert team.feature("SHOP-2")["promotions"][-1]["state"] == "rolled_back"
    assert served(cluster) == team.feature("SHOP-2")["promotions"][-1]["restored"]
    assert team.run("cancel", "SHOP-2", *team.of_project).code == 0
    team.until(lambda: not namespaces(cluster))
