"""A Keycloak as far as Airflow's auth manager and the question of who is in a group go; it counts what it is asked."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REALM, CLIENT, SECRET = "people", "airflow", "the-client-secret"
TOKEN = f"/realms/{REALM}/protocol/openid-connect/token"
ADMIN = f"/admin/realms/{REALM}"
UMA = "urn:ietf:params:oauth:grant-type:uma-ticket"


def access_token(name: str) -> str:
    """What Keycloak gives to somebody who has logged in; nobody but Keycloak checks its signature."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": f"id-{name}", "exp": 2**33}).encode()).decode().rstrip("=")
    return f"e30.{claims}.signed-for-{name}"


@dataclass
class FakeKeycloak:
    """Who is in what, and who may read which DAG."""

    roles: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    reads: dict[str, set[str]] = field(default_factory=dict)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def user(self, name: str) -> dict[str, Any]:
        return {"id": f"id-{name}", "username": name, "email": f"{name}@Shop.example", "enabled": self.enabled(name)}

    def enabled(self, name: str) -> bool:
        return name not in self.disabled

    def token(self, form: dict[str, list[str]], bearer: str) -> tuple[int, object]:
        if form["grant_type"] == ["client_credentials"]:
            right = (form.get("client_id"), form.get("client_secret")) == ([CLIENT], [SECRET])
            return (200, {"access_token": "service", "expires_in": 60}) if right else (401, {"error": "invalid_client"})
        if form["grant_type"] != [UMA] or form["audience"] != [CLIENT]:
            return 400, {"error": "invalid_request"}
        name = next((name for name in self.reads if bearer == access_token(name)), "")
        if not name:
            return 401, {"error": "invalid_grant"}
        claims = json.loads(base64.b64decode(form["claim_token"][0])) if "claim_token" in form else {}
        allowed = form["permission"] == ["Dag#GET"] and set(claims.get("resource_id", ())) <= self.reads[name]
        return (200, {"access_token": "rpt"}) if allowed else (403, {"error": "access_denied"})

    def listed(self, path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        if found := re.fullmatch(r"/roles/([^/]+)/users", path):
            names = self.roles.get(unquote(found[1]))
        elif found := re.fullmatch(r"/groups/([^/]+)/members", path):
            names = self.groups.get("/" + found[1].replace("_", "/"))
        elif path.startswith("/group-by-path/"):
            name = "/" + unquote(path.removeprefix("/group-by-path/")).strip("/")
            found_id = name.strip("/").replace("/", "_")
            return (200, {"id": found_id, "path": name}) if name in self.groups else (404, {"error": "not found"})
        else:
            return 404, {"error": path}
        if names is None:
            return 404, {"error": "Could not find role"}
        first, most = int(query.get("first", ["0"])[0]), int(query.get("max", ["100"])[0])
        return 200, [self.user(name) for name in names[first : first + most]]


@contextmanager
def serving(keycloak: FakeKeycloak) -> Iterator[FakeKeycloak]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            keycloak.asked.append(self.path)
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self.answer(*keycloak.token(form, bearer) if self.path == TOKEN else (404, {}))

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            keycloak.asked.append(url.path)
            if keycloak.broken:
                self.answer(503, {"error": "away"})
            elif self.headers.get("Authorization") != "Bearer service":
                self.answer(401, {"error": "HTTP 401 Unauthorized"})
            else:
                self.answer(*keycloak.listed(url.path.removeprefix(ADMIN), parse_qs(url.query)))

        def answer(self, code: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    keycloak.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield keycloak
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
