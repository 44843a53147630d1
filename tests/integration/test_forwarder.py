"""The forwarder alone, as a process: bytes pass whole, both ways, whatever the protocol's corner."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from feature_delivery.adapters.platforms.local import forwarder
from feature_delivery.adapters.platforms.local.processes import base_interpreter
from tests.local_bench import wait_until


@dataclass
class Address:
    """A running forwarder: its directory, port and process."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    def lead_to(self, port: int | None) -> None:
        fresh = self.directory / "fresh"
        fresh.write_text(json.dumps({"current": None if port is None else {"port": port}}))
        fresh.replace(self.directory / "environment.json")

    def send(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    directory = tmp_path / "environment"
    directory.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    command = [base_interpreter(), "-I", "-S", forwarder.__file__, str(directory), str(listener.fileno())]
    process = subprocess.Popen(command, pass_fds=(listener.fileno(),))
    port = listener.getsockname()[1]
    listener.close()
    yield Address(directory, port, process)
    process.kill()
    process.wait()


@pytest.fixture
def release() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Starts a server that handles one connection with the given function."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(handle: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                handle(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(30)
    for listener in listeners:
        listener.close()


Start = Callable[[Callable[[socket.socket], None]], int]


def test_without_a_release_the_answer_is_503_and_with_a_dead_one_502(address: Address) -> None:
    assert address.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    address.lead_to(None)
    assert address.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address.lead_to(nobody.getsockname()[1])
        assert address.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    (address.directory / "environment.json").write_text("{")
    assert address.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")


def test_large_bodies_pass_whole_both_ways(address: Address, release: Start) -> None:
    body = bytes(range(256)) * 20_000

    def echo(connection: socket.socket) -> None:
        data = b""
        while not data.endswith(body):
            data += connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert b"keep-alive" not in head.lower()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(rest) + rest
        )

    address.lead_to(release(echo))
    request = b"POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(body)
    head, _, answer = address.send(request + body).partition(b"\r\n\r\n")
    assert answer == body
    assert b"Connection: close" in head
    assert b"keep-alive" not in head


def test_an_interim_response_passes_before_the_final_one(address: Address, release: Start) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    address.lead_to(release(answer))
    expected = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    assert address.send(b"GET / HTTP/1.1\r\n\r\n") == expected


def test_an_upgraded_connection_is_left_alone(address: Address, release: Start) -> None:
    request = b"GET /socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"

    def talk(connection: socket.socket) -> None:
        assert connection.recv(65536) == request
        connection.sendall(switching + b"\r\n")
        while data := connection.recv(65536):
            connection.sendall(data.upper())

    address.lead_to(release(talk))
    with socket.create_connection(("127.0.0.1", address.port), timeout=30) as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith(switching)
        for word in (b"one", b"two"):
            connection.sendall(word)
            assert connection.recv(65536) == word.upper()


def test_nonsense_does_not_end_it(address: Address) -> None:
    for nonsense in (b"", b"\r\n\r\n", b"\x00" * 10, b"GET"):
        with socket.create_connection(("127.0.0.1", address.port), timeout=30) as connection:
            connection.sendall(nonsense)
    assert address.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    assert address.process.poll() is None


def test_it_is_small_and_ends_with_its_directory(address: Address) -> None:
    wait_until(lambda: address.send(b"GET / HTTP/1.1\r\n\r\n"))
    if sys.platform == "linux":
        assert psutil.Process(address.process.pid).memory_info().rss < 24 * 1024 * 1024
    shutil.rmtree(address.directory)
    assert address.process.wait(60) == 0


def test_an_overlong_log_keeps_its_end_and_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "LOG_LIMIT", 100)
    monkeypatch.setattr(forwarder, "LOG_KEPT", 10)
    with (tmp_path / "shop.log").open("ab", buffering=0) as writer:
        writer.write(b"x" * 200 + b"0123456789")
        forwarder.cut_logs(str(tmp_path))
        writer.write(b"goes on")
    assert (tmp_path / "shop.log").read_bytes() == b"goes on"
    assert (tmp_path / "shop.log.old").read_bytes() == b"0123456789"
    forwarder.cut_logs(str(tmp_path / "missing"))
