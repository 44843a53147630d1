"""The stable address of an environment: ``forwarder.py DIRECTORY DESCRIPTOR``. Runs by path, standard library only.

Listens on the socket it inherits and passes each request to the release that ``environment.json`` names at that
moment. The file is replaced atomically, so that a switch is one rename, and no connection ever sees half of it.

Each connection carries one request: ``Connection: close`` is set on the way there and back. Otherwise a client with
a kept-alive connection would stay on the old release for ever, or be cut off when that one stops; this way the old
release has nothing left to do a moment after the switch. Connections that upgrade (WebSocket) are left alone.

The forwarder is also the one process that always lives, so it cuts overlong logs and goes when the environment goes.
"""

import sys

if __name__ == "__main__":
    # TLS is not spoken here; without it asyncio takes 4 MB less, per environment.
    sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import json
import os
import socket

HEAD_LIMIT = 64 * 1024
CHUNK = 64 * 1024
HEAD_SECONDS = 60
CONNECT_TRIES = 40
CONNECT_PAUSE = 0.05
ROUND_SECONDS = 10
LOG_LIMIT = 10 * 1024 * 1024
LOG_KEPT = 1024 * 1024
NOTHING = b"503 Service Unavailable", b"No release is running in this environment yet.\n"
GONE = b"502 Bad Gateway", b"The release that should answer here does not. See its log.\n"
DROPPED = (b"connection:", b"keep-alive:", b"proxy-connection:")


class Forwarder:
    """One environment's address."""

    def __init__(self, directory: str) -> None:
        """``directory``: where ``environment.json`` lies."""
        self.directory = directory
        self.file = os.path.join(directory, "environment.json")
        self.seen: tuple[int, int] | None = None
        self.port: int | None = None

    def upstream(self) -> int | None:
        """Return the port of the current release; the file is read only when it was replaced."""
        try:
            status = os.stat(self.file)
            if (status.st_ino, status.st_mtime_ns) != self.seen:
                with open(self.file, encoding="utf-8") as file:
                    current = json.load(file).get("current") or {}
                self.port = current.get("port")
                self.seen = status.st_ino, status.st_mtime_ns
        except (OSError, ValueError):
            self.port = None
            self.seen = None
        return self.port

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Carry one request there and its response back."""
        try:
            head = await request_head(client)
            if head:
                await self.exchange(head, client, answer)
        except (TimeoutError, OSError):
            pass  # One side hung up; the other is hung up on below.
        finally:
            answer.close()

    async def exchange(self, head: bytes, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Send ``head`` and whatever follows it to the release, and its response to ``answer``."""
        connection = await self.connect()
        if connection is None:
            status, text = GONE if self.upstream() else NOTHING
            answer.write(
                b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (status, len(text), text)
            )
            await answer.drain()
            return
        response, request = connection
        request.write(head)
        upload = asyncio.ensure_future(pump(client, request))
        try:
            await pass_head(response, answer)
            await pump(response, answer)
        finally:
            upload.cancel()
            request.close()

    async def connect(self) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter] | None":
        """Connect to the current release; ask again who that is when it does not listen (any more)."""
        for _ in range(CONNECT_TRIES):
            port = self.upstream()
            if port is None:
                return None
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(CONNECT_PAUSE)
        return None

    async def keep_house(self) -> None:
        """Cut logs; return when the environment's directory is gone."""
        while os.path.isdir(self.directory):
            cut_logs(os.path.join(self.directory, "logs"))
            await asyncio.sleep(ROUND_SECONDS)


async def request_head(client: asyncio.StreamReader) -> bytes:
    """Return the request's head, made to ask for one response only; what is not HTTP is returned as it came."""
    try:
        head = await asyncio.wait_for(client.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return await client.read(CHUNK)
    return head if b"\nupgrade:" in head.lower() else closing(head)


async def pass_head(response: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
    """Pass the response's head on and tell the client, too, that the connection ends with it: not every server does."""
    while True:
        try:
            head = await response.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            answer.write(error.partial)
            return
        except asyncio.LimitOverrunError:
            return
        status = head.partition(b" ")[2][:3]
        final = not status.startswith(b"1")
        answer.write(closing(head) if final else head)
        if final or status == b"101":
            return


def closing(head: bytes) -> bytes:
    """Return a head that says that its connection carries nothing after it."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(DROPPED)]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then say so to the sink."""
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def cut_logs(directory: str) -> None:
    """Move the end of an overlong log aside and empty it; its writer appends, so it goes on at the start."""
    try:
        entries = [entry for entry in os.scandir(directory) if entry.name.endswith(".log") and entry.is_file()]
        for entry in entries:
            if entry.stat().st_size > LOG_LIMIT:
                with open(entry.path, "r+b") as log:
                    log.seek(-LOG_KEPT, os.SEEK_END)
                    with open(f"{entry.path}.old", "wb") as old:
                        old.write(log.read())
                    log.truncate(0)
    except OSError:
        pass  # A full disk, a log just removed: the next round comes.


async def main(directory: str, descriptor: int) -> None:
    """Serve until the directory is gone."""
    forwarder = Forwarder(directory)
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    async with await asyncio.start_server(forwarder.serve, sock=listener, limit=HEAD_LIMIT, backlog=512):
        await forwarder.keep_house()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
