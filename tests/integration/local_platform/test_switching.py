"""Addresses, the switch between releases, and their retirement: with real processes, ports and files."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import pytest

from feature_delivery.adapters.platforms.local import LocalPlatform, deployment, place, state
from feature_delivery.adapters.platforms.local.layout import Layout, remove_tree
from feature_delivery.adapters.platforms.local.state import EnvironmentRecord
from feature_delivery.cli.up import stop_shops
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import ProjectName
from tests import shops
from tests.local_bench import (
    PRODUCTION,
    PROJECT,
    Bench,
    get,
    processes_of,
    reference,
    settings,
)


def test_the_address_stays_the_same_while_releases_change_behind_it(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    with pytest.raises(HTTPError, match="503"):
        get(address)
    for label in ("one", "two", "three"):
        status = bench.platform.deploy(reference(), shops.release(label), say=bench.say)
        assert status.address == address
        assert get(address) == shops.commit_of(label)
    assert len(bench.servers()) == 1
    assert bench.releases() == {shops.commit_of("two")[:12], shops.commit_of("three")[:12]}


def test_no_request_fails_while_releases_switch(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("0"), say=bench.say)
    port = int(address.rpartition(":")[2])
    stop, failures, seen = threading.Event(), [], set()

    def shop_with_a_kept_connection(path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.is_set():
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                seen.add(response.read().decode())
                assert response.status == 200
            except Exception as error:  # noqa: BLE001 - any failure is the finding
                failures.append(repr(error))
                connection.close()
        connection.close()

    paths = ("/", "/", "/", "/slow?0.3", "/slow?1")
    clients = [threading.Thread(target=shop_with_a_kept_connection, args=(path,)) for path in paths]
    for client in clients:
        client.start()
    for label in ("1", "2", "3"):
        bench.platform.deploy(reference(), shops.release(label), say=bench.say)
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert seen == {shops.commit_of(label) for label in "0123"}


def test_data_outlive_releases_and_restarts_and_go_with_the_environment(bench: Bench) -> None:
    status = bench.platform.provision(PRODUCTION)
    bench.platform.deploy(PRODUCTION, shops.release("one"), say=bench.say)
    data = Path(json.loads(get(status.address, "/env"))["DATA_DIR"])
    (data / "orders.db").write_text("1 gift card")
    bench.platform.deploy(PRODUCTION, shops.release("two"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    assert processes_of(bench.root) == []
    (resumed,) = bench.platform.resume(PROJECT, say=bench.say)
    assert (resumed.address, resumed.healthy) == (status.address, True)
    assert get(status.address) == shops.commit_of("two")
    assert (data / "orders.db").read_text() == "1 gift card"
    bench.platform.provision(reference())
    inside = bench.directory() / "data"
    bench.platform.destroy(reference())
    assert not inside.exists()


def test_the_end_of_an_instance_stops_the_shops_of_earlier_starts_too(bench: Bench) -> None:
    earlier = ProjectName("an_earlier_shop")
    for project in (PROJECT, earlier):
        bench.platform.provision(replace(PRODUCTION, project=project))
    (bench.root / ".control").mkdir(exist_ok=True)
    assert bench.platform.projects() == (earlier, PROJECT)
    stop_shops(bench.platform)
    assert processes_of(bench.root) == []


def test_a_port_taken_while_we_were_down_is_chosen_anew(bench: Bench) -> None:
    first = bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    port = int(first.address.rpartition(":")[2])
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        (status,) = bench.platform.resume(PROJECT, say=bench.say)
        assert status.address != first.address
        assert get(status.address) == shops.commit_of("one")


def test_without_a_fence_a_shop_is_served_and_tested_alike(bench: Bench) -> None:
    platform = LocalPlatform(replace(bench.platform.settings, fence="off"))
    address, one = platform.provision(reference()).address, shops.release("one", variables={"NAME": "a shop's"})
    platform.deploy(reference(), one, say=bench.say)
    assert json.loads(get(address, "/env"))["NAME"] == "a shop's"
    shown = shops.suite("import os; print(os.environ['NAME'], open('/proc/self/status').read())", junit=None)
    report = platform.run_suite(reference(), name="unit", suite=shown, release=one, variables={}, say=bench.say)
    assert report.problem == ""
    assert {"NoNewPrivs:\t0", "CoreDumping:\t0"} <= set(bench.said)
    assert any(line.startswith("a shop's") for line in bench.said)


def test_environments_never_share_a_port_even_when_one_is_stopped(bench: Bench) -> None:
    first = bench.platform.provision(reference())
    bench.platform.stop_all(PROJECT)
    port = int(first.address.rpartition(":")[2])
    narrow = LocalPlatform(settings(bench.root, ports=range(port, port + 2)))
    assert narrow.provision(reference("preprod-shop-1")).address == f"http://127.0.0.1:{port + 1}"
    with pytest.raises(Exception, match="no port from"):
        narrow.provision(reference("preprod-shop-2"))
    assert not bench.directory("preprod-shop-2").exists()


class Interrupted(BaseException):
    """A task's time limit."""


def test_a_time_limit_that_comes_just_after_the_switch_leaves_the_new_release_serving(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)

    def save(layout: Layout, record: EnvironmentRecord) -> None:
        state.save(layout, record)
        if record.current is not None and record.current.commit == shops.commit_of("two"):
            raise Interrupted

    two = shops.release("two", forward=("true",), back=("false",))
    with monkeypatch.context() as patch:
        patch.setattr(deployment, "save", save)
        with pytest.raises(Interrupted):
            bench.platform.deploy(reference(), two, say=bench.say)
    assert get(address) == shops.commit_of("two")
    status = bench.platform.deploy(reference(), two, say=bench.say)
    assert (status.commit, status.previous, status.healthy) == (two.commit, shops.commit_of("one"), True)
    assert len(bench.servers()) == 1


def test_files_that_cannot_be_removed_are_said_and_keep_no_release_from_coming_or_going(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of the shop's wrote them as root."""
    address = bench.platform.provision(reference()).address
    left = bench.directory() / "releases" / "0123456789ab-left"
    left.mkdir()

    def refuse(path: Path, *, inside: Path) -> None:
        if path == left:
            raise PermissionError(errno.EACCES, "Permission denied", str(path / "cache"))
        remove_tree(path, inside=inside)

    one = shops.release("one")
    with monkeypatch.context() as patch:
        patch.setattr(place, "remove_tree", refuse)
        for _ in range(2):
            status = bench.platform.deploy(reference(), one, say=bench.say)
            assert (status.commit, status.healthy) == (one.commit, True)
        bench.platform.stop_all(PROJECT)
        assert bench.platform.revive(reference(), say=bench.say).healthy
        with pytest.raises(Refused, match="no price list found"):
            bench.platform.deploy(reference(), shops.release("bad", {"shop.py": shops.CRASH}), say=bench.say)
        assert get(address) == one.commit
        assert any(line.startswith(f"Could not remove '{left}'") and "Permission denied" in line for line in bench.said)
        assert bench.releases() == {"0123456789ab", one.commit[:12]}
    bench.platform.deploy(reference(), one, say=bench.say)
    assert bench.releases() == {one.commit[:12]}
