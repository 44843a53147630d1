"""Tiny real shops for tests: stdlib servers that need no install, and the ways in which they can fail."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from feature_delivery.domain.names import CommitSha
from feature_delivery.domain.plan import Command, DeliveryPlan, HealthPlan, MigrationPlan, SuitePlan
from feature_delivery.ports.platform import Release

SHOP = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.partition("?")[2] or 1))
        if self.path == "/env":
            body = json.dumps(dict(os.environ)).encode()
        elif self.path == "/pid":
            body = str(os.getpid()).encode()
        else:
            body = os.environ["DELIVERY_COMMIT"].encode()
        self.send_response(503 if self.path == os.environ.get("SICK") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print("asked for", self.path)

class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = False  # finishes what it has begun

server = Server((os.environ["HOST"], int(os.environ["PORT"])), Shop)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("the shop is open")
server.serve_forever()
server.server_close()
"""
CRASH = "print('no price list found'); raise SystemExit(3)\n"
SILENT = "import time\nprint('thinking')\ntime.sleep(600)\n"
GREEN = '<testsuite><testcase classname="t" name="buys" time="0.1"/></testsuite>'
RED = '<testsuite><testcase name="buys"><failure message="no stock">trace</failure></testcase></testsuite>'


def plan(
    *,
    start: Command = ("python", "shop.py"),
    install: tuple[Command, ...] = (),
    inputs: tuple[str, ...] = (),
    health: str = "/healthz",
    health_seconds: float = 20,
    forward: Command | None = None,
    back: Command | None = None,
    reversible: bool | None = None,
    variables: Mapping[str, str] | None = None,
) -> DeliveryPlan:
    """Return a plan; by default of the shop above, without an install."""
    return DeliveryPlan(
        install=install,
        install_inputs=inputs,
        start=start,
        health=HealthPlan(path=health, timeout=timedelta(seconds=health_seconds)),
        migration=MigrationPlan(
            forward=forward, back=back, reversible=back is not None if reversible is None else reversible
        ),
        suites={},
        variables=dict(variables or {}),
    )


def commit_of(label: str) -> CommitSha:
    """Return a commit id that is always the same for a label."""
    return CommitSha(hashlib.sha1(label.encode()).hexdigest())  # noqa: S324


def release(label: str, files: Mapping[str, str] | None = None, **options: object) -> Release:
    """Return a release of the shop whose files are ``files`` on top of the shop."""
    content = {"shop.py": SHOP, **(files or {})}

    def checkout(directory: Path) -> None:
        assert not any(directory.iterdir())
        for name, text in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    return Release(commit=commit_of(label), plan=plan(**options), checkout=checkout)  # type: ignore[arg-type]


def suite(script: str, *, seconds: float = 60, junit: str | None = "report.xml") -> SuitePlan:
    """Return a suite that is a Python script."""
    return SuitePlan(command=("python", "-c", textwrap.dedent(script)), timeout=timedelta(seconds=seconds), junit=junit)


def writes(xml: str, *, code: int = 0) -> str:
    """Return a script that writes a report and exits."""
    return f"import os, sys; open(os.environ['JUNIT_XML'], 'w').write({xml!r}); sys.exit({code})"
