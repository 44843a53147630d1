"""What the code of a branch gets on a cluster: no Secret of production's, no right, and no say over our logs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.adapters.platforms.kubernetes import suites
from feature_delivery.adapters.platforms.kubernetes.logs import Speech
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import pod_of
from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Misconfigured
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
