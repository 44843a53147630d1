"""Whole deliveries on Git hosts and trackers with a server: real webhooks in, real requests out, people on their pages.

Several shops in one instance: GitHub with Jira, GitLab with its own issues, Gitea with Redmine, which sends no
webhooks. The hosts are our fakes, which pass the contracts; everything between them and the environments is real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.cli.api import Api, find_login
from feature_delivery.cli.shop import webhook_secret
from feature_delivery.domain.errors import Error
from feature_delivery.domain.names import ProjectName
from tests.e2e.hosts import Shop, branch, environment, on_gitea, on_github, on_gitlab, written
from tests.support.command_line import PROGRAM
from tests.support.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
PATIENCE_SECONDS = 180
HOSTS: dict[str, Callable[[Path], AbstractContextManager[Shop]]] = {
    "github": on_github,
    "gitlab": on_gitlab,
    "gitea": on_gitea,
}


@dataclass
class Running:
    """The instance, and the shops by the name of their host."""

    home: Path
    log: Path
    address: str
    shops: dict[str, Shop]

    def feature(self, shop: Shop) -> dict[str, Any]:
        api = Api(find_login(self.home, user="olga"))
        try:
            return dict(api.get(f"/projects/{shop.name}/features/{shop.key}"))
        except Error:
            return {}
        finally:
            api.close()

    def known(self, shop: Shop) -> dict[str, Any]:
        """A feature that there is: an answer that does not come is asked for again."""
        found: dict[str, Any] = {}
        self.until("the feature is told", lambda: found.update(self.feature(shop)) or found)
        return found

    def decide(self, shop: Shop, by: str, gate: str, kind: str) -> None:
        api = Api(find_login(self.home, user=by))
        api.post(f"/projects/{shop.name}/features/{shop.key}/decisions", {"gate": gate, "kind": kind})
        api.close()

    def until(self, what: str, holds: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{what} did not come about. {self.log.read_text()[-3000:]}"
            time.sleep(0.3)

    def until_gate(self, shop: Shop, gate: str) -> None:
        def there() -> bool:
            at = self.feature(shop).get("gate") or {}
            assert not at.get("blocked"), at
            return str(at.get("step", "")).endswith(f"wait_for_{gate}")

        self.until(f"{shop.key} of {shop.name} at {gate}", there)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        shops: dict[str, Shop] = {}
        for host, make in HOSTS.items():
            (place / host).mkdir()
            shops[host] = stack.enter_context(make(place / host))
        home, log = place / "home", place / "up.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATURE_DELIVERY")}
        for shop in shops.values():
            kept |= environment(shop)
        files = [part for shop in shops.values() for part in ("--project-file", str(written(place, shop)))]
        port = free_port()
        with log.open("wb") as output:
            up = subprocess.Popen(
                [*PROGRAM, "up", *files, "--port", str(port)],
                env=kept | {"FEATURE_DELIVERY_HOME": str(home)},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        now = Running(home=home, log=log, address=f"http://127.0.0.1:{port}", shops=shops)
        try:
            now.until("the start", lambda: "Ctrl-C stops everything" in log.read_text() or up.poll() is not None)
            assert up.poll() is None, log.read_text()
            for shop in shops.values():
                secret = webhook_secret(home, ProjectName(shop.name))
                shop.send_webhooks(f"{now.address}/feature-delivery/webhooks/{shop.name}", secret)
            for shop in shops.values():
                changes = {"prices.py": "def total(prices):\n    return sum(prices)\n"}
                shop.repository.push(branch(shop), changes, by="dora", on=shop.repository.head("production"))
            yield now
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)


@pytest.mark.parametrize("host", HOSTS)
def test_a_feature_goes_from_its_issue_to_production_by_what_people_do_on_their_pages(
    running: Running, host: str
) -> None:
    shop = running.shops[host]
    running.until_gate(shop, "start")
    before = shop.repository.head("production")
    shop.take()
    running.until_gate(shop, "review")
    number = int(running.known(shop)["request"]["number"])
    assert shop.page(number).state == "open"

    shop.write(number, "tess", "/approve")
    shop.write(number, "dora", "/approve review")
    shop.approve(number, "dora")
    running.until("the refusal", lambda: any("dora" in said for said in shop.page(number).comments))
    shop.approve(number, "rita")
    running.until_gate(shop, "acceptance")
    shop.write(number, "tess", "/approve acceptance")
    running.until_gate(shop, "confirmation")
    shop.write(number, "max", "/approve confirmation")
    running.until_gate(shop, "verdict")
    assert shop.page(number).state == "open", "it is in production, and nobody has kept it yet"
    shop.write(number, "olga", "/keep")
    running.until_gate(shop, "demonstration")
    running.decide(shop, "max", "demonstration", "approve")
    running.until("the end", lambda: running.feature(shop).get("run_state") == "success")

    found = running.known(shop)
    assert found["state"] == "delivered"
    counted = {(d["gate"].rpartition("wait_for_")[2], d["who"]) for d in found["decisions"] if d["accepted"]}
    assert counted == {
        ("review", "rita"),
        ("acceptance", "tess"),
        ("confirmation", "max"),
        ("verdict", "olga"),
        ("demonstration", "max"),
    }
    assert shop.repository.head("production") == found["promotions"][-1]["candidate"] != before
    running.until("the request is shown as merged", lambda: shop.page(number).state == "merged")
    assert branch(shop) not in shop.repository.heads()
    running.until("every status is green", lambda: set(shop.page(number).statuses.values()) == {"success"})
    assert any(name.endswith("production") for name in shop.page(number).statuses)
    running.until("the issue is closed", lambda: shop.ticket().done)
    assert any("is in production" in said for said in shop.ticket().comments)
    assert shop.ticket().links
    assert found["environments"] == []


def test_secrets_of_hosts_and_trackers_are_in_no_log(running: Running) -> None:
    secrets = [fields["password"] for shop in running.shops.values() for fields in shop.connections().values()]
    logs = [path for path in (running.home / "logs").rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not [one for one in secrets if one in text], path
