"""Nothing stays of a release that has gone, and nothing gets in with a shop's own manifests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.adapters.platforms.kubernetes.api import LOG_LIMIT_BYTES
from feature_delivery.adapters.platforms.kubernetes.manifests.own import read_manifests
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.ports.platform import Release
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, REF, ignore, with_config
from tests.contracts.kubernetes.test_data import OWN
from tests.contracts.kubernetes_bench import KubernetesBench
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
