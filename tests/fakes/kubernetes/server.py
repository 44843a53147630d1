"""The fake over HTTP: paths, verbs, selectors, pages, watches, rights, and faults that tests ask for."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.fakes.kubernetes.cluster import Cluster
from tests.fakes.kubernetes.logs import Written
from tests.fakes.kubernetes.store import Key, Object, StatusError, Store

LOST = -1
"""In place of a code: the server does what it is asked, and its answer is lost."""

TOKEN = "the-token-of-deliveries"
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[a-z0-9.]+)/(?P<version>v[a-z0-9]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[a-z]))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[a-z]+))?"
)
_KINDS = {"pods": "Pod", "namespaces": "Namespace", "deployments": "Deployment", "events": "Event"}


@dataclass
class Fault:
    """Answers instead of the server: ``code`` 0 drops the connection."""

    code: int
    times: int
    matches: Callable[[str, str], bool]
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "injected"


@dataclass
class Rules:
    """Rights as ``rbac.yaml`` grants them; ``used`` are those that somebody has needed."""

    granted: set[tuple[str, str, str, str]]
    used: set[tuple[str, str, str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, file: Path) -> Rules:
        granted = set()
        for one in yaml.safe_load_all(file.read_text()):
            if one and one["kind"] in {"ClusterRole", "Role"}:
                where = one["metadata"].get("namespace", "")
                for rule in one["rules"]:
                    granted |= {
                        (where, verb, group, resource)
                        for verb in rule["verbs"]
                        for group in rule["apiGroups"]
                        for resource in rule["resources"]
                    }
        return cls(granted)

    def allow(self, verb: str, group: str, resource: str, namespace: str, *, use: bool = True) -> bool:
        found = {(where, verb, group, resource) for where in ("", namespace)} & self.granted
        if use:
            self.used |= found
        return bool(found)


class FakeApiServer:
    """One cluster; ``url`` and ``TOKEN`` let in."""

    def __init__(self, rules: Rules | None = None, *, version: str = "v1.33.4") -> None:
        self.store = Store()
        self.cluster = Cluster(self.store)
        self.rules = rules
        self.version = version
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._closing = threading.Event()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        with self.store.lock:
            self.store.lock.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self.cluster.stop()

    def fail(
        self,
        code: int,
        *,
        times: int = 1,
        method: str = "",
        path: str = "",
        headers: dict[str, str] | None = None,
        message: str = "injected",
    ) -> None:
        """Answer ``times`` requests that fit with ``code``; 0: no answer at all; ``LOST``: done, and no answer."""

        def matches(found: str, where: str) -> bool:
            return method in ("", found) and re.search(path, where) is not None

        self.faults.append(Fault(code, times, matches, headers or {}, message))

    def namespace(self, name: str, **meta: Any) -> None:
        """Make a namespace as people do."""
        self.store.create("namespaces", "", {"kind": "Namespace", "metadata": {"name": name, **meta}}, manager="people")

    def kubeconfig(self) -> Object:
        """Return how to get in, as a kubeconfig."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "deliveries", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "deliveries"}}],
        }

    def answer(self, handler: _Handler, method: str, body: bytes) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.requests.append((method, parts.path))
        self.before(method, parts.path)
        for fault in self.faults:
            if fault.times and fault.matches(method, parts.path):
                fault.times -= 1
                if fault.code == LOST:
                    with suppress(StatusError, _AnswerError):
                        self._serve(handler, method, query, body)
                if fault.code in {0, LOST}:
                    handler.close_connection = True
                    handler.connection.close()
                    return
                raise _AnswerError(fault.code, status(fault.code, "Injected", fault.message), fault.headers)
        self._serve(handler, method, query, body)

    def _serve(self, handler: _Handler, method: str, query: dict[str, str], body: bytes) -> None:
        parts = urlsplit(handler.path)
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if parts.path == "/version":
            raise _AnswerError(200, {"gitVersion": self.version}, {})
        if parts.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            raise _AnswerError(201, self._review(json.loads(body)), {})
        found = _PATH.fullmatch(parts.path)
        if found is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        self._dispatch(handler, method, found, query, body)

    def _review(self, asked: Object) -> Object:
        spec = asked["spec"]["resourceAttributes"]
        resource = spec["resource"] + (f"/{spec['subresource']}" if spec.get("subresource") else "")
        allowed = self.rules is None or self.rules.allow(
            spec["verb"], spec.get("group", ""), resource, spec.get("namespace", ""), use=False
        )
        return {**asked, "status": {"allowed": allowed}}

    def _dispatch(
        self, handler: _Handler, method: str, found: re.Match[str], query: dict[str, str], body: bytes
    ) -> None:
        resource, namespace, name = found["resource"], found["namespace"] or "", found["name"] or ""
        group = found["group"] or ""
        watching = query.get("watch") in {"true", "True", "1"}
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
            method, "get" if name else "watch" if watching else "list"
        )
        asked = resource + (f"/{found['part']}" if found["part"] else "")
        if self.rules is not None and not self.rules.allow(verb, group, asked, namespace):
            message = f'{asked} is forbidden: User "deliveries" cannot {verb} resource "{asked}" in API group "{group}"'
            raise StatusError(403, "Forbidden", message)
        key = (resource, namespace, name)
        if found["part"] == "log":
            self._log(handler, key, query)
            return
        if watching:
            self._watch(handler, key, query)
            return
        if method == "GET" and not name:
            version = "v1" if not group else f"{group}/{found['version']}"
            raise _AnswerError(200, self._list(resource, namespace, query, version), {})
        raise _AnswerError(*self._one(handler, method, key, query, body), {})

    def _one(self, handler: _Handler, method: str, key: Key, query: dict[str, str], body: bytes) -> tuple[int, Object]:
        manager = query.get("fieldManager", "unknown")
        match method:
            case "GET":
                return 200, self.store.get(key)
            case "POST":
                if key[0] == "pods" and self.cluster.quota:
                    raise StatusError(403, "Forbidden", self.cluster.quota)
                return 201, self.store.create(key[0], key[1], json.loads(body), manager=manager)
            case "PUT":
                return 200, self.store.replace(key, json.loads(body), manager=manager)
            case "DELETE":
                options = json.loads(body) if body else {}
                return 200, self.store.delete(key, options.get("preconditions"))
            case _:
                content = handler.headers.get("Content-Type", "")
                if content.startswith("application/apply-patch"):
                    force = query.get("force") == "true"
                    made, _ = self.store.apply(key, yaml.safe_load(body), manager=manager, force=force)
                    return 200, made
                if content == "application/json-patch+json":
                    return 200, self.store.patch_json(key, json.loads(body))
                return 200, self.store.patch_merge(key, json.loads(body))

    def _list(self, resource: str, namespace: str, query: dict[str, str], version: str) -> Object:
        with self.store.lock:
            seen = self.store.version
            found = [each for each in self.store.list(resource, namespace) if selected(each, query)]
        start, limit = 0, int(query.get("limit", "0"))
        if token := query.get("continue"):
            written, start = (int(part) for part in token.split("."))
            if written < self.store.compacted:
                raise StatusError(410, "Expired", "The provided continue parameter is too old")
        page = found[start : start + limit] if limit else found
        meta: Object = {"resourceVersion": str(seen)}
        if limit and start + limit < len(found):
            meta["continue"] = f"{seen}.{start + limit}"
        return {"kind": f"{_KINDS.get(resource, 'Object')}List", "apiVersion": version, "metadata": meta, "items": page}

    def _log(self, handler: _Handler, key: Key, query: dict[str, str]) -> None:
        pod = self.store.get(key)
        container = query.get("container") or pod["spec"]["containers"][0]["name"]
        log = self.cluster.logs.get((key[1], key[2], container))
        if log is None and (pod.get("status") or {}).get("phase", "Pending") == "Pending":
            raise StatusError(400, "BadRequest", f'container "{container}" in pod "{key[2]}" is waiting to start')
        log = log or Written()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        follow = query.get("follow") in {"true", "True"}
        for piece in log.follow(query, is_over=lambda: self._is_over(key)) if follow else [log.text(query)]:
            if piece:
                handler.chunk(piece)
        handler.chunk(b"")

    def _is_over(self, key: Key) -> bool:
        return self._closing.is_set() or _ended(self.store.objects.get(key))

    def _watch(self, handler: _Handler, key: Key, query: dict[str, str]) -> None:
        since = int(query.get("resourceVersion") or 0)
        end = time.monotonic() + float(query.get("timeoutSeconds", "30"))
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while time.monotonic() < end and not self._closing.is_set():
            with self.store.lock:
                expired = since < self.store.compacted
                changes = [c for c in self.store.history if c.version > since and not expired]
                if not changes and not expired:
                    self.store.lock.wait(0.5)
                    continue
            if expired:
                gone = status(410, "Expired", f"too old resource version: {since}")
                handler.chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                break
            for change in changes:
                since = change.version
                if change.key[0] == key[0] and key[1] in ("", change.key[1]) and selected(change.object, query):
                    handler.chunk(json.dumps({"type": change.kind, "object": change.object}).encode() + b"\n")
        handler.chunk(b"")


