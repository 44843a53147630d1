"""What a Prometheus, or whatever stands before one, may answer; the real one is asked in tests/integration."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import httpx
import pytest

from feature_delivery.adapters.measuring.prometheus import Prometheus
from feature_delivery.adapters.measuring.unreachable import Unreachable
from feature_delivery.domain.errors import Error, Misconfigured, RateLimited, Unavailable
from feature_delivery.domain.login import Login

SECRET = "let-me-in"


class Answering(ThreadingHTTPServer):
    status, body = 200, b""
    path, authorization, tenant = "", "", ""
    form: dict[str, list[str]]


class Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        server = self.server
        length = int(self.headers["Content-Length"])
        server.path, server.form = self.path, parse_qs(self.rfile.read(length).decode())
        server.authorization = self.headers.get("Authorization", "")
        server.tenant = self.headers.get("X-Scope-OrgID", "")
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def prometheus(server: Answering, **login: object) -> Prometheus:
    url = f"http://127.0.0.1:{server.server_address[1]}/prometheus/"
    return Prometheus(Login(connection="monitoring", url=url, **login))  # type: ignore[arg-type]


def answers(server: Answering, status: int, body: object) -> None:
    server.status = status
    server.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def ask(client: Prometheus) -> list[tuple[float, float]]:
    return client.values("up", since=0, until=10, step_seconds=5)


def matrix(*series: list[list[object]]) -> dict[str, object]:
    return {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values} for values in series]},
    }


def test_one_series_is_read_and_what_is_no_number_is_no_sample(server: Answering) -> None:
    answers(server, 200, matrix([[1, "0.5"], [2.5, "NaN"], [3, "+Inf"], [4, "2e3"]]))
    assert ask(prometheus(server)) == [(1.0, 0.5), (4.0, 2000.0)]
    assert server.path == "/prometheus/api/v1/query_range"
    assert server.form == {
        "query": ["up"], "start": ["0.000"], "end": ["10.000"], "step": ["5.000"], "timeout": ["10s"],
    }  # fmt: skip


def test_no_series_is_nothing(server: Answering) -> None:
    answers(server, 200, matrix())
    assert ask(prometheus(server)) == []


def test_a_token_and_a_user_are_told_as_they_should_be(server: Answering) -> None:
    answers(server, 200, matrix())
    ask(prometheus(server, secret=SECRET, options={"headers": {"X-Scope-OrgID": "shop"}}))
    assert (server.authorization, server.tenant) == (f"Bearer {SECRET}", "shop")
    ask(prometheus(server, user="judge", secret=SECRET))
    assert server.authorization == "Basic " + base64.b64encode(f"judge:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"status": "error", "error": "parse error: x"}, Misconfigured, "does not understand the query: parse"),
        (401, b"who are you", Misconfigured, "does not accept our login"),
        (403, b"", Misconfigured, "does not accept our login"),
        (404, b"<html>", Misconfigured, "nothing there speaks its API"),
        (429, b"", RateLimited, "asks us to wait"),
        (503, b"Service Unavailable", Unavailable, "answered 503"),
        (200, b"<html>Welcome</html>", Misconfigured, "Look at the address"),
        (200, {"status": "success", "data": {"resultType": "vector", "result": []}}, Misconfigured, "something else"),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence_without_secrets(
    server: Answering, status: int, body: object, kind: type[Error], said: str
) -> None:
    answers(server, status, body)
    with pytest.raises(kind, match=said) as caught:
        ask(prometheus(server, secret=SECRET))
    assert SECRET not in str(caught.value)
    assert "monitoring" in str(caught.value)


def test_several_series_are_not_guessed_at(server: Answering) -> None:
    answers(server, 200, matrix([[1, "1"]], [[1, "2"]]))
    with pytest.raises(Misconfigured, match=r"gives 2 series.*Aggregate"):
        ask(prometheus(server))


def test_an_answer_without_end_is_given_up(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_delivery.adapters.measuring.prometheus.LARGEST_ANSWER_BYTES", 1000)
    answers(server, 200, b"x" * 2000)
    with pytest.raises(Misconfigured, match="Narrow the query"):
        ask(prometheus(server))


def test_nobody_there_is_unavailable() -> None:
    client = Prometheus(Login(connection="monitoring", url="http://127.0.0.1:9"), timeout=httpx.Timeout(2.0))
    with pytest.raises(Unavailable, match="did not answer"):
        client.known("up", since=0, until=1)


def test_a_connection_without_an_address_is_said_when_it_is_asked() -> None:
    with pytest.raises(Misconfigured, match="names no host"):
        Prometheus(Login(connection="monitoring"))
    with pytest.raises(Misconfigured, match="why"):
        Unreachable("why").values("up", since=0, until=1, step_seconds=1)
    with pytest.raises(Misconfigured, match="why"):
        Unreachable("why").known("up", since=0, until=1)
