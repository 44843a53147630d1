"""A real Prometheus and Alertmanager with the shipped configuration, quick enough for tests, and a Slack of ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.ports import free_port

MONITORING = Path(__file__).parents[2] / "include" / "monitoring"
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "prometheus-blackbox-exporter")
PATIENCE_SECONDS = 60.0


def needs_prometheus() -> None:
    """Skip without the programs, except in CI, which installs them."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(
            f"{', '.join(missing)} missing: install Debian's prometheus, prometheus-alertmanager and blackbox exporter"
        )
    assert not missing, f"{missing} missing, though .ci/run installs them"


def eventually(what: str, look: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first thing found; patience is not what is tested."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.1)
    return found


SLACK_API = "https://slack.com/api"
SLACK_TOKEN = "xoxb-the-token-of-the-bot"


@dataclass
class SlackReceiver:
    """Slack, as far as Alertmanager speaks to it.

    ``chat.postMessage`` asks for a bot's token and honours ``channel``. An incoming webhook of an app has one channel,
    chosen when it was made, whatever the message says.
    """

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)

    def texts(self, channel: str) -> str:
        """All that was said in a channel."""
        return "\n".join(
            f"{attachment.get('title', '')}\n{attachment.get('text', '')}"
            for message in self.messages
            if message.get("channel") == channel
            for attachment in message.get("attachments", [])
        )

    def last_says_it_fires(self, channel: str, name: str, project: str = "") -> bool:
        """Say whether the last word about an alert in a channel is that it fires, not that it is over."""
        titles = [
            attachment.get("title", "")
            for message in self.messages
            if message.get("channel") == channel
            for attachment in message.get("attachments", [])
        ]
        about = [title for title in titles if title.partition("] ")[2].split() == f"{name} {project}".split()]
        return bool(about) and about[-1].startswith("[FIRING")


@contextmanager
def slack_receiver() -> Iterator[SlackReceiver]:
    receiver = SlackReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == f"Bearer {SLACK_TOKEN}"
            if self.path.startswith("/services/"):
                receiver.messages.append({**message, "channel": "#of-the-webhook"})
            elif self.path == "/api/chat.postMessage" and known:
                receiver.messages.append(message)
            self.send_response(200)  # also when it is refused
            self.end_headers()
            self.wfile.write(json.dumps({"ok": known} if known else {"ok": False, "error": "invalid_auth"}).encode())

        def log_message(self, *arguments: object) -> None:
            """Be quiet."""

    with serving(Handler) as url:
        receiver.url = url
        yield receiver


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def program(command: Sequence[str], *, at: Path, ready: str) -> Iterator[None]:
    """Run a server until the block ends; ``ready``: answers 200 when it is."""
    with (at / f"{Path(command[0]).name}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=at, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        eventually(f"{command[0]}'s start", lambda: process.poll() is not None or _answers(ready))
        assert process.poll() is None, (at / f"{Path(command[0]).name}.log").read_text()[-2000:]
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class AlertManager:
    """A running Alertmanager with the shipped routes."""

    url: str
    slack: SlackReceiver

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v2/alerts", params=query, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def send(self, *alerts: dict[str, Any]) -> None:
        answer = httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text


@contextmanager
def alertmanager(directory: Path) -> Iterator[AlertManager]:
    """Run Alertmanager with the shipped file; only its waits are shortened and the address of Slack is ours."""
    directory.mkdir(parents=True)
    config = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        # Short, but not none: what comes together is one message.
        route["group_wait"], route["group_interval"] = "500ms", "1s"
    with slack_receiver() as slack:
        (directory / "secrets").mkdir()
        (directory / "secrets" / "slack-token").write_text(SLACK_TOKEN)
        text = yaml.safe_dump(config).replace(SLACK_API, f"{slack.url}/api")
        (directory / "alertmanager.yml").write_text(text)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [
            "prometheus-alertmanager",
            f"--config.file={directory / 'alertmanager.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--storage.path=data",
        ]
        # As in its image, it does not run where its file is.
        (directory / "home").mkdir()
        with program(command, at=directory / "home", ready=f"{url}/-/ready"):
            yield AlertManager(url, slack)


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expression}, timeout=30, trust_env=False)
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def alerts(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/alerts", timeout=10, trust_env=False)
        return list(answer.json()["data"]["alerts"])

    def firing(self, name: str, **labels: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.alerts()
            if one["state"] == "firing"
            and one["labels"]["alertname"] == name
            and labels.items() <= one["labels"].items()
        ]


@contextmanager
def prometheus(
    directory: Path, *, app: str, token: str, alertmanager_url: str, also: Sequence[str] = (), prober: str = ""
) -> Iterator[Prometheus]:
    """Run Prometheus with the shipped files against ``app``.

    ``also``: addresses of more API servers; ``prober``: the blackbox exporter's, empty: nothing is probed.
    Intervals are a second and alerts fire at once: how long they must last first is what promtool's cases prove.
    """
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    config["alerting"]["alertmanagers"] = [
        {"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}
    ]
    host = app.removeprefix("http://")
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    # The test serves the app alone: in Airflow's API server it is below /feature-delivery.
    jobs["feature-delivery"] |= {"metrics_path": "/metrics", "static_configs": [{"targets": [host, *also]}]}
    for discovery in jobs["shops"]["http_sd_configs"]:
        discovery |= {"url": f"{app}/prometheus/targets", "refresh_interval": "1s"}
    config["scrape_configs"] = [jobs["feature-delivery"], jobs["shops"]]
    if prober:
        # The same discovery as the shops': one list in the shipped file.
        relabelled = jobs["probes"]["relabel_configs"]
        (address,) = [one for one in relabelled if one.get("target_label") == "__address__"]
        address["replacement"] = prober
        config["scrape_configs"].append(jobs["probes"])
    rules = directory / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    for path in (MONITORING / "rules").glob("*.yml"):
        held = yaml.safe_load(path.read_text())
        for rule in (rule for group in held["groups"] for rule in group["rules"]):
            rule.pop("for", None)
        (rules / path.name).write_text(yaml.safe_dump(held))
    (directory / "secrets").mkdir(exist_ok=True)
    (directory / "secrets" / "metrics-token").write_text(token)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=90d",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
    ]
    with program(command, at=directory, ready=f"{url}/-/ready"):
        yield Prometheus(url)


@contextmanager
def blackbox(directory: Path) -> Iterator[str]:
    """Run Debian's blackbox exporter with the shipped module; yields host and port."""
    directory.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    config = f"--config.file={MONITORING / 'blackbox.yml'}"
    command = ["prometheus-blackbox-exporter", config, f"--web.listen-address={address}"]
    with program(command, at=directory, ready=f"http://{address}/-/healthy"):
        yield address


def record(directory: Path, text: str) -> None:
    """Put OpenMetrics text with moments into the data of a Prometheus that does not run yet."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "recorded.txt").write_text(text)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "recorded.txt", "data"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
