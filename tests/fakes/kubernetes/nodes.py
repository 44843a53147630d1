"""One node for a control plane that has none: takes every pod, and runs it or fails it as a test has it.

It is a client of a real API server: it binds pods, writes their status, ends those that are deleted, and answers what
the API server asks of a kubelet (logs) over HTTPS.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from feature_delivery.adapters.platforms.kubernetes.api import Cluster
from feature_delivery.domain.errors import Error
from tests.fakes.kubernetes.cluster import RUNS, SERVES, Fate, ended, run_for_real, running, status_of
from tests.fakes.kubernetes.logs import Written
from tests.fakes.kubernetes.store import Object, stamp

NAME = "scripted"
_MERGE = "application/merge-patch+json"


class ScriptedNode:
    """Registers itself, then works through pods as they come; ``fate`` says what becomes of each."""

    def __init__(self, cluster: Cluster, folder: Path, fate: Callable[[Object], Fate | None]) -> None:
        self.cluster = cluster
        self.fate = fate
        self.logs: dict[str, Written] = {}
        self._over: set[str] = set()
        self._seen: set[str] = set()
        self._stop = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_certificate(folder))
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._threads = [
            threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._work, daemon=True),
        ]

    def start(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}}
        self.cluster.request("POST", "/api/v1/nodes", body=node)
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._http.server_port}},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Scripted"}],
        }
        self.cluster.request("PATCH", f"/api/v1/nodes/{NAME}/status", body={"status": status}, content=_MERGE)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self.cluster.request("DELETE", f"/api/v1/nodes/{NAME}", missing_ok=True)

    def is_over(self, uid: str) -> bool:
        return uid in self._over or self._stop.is_set()

    def _work(self) -> None:
        while not self._stop.wait(0.05):
            try:
                pods = (self.cluster.request("GET", "/api/v1/pods") or {})["items"]
            except Error:
                continue
            for pod in pods:
                try:
                    self._look_after(pod)
                except Error:
                    continue  # It changed meanwhile, or is gone: the next look tells.

    def _look_after(self, pod: Object) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            self._over.add(meta["uid"])
            self.cluster.request("DELETE", path, body={"gracePeriodSeconds": 0}, missing_ok=True)
            return
        if meta["uid"] in self._seen:
            return
        self._seen.add(meta["uid"])
        if not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
            self.cluster.request("POST", f"{path}/binding", body=binding)
        container = pod["spec"]["containers"][0]
        fate = self.fate(pod) or (SERVES if meta.get("ownerReferences") else RUNS)
        if fate.log:
            self.logs[meta["uid"]] = Written()
            self.logs[meta["uid"]].write(fate.log.encode())
        if fate.kind == "runs":
            self.logs[meta["uid"]] = Written()
            self._write(path, running(container))
            threading.Thread(target=self._run, args=(pod, path), daemon=True).start()
            return
        self._write(path, status_of(fate, container))
        if fate.kind != "serves":
            self._over.add(meta["uid"])

    def _run(self, pod: Object, path: str) -> None:
        code = run_for_real(pod, self.logs[pod["metadata"]["uid"]])
        self._over.add(pod["metadata"]["uid"])
        try:
            self._write(path, ended(pod["spec"]["containers"][0], code))
        except Error:
            return  # Deleted meanwhile.

    def _write(self, path: str, status: Object) -> None:
        found = {name: value for name, value in status.items() if not name.startswith("x-")}
        ready = all(one.get("ready") for one in found.get("containerStatuses") or [{}])
        conditions = {one["type"]: one for one in found.get("conditions") or []}
        for kind in ("Ready", "ContainersReady"):
            said = {"type": kind, "status": str(ready), "lastTransitionTime": stamp()}
            conditions.setdefault(kind, said)
        found["conditions"] = list(conditions.values())
        self.cluster.request("PATCH", f"{path}/status", body={"status": found}, content=_MERGE)

    def log_of(self, namespace: str, name: str) -> tuple[str, Written]:
        pod = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}") or {}
        uid = str(pod["metadata"]["uid"])
        return uid, self.logs.get(uid) or Written()


def _certificate(folder: Path) -> tuple[str, str]:
    certificate, key = str(folder / "node.crt"), str(folder / "node.key")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key]
    subprocess.run([*make, "-out", certificate, *subject], check=True, capture_output=True, timeout=60)
    return certificate, key


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    node: ScriptedNode

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = re.fullmatch(r"/containerLogs/([^/]+)/([^/]+)/[^/]+", parts.path)
        if found is None:
            self.send_error(404)
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        uid, log = self.node.log_of(found[1], found[2])
        follow = query.get("follow") == "true"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = log.follow(query, is_over=lambda: self.node.is_over(uid)) if follow else iter([log.text(query)])
        for piece in filter(None, pieces):
            self._chunk(piece)
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        pass


def _handler(node: ScriptedNode) -> type[_Handler]:
    return type("Handler", (_Handler,), {"node": node})


def service_account_kubeconfig(admin: Cluster, kubeconfig: Object, *, namespace: str, name: str) -> Object:
    """Return a kubeconfig with the rights of a service account, for an hour."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    token = (admin.request("POST", path, body=body) or {})["status"]["token"]
    current = next(one for one in kubeconfig["contexts"] if one["name"] == kubeconfig["current-context"])
    cluster = current["context"]["cluster"]
    made: Object = json.loads(json.dumps(kubeconfig))
    made["users"] = [{"name": name, "user": {"token": token}}]
    made["contexts"] = [{"name": "test", "context": {"cluster": cluster, "user": name}}]
    made["current-context"] = "test"
    return made