def selected(found: Object, query: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        matched = re.fullmatch(r"(?P<absent>!)?(?P<name>[^!=]+)(?:(?P<sign>!?=)=?(?P<value>.*))?", term)
        if matched is None:
            raise StatusError(400, "BadRequest", f"unable to parse requirement: {term}")
        name, sign = matched["name"], matched["sign"]
        if sign is None:
            fits = (name in labels) != bool(matched["absent"])
        else:
            fits = (labels.get(name) == matched["value"]) == (sign == "=")
        if not fits:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        place: Any = found
        for part in name.split("."):
            place = (place or {}).get(part)
        if place != value:
            return False
    return True


def _ended(pod: Object | None) -> bool:
    return pod is None or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def status(code: int, reason: str, message: str, **details: Any) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


class _AnswerError(Exception):
    def __init__(self, code: int, body: Object, headers: dict[str, str]) -> None:
        super().__init__(code)
        self.code, self.body, self.headers = code, body, headers


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up in the middle of logs and watches: that is what they are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server_of: FakeApiServer

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.server_of.answer(self, self.command, body)
        except StatusError as error:
            self._send(error.code, status(error.code, error.reason, error.message, **error.details), {})
        except _AnswerError as answer:
            self._send(answer.code, answer.body, answer.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - the handler's names

    def _send(self, code: int, body: Object, headers: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        pass


def _handler(server: FakeApiServer) -> type[_Handler]:
    return type("Handler", (_Handler,), {"server_of": server})


@contextmanager
def serving(rules: Rules | None = None, **options: Any) -> Iterator[FakeApiServer]:
    """Run one for the length of a block."""
    server = FakeApiServer(rules, **options)
    try:
        yield server
    finally:
        server.close()
