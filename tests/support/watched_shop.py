"""A demo store under load, watched by a real Prometheus."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from feature_delivery.adapters.measuring.prometheus import Prometheus
from feature_delivery.domain.login import Login
from tests.support.ports import free_port

STORE = Path(__file__).parents[2] / "include" / "demo_store"
PACKAGES = ("bottle==0.13.4", "prometheus-client==0.26.0", "waitress==3.0.2")
CUSTOMERS, PERIOD = 12, 0.3
LABELS = {"project": "shop", "environment": "production"}
CONFIGURATION = """
global: {{scrape_interval: 100ms, scrape_timeout: 90ms}}
scrape_configs:
  - job_name: shop
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{project: shop, environment: production}}}}]
"""


@dataclass
class WatchedShop:
    """Both, with what makes trouble; everything ends with the fixture."""

    directory: Path
    python: Path
    port: int
    prometheus_port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    asking: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def measuring(self) -> Prometheus:
        return Prometheus(Login(connection="prometheus", url=f"http://127.0.0.1:{self.prometheus_port}"))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trouble(self, what: str) -> None:
        self.directory.joinpath("trouble").write_text(what)

    def start_store(self) -> None:
        own = {
            "STORE": str(STORE),
            "TROUBLE": str(self.directory / "trouble"),
            "DATA_DIR": str(self.directory / "data"),
            "PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [str(self.python), str(Path(__file__).with_name("troubled_store.py"))]
        self.run("store", command, own)
        self.until_answers(self.port, "/healthz")

    def start_prometheus(self) -> None:
        self.run(
            "prometheus",
            [
                "prometheus",
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
                "--log.level=error",
            ],
            {},
        )
        self.until_answers(self.prometheus_port, "/-/ready")

    def run(self, name: str, command: list[str], own: dict[str, str]) -> None:
        with self.directory.joinpath(f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait(20)

    def until_answers(self, port: int, path: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if ask(port, path) == 200:
                return
            time.sleep(0.05)
        pytest.fail(f"Nothing answered {path}: {[p.read_text()[-500:] for p in self.directory.glob('*.log')]}")

    def keep_asking(self, number: int) -> None:
        """Ask at fixed times: customers do not wait for each other, so a shop that is slow is asked as much."""
        paths = ("/", "/api/products")
        turn, due = number, time.monotonic() + PERIOD * number / CUSTOMERS
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD, time.monotonic())
            turn += 1
            if self.asking.is_set():
                ask(self.port, paths[turn % 2])


def ask(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return answer.status
    finally:
        connection.close()


@contextmanager
def watched_shop(directory: Path) -> Iterator[WatchedShop]:
    """Run a store, a load of 40 requests a second, and a Prometheus that scrapes ten times a second."""
    if shutil.which("prometheus") is None:
        pytest.skip("Debian's package prometheus is not installed: 'apt-get install prometheus'.")
    uv, venv = str(Path(sys.executable).with_name("uv")), directory / "venv"
    subprocess.run([uv, "venv", "--quiet", str(venv)], check=True, timeout=60)
    python = venv / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES], check=True, timeout=120)
    shop = WatchedShop(directory, python, free_port(), free_port())
    shop.trouble("")
    directory.joinpath("prometheus.yml").write_text(CONFIGURATION.format(port=shop.port))
    migrate = {**os.environ, "DATA_DIR": str(directory / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([str(python), "-m", "store.migrate", "up"], cwd=STORE, env=migrate, check=True, timeout=60)
    users: list[Callable[[], None]] = []
    try:
        shop.start_store()
        shop.start_prometheus()
        shop.asking.set()
        for number in range(CUSTOMERS):
            user = threading.Thread(target=shop.keep_asking, args=(number,), daemon=True)
            user.start()
            users.append(user.join)
        yield shop
    finally:
        shop.over.set()
        for join in users:
            join()
        for name in list(shop.running):
            shop.stop(name, signal.SIGKILL)
